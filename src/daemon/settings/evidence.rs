//! `evidence`: which metrics are read, how often, and what is left out.
//!
//! Not here: what they are asked for (`rules`).

use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Reader, Section};
use crate::rollout::terms::Timing;

/// The longest time between two looks: a weight rises on fresh samples only, and a run without any is held.
const EVERY_MOST: Duration = Duration::from_secs(60);

/// Where evidence comes from, and how it is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Time between two looks. Default `2s`.
    pub every: Duration,
    /// Which metrics are read.
    pub source: Source,
    /// One vote of the block witness. Default the greater of `2s` and `every`.
    pub block: Duration,
    /// Time after a weight change in which nothing is counted. Default `3s`.
    pub settle: Duration,
}

/// Which metrics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A Prometheus server.
    Prometheus {
        /// Its base URL.
        url: String,
        /// A file with a bearer token, read again each time.
        token_file: Option<PathBuf>,
        /// Labels and their values that every series must have: one cluster, or one replica, of
        /// a server that holds several.
        matching: Vec<(String, String)>,
    },
    /// The controllers' own metrics pages.
    Scrape(Scrape),
}

impl Source {
    /// What metrics call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prometheus { .. } => "prometheus",
            Self::Scrape(_) => "scrape",
        }
    }
}

/// Which metrics pages are read directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scrape {
    /// Those of the pods that a label selector finds.
    Pods {
        /// The label selector.
        selector: String,
        /// The pods' namespace.
        namespace: String,
        /// The port of `/metrics`. Default 10254.
        port: u16,
    },
    /// Those at these URLs.
    Targets(Vec<String>),
}

pub(super) fn evidence(reader: &mut Reader, root: &Section) -> Option<Evidence> {
    let section = reader.section(root, "evidence");
    let usual = Timing::default();
    let every = reader.duration(&section, "every", usual.every);
    if every > EVERY_MOST {
        let found = humantime::format_duration(every).to_string();
        reader.wrong(&section, "every", &found, "at most 1m");
    }
    let least = every.max(usual.block);
    let block = reader.duration(&section, "block", least);
    if block < every {
        let found = humantime::format_duration(block).to_string();
        reader.wrong(&section, "block", &found, "at least evidence.every");
    }
    let settle = reader.duration_or_zero(&section, "settle", usual.settle);
    Some(Evidence {
        every,
        source: source(reader, &section)?,
        block,
        settle,
    })
}

fn source(reader: &mut Reader, section: &Section) -> Option<Source> {
    let prometheus = reader.section(section, "prometheus");
    let scrape = reader.section(section, "scrape");
    match (prometheus.given(), scrape.given()) {
        (true, false) => prometheus_source(reader, &prometheus),
        (false, true) => scrape_source(reader, &scrape).map(Source::Scrape),
        (both, _) => {
            let found = if both {
                "prometheus and scrape"
            } else {
                "neither"
            };
            reader.wrong(section, "", found, "exactly one of: prometheus, scrape");
            None
        }
    }
}

fn prometheus_source(reader: &mut Reader, section: &Section) -> Option<Source> {
    let token_file = reader.path(section, "tokenFile");
    let url = reader.required(section, "url", "the base URL of a Prometheus server")?;
    let url = reader.url(section, "url", &url)?;
    Some(Source::Prometheus {
        url,
        token_file,
        matching: matching(reader, section),
    })
}

/// Labels with their values, each as `label=value`.
fn matching(reader: &mut Reader, section: &Section) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for text in reader.texts(section, "match") {
        let pair = text
            .split_once('=')
            .map(|(label, value)| (label.trim(), value.trim()));
        if let Some((label, value)) =
            pair.filter(|(label, value)| is_label(label) && !value.is_empty())
        {
            all.push((label.to_owned(), value.to_owned()));
        } else {
            let wanted = "label=value, such as cluster=production";
            reader.wrong(section, "match", &format!("{text:?}"), wanted);
        }
    }
    all
}

/// Whether Prometheus has labels of this name.
fn is_label(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn scrape_source(reader: &mut Reader, section: &Section) -> Option<Scrape> {
    let targets = reader.texts(section, "targets");
    let found: Vec<&str> = ["selector", "namespace", "port"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    if section.has("targets") {
        return scrape_targets(reader, section, &targets, &found);
    }
    let port = reader.port(section, "port", 10254);
    let selector = reader.required(section, "selector", "a label selector, or targets instead");
    let namespace = reader.required(section, "namespace", "the namespace of those pods");
    Some(Scrape::Pods {
        selector: selector?,
        namespace: namespace?,
        port,
    })
}

fn scrape_targets(
    reader: &mut Reader,
    section: &Section,
    targets: &[String],
    others: &[&str],
) -> Option<Scrape> {
    if !others.is_empty() {
        let found = format!("targets and {}", others.join(" and "));
        reader.wrong(
            section,
            "",
            &found,
            "either targets, or selector, namespace and port",
        );
    }
    if targets.is_empty() {
        reader.wrong(section, "targets", "no URL", "at least one URL");
        return None;
    }
    let urls: Vec<Option<String>> = targets
        .iter()
        .map(|target| reader.url(section, "targets", target))
        .collect();
    Some(Scrape::Targets(urls.into_iter().collect::<Option<_>>()?))
}

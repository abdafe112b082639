//! Reads the environments of a pipeline: where each is deployed from, and its gates.
//!
//! Not here: the rest of the file (`reader`), and what the values are for (`pipeline`).

use std::str::FromStr;
use std::time::Duration;

use super::super::pipeline::{Cluster, Deliver, Environment, Follows, Gates};
use super::super::version::Version;
use super::Reader;
use super::section::Section;
use crate::kustomize::join;

impl Reader {
    pub(super) fn environments(&mut self, root: &Section, branch: &str) -> Vec<Environment> {
        let mut all: Vec<Environment> = Vec::new();
        let mut asked = false;
        for section in self.items(root, "environments") {
            let known = [
                "name", "path", "branch", "deliver", "tag", "newest", "cluster", "gates",
            ];
            self.known(&section, &known);
            let name = self.named(&section, all.iter().map(|e| &e.name));
            let deliver = self.deliver(&section);
            let path = self.path(&section, matches!(deliver, Deliver::Registry(_)));
            let cluster = self.cluster(&section);
            let gates = self.gates(&section, asked);
            asked = cluster.is_some();
            all.push(Environment {
                name: name.unwrap_or_default(),
                path,
                branch: self
                    .text(&section, "branch")
                    .unwrap_or_else(|| branch.to_owned()),
                deliver,
                cluster,
                gates,
            });
        }
        all
    }

    fn path(&mut self, section: &Section, optional: bool) -> Option<String> {
        let wanted = "a folder below the root of the repository";
        if optional && section.get("path").is_none() {
            return None;
        }
        let path = self.required(section, "path", wanted)?;
        let joined = join("", &path).ok();
        if joined.is_none() || path.starts_with('/') {
            self.wrong(section, "path", &format!("{path:?}"), wanted);
        }
        joined
    }

    fn deliver(&mut self, section: &Section) -> Deliver {
        let deliver = self.text(section, "deliver");
        if deliver.as_deref() == Some("registry") {
            return Deliver::Registry(self.follows(section));
        }
        for key in ["tag", "newest"] {
            if section.get(key).is_some() {
                self.wrong(section, key, "one", "none without `deliver: registry`");
            }
        }
        match deliver.as_deref() {
            None | Some("pullRequest") => Deliver::PullRequest,
            Some("push") => Deliver::Push,
            Some(other) => {
                self.wrong(
                    section,
                    "deliver",
                    &format!("{other:?}"),
                    "push, pullRequest or registry",
                );
                Deliver::PullRequest
            }
        }
    }

    fn follows(&mut self, section: &Section) -> Follows {
        let tag = self.parsed(section, "tag", "a tag such as production-latest", |text| {
            let version: Option<Version> = text.parse().ok();
            version.filter(|version| version.digest.is_none())?.tag
        });
        let range = "a range such as >=1.0.0";
        let newest = self.parsed(section, "newest", range, |text| {
            semver::VersionReq::from_str(text).ok()
        });
        let given = ["tag", "newest"].map(|key| section.get(key).is_some());
        if given[0] == given[1] {
            let found = if given[0] {
                "tag and newest"
            } else {
                "neither"
            };
            let wanted = "one of: tag (it is moved), newest (the newest tag in a range)";
            self.wrong(section, "deliver", found, wanted);
        }
        match (tag, newest) {
            (_, Some(range)) => Follows::Newest(range),
            (tag, None) => Follows::Tag(tag.unwrap_or_default()),
        }
    }

    fn cluster(&mut self, section: &Section) -> Option<Cluster> {
        let section = self.below(section, "cluster", false)?;
        self.known(&section, &["kubeconfig", "context", "namespace"]);
        Some(Cluster {
            kubeconfig: self.file(&section, "kubeconfig"),
            context: self.text(&section, "context"),
            namespace: self.text(&section, "namespace"),
        })
    }

    fn gates(&mut self, section: &Section, asked: bool) -> Gates {
        let Some(section) = self.below(section, "gates", false) else {
            return Gates::default();
        };
        self.known(&section, &["soak", "versions", "promoted"]);
        let promoted = self.flag(&section, "promoted");
        if promoted && !asked {
            let wanted = "a `cluster` of the environment before, whose Rollout is asked";
            self.wrong(&section, "promoted", "true", wanted);
        }
        Gates {
            soak: self.parsed(&section, "soak", "a duration such as 24h", |text| {
                humantime::parse_duration(text)
                    .ok()
                    .filter(|time| *time > Duration::ZERO)
            }),
            versions: self.parsed(
                &section,
                "versions",
                "a range such as >=1.0.0, <2.0.0",
                |text| semver::VersionReq::from_str(text).ok(),
            ),
            promoted,
        }
    }
}

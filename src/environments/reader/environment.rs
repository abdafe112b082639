//! Reads the environments of a pipeline: where each is deployed from, and its gates.
//!
//! Not here: the rest of the file (`reader`), and what the values are for (`pipeline`).

use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::super::pipeline::{Cluster, Deliver, Environment, Follows, Gates};
use super::super::version::Version;
use super::Reader;
use super::section::Section;
use crate::clock;
use crate::kustomize::join;
use crate::rollout::approval::Approvals;
use crate::rollout::freeze::{Moment, Until, Window};

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
        self.known(&section, &["kubeconfig", "context", "namespace", "daemon"]);
        Some(Cluster {
            kubeconfig: self.file(&section, "kubeconfig"),
            context: self.text(&section, "context"),
            namespace: self.text(&section, "namespace"),
            daemon: self.text(&section, "daemon"),
        })
    }

    fn gates(&mut self, section: &Section, asked: bool) -> Gates {
        let Some(section) = self.below(section, "gates", false) else {
            return Gates::default();
        };
        let known = [
            "soak",
            "versions",
            "promoted",
            "runs",
            "smoke",
            "approval",
            "freeze",
            "sameDigest",
        ];
        self.known(&section, &known);
        for key in ["promoted", "runs", "smoke", "approval"] {
            if section.get(key).is_some() && !asked {
                let wanted = "a `cluster` of the environment before, which is asked";
                self.wrong(&section, key, &format!("{key:?}"), wanted);
            }
        }
        let time = "a duration such as 24h";
        let range = "a range such as >=1.0.0, <2.0.0";
        Gates {
            soak: self.parsed(&section, "soak", time, duration),
            versions: self.parsed(&section, "versions", range, |text| {
                semver::VersionReq::from_str(text).ok()
            }),
            promoted: self.flag(&section, "promoted"),
            runs: self.number(&section, "runs", 50),
            smoke: self.texts(&section, "smoke"),
            approval: self.approval(&section),
            freeze: self.freeze(&section),
            same_digest: self.flag(&section, "sameDigest"),
        }
    }

    fn approval(&mut self, section: &Section) -> Option<Approvals> {
        let section = self.below(section, "approval", false)?;
        self.known(&section, &["required", "from", "expires"]);
        let required = self.number(&section, "required", 20);
        let from = self.texts(&section, "from");
        Some(Approvals {
            required: required
                .and_then(|people| u8::try_from(people).ok())
                .unwrap_or(1),
            from: Some(from)
                .filter(|from| !from.is_empty())
                .into_iter()
                .collect(),
            expires: self.parsed(&section, "expires", "a duration such as 3d", duration),
            not_author: false,
        })
    }

    fn freeze(&mut self, section: &Section) -> Vec<Window> {
        if section.get("freeze").is_none() {
            return Vec::new();
        }
        let windows = self.items(section, "freeze");
        windows
            .iter()
            .filter_map(|window| self.window(window))
            .collect()
    }

    fn window(&mut self, section: &Section) -> Option<Window> {
        self.known(section, &["name", "from", "to", "for", "zone"]);
        let name = self.required(section, "name", "a name for people");
        let moment = "a moment such as `Fri 16:00`, `22:00` or `2026-12-23 12:00`";
        self.required(section, "from", moment);
        let from = self.parsed(section, "from", moment, |text| text.parse::<Moment>().ok());
        let to = self.parsed(section, "to", moment, |text| text.parse::<Moment>().ok());
        let time = self.parsed(section, "for", "a duration such as 9h", duration);
        let given = ["to", "for"].map(|key| section.get(key).is_some());
        if given[0] == given[1] {
            let found = if given[0] { "to and for" } else { "neither" };
            self.wrong(section, "", found, "exactly one of: to, for");
        }
        if let (Some(from), Some(to)) = (from, to)
            && (from == to || from.is_once() != to.is_once())
        {
            let wanted = "another moment of the same kind as `from`: both dated, or neither";
            self.wrong(section, "to", "one that does not fit `from`", wanted);
        }
        let zone = if section.get("zone").is_some() {
            let wanted =
                "UTC, a zone such as Europe/Berlin, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3";
            self.parsed(section, "zone", wanted, clock::zone)
        } else {
            Some(TimeZone::UTC)
        };
        let until = to.map(Until::At).or(time.map(Until::After));
        Some(Window {
            name: name?,
            from: from?,
            until: until?,
            zone: zone?,
        })
    }
}

fn duration(text: &str) -> Option<Duration> {
    let time = humantime::parse_duration(text).ok();
    time.filter(|time| *time > Duration::ZERO)
}

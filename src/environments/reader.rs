//! Reads a pipeline from its YAML, and says all that is wrong with it.
//!
//! Not here: what the values are for (`pipeline`).

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::pipeline::{Cluster, Deliver, Environment, Gates, Pipeline, Problem, Source};
use super::places::Service;
use crate::git::Address;
use crate::git::forge::{Account, Kind as ForgeKind, Token};
use crate::kustomize::join;
use crate::yaml::{Kind, Node, Place};

/// Reads one file.
pub(super) struct Reader {
    file: String,
    folder: PathBuf,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// A mapping and its path.
struct Section<'a> {
    node: &'a Node,
    place: Place,
    path: String,
}

impl<'a> Section<'a> {
    fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn get(&self, key: &str) -> Option<(&'a Node, Place)> {
        let Kind::Map(entries) = &self.node.kind else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        (entry.value.kind != Kind::Null).then_some((&entry.value, entry.place))
    }
}

impl Reader {
    pub fn new(file: &str, folder: &Path) -> Self {
        Self {
            file: file.to_owned(),
            folder: folder.to_owned(),
            problems: Vec::new(),
        }
    }

    pub fn pipeline(&mut self, root: &Node) -> Option<Pipeline> {
        let root = Section {
            node: root,
            place: root.place,
            path: String::new(),
        };
        let known = ["repository", "git", "services", "environments"];
        self.known(&root, &known);
        let repository = self.below(&root, "repository", true);
        let repository = repository.and_then(|section| self.repository(&section));
        let branch = repository.as_ref().map_or("main", |r| &r.branch).to_owned();
        let (committer, signing_key_file, forge) = self.git(&root);
        let services = self.services(&root);
        let environments = self.environments(&root, &branch);
        Some(Pipeline {
            repository: repository?,
            committer,
            signing_key_file,
            forge,
            services,
            environments,
        })
    }

    fn repository(&mut self, section: &Section) -> Option<Source> {
        let known = [
            "url",
            "branch",
            "username",
            "tokenFile",
            "identityFile",
            "knownHostsFile",
            "authorityFile",
        ];
        self.known(section, &known);
        let url = self.required(
            section,
            "url",
            "https://host/path, ssh://user@host/path or user@host:path",
        );
        let good = url.filter(|url| self.is_address(section, url));
        Some(Source {
            branch: self
                .text(section, "branch")
                .unwrap_or_else(|| "main".to_owned()),
            username: self
                .text(section, "username")
                .unwrap_or_else(|| "git".to_owned()),
            token_file: self.file(section, "tokenFile"),
            identity_file: self.file(section, "identityFile"),
            known_hosts_file: self.file(section, "knownHostsFile"),
            authority_file: self.file(section, "authorityFile"),
            url: good?,
        })
    }

    fn is_address(&mut self, section: &Section, url: &str) -> bool {
        match Address::parse(url) {
            Ok((_, None)) => true,
            Ok((_, Some(_))) => {
                let found = "a user or password in it";
                self.wrong(
                    section,
                    "url",
                    found,
                    "an address without one, and tokenFile",
                );
                false
            }
            Err(_) => {
                let wanted = "https://host/path, ssh://user@host/path or user@host:path";
                self.wrong(section, "url", &format!("{url:?}"), wanted);
                false
            }
        }
    }

    fn git(&mut self, root: &Section) -> ((String, String), Option<PathBuf>, Option<Account>) {
        let usual = ("Sluice".to_owned(), "sluice@localhost".to_owned());
        let Some(section) = self.below(root, "git", false) else {
            return (usual, None, None);
        };
        self.known(&section, &["name", "email", "signingKeyFile", "forge"]);
        let name = self.text(&section, "name").unwrap_or(usual.0);
        let email = self.text(&section, "email").unwrap_or(usual.1);
        let key = self.file(&section, "signingKeyFile");
        let forge = self.below(&section, "forge", false);
        let forge = forge.and_then(|section| self.forge(&section));
        ((name, email), key, forge)
    }

    fn forge(&mut self, section: &Section) -> Option<Account> {
        self.known(section, &["kind", "api", "host", "tokenFile"]);
        let kind = self.text(section, "kind");
        let names = ForgeKind::ALL.map(|(name, _)| name).join(", ");
        let kind = kind.and_then(|kind| {
            let found = ForgeKind::ALL.iter().find(|(name, _)| *name == kind);
            if found.is_none() {
                self.wrong(
                    section,
                    "kind",
                    &format!("{kind:?}"),
                    &format!("one of: {names}"),
                );
            }
            found.map(|(_, kind)| *kind)
        });
        self.required(section, "tokenFile", "a file with a token");
        Some(Account {
            kind,
            api: self.text(section, "api"),
            host: self.text(section, "host"),
            token: Token::File(self.file(section, "tokenFile")?),
        })
    }

    fn services(&mut self, root: &Section) -> Vec<Service> {
        let mut services: Vec<Service> = Vec::new();
        for section in self.items(root, "services") {
            self.known(&section, &["name", "image", "rollout"]);
            let Some(name) = self.named(&section, services.iter().map(|s| &s.name)) else {
                continue;
            };
            services.push(Service {
                name,
                image: self.text(&section, "image"),
                rollout: self.text(&section, "rollout"),
            });
        }
        services
    }

    fn environments(&mut self, root: &Section, branch: &str) -> Vec<Environment> {
        let mut all: Vec<Environment> = Vec::new();
        let mut asked = false;
        for section in self.items(root, "environments") {
            let known = ["name", "path", "branch", "deliver", "cluster", "gates"];
            self.known(&section, &known);
            let name = self.named(&section, all.iter().map(|e| &e.name));
            let path = self.path(&section);
            let deliver = self.deliver(&section);
            let cluster = self.cluster(&section);
            let gates = self.gates(&section, asked);
            asked = cluster.is_some();
            all.push(Environment {
                name: name.unwrap_or_default(),
                path: path.unwrap_or_default(),
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

    fn path(&mut self, section: &Section) -> Option<String> {
        let wanted = "a folder below the root of the repository";
        let path = self.required(section, "path", wanted)?;
        let joined = join("", &path).ok();
        if joined.is_none() || path.starts_with('/') {
            self.wrong(section, "path", &format!("{path:?}"), wanted);
        }
        joined
    }

    fn deliver(&mut self, section: &Section) -> Deliver {
        match self.text(section, "deliver").as_deref() {
            None | Some("pullRequest") => Deliver::PullRequest,
            Some("push") => Deliver::Push,
            Some(other) => {
                self.wrong(
                    section,
                    "deliver",
                    &format!("{other:?}"),
                    "push or pullRequest",
                );
                Deliver::PullRequest
            }
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
        let promoted = match section.get("promoted").map(|(node, _)| &node.kind) {
            None => false,
            Some(Kind::Bool(promoted)) => *promoted,
            Some(_) => {
                self.wrong(&section, "promoted", "something else", "true or false");
                false
            }
        };
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

    fn parsed<T>(
        &mut self,
        section: &Section,
        key: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(section, key)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.wrong(section, key, &format!("{text:?}"), wanted);
        }
        parsed
    }

    /// A name that no other has.
    fn named<'n>(
        &mut self,
        section: &Section,
        mut others: impl Iterator<Item = &'n String>,
    ) -> Option<String> {
        let name = self.required(section, "name", "a name")?;
        if others.any(|other| *other == name) {
            let found = format!("{name:?} a second time");
            self.wrong(section, "name", &found, "each name once");
            return None;
        }
        Some(name)
    }

    /// The mappings of a list that must not be empty.
    fn items<'a>(&mut self, root: &Section<'a>, key: &str) -> Vec<Section<'a>> {
        let items = match root.get(key).map(|(node, _)| &node.kind) {
            Some(Kind::List(items)) if !items.is_empty() => items,
            _ => {
                self.wrong(root, key, "no list", "a list with at least one entry");
                return Vec::new();
            }
        };
        let numbered = items.iter().enumerate();
        let sections = numbered.map(|(index, node)| Section {
            node,
            place: node.place,
            path: format!("{}[{index}]", root.key(key)),
        });
        sections.collect()
    }

    fn below<'a>(&mut self, section: &Section<'a>, key: &str, needed: bool) -> Option<Section<'a>> {
        let Some((node, place)) = section.get(key) else {
            if needed {
                self.wrong(section, key, "nothing", "a mapping");
            }
            return None;
        };
        if !matches!(node.kind, Kind::Map(_)) {
            self.wrong(section, key, "something else", "a mapping");
            return None;
        }
        let path = section.key(key);
        Some(Section { node, place, path })
    }

    fn known(&mut self, section: &Section, known: &[&str]) {
        let Kind::Map(entries) = &section.node.kind else {
            self.wrong(section, "", "something else", "a mapping");
            return;
        };
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let wanted = format!("one of: {}", known.join(", "));
                self.wrong(section, &entry.key, "an unknown key", &wanted);
            }
        }
    }

    fn text(&mut self, section: &Section, key: &str) -> Option<String> {
        let (node, _) = section.get(key)?;
        let text = node.text().filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.wrong(section, key, "something else", "text");
        }
        text.map(str::to_owned)
    }

    fn required(&mut self, section: &Section, key: &str, wanted: &str) -> Option<String> {
        if section.get(key).is_none() {
            self.wrong(section, key, "nothing", wanted);
        }
        self.text(section, key)
    }

    fn file(&mut self, section: &Section, key: &str) -> Option<PathBuf> {
        let text = self.text(section, key)?;
        Some(self.folder.join(text))
    }

    fn wrong(&mut self, section: &Section, key: &str, found: &str, wanted: &str) {
        let place = section.get(key).map_or(section.place, |(_, place)| place);
        let key = if key.is_empty() {
            section.path.clone()
        } else {
            section.key(key)
        };
        self.problems.push(Problem {
            file: self.file.clone(),
            place,
            key,
            found: found.to_owned(),
            wanted: wanted.to_owned(),
        });
    }
}

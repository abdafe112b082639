//! Reads a pipeline from its YAML, and says all that is wrong with it.
//!
//! Not here: what the values are for (`pipeline`).

mod environment;
mod section;

use std::path::{Path, PathBuf};

use super::pipeline::{Pipeline, Problem, Source};
use super::places::Service;
use crate::git::Address;
use crate::git::forge::{Account, Kind as ForgeKind, Token};
use crate::registry::{Access, Image};
use crate::yaml::Node;
use section::Section;

/// Reads one file.
pub(super) struct Reader {
    file: String,
    folder: PathBuf,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Reader {
    pub fn new(file: &str, folder: &Path) -> Self {
        Self {
            file: file.to_owned(),
            folder: folder.to_owned(),
            problems: Vec::new(),
        }
    }

    pub fn pipeline(&mut self, root: &Node) -> Pipeline {
        let root = Section {
            node: root,
            place: root.place,
            path: String::new(),
        };
        let known = [
            "repository",
            "registry",
            "git",
            "smoke",
            "services",
            "environments",
        ];
        self.known(&root, &known);
        let repository = self.below(&root, "repository", false);
        let named = repository.is_some();
        let repository = repository.and_then(|section| self.repository(&section));
        let branch = repository.as_ref().map_or("main", |r| &r.branch).to_owned();
        let (committer, signing_key_file, forge) = self.git(&root);
        let services = self.services(&root);
        let environments = self.environments(&root, &branch);
        let by_git = environments.iter().any(|one| one.follows().is_none());
        if by_git && !named {
            self.wrong(&root, "repository", "nothing", "a mapping");
        }
        let tested = environments
            .iter()
            .position(|one| !one.gates.smoke.is_empty());
        if let Some(at) = tested.filter(|_| root.get("smoke").is_none()) {
            let key = format!("environments[{at}].gates.smoke");
            self.wrong(
                &root,
                &key,
                "names of tests",
                "files with tests: `smoke` of the pipeline",
            );
        }
        if environments.iter().any(|one| one.follows().is_some()) {
            self.images(&root, &services);
        }
        Pipeline {
            repository,
            registry: self.registry(&root),
            smoke: self.files(&root, "smoke"),
            committer,
            signing_key_file,
            forge,
            services,
            environments,
        }
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

    fn registry(&mut self, root: &Section) -> Access {
        let Some(section) = self.below(root, "registry", false) else {
            return Access::default();
        };
        self.known(&section, &["configFile", "insecure", "authorityFile"]);
        Access {
            config_file: self.file(&section, "configFile"),
            insecure: self.flag(&section, "insecure"),
            authority_file: self.file(&section, "authorityFile"),
        }
    }

    /// Where tags are moved, each service must say of which image.
    fn images(&mut self, root: &Section, services: &[Service]) {
        for service in services {
            let image = service.image.as_deref();
            if image.and_then(|image| Image::parse(image).ok()).is_none() {
                let found = format!("{:?} for {}", image.unwrap_or_default(), service.name);
                let wanted = "an image of each, HOST/PATH: an environment follows the registry";
                self.wrong(root, "services", &found, wanted);
            }
        }
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
            self.known(&section, &["name", "image", "rollout", "tagField"]);
            let Some(name) = self.named(&section, services.iter().map(|s| &s.name)) else {
                continue;
            };
            services.push(Service {
                name,
                image: self.text(&section, "image"),
                rollout: self.text(&section, "rollout"),
                tag_field: self.text(&section, "tagField"),
            });
        }
        services
    }
}

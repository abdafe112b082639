//! The pipeline: which environments there are, in which order, what they deploy, and what must
//! hold before a version goes on.
//!
//! One YAML file beside the manifests, by convention `clusters/environments.yaml`. It belongs to
//! no one daemon: each environment has its own settings. All mistakes are told at once, each with its
//! place. Credentials are named as files only. Paths in it are relative to the file; those of
//! manifests to the root of the repository.
//!
//! Not here: the gates' judgement (`gates`).

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::places::Service;
use super::reader::Reader;
use crate::git::forge;
use crate::registry;
use crate::rollout::approval::Approvals;
use crate::rollout::freeze::Window;
use crate::yaml::{self, Place};

/// Environments in order, and the repository that deploys them.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Where the manifests are; `None` where no environment is deployed from Git.
    pub repository: Option<Source>,
    /// How registries are reached.
    pub registry: registry::Access,
    /// Who commits.
    pub committer: (String, String),
    /// A private key by which commits are signed.
    pub signing_key_file: Option<PathBuf>,
    /// Where pull requests are opened.
    pub forge: Option<forge::Account>,
    /// Files with smoke tests.
    pub smoke: Vec<PathBuf>,
    /// What is promoted.
    pub services: Vec<Service>,
    /// In the order in which a version passes them.
    pub environments: Vec<Environment>,
}

/// A repository and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its address.
    pub url: String,
    /// The branch that is deployed, where an environment names none. Default `main`.
    pub branch: String,
    /// The name beside the token. Default `git`.
    pub username: String,
    /// A file with a token or password.
    pub token_file: Option<PathBuf>,
    /// A file with a private key, for SSH.
    pub identity_file: Option<PathBuf>,
    /// A file with known hosts, for SSH.
    pub known_hosts_file: Option<PathBuf>,
    /// Certificates of the authority that is trusted besides the public ones.
    pub authority_file: Option<PathBuf>,
}

/// One environment.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// The folder of its manifests, from the repository's root; where a registry is followed there may be none.
    pub path: Option<String>,
    /// The branch that it deploys.
    pub branch: String,
    /// How a change reaches it. Default `pullRequest`.
    pub deliver: Deliver,
    /// Its cluster, where its Rollouts are asked.
    pub cluster: Option<Cluster>,
    /// What must hold before a version comes here.
    pub gates: Gates,
}

/// How a change reaches an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deliver {
    /// Onto its branch.
    Push,
    /// As a pull request: who merges it, approves.
    PullRequest,
    /// By a tag in the registry.
    Registry(Follows),
}

/// Which tag of each service an environment runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// Whatever this one leads to.
    Tag(String),
    /// The newest semantic version in a range.
    Newest(semver::VersionReq),
}

/// A cluster as kubectl reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// A kubeconfig file. Default: as kubectl.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it. Default: its current one.
    pub context: Option<String>,
    /// The namespace of its Rollouts. Default: the context's.
    pub namespace: Option<String>,
    /// The daemon there, as `NAMESPACE/NAME` of its Service or a URL. Default `sluice-system/sluice`.
    pub daemon: Option<String>,
}

/// What must hold before a version comes to an environment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gates {
    /// How long it has been in the environment before.
    pub soak: Option<Duration>,
    /// Which versions may come.
    pub versions: Option<semver::VersionReq>,
    /// Whether the Rollout in the environment before must have promoted it.
    pub promoted: bool,
    /// How many of the newest runs there must have been promoted, one after the other.
    pub runs: Option<u32>,
    /// Smoke tests that must pass there, by name.
    pub smoke: Vec<String>,
    /// By whom it must be approved.
    pub approval: Option<Approvals>,
    /// Times in which nothing comes.
    pub freeze: Vec<Window>,
    /// Whether it must be the same digest in both.
    pub same_digest: bool,
}

impl Gates {
    /// Whether the Rollout in the environment before is asked.
    pub fn ask_the_rollout(&self) -> bool {
        self.promoted || self.runs.is_some() || self.approval.is_some() || self.same_digest
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Where.
    pub place: Place,
    /// The key's path.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What would be right.
    pub wanted: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            place: Place { line, column },
            key,
            found,
            wanted,
        } = self;
        let key = if key.is_empty() { "pipeline" } else { key };
        write!(
            f,
            "{file}:{line}:{column}: {key}: found {found}, wanted {wanted}"
        )
    }
}

impl Environment {
    /// The folder of its manifests.
    pub fn folder(&self) -> Result<&str, Error> {
        self.path.as_deref().ok_or_else(|| Error::NoFolder {
            environment: self.name.clone(),
        })
    }

    /// Which tag it runs, where it follows a registry.
    pub fn follows(&self) -> Option<&Follows> {
        match &self.deliver {
            Deliver::Registry(follows) => Some(follows),
            Deliver::Push | Deliver::PullRequest => None,
        }
    }
}

impl Pipeline {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::Read {
            path: path.display().to_string(),
            why: match error.kind() {
                ErrorKind::NotFound => "there is no such file; want the pipeline, with repository, services and environments (--pipeline names it)".to_owned(),
                _ => error.to_string(),
            },
        })?;
        Self::parse(&text, path)
    }

    /// Reads a text that stands in `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        let problem = |place, found: &str, wanted: &str| {
            Error::Pipeline(vec![Problem {
                file: name.clone(),
                place,
                key: String::new(),
                found: found.to_owned(),
                wanted: wanted.to_owned(),
            }])
        };
        let documents =
            yaml::documents(text).map_err(|error| problem(error.place, &error.message, "YAML"))?;
        let [root] = documents.as_slice() else {
            return Err(problem(Place::default(), "no mapping", "one document"));
        };
        let mut reader = Reader::new(&name, file.parent().unwrap_or(Path::new("")));
        let pipeline = reader.pipeline(root);
        if reader.problems.is_empty() {
            Ok(pipeline)
        } else {
            Err(Error::Pipeline(reader.problems))
        }
    }

    /// The repository of the manifests.
    pub fn source(&self) -> Result<&Source, Error> {
        self.repository.as_ref().ok_or(Error::NoRepository)
    }

    /// The environment of this name.
    pub fn environment(&self, name: &str) -> Result<&Environment, Error> {
        let found = self.environments.iter().find(|one| one.name == name);
        found.ok_or_else(|| Error::Unknown {
            what: "environment",
            name: name.to_owned(),
            known: self.environments.iter().map(|e| e.name.clone()).collect(),
        })
    }

    /// The environment before one, unless that is the first.
    pub fn before(&self, name: &str) -> Option<&Environment> {
        let at = self.environments.iter().position(|one| one.name == name)?;
        self.environments.get(at.checked_sub(1)?)
    }

    /// The environment after one, unless that is the last.
    pub fn after(&self, name: &str) -> Option<&Environment> {
        let at = self.environments.iter().position(|one| one.name == name)?;
        self.environments.get(at + 1)
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Result<&Service, Error> {
        let found = self.services.iter().find(|one| one.name == name);
        found.ok_or_else(|| Error::Unknown {
            what: "service",
            name: name.to_owned(),
            known: self.services.iter().map(|s| s.name.clone()).collect(),
        })
    }

    /// Both ends of a way, which follow each other.
    pub fn way(&self, from: &str, to: &str) -> Result<(&Environment, &Environment), Error> {
        let (from, to) = (self.environment(from)?, self.environment(to)?);
        let before = self.before(&to.name);
        if before.is_some_and(|before| before.name == from.name) {
            return Ok((from, to));
        }
        Err(Error::Order {
            from: from.name.clone(),
            to: to.name.clone(),
            wanted: before.map(|before| before.name.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
repository: {url: 'https://git.example/shop/config.git', tokenFile: token}
services:
- name: backend
- {name: frontend, image: registry.example/web, rollout: web}
environments:
- {name: staging, path: clusters/staging, deliver: push, cluster: {context: staging, namespace: shop}}
- name: production
  path: clusters/production
  gates: {soak: 24h, versions: '>=1.0.0, <2.0.0', promoted: true}
";

    fn problems(text: &str) -> Vec<String> {
        match Pipeline::parse(text, Path::new("p.yaml")) {
            Err(Error::Pipeline(problems)) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pipeline_has_defaults() {
        let pipeline = Pipeline::parse(GOOD, Path::new("clusters/p.yaml")).unwrap();
        let production = pipeline.environment("production").unwrap();
        assert_eq!(
            (&production.deliver, production.branch.as_str()),
            (&Deliver::PullRequest, "main")
        );
        assert_eq!(production.gates.soak, Some(Duration::from_secs(86_400)));
        let token = Some(PathBuf::from("clusters/token"));
        assert_eq!(pipeline.source().unwrap().token_file, token);
        assert!(pipeline.way("staging", "production").is_ok());
    }

    #[test]
    fn a_way_that_leaves_one_out_or_goes_back_is_refused_by_name() {
        let pipeline = Pipeline::parse(GOOD, Path::new("p.yaml")).unwrap();
        let back = pipeline
            .way("production", "staging")
            .unwrap_err()
            .to_string();
        assert_eq!(
            back,
            "staging does not come after production but after nothing: it is the first"
        );
        let gone = pipeline.way("qa", "production").unwrap_err().to_string();
        assert_eq!(
            gone,
            "there is no environment \"qa\"; the pipeline has staging, production"
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "
repository: {url: /srv/git, tokn: 1}
services: [{name: backend}, {name: backend}]
environments:
- {name: a, path: ../x, deliver: mail}
- {path: b, gates: {soak: long, versions: newer, promoted: true}}
- name: c
  path: c
  gates:
    runs: 0
    smoke: [health]
    approval: {required: 0, form: [ada]}
    freeze: [{name: night, from: 22:00, to: 22:00, zone: Nowhere}]
";
        let found = problems(text);
        let wanted = [
            "p.yaml:2:14: repository.url: found \"/srv/git\"",
            "p.yaml:2:29: repository.tokn: found an unknown key",
            "p.yaml:3:30: services[1].name: found \"backend\" a second time",
            "p.yaml:5:13: environments[0].path: found \"../x\"",
            "p.yaml:5:25: environments[0].deliver: found \"mail\"",
            "p.yaml:6:3: environments[1].name: found nothing",
            "p.yaml:6:21: environments[1].gates.soak: found \"long\"",
            "p.yaml:6:33: environments[1].gates.versions: found \"newer\"",
            "p.yaml:6:50: environments[1].gates.promoted: found \"promoted\"",
            "p.yaml:10:5: environments[2].gates.runs: found something else",
            "p.yaml:10:5: environments[2].gates.runs: found \"runs\"",
            "p.yaml:11:5: environments[2].gates.smoke: found \"smoke\"",
            "p.yaml:2:1: environments[2].gates.smoke: found names of tests",
            "p.yaml:12:5: environments[2].gates.approval: found \"approval\"",
            "p.yaml:12:16: environments[2].gates.approval.required: found something else",
            "p.yaml:12:29: environments[2].gates.approval.form: found an unknown key",
            "p.yaml:13:41: environments[2].gates.freeze[0].to: found one that does not fit",
            "p.yaml:13:52: environments[2].gates.freeze[0].zone: found \"Nowhere\"",
        ];
        for wanted in wanted {
            assert!(
                found.iter().any(|line| line.starts_with(wanted)),
                "{wanted}: {found:#?}"
            );
        }
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
    }
}

//! What an Ingress leads to: each host and path with its Service's port, and the canary beside it.
//!
//! A canary is another Ingress with the annotation `canary`, whose rule has the same host, path and type.
//! Not here: what its annotations say of how (`annotations`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressServiceBackend};
use kube::ResourceExt;

use super::annotations::{self, Shaping};
use super::{Faults, Given};
use crate::kubernetes::canary::ROLLOUT;

/// A Service's port, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub service: String,
    pub port: i32,
}

/// How a path matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathType {
    Exact,
    Prefix,
    /// Every path that begins with its text.
    Text,
}

/// One path of a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub text: String,
    pub kind: PathType,
    pub stable: Backend,
    pub canary: Option<(Backend, Shaping)>,
}

/// The paths by host; the empty host is every one.
#[derive(Debug, Default)]
pub struct Read {
    pub hosts: BTreeMap<String, Vec<Path>>,
    /// Hosts with TLS, and the Secrets of their certificates; empty for the controller's default.
    pub secrets: BTreeMap<String, String>,
    /// The Ingresses that are its canaries.
    pub canaries: BTreeSet<String>,
}

impl Read {
    /// The hosts that are named.
    pub fn hosts(&self) -> Vec<String> {
        let named = self.hosts.keys().filter(|host| !host.is_empty());
        named.cloned().collect()
    }
}

/// Reads the Ingress and its canaries.
pub fn read(given: &Given, notes: &mut Vec<String>) -> Result<Read, Faults> {
    let reader = Reader { given };
    let mut faults = Vec::new();
    if annotations::shaping(&given.ingress, &given.prefix).is_some() {
        faults.push(format!(
            "Ingress {}: it is a canary itself; name the Ingress that it stands beside",
            given.ingress.name_any()
        ));
    }
    let mut read = Read::default();
    for (host, path, service) in entries(&given.ingress, &mut faults) {
        let Some(stable) = reader.backend(&given.ingress, &service, &mut faults) else {
            continue;
        };
        let paths = read.hosts.entry(host).or_default();
        let (text, kind) = path;
        // The first to name a path has it.
        if !paths.iter().any(|one| one.text == text && one.kind == kind) {
            paths.push(Path {
                text,
                kind,
                stable,
                canary: None,
            });
        }
    }
    add_aliases(given, &mut read);
    for canary in &given.others {
        reader.add_canary(canary, &mut read, notes, &mut faults);
    }
    read.secrets = secrets(&given.ingress, read.hosts.keys());
    if read.hosts.is_empty() && faults.is_empty() {
        faults.push(format!(
            "Ingress {}: it leads nowhere",
            given.ingress.name_any()
        ));
    }
    if faults.is_empty() {
        Ok(read)
    } else {
        Err(Faults(faults))
    }
}

/// The other names of its host, which lead where it leads.
fn add_aliases(given: &Given, read: &mut Read) {
    let names = annotations::aliases(&given.ingress, &given.prefix).unwrap_or_default();
    let host = read.hosts.keys().find(|host| !host.is_empty());
    let Some(paths) = host.and_then(|host| read.hosts.get(host)).cloned() else {
        return;
    };
    for name in names {
        read.hosts.entry(name).or_insert_with(|| paths.clone());
    }
}

/// With any `tls`, ingress-nginx serves every host of the Ingress with it: by the Secret that names the host, or a
/// wildcard for it, or no host at all, else by its default certificate.
fn secrets<'a>(
    ingress: &Ingress,
    hosts: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, String> {
    let spec = ingress.spec.as_ref();
    let all = spec
        .and_then(|spec| spec.tls.as_deref())
        .unwrap_or_default();
    if all.is_empty() {
        return BTreeMap::new();
    }
    let secret = |host: &String| {
        let wild = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let named = |wanted: Option<&String>| {
            let mut all = all.iter();
            wanted.and_then(|wanted| {
                all.find(|tls| tls.hosts.iter().flatten().any(|one| one == wanted))
            })
        };
        let open = || {
            all.iter()
                .find(|tls| tls.hosts.iter().flatten().count() == 0)
        };
        let found = named(Some(host))
            .or_else(|| named(wild.as_ref()))
            .or_else(open);
        found
            .and_then(|tls| tls.secret_name.clone())
            .unwrap_or_default()
    };
    hosts.map(|host| (host.clone(), secret(host))).collect()
}

/// Host, path with its type, and Service of each rule; the default backend is every path of every host.
fn entries(
    ingress: &Ingress,
    faults: &mut Vec<String>,
) -> Vec<(String, (String, PathType), IngressServiceBackend)> {
    let name = ingress.name_any();
    let mut all = Vec::new();
    let Some(spec) = &ingress.spec else {
        return all;
    };
    for (number, rule) in spec.rules.iter().flatten().enumerate() {
        let host = rule.host.clone().unwrap_or_default();
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        for (at, path) in paths.enumerate() {
            match &path.backend.service {
                Some(service) => all.push((host.clone(), path_of(path), service.clone())),
                None => faults.push(format!(
                    "Ingress {name}: spec.rules[{number}].http.paths[{at}].backend: it is no Service"
                )),
            }
        }
    }
    if let Some(backend) = &spec.default_backend {
        let everything = ("/".to_owned(), PathType::Prefix);
        match &backend.service {
            Some(service) => all.push((String::new(), everything, service.clone())),
            None => faults.push(format!(
                "Ingress {name}: spec.defaultBackend: it is no Service"
            )),
        }
    }
    all
}

fn path_of(path: &HTTPIngressPath) -> (String, PathType) {
    let text = path.path.clone().filter(|text| !text.is_empty());
    let kind = match path.path_type.as_str() {
        "Exact" => PathType::Exact,
        "Prefix" => PathType::Prefix,
        _ => PathType::Text,
    };
    (text.unwrap_or_else(|| "/".to_owned()), kind)
}

struct Reader<'a> {
    given: &'a Given,
}

impl Reader<'_> {
    /// The backend with its port's number.
    fn backend(
        &self,
        of: &Ingress,
        service: &IngressServiceBackend,
        faults: &mut Vec<String>,
    ) -> Option<Backend> {
        let port = service.port.as_ref();
        let number = port.and_then(|port| port.number);
        let named = port.and_then(|port| port.name.as_deref());
        let number = number.or_else(|| self.numbered(&service.name, named?));
        if number.is_none() {
            let port = named.unwrap_or("without a port");
            faults.push(format!(
                "Ingress {}: Service {}: its port {port} was not found; an HTTPRoute needs the number: give the Service too",
                of.name_any(),
                service.name
            ));
        }
        Some(Backend {
            service: service.name.clone(),
            port: number?,
        })
    }

    fn numbered(&self, service: &str, port: &str) -> Option<i32> {
        let mut services = self.given.services.iter();
        let found = services.find(|one| one.name_any() == service)?;
        let mut ports = found
            .spec
            .iter()
            .flat_map(|spec| spec.ports.iter().flatten());
        ports
            .find(|one| one.name.as_deref() == Some(port))
            .map(|port| port.port)
    }

    fn add_canary(
        &self,
        canary: &Ingress,
        read: &mut Read,
        notes: &mut Vec<String>,
        faults: &mut Vec<String>,
    ) {
        let Some(shaping) = annotations::shaping(canary, &self.given.prefix) else {
            return;
        };
        let mut unknown = Vec::new();
        let entries = entries(canary, &mut unknown);
        let beside = |host: &str, path: &(String, PathType)| {
            let paths = read.hosts.get(host)?;
            paths
                .iter()
                .position(|one| one.text == path.0 && one.kind == path.1)
        };
        let found: Vec<_> = entries
            .into_iter()
            .filter_map(|(host, path, service)| {
                let at = beside(&host, &path)?;
                Some((host, at, service))
            })
            .collect();
        if found.is_empty() {
            return;
        }
        faults.extend(unknown);
        if canary.labels().contains_key(ROLLOUT) {
            notes.push(format!(
                "Ingress {}: it is the canary of a run that goes on, and was left out; switch when the Rollout is Idle",
                canary.name_any()
            ));
            return;
        }
        for (host, at, service) in found {
            let Some(backend) = self.backend(canary, &service, faults) else {
                continue;
            };
            let path = read
                .hosts
                .get_mut(&host)
                .and_then(|paths| paths.get_mut(at));
            let Some(path) = path.filter(|path| path.canary.is_none()) else {
                notes.push(format!(
                    "Ingress {}: {host}: a path has one canary, and has it already; left out",
                    canary.name_any()
                ));
                continue;
            };
            path.canary = Some((backend, shaping.clone()));
            read.canaries.insert(canary.name_any());
        }
    }
}

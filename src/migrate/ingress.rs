//! What an Ingress leads to: each host and path with its Service's port, and the canary beside it.
//!
//! A canary is another Ingress with the annotation `canary`, whose rule has the same host, path and type.
//! Not here: what its annotations say of how (`annotations`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressRule, IngressServiceBackend, IngressTLS,
};
use kube::ResourceExt;

use super::Given;
use super::annotations::{self, Shaping};
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

/// What a path asks of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub text: String,
    pub kind: PathType,
}

/// One path of a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub asked: Asked,
    pub stable: Backend,
    pub canary: Option<(Backend, Shaping)>,
}

/// The paths by host; the empty host is every one.
#[derive(Debug, Default)]
pub struct Read {
    pub hosts: BTreeMap<String, Vec<Path>>,
    /// Named hosts with TLS, and the Secrets of their certificates; empty for the controller's default.
    pub secrets: BTreeMap<String, String>,
    /// Hosts that only `server-alias` names.
    pub aliases: BTreeSet<String>,
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

/// Reads the Ingress and its canaries; what stands against it becomes a fault, and is left out.
pub fn read(given: &Given, notes: &mut Vec<String>, faults: &mut Vec<String>) -> Read {
    let reader = Reader { given };
    let name = given.ingress.name_any();
    if annotations::shaping(&given.ingress, &given.prefix).is_some() {
        faults.push(format!(
            "Ingress {name}: it is a canary itself; name the Ingress that it stands beside"
        ));
    }
    let mut read = Read::default();
    for (host, asked, service) in entries(&given.ingress, faults) {
        if let Some(stable) = reader.backend(&given.ingress, &service, faults) {
            add(&mut read, host, asked, stable);
        }
    }
    let service = default_service(&given.ingress, faults);
    if let Some(stable) = service.and_then(|one| reader.backend(&given.ingress, &one, faults)) {
        add_default(&given.ingress, &mut read, &stable, notes);
    }
    for canary in &given.others {
        reader.add_canary(canary, &mut read, notes, faults);
    }
    // Later than its canaries, which its other names have too.
    read.aliases = add_aliases(given, &mut read);
    read.secrets = secrets(&given.ingress, &read);
    if asked(&given.ingress).is_empty() {
        faults.push(format!("Ingress {name}: it leads nowhere"));
    }
    read
}

/// All that its paths ask, wherever they lead.
pub fn asked(ingress: &Ingress) -> BTreeSet<Asked> {
    let rules = rules(ingress).iter();
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    let default = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.default_backend.as_ref());
    paths
        .map(path_of)
        .chain(default.map(|_| everything()))
        .collect()
}

fn rules(ingress: &Ingress) -> &[IngressRule] {
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref());
    rules.unwrap_or_default()
}

fn everything() -> Asked {
    Asked {
        text: "/".to_owned(),
        kind: PathType::Prefix,
    }
}

/// The first to name a path has it.
fn add(read: &mut Read, host: String, asked: Asked, stable: Backend) {
    let paths = read.hosts.entry(host).or_default();
    if !paths.iter().any(|one| one.asked == asked) {
        paths.push(Path {
            asked,
            stable,
            canary: None,
        });
    }
}

/// ingress-nginx leads to the default backend what no rule of its hosts takes, and other hosts only where there is no rule.
fn add_default(ingress: &Ingress, read: &mut Read, stable: &Backend, notes: &mut Vec<String>) {
    let hosts = rules(ingress).iter().filter_map(|rule| rule.host.clone());
    let mut hosts: BTreeSet<String> = hosts.filter(|host| !host.is_empty()).collect();
    if rules(ingress).is_empty() {
        hosts.insert(String::new());
    } else {
        notes.push(format!(
            "Ingress {}: spec.defaultBackend: it has what no rule of its hosts takes; ingress-nginx leads no other hosts to it where \
             there are rules, and the routes do not either",
            ingress.name_any()
        ));
    }
    for host in hosts {
        let whole = |path: &Path| path.asked.text == "/" && path.asked.kind != PathType::Exact;
        if !read
            .hosts
            .get(&host)
            .is_some_and(|paths| paths.iter().any(whole))
        {
            add(read, host, everything(), stable.clone());
        }
    }
}

/// The other names of its host, which lead where it leads.
fn add_aliases(given: &Given, read: &mut Read) -> BTreeSet<String> {
    let names = annotations::aliases(&given.ingress, &given.prefix).unwrap_or_default();
    let host = read.hosts.keys().find(|host| !host.is_empty());
    let Some(paths) = host.and_then(|host| read.hosts.get(host)).cloned() else {
        return BTreeSet::new();
    };
    let names = names
        .into_iter()
        .filter(|name| !read.hosts.contains_key(name));
    let names: BTreeSet<String> = names.collect();
    for name in &names {
        read.hosts.insert(name.clone(), paths.clone());
    }
    names
}

/// With any `tls`, ingress-nginx serves every host of the Ingress with it: by the Secret that names the host, or a
/// wildcard for it, or no host at all, else by its default certificate. An alias has its host's.
fn secrets(ingress: &Ingress, read: &Read) -> BTreeMap<String, String> {
    let spec = ingress.spec.as_ref();
    let all = spec
        .and_then(|spec| spec.tls.as_deref())
        .unwrap_or_default();
    if all.is_empty() {
        return BTreeMap::new();
    }
    let hosts = read.hosts();
    let aliased = hosts.iter().find(|host| !read.aliases.contains(*host));
    let secret = |host: &String| {
        let owner = aliased.filter(|_| read.aliases.contains(host));
        let found = certificate(all, owner.unwrap_or(host));
        found
            .and_then(|tls| tls.secret_name.clone())
            .unwrap_or_default()
    };
    hosts
        .iter()
        .map(|host| (host.clone(), secret(host)))
        .collect()
}

/// Whose certificate a host has.
fn certificate<'a>(all: &'a [IngressTLS], host: &str) -> Option<&'a IngressTLS> {
    let wild = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let named = |wanted: &str| {
        let names = |tls: &&IngressTLS| tls.hosts.iter().flatten().any(|one| one == wanted);
        all.iter().find(names)
    };
    let open = || {
        all.iter()
            .find(|tls| tls.hosts.iter().flatten().count() == 0)
    };
    named(host)
        .or_else(|| named(wild.as_deref()?))
        .or_else(open)
}

/// Host, path and Service of each rule.
fn entries(
    ingress: &Ingress,
    faults: &mut Vec<String>,
) -> Vec<(String, Asked, IngressServiceBackend)> {
    let mut all = Vec::new();
    for (number, rule) in rules(ingress).iter().enumerate() {
        let host = rule.host.clone().unwrap_or_default();
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        for (at, path) in paths.enumerate() {
            match &path.backend.service {
                Some(service) => all.push((host.clone(), path_of(path), service.clone())),
                None => faults.push(format!(
                    "Ingress {}: spec.rules[{number}].http.paths[{at}].backend: it is no Service",
                    ingress.name_any()
                )),
            }
        }
    }
    all
}

fn default_service(ingress: &Ingress, faults: &mut Vec<String>) -> Option<IngressServiceBackend> {
    let backend = ingress.spec.as_ref()?.default_backend.as_ref()?;
    if backend.service.is_none() {
        faults.push(format!(
            "Ingress {}: spec.defaultBackend: it is no Service",
            ingress.name_any()
        ));
    }
    backend.service.clone()
}

fn path_of(path: &HTTPIngressPath) -> Asked {
    let text = path.path.clone().filter(|text| !text.is_empty());
    let kind = match path.path_type.as_str() {
        "Exact" => PathType::Exact,
        "Prefix" => PathType::Prefix,
        _ => PathType::Text,
    };
    Asked {
        text: text.unwrap_or_else(|| "/".to_owned()),
        kind,
    }
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
        let found = beside(canary, read, &mut unknown);
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

/// The paths that a canary stands beside, each with its place among its host's, and the canary's Service.
fn beside(
    canary: &Ingress,
    read: &Read,
    faults: &mut Vec<String>,
) -> Vec<(String, usize, IngressServiceBackend)> {
    let mut entries = entries(canary, faults);
    let default = default_service(canary, faults);
    entries.extend(default.map(|service| (String::new(), everything(), service)));
    let found = entries.into_iter().filter_map(|(host, asked, service)| {
        let mut paths = read.hosts.get(&host)?.iter();
        let at = paths.position(|one| one.asked == asked)?;
        Some((host, at, service))
    });
    found.collect()
}

//! The routing table: servers, locations and upstreams, built from Ingresses as ingress-nginx
//! builds its configuration.
//!
//! The canary policy sits on an upstream (Service and port), and so does the link from the
//! stable one to it. The order of Ingresses is by age, and the first to name an upstream or a
//! path wins; this is where the controller's surprises come from, and they are kept. Pure.
//! Not here: the choice per request (`choose.rs`), watching (`source.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressServiceBackend,
};
use kube::ResourceExt;
use regex::Regex;

use super::annotations::{Annotations, Shaping};
use super::gateway::Way;

const DEFAULT_SERVER: &str = "_";

/// What labels a location's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels {
    pub namespace: String,
    pub ingress: String,
    pub service: String,
    pub path: String,
}

/// A Service port with its ready endpoints.
#[derive(Debug, Default)]
pub struct Upstream {
    /// `<namespace>-<service>-<port>`: also the metrics' `canary` label.
    pub name: String,
    pub service: String,
    /// Addresses of ready pods.
    pub endpoints: Vec<String>,
    /// Set if a canary Ingress named this upstream first: then it serves as an alternative only.
    pub shaping: Option<Shaping>,
    pub alternatives: Vec<String>,
    /// The session cookie's name.
    pub affinity: Option<String>,
    /// Whose turn it is.
    pub turn: AtomicUsize,
}

/// How a location matches paths.
#[derive(Debug, Clone)]
pub enum Match {
    Exact,
    /// The path itself and everything below it.
    Prefix,
    /// Every path that begins with this text.
    Text,
    Regex(Regex),
}

/// One path of a server.
#[derive(Debug, Clone)]
pub struct Location {
    pub path: String,
    pub path_type: String,
    pub matches: Match,
    pub upstream: String,
    pub labels: Arc<Labels>,
}

/// One host.
#[derive(Debug, Clone, Default)]
pub struct Server {
    pub host: String,
    pub locations: Vec<Location>,
}

/// Everything that a request is routed by.
#[derive(Debug, Default)]
pub struct Table {
    pub servers: HashMap<String, Server>,
    pub upstreams: HashMap<String, Upstream>,
    /// What `HTTPRoutes` lead to; they go before Ingresses.
    pub ways: Vec<Way>,
}

/// Finds the ready addresses behind a Service's port.
pub type Endpoints<'a> = dyn Fn(&str, &IngressServiceBackend) -> Vec<String> + 'a;

impl Table {
    /// Builds the table. `ingresses` are those of the served class, in any order.
    pub fn build(ingresses: &[Arc<Ingress>], prefix: &str, endpoints: &Endpoints<'_>) -> Self {
        let mut parsed: Vec<_> = ingresses
            .iter()
            .map(|ingress| Parsed::new(ingress, prefix))
            .collect();
        parsed.sort_by_key(|parsed| {
            let ingress = parsed.ingress;
            (
                ingress.creation_timestamp(),
                ingress.namespace(),
                ingress.name_any(),
            )
        });
        let mut table = Self::default();
        table.servers.insert(
            DEFAULT_SERVER.into(),
            Server {
                host: DEFAULT_SERVER.into(),
                ..Server::default()
            },
        );
        for parsed in &parsed {
            table.add_upstreams(parsed, endpoints);
        }
        for parsed in &parsed {
            table.add_servers(parsed);
        }
        for parsed in &parsed {
            table.add_locations(parsed);
        }
        for parsed in parsed
            .iter()
            .filter(|parsed| parsed.annotations.canary.is_some())
        {
            table.merge(parsed);
        }
        table.settle(&parsed);
        table
    }

    /// The server for a host: the exact one, one with a wildcard in place of its first label,
    /// else the default one.
    pub fn server(&self, host: &str) -> Option<&Server> {
        let wildcard = || {
            host.split_once('.')
                .and_then(|(_, rest)| self.servers.get(&format!("*.{rest}")))
        };
        let named = self.servers.get(host).or_else(wildcard);
        named.or_else(|| self.servers.get(DEFAULT_SERVER))
    }

    fn add_upstreams(&mut self, parsed: &Parsed<'_>, endpoints: &Endpoints<'_>) {
        for service in parsed.services() {
            let name = upstream_name(&parsed.namespace, service);
            if self.upstreams.contains_key(&name) {
                continue;
            }
            let upstream = Upstream {
                name: name.clone(),
                service: service.name.clone(),
                endpoints: endpoints(&parsed.namespace, service),
                shaping: parsed.annotations.canary.clone(),
                ..Upstream::default()
            };
            self.upstreams.insert(name, upstream);
        }
    }

    /// Hosts come into being for every Ingress but canaries.
    fn add_servers(&mut self, parsed: &Parsed<'_>) {
        if parsed.annotations.canary.is_some() {
            return;
        }
        for (host, _) in parsed.rules() {
            let server = self.servers.entry(host.clone()).or_default();
            server.host = host;
        }
    }

    fn add_locations(&mut self, parsed: &Parsed<'_>) {
        for (host, paths) in parsed.rules() {
            for path in paths {
                let Some(service) = &path.backend.service else {
                    continue;
                };
                self.add_location(parsed, &host, path, service);
            }
        }
        if let Some(service) = parsed.default_service() {
            let root = HTTPIngressPath {
                path: Some("/".into()),
                path_type: "Prefix".into(),
                ..HTTPIngressPath::default()
            };
            self.add_location(parsed, DEFAULT_SERVER, &root, service);
        }
    }

    fn add_location(
        &mut self,
        parsed: &Parsed<'_>,
        host: &str,
        path: &HTTPIngressPath,
        service: &IngressServiceBackend,
    ) {
        let name = upstream_name(&parsed.namespace, service);
        let Some(upstream) = self
            .upstreams
            .get_mut(&name)
            .filter(|upstream| upstream.shaping.is_none())
        else {
            return;
        };
        let Some(server) = self.servers.get_mut(host) else {
            return;
        };
        let text = path
            .path
            .clone()
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/".into());
        let taken =
            |location: &Location| location.path == text && location.path_type == path.path_type;
        if server.locations.iter().any(taken) {
            return;
        }
        if parsed.annotations.affinity.is_some() {
            upstream.affinity.clone_from(&parsed.annotations.affinity);
        }
        let labels = Labels {
            namespace: parsed.namespace.clone(),
            ingress: parsed.ingress.name_any(),
            service: service.name.clone(),
            path: text.clone(),
        };
        server.locations.push(Location {
            matches: matches(&path.path_type),
            path: text,
            path_type: path.path_type.clone(),
            upstream: name,
            labels: Arc::new(labels),
        });
    }

    /// Links a canary Ingress' upstreams to those of the rules that equal its own. A path
    /// without an equal takes its upstream away altogether.
    fn merge(&mut self, parsed: &Parsed<'_>) {
        if let Some(service) = parsed.default_service() {
            self.merge_rule(parsed, DEFAULT_SERVER, None, service);
        }
        for (host, paths) in parsed.rules() {
            for path in paths {
                if let Some(service) = &path.backend.service {
                    self.merge_rule(parsed, &host, Some(path), service);
                }
            }
        }
    }

    fn merge_rule(
        &mut self,
        parsed: &Parsed<'_>,
        host: &str,
        path: Option<&HTTPIngressPath>,
        service: &IngressServiceBackend,
    ) {
        let alternative = upstream_name(&parsed.namespace, service);
        let Some(server) = self.servers.get(host) else {
            return;
        };
        if !self.upstreams.contains_key(&alternative) {
            return;
        }
        let mut merged = false;
        for location in &server.locations {
            if location.upstream == alternative {
                return;
            }
            let equal = path.is_none_or(|path| {
                path.path.as_deref() == Some(&location.path) && path.path_type == location.path_type
            });
            if equal {
                merged = link(
                    &mut self.upstreams,
                    &location.upstream,
                    &alternative,
                    parsed.annotations.canary_sticks,
                );
            }
        }
        if !merged {
            self.upstreams.remove(&alternative);
        }
    }

    /// Locations of hosts with regular expressions are all regular expressions; and the order
    /// in which nginx tries locations: longest first.
    fn settle(&mut self, parsed: &[Parsed<'_>]) {
        for parsed in parsed.iter().filter(|parsed| parsed.annotations.use_regex) {
            for (host, _) in parsed.rules() {
                let locations = self
                    .servers
                    .get_mut(&host)
                    .map(|server| &mut server.locations);
                for location in locations.into_iter().flatten() {
                    if let Ok(regex) = Regex::new(&format!("(?i)^{}", location.path)) {
                        location.matches = Match::Regex(regex);
                    }
                }
            }
        }
        for server in self.servers.values_mut() {
            server.locations.sort_by_key(|location| {
                (
                    !matches!(location.matches, Match::Exact),
                    std::cmp::Reverse(location.path.len()),
                )
            });
        }
    }
}

fn link(
    upstreams: &mut HashMap<String, Upstream>,
    primary: &str,
    alternative: &str,
    sticks: bool,
) -> bool {
    let Some(main) = upstreams
        .get_mut(primary)
        .filter(|main| main.shaping.is_none())
    else {
        return false;
    };
    if main.alternatives.iter().any(|known| known == alternative) {
        return true;
    }
    main.alternatives.push(alternative.to_owned());
    let affinity = main.affinity.clone();
    if let Some(canary) = upstreams.get_mut(alternative).filter(|_| sticks) {
        canary.affinity = affinity;
    }
    true
}

impl Server {
    /// The location for a path, as nginx finds it.
    pub fn location(&self, path: &str) -> Option<&Location> {
        self.locations.iter().find(|location| location.takes(path))
    }
}

impl Location {
    fn takes(&self, path: &str) -> bool {
        match &self.matches {
            Match::Exact => path == self.path,
            Match::Text => path.starts_with(&self.path),
            Match::Regex(regex) => regex.is_match(path),
            Match::Prefix => {
                let stem = self.path.trim_end_matches('/');
                path.strip_prefix(stem)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

fn matches(path_type: &str) -> Match {
    match path_type {
        "Exact" => Match::Exact,
        "Prefix" => Match::Prefix,
        _ => Match::Text,
    }
}

/// The name that the controller gives to a Service's port.
pub fn upstream_name(namespace: &str, service: &IngressServiceBackend) -> String {
    let port = service.port.as_ref();
    let number = port
        .and_then(|port| port.number)
        .filter(|number| *number > 0);
    let name = port.and_then(|port| port.name.clone());
    let port = number
        .map(|number| number.to_string())
        .or(name)
        .unwrap_or_default();
    format!("{namespace}-{}-{port}", service.name)
}

struct Parsed<'a> {
    ingress: &'a Ingress,
    namespace: String,
    annotations: Annotations,
}

impl<'a> Parsed<'a> {
    fn new(ingress: &'a Ingress, prefix: &str) -> Self {
        let none = BTreeMap::new();
        let annotations = ingress.metadata.annotations.as_ref().unwrap_or(&none);
        Self {
            ingress,
            namespace: ingress.namespace().unwrap_or_default(),
            annotations: Annotations::read(annotations, prefix),
        }
    }

    /// Host (`_` if none) and paths of each rule that has paths.
    fn rules(&self) -> impl Iterator<Item = (String, &'a [HTTPIngressPath])> + use<'a> {
        let rules = self
            .ingress
            .spec
            .iter()
            .flat_map(|spec| spec.rules.iter().flatten());
        rules.filter_map(|rule| {
            let host = rule.host.clone().filter(|host| !host.is_empty());
            let host = host.unwrap_or_else(|| DEFAULT_SERVER.into());
            Some((
                host.to_ascii_lowercase(),
                rule.http.as_ref()?.paths.as_slice(),
            ))
        })
    }

    fn default_service(&self) -> Option<&'a IngressServiceBackend> {
        let backend: &IngressBackend = self.ingress.spec.as_ref()?.default_backend.as_ref()?;
        backend.service.as_ref()
    }

    fn services(&self) -> impl Iterator<Item = &'a IngressServiceBackend> + use<'a> {
        let paths = self.rules().flat_map(|(_, paths)| paths);
        self.default_service()
            .into_iter()
            .chain(paths.filter_map(|path| path.backend.service.as_ref()))
    }
}

//! The `HTTPRoute`s: one for all hosts that lead to the same, with the canary's header, cookie and weight.
//!
//! Of two rules that fit, the Gateway API takes the longer path, then more headers, then the earlier one: so the
//! canary's headers go first, cookies next, weights last, as ingress-nginx asks them.
//!
//! Not here: what an Ingress says (`ingress`, `annotations`), and how a path is asked for (`paths`).

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};

use super::annotations::{Shape, Shaping, Wanted};
use super::ingress::{Backend, Path, Read};
use super::paths::Paths;
use super::{Gateway, Given};

/// The most rules of an `HTTPRoute`.
const MOST_RULES: usize = 16;
/// The most hosts of an `HTTPRoute`.
const MOST_HOSTS: usize = 16;
/// What the name of the route that redirects to TLS ends with.
pub const TO_TLS: &str = "-to-tls";

/// The routes of an Ingress.
pub fn write(
    read: &Read,
    (shape, paths): (&Shape, &Paths<'_>),
    (given, gateway): (&Given, &Gateway),
) -> Vec<Value> {
    let mut writer = Writer {
        shape,
        paths,
        name: given.ingress.name_any(),
        namespace: given.ingress.namespace(),
        gateway,
        routes: Vec::new(),
    };
    let secured: Vec<String> = if shape.to_tls {
        read.secrets.keys().cloned().collect()
    } else {
        Vec::new()
    };
    for (hosts, paths) in groups(read) {
        let rules = writer.rules_of(paths);
        let with_tls = hosts.iter().any(|host| secured.contains(host));
        for hosts in hosts.chunks(MOST_HOSTS) {
            writer.route(hosts, &rules, with_tls);
        }
    }
    for hosts in secured.chunks(MOST_HOSTS) {
        writer.redirect(hosts);
    }
    writer.routes
}

/// Hosts that lead to the same, with where they lead. With any TLS each named host has it, and who names none has not.
fn groups(read: &Read) -> Vec<(Vec<String>, &[Path])> {
    let mut groups: Vec<(Vec<String>, &[Path])> = Vec::new();
    for (host, paths) in &read.hosts {
        let alike = |group: &&mut (Vec<String>, &[Path])| {
            let named = group.0.iter().all(|host| !host.is_empty());
            named && group.1 == paths
        };
        match groups.iter_mut().find(alike) {
            Some((hosts, _)) => hosts.push(host.clone()),
            None => groups.push((vec![host.clone()], paths)),
        }
    }
    groups
}

struct Writer<'a> {
    shape: &'a Shape,
    paths: &'a Paths<'a>,
    name: String,
    namespace: Option<String>,
    gateway: &'a Gateway,
    routes: Vec<Value>,
}

impl Writer<'_> {
    /// The rules of hosts that lead there.
    fn rules_of(&self, paths: &[Path]) -> Vec<Value> {
        let mut rules = Vec::new();
        if let Some(root) = &self.shape.root {
            let path = json!({"type": "ReplaceFullPath", "replaceFullPath": root});
            let to = json!({"type": "RequestRedirect", "requestRedirect": {"path": path, "statusCode": 302}});
            rules.push(
                json!({"matches": [{"path": {"type": "Exact", "value": "/"}}], "filters": [to]}),
            );
        }
        for path in self.paths.ordered(paths) {
            rules.extend(self.rules(path));
        }
        rules
    }

    /// Routes of these hosts: more than one where there are too many rules.
    fn route(&mut self, hosts: &[String], rules: &[Value], secured: bool) {
        let section = secured.then(|| self.gateway.https.clone());
        for rules in rules.chunks(MOST_RULES) {
            let name = match self.routes.len() {
                0 => self.name.clone(),
                before => format!("{}-{}", self.name, before + 1),
            };
            let object = self.object(&name, hosts, section.as_deref(), rules);
            self.routes.push(object);
        }
    }

    /// From the listener without TLS to the one with it.
    fn redirect(&mut self, hosts: &[String]) {
        let to = json!({"scheme": "https", "statusCode": 301});
        let filter = json!({"type": "RequestRedirect", "requestRedirect": to});
        let rules = [json!({"filters": [filter]})];
        let before = self.routes.iter();
        let before = before.filter(|route| is_to_tls(route)).count();
        let name = match before {
            0 => format!("{}{TO_TLS}", self.name),
            before => format!("{}-{}{TO_TLS}", self.name, before + 1),
        };
        let object = self.object(&name, hosts, Some(&self.gateway.http), &rules);
        self.routes.push(object);
    }

    fn object(
        &self,
        name: &str,
        hosts: &[String],
        section: Option<&str>,
        rules: &[Value],
    ) -> Value {
        let mut parent = json!({"name": self.gateway.name});
        if let Some(namespace) = &self.gateway.namespace {
            parent["namespace"] = namespace.as_str().into();
        }
        if let Some(section) = section {
            parent["sectionName"] = section.into();
        }
        let mut metadata = json!({"name": name});
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = namespace.as_str().into();
        }
        let mut spec = json!({"parentRefs": [parent]});
        let named: Vec<&String> = hosts.iter().filter(|host| !host.is_empty()).collect();
        if !named.is_empty() {
            spec["hostnames"] = json!(named);
        }
        spec["rules"] = json!(rules);
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": metadata, "spec": spec,
        })
    }

    /// The rules of one path, those that are asked first at the front.
    fn rules(&self, path: &Path) -> Vec<Value> {
        let matcher = self.paths.matcher(&path.asked);
        let filters = self.paths.filters(&path.asked);
        let rule = |header: Option<Value>, backends: Value| {
            let mut matches = json!({"path": matcher});
            if let Some(header) = header {
                matches["headers"] = json!([header]);
            }
            let mut rule = json!({"matches": [matches]});
            if !filters.is_empty() {
                rule["filters"] = json!(filters);
            }
            if self.shape.redirect.is_none() {
                rule["backendRefs"] = backends;
            }
            rule
        };
        let Some((canary, shaping)) = &path.canary else {
            return vec![rule(None, json!([backend(&path.stable)]))];
        };
        let mut rules: Vec<Value> = deciders(shaping)
            .into_iter()
            .map(|(header, to_canary)| {
                let to = if to_canary { canary } else { &path.stable };
                rule(Some(header), json!([backend(to)]))
            })
            .collect();
        rules.push(rule(None, split(&path.stable, canary, shaping)));
        rules
    }
}

/// What differs though everything was taken.
pub fn say(
    given: &Given,
    (read, shape): (&Read, &Shape),
    routes: &[Value],
    notes: &mut Vec<String>,
) {
    let name = given.ingress.name_any();
    let mut note = |text: String| notes.push(format!("Ingress {name}: {text}"));
    certificates(read).into_iter().for_each(&mut note);
    if shape.to_tls && !read.secrets.is_empty() {
        note("requests without TLS are redirected by 301, by ingress-nginx with 308: a POST becomes a GET on the way".to_owned());
    }
    let with_path = |to: &Value| to["requestRedirect"]["path"].is_object();
    if shape.redirect.as_ref().is_some_and(with_path) {
        note("its redirect keeps the request's query, ingress-nginx leaves it out".to_owned());
    }
    let hosts: Vec<&str> = read.hosts.keys().map(String::as_str).collect();
    for host in hosts.iter().filter(|host| host.starts_with("*.")) {
        note(format!(
            "{host}: one label in an Ingress, any number of them in an HTTPRoute"
        ));
    }
    if hosts.len() > 1 && hosts.contains(&"") {
        note("a request whose path no rule of its host takes ends there; with some Gateways the rules without a host take it".to_owned());
    }
    if routes.iter().any(asks_expressions) {
        note(
            "it needs regular expressions, which Gateways may support, each in its own dialect"
                .to_owned(),
        );
    }
    if read
        .hosts
        .values()
        .flatten()
        .any(|path| path.canary.is_some())
    {
        note("a canary without ready pods is passed over by ingress-nginx; a Gateway answers its part with errors".to_owned());
    }
}

/// What the Gateway's listener needs for TLS: a sentence for each certificate.
fn certificates(read: &Read) -> Vec<String> {
    let mut secured: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, secret) in &read.secrets {
        secured.entry(secret).or_default().push(host);
    }
    let told = secured.into_iter().map(|(secret, hosts)| {
        let secret = if secret.is_empty() {
            "none is named: ingress-nginx served its default"
        } else {
            secret
        };
        format!(
            "TLS of {}: the Gateway's listener needs the certificate (certificateRefs: {secret})",
            hosts.join(", ")
        )
    });
    let mut told: Vec<String> = told.collect();
    if read.secrets.is_empty() {
        return told;
    }
    for alias in &read.aliases {
        told.push(format!(
            "{alias} has the certificate of its host if that names it; else ingress-nginx served its default one, and did not \
             redirect from http"
        ));
    }
    if read.hosts.contains_key("") {
        told.push("rules without a host are answered with TLS, by a certificate for them if the Gateway has one, and without, as by ingress-nginx".to_owned());
    }
    told
}

/// Whether a route asks for a path or a header by an expression.
fn asks_expressions(route: &Value) -> bool {
    let rules = route["spec"]["rules"].as_array();
    let mut matches = rules.into_iter().flatten().flat_map(|rule| {
        let matches = rule["matches"].as_array();
        matches.into_iter().flatten()
    });
    matches.any(|one| {
        let headers = one["headers"].as_array().into_iter().flatten();
        let mut asked = headers.chain([&one["path"]]);
        asked.any(|asked| asked["type"] == "RegularExpression")
    })
}

fn is_to_tls(route: &Value) -> bool {
    let name = route["metadata"]["name"].as_str();
    name.is_some_and(|name| name.ends_with(TO_TLS))
}

fn backend(to: &Backend) -> Value {
    json!({"name": to.service, "port": to.port})
}

fn split(stable: &Backend, canary: &Backend, shaping: &Shaping) -> Value {
    let weighted = |to: &Backend, weight: u32| {
        let mut backend = backend(to);
        backend["weight"] = weight.into();
        backend
    };
    json!([
        weighted(stable, shaping.total - shaping.weight),
        weighted(canary, shaping.weight),
    ])
}

/// Headers that decide, in the order in which they are asked, and whether for the canary.
fn deciders(shaping: &Shaping) -> Vec<(Value, bool)> {
    let exact = |name: &str, value: &str| json!({"name": name, "type": "Exact", "value": value});
    let like = |name: &str, value: String| json!({"name": name, "type": "RegularExpression", "value": value});
    let mut all = Vec::new();
    if let Some(header) = &shaping.header {
        match &header.wanted {
            Wanted::Always => {
                all.push((exact(&header.name, "always"), true));
                all.push((exact(&header.name, "never"), false));
            }
            Wanted::Value(value) => all.push((exact(&header.name, value), true)),
            Wanted::Pattern(pattern) => all.push((like(&header.name, anywhere(pattern)), true)),
        }
    }
    if let Some(cookie) = &shaping.cookie {
        let name = regex::escape(cookie);
        for (value, to_canary) in [("always", true), ("never", false)] {
            let pattern = format!("^(.*; *)?{name}={value}( *;.*)?$");
            all.push((like("Cookie", pattern), to_canary));
        }
    }
    all
}

/// ingress-nginx looks for a pattern anywhere in the value; with some Gateways a route's must be all of it.
fn anywhere(pattern: &str) -> String {
    format!(".*(?:{pattern}).*")
}

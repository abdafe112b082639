//! The `HTTPRoute`s: one for all hosts that lead to the same, with the canary's header, cookie and weight.
//!
//! Of two rules that fit, the Gateway API takes the longer path, then more headers, then the earlier one: so the
//! canary's headers go first, cookies next, weights last, as ingress-nginx asks them.
//!
//! Not here: what an Ingress says (`ingress`, `annotations`).

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde_json::{Value, json};

use super::annotations::{self, Rewrite, Shape, Shaping, Wanted, rewrite};
use super::ingress::{Backend, Path, PathType, Read};
use super::{Gateway, Given};

/// The most rules of an `HTTPRoute`.
const MOST_RULES: usize = 16;
/// The most hosts of an `HTTPRoute`.
const MOST_HOSTS: usize = 16;
/// What paths that catch the rest end with, and the group that catches it.
const ENDS: [(&str, u32); 4] = [("(/|$)(.*)", 2), ("/?(.*)", 1), ("/(.*)", 1), ("(.*)", 1)];
/// What makes a path an expression; a dot may be one.
const EXPRESSION: [char; 11] = ['(', '[', '*', '.', '?', '+', '|', '\\', '$', '^', '{'];
/// The annotation of rewrites, as `--without` names it.
const REWRITE: &str = "rewrite-target";
/// What the name of the route that redirects to TLS ends with.
pub const TO_TLS: &str = "-to-tls";

/// The routes of an Ingress.
pub fn write(
    read: &Read,
    shape: &Shape,
    (given, gateway): (&Given, &Gateway),
    notes: &mut Vec<String>,
) -> Vec<Value> {
    let mut writer = Writer {
        shape,
        name: given.ingress.name_any(),
        namespace: given.ingress.namespace(),
        gateway,
        notes,
        routes: Vec::new(),
    };
    for (hosts, paths) in groups(read) {
        let secured = shape.to_tls && hosts.iter().any(|host| is_secured(read, host));
        for hosts in hosts.chunks(MOST_HOSTS) {
            writer.route(hosts, paths, secured);
        }
    }
    let secured: Vec<String> = read.secrets.keys().cloned().collect();
    if shape.to_tls && !secured.is_empty() {
        for hosts in secured.chunks(MOST_HOSTS) {
            writer.redirect(hosts);
        }
    }
    writer.say(read);
    writer.routes
}

fn is_secured(read: &Read, host: &str) -> bool {
    read.secrets.contains_key(host)
}

/// Hosts that lead to the same, with where they lead. Hosts with TLS and without are not mixed.
fn groups(read: &Read) -> Vec<(Vec<String>, &[Path])> {
    let mut groups: Vec<(Vec<String>, &[Path])> = Vec::new();
    for (host, paths) in &read.hosts {
        let alike = |group: &&mut (Vec<String>, &[Path])| {
            let first = group.0.first().map_or("", String::as_str);
            group.1 == paths
                && !first.is_empty()
                && is_secured(read, first) == is_secured(read, host)
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
    name: String,
    namespace: Option<String>,
    gateway: &'a Gateway,
    notes: &'a mut Vec<String>,
    routes: Vec<Value>,
}

impl Writer<'_> {
    /// Routes of these hosts: more than one where there are too many rules.
    fn route(&mut self, hosts: &[String], paths: &[Path], secured: bool) {
        let mut rules = Vec::new();
        if let Some(root) = &self.shape.root {
            let path = json!({"type": "ReplaceFullPath", "replaceFullPath": root});
            let to = json!({"type": "RequestRedirect", "requestRedirect": {"path": path, "statusCode": 302}});
            rules.push(
                json!({"matches": [{"path": {"type": "Exact", "value": "/"}}], "filters": [to]}),
            );
        }
        for path in self.ordered(paths) {
            rules.extend(self.rules(path));
        }
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

    /// Whether its path is asked as an expression: as said, or since a rewrite makes it one.
    fn is_expression(&self, path: &Path) -> bool {
        let rewrites = |filter: &Value| filter["urlRewrite"]["path"].is_object();
        let rewritten = self.shape.caught.is_some() || self.shape.filters.iter().any(rewrites);
        let looks = path.text.replace('.', "").contains(EXPRESSION);
        path.kind != PathType::Exact && (self.shape.regex || rewritten && looks)
    }

    /// The paths that a route may have, in the order in which they are asked: of expressions the longest first.
    fn ordered<'p>(&mut self, paths: &'p [Path]) -> Vec<&'p Path> {
        let mut all: Vec<&Path> = Vec::new();
        for path in paths {
            if self.is_expression(path) || self.caught(path).is_some() || may_have(&path.text) {
                all.push(path);
            } else {
                self.notes.push(format!(
                    "Ingress {}: path {} is left out, since no HTTPRoute may have it: write it percent-encoded and without dots",
                    self.name, path.text
                ));
            }
        }
        if all.iter().any(|path| self.is_expression(path)) {
            all.sort_by_key(|path| std::cmp::Reverse(path.text.len()));
        }
        all
    }

    /// The rules of one path, those that are asked first at the front.
    fn rules(&mut self, path: &Path) -> Vec<Value> {
        let matcher = self.matcher(path);
        let filters = self.filters(path);
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

    fn matcher(&mut self, path: &Path) -> Value {
        let value = path.text.as_str();
        if let Some(caught) = self.caught(path) {
            self.say_caught(path, &caught);
            return json!({"type": "PathPrefix", "value": caught.stem});
        }
        if self.is_expression(path) {
            // Some Gateways ask whether all of the path is like it, some whether any part is.
            let open = value.trim_end_matches('$');
            let end = if open.len() == value.len() { ".*" } else { "$" };
            return json!({"type": "RegularExpression", "value": format!("(?i)^{open}{end}")});
        }
        let (kind, takes) = if path.kind == PathType::Exact {
            ("Exact", "only itself")
        } else {
            ("PathPrefix", "only what lies below it")
        };
        let rewrites = |filter: &Value| filter["urlRewrite"]["path"].is_object();
        let why = if path.kind == PathType::Text {
            Some("is ImplementationSpecific")
        } else {
            let rewritten = self.shape.filters.iter().any(rewrites);
            rewritten.then_some("is rewritten")
        };
        if let Some(why) = why.filter(|_| value != "/") {
            self.notes.push(format!(
                "Ingress {}: path {value} {why}: ingress-nginx takes every path that begins with it ({value}x too), \
                 {kind} {takes}",
                self.name
            ));
        }
        json!({"type": kind, "value": value})
    }

    /// The prefix of `/prefix(/|$)(.*)` and its like, where the rewrite keeps what follows.
    fn caught(&self, path: &Path) -> Option<Caught> {
        caught(self.shape.caught.as_ref()?, path)
    }

    /// Where a prefix takes other paths than the expression took.
    fn say_caught(&mut self, path: &Path, Caught { stem, end, to }: &Caught) {
        if stem == "/" {
            return;
        }
        let mut note = |text: String| {
            let note = format!("Ingress {}: path {}: {text}", self.name, path.text);
            self.notes.push(note);
        };
        if matches!(*end, "/?(.*)" | "(.*)") {
            note(format!(
                "ingress-nginx takes every path that begins with {stem} ({stem}x too), PathPrefix only what lies below it"
            ));
        }
        if *end == "/(.*)" {
            note(format!(
                "ingress-nginx does not take {stem} itself, PathPrefix does"
            ));
        }
        if *end == "(.*)" && to.ends_with('/') {
            note("ingress-nginx sends two slashes where its rewrite and what follows meet, the route one".to_owned());
        }
    }

    fn filters(&mut self, path: &Path) -> Vec<Value> {
        if let Some(redirect) = &self.shape.redirect {
            return vec![redirect.clone()];
        }
        let mut filters = self.shape.filters.clone();
        match (&self.shape.caught, self.caught(path)) {
            (None, _) => {}
            (Some(_), Some(Caught { to, .. })) => {
                let to = if to.is_empty() { "/" } else { &to };
                let path = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to});
                filters.push(annotations::rewrite(json!({"path": path})));
            }
            // `faults` let it go.
            (Some(rewrite), None) => self.notes.push(format!(
                "OPEN: Ingress {}: path {}: rewrite-target: {}: the routes do not rewrite it, so the pods are asked paths that they were not",
                self.name, path.text, rewrite.value
            )),
        }
        merged(filters)
    }

    /// What differs though everything was taken.
    fn say(&mut self, read: &Read) {
        let (name, to_tls) = (self.name.clone(), self.shape.to_tls);
        let mut note = |text: String| self.notes.push(format!("Ingress {name}: {text}"));
        let mut secured: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (host, secret) in &read.secrets {
            let host = if host.is_empty() { "every host" } else { host };
            secured.entry(secret).or_default().push(host);
        }
        for (secret, hosts) in secured {
            let secret = if secret.is_empty() {
                "none is named: ingress-nginx served its default"
            } else {
                secret
            };
            note(format!(
                "TLS of {}: the Gateway's listener needs the certificate (certificateRefs: {secret})",
                hosts.join(", ")
            ));
        }
        if to_tls && !read.secrets.is_empty() {
            note("requests without TLS are redirected by 301, by ingress-nginx with 308: a POST becomes a GET on the way".to_owned());
        }
        if self.shape.redirect.is_some() {
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
        let all = read.hosts.values().flatten();
        let canaries: Vec<&Shaping> = all
            .filter_map(|path| Some(&path.canary.as_ref()?.1))
            .collect();
        if canaries.iter().any(|shaping| needs_expressions(shaping)) || self.shape.regex {
            note(
                "it needs regular expressions, which Gateways may support, each in its own dialect"
                    .to_owned(),
            );
        }
        if !canaries.is_empty() {
            note("a canary without ready pods is passed over by ingress-nginx; a Gateway answers its part with errors".to_owned());
        }
    }
}

fn is_to_tls(route: &Value) -> bool {
    let name = route["metadata"]["name"].as_str();
    name.is_some_and(|name| name.ends_with(TO_TLS))
}

/// A path that catches what follows, whose rewrite keeps that.
struct Caught {
    /// What stands before.
    stem: String,
    /// The expression that catches.
    end: &'static str,
    /// What comes in the stem's place.
    to: String,
}

/// How a route says the path and its rewrite, if it can.
fn caught(rewrite: &Rewrite, path: &Path) -> Option<Caught> {
    let (to, wanted) = rewrite.form.clone()?;
    let (stem, end, group) = ending(&path.text)?;
    // The group of `(.*)` begins with the slash, the others' follow one.
    let joins = to.is_empty() || to.ends_with('/') || end == "(.*)";
    let stem = if stem.is_empty() { "/" } else { stem }.to_owned();
    (group == wanted && joins).then_some(Caught { stem, end, to })
}

/// Rewrites that no route can say. Without them requests would reach paths of the pods that nobody can reach now, so
/// whoever wants that says so, as of the annotations that keep requests out.
pub fn faults(read: &Read, shape: &Shape, given: &Given) -> Vec<String> {
    let Some(rewrite) = &shape.caught else {
        return Vec::new();
    };
    if shape.redirect.is_some() || given.without.iter().any(|name| name == REWRITE) {
        return Vec::new();
    }
    let paths = read.hosts.values().flatten();
    let misled: BTreeSet<&str> = paths
        .filter(|path| caught(rewrite, path).is_none())
        .map(|path| path.text.as_str())
        .collect();
    let told = misled.into_iter().map(|path| {
        format!(
            "Ingress {}: path {path} with {REWRITE} {}: {}; unrewritten the pods would be asked paths that they are not asked now: \
             write another path or rewrite into the Ingress first, or say --without {REWRITE}",
            given.ingress.name_any(),
            rewrite.value,
            why_not(rewrite, path)
        )
    });
    told.collect()
}

fn why_not(rewrite: &Rewrite, path: &str) -> String {
    let wanted = rewrite.form.as_ref().map(|(_, group)| *group);
    match (wanted, ending(path)) {
        (Some(1), Some((_, end, 2))) => {
            format!("$1 is the slash alone, and {end} is caught by $2")
        }
        (Some(wanted), Some((_, end, group))) if wanted != group => {
            format!("there is no ${wanted}, and {end} is caught by ${group}")
        }
        _ => "an HTTPRoute rewrites a prefix, as /prefix(/|$)(.*) with /$2 does, or the whole path"
            .to_owned(),
    }
}

/// What stands before the end of a path that catches the rest, the end, and the group of the rest.
fn ending(path: &str) -> Option<(&str, &'static str, u32)> {
    let (stem, end, group) = ENDS
        .into_iter()
        .find_map(|(end, group)| Some((path.strip_suffix(end)?, end, group)))?;
    let plain = !stem.contains(EXPRESSION);
    plain.then_some((stem, end, group))
}

/// Whether an `HTTPRoute` may have the path, as the Gateway API checks it.
fn may_have(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@%".contains(c);
    let never = ["//", "/./", "/../", "%2f", "%2F", "#"];
    path.chars().all(plain)
        && !never.iter().any(|part| path.contains(part))
        && !path.ends_with("/..")
        && !path.ends_with("/.")
}

/// One filter of a sort, as a rule may have.
fn merged(filters: Vec<Value>) -> Vec<Value> {
    let mut all = json!({});
    for filter in filters {
        for (key, value) in filter["urlRewrite"].as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
    }
    match all.as_object() {
        Some(fields) if !fields.is_empty() => vec![rewrite(all)],
        _ => Vec::new(),
    }
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

fn needs_expressions(shaping: &Shaping) -> bool {
    let by_pattern =
        |header: &super::annotations::Header| matches!(header.wanted, Wanted::Pattern(_));
    shaping.cookie.is_some() || shaping.header.as_ref().is_some_and(by_pattern)
}

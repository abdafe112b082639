//! ingress-nginx's annotations in the Gateway API's words: which traffic a canary gets, and what is done to requests.
//!
//! What cannot be said there is a note, and what is not known here too. Not here: hosts and paths
//! (`ingress`).

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::guards;

/// Which requests a canary gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping {
    pub weight: u32,
    /// What the weight is out of.
    pub total: u32,
    pub header: Option<Header>,
    pub cookie: Option<String>,
}

/// A header that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub wanted: Wanted,
}

/// The value that leads to the canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `always`; `never` leads to stable.
    Always,
    Value(String),
    /// Somewhere in the value.
    Pattern(String),
}

/// What is done to the requests of an Ingress.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// The host that the pods are asked for.
    pub host: Option<String>,
    /// What paths are rewritten to; `$N` is what a group of the path caught.
    pub rewrite: Option<String>,
    /// In the place of backends.
    pub redirect: Option<Value>,
    /// Where `/` is sent to.
    pub root: Option<String>,
    /// Whether paths are regular expressions.
    pub regex: bool,
    /// Whether requests without TLS are sent to TLS, where a host has it.
    pub to_tls: bool,
}

/// Annotations that answer in the place of the Service.
const REDIRECTS: [&str; 2] = ["permanent-redirect", "temporal-redirect"];
/// Annotations that say how the controller itself works, and mean nothing to a route.
const WITHOUT_MEANING: [&str; 1] = ["service-upstream"];
/// Annotations that do nothing unless they are true.
const SWITCHES: [&str; 2] = ["force-ssl-redirect", "from-to-www-redirect"];

struct Reader<'a> {
    ingress: &'a Ingress,
    prefix: &'a str,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let value = self
            .ingress
            .annotations()
            .get(&format!("{}/{name}", self.prefix))?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    fn is(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> u32 {
        self.get(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }
}

/// Which requests this Ingress takes as a canary; `None` if it is none.
pub fn shaping(ingress: &Ingress, prefix: &str) -> Option<Shaping> {
    let reader = Reader { ingress, prefix };
    if reader.is("canary") != Some(true) {
        return None;
    }
    let wanted = match (
        reader.get("canary-by-header-value"),
        reader.get("canary-by-header-pattern"),
    ) {
        (Some(value), _) => Wanted::Value(value.to_owned()),
        (None, Some(pattern)) => Wanted::Pattern(pattern.to_owned()),
        (None, None) => Wanted::Always,
    };
    let header = reader.get("canary-by-header");
    // The controller takes no total below 100.
    let total = reader.number("canary-weight-total").max(100);
    Some(Shaping {
        weight: reader.number("canary-weight").min(total),
        total,
        header: header.map(|name| Header {
            name: name.to_owned(),
            wanted,
        }),
        cookie: reader.get("canary-by-cookie").map(str::to_owned),
    })
}

/// An annotation without a counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its name without the prefix.
    name: String,
    /// It, and why it has none.
    told: String,
}

/// What is done to requests, and what of it has no counterpart.
pub fn read(ingress: &Ingress, prefix: &str) -> (Shape, Vec<Lost>) {
    let reader = Reader { ingress, prefix };
    let mut shape = Shape {
        to_tls: true,
        ..Shape::default()
    };
    let mut lost = Vec::new();
    for (key, value) in ingress.annotations() {
        let Some(name) = key
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            continue;
        };
        // The controller takes nothing for none.
        if guards::is(name) || value.trim().is_empty() {
            continue;
        }
        if let Err(why) = take(&reader, (name, value.trim()), &mut shape) {
            let ingress = ingress.name_any();
            lost.push(Lost {
                name: name.to_owned(),
                told: format!("Ingress {ingress}: {key}: {}: {why}", short(value)),
            });
        }
    }
    (shape, lost)
}

/// Notes what is lost. Without a redirect the Service would be asked what it is not asked now: so that is a fault, unless
/// it may go.
pub fn say(lost: Vec<Lost>, without: &[String], notes: &mut Vec<String>, faults: &mut Vec<String>) {
    for Lost { name, told } in lost {
        if !REDIRECTS.contains(&name.as_str()) {
            notes.push(told);
        } else if without.contains(&name) {
            notes.push(format!(
                "OPEN: {told}; the routes lead to the Service instead"
            ));
        } else {
            faults.push(format!(
                "{told}; the Service would be asked what it is not asked now: write another redirect into the Ingress first, or say \
                 --without {name}"
            ));
        }
    }
}

/// The first line of a value, which may be a snippet.
pub fn short(value: &str) -> String {
    let line = value.lines().next().unwrap_or_default();
    if line.len() == value.len() {
        line.to_owned()
    } else {
        format!("{line} ...")
    }
}

/// Takes one annotation; why not, in words.
fn take(reader: &Reader<'_>, (name, value): (&str, &str), shape: &mut Shape) -> Result<(), String> {
    match name {
        "ssl-redirect" => shape.to_tls = reader.is(name) != Some(false),
        "use-regex" => shape.regex = reader.is(name) == Some(true),
        "app-root" => shape.root = Some(value.to_owned()),
        "upstream-vhost" => shape.host = Some(value.to_owned()),
        "rewrite-target" => shape.rewrite = Some(value.to_owned()),
        "permanent-redirect" => shape.redirect = Some(redirect(value, status(reader, name, 301))?),
        "temporal-redirect" => shape.redirect = Some(redirect(value, status(reader, name, 302))?),
        "permanent-redirect-code" => code(reader, (value, "permanent-redirect"), 301)?,
        "temporal-redirect-code" => code(reader, (value, "temporal-redirect"), 302)?,
        "server-alias" => {
            aliases(reader.ingress, reader.prefix)?;
        }
        name if WITHOUT_MEANING.contains(&name) => {}
        name if SWITCHES.contains(&name) && reader.is(name) != Some(true) => {}
        "backend-protocol" if value == "HTTP" => {}
        name => return Err(no_counterpart(name).to_owned()),
    }
    Ok(())
}

/// Why there is none for it.
fn no_counterpart(name: &str) -> &'static str {
    match name {
        "from-to-www-redirect" => {
            "no filter of these routes: write an HTTPRoute for the other name (www.HOST, or HOST without www.) with the filter \
             RequestRedirect, requestRedirect.hostname HOST; until then that name gets 404"
        }
        "backend-protocol" => {
            "no counterpart in an HTTPRoute: a BackendTLSPolicy for HTTPS, a GRPCRoute for GRPC"
        }
        "force-ssl-redirect" => {
            "no counterpart: it asks X-Forwarded-Proto; redirect where TLS ends"
        }
        "affinity" => "no counterpart that is standard: sessionPersistence is experimental",
        "proxy-read-timeout" | "proxy-send-timeout" => {
            "not the same: timeouts.request is for a whole request, this between two reads"
        }
        _ => "no counterpart is known; look for a policy of your Gateway's implementation",
    }
}

/// The code of a redirect that is there; the controller passes over what is none.
fn code(reader: &Reader<'_>, (value, of): (&str, &str), usual: u16) -> Result<(), String> {
    let written = status(reader, of, usual);
    let asked = value.parse().ok().filter(|code| (300..=308).contains(code));
    if reader.get(of).is_none() || asked.is_none_or(|code: u16| code == written) {
        return Ok(());
    }
    Err(format!(
        "{written} is written, since every Gateway knows 301 and 302 only; yours may know {value}: change statusCode then"
    ))
}

/// The status of a redirect: what the annotation beside it says, where every Gateway knows that.
fn status(reader: &Reader<'_>, redirect: &str, usual: u16) -> u16 {
    match reader.number(&format!("{redirect}-code")) {
        301 => 301,
        302 => 302,
        _ => usual,
    }
}

/// More names of the Ingress' one host.
///
/// # Errors
/// If the names are expressions, or it has several hosts: then each answers to them.
pub fn aliases(ingress: &Ingress, prefix: &str) -> Result<Vec<String>, String> {
    let reader = Reader { ingress, prefix };
    let Some(value) = reader.get("server-alias") else {
        return Ok(Vec::new());
    };
    let names = value.split([',', ' ']).map(str::trim);
    let names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    if let Some(name) = names.iter().find(|name| !is_host(name)) {
        return Err(format!(
            "no counterpart: {name} is an expression or no host; write the names that it means into spec.hostnames"
        ));
    }
    let spec = ingress.spec.iter();
    let rules = spec.flat_map(|spec| spec.rules.iter().flatten());
    let hosts: BTreeSet<&str> = rules.filter_map(|rule| rule.host.as_deref()).collect();
    if hosts.len() != 1 {
        return Err("with several hosts or none each would answer to it: write the names into spec.hostnames of the route that is meant".to_owned());
    }
    Ok(names)
}

/// Whether a route may have it among its hosts.
fn is_host(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut labels = name.strip_prefix("*.").unwrap_or(name).split('.');
    labels.all(|label| {
        let ends = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && !ends && label.chars().all(is_part)
    })
}

/// A filter that redirects to a URL, with the request's own path and query where that ends in `$request_uri`.
fn redirect(url: &str, status: u16) -> Result<Value, String> {
    let kept = url.strip_suffix("$request_uri");
    let parsed = kept.unwrap_or(url);
    if parsed.contains('$') {
        return Err(
            "no counterpart: of nginx' variables a redirect has $request_uri at its end only"
                .to_owned(),
        );
    }
    let parsed: hyper::Uri = parsed.parse().map_err(|error| format!("no URL: {error}"))?;
    let mut to = json!({"statusCode": status});
    if kept.is_none() {
        to["path"] = json!({"type": "ReplaceFullPath", "replaceFullPath": parsed.path()});
    } else if parsed.path() != "/" {
        return Err("no counterpart: a redirect has a path of its own or the request's".to_owned());
    }
    if let Some(scheme) = parsed.scheme_str() {
        to["scheme"] = scheme.into();
    }
    if let Some(host) = parsed.host() {
        to["hostname"] = host.into();
    }
    if let Some(port) = parsed.port_u16() {
        to["port"] = port.into();
    }
    if parsed.query().is_some() {
        return Err("no counterpart: a redirect has no query of its own".to_owned());
    }
    Ok(json!({"type": "RequestRedirect", "requestRedirect": to}))
}

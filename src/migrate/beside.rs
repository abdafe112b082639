//! Other Ingresses of the same hosts: they lose their requests when the hosts are led to the Gateway.
//!
//! Several Ingresses for one host are the rule, since ingress-nginx' annotations are for a whole Ingress. Not here:
//! canaries, which go with their Ingress (`ingress`), and Ingresses of another class, which another controller serves.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::annotations::{self, Shape};
use super::ingress::Read;
use super::paths::makes_expressions;
use super::{Gateway, Given};

/// The annotation that named the class before there was a field.
const CLASS: &str = "kubernetes.io/ingress.class";

/// An Ingress that has one of the hosts too.
#[derive(Debug)]
pub struct Beside {
    name: String,
    /// Where it is, if not where the Ingress is.
    namespace: Option<String>,
    hosts: BTreeSet<String>,
    paths: BTreeSet<String>,
    /// Whether it makes all paths of its hosts regular expressions.
    expressions: bool,
}

/// The Ingresses beside this one.
pub fn beside(given: &Given, read: &Read) -> Vec<Beside> {
    let hosts = read.hosts();
    let own = given.others.iter().map(|other| (other, None));
    let elsewhere = given.elsewhere.iter();
    let elsewhere = elsewhere.map(|other| (other, other.namespace()));
    let serving = own
        .chain(elsewhere)
        .filter(|(other, _)| annotations::shaping(other, &given.prefix).is_none())
        .filter(|(other, _)| may_share_class(other, &given.ingress));
    serving
        .filter_map(|(other, namespace)| of(other, namespace, &hosts, &given.prefix))
        .collect()
}

/// The class that an Ingress names.
pub fn class(ingress: &Ingress) -> Option<String> {
    let named = ingress.spec.as_ref()?.ingress_class_name.clone();
    named.or_else(|| ingress.annotations().get(CLASS).cloned())
}

fn may_share_class(one: &Ingress, other: &Ingress) -> bool {
    match (class(one), class(other)) {
        (Some(one), Some(other)) => one == other,
        // Without a class it may be the default one.
        _ => true,
    }
}

fn of(
    other: &Ingress,
    namespace: Option<String>,
    wanted: &[String],
    prefix: &str,
) -> Option<Beside> {
    let (mut hosts, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for rule in other
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten())
    {
        let host = rule.host.clone().unwrap_or_default();
        if !wanted.iter().any(|wanted| covers(wanted, &host)) {
            continue;
        }
        hosts.insert(host);
        let of_rule = rule.http.iter().flat_map(|http| &http.paths);
        paths.extend(of_rule.map(|path| path.path.clone().unwrap_or_else(|| "/".to_owned())));
    }
    let (shape, _) = annotations::read(other, prefix);
    let expressions = makes_expressions(&shape, paths.iter().map(String::as_str));
    (!hosts.is_empty()).then(|| Beside {
        name: other.name_any(),
        namespace,
        hosts,
        paths,
        expressions,
    })
}

/// Whether whoever leads away `wanted` leads away `host`; a wildcard is one label in an Ingress.
fn covers(wanted: &str, host: &str) -> bool {
    let below = wanted.strip_prefix("*.");
    wanted == host || below.is_some() && below == host.split_once('.').map(|(_, rest)| rest)
}

impl Beside {
    fn shown(&self) -> String {
        let namespace = self.namespace.iter().map(|place| format!("{place}/"));
        let name: String = namespace.chain([self.name.clone()]).collect();
        let all = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        format!("{name} ({}: {})", all(&self.hosts), all(&self.paths))
    }
}

/// What to know of them, and where nobody looked.
pub fn say(all: &[Beside], (given, read): (&Given, &Read), shape: &Shape, notes: &mut Vec<String>) {
    let name = given.ingress.name_any();
    for beside in all {
        notes.push(format!(
            "Ingress {name}: Ingress {} has its host too: led to the Gateway, these paths are answered by the routes \
             below or by none, until they have routes of their own",
            beside.shown()
        ));
    }
    let paths = read.hosts.values().flatten();
    let texts: Vec<&str> = paths.map(|path| path.asked.text.as_str()).collect();
    let longer = texts.iter().any(|text| *text != "/");
    let by = all.iter().find(|beside| beside.expressions);
    if let Some(by) = by.filter(|_| longer && !makes_expressions(shape, texts.iter().copied())) {
        notes.push(format!(
            "Ingress {name}: rewrite-target or use-regex of Ingress {} makes its paths regular expressions too, which take \
             whatever begins like them in any case; the routes take them as they are written",
            by.name
        ));
    }
    if let Some(place) = &given.looked_in {
        notes.push(format!(
            "Ingress {name}: other Ingresses of its hosts were looked for in {place} only; others lose their requests too: \
             kubectl get ingress -A"
        ));
    }
}

/// The step before the hosts are led away, if there are any.
pub fn step(all: &[Beside], gateway: &Gateway) -> Option<String> {
    let shown: Vec<String> = all.iter().map(Beside::shown).collect();
    let parent = match &gateway.namespace {
        Some(namespace) => format!("{namespace}/{}", gateway.name),
        None => gateway.name.clone(),
    };
    let example = all.first()?;
    let place = example.namespace.as_ref();
    let place = place.map_or_else(String::new, |namespace| format!(" -n {namespace}"));
    Some(format!(
        "Give these Ingresses their routes first, their hosts go with the next step too: {}. For each: sluice migrate \
         ingress-to-gateway{place} {} --gateway {parent}",
        shown.join("; "),
        example.name
    ))
}

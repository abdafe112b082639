//! The variables in Flagger's queries in ours.
//!
//! With Flagger the target is the canary, and stable's Deployment and Service end in `-primary`; here the target is
//! stable. So a variable with such an end names something else than the two pieces would.
//!
//! Source: Flagger's documentation of metric templates.

use regex::{Captures, Regex};
use serde_json::Value;

use super::route::apex;
use crate::import::condition::filled;
use crate::import::{Converted, text};

const CANARY: &str = "canaryService";
const STABLE_SERVICE: &str = "service";
const STABLE_WORKLOAD: &str = "workload";

/// A query in our variables; `Err` names the first that is not known. Flagger's analysed pods are those of the target;
/// here they are those of its canary.
///
/// # Errors
/// The first variable that is not known.
pub fn filled_in(
    canary: &Value,
    metric: &Value,
    query: &str,
    about: &str,
    all: &mut Converted,
) -> Result<String, String> {
    literal(canary, query, about, all);
    let query = told_apart(query, about, all);
    let interval = match text(metric, "/interval") {
        "" => "1m",
        interval => interval,
    };
    let as_ours = |name: &str| format!("{{{{{name}}}}}");
    let mut known = vec![
        ("namespace", as_ours("namespace")),
        ("name", as_ours("name")),
        ("ingress", as_ours("ingress")),
        ("service", as_ours("service")),
        ("target", as_ours("canaryWorkload")),
        ("interval", interval.to_owned()),
    ];
    let variables = metric["templateVariables"]
        .as_object()
        .into_iter()
        .flatten();
    let variables: Vec<(String, String)> = variables
        .map(|(key, value)| {
            (
                format!("variables.{key}"),
                value.as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    known.extend(
        variables
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone())),
    );
    for arm in [CANARY, STABLE_SERVICE, STABLE_WORKLOAD] {
        known.push((arm, as_ours(arm)));
    }
    filled(&query, &known)
}

/// `{{ target }}-canary` and `{{ target }}-primary` as names of the arms.
fn told_apart(query: &str, about: &str, all: &mut Converted) -> String {
    let Ok(ended) = Regex::new(r"\{\{-?\s*(?:target|name|service)\s*-?\}\}-(canary|primary)")
    else {
        return query.to_owned();
    };
    let ours = |found: &Captures<'_>| {
        let Some(whole) = found.get(0) else {
            return String::new();
        };
        let (before, after) = (&query[..whole.start()], &query[whole.end()..]);
        if after.starts_with(|next: char| next.is_ascii_alphanumeric()) {
            return whole.as_str().to_owned();
        }
        let name = match &found[1] {
            "canary" => CANARY,
            _ if is_of_pods(before) => STABLE_WORKLOAD,
            _ => STABLE_SERVICE,
        };
        let text = format!(
            "{} is {{{{{name}}}}} now: see that its label has such names",
            whole.as_str()
        );
        all.note(about, &text);
        format!("{{{{{name}}}}}")
    };
    ended.replace_all(query, ours).into_owned()
}

/// Whether the value that a query stops before is of a label that names pods or what makes them.
fn is_of_pods(before: &str) -> bool {
    let opened = before.rfind(['"', '\'']).unwrap_or(0);
    let label = before[..opened].trim_end_matches(['=', '~', '!', ' ']);
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let label = label.rsplit(word).next().unwrap_or_default();
    ["pod", "workload", "deployment", "replicaset", "container"]
        .iter()
        .any(|of| label.contains(of))
}

/// Says names of Flagger's Deployments and Services that are written out.
fn literal(canary: &Value, query: &str, about: &str, all: &mut Converted) {
    for own in [text(canary, "/spec/targetRef/name"), apex(canary)] {
        for (end, ours) in [
            ("primary", "{{workload}} or {{service}}"),
            ("canary", "{{canaryService}}"),
        ] {
            let name = format!("{own}-{end}");
            let word = Regex::new(&format!(
                "(?:^|[^a-zA-Z0-9-]){}(?:[^a-zA-Z0-9]|$)",
                regex::escape(&name)
            ));
            if word.is_ok_and(|word| word.is_match(query)) {
                let text = format!("its query names {name}, which goes with Flagger: write {ours}");
                all.note(about, &text);
            }
        }
    }
}

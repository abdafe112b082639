//! The variables in Flagger's queries in ours.
//!
//! With Flagger the target is the canary, and stable's Deployment and Service end in `-primary`; here the target is
//! stable, and the canary's end in `-canary`. So a variable with such an end names something else than the two pieces
//! would, and what follows a name may let in the other arm's. Pods are `DEPLOYMENT-HASH-SUFFIX` with both.
//!
//! Source: Flagger's documentation of metric templates.

use regex::Regex;
use serde_json::Value;

use super::route::apex;
use crate::import::{Converted, text};

/// What ends Flagger's names of the arms.
const ARMS: [&str; 2] = ["canary", "primary"];
/// Flagger's variables that begin names.
const NAMES: [&str; 3] = ["target", "name", "service"];
/// A variable, and the arm that it is made the name of.
const VARIABLE: &str = r"\{\{-?\s*([^{}]*?)\s*-?\}\}(?:-(canary|primary))?";
/// What matches the rest of a pod's name, whatever it is.
const REST: &str = r"^(?:[-.*+?$]|\[[^\]]*\]|\{[0-9,]+\}|\((?:[-.*+?]|\[[^\]]*\])*\))+";

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
    let Ok(variable) = Regex::new(VARIABLE) else {
        return Ok(query.to_owned());
    };
    let mut filled = String::new();
    let mut end = 0;
    for found in variable.captures_iter(query) {
        let (Some(whole), name) = (found.get(0), &found[1]) else {
            continue;
        };
        filled.push_str(&query[end..whole.start()]);
        let spot = Spot::of(query, whole.start(), whole.end());
        let is_name = NAMES.contains(&name);
        let arm = found
            .get(2)
            .filter(|_| is_name && !spot.after.starts_with(is_of_word));
        end = if let Some(arm) = arm {
            let (ours, more) = of_arm(arm.as_str(), &spot);
            let theirs = &query[whole.start()..whole.end() + more];
            let wild = spot.is_pattern.then(|| &spot.after[more..]);
            told(theirs, &ours, wild.unwrap_or_default(), about, all);
            filled.push_str(&ours);
            whole.end() + more
        } else {
            filled.push_str(&value_of(name, metric).ok_or(name)?);
            let stop = found.get(2).map_or(whole.end(), |arm| arm.start() - 1);
            let rest = Spot::of(query, whole.start(), stop).after;
            if is_name && names_an_arm(rest) {
                go_with_flagger(&query[whole.start()..stop + rest.len()], about, all);
            }
            stop
        };
    }
    filled.push_str(&query[end..]);
    Ok(filled.trim().to_owned())
}

fn ours(name: &str) -> String {
    format!("{{{{{name}}}}}")
}

/// What stands for one of Flagger's variables.
fn value_of(name: &str, metric: &Value) -> Option<String> {
    match name {
        "namespace" | "name" | "ingress" | "service" => Some(ours(name)),
        "target" => Some(ours("canaryWorkload")),
        "interval" => Some(match text(metric, "/interval") {
            "" => "1m".to_owned(),
            interval => interval.to_owned(),
        }),
        _ => {
            let own = metric["templateVariables"].get(name.strip_prefix("variables.")?)?;
            Some(own.as_str().unwrap_or_default().to_owned())
        }
    }
}

/// Where in a query a variable stands.
struct Spot<'a> {
    /// The label whose value it is in.
    label: &'a str,
    /// Whether the value is an expression.
    is_pattern: bool,
    /// What follows it in the value.
    after: &'a str,
}

impl<'a> Spot<'a> {
    fn of(query: &'a str, start: usize, end: usize) -> Self {
        const QUOTES: [char; 3] = ['"', '\'', '`'];
        let opened = query[..start].rfind(QUOTES).unwrap_or(0);
        let before = query[..opened].trim_end();
        let label = before.trim_end_matches(['=', '~', '!', ' ']);
        let is_of_label = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let label = label.rsplit(|c| !is_of_label(c)).next();
        let after = &query[end..];
        Self {
            label: label.unwrap_or_default(),
            is_pattern: before.ends_with('~'),
            after: after.split(QUOTES).next().unwrap_or_default(),
        }
    }

    /// Whether the label names pods.
    fn is_of_pods(&self) -> bool {
        let ends = ["pod", "pod_name", "podname"];
        ends.iter().any(|end| self.label.ends_with(end))
    }

    /// Whether the label names pods or what makes them.
    fn is_of_workloads(&self) -> bool {
        ["pod", "workload", "deployment", "replicaset", "container"]
            .iter()
            .any(|of| self.label.contains(of))
    }

    /// How much of what follows matches the rest of a pod's name, where it does so to the end of an alternative.
    fn rest_of_pod(&self) -> Option<usize> {
        let rest = Regex::new(REST).ok()?.find(self.after)?.end();
        let whole = self.after[rest..].is_empty() || self.after[rest..].starts_with(['|', ')']);
        (self.is_pattern && self.is_of_pods() && whole).then_some(rest)
    }
}

/// Our name of an arm, and how much of what follows it has in it.
fn of_arm(arm: &str, spot: &Spot<'_>) -> (String, usize) {
    let is_canary = arm == "canary";
    let of = |canary, stable| ours(if is_canary { canary } else { stable });
    match spot.rest_of_pod() {
        Some(rest) => (of("canaryPods", "stablePods"), rest),
        None if spot.is_of_workloads() => (of("canaryWorkload", "workload"), 0),
        None => (of("canaryService", "service"), 0),
    }
}

/// Says what a name of an arm is now, and where the expression behind it lets in the canary's too.
fn told(theirs: &str, ours: &str, wild: &str, about: &str, all: &mut Converted) {
    let is_stable = ["{{workload}}", "{{service}}"].contains(&ours);
    let text = if is_stable && wild.starts_with(['.', '-', '[', '(', '?', '*']) {
        format!(
            "{theirs} is {ours} now, and {ours}{wild} may match the canary's names as well, which begin with {ours}-canary: \
             see that it does not; for all of a pod's name write {{{{stablePods}}}}"
        )
    } else {
        format!("{theirs} is {ours} now: see that its label has such names")
    };
    all.note(about, &text);
}

fn is_of_word(next: char) -> bool {
    next.is_ascii_alphanumeric()
}

/// Says names of which none is an arm's here.
fn go_with_flagger(names: &str, about: &str, all: &mut Converted) {
    let text = format!(
        "{names}: these names go with Flagger: write {{{{service}}}} and {{{{canaryService}}}}, of Deployments {{{{workload}}}} \
         and {{{{canaryWorkload}}}}, and for all of a pod's name {{{{stablePods}}}} and {{{{canaryPods}}}}"
    );
    all.note(about, &text);
}

/// Whether a variable's rest of a value has the name of an arm as a word.
fn names_an_arm(rest: &str) -> bool {
    let own = rest.split("{{").next().unwrap_or_default();
    let mut words = own.split(|c: char| !is_of_word(c));
    words.any(|word| ARMS.contains(&word))
}

/// Says names of Flagger's Deployments and Services that are written out.
fn literal(canary: &Value, query: &str, about: &str, all: &mut Converted) {
    for own in [text(canary, "/spec/targetRef/name"), apex(canary)] {
        for (end, ours) in [
            (
                "primary",
                "{{workload}} or {{service}}, and {{stablePods}} for all of a pod's name",
            ),
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

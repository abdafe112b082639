//! Comparing what a check wants with what was seen. Pure.
//!
//! Every difference becomes one sentence that has both, "phase is Preparing, wanted
//! Stepping", since that is what a person needs when a scenario fails. No difference: met.

use serde_json::Value;

use super::bound::Bound;
use super::checks::{DeploymentCheck, EventCheck, RolloutCheck, TrafficCheck};
use super::kinds::{number, text};
use super::stage::Tally;

/// Differences, as sentences without their subject.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences(pub Vec<String>);

impl Differences {
    fn same(&mut self, what: &str, wanted: Option<&str>, found: Option<&str>) {
        let Some(wanted) = wanted else { return };
        let found = found.unwrap_or("absent");
        if !wanted.split('|').any(|one| one.trim() == found) {
            self.0.push(format!("{what} is {found}, wanted {wanted}"));
        }
    }

    fn among(&mut self, what: &str, wanted: Option<&str>, found: &[&str]) {
        let Some(wanted) = wanted else { return };
        if !found.contains(&wanted) {
            self.0
                .push(format!("{what} is {}, wanted {wanted}", found.join(" ")));
        }
    }

    fn flag(&mut self, what: &str, wanted: Option<bool>, found: bool) {
        if wanted.is_some_and(|wanted| wanted != found) {
            self.0.push(format!("{what} is {found}, wanted {}", !found));
        }
    }

    /// A number within its bound.
    pub fn within(&mut self, what: &str, wanted: Option<&Bound>, found: f64) {
        if let Some(wanted) = wanted.filter(|wanted| !wanted.allows(found)) {
            let found = (found * 1e4).round() / 1e4;
            self.0.push(format!("{what} is {found}, wanted {wanted}"));
        }
    }

    fn matches(&mut self, what: &str, wanted: Option<&regex::Regex>, found: Option<&str>) {
        let Some(wanted) = wanted else { return };
        let found = found.unwrap_or_default();
        if !wanted.is_match(found) {
            self.0
                .push(format!("{what} is {found:?}, wanted /{wanted}/"));
        }
    }
}

/// A Rollout against its check.
pub fn rollout(check: &RolloutCheck, found: &Value) -> Differences {
    let mut all = Differences::default();
    let run = found.pointer("/status/run");
    all.same(
        "phase",
        check.phase.as_deref(),
        text(found, "/status/phase"),
    );
    all.within(
        "weight",
        check.weight.as_ref(),
        number(found, "/status/run/weight"),
    );
    all.same(
        "step",
        check.step.as_deref(),
        text(found, "/status/run/step"),
    );
    all.same(
        "verdict",
        check.verdict.as_deref(),
        text(found, "/status/run/verdict"),
    );
    all.matches(
        "message",
        check.message.as_ref(),
        text(found, "/status/message"),
    );
    all.same(
        "outcome",
        check.outcome.as_deref(),
        text(found, "/status/lastRun/outcome"),
    );
    all.same(
        "reason",
        check.reason.as_deref(),
        text(found, "/status/lastRun/reason"),
    );
    let revision = run.map_or(
        "/status/lastRun/revision/images",
        |_| "/status/run/revision/images",
    );
    all.among("image", check.image.as_deref(), &images(found, revision));
    all.among(
        "stable",
        check.stable.as_deref(),
        &images(found, "/status/stable/images"),
    );
    all.flag("running", check.running, run.is_some());
    for (kind, wanted) in &check.conditions {
        all.same(
            &format!("condition {kind}"),
            Some(wanted),
            condition(found, kind),
        );
    }
    if !all.0.is_empty() {
        all.0
            .extend(text(found, "/status/message").map(|message| format!("it says {message:?}")));
    }
    all
}

fn images<'a>(found: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = found.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn condition<'a>(found: &'a Value, kind: &str) -> Option<&'a str> {
    let list = found
        .pointer("/status/conditions")
        .and_then(Value::as_array)?;
    let wanted = list
        .iter()
        .find(|condition| text(condition, "/type") == Some(kind))?;
    text(wanted, "/status")
}

/// A Deployment and all ReplicaSets of its namespace against its check.
pub fn deployment(check: &DeploymentCheck, found: &Value, sets: &[Value]) -> Differences {
    let mut all = Differences::default();
    let image = text(found, "/spec/template/spec/containers/0/image");
    all.same("image", check.image.as_deref(), image);
    let paused = found.pointer("/spec/paused") == Some(&Value::Bool(true));
    all.flag("paused", check.paused, paused);
    let guarded = text(found, "/metadata/labels/sluice.dev~1guarded") == Some("true");
    all.flag("guarded", check.guarded, guarded);
    all.within(
        "replicas",
        check.replicas.as_ref(),
        number(found, "/spec/replicas"),
    );
    all.within(
        "ready",
        check.ready.as_ref(),
        number(found, "/status/readyReplicas"),
    );
    all.within(
        "updated",
        check.updated.as_ref(),
        number(found, "/status/updatedReplicas"),
    );
    if let Some(wanted) = &check.serving {
        let found = serving(found, sets);
        if *wanted != found {
            all.0
                .push(format!("serving is {found:?}, wanted {wanted:?}"));
        }
    }
    all
}

/// Images of the Deployment's ReplicaSets that have pods, sorted.
fn serving(deployment: &Value, sets: &[Value]) -> Vec<String> {
    let uid = text(deployment, "/metadata/uid");
    let owned = |set: &&Value| text(set, "/metadata/ownerReferences/0/uid") == uid;
    let mut images: Vec<String> = sets
        .iter()
        .filter(owned)
        .filter(|set| number(set, "/status/replicas") > 0.0)
        .filter_map(|set| text(set, "/spec/template/spec/containers/0/image"))
        .map(str::to_owned)
        .collect();
    images.sort();
    images.dedup();
    images
}

/// Whether `found` has the fields of `wanted`: texts `/.../` are patterns, `null` is absent,
/// each element of a list is found somewhere in the list.
pub fn like(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Null, found) => found.is_null(),
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(key, value)| like(value, found.get(key).unwrap_or(&Value::Null))),
        (Value::Object(wanted), Value::Null) => wanted.values().all(Value::is_null),
        (Value::Array(wanted), Value::Array(found)) => wanted
            .iter()
            .all(|one| found.iter().any(|candidate| like(one, candidate))),
        (Value::String(wanted), Value::String(found)) => same_text(wanted, found),
        (Value::Number(wanted), Value::Number(found)) => wanted.as_f64() == found.as_f64(),
        (wanted, found) => wanted == found,
    }
}

fn same_text(wanted: &str, found: &str) -> bool {
    let inner = wanted
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'));
    match inner.map(regex::Regex::new) {
        Some(Ok(pattern)) => pattern.is_match(found),
        _ => wanted == found,
    }
}

/// The first field in which `found` is not like `wanted`, with both, for people.
pub fn unlike(wanted: &Value, found: &Value) -> Option<String> {
    if like(wanted, found) {
        return None;
    }
    if let (Value::Object(wanted), Value::Object(found)) = (wanted, found) {
        return wanted
            .iter()
            .find_map(|(key, value)| {
                let found = found.get(key).unwrap_or(&Value::Null);
                unlike(value, found).map(|inside| match inside.strip_prefix(' ') {
                    Some(text) => format!(" {key} {text}"),
                    None => format!(" {key}.{inside}"),
                })
            })
            .map(|text| text.trim_start().to_owned());
    }
    Some(format!(" is {found}, wanted {wanted}"))
}

/// Answers since `before` against a check.
pub fn traffic(check: &TrafficCheck, before: &[Tally], now: &[Tally]) -> Differences {
    let mut all = Differences::default();
    let (every, _) = answers(None, check.ingress.as_deref(), before, now);
    let (requests, bad) = answers(
        check.image.as_deref(),
        check.ingress.as_deref(),
        before,
        now,
    );
    all.within("requests", check.requests.as_ref(), requests as f64);
    all.within("bad", check.bad.as_ref(), bad as f64);
    all.within(
        "share",
        check.share.as_ref(),
        requests as f64 / (every as f64).max(1.0),
    );
    all
}

/// All answers and the bad ones of an image (or of all) through an Ingress (or all) from
/// `before` to `now`. The image `none` stands for answers that the router made itself.
pub fn answers(
    image: Option<&str>,
    ingress: Option<&str>,
    before: &[Tally],
    now: &[Tally],
) -> (u64, u64) {
    let image = image.map(|image| if image == "none" { "" } else { image });
    let count = |tallies: &[Tally]| {
        tallies
            .iter()
            .filter(|tally| image.is_none_or(|image| tally.image == image))
            .filter(|tally| ingress.is_none_or(|ingress| tally.ingress == ingress))
            .fold((0, 0), |sum: (u64, u64), tally| {
                (sum.0 + tally.total, sum.1 + tally.bad)
            })
    };
    let (old, new) = (count(before), count(now));
    (new.0.saturating_sub(old.0), new.1.saturating_sub(old.1))
}

/// Events of a namespace against a check.
pub fn events(check: &EventCheck, found: &[Value]) -> Differences {
    let mut all = Differences::default();
    let fits = |event: &&Value| {
        let reason = check.reason.as_deref();
        let about = check.about.as_deref();
        reason.is_none_or(|reason| text(event, "/reason") == Some(reason))
            && about.is_none_or(|about| text(event, "/involvedObject/name") == Some(about))
            && check
                .message
                .as_ref()
                .is_none_or(|message| message.is_match(text(event, "/message").unwrap_or_default()))
    };
    let number = found.iter().filter(fits).count();
    match &check.number {
        Some(wanted) => all.within("number", Some(wanted), number as f64),
        None if number == 0 => all
            .0
            .push(format!("there is none; seen: {}", reasons(check, found))),
        None => {}
    }
    all
}

fn reasons(check: &EventCheck, found: &[Value]) -> String {
    let about = |event: &&Value| {
        check
            .about
            .as_deref()
            .is_none_or(|about| text(event, "/involvedObject/name") == Some(about))
    };
    let mut seen: Vec<&str> = found
        .iter()
        .filter(about)
        .filter_map(|event| text(event, "/reason"))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.is_empty() {
        "no Event".to_owned()
    } else {
        seen.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pattern_is_found_in_an_object_that_has_more() {
        let found = json!({"a": {"b": [{"c": 1, "d": 2}, {"c": 3}]}, "name": "shop-canary"});
        for (wanted, fits) in [
            (json!({"a": {"b": [{"c": 3}]}}), true),
            (json!({"a": {"b": [{"c": 4}]}}), false),
            (json!({"name": "/^shop/"}), true),
            (json!({"name": "shop"}), false),
            (json!({"missing": null}), true),
            (json!({"a": null}), false),
            (json!(null), false),
        ] {
            assert_eq!(like(&wanted, &found), fits, "{wanted}");
        }
    }

    #[test]
    fn a_difference_names_the_field_and_both_values() {
        let found = json!({"spec": {"paused": true}});
        let wanted = json!({"spec": {"paused": false}});
        assert_eq!(
            unlike(&wanted, &found).unwrap(),
            "spec.paused is true, wanted false"
        );
    }

    #[test]
    fn every_part_of_a_rollout_check_is_compared() {
        let found = json!({"status": {"phase": "Stepping", "message": "m", "run": {"weight": 5, "verdict": "Undecided",
            "revision": {"images": ["shop:v2"]}}, "conditions": [{"type": "Ready", "status": "False"}]}});
        let check = |text: &str| {
            rollout(&serde_saphyr::from_str(text).unwrap(), &found)
                .0
                .len()
        };
        assert_eq!(
            check("{name: shop, phase: Idle|Stepping, weight: 5, image: 'shop:v2', running: true}"),
            0
        );
        // Each of these differs in one part; the message is quoted beside it.
        for part in [
            "phase: Idle",
            "weight: 25",
            "verdict: Worse",
            "image: 'shop:v3'",
            "running: false",
            "conditions: {Ready: 'True'}",
            "outcome: Promoted",
        ] {
            assert_eq!(check(&format!("{{name: shop, {part}}}")), 2, "{part}");
        }
    }

    #[test]
    fn traffic_is_counted_from_a_moment_on() {
        let tally = |image: &str, total, bad| Tally {
            image: image.into(),
            total,
            bad,
            ..Tally::default()
        };
        let before = [tally("v1", 100, 0)];
        let now = [tally("v1", 190, 1), tally("v2", 10, 5)];
        assert_eq!(answers(Some("v2"), None, &before, &now), (10, 5));
        assert_eq!(answers(None, None, &before, &now), (100, 6));
        let check = |text: &str| {
            traffic(&serde_saphyr::from_str(text).unwrap(), &before, &now)
                .0
                .len()
        };
        assert_eq!(
            check("{image: v2, share: 9%..11%, requests: '<= 10', bad: 5}"),
            0
        );
        assert_eq!(check("{image: v2, share: 1%, requests: 0, bad: 0}"), 3);
    }
}

//! What a final state is: what an uninterrupted daemon could have come to.
//!
//! Not here: what must hold on the way (`invariants`).

use serde_json::{Value, json};

use crate::cluster::{Mirror, backends, image, replicas};
use crate::invariants::never_ready;
use crate::world::World;

/// Why this is no final state yet; `None` if it is one.
pub fn problem(world: &World) -> Option<String> {
    let checker = world.checker();
    let mirror = &checker.mirror;
    let (Some(rollout), Some(target)) = (mirror.rollout(), mirror.target()) else {
        return Some("Rollout or Deployment are gone".to_owned());
    };
    let status = &rollout["status"];
    let asks = rollout["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten();
    let open: Vec<&String> = asks
        .map(|(key, _)| key)
        .filter(|key| key.contains("request."))
        .collect();
    if !open.is_empty() {
        return Some(format!("not answered: {open:?}"));
    }
    if !mirror.guarded() {
        return Some("the Deployment is not guarded".to_owned());
    }
    let paused = target["spec"]["paused"] == true;
    let live = image(target);
    let state = state(status);
    if let Some(problem) = route(mirror, &world.rules, status["phase"].as_str()) {
        return Some(problem);
    }
    match status["phase"].as_str().unwrap_or_default() {
        "Idle" => idle(&world.image, mirror, &state, &live, paused),
        "Failed" => failed(&state, &live, mirror.leftovers()),
        "AwaitingApproval" => waits(&state["phase"]["AwaitingApproval"], &live),
        "Held" => held(&state).or_else(|| waits(&state["phase"]["Held"], &live)),
        phase => Some(format!("phase {phase}: {}", status["message"])),
    }
}

/// An `HTTPRoute` is as people left it, but for the canary's part while there is a run.
fn route(mirror: &Mirror, wanted: &Value, phase: Option<&str>) -> Option<String> {
    let live = &mirror.route()?["spec"]["rules"];
    let (found, wanted) = match phase {
        Some("Idle" | "Failed") => (live.clone(), wanted.clone()),
        _ => (without_weights(live), without_weights(wanted)),
    };
    (found != wanted).then(|| format!("the route is {found}, people left it as {wanted}"))
}

fn without_weights(rules: &Value) -> Value {
    let rules = rules.as_array().into_iter().flatten().filter_map(|rule| {
        let own = backends(rule).filter(|to| to["name"] != "shop-canary");
        let own: Vec<Value> = own.map(unweighted).collect();
        let mut rule = rule.clone();
        rule["backendRefs"] = own.into();
        (rule["backendRefs"] != json!([])).then_some(rule)
    });
    rules.collect()
}

fn unweighted(backend: &Value) -> Value {
    let mut backend = backend.clone();
    backend["weight"] = Value::Null;
    backend
}

fn state(status: &Value) -> Value {
    let checkpoint = status["checkpoint"].as_str().unwrap_or_default();
    serde_json::from_str(checkpoint).unwrap_or_default()
}

fn idle(newest: &str, mirror: &Mirror, state: &Value, live: &str, paused: bool) -> Option<String> {
    if paused {
        return Some("idle, but the Deployment is paused".to_owned());
    }
    let leftovers = mirror.leftovers();
    if !leftovers.is_empty() {
        return Some(format!("idle, but there is {}", leftovers.join(", ")));
    }
    let stable = state["stable"]["images"][0].as_str().unwrap_or_default();
    if stable != live {
        return Some(format!("idle on {stable}, but the template is {live}"));
    }
    if !state["desired"].is_null() {
        return Some(format!("a kept template waits: {}", state["desired"]));
    }
    if !serves(mirror, live) {
        return Some(format!("idle on {live}, but it does not serve alone"));
    }
    let ended = state["last_run"]["revision"]["images"][0] == newest
        || state["failed"]["revision"]["images"][0] == newest
        // A person went back, and let what was left be tried again, which nobody applied since.
        || state["last_run"]["reason"] == "WentBack";
    if live != newest && !ended {
        return Some(format!(
            "{newest} was applied last, but {live} serves and nothing says why"
        ));
    }
    None
}

fn failed(state: &Value, live: &str, leftovers: Vec<String>) -> Option<String> {
    if !leftovers.is_empty() {
        return Some(format!("failed, but there is {}", leftovers.join(", ")));
    }
    let failed = &state["failed"]["revision"]["images"][0];
    (failed != live).then(|| format!("failed is {failed}, but the template is {live}"))
}

fn held(state: &Value) -> Option<String> {
    let held = &state["phase"]["Held"];
    let tried = held["run"]["revision"]["images"][0]
        .as_str()
        .unwrap_or_default();
    let why = &held["why"];
    let mut lasting = vec!["Person", "Suspicions", "Undecided"];
    // What is stable came without pods and has none that work: only a person can say what may serve.
    if never_ready(state["stable"]["images"][0].as_str().unwrap_or_default()) {
        lasting.push("StableGone");
    }
    if why.as_str().is_some_and(|why| lasting.contains(&why)) || why["Refused"].is_object() {
        let weight = held["run"]["weight"].as_i64().unwrap_or(0);
        let harms = tried.starts_with("shop:bad") && weight > 0 && why != "Person";
        return harms.then(|| format!("{tried} is held at {weight}%"));
    }
    Some(format!("held: {why}"))
}

/// A run that waits for people is one of what is applied: what came while the daemon could not
/// see it is yet to be begun.
fn waits(phase: &Value, live: &str) -> Option<String> {
    let run = phase.get("run").unwrap_or(phase);
    let tried = &run["revision"]["images"][0];
    let told = run["waiting"]["images"][0] == live;
    (tried != live && !told).then(|| format!("{tried} waits, but the template is {live}"))
}

/// Whether only pods of this image serve.
fn serves(mirror: &Mirror, live: &str) -> bool {
    let alone = mirror
        .sets("shop")
        .all(|set| replicas(set) == 0 || image(set) == live);
    alone && mirror.ready("shop") > 0
}

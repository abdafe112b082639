//! Argo's steps as weights with holds and approvals; its blue/green; its testers' headers.
//!
//! Not here: how the requests are split (`route`).

use serde_json::{Value, json};

use super::route::{annotations, by_gateway};
use crate::import::condition::duration;
use crate::import::{Converted, list, lost, merged, rising, taken_over, weight};

const STEPS: &str = "spec.strategy.canary.steps";

/// The strategy.
pub fn of(strategy: &Value, about: &str, all: &mut Converted) -> Value {
    if strategy["blueGreen"].is_object() {
        let asked = strategy["blueGreen"]["autoPromotionEnabled"] == false;
        return json!({"blueGreen": if asked { json!({"approval": true}) } else { json!({}) }});
    }
    let canary = &strategy["canary"];
    let mut ours = json!({"steps": steps(canary, about, all)});
    if let Some(found) = matching(canary, about, all) {
        ours["match"] = found;
    }
    json!({"canary": ours})
}

fn steps(canary: &Value, about: &str, all: &mut Converted) -> Vec<Value> {
    let whole = canary["trafficRouting"]["maxTrafficWeight"]
        .as_i64()
        .filter(|whole| *whole > 0)
        .unwrap_or(100);
    let mut steps: Vec<Value> = Vec::new();
    for (at, step) in list(canary, "/steps").iter().enumerate() {
        if let Some(weight) = step["setWeight"].as_i64() {
            let percent = weight.saturating_mul(100) / whole;
            if percent * whole != weight.saturating_mul(100) {
                let text = format!(
                    "{STEPS}[{at}].setWeight: {weight} of {whole} is no whole percentage; {percent}% is written"
                );
                all.note(about, &text);
            }
            steps.push(json!({"weight": percent}));
        } else if step["pause"].is_object() {
            paused(&mut steps, &step["pause"], at, about, all);
        }
    }
    let whole = steps.iter().filter(|step| weight(step) >= 100);
    let whole: Vec<Value> = whole.cloned().collect();
    let steps = rising(steps, STEPS, about, all);
    if !steps.is_empty() {
        return steps;
    }
    let text = format!("{STEPS}: none; steps of 5, 25 and 50% are written");
    all.note(about, &text);
    let mut last = json!({"weight": 50});
    for step in &whole {
        taken_over(&mut last, step, STEPS, about, all);
    }
    vec![json!({"weight": 5}), json!({"weight": 25}), last]
}

/// A pause without a duration waits for a person.
fn paused(steps: &mut [Value], pause: &Value, at: usize, about: &str, all: &mut Converted) {
    let field = format!("{STEPS}[{at}].pause");
    let mut asked = json!({});
    if pause["duration"].is_null() {
        asked["approval"] = json!(true);
    } else if let Some(hold) = duration(&pause["duration"]) {
        asked["hold"] = json!(hold);
    } else {
        let text = format!("{field}: {} is no duration", pause["duration"]);
        all.note(about, &text);
    }
    match steps.last_mut() {
        // Pauses after one weight add up.
        Some(step) => merged(step, &asked),
        None => lost(&asked, &field, about, all),
    }
}

/// The header or cookie by which testers reach the canary, which ingress-nginx reads off the canary's Ingress.
fn matching(canary: &Value, about: &str, all: &mut Converted) -> Option<Value> {
    const OURS: [(&str, &str); 4] = [
        ("canary-by-header", "header"),
        ("canary-by-header-value", "value"),
        ("canary-by-header-pattern", "pattern"),
        ("canary-by-cookie", "cookie"),
    ];
    if by_gateway(canary).is_some() {
        return None;
    }
    let mut found = json!({});
    for (field, name, value) in annotations(canary) {
        if let Some((_, ours)) = OURS.iter().find(|(theirs, _)| *theirs == name) {
            found[*ours] = value.clone();
        } else {
            let text = format!(
                "{field}: {name}: {value} has no counterpart: the canary's Ingress has the annotations of yours"
            );
            all.note(about, &text);
        }
    }
    let found = found.as_object_mut()?;
    // ingress-nginx reads the pattern only where there is no value, and neither without a header.
    let unread = match (found.contains_key("header"), found.contains_key("value")) {
        (false, _) => vec!["value", "pattern"],
        (true, true) => vec!["pattern"],
        (true, false) => Vec::new(),
    };
    for key in unread {
        if found.remove(key).is_some() {
            let text = format!(
                "spec.strategy.canary.trafficRouting.nginx: canary-by-header-{key} is left out, which ingress-nginx does not read beside the others"
            );
            all.note(about, &text);
        }
    }
    (!found.is_empty()).then(|| json!(found))
}

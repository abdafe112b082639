//! Events of the core group and of `events.k8s.io` are the same objects in two forms.
//!
//! They are stored in the core form; this turns one into the other.

use serde_json::{Map, Value, json};

const PAIRS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The core form of an `events.k8s.io` event.
pub fn to_core(event: &Value) -> Value {
    rename(event, "v1", |key| {
        PAIRS
            .iter()
            .find(|(_, new)| *new == key)
            .map(|(old, _)| *old)
    })
}

/// The `events.k8s.io` form of a core event.
pub fn to_events_group(event: &Value) -> Value {
    rename(event, "events.k8s.io/v1", |key| {
        PAIRS
            .iter()
            .find(|(old, _)| *old == key)
            .map(|(_, new)| *new)
    })
}

fn rename(event: &Value, version: &str, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let mut out = Map::new();
    for (key, value) in event.as_object().into_iter().flatten() {
        out.insert(name(key).unwrap_or(key).to_owned(), value.clone());
    }
    out.insert("apiVersion".into(), json!(version));
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "message": "m", "involvedObject": {"name": "x"}, "reason": "R"});
        let new = to_events_group(&core);
        assert_eq!(
            (&new["note"], &new["regarding"]["name"]),
            (&json!("m"), &json!("x"))
        );
        assert_eq!(to_core(&new), core);
    }
}

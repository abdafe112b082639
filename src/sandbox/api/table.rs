//! Tables for kubectl: the columns that people know for each kind.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{Rows, partial};
use super::kinds::Kind;
use super::store::Stored;

/// A `Table` of these objects.
pub fn of(kind: &Kind, objects: &[Stored], rows: Rows, now: Timestamp) -> Value {
    let _ = (kind, now);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": [object.value["metadata"]["name"], ""]});
            match rows {
                Rows::Bare => {}
                Rows::Metadata => row["object"] = partial(&object.value),
                Rows::Object => row["object"] = object.value.clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0},
        ],
        "rows": rows,
    })
}

//! Tables for kubectl: the columns that people know for each kind.
//!
//! Built-in kinds have theirs in `cells`, pods in `pods`, custom resources by their
//! `additionalPrinterColumns` in `custom`. Everything else shows name and age.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{Rows, partial};
use super::kinds::Kind;
use super::store::Stored;

mod age;
mod cells;
mod custom;
mod pods;

/// One column: its name, and whether it shows only in wide tables.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    kind: &'static str,
    wide: bool,
}

impl Column {
    fn new(name: &str) -> Self {
        let (name, wide) = name
            .strip_suffix('*')
            .map_or((name, false), |name| (name, true));
        Self {
            name: name.into(),
            kind: "string",
            wide,
        }
    }

    fn definition(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        let priority = i32::from(self.wide);
        json!({"name": self.name, "type": self.kind, "format": format, "description": "", "priority": priority})
    }
}

/// A `Table` of these objects.
pub fn of(kind: &Kind, objects: &[Stored], rows: Rows, now: Timestamp) -> Value {
    let columns = columns(kind);
    let definitions: Vec<Value> = columns.iter().map(Column::definition).collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| row(kind, object, rows, now))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn columns(kind: &Kind) -> Vec<Column> {
    match &kind.custom {
        Some(custom) => custom::columns(&custom.columns),
        None => cells::columns(kind)
            .split(',')
            .map(|name| Column {
                kind: cells::type_of(kind, name),
                ..Column::new(name)
            })
            .collect(),
    }
}

fn row(kind: &Kind, object: &Stored, rows: Rows, now: Timestamp) -> Value {
    let cells = match &kind.custom {
        Some(custom) => custom::cells(&custom.columns, &object.value, now),
        None => cells::cells(kind, &object.value, now),
    };
    let mut row = json!({"cells": cells});
    match rows {
        Rows::Bare => row["object"] = Value::Null,
        Rows::Metadata => row["object"] = partial(&object.value),
        Rows::Object => row["object"] = object.value.clone(),
    }
    row
}

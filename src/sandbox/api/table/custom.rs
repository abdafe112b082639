//! Columns of custom resources: `additionalPrinterColumns` and their JSON paths.
//!
//! Of JSON path only what such columns use: names, indices, and a filter by one field.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, age};

/// The columns; name and age where none are given.
pub fn columns(given: &[Value]) -> Vec<Column> {
    let mut columns = vec![Column::new("Name")];
    for column in given {
        columns.push(Column {
            name: column["name"].as_str().unwrap_or_default().to_owned(),
            kind: match column["type"].as_str() {
                Some("integer") => "integer",
                Some("number") => "number",
                Some("boolean") => "boolean",
                Some("date") => "date",
                _ => "string",
            },
            wide: column["priority"]
                .as_i64()
                .is_some_and(|priority| priority > 0),
        });
    }
    if given.is_empty() {
        columns.push(Column {
            kind: "date",
            ..Column::new("Age")
        });
    }
    columns
}

/// The cells of an object.
pub fn cells(given: &[Value], object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![object["metadata"]["name"].clone()];
    for column in given {
        let found = at(object, column["jsonPath"].as_str().unwrap_or_default());
        cells.push(match (column["type"].as_str(), found) {
            (_, None | Some(Value::Null)) => Value::Null,
            (Some("date"), Some(time)) => json!(age::since(time, now)),
            (Some("string"), Some(Value::Array(_) | Value::Object(_))) => {
                json!(found.map(Value::to_string))
            }
            (_, Some(value)) => value.clone(),
        });
    }
    if given.is_empty() {
        cells.push(json!(age::since(
            &object["metadata"]["creationTimestamp"],
            now
        )));
    }
    cells
}

/// The value at a JSON path such as `.status.conditions[?(@.type=="Ready")].status`.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[?(@.") {
            let (filter, after) = after.split_once(")]")?;
            let (field, want) = filter.split_once("==")?;
            let want = want.trim().trim_matches(['"', '\'']);
            value = value
                .as_array()?
                .iter()
                .find(|item| item[field.trim()] == want)?;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            let name = index.trim_matches(['"', '\'']);
            value = index
                .parse::<usize>()
                .map_or_else(|_| value.get(name), |index| value.get(index))?;
            rest = after;
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = name_end(after);
            value = value.get(after[..end].replace("\\.", "."))?;
            rest = &after[end..];
        }
    }
    Some(value)
}

fn name_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends =
        |at: &usize| matches!(bytes[*at], b'.' | b'[') && (*at == 0 || bytes[at - 1] != b'\\');
    (0..bytes.len()).find(ends).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_fields_items_and_conditions() {
        let object = json!({"metadata": {"annotations": {"a.b/c": "x"}}, "status": {"run": {"weight": 5}, "list": [1, 2],
            "conditions": [{"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".status.run.weight", Some(json!(5))),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                Some(json!("True")),
            ),
            (".status.list[1]", Some(json!(2))),
            (".metadata.annotations.a\\.b/c", Some(json!("x"))),
            (".status.gone.x", None),
        ] {
            assert_eq!(at(&object, path), want.as_ref(), "{path}");
        }
    }
}

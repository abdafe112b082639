//! Structural schemas of custom resources: pruning, defaults, validation.
//!
//! The part of JSON schema that `CustomResourceDefinitions` may use, and the rules in
//! `x-kubernetes-validations`. The order is the server's: prune, default, validate.

use serde_json::{Map, Value};

use super::refusal::Cause;
use super::schema_rules::check_rules;

fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
        || schema["x-kubernetes-embedded-resource"] == true
}

/// Drops fields that the schema does not name, and nulls; tells the paths of the dropped.
pub fn prune(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => prune_map(schema, map, path, unknown),
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                prune(&schema["items"], item, &format!("{path}[{at}]"), unknown);
            }
        }
        _ => {}
    }
}

fn prune_map(schema: &Value, map: &mut Map<String, Value>, path: &str, unknown: &mut Vec<String>) {
    let names: Vec<String> = map.keys().cloned().collect();
    for name in names {
        if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let property = schema["properties"].get(&name);
        let property = property.or_else(|| {
            schema
                .get("additionalProperties")
                .filter(|values| **values != false)
        });
        let Some(property) = property else {
            if !keeps_unknown(schema) {
                map.remove(&name);
                unknown.push(below);
            }
            continue;
        };
        if map.get(&name).is_some_and(Value::is_null) && property["nullable"] != true {
            map.remove(&name);
        } else if let Some(value) = map.get_mut(&name)
            && property.is_object()
        {
            prune(property, value, &below, unknown);
        }
    }
}

/// Fills in the schema's defaults.
pub fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default")
                    && map
                        .get(name)
                        .is_none_or(|value| value.is_null() && property["nullable"] != true)
                {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(name) {
                    default_below(property, value);
                }
            }
            if let Some(values) = schema
                .get("additionalProperties")
                .filter(|values| values.is_object())
            {
                map.values_mut()
                    .for_each(|value| default_below(values, value));
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| default_below(&schema["items"], item)),
        _ => {}
    }
}

fn default_below(schema: &Value, value: &mut Value) {
    default(schema, value);
}

/// Validates a value, and against its former value where rules speak of it.
pub fn validate(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let before = causes.len();
    if !check_type(schema, value, path, causes) {
        return;
    }
    check_enum(schema, value, path, causes);
    match value {
        Value::String(text) => check_text(schema, text, value, path, causes),
        Value::Number(number) => {
            check_number(schema, number.as_f64().unwrap_or(0.0), value, path, causes);
        }
        Value::Array(items) => check_items(schema, items, old, path, causes),
        Value::Object(map) => check_map(schema, map, old, path, causes),
        Value::Null | Value::Bool(_) => {}
    }
    check_combinations(schema, value, path, causes);
    if causes.len() == before {
        check_rules(schema, value, old, path, causes);
    }
}

/// With some mistakes the real server does not come to the rules, and says so.
pub fn say_unchecked(causes: &mut Vec<Cause>) {
    const FIRST: [&str; 5] = [
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    ];
    if causes.iter().any(|cause| FIRST.contains(&cause.reason)) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        causes.push(Cause::invalid("<nil>", &Value::Null, why));
    }
}

fn fits(want: &str, value: &Value) -> bool {
    match want {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_type(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) -> bool {
    if schema["x-kubernetes-int-or-string"] == true
        && (value.is_string() || value.is_i64() || value.is_u64())
    {
        return true;
    }
    if value.is_null() && schema["nullable"] == true {
        return false;
    }
    let Some(want) = schema["type"].as_str().filter(|want| !fits(want, value)) else {
        return true;
    };
    let found = type_of(value);
    let message = format!(
        "Invalid value: \"{found}\": {} in body must be of type {want}: \"{found}\"",
        shown(path)
    );
    causes.push(Cause {
        reason: "FieldValueTypeInvalid",
        field: path.into(),
        message,
    });
    false
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "value" } else { path }
}

fn check_enum(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        causes.push(Cause::unsupported(path, value, allowed));
    }
}

fn body(path: &str, value: &Value, must: &str) -> Cause {
    Cause::invalid(
        path,
        value,
        &format!("{} in body should {must}", shown(path)),
    )
}

fn check_text(schema: &Value, text: &str, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if schema["maxLength"].as_u64().is_some_and(|max| length > max) {
        causes.push(body(
            path,
            value,
            &format!("be at most {} chars long", schema["maxLength"]),
        ));
    }
    if schema["minLength"].as_u64().is_some_and(|min| length < min) {
        causes.push(body(
            path,
            value,
            &format!("be at least {} chars long", schema["minLength"]),
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
    {
        causes.push(body(path, value, &format!("match '{pattern}'")));
    }
}

fn check_number(schema: &Value, number: f64, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(min) = schema["minimum"].as_f64() {
        let exclusive = schema["exclusiveMinimum"] == true;
        if number < min || (exclusive && number <= min) {
            let than = if exclusive {
                "greater than"
            } else {
                "greater than or equal to"
            };
            causes.push(body(
                path,
                value,
                &format!("be {than} {}", schema["minimum"]),
            ));
        }
    }
    if let Some(max) = schema["maximum"].as_f64() {
        let exclusive = schema["exclusiveMaximum"] == true;
        if number > max || (exclusive && number >= max) {
            let than = if exclusive {
                "less than"
            } else {
                "less than or equal to"
            };
            causes.push(body(
                path,
                value,
                &format!("be {than} {}", schema["maximum"]),
            ));
        }
    }
}

fn check_items(
    schema: &Value,
    items: &[Value],
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let count = items.len() as u64;
    if let Some(max) = schema["maxItems"].as_u64().filter(|max| count > *max) {
        let message = format!("Too many: {count}: must have at most {max} items");
        causes.push(Cause {
            reason: "FieldValueTooMany",
            field: path.into(),
            message,
        });
    }
    if schema["minItems"].as_u64().is_some_and(|min| count < min) {
        causes.push(body(
            path,
            &Value::from(count),
            &format!("have at least {} items", schema["minItems"]),
        ));
    }
    let old = old.and_then(Value::as_array);
    for (at, item) in items.iter().enumerate() {
        let old = old
            .filter(|old| old.len() == items.len())
            .and_then(|old| old.get(at));
        validate(
            &schema["items"],
            item,
            old,
            &format!("{path}[{at}]"),
            causes,
        );
    }
}

fn check_map(
    schema: &Value,
    map: &Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let count = map.len() as u64;
    if let Some(max) = schema["maxProperties"].as_u64().filter(|max| count > *max) {
        let message = format!("Too many: {count}: must have at most {max} items");
        causes.push(Cause {
            reason: "FieldValueTooMany",
            field: path.into(),
            message,
        });
    }
    for (name, value) in map {
        if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let property = schema["properties"].get(name);
        let property = property.or_else(|| {
            schema
                .get("additionalProperties")
                .filter(|values| values.is_object())
        });
        if let Some(property) = property {
            validate(
                property,
                value,
                old.and_then(|old| old.get(name)),
                &below(name),
                causes,
            );
        }
    }
    // The real server asks for what is missing after it looked at what is there.
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !map.contains_key(name) {
            causes.push(Cause::required(below(name), ""));
        }
    }
}

fn check_combinations(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let passes = |schema: &Value| {
        let mut found = Vec::new();
        validate(schema, value, None, path, &mut found);
        found.is_empty()
    };
    let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
    for schema in list("allOf") {
        validate(&schema, value, None, path, causes);
    }
    let any = list("anyOf");
    if !any.is_empty() && !any.iter().any(passes) {
        causes.push(Cause::invalid(
            path,
            value,
            &format!(
                "{} in body must validate at least one schema (anyOf)",
                shown(path)
            ),
        ));
    }
    let one = list("oneOf");
    if !one.is_empty() && one.iter().filter(|schema| passes(schema)).count() != 1 {
        causes.push(Cause::invalid(
            path,
            value,
            &format!(
                "{} in body must validate one and only one schema (oneOf)",
                shown(path)
            ),
        ));
    }
    if schema.get("not").is_some_and(passes) {
        causes.push(Cause::invalid(
            path,
            value,
            &format!("{} in body must not validate the schema (not)", shown(path)),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "properties": {
            "weight": {"type": "integer", "minimum": 1, "maximum": 100, "default": 5},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "steps": {"type": "array", "maxItems": 2, "items": {"type": "integer"},
                "x-kubernetes-validations": [{"rule": "self.isSorted()", "message": "must rise"}]},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
        }}}})
    }

    #[test]
    fn unknown_fields_are_pruned_and_defaults_filled_in() {
        let mut value = json!({"metadata": {"name": "x"}, "spec": {"mode": null, "wieght": 3, "free": {"x": 1}}, "extra": 1});
        let mut unknown = Vec::new();
        prune(&schema(), &mut value, "", &mut unknown);
        default(&schema(), &mut value);
        assert_eq!(unknown, ["extra", "spec.wieght"]);
        assert_eq!(
            value,
            json!({"metadata": {"name": "x"}, "spec": {"weight": 5, "free": {"x": 1}}})
        );
    }

    #[test]
    fn each_violation_is_named() {
        for (spec, old, want) in [
            (
                json!({"weight": 0}),
                None,
                "spec.weight: Invalid value: 0: spec.weight in body should be greater than or equal to 1",
            ),
            (
                json!({"weight": "x"}),
                None,
                "spec.weight: Invalid value: \"string\": spec.weight in body must be of type integer: \"string\"",
            ),
            (
                json!({"mode": "c"}),
                None,
                "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"steps": [2, 1]}),
                None,
                "spec.steps: Invalid value: must rise",
            ),
            (
                json!({"fixed": "y"}),
                Some(json!({"fixed": "x"})),
                "spec.fixed: Invalid value: \"y\": is immutable",
            ),
        ] {
            let mut causes = Vec::new();
            let old = old.map(|old| json!({"spec": old}));
            validate(
                &schema(),
                &json!({"spec": spec}),
                old.as_ref(),
                "",
                &mut causes,
            );
            let told: Vec<String> = causes
                .iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect();
            assert_eq!(told, [want]);
        }
    }
}

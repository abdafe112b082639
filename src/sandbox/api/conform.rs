//! Brings a built-in object's body into the form in which it is stored.
//!
//! As decoding into Go's types and encoding again does: unknown fields are dropped and told,
//! nulls and empty lists and maps disappear, zero values of plain fields too, quantities get
//! their canonical form, and values of a wrong type are refused.

use serde_json::{Map, Value};

use super::library::Library;
use super::quantity;

/// What was found on the way.
#[derive(Debug, Default)]
pub struct Findings {
    /// Paths of fields that the kind does not have.
    pub unknown: Vec<String>,
    /// Values of a wrong type.
    pub wrong: Vec<String>,
}

/// Fields that are not stored when they have their type's zero value.
const PLAIN: &[&str] = &[
    "paused",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "publishNotReadyAddresses",
    "hostname",
    "subdomain",
    "nodeName",
    "serviceAccountName",
    "serviceAccount",
    "workingDir",
    "subPath",
    "value",
    "minReadySeconds",
    "initialDelaySeconds",
    "priorityClassName",
    "ingressClassName",
];

/// Definitions whose content is any JSON.
fn is_opaque(name: &str) -> bool {
    name.rsplit('.').next() == Some("JSON")
        || name.contains(".JSONSchemaProps")
        || name.ends_with(".RawExtension")
        || name.ends_with(".FieldsV1")
        || name.ends_with(".FieldSelectorRequirement")
}

/// Conforms an object to a definition.
pub fn conform(object: &mut Value, definition: &str, findings: &mut Findings) {
    let library = Library::get();
    if let Some(schema) = library.definitions.get(definition) {
        Walk { library, findings }.value(object, schema, "");
    }
}

struct Walk<'a> {
    library: &'static Library,
    findings: &'a mut Findings,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value, schema: &Value, path: &str) {
        let (name, schema) = self.library.resolve(schema);
        if is_opaque(name) {
            return;
        }
        if name.ends_with(".Quantity") {
            return self.quantity(value, path);
        }
        match value {
            Value::Object(map) => self.object(map, schema, path),
            Value::Array(items) => {
                if schema["type"] != "array" {
                    return self.mismatch("array", schema, path);
                }
                for (at, item) in items.iter_mut().enumerate() {
                    self.value(item, &schema["items"], &format!("{path}[{at}]"));
                }
            }
            scalar => self.scalar(scalar, schema, path),
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, schema: &Value, path: &str) {
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            for (key, value) in map.iter_mut().filter(|(_, value)| !value.is_null()) {
                self.value(value, values, &format!("{path}.{key}"));
            }
            return;
        }
        let Some(properties) = schema["properties"].as_object() else {
            if schema["type"].as_str().is_some_and(|kind| kind != "object") {
                self.mismatch("object", schema, path);
            }
            return;
        };
        let names: Vec<String> = map.keys().cloned().collect();
        for name in names {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let Some(property) = properties.get(&name) else {
                map.remove(&name);
                self.findings.unknown.push(path);
                continue;
            };
            if let Some(value) = map.get_mut(&name).filter(|value| !value.is_null()) {
                self.value(value, property, &path);
            }
            let required = schema["required"]
                .as_array()
                .is_some_and(|list| list.iter().any(|r| *r == *name));
            if map
                .get(&name)
                .is_some_and(|value| self.disappears(&name, value, property, required))
            {
                map.remove(&name);
            }
        }
    }

    fn disappears(&self, name: &str, value: &Value, schema: &Value, required: bool) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty() && !required,
            Value::Object(map) => {
                map.is_empty()
                    && self
                        .library
                        .resolve(schema)
                        .1
                        .get("additionalProperties")
                        .is_some()
            }
            Value::Bool(false) => PLAIN.contains(&name),
            Value::String(text) => text.is_empty() && PLAIN.contains(&name),
            Value::Number(number) => number.as_i64() == Some(0) && PLAIN.contains(&name),
            Value::Bool(true) => false,
        }
    }

    fn quantity(&mut self, value: &mut Value, path: &str) {
        let text = match &*value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match quantity::canonical(&text) {
            Some(canonical) => *value = Value::String(canonical),
            None => self.findings.wrong.push(format!("{path}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")),
        }
    }

    fn scalar(&mut self, value: &mut Value, schema: &Value, path: &str) {
        let found = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            _ => return,
        };
        let fits = match schema["type"].as_str() {
            None => true,
            Some("number") => matches!(found, "number" | "integer"),
            Some(want) => want == found,
        };
        if !fits {
            self.mismatch(found, schema, path);
        }
    }

    fn mismatch(&mut self, found: &str, schema: &Value, path: &str) {
        let want = schema["type"].as_str().unwrap_or("another type");
        self.findings.wrong.push(format!(
            "json: cannot unmarshal {found} into field {path} of type {want}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

    #[test]
    fn a_body_gets_the_form_in_which_it_is_stored() {
        let mut object = json!({"metadata": {"name": "x", "labels": {}, "creationTimestamp": null}, "spec": {"paused": false, "template": {"spec": {
            "containers": [{"name": "c", "image": "i", "env": [], "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}}],
            "securityContext": {}}}}});
        let mut findings = Findings::default();
        conform(&mut object, DEPLOYMENT, &mut findings);
        assert!(
            findings.unknown.is_empty() && findings.wrong.is_empty(),
            "{findings:?}"
        );
        assert_eq!(
            object,
            json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
            "securityContext": {}}}}})
        );
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_told_with_their_place() {
        let mut object = json!({"spec": {"replicas": "3", "foo": 1, "template": {"spec": {"containers": [{"imge": "x"}]}}}});
        let mut findings = Findings::default();
        conform(&mut object, DEPLOYMENT, &mut findings);
        assert_eq!(
            findings.unknown,
            ["spec.foo", "spec.template.spec.containers[0].imge"]
        );
        assert_eq!(
            findings.wrong,
            ["json: cannot unmarshal string into field spec.replicas of type integer"]
        );
    }
}

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
    /// Their paths.
    pub wrong_at: Vec<String>,
    /// The first value of a wrong type, as server-side apply says it.
    pub untyped: String,
    /// Paths of fields that stand twice in the body.
    pub duplicate: Vec<String>,
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

const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

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
        let owner = definition.rsplit('.').next().unwrap_or_default();
        Walk {
            library,
            findings,
            owner: owner.to_owned(),
        }
        .value(object, schema, "");
    }
}

/// Go does not say which item of a list it was.
fn without_indices(path: &str) -> String {
    let mut inside = false;
    let outside = |letter: &char| {
        let kept = !inside && *letter != '[';
        inside = match letter {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        kept
    };
    path.chars().filter(outside).collect()
}

struct Walk<'a> {
    library: &'static Library,
    findings: &'a mut Findings,
    /// Go's type of the object whose fields are looked at.
    owner: String,
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
            Value::Object(map) => {
                let named = name.rsplit('.').next().filter(|name| !name.is_empty());
                let owner = named.map_or_else(|| self.owner.clone(), str::to_owned);
                let outer = std::mem::replace(&mut self.owner, owner);
                self.object(map, schema, path);
                self.owner = outer;
            }
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
        if let Some(canonical) = quantity::canonical(&text) {
            *value = Value::String(canonical);
        } else {
            self.findings.wrong.push(QUANTITY.into());
            self.findings.wrong_at.push(path.to_owned());
        }
    }

    fn scalar(&mut self, value: &mut Value, schema: &Value, path: &str) {
        let found = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            _ => return,
        };
        let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
        let fits = match schema["type"].as_str() {
            None => true,
            Some("integer") => found == "number" && whole,
            Some("boolean") => found == "bool",
            Some(want) => want == found,
        };
        if !fits {
            self.mismatch(found, schema, path);
        }
    }

    fn mismatch(&mut self, found: &str, schema: &Value, path: &str) {
        if self.findings.untyped.is_empty() {
            let want = match schema["type"].as_str() {
                Some("integer" | "number") => "numeric (int or float)",
                Some("array") => "list",
                Some("object") => "map",
                other => other.unwrap_or("another type"),
            };
            let found = match found {
                "number" => "int",
                other => other,
            };
            self.findings.untyped = format!(".{path}: expected {want}, got {found}");
        }
        let (owner, want) = (&self.owner, self.in_go(schema));
        self.findings.wrong_at.push(path.to_owned());
        let path: String = without_indices(path);
        self.findings.wrong.push(format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {want}"
        ));
    }

    /// Go's name of a type.
    fn in_go(&self, schema: &Value) -> String {
        let (name, resolved) = self.library.resolve(schema);
        if let Some(name) = name.rsplit('.').next().filter(|name| !name.is_empty()) {
            return format!("v1.{name}");
        }
        match resolved["type"].as_str() {
            Some("integer") => resolved["format"].as_str().unwrap_or("int64").into(),
            Some("boolean") => "bool".into(),
            Some("number") => "float64".into(),
            Some("array") => format!("[]{}", self.in_go(&resolved["items"])),
            Some("object") => "map[string]string".into(),
            other => other.unwrap_or("another type").into(),
        }
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
            [
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
            ]
        );
    }
}

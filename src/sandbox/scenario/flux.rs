//! The kinds of Flux, of the Flux Operator and of Argo CD, so that a cluster takes their objects, and what is
//! patched in them, as a real one does: the schemas in `flux.yaml`.
//!
//! Not here: what their controllers do (`fleet`).

use serde_json::{Map, Value, json};

use crate::yaml;

const KINDS: &str = include_str!("flux.yaml");

/// The `CustomResourceDefinition` of a kind.
///
/// # Errors
/// If there is none of that name.
pub fn kind(name: &str) -> Result<Value, String> {
    let mut kinds = kinds()?.into_iter();
    kinds
        .find(|one| one["spec"]["names"]["kind"] == name)
        .ok_or_else(|| format!("there is no kind {name} here"))
}

/// The definitions of all of them.
pub fn kinds() -> Result<Vec<Value>, String> {
    let documents = yaml::documents(KINDS).map_err(|error| error.to_string())?;
    let all = documents.first().map(yaml::Node::to_json);
    let all = all.unwrap_or_default();
    let kinds = all["kinds"].as_array().into_iter().flatten();
    Ok(kinds.map(|kind| definition(kind, &all["shared"])).collect())
}

/// A schema with the shared ones in the place of their names.
fn whole(schema: &Value, shared: &Value) -> Value {
    match schema {
        Value::String(name) => whole(&shared[name.as_str()], shared),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let value = match (key.as_str(), value) {
                    ("properties", Value::Object(fields)) => {
                        let fields = fields.iter();
                        fields
                            .map(|(key, value)| (key.clone(), whole(value, shared)))
                            .collect()
                    }
                    ("items" | "additionalProperties", schema) => whole(schema, shared),
                    (_, value) => value.clone(),
                };
                (key.clone(), value)
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn definition(kind: &Value, shared: &Value) -> Value {
    let text = |key: &str| kind[key].as_str().unwrap_or_default();
    let (group, name, plural) = (text("group"), text("kind"), text("plural"));
    let schema = json!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "operation": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "spec": whole(&kind["spec"], shared), "status": whole(&kind["status"], shared),
        },
    });
    let mut version = json!({
        "name": kind["version"], "served": true, "storage": true,
        "schema": {"openAPIV3Schema": schema},
    });
    // Argo CD's controller writes the whole object.
    if kind["status-subresource"] != false {
        version["subresources"] = json!({"status": Map::new()});
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": name, "plural": plural, "singular": name.to_lowercase(),
                      "listKind": format!("{name}List")},
            "versions": [version],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_schema_with_a_spec_and_a_status() {
        for found in kinds().unwrap() {
            let name = &found["spec"]["names"]["kind"];
            let schema = &found["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            for part in ["spec", "status"] {
                assert_eq!(schema["properties"][part]["type"], "object", "{name}");
            }
            assert_eq!(holes(schema), 0, "{name}");
        }
        assert!(kind("Deployment").unwrap_err().contains("Deployment"));
    }

    /// Places of schemas in which there is none.
    fn holes(schema: &Value) -> usize {
        let below = schema["properties"].as_object().into_iter().flatten();
        let parts = ["items", "additionalProperties"].map(|part| &schema[part]);
        let below = below
            .map(|(_, one)| one)
            .chain(parts.into_iter().filter(|one| !one.is_null()));
        below
            .map(|one| holes(one) + usize::from(!one.is_object()))
            .sum()
    }
}

//! What a custom resource definition brings: kinds in the registry, and its own status.

use serde_json::{Value, json};

use super::kinds::{Custom, Kind, Registry, storage_name};

/// The kinds of a definition, one for each served version.
pub fn kinds(definition: &Value) -> Vec<Kind> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural, kind) = (
        text(&spec["group"]),
        text(&names["plural"]),
        text(&names["kind"]),
    );
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .map(|version| Kind {
            group: group.clone(),
            version: text(&version["name"]),
            kind: kind.clone(),
            plural: plural.clone(),
            singular: names["singular"]
                .as_str()
                .map_or_else(|| kind.to_lowercase(), str::to_owned),
            short: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            status: version["subresources"]["status"].is_object(),
            scale: version["subresources"]["scale"].is_object(),
            storage: storage_name(&group, &plural),
            custom: Some(Custom {
                schema: version["schema"]["openAPIV3Schema"].clone(),
                columns: version["additionalPrinterColumns"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default(),
            }),
        })
        .collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Puts a definition's kinds into the registry, in place of those it had before.
pub fn register(registry: &mut Registry, definition: &Value) {
    forget(registry, definition);
    for kind in kinds(definition) {
        registry.add(kind);
    }
}

/// Takes a definition's kinds out of the registry.
pub fn forget(registry: &mut Registry, definition: &Value) {
    let spec = &definition["spec"];
    let (group, plural) = (spec["group"].as_str(), spec["names"]["plural"].as_str());
    registry.remove(group.unwrap_or_default(), plural.unwrap_or_default());
}

/// Fills in names, and the status that says that the definition is in force.
pub fn establish(definition: &mut Value, now: &str) {
    let kind = definition["spec"]["names"]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let names = &mut definition["spec"]["names"];
    if !names["singular"].is_string() {
        names["singular"] = json!(kind.to_lowercase());
    }
    if !names["listKind"].is_string() {
        names["listKind"] = json!(format!("{kind}List"));
    }
    let names = names.clone();
    if !definition["spec"]["conversion"].is_object() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let stored = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten();
    let stored: Vec<Value> = stored
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let since = definition["status"]["conditions"][0]["lastTransitionTime"]
        .as_str()
        .unwrap_or(now)
        .to_owned();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    let conditions = [
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition(
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
    ];
    definition["status"] =
        json!({"acceptedNames": names, "storedVersions": stored, "conditions": conditions});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_makes_a_kind_for_each_served_version() {
        let definition = json!({"spec": {"group": "x.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}}, {"name": "v0", "served": false}]}});
        let mut registry = Registry::default();
        register(&mut registry, &definition);
        let kind = registry.find("x.dev", "v1", "things").unwrap();
        assert!(kind.status && kind.namespaced && kind.custom.is_some());
        assert!(registry.find("x.dev", "v0", "things").is_none());
        forget(&mut registry, &definition);
        assert_eq!(registry.all().count(), 0);
    }
}

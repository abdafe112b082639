//! How lists and maps of a kind merge: as a whole, as a set, or item by item with keys.
//!
//! Strategic merge patch and server-side apply both need it. For custom resources the schema
//! says it (`x-kubernetes-list-type` and so on); for built-in kinds the table below does, by
//! the names of the field and of the field around it, which is enough to tell them apart.

use serde_json::Value;

use super::kinds::Kind;

/// How a list merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// As a whole.
    Atomic,
    /// As a set of scalars.
    Set,
    /// Item by item, told apart by these fields.
    Map(Vec<String>),
}

/// A place in an object.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    kind: &'a Kind,
    schema: Option<&'a Value>,
    name: &'a str,
    parent: &'a str,
}

/// field | field around it, or empty for any | keys, or `set`
const LISTS: &[(&str, &str, &str)] = &[
    ("containers", "", "name"),
    ("initContainers", "", "name"),
    ("ephemeralContainers", "", "name"),
    ("volumes", "", "name"),
    ("env", "", "name"),
    ("imagePullSecrets", "", "name"),
    ("volumeMounts", "", "mountPath"),
    ("volumeDevices", "", "devicePath"),
    ("ports", "containers", "containerPort,protocol"),
    ("ports", "initContainers", "containerPort,protocol"),
    ("ports", "ephemeralContainers", "containerPort,protocol"),
    ("ports", "spec", "port,protocol"),
    ("conditions", "status", "type"),
    ("ownerReferences", "metadata", "uid"),
    ("finalizers", "metadata", "set"),
    ("hostAliases", "", "ip"),
    (
        "topologySpreadConstraints",
        "",
        "topologyKey,whenUnsatisfiable",
    ),
    ("podIPs", "", "ip"),
    ("hostIPs", "", "ip"),
    ("resourceClaims", "", "name"),
    ("secrets", "", "name"),
    ("variables", "spec", "name"),
    ("matchConditions", "spec", "name"),
    ("webhooks", "", "name"),
    ("addresses", "status", "type"),
    ("metrics", "", ""),
];

const ATOMIC_MAPS: &[&str] = &[
    "nodeSelector",
    "podSelector",
    "namespaceSelector",
    "labelSelector",
    "objectSelector",
    "fieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "resourceFieldRef",
    "roleRef",
    "involvedObject",
    "targetRef",
    "claimRef",
    "paramRef",
    "ownerReferences",
];

impl<'a> Shape<'a> {
    /// The whole object.
    pub fn root(kind: &'a Kind) -> Self {
        let schema = kind.custom.as_ref().map(|custom| &custom.schema);
        Self {
            kind,
            schema,
            name: "",
            parent: "",
        }
    }

    /// A field of this place.
    pub fn field(self, name: &'a str) -> Self {
        let in_metadata = self.name.is_empty() && name == "metadata";
        let schema = self.schema.filter(|_| !in_metadata).and_then(|schema| {
            schema["properties"]
                .get(name)
                .or_else(|| schema.get("additionalProperties"))
        });
        Self {
            kind: self.kind,
            schema,
            name,
            parent: self.name,
        }
    }

    /// An item of this list.
    pub fn item(self) -> Self {
        let schema = self.schema.and_then(|schema| schema.get("items"));
        Self { schema, ..self }
    }

    /// Whether this map merges only as a whole.
    pub fn is_atomic_map(self) -> bool {
        if let Some(schema) = self.schema {
            return schema["x-kubernetes-map-type"] == "atomic";
        }
        let selector = self.name == "selector" && self.parent == "spec";
        let content = self.name == "data" && self.kind.kind == "ControllerRevision";
        self.kind.custom.is_none() && (selector || content || ATOMIC_MAPS.contains(&self.name))
    }

    /// How this list merges.
    pub fn list(self) -> List {
        match self.schema {
            Some(schema) => by_schema(schema),
            None => self.by_table(),
        }
    }

    fn by_table(self) -> List {
        let fits = |entry: &&(&str, &str, &str)| {
            entry.0 == self.name && (entry.1.is_empty() || entry.1 == self.parent)
        };
        let custom = self.kind.custom.is_some() && self.parent != "metadata";
        match LISTS.iter().find(fits) {
            _ if custom => List::Atomic,
            Some((_, _, "set")) => List::Set,
            Some(("ports", "spec", _)) if self.kind.kind != "Service" => List::Atomic,
            None | Some((_, _, "")) => List::Atomic,
            Some((_, _, keys)) => List::Map(keys.split(',').map(str::to_owned).collect()),
        }
    }
}

fn by_schema(schema: &Value) -> List {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => List::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten();
            List::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => List::Atomic,
    }
}

/// The value of an item's key field; a port's protocol is TCP where it is not said.
pub fn key_value(item: &Value, key: &str) -> Value {
    match item.get(key) {
        Some(value) => value.clone(),
        None if key == "protocol" => Value::from("TCP"),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    #[test]
    fn lists_of_built_in_kinds_merge_by_their_keys() {
        let registry = Registry::built_in();
        let deployment = registry.by_kind("apps", "Deployment").unwrap();
        let service = registry.by_kind("", "Service").unwrap();
        let slice = registry
            .by_kind("discovery.k8s.io", "EndpointSlice")
            .unwrap();
        let keys = |names: &[&str]| List::Map(names.iter().map(ToString::to_string).collect());
        let pod = Shape::root(&deployment)
            .field("spec")
            .field("template")
            .field("spec");
        let container = pod.field("containers");
        assert_eq!(container.list(), keys(&["name"]));
        assert_eq!(
            container.item().field("ports").list(),
            keys(&["containerPort", "protocol"])
        );
        assert_eq!(pod.field("tolerations").list(), List::Atomic);
        assert_eq!(
            Shape::root(&service).field("spec").field("ports").list(),
            keys(&["port", "protocol"])
        );
        assert_eq!(Shape::root(&slice).field("ports").list(), List::Atomic);
        assert!(
            Shape::root(&deployment)
                .field("spec")
                .field("selector")
                .is_atomic_map()
        );
    }
}

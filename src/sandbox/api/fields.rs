//! Sets of fields: who owns what, in the form of `fieldsV1`.
//!
//! A set is a tree whose steps are written as on the wire: `f:name`, `k:{"name":"web"}`,
//! `v:"finalizer"`. A node may itself be a member, and have members below it.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::shape::{List, Shape, key_value};

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    member: bool,
    below: BTreeMap<String, Fields>,
}

impl Fields {
    fn leaf() -> Self {
        Self {
            member: true,
            below: BTreeMap::new(),
        }
    }

    /// Reads `fieldsV1`.
    pub fn from_wire(wire: &Value) -> Self {
        let mut fields = Self::default();
        for (step, below) in wire.as_object().into_iter().flatten() {
            if step == "." {
                fields.member = true;
            } else {
                let mut child = Self::from_wire(below);
                child.member |= child.below.is_empty();
                fields.below.insert(step.clone(), child);
            }
        }
        fields
    }

    /// Writes `fieldsV1`.
    pub fn to_wire(&self) -> Value {
        let mut wire = Map::new();
        if self.member && !self.below.is_empty() {
            wire.insert(".".into(), json!({}));
        }
        for (step, below) in &self.below {
            wire.insert(step.clone(), below.to_wire());
        }
        Value::Object(wire)
    }

    /// The fields that a value sets.
    pub fn of(value: &Value, shape: Shape<'_>) -> Self {
        match value {
            Value::Object(map) if !map.is_empty() && !shape.is_atomic_map() => {
                let below = map
                    .iter()
                    .map(|(name, value)| (format!("f:{name}"), Self::of(value, shape.field(name))));
                Self {
                    member: false,
                    below: below.collect(),
                }
            }
            Value::Array(items) if !items.is_empty() => Self::of_list(items, shape),
            _ => Self::leaf(),
        }
    }

    fn of_list(items: &[Value], shape: Shape<'_>) -> Self {
        let list = shape.list();
        let mut fields = Self::default();
        for item in items {
            let Some(step) = step(item, &list) else {
                return Self::leaf();
            };
            let mut below = if list == List::Set {
                Self::leaf()
            } else {
                Self::of(item, shape.item())
            };
            below.member = true;
            fields.below.insert(step, below);
        }
        fields
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    /// Adds the members of another set.
    pub fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, below) in &other.below {
            self.below.entry(step.clone()).or_default().add(below);
        }
    }

    /// The members that are not in the other set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let below = self.below.iter().filter_map(|(step, mine)| {
            let rest = other
                .below
                .get(step)
                .map_or_else(|| mine.clone(), |theirs| mine.without(theirs));
            (!rest.is_empty()).then(|| (step.clone(), rest))
        });
        Self {
            member: self.member && !other.member,
            below: below.collect(),
        }
    }

    /// The members of both sets.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let below = self.below.iter().filter_map(|(step, mine)| {
            let both = mine.both(other.below.get(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        Self {
            member: self.member && other.member,
            below: below.collect(),
        }
    }

    /// The same set with everything on the way to a member as a member too.
    #[must_use]
    pub fn with_ancestors(&self) -> Self {
        let below = self
            .below
            .iter()
            .map(|(step, below)| (step.clone(), below.with_ancestors()));
        Self {
            member: !self.is_empty(),
            below: below.collect(),
        }
    }

    /// Takes out what the server owns: names, versions, times.
    pub fn strip_server_fields(&mut self) {
        const META: [&str; 10] = [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "managedFields",
            "resourceVersion",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ];
        self.below.remove("f:apiVersion");
        self.below.remove("f:kind");
        if let Some(metadata) = self.below.get_mut("f:metadata") {
            for field in META {
                metadata.below.remove(&format!("f:{field}"));
            }
            metadata.member = false;
            if metadata.below.is_empty() {
                self.below.remove("f:metadata");
            }
        }
    }

    /// Takes out a whole top-level field.
    pub fn strip(&mut self, field: &str) {
        self.below.remove(&format!("f:{field}"));
    }

    /// Keeps only one top-level field.
    pub fn keep(&mut self, field: &str) {
        self.below.retain(|step, _| *step == format!("f:{field}"));
    }

    /// The members, as messages name them: `.spec.containers[name="web"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(String::new(), &mut paths);
        paths
    }

    fn collect(&self, at: String, paths: &mut Vec<String>) {
        for (step, below) in &self.below {
            below.collect(format!("{at}{}", shown(step)), paths);
        }
        if self.member && self.below.is_empty() {
            paths.push(at);
        }
    }

    /// Takes these fields out of a value; containers that become empty go too.
    pub fn remove_from(&self, value: &mut Value, shape: Shape<'_>) {
        match value {
            Value::Object(map) => {
                for (step, below) in &self.below {
                    let Some(name) = step.strip_prefix("f:") else {
                        continue;
                    };
                    if below.below.is_empty() {
                        map.remove(name);
                    } else if let Some(inner) = map.get_mut(name) {
                        below.remove_from(inner, shape.field(name));
                        if below.member && is_hollow(inner) {
                            map.remove(name);
                        }
                    }
                }
            }
            Value::Array(items) => self.remove_items(items, shape),
            _ => {}
        }
    }

    fn remove_items(&self, items: &mut Vec<Value>, shape: Shape<'_>) {
        let list = shape.list();
        items.retain_mut(|item| {
            let found = step(item, &list).and_then(|step| self.below.get(&step));
            match found {
                Some(fields) if fields.member => false,
                Some(fields) => {
                    fields.remove_from(item, shape.item());
                    true
                }
                None => true,
            }
        });
    }
}

fn is_hollow(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn shown(step: &str) -> String {
    match (step.get(..2), step.get(2..)) {
        (Some("f:"), Some(name)) => format!(".{name}"),
        (Some("k:"), Some(keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
        (_, rest) => format!("[={}]", rest.unwrap_or_default()),
    }
}

/// The step that leads to an item; `None` in an atomic list or when the item has no keys.
pub fn step(item: &Value, list: &List) -> Option<String> {
    match list {
        List::Atomic => None,
        List::Set => Some(format!("v:{item}")),
        List::Map(keys) => {
            item.as_object()?;
            let keys: Map<String, Value> = keys
                .iter()
                .map(|key| (key.clone(), key_value(item, key)))
                .collect();
            Some(format!("k:{}", Value::Object(keys)))
        }
    }
}

/// What changed between two versions.
#[derive(Debug, Default)]
pub struct Change {
    /// Fields that are new or have another value.
    pub set: Fields,
    /// Fields that are gone.
    pub removed: Fields,
}

/// Compares two versions of a place.
pub fn compare(old: &Value, new: &Value, shape: Shape<'_>) -> Change {
    if old == new {
        return Change::default();
    }
    match (old, new) {
        (Value::Null, Value::Object(after)) if !shape.is_atomic_map() => {
            compare_maps(&Map::new(), after, shape)
        }
        (Value::Null, Value::Array(after)) if shape.list() != List::Atomic => {
            compare_lists(&[], after, shape)
        }
        (Value::Object(before), Value::Object(after)) if !shape.is_atomic_map() => {
            compare_maps(before, after, shape)
        }
        (Value::Array(before), Value::Array(after)) if shape.list() != List::Atomic => {
            compare_lists(before, after, shape)
        }
        _ => Change {
            set: Fields::of(new, shape),
            removed: Fields::of(old, shape).without(&Fields::of(new, shape)),
        },
    }
}

fn compare_maps(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    shape: Shape<'_>,
) -> Change {
    let mut change = Change::default();
    for (name, new) in after {
        let below = before.get(name).map_or_else(
            || Change::made(new, shape.field(name)),
            |old| compare(old, new, shape.field(name)),
        );
        change.put(format!("f:{name}"), below);
    }
    for (name, old) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        let removed = Fields::of(old, shape.field(name)).with_ancestors();
        change.put(
            format!("f:{name}"),
            Change {
                set: Fields::default(),
                removed,
            },
        );
    }
    change
}

fn compare_lists(before: &[Value], after: &[Value], shape: Shape<'_>) -> Change {
    let list = shape.list();
    let old: BTreeMap<String, &Value> = before
        .iter()
        .filter_map(|item| Some((step(item, &list)?, item)))
        .collect();
    let mut change = Change::default();
    let mut kept = HashSet::new();
    for (step, new) in after
        .iter()
        .filter_map(|item| Some((step(item, &list)?, item)))
    {
        kept.insert(step.clone());
        if let Some(old) = old.get(&step) {
            change.put(step, compare(old, new, shape.item()));
        } else {
            change.put(step, Change::made(new, shape.item()));
        }
    }
    for (step, item) in old.into_iter().filter(|(step, _)| !kept.contains(step)) {
        let removed = Fields::of(item, shape.item()).with_ancestors();
        change.put(
            step,
            Change {
                set: Fields::default(),
                removed,
            },
        );
    }
    change
}

impl Change {
    /// All of a value that was not there before.
    fn made(value: &Value, shape: Shape<'_>) -> Self {
        Self {
            set: Fields::of(value, shape).with_ancestors(),
            removed: Fields::default(),
        }
    }

    fn put(&mut self, step: String, change: Self) {
        if !change.set.is_empty() {
            self.set.below.insert(step.clone(), change.set);
        }
        if !change.removed.is_empty() {
            self.removed.below.insert(step, change.removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    #[test]
    fn fields_are_written_as_the_real_server_writes_them() {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let value = json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {
            "containers": [{"name": "c", "image": "i", "args": ["x"]}]}}}});
        let wire = Fields::of(&value, Shape::root(&kind)).to_wire();
        assert_eq!(
            wire,
            json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}}}}}})
        );
        assert_eq!(Fields::from_wire(&wire).to_wire(), wire);
    }

    #[test]
    fn an_item_is_found_by_its_keys_and_removed_whole() {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let pod =
            |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let old = pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
        let new = pod(json!([{"name": "b", "image": "2"}]));
        let change = compare(&old, &new, Shape::root(&kind));
        assert_eq!(
            change.set.paths(),
            [".spec.template.spec.containers[name=\"b\"].image"]
        );
        let mut value = old;
        change.removed.remove_from(&mut value, Shape::root(&kind));
        assert_eq!(value, pod(json!([{"name": "b", "image": "1"}])));
    }
}

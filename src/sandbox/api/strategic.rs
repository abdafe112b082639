//! Strategic merge patch: a merge patch that knows which lists merge item by item.
//!
//! With the directives `$patch`, `$setElementOrder`, `$deleteFromPrimitiveList` and
//! `$retainKeys`, as kubectl's client-side apply sends them.

use serde_json::{Map, Value};

use super::shape::{List, Shape, key_value};

/// Lays a patch over an object.
pub fn patch(object: &Value, patch: &Value, shape: Shape<'_>) -> Value {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            Value::Object(patch_map(object, patch, shape))
        }
        (_, Value::Object(patch)) => Value::Object(patch_map(&Map::new(), patch, shape)),
        _ => patch.clone(),
    }
}

fn patch_map(
    object: &Map<String, Value>,
    patch_of: &Map<String, Value>,
    shape: Shape<'_>,
) -> Map<String, Value> {
    let mut out = match patch_of.get("$patch").and_then(Value::as_str) {
        Some("replace") => Map::new(),
        Some("delete") => return Map::new(),
        _ => object.clone(),
    };
    if let Some(keys) = patch_of.get("$retainKeys").and_then(Value::as_array) {
        out.retain(|name, _| keys.iter().any(|key| key == name));
    }
    for (name, value) in patch_of {
        if let Some(field) = name.strip_prefix("$deleteFromPrimitiveList/") {
            delete_from(&mut out, field, value);
        }
    }
    for (name, value) in patch_of.iter().filter(|(name, _)| !name.starts_with('$')) {
        match (value, out.get(name)) {
            (Value::Null, _) => drop(out.remove(name)),
            (Value::Array(items), old) => {
                let old = old.and_then(Value::as_array).cloned().unwrap_or_default();
                let order = patch_of.get(&format!("$setElementOrder/{name}"));
                let order = order.and_then(Value::as_array).unwrap_or(items);
                let list = patch_list(&old, items, order, shape.field(name));
                out.insert(name.clone(), Value::Array(list));
            }
            (_, old) => {
                let patched = patch(old.unwrap_or(&Value::Null), value, shape.field(name));
                out.insert(name.clone(), patched);
            }
        }
    }
    for (name, order) in patch_of {
        if let (Some(field), Some(order)) =
            (name.strip_prefix("$setElementOrder/"), order.as_array())
            && !patch_of.contains_key(field)
            && let Some(items) = out.get(field).and_then(Value::as_array)
        {
            let ordered = ordered(items.clone(), items, order, &shape.field(field).list());
            out.insert(field.to_owned(), Value::Array(ordered));
        }
    }
    out
}

fn delete_from(out: &mut Map<String, Value>, field: &str, gone: &Value) {
    let gone = gone.as_array().cloned().unwrap_or_default();
    if let Some(items) = out.get_mut(field).and_then(Value::as_array_mut) {
        items.retain(|item| !gone.contains(item));
    }
}

fn patch_list(old: &[Value], over: &[Value], order: &[Value], shape: Shape<'_>) -> Vec<Value> {
    let list = shape.list();
    let items = match &list {
        List::Atomic => return over.to_vec(),
        List::Set => {
            let mut items = old.to_vec();
            for item in over {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
            items
        }
        List::Map(keys) => {
            let key = keys.first().map(String::as_str).unwrap_or_default();
            patch_items(old.to_vec(), over, key, shape)
        }
    };
    ordered(items, old, order, &list)
}

fn patch_items(mut items: Vec<Value>, over: &[Value], key: &str, shape: Shape<'_>) -> Vec<Value> {
    let directive = |item: &Value| item["$patch"].as_str().map(str::to_owned);
    if over.iter().any(|item| {
        directive(item).as_deref() == Some("replace")
            && item.as_object().is_some_and(|m| m.len() == 1)
    }) {
        items.clear();
    }
    for item in over {
        let same = |old: &Value| key_value(old, key) == key_value(item, key);
        match directive(item).as_deref() {
            Some("delete") => items.retain(|old| !same(old)),
            Some("replace") if item.as_object().is_some_and(|m| m.len() == 1) => {}
            _ => match items.iter().position(same) {
                Some(at) => items[at] = patch(&items[at], item, shape.item()),
                None => items.push(patch(&Value::Null, item, shape.item())),
            },
        }
    }
    items
}

/// Orders a list as the real server does: the items that `order` names in its order, and among
/// them the others, each before the first named item that stood behind it in the old list.
fn ordered(items: Vec<Value>, old: &[Value], order: &[Value], list: &List) -> Vec<Value> {
    let place = |among: &[Value], item: &Value| among.iter().position(|one| same(one, item, list));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = items
        .into_iter()
        .partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(old, item));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(one), Some(other)) = (named.peek(), others.peek()) {
        let before = match (place(old, other), place(old, one)) {
            (Some(other), Some(one)) => other < one,
            _ => false,
        };
        out.extend(if before { others.next() } else { named.next() });
    }
    out.extend(named);
    out.extend(others);
    out
}

fn same(one: &Value, other: &Value, list: &List) -> bool {
    match list {
        List::Map(keys) => {
            let key = keys.first().map(String::as_str).unwrap_or_default();
            key_value(one, key) == key_value(other, key)
        }
        List::Atomic | List::Set => one == other,
    }
}

/// The first item of a patch that lacks the key by which its list merges, and that key.
pub fn keyless(patch: &Value, shape: Shape<'_>) -> Option<(Value, String)> {
    match patch {
        Value::Object(map) => map
            .iter()
            .filter(|(name, _)| !name.starts_with('$'))
            .find_map(|(name, value)| keyless(value, shape.field(name))),
        Value::Array(items) => {
            let List::Map(keys) = shape.list() else {
                return None;
            };
            let key = keys.first()?;
            let without = |item: &&Value| {
                item.is_object() && item.get(key).is_none() && item["$patch"] != "replace"
            };
            let found = items.iter().find(without);
            found
                .map(|item| (item.clone(), key.clone()))
                .or_else(|| items.iter().find_map(|item| keyless(item, shape.item())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;
    use serde_json::json;

    fn patched(containers: &Value, change: &Value) -> Value {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let within = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let object = within(json!({"containers": containers}));
        patch(&object, &within(change.clone()), Shape::root(&kind))["spec"]["template"]["spec"]
            .clone()
    }

    #[test]
    fn items_merge_by_their_keys() {
        let before = json!([{"name": "a", "image": "1", "env": [{"name": "x", "value": "1"}]}, {"name": "b", "image": "1"}]);
        let change = json!({"containers": [{"name": "a", "image": "2", "env": [{"name": "y", "value": "2"}]}]});
        let after = json!([{"name": "a", "image": "2", "env": [{"name": "y", "value": "2"}, {"name": "x", "value": "1"}]}, {"name": "b", "image": "1"}]);
        assert_eq!(patched(&before, &change)["containers"], after);
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let before = json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]);
        for (change, want) in [
            (
                json!({"containers": [{"name": "a", "$patch": "delete"}]}),
                json!([{"name": "b", "image": "1"}]),
            ),
            (
                json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
                json!([{"name": "c"}]),
            ),
            (
                json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "2"}]}),
                json!([{"name": "b", "image": "1"}, {"name": "a", "image": "2"}]),
            ),
        ] {
            assert_eq!(patched(&before, &change)["containers"], want);
        }
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let change = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        assert_eq!(
            patch(&object, &change, Shape::root(&kind)),
            json!({"spec": {"strategy": {"type": "Recreate"}}})
        );
    }
}

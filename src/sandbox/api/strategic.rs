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
                out.insert(
                    name.clone(),
                    Value::Array(patch_list(old, items, shape.field(name))),
                );
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
            && let Some(items) = out.get_mut(field).and_then(Value::as_array_mut)
        {
            reorder(items, order, &shape.field(field).list());
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

fn patch_list(mut items: Vec<Value>, over: &[Value], shape: Shape<'_>) -> Vec<Value> {
    match shape.list() {
        List::Atomic => over.to_vec(),
        List::Set => {
            for item in over {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
            items
        }
        List::Map(keys) => {
            let key = keys.first().map(String::as_str).unwrap_or_default();
            patch_items(items, over, key, shape)
        }
    }
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

/// Orders the named items as told; the others stay behind the item they came after.
fn reorder(items: &mut [Value], order: &[Value], list: &List) {
    let key = match list {
        List::Map(keys) => keys.first().cloned(),
        List::Atomic | List::Set => None,
    };
    let rank = |item: &Value| {
        order.iter().position(|wanted| match &key {
            Some(key) => key_value(wanted, key) == key_value(item, key),
            None => wanted == item,
        })
    };
    let mut behind = 0;
    let mut placed: Vec<(usize, Value)> = Vec::new();
    for item in items.iter() {
        behind = rank(item).unwrap_or(behind);
        placed.push((behind, item.clone()));
    }
    placed.sort_by_key(|(place, _)| *place);
    for (place, (_, item)) in items.iter_mut().zip(placed) {
        *place = item;
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
        let after = json!([{"name": "a", "image": "2", "env": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]}, {"name": "b", "image": "1"}]);
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

//! Field ownership: `metadata.managedFields`, kept as the real server keeps it.
//!
//! Each manager has a set of fields for each way it writes (apply or update, main object or
//! subresource). An update takes over the fields it changes. An apply names all the fields it
//! wants: those it named before and no longer names are removed, if nobody else owns them, and
//! fields that others set to another value are conflicts.

use serde_json::{Value, json};

use super::fields::{Change, Fields, compare};
use super::hollow;
use super::kinds::Kind;
use super::metadata;
use super::refusal::Refusal;
use super::shape::{List, Shape};

/// One entry of managedFields.
#[derive(Debug, Clone)]
struct Manager {
    name: String,
    operation: String,
    version: String,
    subresource: String,
    time: Value,
    fields: Fields,
}

/// Who writes, how and when.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The manager's name.
    pub name: String,
    /// `status`, or empty for the main object.
    pub subresource: String,
    /// The present time as metadata has it.
    pub time: String,
}

impl Writer {
    /// The time that is noted; through a Scale the real server notes none.
    fn noted(&self) -> Value {
        match self.subresource.as_str() {
            "scale" => Value::Null,
            _ => json!(self.time),
        }
    }
}

impl Manager {
    fn read(entry: &Value) -> Self {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("manager"),
            operation: text("operation"),
            version: text("apiVersion"),
            subresource: text("subresource"),
            time: entry["time"].clone(),
            fields: Fields::from_wire(&entry["fieldsV1"]),
        }
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": self.operation, "apiVersion": self.version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_wire(),
        });
        if !self.time.is_null() {
            entry["time"] = self.time.clone();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }

    fn is(&self, writer: &Writer, operation: &str) -> bool {
        self.name == writer.name
            && self.operation == operation
            && self.subresource == writer.subresource
    }
}

fn read(object: &Value) -> Vec<Manager> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    entries
        .filter(|entry| entry["manager"].is_string())
        .map(Manager::read)
        .collect()
}

fn write(object: &mut Value, managers: &[Manager]) {
    let mut entries: Vec<&Manager> = managers
        .iter()
        .filter(|manager| !manager.fields.is_empty())
        .collect();
    entries.sort_by_key(|manager| (manager.operation.clone(), manager.time.to_string()));
    let entries: Vec<Value> = entries.into_iter().map(Manager::write).collect();
    let metadata = metadata::of(object);
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), Value::Array(entries));
    }
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    metadata::of(&mut object).remove("managedFields");
    object
}

fn scoped(mut fields: Fields, kind: &Kind, writer: &Writer) -> Fields {
    fields.strip_server_fields();
    if writer.subresource == "status" && kind.is("apps", "Deployment") {
        fields.strip("spec");
    } else if writer.subresource == "status" {
        fields.keep("status");
    } else if kind.status {
        fields.strip("status");
    }
    fields
}

/// Records an update: `object` has the managedFields that the client left in it.
pub fn update(object: &mut Value, old: Option<&Value>, kind: &Kind, writer: &Writer) {
    let (before, after) = (
        old.map_or_else(|| hollow::object(kind), without_managed),
        without_managed(object),
    );
    let change = compare(&before, &after, Shape::root(kind));
    let set = scoped(change.set, kind, writer);
    let removed = change.removed;
    let mut managers = if old.is_some() {
        read(object)
    } else {
        Vec::new()
    };
    if set.is_empty() && removed.is_empty() {
        return write(object, &managers);
    }
    for manager in managers
        .iter_mut()
        .filter(|manager| !manager.is(writer, "Update"))
    {
        manager.fields = manager.fields.without(&set).without(&removed);
    }
    if !managers.iter().any(|manager| manager.is(writer, "Update")) {
        managers.push(fresh(kind, writer, "Update"));
    }
    for manager in managers
        .iter_mut()
        .filter(|manager| manager.is(writer, "Update"))
    {
        manager.fields = manager.fields.without(&removed);
        manager.fields.add(&set);
        manager.time = writer.noted();
        manager.version = kind.api_version();
    }
    write(object, &managers);
}

fn fresh(kind: &Kind, writer: &Writer, operation: &str) -> Manager {
    Manager {
        name: writer.name.clone(),
        operation: operation.into(),
        version: kind.api_version(),
        subresource: writer.subresource.clone(),
        time: json!(writer.time),
        fields: Fields::default(),
    }
}

/// The object that an apply makes of `live`, with its managedFields.
pub fn apply(
    live: &Value,
    config: &Value,
    kind: &Kind,
    writer: &Writer,
    force: bool,
) -> Result<Value, Refusal> {
    let shape = Shape::root(kind);
    let mut managers = read(live);
    let base = without_managed(live);
    if managers.is_empty() && live["metadata"]["uid"].is_string() {
        // Whoever wrote it before managers were noted.
        let owner = Writer {
            name: "before-first-apply".into(),
            subresource: String::new(),
            time: writer.time.clone(),
        };
        let all = compare(&hollow::object(kind), &base, shape).set;
        managers.push(Manager {
            fields: scoped(all, kind, &owner),
            ..fresh(kind, &owner, "Update")
        });
    }
    let wanted = scoped(Fields::of(config, shape), kind, writer);
    let mut merged = merge(&base, config, shape);
    let (mine, mut others): (Vec<Manager>, Vec<Manager>) =
        managers.drain(..).partition(|m| m.is(writer, "Apply"));
    let change = compare(&base, &merged, shape);
    settle_conflicts(&change, &mut others, force)?;
    if let Some(last) = mine.first() {
        prune(&mut merged, &last.fields, &wanted, &others, shape);
    }
    let removed = compare(&base, &merged, shape).removed;
    for other in &mut others {
        other.fields = other.fields.without(&removed);
    }
    let mut me = Manager {
        fields: wanted,
        ..fresh(kind, writer, "Apply")
    };
    // The real server notes the time only when the object itself changes.
    me.time = if metadata::differ(&merged, &base) {
        writer.noted()
    } else {
        mine.first().map_or(Value::Null, |last| last.time.clone())
    };
    others.push(me);
    write(&mut merged, &others);
    Ok(merged)
}

/// Removes what this manager applied before and does not apply now, if nobody else owns it.
fn prune(merged: &mut Value, last: &Fields, wanted: &Fields, others: &[Manager], shape: Shape<'_>) {
    let mut owned = wanted.with_ancestors();
    for other in others {
        owned.add(&other.fields.with_ancestors());
    }
    last.with_ancestors()
        .without(&owned)
        .remove_from(merged, shape);
}

fn settle_conflicts(change: &Change, others: &mut [Manager], force: bool) -> Result<(), Refusal> {
    let mut causes = Vec::new();
    for other in others.iter_mut() {
        let conflict = other.fields.both(&change.set);
        if force {
            other.fields = other.fields.without(&conflict);
            continue;
        }
        for path in conflict.paths() {
            let with = conflict_words(other);
            causes.push(json!({"reason": "FieldManagerConflict", "message": with, "field": path}));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    causes.sort_by_key(|cause| text(&cause["message"]).to_owned());
    let mut refusal = Refusal::new(409, "Conflict", conflict_message(&causes));
    refusal.details = json!({"causes": causes});
    Err(refusal)
}

/// One conflict in one line, several as a list for each manager.
fn conflict_message(causes: &[Value]) -> String {
    if let [only] = causes {
        let (with, field) = (text(&only["message"]), text(&only["field"]));
        return format!("Apply failed with 1 conflict: {with}: {field}");
    }
    let mut lines: Vec<String> = Vec::new();
    for cause in causes {
        let with = text(&cause["message"]).replacen("conflict", "conflicts", 1);
        let heading = format!("{with}:");
        if !lines.contains(&heading) {
            lines.push(heading);
        }
        lines.push(format!("- {}", text(&cause["field"])));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        causes.len(),
        lines.join("\n")
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn conflict_words(other: &Manager) -> String {
    let mut words = format!("conflict with \"{}\"", other.name);
    if !other.subresource.is_empty() {
        words = format!("{words} with subresource \"{}\"", other.subresource);
    }
    match other.operation.as_str() {
        "Apply" => words,
        _ if other.subresource == "scale" => format!("{words} using autoscaling/v1"),
        _ => format!("{words} using {}", other.version),
    }
}

/// Lays a configuration over the live object.
pub fn merge(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    match (live, config) {
        (Value::Object(before), Value::Object(over)) if !shape.is_atomic_map() => {
            let mut merged = before.clone();
            for (name, value) in over {
                let inner = before
                    .get(name)
                    .map_or_else(|| value.clone(), |old| merge(old, value, shape.field(name)));
                merged.insert(name.clone(), inner);
            }
            Value::Object(merged)
        }
        (Value::Array(before), Value::Array(over)) => merge_lists(before, over, shape),
        _ => config.clone(),
    }
}

fn merge_lists(before: &[Value], over: &[Value], shape: Shape<'_>) -> Value {
    let list = shape.list();
    if list == List::Atomic {
        return Value::Array(over.to_vec());
    }
    let step = |item: &Value| super::fields::step(item, &list);
    let mut merged = before.to_vec();
    for item in over {
        let place = merged.iter().position(|old| step(old) == step(item));
        match place {
            Some(at) if list == List::Set => merged[at] = item.clone(),
            Some(at) => merged[at] = merge(&merged[at], item, shape.item()),
            None => merged.push(item.clone()),
        }
    }
    if merged.len() == over.len() {
        merged.sort_by_key(|item| over.iter().position(|other| step(other) == step(item)));
    }
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    fn writer(name: &str) -> Writer {
        Writer {
            name: name.into(),
            subresource: String::new(),
            time: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn deployment(containers: &Value, replicas: Option<i64>) -> Value {
        let mut object = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": containers}}}});
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        object
    }

    fn applied(live: &Value, config: &Value, by: &str, force: bool) -> Result<Value, Refusal> {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        apply(live, config, &kind, &writer(by), force)
    }

    #[test]
    fn what_is_no_longer_applied_is_removed_unless_somebody_else_owns_it() {
        let both = json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]);
        let one = json!([{"name": "a", "image": "1"}]);
        let first = applied(&json!({}), &deployment(&both, Some(2)), "flux", false).unwrap();
        let shared = applied(&first, &deployment(&one, Some(2)), "other", false).unwrap();
        let second = applied(&shared, &deployment(&one, None), "flux", false).unwrap();
        assert_eq!(second["spec"]["template"]["spec"]["containers"], one);
        assert_eq!(second["spec"]["replicas"], 2, "other still owns it");
        let third = applied(&second, &deployment(&one, None), "other", false).unwrap();
        assert_eq!(third["spec"].get("replicas"), None);
    }

    #[test]
    fn a_different_value_is_a_conflict_until_it_is_forced() {
        let one = json!([{"name": "a", "image": "1"}]);
        let first = applied(&json!({}), &deployment(&one, Some(2)), "flux", false).unwrap();
        let refusal = applied(&first, &deployment(&one, Some(3)), "me", false).unwrap_err();
        assert_eq!(
            (refusal.code, &refusal.details["causes"][0]["field"]),
            (409, &json!(".spec.replicas"))
        );
        assert_eq!(
            refusal.message,
            "Apply failed with 1 conflict: conflict with \"flux\": .spec.replicas"
        );
        let forced = applied(&first, &deployment(&one, Some(3)), "me", true).unwrap();
        let after = applied(&forced, &deployment(&one, None), "flux", false).unwrap();
        assert_eq!(after["spec"]["replicas"], 3);
    }

    #[test]
    fn an_update_takes_over_what_it_changes() {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        let one = json!([{"name": "a", "image": "1"}]);
        let first = applied(&json!({}), &deployment(&one, Some(2)), "flux", false).unwrap();
        let mut edited = first.clone();
        edited["spec"]["replicas"] = json!(5);
        update(&mut edited, Some(&first), &kind, &writer("kubectl"));
        let again = applied(&edited, &deployment(&one, Some(2)), "flux", false).unwrap_err();
        assert_eq!(again.code, 409);
        assert!(
            again
                .message
                .contains("conflict with \"kubectl\" using apps/v1: .spec.replicas"),
            "{again}"
        );
    }
}

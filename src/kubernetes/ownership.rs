//! Whose fields a template is that Sluice has put back: those of whoever applied the one before.
//!
//! A patch makes Sluice the manager of every field that it changes. `kubectl apply --server-side` would
//! then refuse the next template as a conflict; and no apply would ever remove what the stable template
//! has and the next one has not, since only the manager that owns a field can.
//!
//! Not here: client-side apply, which goes by its annotation of what was applied last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value, json};

use super::crd::MANAGER;
use super::template::RESTARTED_AT;

/// The managers after Sluice's fields of the template were handed to the one that applies it; nobody
/// owns them where that is nobody, or several. `None` if Sluice owns nothing of the template.
pub fn handed_back(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let mut entries = entries.to_vec();
    let at = entries.iter().position(ours)?;
    let mut written = take_template(&mut entries[at])?;
    if entries[at].fields_v1.as_ref().is_some_and(is_empty) {
        entries.remove(at);
    }
    forget_restart(&mut written);
    let mut appliers = entries.iter_mut().filter(|entry| applies(entry));
    if let (Some(applier), None) = (appliers.next(), appliers.next())
        && let Some(fields) = &mut applier.fields_v1
    {
        merge(&mut fields.0, json!({"f:spec": {"f:template": written}}));
    }
    Some(entries)
}

fn ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.operation.as_deref() == Some("Update")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn applies(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref();
    entry.operation.as_deref() == Some("Apply")
        && fields.is_some_and(|fields| fields.0["f:spec"]["f:template"].is_object())
}

fn take_template(entry: &mut ManagedFieldsEntry) -> Option<Value> {
    let fields = entry.fields_v1.as_mut()?.0.as_object_mut()?;
    let spec = fields.get_mut("f:spec")?.as_object_mut()?;
    let template = spec.remove("f:template")?;
    if spec.is_empty() {
        fields.remove("f:spec");
    }
    Some(template)
}

fn is_empty(fields: &FieldsV1) -> bool {
    fields.0.as_object().is_none_or(Map::is_empty)
}

/// A restart was never in a manifest: an apply would take it back, and with that restart again.
fn forget_restart(template: &mut Value) {
    let annotations = template.pointer_mut("/f:metadata/f:annotations");
    if let Some(Value::Object(annotations)) = annotations {
        annotations.remove(&format!("f:{RESTARTED_AT}"));
    }
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert_with(|| json!({})), value);
            }
        }
        (into, more) => *into = more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn template(fields: Value) -> Value {
        json!({"f:spec": {"f:template": fields}})
    }

    #[test]
    fn what_was_put_back_is_handed_to_the_one_that_applies_the_template() {
        let applied =
            template(json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}}}}}));
        let label = entry(MANAGER, "Apply", json!({"f:metadata": {"f:labels": {}}}));
        let written = json!({
            "f:metadata": {"f:annotations": {"f:note": {}, "f:kubectl.kubernetes.io/restartedAt": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}},
        });
        let mut ours = template(written);
        ours["f:spec"]["f:paused"] = json!({});
        let before = [
            entry("kubectl", "Apply", applied),
            label.clone(),
            entry(MANAGER, "Update", ours),
        ];
        let wanted = template(json!({
            "f:metadata": {"f:annotations": {"f:note": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}},
        }));
        let after = [
            entry("kubectl", "Apply", wanted),
            label,
            entry(MANAGER, "Update", json!({"f:spec": {"f:paused": {}}})),
        ];
        assert_eq!(handed_back(&before).as_deref(), Some(&after[..]));
        assert_eq!(handed_back(&after), None);
    }

    #[test]
    fn where_nobody_or_more_than_one_applies_the_template_it_is_left_to_nobody() {
        let image = || template(json!({"f:spec": {"f:image": {}}}));
        let helm = entry("helm", "Update", image());
        let ours = entry(MANAGER, "Update", image());
        let none = [helm.clone(), ours.clone()];
        assert_eq!(handed_back(&none).as_deref(), Some(&[helm][..]));
        let two = [entry("a", "Apply", image()), entry("b", "Apply", image())];
        let three = [two[0].clone(), two[1].clone(), ours];
        assert_eq!(handed_back(&three).as_deref(), Some(&two[..]));
    }
}

//! What the gate does to one update of a guarded workload: the policy of `gate`, as a function.
//!
//! Guarantees: whatever the objects are, nothing is refused; the same update has the same outcome,
//! so it may be asked twice (`reinvocationPolicy: IfNeeded`); an update that needs nothing gets
//! no patch. A test gives the same updates to the policies and compares.
//!
//! Not here: the wire format (`review`).

use serde_json::{Map, Value, json};

use crate::kubernetes::crd::{GUARDED, HELD_BY, OPEN};
use crate::kubernetes::template::RESTARTED_AT;
use crate::kubernetes::workload::{self, ON_DELETE, PARTITION};
use crate::rollout::plan::WorkloadKind;

/// One update of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The workload's kind.
    pub kind: WorkloadKind,
    /// Who asks for it.
    pub user: &'a str,
    /// The object before.
    pub old: &'a Value,
    /// The object as it would be stored.
    pub new: &'a Value,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Operations of a JSON patch; none leaves the object as it is.
    pub patch: Vec<Value>,
    /// What the person who asked is told.
    pub warnings: Vec<String>,
}

/// What the gate does to this update, letting `account` pass.
pub fn outcome(update: Update<'_>, account: &str) -> Outcome {
    let Update {
        kind,
        user,
        old,
        new,
    } = update;
    let selected = is_guarded(old) || is_guarded(new);
    if !selected || user == account || !annotations(new)[OPEN].is_null() {
        return Outcome::default();
    }
    let mut patch = label(new);
    let holds = changed(old, new) || is_held(kind, old);
    if holds && !is_held(kind, new) {
        patch.extend(workload::hold(kind, &new["spec"], true));
    }
    Outcome {
        patch,
        warnings: warnings(update, holds || is_held(kind, new)),
    }
}

fn is_guarded(object: &Value) -> bool {
    object["metadata"]["labels"][GUARDED] == "true"
}

fn annotations(object: &Value) -> &Value {
    &object["metadata"]["annotations"]
}

/// Whether the pod template changes in more than a restart's mark.
fn changed(old: &Value, new: &Value) -> bool {
    let (old, new) = (&old["spec"]["template"], &new["spec"]["template"]);
    let labels = |template: &Value| entries(&template["metadata"]["labels"]);
    let marks = |template: &Value| {
        let mut all = entries(annotations(template));
        all.remove(RESTARTED_AT);
        all
    };
    old["spec"] != new["spec"] || labels(old) != labels(new) || marks(old) != marks(new)
}

fn entries(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Whether a workload is held, as `workload::hold` does it.
fn is_held(kind: WorkloadKind, object: &Value) -> bool {
    let spec = &object["spec"];
    match kind {
        WorkloadKind::Deployment => spec["paused"] == true,
        WorkloadKind::StatefulSet => {
            spec["updateStrategy"]["rollingUpdate"]["partition"] == PARTITION
        }
        WorkloadKind::DaemonSet => spec["updateStrategy"]["type"] == ON_DELETE,
    }
}

/// Puts the gate's label back where it is missing.
fn label(new: &Value) -> Vec<Value> {
    if is_guarded(new) {
        return Vec::new();
    }
    if new["metadata"]["labels"].is_object() {
        let key = GUARDED.replace('/', "~1");
        let path = format!("/metadata/labels/{key}");
        return vec![json!({"op": "add", "path": path, "value": "true"})];
    }
    vec![json!({"op": "add", "path": "/metadata/labels", "value": {GUARDED: "true"}})]
}

/// What is said of an update after which the workload is held, or not.
fn warnings(update: Update<'_>, held: bool) -> Vec<String> {
    let Update {
        kind,
        user,
        old,
        new,
    } = update;
    if !held {
        return Vec::new();
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = word(&new["metadata"]["name"]);
    let rollout = annotations(new)[HELD_BY].as_str().unwrap_or(&name);
    let command = format!(
        "kubectl sluice explain {rollout} -n {} says where it stands",
        word(&new["metadata"]["namespace"])
    );
    if old["spec"]["template"] != new["spec"]["template"] {
        let how = if kind == WorkloadKind::Deployment {
            "changes only by way of a canary"
        } else {
            "rolls when it is known what served before is like"
        };
        return vec![format!("held by Sluice: {name} {how}; {command}")];
    }
    let person = !user.starts_with("system:serviceaccount:");
    if person && is_held(kind, old) && only_resumed(kind, old, new) {
        return vec![format!(
            "held by Sluice: {name} stays held until Sluice lets it through; instead of kubectl rollout \
             resume, undo or restart use: kubectl sluice promote, rollback or restart {rollout}; {command}"
        )];
    }
    if person && !is_held(kind, old) {
        return vec![format!(
            "guarded by Sluice: {name} does not stay paused; to take a release back use: kubectl sluice abort \
             {rollout}; {command}"
        )];
    }
    Vec::new()
}

/// Whether the spec, once held again, is what it was.
fn only_resumed(kind: WorkloadKind, old: &Value, new: &Value) -> bool {
    let mut spec = new["spec"].clone();
    if !is_held(kind, new) {
        for operation in workload::hold(kind, &new["spec"], true) {
            let field = operation["path"].as_str().unwrap_or_default();
            let field = field.trim_start_matches("/spec/").to_owned();
            spec[field] = operation["value"].clone();
        }
    }
    spec == old["spec"]
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "system:serviceaccount:sluice-system:sluice";

    fn object(kind: &str, change: &Value) -> Value {
        let mut object = json!({
            "kind": kind,
            "metadata": {"name": "shop", "namespace": "production", "labels": {GUARDED: "true"}},
            "spec": {"template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"image": "shop:1"}}},
        });
        json_patch::merge(&mut object, change);
        object
    }

    fn told(kind: &str, user: &str, old: &Value, new: &Value) -> Outcome {
        let kind = WorkloadKind::named(kind).unwrap();
        let (old, new) = (object(kind.name(), old), object(kind.name(), new));
        let update = Update {
            kind,
            user,
            old: &old,
            new: &new,
        };
        outcome(update, US)
    }

    #[test]
    fn each_kind_is_held_by_its_own_field_when_its_template_changes() {
        let newer = json!({"spec": {"template": {"spec": {"image": "shop:2"}}}});
        let table = [
            (
                "Deployment",
                json!({"op": "add", "path": "/spec/paused", "value": true}),
            ),
            (
                "StatefulSet",
                json!({"op": "add", "path": "/spec/updateStrategy",
                    "value": {"rollingUpdate": {"partition": PARTITION}}}),
            ),
            (
                "DaemonSet",
                json!({"op": "add", "path": "/spec/updateStrategy", "value": {"type": ON_DELETE}}),
            ),
        ];
        for (kind, operation) in table {
            let outcome = told(kind, "jane", &json!({}), &newer);
            assert_eq!(outcome.patch, [operation], "{kind}");
            assert_eq!(outcome.warnings.len(), 1, "{kind}");
            assert_eq!(told(kind, US, &json!({}), &newer), Outcome::default());
        }
    }

    #[test]
    fn what_needs_nothing_gets_no_patch() {
        let held = json!({"spec": {"paused": true}});
        let restarted =
            json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: "1"}}}}});
        let open = json!({"metadata": {"annotations": {OPEN: "incident"}},
            "spec": {"template": {"spec": {"image": "shop:2"}}}});
        let stranger = json!({"metadata": {"labels": null}});
        for (old, new) in [
            (json!({}), json!({})),
            (json!({}), json!({"spec": {"replicas": 7}})),
            (json!({}), restarted),
            (json!({}), open),
            (held.clone(), held),
            (stranger.clone(), stranger),
        ] {
            let outcome = told("Deployment", "jane", &old, &new);
            assert_eq!(outcome.patch, [json!(null); 0], "{old} -> {new}");
        }
    }

    #[test]
    fn a_resume_and_a_replace_leave_it_held_and_labelled() {
        let held = json!({"spec": {"paused": true}});
        let resumed = told(
            "Deployment",
            "jane",
            &held,
            &json!({"spec": {"paused": false}}),
        );
        assert_eq!(resumed.patch.len(), 1);
        assert!(resumed.warnings[0].contains("instead of kubectl rollout resume"));
        let paused = told(
            "Deployment",
            "jane",
            &json!({"spec": {"paused": false}}),
            &held,
        );
        assert_eq!(paused.patch.len(), 0);
        assert!(paused.warnings[0].contains("kubectl sluice abort shop"));
        let by_a_controller = told(
            "Deployment",
            "system:serviceaccount:flux-system:kustomize-controller",
            &held,
            &json!({"spec": {"paused": false}}),
        );
        assert_eq!(by_a_controller.warnings, [""; 0]);
        let replaced = told(
            "Deployment",
            "jane",
            &held,
            &json!({"metadata": {"labels": null}}),
        );
        assert_eq!(
            replaced.patch[0],
            json!({"op": "add", "path": "/metadata/labels", "value": {GUARDED: "true"}})
        );
        let others = json!({"metadata": {"labels": {GUARDED: null, "a": "b"}}});
        let stripped = told("Deployment", "jane", &json!({}), &others);
        assert_eq!(
            stripped.patch,
            [json!({"op": "add", "path": "/metadata/labels/sluice.dev~1guarded", "value": "true"})]
        );
    }
}

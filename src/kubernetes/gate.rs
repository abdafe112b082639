//! The gate as manifests: the admission policies that hold every changed template, and the CRD.
//!
//! `sluice-gate` holds in the very request that changes a guarded workload's pod template (a
//! Deployment by `paused: true`, the others as `workload` says), keeps what is held held, and keeps
//! the label. `sluice-gate-says` only warns
//! the person who sent the request. Both let Sluice's own account pass; the annotation
//! `sluice.dev/open` opens the gate (break-glass). [`state`] says whether a cluster has them as
//! they should be.
//!
//! Not here: applying them (`kubectl apply`, `clusters/base/sluice`), and mode `paused`.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::crd::{GUARDED, HELD_BY, OPEN, Rollout};
use super::template::RESTARTED_AT;
use super::workload::{ON_DELETE, PARTITION};

/// Name of the policy that holds, and of its binding.
pub const HOLDS: &str = "sluice-gate";
/// Name of the policy that warns, and of its binding.
pub const SAYS: &str = "sluice-gate-says";

const GROUP: &str = "admissionregistration.k8s.io/v1";

/// The policies with their bindings, holding everybody but `account` (a user name, e.g.
/// `system:serviceaccount:sluice-system:sluice`).
pub fn manifests(account: &str) -> Vec<Value> {
    vec![
        object("MutatingAdmissionPolicy", HOLDS, &holding_spec(account)),
        object(
            "MutatingAdmissionPolicyBinding",
            HOLDS,
            &json!({"policyName": HOLDS}),
        ),
        object("ValidatingAdmissionPolicy", SAYS, &warning_spec(account)),
        object(
            "ValidatingAdmissionPolicyBinding",
            SAYS,
            &json!({"policyName": SAYS, "validationActions": ["Warn"]}),
        ),
    ]
}

/// The same as YAML documents, fit for `kubectl apply -f -`.
pub fn yaml(account: &str) -> Result<String, PrintError> {
    let documents: Result<Vec<String>, PrintError> =
        manifests(account).iter().map(document).collect();
    Ok(documents?.join("---\n"))
}

/// The Rollout's `CustomResourceDefinition` as YAML.
pub fn crd_yaml() -> Result<String, PrintError> {
    document(&serde_json::to_value(Rollout::crd()).map_err(PrintError::Json)?)
}

/// A manifest that could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// It is no JSON value.
    #[error("turning a manifest into JSON")]
    Json(#[source] serde_json::Error),
    /// It is no YAML document.
    #[error("writing a manifest as YAML")]
    Yaml(#[source] serde_saphyr::ser::Error),
}

/// One manifest as a YAML document.
pub(super) fn document(object: &Value) -> Result<String, PrintError> {
    let text = serde_saphyr::to_string(object).map_err(PrintError::Yaml)?;
    Ok(if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    })
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn constraints() -> Value {
    json!({
        "objectSelector": {"matchLabels": {GUARDED: "true"}},
        "resourceRules": [rule()],
    })
}

/// The requests that the gate is about.
pub(super) fn rule() -> Value {
    json!({
        "apiGroups": ["apps"], "apiVersions": ["v1"],
        "operations": ["UPDATE"], "resources": ["deployments", "statefulsets", "daemonsets"],
    })
}

/// For whom a policy acts: everybody but Sluice, unless the gate is open.
pub(super) fn conditions(account: &str) -> Value {
    let open = format!("!('{OPEN}' in object.metadata.?annotations.orValue({{}}))");
    json!([
        {"name": "not-sluice", "expression": not_sluice(account)},
        {"name": "not-open", "expression": open},
    ])
}

const NOT_SLUICE: &str = "request.userInfo.username != '";

fn not_sluice(account: &str) -> String {
    let escaped = account.replace('\\', "\\\\").replace('\'', "\\'");
    format!("{NOT_SLUICE}{escaped}'")
}

fn variable(name: &str, expression: &str) -> Value {
    json!({"name": name, "expression": expression})
}

/// Whether a workload is held, as `workload::hold` does it.
fn held(object: &str) -> String {
    format!(
        "request.kind.kind == 'StatefulSet' ? {object}.spec.?updateStrategy.?rollingUpdate.?partition.orValue(0) == {PARTITION} \
         : request.kind.kind == 'DaemonSet' ? {object}.spec.?updateStrategy.?type.orValue('') == '{ON_DELETE}' \
         : {object}.spec.?paused.orValue(false)"
    )
}

fn holding_spec(account: &str) -> Value {
    let changed = format!(
        "object.spec.template.spec != oldObject.spec.template.spec \
         || object.spec.template.metadata.?labels.orValue({{}}) != oldObject.spec.template.metadata.?labels.orValue({{}}) \
         || !variables.now.all(k, k == '{RESTARTED_AT}' || (k in variables.before && variables.before[k] == variables.now[k])) \
         || !variables.before.all(k, k == '{RESTARTED_AT}' || k in variables.now)"
    );
    let label = format!("metadata: Object.metadata{{labels: {{'{GUARDED}': 'true'}}}}");
    let strategy = "Object.spec.updateStrategy";
    let mutation = format!(
        "!variables.changed && !variables.held ? Object{{{label}}} \
         : request.kind.kind == 'StatefulSet' ? Object{{{label}, spec: Object.spec{{updateStrategy: {strategy}{{rollingUpdate: {strategy}.rollingUpdate{{partition: {PARTITION}}}}}}}}} \
         : request.kind.kind == 'DaemonSet' ? Object{{{label}, spec: Object.spec{{updateStrategy: {strategy}{{type: '{ON_DELETE}'}}}}}} \
         : Object{{{label}, spec: Object.spec{{paused: true}}}}"
    );
    json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": constraints(),
        "matchConditions": conditions(account),
        "variables": [
            variable("now", "object.spec.template.metadata.?annotations.orValue({})"),
            variable("before", "oldObject.spec.template.metadata.?annotations.orValue({})"),
            variable("changed", &changed),
            variable("held", &held("oldObject")),
        ],
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": mutation},
        }],
    })
}

/// The warnings are seen after the mutation: a refused resume looks like an update that changes
/// nothing of a held spec, so that is what the second one speaks of (to people, not controllers).
fn warning_spec(account: &str) -> Value {
    let rollout = format!(
        "'{HELD_BY}' in variables.notes ? variables.notes['{HELD_BY}'] : object.metadata.name"
    );
    let command = "'; kubectl sluice explain ' + variables.rollout + ' -n ' + object.metadata.namespace + ' says where it stands'";
    let changed = format!(
        "'held by Sluice: ' + object.metadata.name + (request.kind.kind == 'Deployment' ? ' changes only by way of a canary' : ' rolls when it is known what served before is like') + {command}"
    );
    let resumed = format!(
        "'held by Sluice: ' + object.metadata.name + ' stays held until Sluice lets it through; instead of kubectl rollout \
         resume, undo or restart use: kubectl sluice promote, rollback or restart ' + variables.rollout + {command}"
    );
    let paused = format!(
        "'guarded by Sluice: ' + object.metadata.name + ' does not stay paused; to take a release back use: kubectl sluice \
         abort ' + variables.rollout + {command}"
    );
    json!({
        "failurePolicy": "Ignore",
        "matchConstraints": constraints(),
        "matchConditions": conditions(account),
        "variables": [
            variable("notes", "object.metadata.?annotations.orValue({})"),
            variable("rollout", &rollout),
            variable("held", &held("object")),
            variable("before", &held("oldObject")),
            variable("person", "!request.userInfo.username.startsWith('system:serviceaccount:')"),
        ],
        "validations": [
            {
                "expression": "!(variables.held && object.spec.template != oldObject.spec.template)",
                "messageExpression": changed,
            },
            {
                "expression": "!(variables.held && variables.person && variables.before && object.spec == oldObject.spec)",
                "messageExpression": resumed,
            },
            {
                "expression": "!(variables.held && variables.person && !variables.before && object.spec.template == oldObject.spec.template)",
                "messageExpression": paused,
            },
        ],
    })
}

/// Whether a cluster has the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    /// It holds. `warns` is false where only the warnings are missing or different.
    Ready {
        /// Whether people are told as well.
        warns: bool,
    },
    /// It holds, but lets another account pass than the one given.
    OtherAccount {
        /// The account that passes.
        found: String,
    },
    /// These objects are not there (or on their way out); nothing is held.
    Missing {
        /// Each as `Kind/name`.
        objects: Vec<String>,
    },
    /// These objects are not what Sluice would apply; what they hold is unknown.
    Different {
        /// Each as `Kind/name`.
        objects: Vec<String>,
    },
}

/// What the policies and bindings found in a cluster amount to.
///
/// `present` are objects with `kind`, in any order; others than the gate's are passed over.
pub fn state(present: &[Value], account: &str) -> GateState {
    let all = manifests(account);
    let (holding, warning): (Vec<&Value>, Vec<&Value>) = all
        .iter()
        .partition(|object| object["metadata"]["name"] == HOLDS);
    let missing = titles(&holding, |wanted| find(present, wanted).is_none());
    if !missing.is_empty() {
        return GateState::Missing { objects: missing };
    }
    let differs =
        |wanted: &Value| find(present, wanted).is_none_or(|found| !same_spec(wanted, found));
    let different = titles(&holding, differs);
    if different.is_empty() {
        return GateState::Ready {
            warns: !warning.iter().any(|wanted| differs(wanted)),
        };
    }
    match other_account(present).filter(|found| found != account) {
        Some(found) if matches!(state(present, &found), GateState::Ready { .. }) => {
            GateState::OtherAccount { found }
        }
        _ => GateState::Different { objects: different },
    }
}

fn titles(objects: &[&Value], pick: impl Fn(&Value) -> bool) -> Vec<String> {
    let title = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!(
            "{}/{}",
            text(&object["kind"]),
            text(&object["metadata"]["name"])
        )
    };
    objects
        .iter()
        .filter(|object| pick(object))
        .map(|object| title(object))
        .collect()
}

fn find<'a>(present: &'a [Value], wanted: &Value) -> Option<&'a Value> {
    present.iter().find(|object| {
        object["kind"] == wanted["kind"]
            && object["metadata"]["name"] == wanted["metadata"]["name"]
            && object["metadata"]["deletionTimestamp"].is_null()
    })
}

fn same_spec(wanted: &Value, found: &Value) -> bool {
    without_defaults(&wanted["spec"]) == without_defaults(&found["spec"])
}

/// A spec without what the API server fills in. Anything else that is extra counts: it could
/// narrow what the policy acts on.
pub(super) fn without_defaults(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), without_defaults(value)))
            .filter(|(key, value)| !is_default(key, value))
            .collect(),
        Value::Array(items) => items.iter().map(without_defaults).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            scalar.clone()
        }
    }
}

fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "matchPolicy" => value == "Equivalent",
        "scope" => value == "*",
        "namespaceSelector" | "matchResources" | "paramRef" | "paramKind" => {
            value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
        }
        _ => value.is_null() || value.as_array().is_some_and(Vec::is_empty),
    }
}

/// The account that the policy in the cluster lets pass.
fn other_account(present: &[Value]) -> Option<String> {
    let holds = json!({"kind": "MutatingAdmissionPolicy", "metadata": {"name": HOLDS}});
    let conditions = find(present, &holds)?["spec"]["matchConditions"].as_array()?;
    let account = conditions
        .iter()
        .filter_map(|condition| condition["expression"].as_str())
        .find_map(|expression| expression.strip_prefix(NOT_SLUICE)?.strip_suffix('\''))?;
    Some(account.replace("\\'", "'").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::crd::ACCOUNT;
    use crate::kubernetes::workload;

    /// What a server gives back: with uid, status and defaults filled in.
    fn stored(account: &str) -> Vec<Value> {
        let mut all = manifests(account);
        for object in &mut all {
            object["metadata"]["uid"] = json!("u");
            object["status"] = json!({"observedGeneration": 1});
            if object["spec"]["matchConstraints"].is_object() {
                let constraints = &mut object["spec"]["matchConstraints"];
                constraints["matchPolicy"] = json!("Equivalent");
                constraints["namespaceSelector"] = json!({});
                constraints["resourceRules"][0]["scope"] = json!("*");
            }
        }
        all
    }

    #[test]
    fn a_gate_as_stored_by_a_server_is_ready() {
        assert_eq!(
            state(&stored(ACCOUNT), ACCOUNT),
            GateState::Ready { warns: true }
        );
    }

    #[test]
    fn every_lack_has_its_own_name() {
        let edit = |index: usize, pointer: &str, value: Value| {
            let mut all = stored(ACCOUNT);
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            all[index].pointer_mut(parent).unwrap()[key] = value;
            all
        };
        let without = |index: usize| {
            let mut all = stored(ACCOUNT);
            all.remove(index);
            all
        };
        let missing = |title: &str| GateState::Missing {
            objects: vec![title.into()],
        };
        let different = |title: &str| GateState::Different {
            objects: vec![title.into()],
        };
        let policy = "MutatingAdmissionPolicy/sluice-gate";
        let binding = "MutatingAdmissionPolicyBinding/sluice-gate";
        let table = [
            (without(0), missing(policy)),
            (without(1), missing(binding)),
            (without(2), GateState::Ready { warns: false }),
            (without(3), GateState::Ready { warns: false }),
            (
                edit(
                    0,
                    "/metadata/deletionTimestamp",
                    json!("2026-01-01T00:00:00Z"),
                ),
                missing(policy),
            ),
            (
                edit(0, "/spec/failurePolicy", json!("Ignore")),
                different(policy),
            ),
            (
                edit(
                    0,
                    "/spec/matchConstraints/namespaceSelector",
                    json!({"matchLabels": {"a": "b"}}),
                ),
                different(policy),
            ),
            (edit(0, "/spec/mutations", json!([])), different(policy)),
            (
                edit(1, "/spec/policyName", json!("other")),
                different(binding),
            ),
            (
                edit(
                    1,
                    "/spec/matchResources",
                    json!({"excludeResourceRules": [{}]}),
                ),
                different(binding),
            ),
            (
                edit(3, "/spec/validationActions", json!(["Deny"])),
                GateState::Ready { warns: false },
            ),
            (
                stored("it's me"),
                GateState::OtherAccount {
                    found: "it's me".into(),
                },
            ),
        ];
        for (index, (present, expected)) in table.into_iter().enumerate() {
            assert_eq!(state(&present, ACCOUNT), expected, "row {index}");
        }
    }

    #[test]
    fn the_types_of_the_api_know_every_field() {
        use k8s_openapi::api::admissionregistration::v1 as api;
        fn survives<T: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) {
            let typed: T = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(&serde_json::to_value(typed).unwrap(), object);
        }
        let all = manifests(ACCOUNT);
        survives::<api::MutatingAdmissionPolicy>(&all[0]);
        survives::<api::MutatingAdmissionPolicyBinding>(&all[1]);
        survives::<api::ValidatingAdmissionPolicy>(&all[2]);
        survives::<api::ValidatingAdmissionPolicyBinding>(&all[3]);
    }

    #[test]
    fn the_expressions_parse() {
        fn expressions(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    for (key, value) in fields {
                        match value.as_str() {
                            Some(text) if key.ends_with("xpression") => found.push(text.to_owned()),
                            _ => expressions(value, found),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
                _ => (),
            }
        }
        let mut found = Vec::new();
        for object in manifests("o'brien\\") {
            expressions(&object, &mut found);
        }
        assert_eq!(found.len(), 20);
        for expression in found {
            let parser = cel::parser::Parser::new().enable_optional_syntax(true);
            assert!(parser.parse(&expression).is_ok(), "{expression}");
        }
    }

    /// What a policy's CEL comes to for one update: whether it acts, and its variables.
    fn evaluate(spec: &Value, user: &str, old: &Value, new: &Value) -> (bool, Value) {
        let variables = json!({});
        let acts = spec["matchConditions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|condition| {
                run(&condition["expression"], user, old, new, &variables) == json!(true)
            });
        let mut variables = json!({});
        for variable in spec["variables"].as_array().unwrap() {
            let value = run(&variable["expression"], user, old, new, &variables);
            variables[variable["name"].as_str().unwrap()] = value;
        }
        (acts, variables)
    }

    fn run(expression: &Value, user: &str, old: &Value, new: &Value, variables: &Value) -> Value {
        let env = cel::Env::stdlib();
        let program = env.compile(expression.as_str().unwrap()).unwrap();
        let mut context = cel::Context::with_env(std::sync::Arc::new(env));
        context.add_variable("object", new.clone()).unwrap();
        context.add_variable("oldObject", old.clone()).unwrap();
        context
            .add_variable("variables", variables.clone())
            .unwrap();
        context
            .add_variable(
                "request",
                json!({"userInfo": {"username": user}, "kind": {"kind": new["kind"]}}),
            )
            .unwrap();
        program.execute(&context).unwrap().json().unwrap()
    }

    fn deployment(change: &Value) -> Value {
        let mut object = json!({
            "kind": "Deployment", "metadata": {"name": "shop", "namespace": "production"},
            "spec": {"template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"image": "shop:1"}}},
        });
        json_patch::merge(&mut object, change);
        object
    }

    #[test]
    fn what_changes_the_template_is_held_and_a_restart_is_not() {
        let annotated =
            |key: &str| json!({"spec": {"template": {"metadata": {"annotations": {key: "1"}}}}});
        let table = [
            (json!({}), json!({}), false),
            (
                json!({}),
                json!({"spec": {"template": {"spec": {"image": "shop:2"}}}}),
                true,
            ),
            (
                json!({}),
                json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}),
                true,
            ),
            (json!({}), json!({"spec": {"replicas": 7}}), false),
            (json!({}), annotated("checksum/config"), true),
            (annotated("checksum/config"), json!({}), true),
            (json!({}), annotated(RESTARTED_AT), false),
            (annotated(RESTARTED_AT), json!({}), false),
        ];
        for (old, new, changed) in table {
            let (acts, variables) = evaluate(
                &holding_spec(ACCOUNT),
                "anyone",
                &deployment(&old),
                &deployment(&new),
            );
            assert!(acts);
            assert_eq!(variables["changed"], json!(changed), "{old} -> {new}");
        }
    }

    /// The variables of the policy for an object of this kind.
    fn holds(kind: &str, old: &Value, new: &Value) -> Value {
        let kind = json!({"kind": kind});
        let with = |change: &Value| {
            let mut object = deployment(change);
            json_patch::merge(&mut object, &kind);
            object
        };
        let (old, new) = (with(old), with(new));
        let spec = holding_spec(ACCOUNT);
        let (_, variables) = evaluate(&spec, "anyone", &old, &new);
        assert_eq!(
            variables["held"],
            json!(is_held(&old)),
            "{old}: the gate and the daemon must agree"
        );
        variables
    }

    /// Whether the daemon sees it as held.
    fn is_held(object: &Value) -> bool {
        let mut object = object.clone();
        object["spec"]["selector"] = json!({});
        object["spec"]["template"] = json!({});
        let seen = match object["kind"].as_str() {
            Some("StatefulSet") => {
                workload::of_stateful_set(serde_json::from_value(object).unwrap())
            }
            Some("DaemonSet") => workload::of_daemon_set(serde_json::from_value(object).unwrap()),
            _ => serde_json::from_value(object).unwrap(),
        };
        seen.spec.paused == Some(true)
    }

    #[test]
    fn each_kind_is_held_as_the_daemon_sees_it() {
        let partition = |value: i32| json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": value}}}});
        let way = |way: &str| json!({"spec": {"updateStrategy": {"type": way}}});
        let table = [
            ("Deployment", json!({"spec": {"paused": true}}), true),
            ("Deployment", json!({}), false),
            ("StatefulSet", partition(PARTITION), true),
            ("StatefulSet", partition(3), false),
            ("StatefulSet", json!({}), false),
            ("DaemonSet", way(ON_DELETE), true),
            ("DaemonSet", way("RollingUpdate"), false),
            ("DaemonSet", json!({}), false),
        ];
        for (kind, old, held) in table {
            let variables = holds(kind, &old, &json!({}));
            assert_eq!(variables["held"], json!(held), "{kind} {old}");
        }
    }

    #[test]
    fn sluice_and_an_open_gate_pass() {
        let plain = deployment(&json!({}));
        let open = deployment(&json!({"metadata": {"annotations": {OPEN: "outage"}}}));
        for spec in [holding_spec(ACCOUNT), warning_spec(ACCOUNT)] {
            assert!(!evaluate(&spec, ACCOUNT, &plain, &plain).0);
            assert!(!evaluate(&spec, "anyone", &plain, &open).0);
            assert!(evaluate(&spec, "anyone", &open, &plain).0);
        }
    }

    #[test]
    fn people_are_told_what_became_of_their_request() {
        let held = |change: Value| {
            let mut object = deployment(&change);
            object["spec"]["paused"] = json!(true);
            object["metadata"]["annotations"] = json!({HELD_BY: "shop-rollout"});
            object
        };
        let newer = json!({"spec": {"template": {"spec": {"image": "shop:2"}}}});
        let said = |user: &str, old: &Value, new: &Value| -> Vec<String> {
            let spec = warning_spec(ACCOUNT);
            let (_, variables) = evaluate(&spec, user, old, new);
            let failed = spec["validations"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|validation| {
                    run(&validation["expression"], user, old, new, &variables) == json!(false)
                });
            failed
                .map(|validation| run(&validation["messageExpression"], user, old, new, &variables))
                .map(|message| message.as_str().unwrap().to_owned())
                .collect()
        };
        let plain = deployment(&json!({}));
        let told = said("jane", &plain, &held(newer.clone()));
        assert_eq!(
            told,
            [
                "held by Sluice: shop changes only by way of a canary; kubectl sluice explain shop-rollout -n production says where it stands"
            ]
        );
        let resumed = said("jane", &held(newer.clone()), &held(newer.clone()));
        assert_eq!(resumed.len(), 1);
        assert!(
            resumed[0].contains("kubectl sluice promote, rollback or restart shop-rollout"),
            "{resumed:?}"
        );
        let controller = "system:serviceaccount:flux-system:kustomize-controller";
        assert_eq!(
            said(controller, &held(newer.clone()), &held(newer.clone())),
            [""; 0]
        );
        assert_eq!(said(controller, &plain, &held(newer)).len(), 1);
        assert_eq!(said("jane", &plain, &plain), [""; 0]);
    }

    #[test]
    fn the_printed_manifests_read_back_as_they_were() {
        let text = yaml(ACCOUNT).unwrap();
        let back: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(back, manifests(ACCOUNT));
        let crd: Value = serde_saphyr::from_str(&crd_yaml().unwrap()).unwrap();
        assert_eq!(crd, serde_json::to_value(Rollout::crd()).unwrap());
    }

    #[test]
    fn the_manifests_in_clusters_are_what_the_code_prints() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clusters/base/sluice");
        for (file, text) in [
            ("crd.yaml", crd_yaml().unwrap()),
            ("gate.yaml", yaml(ACCOUNT).unwrap()),
        ] {
            let stored = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(
                stored == text,
                "{file} is out of date: write `sluice {}` into it",
                file.trim_end_matches(".yaml")
            );
        }
    }
}

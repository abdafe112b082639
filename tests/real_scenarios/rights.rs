//! Least privilege: what the daemons asked for in all scenarios against what `clusters/base`
//! grants to their account.
//!
//! The audit log says what was asked and what was refused. A patch that created its object was
//! authorized as a create too.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::sandbox::scenario::Mode;

use crate::control_plane::ControlPlane;
use crate::installed::base;
use crate::webhook;

/// API group, resource with subresource, verb.
type Right = (String, String, String);

/// Everything that was asked for and refused, and in the mode in which every scenario is played all that is granted
/// and was not used; a line each.
pub fn problems(plane: &ControlPlane) -> Vec<String> {
    let asked: Vec<Value> = plane
        .audit()
        .into_iter()
        .filter(|event| event["user"]["username"] == ACCOUNT)
        .collect();
    let refused = asked
        .iter()
        .filter(|event| code(event) == 403)
        .map(|event| format!("refused: {:?}", right(event)));
    let used: BTreeSet<Right> = asked.iter().flat_map(rights).collect();
    let all_are_played = webhook::mode() == Mode::Policy;
    let idle = granted()
        .into_iter()
        .filter(|right| all_are_played && !used.contains(right))
        .map(|right| format!("granted and never used: {right:?}"));
    let lines: BTreeSet<String> = refused.chain(idle).collect();
    lines.into_iter().collect()
}

fn code(event: &Value) -> u64 {
    event["responseStatus"]["code"].as_u64().unwrap_or(0)
}

fn right(event: &Value) -> Right {
    let word = |key: &str| event["objectRef"][key].as_str().unwrap_or_default();
    let resource = match word("subresource") {
        "" => word("resource").to_owned(),
        sub => format!("{}/{sub}", word("resource")),
    };
    let verb = event["verb"].as_str().unwrap_or_default();
    (word("apiGroup").to_owned(), resource, verb.to_owned())
}

fn rights(event: &Value) -> Vec<Right> {
    let own = right(event);
    if own.2 == "patch" && code(event) == 201 {
        return vec![(own.0.clone(), own.1.clone(), "create".to_owned()), own];
    }
    vec![own]
}

/// What the roles of the manifest grant.
fn granted() -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let roles = [base("rbac.yaml"), webhook::component()].concat();
    let roles = roles
        .iter()
        .filter(|role| role["kind"] == "ClusterRole" || role["kind"] == "Role");
    for rule in roles.flat_map(|role| list(&role["rules"])) {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    rights.insert((text(group), text(resource), text(verb)));
                }
            }
        }
    }
    rights
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

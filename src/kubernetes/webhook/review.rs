//! `AdmissionReview` (`admission.k8s.io/v1`): read, and answered.
//!
//! What cannot be read is an error of the sender's (400), by which `failurePolicy` decides. What can be
//! read is always allowed; what is no update of a workload is allowed as it is. Answering stores
//! nothing, so a dry run needs no care.
//!
//! Not here: what an update comes to (`mutation`), the connection (`listener`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::mutation::{self, Update};
use crate::rollout::plan::WorkloadKind;

const VERSION: &str = "admission.k8s.io/v1";

/// A review that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON, or lacks a field.
    #[error("reading the review")]
    Read(#[source] serde_json::Error),
    /// Of another version, or no review at all.
    #[error("the review is of {found:?}, wanted {VERSION}")]
    Version {
        /// The version given.
        found: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    operation: String,
    user_info: User,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Deserialize)]
struct Kind {
    group: String,
    kind: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

/// Answers a review given as JSON; `account` passes the gate.
pub fn answer(review: &[u8], account: &str) -> Result<Value, Error> {
    let review: Review = serde_json::from_slice(review).map_err(Error::Read)?;
    if review.api_version != VERSION || review.kind != "AdmissionReview" {
        let found = format!("{} {}", review.api_version, review.kind);
        return Err(Error::Version { found });
    }
    Ok(of_request(&review.request, account))
}

fn of_request(request: &Request, account: &str) -> Value {
    let mut response = json!({"uid": request.uid, "allowed": true});
    if let Some(kind) = concerned(request) {
        let update = Update {
            kind,
            user: &request.user_info.username,
            old: &request.old_object,
            new: &request.object,
        };
        let outcome = mutation::outcome(update, account);
        if !outcome.patch.is_empty() {
            let patch = Value::Array(outcome.patch).to_string();
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(BASE64.encode(patch));
        }
        if !outcome.warnings.is_empty() {
            response["warnings"] = json!(outcome.warnings);
        }
    }
    json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response})
}

/// The kind of the workload that is updated; `None` if nothing is to be looked at.
fn concerned(request: &Request) -> Option<WorkloadKind> {
    let whole = request.sub_resource.is_empty() && request.object.is_object();
    let update = request.operation == "UPDATE" && request.old_object.is_object();
    let workload = WorkloadKind::named(&request.kind.kind);
    workload.filter(|_| whole && update && request.kind.group == "apps")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::crd::{ACCOUNT, GUARDED};

    fn review() -> Value {
        let object = |image: &str| {
            json!({"metadata": {"name": "shop", "namespace": "default", "labels": {GUARDED: "true"}},
                "spec": {"template": {"spec": {"image": image}}}})
        };
        json!({"apiVersion": VERSION, "kind": "AdmissionReview", "request": {
            "uid": "u-1", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "operation": "UPDATE", "userInfo": {"username": "jane", "groups": []}, "dryRun": true,
            "name": "shop", "namespace": "default", "options": null,
            "object": object("shop:2"), "oldObject": object("shop:1"),
        }})
    }

    fn answered(change: &Value) -> Result<Value, Error> {
        let mut review = review();
        json_patch::merge(&mut review, change);
        answer(review.to_string().as_bytes(), ACCOUNT)
    }

    #[test]
    fn a_changed_template_is_allowed_with_a_patch_and_a_warning() {
        let answer = answered(&json!({})).unwrap();
        let response = &answer["response"];
        assert_eq!(response["uid"], "u-1");
        assert_eq!(response["allowed"], true);
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = BASE64.decode(response["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(
            patch,
            json!([{"op": "add", "path": "/spec/paused", "value": true}])
        );
        assert_eq!(response["warnings"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_update_of_a_workload_is_allowed_as_it_is() {
        for change in [
            json!({"operation": "CREATE", "oldObject": null}),
            json!({"operation": "DELETE", "object": null}),
            json!({"operation": "CONNECT"}),
            json!({"subResource": "scale"}),
            json!({"kind": {"kind": "Pod", "group": ""}}),
            json!({"kind": {"group": "example.com"}}),
            json!({"object": 7}),
            json!({"userInfo": {"username": ACCOUNT}}),
        ] {
            let answer = answered(&json!({"request": change})).unwrap();
            assert_eq!(answer["response"], json!({"uid": "u-1", "allowed": true}));
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_senders_error_and_no_answer() {
        for change in [
            json!({"apiVersion": "admission.k8s.io/v1beta1"}),
            json!({"kind": "TokenReview"}),
            json!({"request": null}),
            json!({"request": {"uid": null}}),
            json!({"request": {"userInfo": "jane"}}),
        ] {
            assert!(answered(&change).is_err(), "{change}");
        }
        for text in ["", "{", "[]", "null", "\u{0}"] {
            assert!(answer(text.as_bytes(), ACCOUNT).is_err(), "{text}");
        }
    }
}

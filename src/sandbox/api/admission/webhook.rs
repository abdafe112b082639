//! Mutating webhooks: called as the real server calls them, but within the process.
//!
//! Which requests are asked about, `matchConditions`, the patch, warnings, `failurePolicy` and a second
//! call after others (`reinvocationPolicy`) are as there. Nothing is dialled: whoever starts the server says
//! who answers, for all webhooks, whatever their `clientConfig` is. No TLS, so no `caBundle`.
//! Validating webhooks are not called.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::prepare::Operation;
use super::super::refusal::Refusal;
use super::super::write::Write;
use super::{About, conditions_hold};

/// Answers an `AdmissionReview`, or says why there is no answer.
pub type Answerer = Arc<dyn Fn(&Value) -> Result<Value, String> + Send + Sync>;

/// Who answers.
#[derive(Clone, Default)]
pub struct Webhooks(Arc<RwLock<Option<Answerer>>>);

impl fmt::Debug for Webhooks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Webhooks")
    }
}

impl Webhooks {
    /// From now on this one answers.
    pub fn answered_by(&self, answerer: Answerer) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(answerer);
    }

    fn ask(&self, review: &Value) -> Result<Value, String> {
        let answerer = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        answerer.ok_or("no such host")?(review)
    }
}

/// All webhooks, by the names of their configurations.
pub fn configured(write: &Write<'_>) -> Vec<Value> {
    let storage = "mutatingwebhookconfigurations.admissionregistration.k8s.io".into();
    let all = write.api.store().list(&storage, None).0;
    let hooks = all.iter().map(|object| object.value["webhooks"].as_array());
    hooks.flatten().flatten().cloned().collect()
}

/// What a webhook makes of an object; `None` if it is not asked.
pub fn one(
    write: &mut Write<'_>,
    hook: &Value,
    object: &Value,
    old: Option<&Value>,
    operation: Operation,
) -> Result<Option<Value>, Refusal> {
    let about = About::new(write, object, old, operation);
    let constraints = json!({
        "resourceRules": hook["rules"], "objectSelector": hook["objectSelector"],
        "namespaceSelector": hook["namespaceSelector"],
    });
    if !about.meets(&constraints) {
        return Ok(None);
    }
    let answered = match conditions_hold(hook, &about.names()) {
        Ok(false) => return Ok(None),
        Ok(true) => asked(write, &review(&about)),
        Err(error) => Err(error.to_string()),
    };
    let changed = answered.and_then(|response| Ok((patched(object, &response)?, response)));
    let (changed, response) = match changed {
        Ok(changed) => changed,
        Err(_) if hook["failurePolicy"] == "Ignore" => return Ok(None),
        Err(problem) => return Err(failed(hook, &problem)),
    };
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let warnings = warnings.filter_map(Value::as_str).map(str::to_owned);
    // The real server tells each text once.
    for warning in warnings {
        if !write.warnings.contains(&warning) {
            write.warnings.push(warning);
        }
    }
    if response["allowed"] != true {
        let name = hook["name"].as_str().unwrap_or_default();
        let why = response["status"]["message"]
            .as_str()
            .unwrap_or("without explanation");
        let why = format!("admission webhook \"{name}\" denied the request: {why}");
        return Err(Refusal::new(403, "Forbidden", why));
    }
    Ok(Some(changed))
}

fn asked(write: &Write<'_>, review: &Value) -> Result<Value, String> {
    let answer = write.api.webhooks().ask(review);
    let answer = answer.map_err(|error| format!("failed to call webhook: {error}"))?;
    let response = &answer["response"];
    if response["uid"] != review["request"]["uid"] {
        return Err("expected response.uid as in the request".to_owned());
    }
    Ok(response.clone())
}

fn review(about: &About<'_>) -> Value {
    let kind = about.kind;
    let mut request = json!({
        "uid": format!("{}-{}", kind.plural, about.name),
        "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "resource": {"group": kind.group, "version": kind.version, "resource": kind.plural},
        "name": about.name, "operation": about.operation(), "dryRun": about.dry_run,
        "namespace": about.object["metadata"]["namespace"],
        "userInfo": {"username": about.user, "groups": ["system:authenticated"]},
        "object": about.object, "oldObject": about.old, "options": null,
    });
    if !about.subresource.is_empty() {
        request["subResource"] = json!(about.subresource);
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
}

fn patched(object: &Value, response: &Value) -> Result<Value, String> {
    let mut changed = object.clone();
    let Some(patch) = response["patch"].as_str() else {
        return Ok(changed);
    };
    let patch = BASE64.decode(patch).map_err(|error| error.to_string())?;
    let patch: json_patch::Patch =
        serde_json::from_slice(&patch).map_err(|error| error.to_string())?;
    json_patch::patch(&mut changed, &patch).map_err(|error| error.to_string())?;
    Ok(changed)
}

fn failed(hook: &Value, problem: &str) -> Refusal {
    let name = hook["name"].as_str().unwrap_or_default();
    let message = format!("Internal error occurred: failed calling webhook \"{name}\": {problem}");
    Refusal::internal(message)
}

//! Answers that are not success, as the Kubernetes API words them.
//!
//! A [`Refusal`] becomes a `Status` object. Constructors are named by the reason that clients
//! tell apart; messages follow the real server's, since people and kubectl read them.

use serde_json::{Value, json};

use super::kinds::Kind;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// The machine-readable reason.
    pub reason: &'static str,
    /// What people read.
    pub message: String,
    /// `details` of the Status.
    pub details: Value,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u64>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired` and so on.
    pub reason: &'static str,
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Cause {
    /// A required field that is absent.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".into()
        } else {
            format!("Required value: {why}")
        };
        Self {
            reason: "FieldValueRequired",
            field: field.into(),
            message,
        }
    }

    /// A field with a value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        let message = format!("Invalid value: {}: {why}", shown(value));
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            message,
        }
    }

    /// A field whose value is none of the allowed ones.
    pub fn unsupported(field: impl Into<String>, value: &Value, allowed: &[Value]) -> Self {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            list.join(", ")
        );
        Self {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message,
        }
    }

    /// A value that occurs twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", shown(value));
        Self {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message,
        }
    }
}

/// The causes in one text; several in brackets.
fn told(causes: &[Cause]) -> String {
    let told: Vec<String> = causes
        .iter()
        .map(|c| format!("{}: {}", c.field, c.message))
        .collect();
    match told.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// What an answer is about; empty words are left out.
fn details(kind: &Kind, name: &str, word: &str) -> Value {
    let mut details = json!({"kind": word});
    for (field, text) in [("name", name), ("group", kind.group.as_str())] {
        if !text.is_empty() {
            details[field] = json!(text);
        }
    }
    details
}

/// A value as messages show it: named fields of objects are shown by Go's way of JSON.
fn shown(value: &Value) -> String {
    value.to_string()
}

impl Refusal {
    /// A refusal with no details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
            retry_after: None,
            warnings: Vec::new(),
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = details(kind, name, &kind.plural);
        self
    }

    /// 404 for an object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// 404 for a path.
    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self {
            details: json!({}),
            ..Self::new(404, "NotFound", message)
        }
    }

    /// 409 for a name that is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    /// 409 for a write that is based on an old version.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.qualified()
        );
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// The usual conflict.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self {
            details: json!({}),
            ..Self::new(405, "MethodNotAllowed", message)
        }
    }

    /// 410, for a resource version that is no longer known.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415, for a patch of no known kind.
    pub fn unsupported_media() -> Self {
        Self {
            details: json!({}),
            ..Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
        }
    }

    /// 415, for a body of no known form.
    pub fn unknown_format(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422 without a word on why, as a JSON patch gets it that cannot be applied.
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self {
            details: json!({}),
            ..Self::new(422, "Invalid", message)
        }
    }

    /// 422 with one cause for each wrong field.
    pub fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let told = told(causes);
        let qualified = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let mut refusal = Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {told}"),
        );
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        refusal.details = details(kind, name, &kind.kind);
        refusal.details["causes"] = Value::Array(causes);
        refusal
    }

    /// 422 for options of a request that are not allowed.
    pub fn invalid_options(options: &str, causes: &[Cause]) -> Self {
        let told = told(causes);
        let message = format!("{options}.meta.k8s.io \"\" is invalid: {told}");
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        let mut refusal = Self::new(422, "Invalid", message);
        refusal.details = json!({"group": "meta.k8s.io", "kind": options, "causes": causes});
        refusal
    }

    /// 400 for a body about another object than the URL.
    pub fn wrong_name(given: &str, wanted: &str) -> Self {
        Self::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({wanted})"
        ))
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    #[test]
    fn messages_are_those_of_the_real_server() {
        let kind = Registry::built_in()
            .find("apps", "v1", "deployments")
            .unwrap();
        let message = Refusal::not_found(&kind, "web").message;
        assert_eq!(message, "deployments.apps \"web\" not found");
        let cause = Cause::required("spec.selector", "");
        let message = Refusal::invalid(&kind, "web", &[cause]).message;
        assert_eq!(
            message,
            "Deployment.apps \"web\" is invalid: spec.selector: Required value"
        );
    }
}

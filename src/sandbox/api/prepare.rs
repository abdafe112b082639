//! What happens to a proposed object on its way into the store.
//!
//! The order is the real server's, because the gate depends on it: policies see objects that
//! are pruned and defaulted, fields that a policy sets belong to no manager, and validation
//! sees the result.

use axum::http::Method;
use serde_json::Value;

use super::conform::{Findings, conform};
use super::kinds::Kind;
use super::library::{Library, METADATA};
use super::refusal::Refusal;
use super::store::Stored;
use super::write::Write;
use super::{admission, crd, decode, defaults, managed, metadata, structural, validate};

/// What admission is told about a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object.
    Update,
}

/// What a client wants the object to be.
#[derive(Debug)]
pub struct Proposal {
    /// The whole object.
    pub object: Value,
    /// Create or update.
    pub operation: Operation,
    /// Whether field ownership is settled already (server-side apply).
    pub owned: bool,
}

/// Turns a proposal into what is to be stored.
pub fn run(
    write: &mut Write<'_>,
    old: Option<&Stored>,
    proposal: Proposal,
) -> Result<Value, Refusal> {
    let old = old.map(|old| &old.value);
    let mut object = proposal.object;
    if let Some(old) = old {
        metadata::carry(&mut object, old);
    }
    scope(write.kind, &write.target.subresource, &mut object, old);
    let mut findings = shape(write.kind, &mut object, old);
    if old.is_none() || write.call.method == Method::PUT {
        findings.duplicate = decode::duplicates(&write.call.body);
    }
    report(write, &findings, proposal.owned)?;
    if !proposal.owned {
        managed::update(&mut object, old, write.kind, &write.writer());
    }
    defaults::assign(write.kind, &mut object);
    if let Some(mutated) = admission::mutate(write, &object, old, proposal.operation)? {
        object = mutated;
        shape(write.kind, &mut object, old);
    }
    let counts = !matches!(write.target.subresource.as_str(), "status" | "binding");
    if let Some(old) = old.filter(|_| counts) {
        metadata::bump_generation(&mut object, old, write.kind);
    }
    if write
        .kind
        .is("apiextensions.k8s.io", "CustomResourceDefinition")
    {
        crd::establish(&mut object, &metadata::stamp(write.api.clock().now()));
    }
    check(write.kind, &object, old)?;
    admission::validate(write, &object, old, proposal.operation)?;
    Ok(object)
}

/// Restricts a write to what its endpoint may write.
fn scope(kind: &Kind, subresource: &str, object: &mut Value, old: Option<&Value>) {
    if !kind.status || subresource == "binding" {
        return;
    }
    if subresource == "status" {
        let Some(old) = old else { return };
        let status = object["status"].take();
        let annotations = object["metadata"]["annotations"].take();
        let fields = object["metadata"]["managedFields"].take();
        *object = old.clone();
        object["status"] = status;
        if kind.is("apps", "Deployment") && annotations.is_object() {
            // The revision is noted with the status.
            metadata::of(object).insert("annotations".into(), annotations);
        }
        metadata::of(object).insert("managedFields".into(), fields);
        return;
    }
    let status = old.and_then(|old| old.get("status")).cloned();
    if let Some(map) = object.as_object_mut() {
        match status {
            Some(status) => map.insert("status".into(), status),
            None => map.remove("status"),
        };
    }
}

/// Prunes and fills in defaults.
fn shape(kind: &Kind, object: &mut Value, old: Option<&Value>) -> Findings {
    let mut findings = Findings::default();
    if let Some(custom) = &kind.custom {
        conform(&mut object["metadata"], METADATA, &mut findings);
        findings.unknown = findings
            .unknown
            .iter()
            .map(|field| format!("metadata.{field}"))
            .collect();
        structural::prune(&custom.schema, object, "", &mut findings.unknown);
        structural::default(&custom.schema, object);
        return findings;
    }
    let library = Library::get();
    // Events of the other group are stored in the core form.
    let name = if kind.group == "events.k8s.io" {
        Some("io.k8s.api.core.v1.Event")
    } else {
        library.name_of(kind)
    };
    if let Some(name) = name {
        conform(object, name, &mut findings);
    }
    if findings.wrong.is_empty() {
        defaults::fill(kind, object, old);
        drop_made_nulls(object);
    }
    findings
}

/// Reaching for a field that is absent makes it null; the defaults reach for some.
fn drop_made_nulls(object: &mut Value) {
    for place in ["", "/spec", "/spec/template"] {
        if let Some(map) = object.pointer_mut(place).and_then(Value::as_object_mut) {
            map.retain(|_, value| !value.is_null());
        }
    }
}

/// A patch with unknown fields. The real server shows the whole object; this does not.
fn strictly_patched(told: &str) -> Refusal {
    let message = format!("Invalid value: strict decoding error: {told}");
    let causes =
        serde_json::json!([{"reason": "FieldValueInvalid", "field": "patch", "message": message}]);
    Refusal {
        details: serde_json::json!({"causes": causes}),
        ..Refusal::new(
            422,
            "Invalid",
            format!(" \"\" is invalid: patch: {message}"),
        )
    }
}

/// An applied object that does not fit its kind. The real server says so with status 500.
fn untyped(write: &Write<'_>, problem: &str) -> Refusal {
    let (kind, name) = (write.kind, &write.key.name);
    let message = format!(
        "failed to create typed patch object (/{name}; {}, Kind={}): {problem}",
        kind.api_version(),
        kind.kind
    );
    Refusal::new(500, "", message)
}

/// Refuses wrong types; refuses or warns of unknown fields, as the client asked.
fn report(write: &mut Write<'_>, findings: &Findings, applied: bool) -> Result<(), Refusal> {
    let kind = write.kind;
    let cannot = format!(
        "{} in version \"{}\" cannot be handled as a {}",
        kind.kind, kind.version, kind.kind
    );
    if let Some(wrong) = findings.wrong.first() {
        if applied && !findings.untyped.is_empty() {
            return Err(untyped(write, &findings.untyped));
        }
        return Err(Refusal::bad_request(format!("{cannot}: {wrong}")));
    }
    if findings.unknown.is_empty() && findings.duplicate.is_empty() {
        return Ok(());
    }
    if applied && !findings.unknown.is_empty() {
        let problem = format!(".{}: field not declared in schema", findings.unknown[0]);
        return Err(untyped(write, &problem));
    }
    let told: Vec<String> = findings
        .unknown
        .iter()
        .map(|field| format!("unknown field \"{field}\""))
        .chain(
            findings
                .duplicate
                .iter()
                .map(|field| format!("duplicate field \"{field}\"")),
        )
        .collect();
    match write.call.param("fieldValidation") {
        Some("Strict") => {
            let told = told.join(", ");
            if write.call.method == Method::PATCH {
                return Err(strictly_patched(&told));
            }
            let message = format!("{cannot}: strict decoding error: {told}");
            Err(Refusal::bad_request(message))
        }
        Some("Ignore") => Ok(()),
        _ => {
            write.warnings.extend(told);
            Ok(())
        }
    }
}

fn check(kind: &Kind, object: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let mut causes = validate::check(kind, object, old);
    if let Some(custom) = &kind.custom {
        structural::validate(&custom.schema, object, old, "", &mut causes);
        structural::say_unchecked(&mut causes);
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(Refusal::invalid(kind, name, &causes))
}

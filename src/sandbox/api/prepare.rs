//! What happens to a proposed object on its way into the store.
//!
//! The order is the real server's, because the gate depends on it: policies see objects that
//! are pruned and defaulted, fields that a policy sets belong to no manager, and validation
//! sees the result.

use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;
use super::store::Stored;
use super::write::Write;
use super::{managed, metadata};

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
    let mut object = proposal.object;
    if let Some(old) = old {
        metadata::carry(&mut object, &old.value);
    }
    scope(
        write.kind,
        &write.target.subresource,
        &mut object,
        old.map(|old| &old.value),
    );
    if !proposal.owned {
        managed::update(
            &mut object,
            old.map(|old| &old.value),
            write.kind,
            &write.writer(),
        );
    }
    if let Some(old) = old {
        metadata::bump_generation(&mut object, &old.value, write.kind);
    }
    Ok(object)
}

/// Restricts a write to what its endpoint may write.
fn scope(kind: &Kind, subresource: &str, object: &mut Value, old: Option<&Value>) {
    if !kind.status {
        return;
    }
    if subresource == "status" {
        let Some(old) = old else { return };
        let status = object["status"].take();
        let fields = object["metadata"]["managedFields"].take();
        *object = old.clone();
        object["status"] = status;
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

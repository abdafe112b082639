//! Create, update and patch: one path that every change takes.
//!
//! A change is computed from the stored object outside the lock and stored only if that object
//! is still the present one; otherwise it is computed again, unless the client named a version.
//! Order, as in the real server: system metadata, pruning and defaults, field ownership,
//! mutating policies, defaults again, generation, validation, validating policies.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, View};
use super::call::{Call, Target};
use super::kinds::Kind;
use super::managed::Writer;
use super::prepare::{self, Operation, Proposal};
use super::refusal::{Cause, Refusal};
use super::store::{Key, Object, Stored};
use super::{delete, events, metadata, options, patch, read};

const ATTEMPTS: usize = 100;

/// Computes the new object from the stored one, and whether field ownership is settled.
pub type Change<'a> = &'a dyn Fn(&Value) -> Result<(Value, bool), Refusal>;

/// A write in progress: what it is for, and the warnings gathered on the way.
#[derive(Debug)]
pub struct Write<'a> {
    /// The server.
    pub api: &'a Api,
    /// What is written.
    pub kind: &'a Arc<Kind>,
    /// The request.
    pub call: &'a Call,
    /// Its target.
    pub target: &'a Target,
    /// The object's place.
    pub key: Key,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

impl<'a> Write<'a> {
    /// Begins a write.
    pub fn new(api: &'a Api, kind: &'a Arc<Kind>, target: &'a Target, call: &'a Call) -> Self {
        Self {
            api,
            kind,
            call,
            target,
            key: read::key(kind, target),
            warnings: Vec::new(),
        }
    }

    /// Ends it with an answer.
    pub fn answer(self, code: u16, object: &Stored) -> Answer {
        let view = View::of(self.call);
        let body = view.object(self.kind, object, self.api.clock().now());
        Answer {
            warnings: self.warnings,
            ..Answer::json(code, body)
        }
    }

    /// A refusal with the warnings gathered so far.
    pub fn warned(&self, refusal: Refusal) -> Refusal {
        Refusal {
            warnings: self.warnings.clone(),
            ..refusal
        }
    }

    /// Who writes, for field ownership.
    pub fn writer(&self) -> Writer {
        let subresource = &self.target.subresource;
        Writer {
            name: self.call.manager(),
            subresource: subresource.to_owned(),
            time: metadata::stamp(self.api.clock().now()),
        }
    }

    /// Makes a new object.
    pub fn create(&mut self, mut object: Value) -> Result<Stored, Refusal> {
        metadata::of(&mut object).remove("managedFields");
        self.store_new(object, false)
    }

    /// Makes a new object whose field ownership is settled.
    pub fn create_owned(&mut self, object: Value) -> Result<Stored, Refusal> {
        self.store_new(object, true)
    }

    fn store_new(&mut self, mut object: Value, owned: bool) -> Result<Stored, Refusal> {
        self.identify(&mut object)?;
        self.check_namespace()?;
        let serial = self.api.store().serial();
        metadata::create(&mut object, self.kind, serial, self.api.clock().now());
        let proposal = Proposal {
            object,
            operation: Operation::Create,
            owned,
        };
        let value = prepare::run(self, None, proposal)?;
        if self.call.dry_run() {
            return self.only_computed(value, None);
        }
        let taken = |_| self.taken();
        let stored = self
            .api
            .store()
            .put(&self.key, value, None)
            .map_err(taken)?;
        self.api.after_put(self.kind, &self.key, &stored);
        Ok(stored)
    }

    /// Changes an object by `change`, which is given the stored one.
    pub fn update(&mut self, operation: Operation, change: Change<'_>) -> Result<Stored, Refusal> {
        for _ in 0..ATTEMPTS {
            let missing = || Refusal::not_found(self.kind, &self.key.name);
            let old = self.api.store().get(&self.key).ok_or_else(missing)?;
            self.warnings.clear();
            let (object, owned) = change(&old.value)?;
            self.check_identity(&object, &old)?;
            let value = prepare::run(
                self,
                Some(&old),
                Proposal {
                    object,
                    operation,
                    owned,
                },
            )?;
            if !metadata::differ(&value, &old.value) {
                return Ok(old);
            }
            if self.call.dry_run() {
                return self.only_computed(value, Some(&old));
            }
            if let Some(stored) = self.commit(value, &old) {
                return Ok(stored);
            }
        }
        Err(Refusal::modified(self.kind, &self.key.name))
    }

    fn commit(&self, value: Value, old: &Stored) -> Option<Stored> {
        if delete::is_released(&value) {
            let stored = self
                .api
                .store()
                .put(&self.key, value, Some(old.revision))
                .ok()?;
            delete::remove(self.api, &self.key, &stored);
            return Some(stored);
        }
        let stored = self
            .api
            .store()
            .put(&self.key, value, Some(old.revision))
            .ok()?;
        self.api.after_put(self.kind, &self.key, &stored);
        Some(stored)
    }

    /// The name is taken, by an object that may be about to go.
    fn taken(&self) -> Refusal {
        let mut refusal = Refusal::already_exists(self.kind, &self.key.name);
        let present = self.api.store().get(&self.key);
        if present.is_some_and(|object| object.value["metadata"]["deletionTimestamp"].is_string()) {
            refusal.message = format!("object is being deleted: {}", refusal.message);
        }
        refusal
    }

    /// A change of what the server alone writes. The real server says it twice over.
    fn immutable(&self, field: &str, value: &Value) -> Refusal {
        let cause = Cause::invalid(field, value, "field is immutable");
        let mut refusal = Refusal::invalid(self.kind, &self.key.name, &[cause]);
        if let Some(causes) = refusal.details["causes"].as_array_mut() {
            causes.extend(causes.clone());
        }
        refusal
    }

    /// Custom resources and a few kinds are replaced only by who has read them.
    fn check_version_given(&self, object: &Value) -> Result<(), Refusal> {
        const CAREFUL: [&str; 3] = ["Lease", "CustomResourceDefinition", "PodDisruptionBudget"];
        let given = object["metadata"]["resourceVersion"].as_str();
        let careful = self.kind.custom.is_some() || CAREFUL.contains(&self.kind.kind.as_str());
        if !careful || given.is_some_and(|given| !given.is_empty()) {
            return Ok(());
        }
        let why = "must be specified for an update";
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), why);
        let named = Kind {
            kind: self.kind.plural.clone(),
            ..Kind::clone(self.kind)
        };
        let mut refusal = Refusal::invalid(&named, &self.key.name, &[cause]);
        refusal.details["kind"] = json!(self.kind.plural);
        Err(refusal)
    }

    fn only_computed(&self, mut value: Value, old: Option<&Stored>) -> Result<Stored, Refusal> {
        if old.is_none() && self.api.store().get(&self.key).is_some() {
            return Err(self.taken());
        }
        if old.is_none() {
            metadata::of(&mut value).remove("resourceVersion");
        }
        Ok(Object::detached(value))
    }

    /// Settles the name and namespace of a new object.
    fn identify(&mut self, object: &mut Value) -> Result<(), Refusal> {
        self.check_type(object)?;
        let now = self.api.clock().now();
        if self.kind.custom.is_none() {
            self.check_name_is_text(object)?;
        }
        let metadata = metadata::of(object);
        let text = |field: &str| {
            metadata
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (mut name, base, namespace) = (text("name"), text("generateName"), text("namespace"));
        if !text("resourceVersion").is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::new(500, "", message));
        }
        if name.is_empty() && !base.is_empty() {
            name = format!("{base}{}", metadata::suffix(self.api.store().serial(), now));
        }
        if name.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Refusal::invalid(self.kind, "", &[cause]));
        }
        if let Some(asked) = &self.target.name
            && *asked != name
        {
            return Err(Refusal::wrong_name(&name, asked));
        }
        if self.kind.namespaced && !namespace.is_empty() && namespace != self.key.namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refusal::bad_request(message));
        }
        metadata.insert("name".into(), json!(name));
        if self.kind.namespaced {
            metadata.insert("namespace".into(), json!(self.key.namespace));
        } else {
            metadata.remove("namespace");
        }
        self.key.name = name;
        Ok(())
    }

    fn check_name_is_text(&self, object: &Value) -> Result<(), Refusal> {
        let name = &object["metadata"]["name"];
        if name.is_null() || name.is_string() {
            return Ok(());
        }
        let (kind, version) = (&self.kind.kind, &self.kind.version);
        Err(Refusal::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: json: cannot unmarshal {} into Go struct field ObjectMeta.metadata.name of type string",
            patch::word(name)
        )))
    }

    /// Fills in and checks `apiVersion` and `kind`.
    pub fn check_type(&self, object: &mut Value) -> Result<(), Refusal> {
        check_object(object)?;
        if self.kind.group == "events.k8s.io" {
            object["kind"] = json!("Event");
            *object = events::to_core(object);
            return Ok(());
        }
        let (version, kind) = (self.kind.api_version(), &self.kind.kind);
        for (field, want) in [("apiVersion", version.as_str()), ("kind", kind.as_str())] {
            match object[field].as_str() {
                None | Some("") => object[field] = json!(want),
                Some(got) if got == want => {}
                Some(got) => {
                    let message = format!(
                        "the {field} in the data ({got}) does not match the expected {field} ({want})"
                    );
                    return Err(Refusal::bad_request(message));
                }
            }
        }
        Ok(())
    }

    fn check_namespace(&self) -> Result<(), Refusal> {
        if !self.kind.namespaced {
            return Ok(());
        }
        let key = Key {
            storage: "namespaces".into(),
            namespace: String::new(),
            name: self.key.namespace.clone(),
        };
        let Some(namespace) = self.api.store().get(&key) else {
            let message = format!("namespaces \"{}\" not found", key.name);
            return Err(Refusal {
                details: json!({"kind": "namespaces", "name": key.name}),
                ..Refusal::new(404, "NotFound", message)
            });
        };
        if namespace.value["metadata"]["deletionTimestamp"].is_string() {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                key.name
            );
            let mut refusal = Refusal::forbidden(self.kind, &self.key.name, &why);
            let message = format!("namespace {} is being terminated", key.name);
            refusal.details["causes"] = json!([{
                "reason": "NamespaceTerminating", "field": "metadata.namespace", "message": message,
            }]);
            return Err(refusal);
        }
        Ok(())
    }

    fn check_identity(&self, object: &Value, old: &Stored) -> Result<(), Refusal> {
        let metadata = &object["metadata"];
        let given = |field: &str| metadata[field].as_str().filter(|text| !text.is_empty());
        if let Some(name) = given("name").filter(|name| *name != self.key.name) {
            return Err(Refusal::wrong_name(name, &self.key.name));
        }
        if let Some(uid) = given("uid")
            && old.value["metadata"]["uid"] != uid
        {
            if self.call.method == Method::PATCH {
                return Err(self.immutable("metadata.uid", &json!(uid)));
            }
            let now = old.value["metadata"]["uid"].as_str().unwrap_or_default();
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{}/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {now}",
                self.kind.plural, self.key.namespace, self.key.name
            );
            return Err(Refusal::conflict(self.kind, &self.key.name, &why));
        }
        if let Some(at) = given("deletionTimestamp")
            && old.value["metadata"]["deletionTimestamp"] != at
        {
            return Err(self.immutable("metadata.deletionTimestamp", &json!(at)));
        }
        if given("resourceVersion")
            .is_some_and(|asked| asked != old.revision.to_string() && asked != "0")
        {
            return Err(Refusal::modified(self.kind, &self.key.name));
        }
        Ok(())
    }
}

/// Answers a create.
pub fn create(
    api: &Api,
    kind: &Arc<Kind>,
    target: &Target,
    call: &Call,
) -> Result<Answer, Refusal> {
    options::write(call, "CreateOptions")?;
    let mut write = Write::new(api, kind, target, call);
    let made = write.create(call.object(kind)?);
    let stored = made.map_err(|refusal| write.warned(refusal))?;
    Ok(write.answer(201, &stored))
}

/// Refuses what no object can be: everything after this reaches into its metadata.
pub fn check_object(object: &Value) -> Result<(), Refusal> {
    let refused = |what: &str| {
        let message = format!("the body of the request {what}");
        Err(Refusal::bad_request(message))
    };
    match object.get("metadata") {
        _ if !object.is_object() => refused("is not an object"),
        Some(metadata) if !metadata.is_object() && !metadata.is_null() => {
            refused("has metadata that are not an object")
        }
        _ => Ok(()),
    }
}

/// Answers a replace.
pub fn replace(
    api: &Api,
    kind: &Arc<Kind>,
    target: &Target,
    call: &Call,
) -> Result<Answer, Refusal> {
    options::write(call, "UpdateOptions")?;
    let mut write = Write::new(api, kind, target, call);
    let mut body = call.object(kind)?;
    write.check_type(&mut body)?;
    if let Some(name) = body["metadata"]["name"].as_str()
        && name != write.key.name
    {
        return Err(Refusal::wrong_name(name, &write.key.name));
    }
    if api.store().get(&write.key).is_some() {
        write.check_version_given(&body)?;
    }
    let stored = write
        .update(Operation::Update, &|_| Ok((body.clone(), false)))
        .map_err(|refusal| write.warned(refusal))?;
    Ok(write.answer(200, &stored))
}

/// Answers a patch of any kind.
pub fn patch(api: &Api, kind: &Arc<Kind>, target: &Target, call: &Call) -> Result<Answer, Refusal> {
    options::write(call, "PatchOptions")?;
    let mut write = Write::new(api, kind, target, call);
    let body = call.patch()?;
    if call.media == patch::APPLY {
        return patch::apply(write, body);
    }
    let stored = write.update(Operation::Update, &|old| {
        Ok((patch::patched(kind, call, old, &body)?, false))
    });
    let stored = stored.map_err(|refusal| write.warned(refusal))?;
    Ok(write.answer(200, &stored))
}

//! Kubernetes Events that the sandbox's controllers and node write, as the real ones do.
//!
//! Not here: the daemon's own Events, nor the folding of repeated ones into a count.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Client, Resource};

/// What an Event says.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    pub component: &'a str,
    pub warning: bool,
    pub reason: &'a str,
    pub message: &'a str,
}

/// Writes an Event about `object`. A failure is logged: an Event is never worth a retry.
pub async fn tell<K>(client: &Client, object: &K, note: Note<'_>, now: Timestamp)
where
    K: Resource<DynamicType = ()>,
{
    tell_about(client, object_reference(object), note, now).await;
}

/// The same of an object that is only named.
pub async fn tell_about(client: &Client, object: ObjectReference, note: Note<'_>, now: Timestamp) {
    let event = event(object, note, now);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api = Api::<Event>::namespaced(client.clone(), &namespace);
    if let Err(error) = api.create(&PostParams::default(), &event).await {
        tracing::debug!(%error, reason = note.reason, "writing an event");
    }
}

fn event(object: ObjectReference, note: Note<'_>, now: Timestamp) -> Event {
    let namespace = object.namespace.clone().unwrap_or_else(|| "default".into());
    let name = object.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: object,
        reason: Some(note.reason.into()),
        message: Some(note.message.into()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        source: Some(EventSource {
            component: Some(note.component.into()),
            host: None,
        }),
        reporting_component: Some(note.component.into()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

/// What an Event names an object by.
pub fn object_reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

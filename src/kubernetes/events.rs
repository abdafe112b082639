//! Events on the Rollout and on its Deployment, one for each thing that is told.
//!
//! They are sent by a task of their own, in order, bounded: nothing waits for them, and what
//! does not fit is dropped and counted in the log.
//!
//! Not here: the words (`rollout::reason`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::template::short_hash;
use crate::rollout::plan::WorkloadKind;
use crate::rollout::reason::Reason;

/// Events that may wait; more are dropped.
const BACKLOG: usize = 1024;
/// The API server takes at most this many bytes of a note.
const NOTE_BYTES: usize = 1000;
const WARNING: &str = "Warning";
const DEADLINE: Duration = Duration::from_secs(5);
const SHUTDOWN_DRAIN: Duration = Duration::from_millis(500);

/// Where Events are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<Event>);

/// Events on their way to the API server.
#[derive(Debug)]
pub struct Outgoing(mpsc::Receiver<Event>);

/// A way in and what comes out of it.
pub fn channel() -> (Events, Outgoing) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (Events(sender), Outgoing(receiver))
}

impl Events {
    /// Hands in one Event for each object that it regards.
    pub fn tell(&self, objects: &[ObjectReference], reason: &Reason, now: Timestamp) {
        for (index, object) in objects.iter().enumerate() {
            self.hand_in(event(object, reason, now, index));
        }
    }

    /// Hands in an Event that regards no Rollout.
    pub fn note(&self, object: &ObjectReference, reason: &str, words: &str, now: Timestamp) {
        self.hand_in(plain(object, reason, words, now, 0));
    }

    /// The same as a warning.
    pub fn warn(&self, object: &ObjectReference, reason: &str, words: &str, now: Timestamp) {
        let mut event = plain(object, reason, words, now, 0);
        event.type_ = Some(WARNING.to_owned());
        self.hand_in(event);
    }

    fn hand_in(&self, event: Event) {
        let reason = event.reason.clone();
        if self.0.try_send(event).is_err() {
            tracing::warn!(reason, "an Event was dropped: too many wait");
        }
    }
}

fn event(object: &ObjectReference, reason: &Reason, now: Timestamp, index: usize) -> Event {
    let words = reason.to_string();
    let mut event = plain(object, reason.name(), &words, now, index);
    if reason.warns() {
        event.type_ = Some(WARNING.to_owned());
    }
    event
}

fn plain(
    object: &ObjectReference,
    reason: &str,
    words: &str,
    now: Timestamp,
    index: usize,
) -> Event {
    let name = object.name.clone().unwrap_or_default();
    // Two answers of one pass have one time and one reason.
    let hash = short_hash(words, 6);
    let unique = format!("{:x}{index}.{hash}", now.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{}.{unique}", reason.to_lowercase())),
            namespace: object.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some(reason.to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(bounded(words)),
        reason: Some(reason.to_owned()),
        regarding: Some(object.clone()),
        reporting_controller: Some("sluice.dev/sluice".to_owned()),
        reporting_instance: Some("sluice".to_owned()),
        type_: Some("Normal".to_owned()),
        ..Event::default()
    }
}

fn bounded(note: &str) -> String {
    if note.len() <= NOTE_BYTES {
        return note.to_owned();
    }
    let mut end = NOTE_BYTES;
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &note[..end])
}

/// A reference to an object, as Events carry it.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    object.object_ref(&())
}

/// A reference to a workload of this kind, which is kept as the Deployment that says the same.
pub fn workload(kind: WorkloadKind, object: &Deployment) -> ObjectReference {
    ObjectReference {
        kind: Some(kind.name().to_owned()),
        ..reference(object)
    }
}

impl Outgoing {
    /// Sends until `stop`, then what still waits, for a moment.
    pub async fn send_all(mut self, client: Client, stop: CancellationToken) {
        while let Some(Some(event)) = stop.run_until_cancelled(self.0.recv()).await {
            send(&client, event).await;
        }
        self.0.close();
        let rest = async {
            while let Some(event) = self.0.recv().await {
                send(&client, event).await;
            }
        };
        if tokio::time::timeout(SHUTDOWN_DRAIN, rest).await.is_err() {
            tracing::warn!("some Events were not sent before the end");
        }
    }
}

async fn send(client: &Client, event: Event) {
    let namespace = event
        .metadata
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let params = PostParams::default();
    match tokio::time::timeout(DEADLINE, api.create(&params, &event)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                error = crate::causes::told(&error),
                "an Event was not taken"
            );
        }
        Err(_) => tracing::warn!("an Event took too long and was dropped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_at_one_time_are_two_events() {
        let answered = |message: &str| Reason::Answered {
            act: "retry".to_owned(),
            by: None,
            done: false,
            message: message.to_owned(),
        };
        let name = |message: &str| {
            let object = ObjectReference::default();
            let event = event(&object, &answered(message), Timestamp::UNIX_EPOCH, 0);
            event.metadata.name.unwrap_or_default()
        };
        assert_ne!(name("one"), name("another"));
        assert_eq!(name("one"), name("one"));
    }
}

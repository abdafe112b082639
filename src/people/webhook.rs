//! Messages to anybody's program: `CloudEvents` 1.0 as JSON, signed.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>. The header
//! `Sluice-Signature` is `t=SECONDS,v1=HEX`: HMAC-SHA256 of the seconds, a dot and the body. The event's id is
//! the same when it is sent again, so that a receiver can leave out what it has.
//!
//! Not here: what a message says (`message`).

use std::fmt::Write;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::message::Message;

/// The media type of what is sent.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The header of the signature.
pub const SIGNATURE: &str = "sluice-signature";

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// A file with the key of the signatures, read again each time.
    pub secret_file: PathBuf,
}

/// Something that is told of a Rollout and belongs to no run's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// The environment.
    pub environment: String,
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub name: String,
    /// The reason's name, as in Events.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

impl Alarm {
    /// In a line.
    pub fn headline(&self) -> String {
        format!("{}/{}: {}", self.namespace, self.name, self.message)
    }
}

/// The event of a run's message.
pub fn event(message: &Message) -> Value {
    let stage = serde_json::to_value(message.stage).unwrap_or_default();
    let kind = format!("dev.sluice.run.{}", stage.as_str().unwrap_or_default());
    // A run can come to the same mark again: that is another event, at another time.
    let at = message.at.as_millisecond();
    let id = format!("{}/{}/{at}", message.run, message.mark()).replace(' ', "-");
    let place = (
        message.environment.as_str(),
        message.namespace.as_str(),
        message.name.as_str(),
    );
    envelope(&kind, &id, place, message.at, json!(message))
}

/// The event of an alarm.
pub fn alarm(alarm: &Alarm) -> Value {
    let kind = format!("dev.sluice.rollout.{}", alarm.reason);
    let id = format!(
        "{}/{}/{}/{}",
        alarm.namespace,
        alarm.name,
        alarm.reason,
        alarm.at.as_millisecond()
    );
    let place = (
        alarm.environment.as_str(),
        alarm.namespace.as_str(),
        alarm.name.as_str(),
    );
    envelope(&kind, &id, place, alarm.at, json!(alarm))
}

fn envelope(
    kind: &str,
    id: &str,
    (environment, namespace, name): (&str, &str, &str),
    at: Timestamp,
    data: Value,
) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": format!("/sluice/{environment}"),
        "subject": format!("{namespace}/{name}"),
        "type": kind,
        "time": at.to_string(),
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// The signature of a body that is sent now.
pub fn signature(key: &str, now: Timestamp, body: &[u8]) -> Option<String> {
    let seconds = now.as_second();
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    let mac = mac.chain_update(format!("{seconds}.")).chain_update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::message::samples::message;

    #[test]
    fn an_event_is_a_cloud_event_with_the_message() {
        let event = event(&message("Suspect"));
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["type"], "dev.sluice.run.suspect");
        assert_eq!(event["id"], "r-1/Suspect-5%/1767225660000");
        assert_eq!(event["subject"], "shop/backend");
        assert_eq!(event["time"], "2026-01-01T00:01:00Z");
        assert_eq!(
            event["data"]["findings"][0]["canary"],
            json!([49.0, 1000.0])
        );
        assert_eq!(event["data"]["can"][2]["act"], "rollback");
    }

    #[test]
    fn the_same_mark_at_another_time_is_another_event() {
        let first = message("Suspect");
        let mut again = first.clone();
        assert_eq!(event(&first)["id"], event(&again)["id"]);
        again.at = Timestamp::from_second(1_767_225_900).unwrap();
        assert_ne!(event(&first)["id"], event(&again)["id"]);
    }

    #[test]
    fn the_signature_is_that_of_time_and_body() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac Jefe
        let wanted =
            "t=1700000000,v1=d3793e2b4103edfbd98cc19591832f5fad701d413db9fcae0ae7dab8184ed207";
        assert_eq!(signature("Jefe", at, b"{}").as_deref(), Some(wanted));
    }
}

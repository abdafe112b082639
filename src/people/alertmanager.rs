//! What Alertmanager's webhook sends (its `version` 4; Grafana and vmalert's Alertmanager send
//! the same with more fields).
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::rollout::alert::Alert;

/// The most that one message may hold, in bytes.
pub const BYTES: usize = 1 << 20;
/// Annotations that say what an alert is about, the best first.
const SUMMARIES: [&str; 3] = ["summary", "description", "message"];
/// What is kept of a summary, in characters.
const SUMMARY: usize = 300;

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// No JSON of the shape that is wanted.
    #[error("no message of Alertmanager's webhook: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another version.
    #[error("version: found {0:?}, wanted \"4\"")]
    Version(String),
}

#[derive(Deserialize)]
struct Message {
    version: String,
    alerts: Vec<Sent>,
    #[serde(default, rename = "truncatedAlerts")]
    truncated: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    status: Status,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    fingerprint: String,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

/// What a message holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// Alerts that Alertmanager left out.
    pub truncated: u64,
}

/// Reads a message.
pub fn read(body: &[u8]) -> Result<Group, Unreadable> {
    let message: Message = serde_json::from_slice(body)?;
    if message.version != "4" {
        return Err(Unreadable::Version(message.version));
    }
    Ok(Group {
        alerts: message.alerts.into_iter().map(alert).collect(),
        truncated: message.truncated,
    })
}

fn alert(sent: Sent) -> Alert {
    let said = SUMMARIES.iter().find_map(|key| sent.annotations.get(*key));
    let first = said.and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    Alert {
        fingerprint: sent.fingerprint,
        labels: sent.labels,
        summary: first.map(|line| line.trim().chars().take(SUMMARY).collect()),
        since: sent.starts_at,
        firing: sent.status == Status::Firing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Alertmanager 0.25 sends it.
    const MESSAGE: &str = r#"{
        "receiver": "sluice", "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "CheckoutErrors", "namespace": "shop", "severity": "critical"},
                "annotations": {"summary": "\n5 % of checkouts fail\nsee the runbook"},
                "startsAt": "2026-11-22T01:00:00.25Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus/graph", "fingerprint": "89b1c9a1bd0f2e47"
            },
            {
                "status": "resolved", "labels": {"alertname": "Other"}, "annotations": {},
                "startsAt": "2026-11-22T01:00:00+02:00", "endsAt": "2026-11-22T01:05:00Z",
                "generatorURL": "", "fingerprint": "1"
            }
        ],
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager", "version": "4", "groupKey": "{}:{}",
        "truncatedAlerts": 3, "orgId": 1
    }"#;

    #[test]
    fn a_message_gives_its_alerts() {
        let group = read(MESSAGE.as_bytes()).unwrap();
        assert_eq!(group.truncated, 3);
        let [first, second] = group.alerts.as_slice() else {
            panic!("{group:?}");
        };
        assert_eq!(
            first.to_string(),
            "CheckoutErrors fires since 2026-11-22T01:00:00Z: 5 % of checkouts fail"
        );
        assert!(first.firing && !second.firing);
        assert_eq!(second.since.to_string(), "2026-11-21T23:00:00Z");
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said() {
        let cases = [
            ("", "EOF"),
            ("[]", "no message of Alertmanager's webhook"),
            (r#"{"version": "4"}"#, "missing field `alerts`"),
            (r#"{"version": "3", "alerts": []}"#, "version: found \"3\""),
            (
                r#"{"version": "4", "alerts": [{"status": "firing"}]}"#,
                "missing field `labels`",
            ),
            (
                r#"{"version": "4", "alerts": [{"status": "burning", "labels": {}, "startsAt": "x", "fingerprint": ""}]}"#,
                "unknown variant `burning`",
            ),
        ];
        for (body, wanted) in cases {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{body}: {error}");
        }
    }
}

//! `sluice explain NAME`: why a Rollout is where it is, and what happens next. `sluice explain
//! RUN`: how a run went.
//!
//! The first is read from the API: the status that the daemon writes and the Events of the
//! Rollout and its Deployment. The second is asked of the daemon, which keeps the history.
//!
//! Not here: how it looks (`report`, `past`).

mod past;
pub(crate) mod report;

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::connect::Cluster;
use super::daemon_api::Server;
use super::{Error, Global, Screen};
use crate::clock::{Clock, elapsed};
use crate::daemon::pipeline::api::encoded;
use crate::history::Record;
use crate::kubernetes::crd::Rollout;

/// The most Events that are shown.
const EVENTS: usize = 10;
/// The Events of one reason are written within this time.
const SAME: Duration = Duration::from_secs(5);

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The Rollout, or the id of a run
    name: String,
    /// A run as a self-contained HTML report, with pictures
    #[arg(long)]
    html: bool,
    #[command(flatten)]
    server: Server,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happening {
    pub at: Timestamp,
    pub kind: String,
    pub reason: String,
    pub message: String,
}

/// Prints the report; as JSON or YAML, what it is made of.
pub async fn explain(
    global: &Global,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Result<(), Error> {
    if past::is_run(&arguments.name) {
        return run(global, screen, arguments).await;
    }
    if arguments.html {
        let wanted = "the id of a run, as `sluice history` lists them";
        let name = &arguments.name;
        return Err(Error::Usage(format!("--html {name}: wanted {wanted}")));
    }
    let cluster = Cluster::connect(global).await?;
    let mut rollout = cluster.rollout(&arguments.name).await?;
    rollout.managed_fields_mut().clear();
    // Events are a help; whoever may not read them still gets the rest.
    let events = happenings(&cluster, &rollout).await.unwrap_or_default();
    let whole = json!({
        "rollout": rollout,
        "events": events.iter().map(|event| json!({
            "at": event.at,
            "kind": event.kind,
            "reason": event.reason,
            "message": event.message,
        })).collect::<Vec<_>>(),
    });
    screen.value(&whole, |_| {
        report::text(&rollout, &events, Clock::machine().now())
    })
}

/// A run of the history.
async fn run(global: &Global, screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let run = encoded(&arguments.name);
    let path = match &global.namespace {
        Some(namespace) => format!("/api/runs/{run}?namespace={}", encoded(namespace)),
        None => format!("/api/runs/{run}"),
    };
    let record: Record = arguments.server.get(global, &path).await?;
    if arguments.html {
        return screen.print(&crate::web::report(&record).into_string());
    }
    screen.value(&record, past::text)
}

/// The newest Events of the Rollout and its Deployment, newest last.
async fn happenings(cluster: &Cluster, rollout: &Rollout) -> Result<Vec<Happening>, kube::Error> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let target = &rollout.spec.target;
    let subjects = [
        ("Rollout", rollout.name_any()),
        (target.kind.as_str(), target.name.clone()),
    ];
    let mut happenings = Vec::new();
    for (kind, name) in subjects {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let list = events.list(&ListParams::default().fields(&fields)).await?;
        let own = list.items.into_iter().filter(|event| {
            let object = &event.involved_object;
            object.kind.as_deref() == Some(kind) && object.name.as_ref() == Some(&name)
        });
        happenings.extend(own.filter_map(happening));
    }
    let mut happenings = once(happenings);
    let surplus = happenings.len().saturating_sub(EVENTS);
    happenings.drain(..surplus);
    Ok(happenings)
}

/// In the order of time; what was told of the Rollout is not told of its workload again.
fn once(mut happenings: Vec<Happening>) -> Vec<Happening> {
    happenings.sort_by_key(|happening| happening.at);
    let of_rollout: Vec<Happening> = happenings
        .iter()
        .filter(|happening| happening.kind == "Rollout")
        .cloned()
        .collect();
    happenings.retain(|happening| {
        let same = |other: &Happening| {
            let words = (&other.reason, &other.message) == (&happening.reason, &happening.message);
            words && elapsed(other.at.min(happening.at), other.at.max(happening.at)) <= SAME
        };
        happening.kind == "Rollout" || !of_rollout.iter().any(same)
    });
    happenings
}

fn happening(event: Event) -> Option<Happening> {
    let series = event.series.and_then(|series| series.last_observed_time);
    let at = series
        .or(event.event_time)
        .map(|time| time.0)
        .or(event.last_timestamp.map(|time| time.0))
        .or(event.metadata.creation_timestamp.map(|time| time.0))?;
    Some(Happening {
        at,
        kind: event.involved_object.kind.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_the_rollout_is_not_told_of_its_workload_again() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let event = |second, kind: &str, message: &str| Happening {
            at: at(second),
            kind: kind.to_owned(),
            reason: "Held".to_owned(),
            message: message.to_owned(),
        };
        let found = once(vec![
            event(3, "Rollout", "one"),
            event(4, "Deployment", "one"),
            event(2, "Deployment", "two"),
            event(60, "Deployment", "one"),
        ]);
        let wanted = [
            event(2, "Deployment", "two"),
            event(3, "Rollout", "one"),
            event(60, "Deployment", "one"),
        ];
        assert_eq!(found, wanted);
    }

    /// A Rollout at its first step, for the tests of commands.
    pub(crate) fn stepping() -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {
                "name": "backend", "namespace": "shop",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "target": {"kind": "Deployment", "name": "backend"},
                "route": {"ingressNginx": {"ingress": "backend"}},
            },
            "status": {
                "phase": "Stepping",
                "message": "collecting evidence",
                "revision": "91bc03aa17",
                "stable": {"hash": "4f2a11d0c9", "images": ["shop:v1"]},
                "run": {
                    "id": "backend-1",
                    "revision": {"hash": "91bc03aa17", "images": ["shop:v2"]},
                    "step": "1/3", "weight": 5,
                    "started": "2026-01-01T00:00:10Z", "since": "2026-01-01T00:00:48Z",
                    "verdict": "Undecided",
                    "rules": [{
                        "name": "error-rate", "verdict": "Undecided",
                        "canaryTotal": 612.0, "canaryBad": 3.0,
                        "stableTotal": 11590.0, "stableBad": 12.0,
                        "exact": 2.65, "block": 0.4, "bound": 5.3,
                        "notWorse": 1.2, "notWorseBound": 3.0,
                        "sentence": "canary 3 of 612 (0.49%), stable 12 of 11590 (0.10%)",
                    }],
                    "patience": "a release that harms 0.4% of all requests or more cannot be promoted",
                    "next": "25%, when error-rate shows it is not worse, at 00:01:20 UTC at the earliest",
                    "sampled": "2026-01-01T00:00:59Z",
                },
                "lastRun": {
                    "id": "backend-0",
                    "revision": {"hash": "77aa77aa77", "images": ["shop:v0"]},
                    "outcome": "RolledBack", "reason": "Worse",
                    "message": "error-rate: 49 times worse",
                    "started": "2025-12-31T22:00:00Z", "ended": "2025-12-31T22:01:00Z",
                },
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "Running", "message": "a run goes on",
                     "lastTransitionTime": "2026-01-01T00:00:10Z"},
                    {"type": "Stalled", "status": "True", "reason": "Unguarded", "message": "the gate is not there",
                     "lastTransitionTime": "2026-01-01T00:00:10Z"},
                    {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:10Z"},
                ],
            },
        }))
        .unwrap()
    }
}

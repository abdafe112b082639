//! The sandbox's users: requests at the rate that an Ingress' annotation says.
//!
//! `sandbox.sluice.dev/rps: "200"` on an Ingress (not a canary) or an `HTTPRoute` sends that many requests a
//! second of the clock's time, spread over its rules. Arrivals are a Poisson process and do not
//! wait for answers, so a slow application gets as many requests as a quick one; what exceeds
//! the limit in flight is dropped and counted. Not here: what the answers are worth.

mod schedule;
mod transport;

pub use transport::Transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::watcher::Event;
use kube::{Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::schedule::{Flow, Schedule};
use crate::clock::Clock;
use crate::sandbox::cache::{Cache, Change, Key, key_of, watch_in};
use crate::sandbox::drive::{Part, drive};
use crate::sandbox::events::{Note, object_reference, tell_about};
use crate::sandbox::gateway::HttpRoute;

/// The annotation with the requests per second.
pub const RPS: &str = "sandbox.sluice.dev/rps";
const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const MOST: f64 = 100_000.0;

/// How load is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    /// The most requests that may wait for their answers.
    pub in_flight: usize,
    /// Whether `HTTPRoutes` get load too.
    pub gateway: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            in_flight: 10_000,
            gateway: false,
        }
    }
}

/// What has been sent so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests sent.
    pub sent: AtomicU64,
    /// Answers of 500 and above, and requests without an answer.
    pub bad: AtomicU64,
    /// Not sent: too many were in flight, or the sender was far behind.
    pub dropped: AtomicU64,
    in_flight: AtomicUsize,
}

/// Sends load until `shutdown`, to the Ingresses of this namespace only, if one is given.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    clock: Clock,
    transport: Transport,
    options: Options,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
) {
    let load = Load {
        client: client.clone(),
        clock,
        transport: Arc::new(transport),
        ingresses: Cache::default(),
        routes: Cache::default(),
        schedule: Schedule::new(options.seed),
        misread: Vec::new(),
        options,
        counts,
        requests: TaskTracker::new(),
    };
    let mut watches = vec![watch_in(&client, namespace).map(Seen::Ingress).boxed()];
    if options.gateway {
        watches.push(watch_in(&client, namespace).map(Seen::Route).boxed());
    }
    drive(load, select_all(watches), clock, shutdown).await;
}

#[allow(clippy::large_enum_variant)] // taken in at once, never kept
enum Seen {
    Ingress(Event<Ingress>),
    Route(Event<HttpRoute>),
}

struct Load {
    client: Client,
    clock: Clock,
    transport: Arc<Transport>,
    ingresses: Cache<Ingress>,
    routes: Cache<HttpRoute>,
    schedule: Schedule<(&'static str, Key)>,
    misread: Vec<(ObjectReference, String)>,
    options: Options,
    counts: Arc<Counts>,
    requests: TaskTracker,
}

impl Part for Load {
    type Seen = Seen;

    fn take_in(&mut self, seen: Seen) {
        match seen {
            Seen::Ingress(event) => {
                for change in self.ingresses.seen(event) {
                    self.changed("Ingress", &change, flow);
                }
            }
            Seen::Route(event) => {
                for change in self.routes.seen(event) {
                    self.changed("HTTPRoute", &change, |route| {
                        asked(route.annotations(), || route.targets())
                    });
                }
            }
        }
    }

    async fn work(&mut self) {
        let now = self.clock.now();
        while let Some((host, path)) = self.schedule.pop(now) {
            self.send(host, path);
        }
        let late = self.schedule.take_late();
        self.counts.dropped.fetch_add(late, Ordering::Relaxed);
        for (about, text) in std::mem::take(&mut self.misread) {
            let message = format!(
                "{RPS}: {text:?} is not a number of requests per second between 0 and {MOST}"
            );
            let note = Note {
                component: "sandbox-load",
                warning: true,
                reason: "InvalidLoad",
                message: &message,
            };
            tell_about(&self.client, about, note, now).await;
        }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.schedule.next()
    }
}

impl Load {
    fn changed<K: Resource<DynamicType = ()>>(
        &mut self,
        kind: &'static str,
        change: &Change<K>,
        flow: impl Fn(&K) -> Result<Option<Flow>, ()>,
    ) {
        let key = change.sides().next().map(|side| key_of(side.as_ref()));
        let wanted = change.after.as_ref().map(|after| (after, flow(after)));
        let flow = match wanted {
            Some((_, Ok(flow))) => flow,
            Some((after, Err(()))) => {
                let said = |side: &Arc<K>| side.annotations().get(RPS).cloned();
                if change.before.as_ref().and_then(said) != said(after) {
                    let text = said(after).unwrap_or_default();
                    self.misread.push((object_reference(after.as_ref()), text));
                }
                None
            }
            None => None,
        };
        self.schedule
            .set((kind, key.unwrap_or_default()), flow, self.clock.now());
    }

    fn send(&self, host: Arc<str>, path: Arc<str>) {
        if self.counts.in_flight.load(Ordering::Relaxed) >= self.options.in_flight {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counts.in_flight.fetch_add(1, Ordering::Relaxed);
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        let (transport, counts, clock) = (self.transport.clone(), self.counts.clone(), self.clock);
        self.requests.spawn(async move {
            let answered = clock
                .timeout(Duration::from_secs(60), transport.send(&host, &path))
                .await;
            if !matches!(answered, Ok(Some(status)) if status < 500) {
                counts.bad.fetch_add(1, Ordering::Relaxed);
            }
            counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// The load that an Ingress asks for: none if it asks for none, an error if it is misread.
fn flow(ingress: &Ingress) -> Result<Option<Flow>, ()> {
    let canary = ingress
        .annotations()
        .get(CANARY)
        .is_some_and(|canary| canary == "true");
    if canary {
        return Ok(None);
    }
    asked(ingress.annotations(), || targets(ingress))
}

fn asked(
    annotations: &BTreeMap<String, String>,
    targets: impl Fn() -> Vec<(Arc<str>, Arc<str>)>,
) -> Result<Option<Flow>, ()> {
    let Some(text) = annotations.get(RPS) else {
        return Ok(None);
    };
    let rate = text.trim().parse::<f64>().map_err(drop)?;
    if !(0.0..=MOST).contains(&rate) {
        return Err(());
    }
    let targets = targets();
    Ok(Some(Flow { rate, targets }).filter(|flow| flow.rate > 0.0 && !flow.targets.is_empty()))
}

/// Host and path of each rule. A wildcard host gets a first label.
fn targets(ingress: &Ingress) -> Vec<(Arc<str>, Arc<str>)> {
    let rules = ingress
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten());
    rules
        .flat_map(|rule| {
            let host = rule
                .host
                .clone()
                .unwrap_or_else(|| "any.test".into())
                .replace("*.", "any.");
            let host: Arc<str> = host.into();
            let paths = rule.http.iter().flat_map(|http| &http.paths);
            paths.map(move |path| (host.clone(), path.path.as_deref().unwrap_or("/").into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(annotations: &serde_json::Value) -> Result<Option<f64>, ()> {
        let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        let ingress: Ingress = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": annotations},
            "spec": {"rules": [{"host": "a.test", "http": {"paths": paths}}]}
        }))
        .unwrap();
        flow(&ingress).map(|flow| flow.map(|flow| flow.rate))
    }

    #[test]
    fn the_rate_is_read_from_ingresses_that_are_no_canaries() {
        assert_eq!(asked(&json!({RPS: "200"})), Ok(Some(200.0)));
        assert_eq!(asked(&json!({RPS: "0"})), Ok(None));
        assert_eq!(asked(&json!({})), Ok(None));
        assert_eq!(asked(&json!({RPS: "200", CANARY: "true"})), Ok(None));
        for wrong in ["many", "-1", "1e9", "NaN"] {
            assert_eq!(asked(&json!({RPS: wrong})), Err(()), "{wrong}");
        }
    }
}

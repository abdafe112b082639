//! What others send to the daemon: alerts, and that Flux has done something.
//!
//! `POST /hooks/alertmanager` takes Alertmanager's webhook. An alert that counts is asked of the
//! Rollout as a person would ask (`kubernetes::ask`), and only when that is stored is the sender
//! told so: a crash loses nothing, Alertmanager sends again what was not taken, and what is sent
//! again is the same request. The daemon that leads acts, whichever took the alert.
//!
//! `POST /hooks/flux` takes Flux's notifications: whatever they say, what Flux applied is looked at at
//! once (`smoke::sync`).
//!
//! Senders are known before anything of theirs is read. Not here: which alert counts
//! (`rollout::alert`).

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::{StreamExt, stream};
use kube::{Client, ResourceExt};
use serde::Serialize;

use super::settings::{Alerts, Settings};
use super::smoke::sync::Poke;
use crate::causes;
use crate::kubernetes::cache::Cache;
use crate::kubernetes::crd::{Rollout, RunStatus};
use crate::kubernetes::{ask, conversion};
use crate::people::alertmanager::{self, Group};
use crate::people::bearer::{self, Stranger};
use crate::people::signature;
use crate::rollout::alert::{Alert, Trial, Watched, Weight};
use crate::rollout::request::{self, Act};
use crate::telemetry::Metrics;

/// The field manager of what is asked.
const MANAGER: &str = "sluice-hooks";
/// What Flux sends at most: one event.
const FLUX_BYTES: usize = 256 * 1024;
/// For one request to be stored,
const DEADLINE: Duration = Duration::from_secs(4);
/// and how many are stored at one time.
const AT_ONCE: usize = 64;

/// What is needed to act, once it is there.
struct Live {
    cache: Arc<Cache>,
    client: Client,
}

struct Inner {
    alerts: Option<Alerts>,
    /// The key of Flux's signatures.
    flux: Option<PathBuf>,
    poke: Poke,
    metrics: Metrics,
    live: OnceLock<Live>,
}

/// The hooks. Cheap to clone.
#[derive(Clone)]
pub struct Hooks(Arc<Inner>);

/// What became of an alert for one Rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Taken {
    alert: String,
    rollout: String,
    result: Outcome,
}

/// What an alert did to a run that it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    /// It rolls the run back.
    Counts,
    /// Nothing: it fired before the run began.
    Older,
    /// Nothing: it does not fire any more.
    Resolved,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Older => "older",
            Self::Resolved => "resolved",
        }
    }
}

/// Why nothing was taken.
pub(super) struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = serde_json::json!({"error": self.1});
        (self.0, Json(error)).into_response()
    }
}

impl Hooks {
    pub fn new(settings: &Settings, metrics: Metrics, poke: Poke) -> Self {
        let secrets = (settings.alerts.clone(), settings.flux_secret_file.clone());
        Self::knowing(secrets, metrics, poke)
    }

    fn knowing(
        (alerts, flux): (Option<Alerts>, Option<PathBuf>),
        metrics: Metrics,
        poke: Poke,
    ) -> Self {
        Self(Arc::new(Inner {
            alerts,
            flux,
            poke,
            metrics,
            live: OnceLock::new(),
        }))
    }

    /// From now on what is sent can be acted upon: the cache is filled.
    pub fn begin(&self, cache: Arc<Cache>, client: Client) {
        // Set once, at the start.
        let _ = self.0.live.set(Live { cache, client });
    }

    /// Tells what became of an alert for a Rollout.
    fn took(&self, rollout: &Rollout, alert: &Alert, result: Outcome) -> Taken {
        let namespace = rollout.namespace().unwrap_or_default();
        let (name, what) = (rollout.name_any(), result.name());
        tracing::info!(namespace, rollout = name, result = what, "alert {alert}");
        self.0.metrics.alerted(what);
        Taken {
            alert: alert.name().to_owned(),
            rollout: format!("{namespace}/{name}"),
            result,
        }
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/alertmanager", post(alertmanager))
            .route("/flux", post(flux))
            .with_state(self.clone())
    }
}

async fn alertmanager(
    State(hooks): State<Hooks>,
    request: Request,
) -> Result<Json<Vec<Taken>>, Refusal> {
    let Some(alerts) = &hooks.0.alerts else {
        let text = "no alerts are taken here: alerts.tokenFile is not set".to_owned();
        return Err(Refusal(StatusCode::NOT_FOUND, text));
    };
    let (head, body) = request.into_parts();
    let given = head.headers.get(header::AUTHORIZATION);
    bearer::admit(given.map(HeaderValue::as_bytes), &alerts.token_file).map_err(stranger)?;
    let group = read(&head.headers, body).await?;
    let Some(live) = hooks.0.live.get() else {
        let text = "not ready yet; send it again".to_owned();
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    if group.truncated > 0 {
        let left = group.truncated;
        tracing::warn!("Alertmanager left {left} alerts out of a message: raise max_alerts");
    }
    take(&hooks, live, alerts, &group.alerts).await.map(Json)
}

async fn flux(State(hooks): State<Hooks>, request: Request) -> Result<StatusCode, Refusal> {
    let Some(key) = &hooks.0.flux else {
        let text = "no notifications are taken here: flux.secretFile is not set".to_owned();
        return Err(Refusal(StatusCode::NOT_FOUND, text));
    };
    let (head, body) = request.into_parts();
    let given = head.headers.get("x-signature");
    if given.is_none() {
        return Err(stranger(Stranger::NoSignature));
    }
    let body = bytes(&head.headers, body, FLUX_BYTES).await?;
    signature::admit(given.map(HeaderValue::as_bytes), &body, key).map_err(stranger)?;
    hooks.0.poke.poke();
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn stranger(stranger: Stranger) -> Refusal {
    let text = causes::told(&stranger);
    match stranger {
        Stranger::NoToken
        | Stranger::WrongToken
        | Stranger::NoSignature
        | Stranger::WrongSignature
        | Stranger::Late
        | Stranger::Again => Refusal(StatusCode::UNAUTHORIZED, text),
        Stranger::Unreadable { .. } | Stranger::Empty(_) => {
            tracing::error!("what is sent is not taken: {text}");
            let text = "the secret to compare with cannot be read; see the log".to_owned();
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Group, Refusal> {
    let body = bytes(headers, body, alertmanager::BYTES).await?;
    alertmanager::read(&body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, causes::told(&error)))
}

/// The body, if it has at most so many bytes; one that says it has more is not read at all.
pub(super) async fn bytes(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, Refusal> {
    let text = format!("at most {most} bytes are read");
    let said = headers.get(header::CONTENT_LENGTH);
    let said = said.and_then(|said| said.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|said| said > most) {
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    to_bytes(body, most).await.map_err(|error| {
        let text = format!("{text}: {error}");
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, text)
    })
}

/// What alerts mean for each Rollout in a run. A rollback that cannot be stored keeps no other from being stored; it
/// is an error at the end, so that all are sent again.
async fn take(
    hooks: &Hooks,
    live: &Live,
    settings: &Alerts,
    alerts: &[Alert],
) -> Result<Vec<Taken>, Refusal> {
    let rollouts = live.cache.rollouts.all_where(|head| head.running);
    let mut concerned = Vec::new();
    for rollout in &rollouts {
        // One after another: all their matchers together could be more than there is memory.
        let Some(one) = OnTrial::of(live, settings, rollout) else {
            continue;
        };
        for alert in alerts {
            let weight = one.weigh(alert);
            if weight != Weight::Foreign {
                concerned.push((alert, one.rollout, one.run, weight));
            }
        }
        // An incident brings hundreds of each, and the page and the probes must be answered meanwhile.
        tokio::task::yield_now().await;
    }
    let each = concerned
        .into_iter()
        .map(|(alert, rollout, run, weight)| async move {
            let result = match weight {
                _ if !alert.firing => Outcome::Resolved,
                Weight::Foreign | Weight::Older => Outcome::Older,
                Weight::Counts => {
                    roll_back(live, rollout, run, alert).await?;
                    Outcome::Counts
                }
            };
            Ok(hooks.took(rollout, alert, result))
        });
    let each: Vec<_> = each.collect();
    let asked = stream::iter(each).buffered(AT_ONCE);
    let asked: Vec<Result<Taken, String>> = asked.collect().await;
    let (mut taken, mut failed) = (Vec::new(), Vec::new());
    for asked in asked {
        match asked {
            Ok(one) => taken.push(one),
            Err(why) => failed.push(why),
        }
    }
    if failed.is_empty() {
        return Ok(taken);
    }
    let text = failed.join("; ");
    Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, text))
}

/// A Rollout in a run, with what alerts are held against: made once for all of them, since matchers are compiled.
struct OnTrial<'a> {
    rollout: &'a Rollout,
    run: &'a RunStatus,
    watched: Watched,
    namespace: String,
    names: Vec<String>,
}

impl<'a> OnTrial<'a> {
    fn of(live: &Live, settings: &Alerts, rollout: &'a Rollout) -> Option<Self> {
        let run = rollout.on_trial()?;
        // A Rollout whose matchers cannot be read is not accepted, and says so in its conditions.
        let watched = Watched {
            own: conversion::alerts(rollout).unwrap_or_default(),
            environment: settings.matchers.clone(),
        };
        let namespace = rollout.namespace().unwrap_or_default();
        let names = names(live, &namespace, rollout);
        Some(Self {
            rollout,
            run,
            watched,
            namespace,
            names,
        })
    }

    fn weigh(&self, alert: &Alert) -> Weight {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let trial = Trial {
            namespace: &self.namespace,
            names: &names,
            began: self.run.started.0,
        };
        self.watched.weigh(alert, &trial)
    }
}

/// The Rollout's name and those of its Deployment, its Ingress or `HTTPRoute` and the Services behind that.
fn names(live: &Live, namespace: &str, rollout: &Rollout) -> Vec<String> {
    let spec = &rollout.spec;
    let mut names = vec![rollout.name_any(), spec.target.name.clone()];
    let route = spec.route.as_ref();
    if let Some(nginx) = route.and_then(|route| route.ingress_nginx.as_ref()) {
        names.push(nginx.ingress.clone());
        match (
            &nginx.service,
            live.cache.ingresses.get(namespace, &nginx.ingress),
        ) {
            (Some(service), _) => names.push(service.clone()),
            (None, Some(ingress)) => names.extend(services(&ingress)),
            (None, None) => {}
        }
    }
    if let Some(gateway) = route.and_then(|route| route.gateway_api.as_ref()) {
        names.push(gateway.http_route.clone());
        match (
            &gateway.service,
            live.cache.http_routes.get(namespace, &gateway.http_route),
        ) {
            (Some(service), _) => names.push(service.clone()),
            (None, Some(route)) => names.extend(route.backends()),
            (None, None) => {}
        }
    }
    names
}

fn services(ingress: &k8s_openapi::api::networking::v1::Ingress) -> Vec<String> {
    let rules = ingress
        .spec
        .iter()
        .flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    let named = paths.filter_map(|path| path.backend.service.as_ref());
    named.map(|service| service.name.clone()).collect()
}

/// Asks for the end of the run; done when it is stored.
async fn roll_back(
    live: &Live,
    rollout: &Rollout,
    run: &RunStatus,
    alert: &Alert,
) -> Result<(), String> {
    let request = request::Request {
        revision: Some(run.revision.hash.clone()),
        by: Some("Alertmanager".to_owned()),
        why: Some(alert.to_string()),
        ..request::Request::new(id(alert), Ok(Act::Alert))
    };
    let asked = ask::ask(&live.client, rollout, &request, MANAGER);
    let failed = match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => causes::told(&error),
        Err(_) => format!("no answer within {DEADLINE:?}"),
    };
    let place = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    let text = format!(
        "alert {alert}: the rollback of {}/{} cannot be stored: {failed}",
        place.0, place.1
    );
    tracing::error!("{text}");
    Err(text)
}

/// The same each time that the alert is sent.
fn id(alert: &Alert) -> String {
    let plain = alert
        .fingerprint
        .chars()
        .filter(char::is_ascii_alphanumeric);
    let fingerprint: String = plain.take(32).collect();
    format!("alert-{fingerprint}-{}", alert.since.as_second())
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    fn hooks() -> (Hooks, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, "right").unwrap();
        let alerts = Alerts {
            token_file,
            matchers: None,
        };
        let settings = (Some(alerts), Some(folder.path().join("token")));
        (
            Hooks::knowing(settings, Metrics::new(), Poke::default()),
            folder,
        )
    }

    async fn send(hooks: &Hooks, token: &str, body: String) -> (u16, String) {
        send_to(hooks, "/alertmanager", ("authorization", token), body).await
    }

    async fn send_to(
        hooks: &Hooks,
        path: &str,
        header: (&str, &str),
        body: String,
    ) -> (u16, String) {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header(header.0, header.1)
            .body(Body::from(body))
            .unwrap();
        let answer = hooks.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    const GOOD: &str = r#"{"version": "4", "alerts": []}"#;

    #[tokio::test]
    async fn strangers_are_not_read() {
        let (hooks, _folder) = hooks();
        for token in ["", "Bearer", "Bearer wrong", "Basic right", "right"] {
            let (status, text) = send(&hooks, token, "not even JSON".to_owned()).await;
            assert_eq!(status, 401, "{token}: {text}");
            assert!(
                !text.contains("right one") || token == "Bearer wrong",
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_and_said() {
        let (hooks, _folder) = hooks();
        let long = format!(r#"{{"version": "{}"}}"#, "4".repeat(alertmanager::BYTES));
        let cases = [
            (String::new(), 400, "EOF"),
            (GOOD[..20].to_owned(), 400, "EOF"),
            (long, 413, "at most 1048576 bytes"),
            (GOOD.to_owned(), 503, "not ready yet"),
        ];
        for (body, status, part) in cases {
            let (found, text) = send(&hooks, "Bearer right", body).await;
            assert_eq!(found, status, "{text}");
            assert!(text.contains(part), "{text}");
        }
    }

    #[tokio::test]
    async fn without_settings_no_alert_is_taken() {
        let hooks = Hooks::knowing((None, None), Metrics::new(), Poke::default());
        let (status, text) = send(&hooks, "Bearer right", GOOD.to_owned()).await;
        assert_eq!(status, 404);
        assert!(text.contains("alerts.tokenFile is not set"), "{text}");
    }

    #[tokio::test]
    async fn flux_is_known_by_its_signature() {
        let (hooks, _folder) = hooks();
        // By `openssl dgst -sha256 -hmac right`.
        let right = "sha256=604cfe6182421c4ca50fb9ef5a44b85265f965dbb0a8f409317ccdfd747891c8";
        let header = ("x-signature", right);
        let (status, text) = send_to(&hooks, "/flux", header, "{}".to_owned()).await;
        assert_eq!(status, 204, "{text}");
        let (status, text) = send_to(&hooks, "/flux", header, "{ }".to_owned()).await;
        assert_eq!(status, 401, "{text}");
        let nobody = Hooks::knowing((None, None), Metrics::new(), Poke::default());
        assert_eq!(
            send_to(&nobody, "/flux", header, String::new()).await.0,
            404
        );
    }

    /// A Rollout of this name in a run.
    fn on_trial(name: &str) -> Rollout {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"target": {"name": name}, "alerts": [{"matchers": ["alertname=\"Errors\""]}]},
            "status": {"phase": "Stepping", "run": {
                "id": "one", "revision": {"hash": "91bc03aa17", "images": []}, "weight": 5,
                "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "verdict": "Undecided",
            }},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_rollout_that_cannot_be_written_keeps_an_alert_from_no_other() {
        use http_body_util::Full;
        use kube::runtime::watcher::Event;

        use crate::kubernetes::entries;
        use crate::kubernetes::shelf::Filler;

        let (hooks, _folder) = hooks();
        let cache = Arc::new(Cache::default());
        for name in ["cart", "front"] {
            let event = Event::InitApply(on_trial(name));
            let shelf = cache.rollouts.texts();
            Filler::new(None).take(shelf, event, entries::rollout);
        }
        let written = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = written.clone();
        let answer = move |request: hyper::Request<kube::client::Body>| {
            let path = request.uri().path().to_owned();
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let (status, body) = if name == "cart" {
                let refused = serde_json::json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no"});
                (403, refused)
            } else {
                seen.lock().unwrap().push(name.clone());
                (200, serde_json::to_value(on_trial(&name)).unwrap())
            };
            let body = Full::new(Bytes::from(body.to_string()));
            let answer = hyper::Response::builder().status(status).body(body);
            async move { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
        };
        hooks.begin(cache, Client::new(tower::service_fn(answer), "shop"));
        let group = serde_json::json!({"version": "4", "alerts": [{
            "status": "firing", "labels": {"alertname": "Errors", "namespace": "shop"}, "annotations": {},
            "startsAt": "2026-01-01T00:01:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "89b1c9a1",
        }]});
        let (status, text) = send(&hooks, "Bearer right", group.to_string()).await;
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("shop/cart cannot be stored"), "{text}");
        assert!(!text.contains("shop/front"), "{text}");
        assert_eq!(*written.lock().unwrap(), ["front"]);
    }

    #[test]
    fn an_alert_that_is_sent_again_is_the_same_request() {
        let alert = Alert {
            fingerprint: "89b1/c9 a1".to_owned(),
            labels: std::collections::BTreeMap::new(),
            summary: None,
            since: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
            firing: true,
        };
        assert_eq!(id(&alert), "alert-89b1c9a1-1700000000");
    }
}

//! Connections: clients, the metrics source, and what the cluster serves.
//!
//! Three API clients, each with connections of its own: for watches, for writes, for the lease.
//! None retries by itself: kube would obey a `Retry-After` of an hour. Watches are tried again by
//! their watchers, and everything else has a deadline and is tried again by those who ask.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::gate::Known;
use super::settings::{self, Scrape as ScrapeSettings, Settings};
use crate::causes;
use crate::clock::Clock;
use crate::kubernetes::client::{self, Patience, Unknown};
use crate::kubernetes::crd::ACCOUNT;
use crate::prometheus::{self, Prometheus, Scrape, Source, Targets};
use crate::rollout::rule::Problem;
use crate::telemetry::otlp::Exporter;
use crate::telemetry::{Metrics, Traces};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection ends after it as well: not at the moment the drain ends (5 s), since the write that
/// follows would break on it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(7);
/// A watch that brings nothing, not even its own end, for so long is dead.
const WATCH_TIMEOUT: Duration = Duration::from_secs(300);
/// Renewals come more often, so a watch of the lease that is silent for so long is dead.
const LEASE_TIMEOUT: Duration = Duration::from_secs(30);
/// The first questions at start are given up and asked again after it.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const SOURCE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts to reach the API server at start.
const START_RETRY: Duration = Duration::from_secs(2);
/// Time between two looks at the controller's pods.
const PODS_EVERY: Duration = Duration::from_secs(5);

#[allow(missing_debug_implementations)] // kube's Client has none
/// Clients of one cluster.
#[derive(Clone)]
pub struct Clients {
    /// For lists and watches.
    pub watches: Client,
    /// For writes: no retries, so that the caller's deadline holds.
    pub writes: Client,
    /// For the lease, which waits for nothing else; not used without an election.
    pub lease: Client,
}

/// Why the daemon does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    #[error("finding the cluster: neither in one nor a kubeconfig")]
    Infer(#[from] kube::config::InferConfigError),
    #[error("making the API client")]
    Client(#[source] kube::Error),
    #[error("making the client that tells people")]
    Notify(#[source] reqwest::Error),
    #[error("making the metrics client")]
    Source(#[from] prometheus::Error),
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("reading the rules: {}", each(.0))]
    Rules(Vec<Problem>),
    #[error("reading the smoke tests:\n{}", .0.join("\n"))]
    Smoke(Vec<String>),
    #[error("{}", .0.join("\n"))]
    Folders(Vec<String>),
    #[error("reading git.signingKeyFile {}", path.display())]
    SigningKey {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("git.signingKeyFile")]
    Signer(#[source] crate::git::Error),
    #[error("making the client that sends spans")]
    Traces(#[source] reqwest::Error),
    #[error("access.oidc")]
    Login(#[from] crate::people::oidc::Error),
    #[error("starting a runtime")]
    Runtime(#[source] std::io::Error),
    #[error("the environments cannot be served:\n{}", .0.join("\n"))]
    Several(Vec<String>),
    #[error("a task of the daemon ended early")]
    TaskEnded,
}

/// One error of all, if there is any.
pub fn all(mut errors: Vec<Error>) -> Option<Error> {
    if errors.len() > 1 {
        return Some(Error::Folders(
            errors.iter().map(|error| causes::told(error)).collect(),
        ));
    }
    errors.pop()
}

fn each(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Connects as the settings say: in-cluster, or by a kubeconfig.
pub async fn clients(settings: &Settings) -> Result<Clients, Error> {
    let cluster = &settings.cluster;
    let config = client::config(cluster.kubeconfig.as_deref(), cluster.context.as_deref()).await;
    let config = config.map_err(|error| match error {
        Unknown::Kubeconfig(error) => Error::Kubeconfig(error),
        Unknown::Infer(error) => Error::Infer(error),
    })?;
    let client = |read| {
        let patience = Patience {
            connect: CONNECT_TIMEOUT,
            read,
        };
        client::client(client::patient(config.clone(), patience)).map_err(Error::Client)
    };
    Ok(Clients {
        watches: client(WATCH_TIMEOUT)?,
        writes: client(WRITE_TIMEOUT)?,
        lease: client(LEASE_TIMEOUT)?,
    })
}

/// Where spans are told; they are sent until `end`, and then what is left.
pub fn traces(
    settings: &Settings,
    (metrics, clock): (&Metrics, Clock),
    end: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Traces, Error> {
    let Some(collector) = settings.traces.clone() else {
        return Ok(Traces::off());
    };
    let environment = &settings.environment;
    let exporter = Exporter::new(collector, environment, metrics.clone(), clock);
    let exporter = exporter.map_err(Error::Traces)?;
    let (traces, spans) = Traces::on(metrics.clone());
    tasks.spawn(exporter.keep_up(spans, end.clone()));
    Ok(traces)
}

/// What the cluster serves for the gate, and who we are there; waits until the cluster answers.
pub async fn gate(
    settings: &Settings,
    clients: &Clients,
    stop: &CancellationToken,
) -> Result<Known, Error> {
    let known = stop.run_until_cancelled(ask_until_answered(settings, clients));
    Ok(known.await.unwrap_or(Known {
        wanted: settings.gate,
        served: false,
        account: String::new(),
        webhook: None,
    }))
}

async fn ask_until_answered(settings: &Settings, clients: &Clients) -> Known {
    loop {
        match tokio::time::timeout(START_TIMEOUT, ask(settings, clients)).await {
            Ok(Ok(known)) => return known,
            Ok(Err(error @ kube::Error::Api(_))) => {
                let error = causes::told(&error);
                tracing::warn!(
                    error,
                    "the API server does not say what it serves for the gate, or who we are"
                );
            }
            Ok(Err(error)) => {
                let error = causes::told(&error);
                tracing::warn!(error, "the API server does not answer yet");
            }
            Err(_) => tracing::warn!("the API server does not answer yet"),
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

async fn ask(settings: &Settings, clients: &Clients) -> Result<Known, kube::Error> {
    let policies: Api<MutatingAdmissionPolicy> = Api::all(clients.writes.clone());
    let served = match policies.list(&ListParams::default().limit(1)).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 404 => false,
        Err(error) => return Err(error),
    };
    let account = match &settings.account {
        Some(account) => account.clone(),
        None => whoami(&clients.writes).await?,
    };
    Ok(Known {
        wanted: settings.gate,
        served,
        account,
        webhook: None,
    })
}

/// The user name that the API server knows us by; the one of the manifests where it does not tell anybody.
async fn whoami(client: &Client) -> Result<String, kube::Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await;
    let status = match review {
        Ok(review) => review.status,
        Err(kube::Error::Api(refusal)) if matches!(refusal.code, 403 | 404) => {
            tracing::warn!(
                account = ACCOUNT,
                "the API server does not tell us our name ({}): `account` in the settings says another than this",
                refusal.message
            );
            None
        }
        Err(error) => return Err(error),
    };
    let name = status.and_then(|status| status.user_info?.username);
    Ok(name.unwrap_or_else(|| ACCOUNT.to_owned()))
}

/// The metrics source of the settings.
pub fn source(
    settings: &Settings,
    clients: &Clients,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<Source, Error> {
    Ok(match &settings.evidence.source {
        settings::Source::Prometheus {
            url,
            token_file,
            matching,
        } => prometheus(url, token_file.clone(), matching, Clock::machine())?,
        settings::Source::Scrape(ScrapeSettings::Targets(urls)) => {
            Scrape::new(Targets::Urls(urls.clone()), SOURCE_TIMEOUT)?.into()
        }
        settings::Source::Scrape(ScrapeSettings::Pods {
            selector,
            namespace,
            port,
        }) => {
            let found = Arc::new(Mutex::new(Vec::new()));
            let pods: Api<Pod> = Api::namespaced(clients.watches.clone(), namespace);
            let look = find_pods(pods, selector.clone(), *port, found.clone());
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(look).await;
            });
            let urls = move || found.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Scrape::new(Targets::Found(Arc::new(urls)), SOURCE_TIMEOUT)?.into()
        }
    })
}

/// A Prometheus server as a source; its clock is compared with `clock`.
pub fn prometheus(
    url: &str,
    token_file: Option<PathBuf>,
    matching: &[(String, String)],
    clock: Clock,
) -> Result<Source, Error> {
    let server = Prometheus::new(url, token_file, SOURCE_TIMEOUT)?;
    Ok(server.matching(matching).with_clock(clock).into())
}

/// Keeps the metrics URLs of the controller's pods up to date.
async fn find_pods(pods: Api<Pod>, selector: String, port: u16, found: Arc<Mutex<Vec<String>>>) {
    let params = ListParams::default().labels(&selector);
    loop {
        match pods.list(&params).await {
            Ok(list) => {
                let urls = list
                    .items
                    .iter()
                    .filter_map(|pod| metrics_url(pod, port))
                    .collect();
                *found.lock().unwrap_or_else(PoisonError::into_inner) = urls;
            }
            Err(error) => {
                let error = causes::told(&error);
                tracing::warn!(error, selector, "the controller's pods were not found");
            }
        }
        tokio::time::sleep(PODS_EVERY).await;
    }
}

fn metrics_url(pod: &Pod, port: u16) -> Option<String> {
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    let ip = status.pod_ip.as_deref().filter(|_| running)?;
    let ip = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    };
    Some(format!("http://{ip}:{port}/metrics"))
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use serde_json::json;

    use super::*;

    fn answering(status: u16, body: serde_json::Value) -> Client {
        let body = body.to_string();
        let answer = move |_: hyper::Request<kube::client::Body>| {
            let body = Full::new(bytes::Bytes::from(body.clone()));
            let answer = hyper::Response::builder().status(status).body(body);
            async move { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn a_passing_failure_gives_us_no_other_name() {
        let reviewed = json!({"metadata": {}, "status": {"userInfo": {"username": "robot"}}});
        let refused = |code: u16| json!({"kind": "Status", "status": "Failure", "code": code, "message": "no"});
        let cases = [
            (201, reviewed, Some("robot")),
            (403, refused(403), Some(ACCOUNT)),
            (404, refused(404), Some(ACCOUNT)),
            (500, refused(500), None),
            (429, refused(429), None),
        ];
        for (status, body, wanted) in cases {
            let name = whoami(&answering(status, body)).await.ok();
            assert_eq!(name.as_deref(), wanted, "{status}");
        }
    }
}

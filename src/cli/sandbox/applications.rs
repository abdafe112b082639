//! Smoke tests of the sandbox's applications, which have no address on the network: a Service's name
//! leads to one of its ready pods, as kube-proxy would, and the pod's application answers.
//!
//! It speaks to the API as any client, so it works on a real control plane with the sandbox's node too.
//!
//! Not here: what a test asks for and how often (the daemon).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::clock::{Clock, elapsed};
use crate::rollout::smoke::{Http, Pattern, Probe};
use crate::sandbox::node::Apps;
use crate::smoke::Asker;

/// Asks the applications behind Services.
pub fn asker(client: Client, apps: Apps, clock: Clock) -> Asker {
    let turn = Arc::<AtomicUsize>::default();
    Asker::with(move |probe| {
        let (client, apps) = (client.clone(), apps.clone());
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { ask(client, &apps, clock, turn, &probe).await })
    })
}

async fn ask(
    client: Client,
    apps: &Apps,
    clock: Clock,
    turn: usize,
    probe: &Probe,
) -> Result<(), String> {
    let began = clock.now();
    let host = match probe {
        Probe::Http(http) => {
            let uri: hyper::Uri = http
                .url
                .parse()
                .map_err(|_| format!("{} is no URL", http.url))?;
            uri.host().unwrap_or_default().to_owned()
        }
        Probe::Tcp { address } | Probe::Grpc { address, .. } => {
            let host = address
                .rsplit_once(':')
                .map_or(&**address, |(host, _)| host);
            host.to_owned()
        }
        Probe::Job(from) => return Err(format!("{} is made, not asked", from.name)),
    };
    let pods = ready(client, &host).await?;
    let pod = pods.get(turn % pods.len().max(1));
    let pod = pod.ok_or_else(|| format!("{host} has no ready pod"))?;
    // No part of the Ingress's traffic.
    let answer = apps.answer(pod, 0.0).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match probe {
        Probe::Http(http) => compare(http, answer.status, elapsed(began, clock.now())),
        Probe::Tcp { .. } | Probe::Grpc { .. } | Probe::Job(_) => Ok(()),
    }
}

/// The applications answer without a body.
fn compare(http: &Http, status: u16, took: std::time::Duration) -> Result<(), String> {
    if !http.status.contains(&status) {
        return Err(format!("answered {status}"));
    }
    if let Some(within) = http.within.filter(|within| took > *within) {
        let within = humantime::format_duration(within);
        return Err(format!(
            "answered {status} after {took:.0?}, wanted within {within}"
        ));
    }
    match &http.matches {
        Some(Pattern(pattern)) if !pattern.is_match("") => {
            Err(format!("answered {status} without {pattern}"))
        }
        _ => Ok(()),
    }
}

/// The addresses of the ready pods of `service.namespace`.
async fn ready(client: Client, host: &str) -> Result<Vec<String>, String> {
    let not_found = || format!("{host} is not found");
    let (service, rest) = host.split_once('.').ok_or_else(not_found)?;
    let namespace = rest.split('.').next().unwrap_or_default();
    let slices: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let of = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = slices.list(&of).await.map_err(|error| error.to_string())?;
    if slices.items.is_empty() {
        return Err(not_found());
    }
    let endpoints = slices.items.into_iter().filter_map(|slice| slice.endpoints);
    let endpoints = endpoints.flatten();
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|all| all.ready).unwrap_or(true)
    });
    Ok(ready.flat_map(|endpoint| endpoint.addresses).collect())
}

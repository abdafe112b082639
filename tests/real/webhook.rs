//! The gate as a webhook of real daemons, asked by a real API server over real HTTPS.
//!
//! There is no kube-proxy, so a small spreader stands for the Service: it gives each connection to
//! the first daemon that takes it. Daemons act with the rights of `clusters/components/webhook-gate` and
//! nothing else, which the audit log proves in the end. Not here: what is answered (unit tests), and
//! renewal of keys (`kubernetes::webhook::keys`, by a clock of the test's own).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use sluice::kubernetes::crd::ACCOUNT;
use sluice::kubernetes::webhook::reach;
use sluice::sandbox::scenario::{self, Way};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::stand::{Stand, until};
use crate::child::free_ports;
use crate::process::Process;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives each connection to the first of `ports` that takes it.
async fn spreader(ports: [u16; 2], tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            connections.spawn(async move {
                for port in ports {
                    if let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
                        return;
                    }
                }
            });
        }
    });
    address
}

fn settings(port: u16, url: &str) -> String {
    format!(
        "gate: webhook\nwebhook: {{listen: \"127.0.0.1:{port}\", url: \"{url}\", namespace: sluice-system}}\n\
         leaderElection: {{enabled: true, namespace: sluice-system, leaseDuration: 3s, renewDeadline: 2s, retryPeriod: 500ms}}"
    )
}

/// What the binary prints, and the component's rights.
async fn install(stand: &Stand, url: &str) {
    let printed = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["gate", "--webhook", "--url", url])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let rights = include_str!("../../clusters/components/webhook-gate/rbac.yaml");
    for object in [printed.as_str(), rights]
        .into_iter()
        .flat_map(|text| scenario::manifests(text).unwrap())
    {
        scenario::apply(stand.apps.admin.clone(), Way::ServerSide, &object)
            .await
            .unwrap();
    }
}

async fn ready(daemon: &Process) -> bool {
    let text = daemon.page("readyz").await.unwrap_or_default();
    text.contains("good gate: mode webhook") && text.contains("good webhook: serves")
}

fn deployments(stand: &Stand) -> Api<Deployment> {
    Api::namespaced(stand.apps.admin.clone(), "default")
}

/// Patches as an administrator.
async fn patched(stand: &Stand, name: &str, patch: &Value) -> Result<Deployment, String> {
    let patch = Patch::Strategic(patch);
    let (api, params) = (deployments(stand), PatchParams::default());
    let sent = api.patch(name, &params, &patch).await;
    sent.map_err(|error| error.to_string())
}

fn image(tag: u32) -> Value {
    let container = json!({"name": "app", "image": format!("shop:{tag}")});
    json!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

fn paused(deployment: &Deployment) -> bool {
    deployment.spec.paused == Some(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_daemons_hold_by_webhook_and_one_goes_on_alone() {
    let Some(stand) = Stand::with_accounts().await else {
        return;
    };
    let mut tasks = JoinSet::new();
    let ports: [u16; 2] = free_ports();
    let url = format!("https://{}", spreader(ports, &mut tasks).await);
    install(&stand, &url).await;
    let start = |index: usize| {
        let settings = settings(ports[index], &url);
        stand.daemon(&format!("webhook-{index}"), &settings)
    };
    let daemons = [start(0), start(1)];
    for daemon in &daemons {
        until(
            "the gate stands",
            PATIENCE,
            || ready(daemon),
            || daemon.told(),
        )
        .await;
    }
    let told = || format!("{}\n{}", daemons[0].told(), daemons[1].told());

    stand.apps.app("shop", 50, "3600s").await;
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", PATIENCE, guarded, told).await;
    stand.apps.release("shop", "2", "0").await;
    let held = deployments(&stand).get("shop").await.unwrap();
    assert!(paused(&held), "held in the very request");
    let weight = || async { stand.apps.weight("shop").await == 5 };
    until("the canary gets traffic", PATIENCE, weight, told).await;
    let resumed = patched(&stand, "shop", &json!({"spec": {"paused": false}})).await;
    assert!(paused(&resumed.unwrap()), "a resume leaves it held");

    one_is_killed(&stand, &daemons).await;
    keys_are_written_again(&stand, &daemons[1]).await;
    drop(daemons);
    nobody_answers(&stand).await;
    let refused = refused(&stand);
    assert!(refused.is_empty(), "{refused:?}");
}

/// One of the two is killed while somebody applies without a pause.
async fn one_is_killed(stand: &Stand, daemons: &[Process; 2]) {
    let mut failed = Vec::new();
    let began = Instant::now();
    for tag in 3..203 {
        if tag == 50 {
            daemons[0].signal("KILL");
        }
        match patched(stand, "shop", &image(tag)).await {
            Ok(changed) => assert!(paused(&changed), "{tag} got past"),
            Err(error) => failed.push(error),
        }
    }
    let each = began.elapsed() / 200;
    println!(
        "200 updates, {each:?} each, {} refused while one was killed: {failed:?}",
        failed.len()
    );
    // What was under way in the one that died.
    assert!(failed.len() <= 1, "{failed:?}");
}

/// A Secret that somebody deletes comes back as it was; one that somebody damages, too.
async fn keys_are_written_again(stand: &Stand, daemon: &Process) {
    let secrets: Api<Secret> = Api::namespaced(stand.apps.admin.clone(), "sluice-system");
    let data = || async {
        secrets
            .get_opt("sluice-webhook")
            .await
            .unwrap()
            .map(|secret| secret.data)
    };
    let before = data().await;
    secrets
        .delete("sluice-webhook", &DeleteParams::default())
        .await
        .unwrap();
    let back = || async { data().await == before };
    until("the keys are back", PATIENCE, back, || daemon.told()).await;
    assert!(patched(stand, "shop", &image(1000)).await.is_ok());
}

/// With no daemon, changes of the guarded are refused, and only those; the documented ways out work.
async fn nobody_answers(stand: &Stand) {
    let refused = patched(stand, "shop", &image(2000)).await.unwrap_err();
    assert!(
        refused.contains("failed calling webhook \"gate.sluice.dev\""),
        "{refused}"
    );
    let scaled = deployments(stand)
        .patch_scale(
            "shop",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 2}})),
        )
        .await;
    assert_eq!(scaled.unwrap().spec.unwrap().replicas, Some(2));
    stand.apps.release("other", "1", "0").await;
    stand.apps.release("other", "2", "0").await;
    let mut open = image(2001);
    open["metadata"] = json!({"annotations": {"sluice.dev/open": "nobody answers"}});
    patched(stand, "shop", &open)
        .await
        .expect("the glass is broken");
    let shut = json!({"metadata": {"annotations": {"sluice.dev/open": null}}});
    let refused = patched(stand, "shop", &shut).await;
    refused.expect_err("to shut it again needs a daemon");
    without_the_configuration(stand, &shut).await;
    let foreground = DeleteParams::foreground();
    deployments(stand)
        .delete("shop", &foreground)
        .await
        .unwrap();
    let gone = || async { deployments(stand).get_opt("shop").await.unwrap().is_none() };
    until(
        "it is deleted in the foreground",
        PATIENCE,
        gone,
        String::new,
    )
    .await;
}

/// The larger way out: nobody is asked while the configuration is away.
async fn without_the_configuration(stand: &Stand, shut: &Value) {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(stand.apps.admin.clone());
    let mut stored = configurations.get("sluice-gate").await.unwrap();
    let once = DeleteParams::default();
    configurations.delete("sluice-gate", &once).await.unwrap();
    // The API server learns it by its watch.
    let passes = || async { patched(stand, "shop", shut).await.is_ok() };
    until("nothing is held", PATIENCE, passes, String::new).await;
    stored.metadata.resource_version = None;
    let params = PostParams::default();
    configurations.create(&params, &stored).await.unwrap();
    let refuses = || async { patched(stand, "shop", &image(2003)).await.is_err() };
    until("it stands again", PATIENCE, refuses, String::new).await;
}

/// What the daemons asked for and were refused.
fn refused(stand: &Stand) -> BTreeSet<String> {
    let events = stand.plane.audit();
    let ours = events
        .iter()
        .filter(|event| event["user"]["username"] == ACCOUNT);
    ours.filter(|event| event["responseStatus"]["code"] == 403)
        .map(|event| format!("{} {}", event["verb"], event["objectRef"]))
        .collect()
}

/// `cargo test --test real -- --ignored --nocapture what_the_webhook_costs`
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a measurement"]
async fn what_the_webhook_costs_an_update() {
    const UPDATES: usize = 1000;
    let Some(stand) = Stand::with_accounts().await else {
        return;
    };
    let [port] = free_ports();
    // No spreader in between: it is no part of what is measured.
    let url = format!("https://127.0.0.1:{port}");
    install(&stand, &url).await;
    let daemon = stand.daemon("webhook-cost", &settings(port, &url));
    until(
        "the gate stands",
        PATIENCE,
        || ready(&daemon),
        || daemon.told(),
    )
    .await;
    for name in ["plain", "asked"] {
        stand.apps.release(name, "1", "0").await;
    }
    // Labelled as the daemon does it; no Rollout, so nobody else writes.
    let label = json!({"metadata": {"labels": {"sluice.dev/guarded": "true"}}});
    patched(&stand, "asked", &label).await.unwrap();
    let mut times = [Vec::new(), Vec::new()];
    for tag in 0..UPDATES {
        for (name, times) in ["plain", "asked"].into_iter().zip(&mut times) {
            let began = Instant::now();
            // As held: an update that rolls nothing, so that no controller is measured.
            let marked = json!({"metadata": {"annotations": {"mark": tag.to_string()}}});
            patched(&stand, name, &marked).await.unwrap();
            times.push(began.elapsed());
        }
    }
    let [without, with] = &times;
    told("without", without);
    told("with", with);
    let added = |share| at(with, share).saturating_sub(at(without, share));
    println!("added at p50: {:?}, at p99: {:?}", added(0.5), added(0.99));
    println!("{}", as_the_api_server_counts(&stand).await);
    let asked = deployments(&stand).get("asked").await.unwrap();
    let direct = answered(&stand, port, &asked, UPDATES).await;
    told("the daemon, asked by the test on one connection", &direct);
    assert!(added(0.5) < SECOND, "{:?}", added(0.5));
}

fn at(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn told(name: &str, times: &[Duration]) {
    let (half, most) = (at(times, 0.5), at(times, 0.99));
    println!("{name}: p50 {half:?}, p99 {most:?}");
}

/// What the API server's own clock says of its requests to the webhook, from the first to the last byte.
async fn as_the_api_server_counts(stand: &Stand) -> String {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let page = stand.apps.admin.request_text(request).await.unwrap();
    let value = |end: &str| -> f64 {
        let name = format!("apiserver_admission_webhook_admission_duration_seconds_{end}");
        let ours =
            |line: &&str| line.starts_with(&name) && line.contains("name=\"gate.sluice.dev\"");
        let values = page
            .lines()
            .filter(ours)
            .filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    };
    let (sum, count) = (value("sum"), value("count"));
    format!(
        "by the API server's clock: {count} reviews, {:.3} ms each",
        sum * 1000.0 / count
    )
}

/// How long the daemon takes for a review of this Deployment, as API servers send it, on one kept connection.
async fn answered(stand: &Stand, port: u16, of: &Deployment, times: usize) -> Vec<Duration> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(stand.apps.admin.clone());
    let configuration = configurations.get("sluice-gate").await.unwrap();
    let bundle = configuration.webhooks.unwrap()[0]
        .client_config
        .ca_bundle
        .clone();
    let bundle = String::from_utf8(bundle.unwrap().0).unwrap();
    let tls = TlsConnector::from(Arc::new(reach::client(&bundle).unwrap()));
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TokioIo::new(tls.connect(name, stream).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let _open = tokio::spawn(connection);
    let review = review(of);
    let mut all = Vec::new();
    for _ in 0..times {
        let request = http::Request::post("/gate").header("host", "127.0.0.1");
        let request = request.header("content-type", "application/json");
        let request = request
            .body(Full::new(Bytes::from(review.clone())))
            .unwrap();
        let began = Instant::now();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        all.push(began.elapsed());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["response"]["allowed"], true);
    }
    all
}

fn review(of: &Deployment) -> Vec<u8> {
    let mut new = of.clone();
    new.metadata
        .annotations
        .get_or_insert_default()
        .insert("mark".into(), "new".into());
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "operation": "UPDATE",
        "name": "asked", "namespace": "default", "userInfo": {"username": "jane", "groups": ["system:masters"]},
        "object": new, "oldObject": of,
    }});
    review.to_string().into_bytes()
}

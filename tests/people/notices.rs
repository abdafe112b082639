//! People are told by a real daemon: Slack, Teams and a webhook, played by a server of the test in the
//! shapes that they document.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::page::in_a_run;
use crate::process::{self, Process};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const TOKEN: &str = "the-token-of-this-test";
pub const BOT: &str = "xoxb-of-this-test";
const KEY: &str = "key-of-this-test";

/// What was sent, and when.
pub type Sent = (String, Value, HeaderMap, Instant);

/// The test measures how long telling takes.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// Slack, a webhook and Teams at one address.
#[derive(Clone)]
pub struct Channels {
    pub address: SocketAddr,
    /// What Slack answers: 200, or a fault.
    status: Arc<AtomicU16>,
    refused: Arc<AtomicU32>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Channels {
    pub async fn open(tasks: &mut JoinSet<()>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let channels = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(200)),
            refused: Arc::default(),
            sent: Arc::default(),
        };
        let routes = Router::new()
            .route("/api/{method}", post(slack))
            .route("/{other}", post(other))
            .with_state(channels.clone());
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        channels
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }

    pub fn of(&self, method: &str) -> Vec<Sent> {
        let sent = self.sent.lock().unwrap();
        let of = sent.iter().filter(|(found, ..)| found == method);
        of.cloned().collect()
    }

    /// Messages of Slack's that are no replies.
    pub fn posted(&self) -> Vec<Sent> {
        let mut all = self.of("chat.postMessage");
        all.retain(|(_, body, ..)| body["thread_ts"].is_null());
        all
    }

    /// What the run's message says now, and since when.
    fn says(&self) -> Option<(String, Instant)> {
        let newest = self.of("chat.update").pop();
        let newest = newest.or_else(|| self.posted().pop())?;
        let text = newest.1["text"].as_str()?.to_owned();
        Some((text, newest.3))
    }

    fn notes(&self, method: &str, body: Value, headers: HeaderMap) {
        let mut sent = self.sent.lock().unwrap();
        sent.push((method.to_owned(), body, headers, now()));
    }
}

async fn slack(
    State(channels): State<Channels>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let status = channels.status.load(Ordering::SeqCst);
    if status != 200 {
        channels.refused.fetch_add(1, Ordering::SeqCst);
        let status = StatusCode::from_u16(status).unwrap();
        return (status, [("retry-after", "1")], "no").into_response();
    }
    if headers["authorization"] != format!("Bearer {BOT}").as_str() {
        return axum::Json(json!({"ok": false, "error": "invalid_auth"})).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let ts = body["ts"].as_str().map_or_else(
        || format!("1700000000.{:06}", channels.sent.lock().unwrap().len()),
        str::to_owned,
    );
    channels.notes(&method, body, headers);
    axum::Json(json!({"ok": true, "channel": "C0123", "ts": ts})).into_response()
}

async fn other(
    State(channels): State<Channels>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let body = json!({"json": serde_json::from_str::<Value>(&text).unwrap(), "text": text});
    channels.notes(&path, body, headers);
    StatusCode::ACCEPTED
}

pub fn secret(name: &str, file: &str, text: &str) -> String {
    let path = process::file(name, file);
    std::fs::write(&path, format!("{text}\n")).unwrap();
    path.display().to_string()
}

fn daemon(world: &World, name: &str, channels: &Channels) -> Process {
    let to = channels.address;
    let settings = format!(
        "access: {{tokenFile: '{}'}}\nenvironment: test\npageUrl: http://page.test/\nnotify:\n\
         - {{name: deploys, slack: {{channel: '#deploys', tokenFile: '{}', api: 'http://{to}/api'}}}}\n\
         - {{name: audit, webhook: {{url: 'http://{to}/audit', secretFile: '{}'}}}}\n\
         - {{name: team, teams: {{urlFile: '{}'}}}}",
        secret(name, "access", TOKEN),
        secret(name, "bot", BOT),
        secret(name, "key", KEY),
        secret(name, "url", &format!("http://{to}/teams")),
    );
    world.process(name, world.cluster.api_address.unwrap(), &settings)
}

async fn ask(daemon: &Process, act: &str) {
    let client = sluice::prometheus::http_client(SECOND * 15).unwrap();
    let url = format!(
        "http://{}/api/rollouts/default/shop/{act}",
        daemon.address()
    );
    let request = client
        .post(url)
        .header("authorization", format!("Bearer {TOKEN}"));
    let answer = request.send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{act}: {:?}",
        answer.text().await
    );
}

pub async fn until_says(world: &World, channels: &Channels, words: &str) -> Instant {
    let says = || async {
        channels
            .says()
            .is_some_and(|(text, _)| text.contains(words))
    };
    world.until(words, SECOND * 60, says).await;
    channels.says().unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_message_that_changes_and_a_restart_posts_no_other() {
    let mut tasks = JoinSet::new();
    let channels = Channels::open(&mut tasks).await;
    let world = World::listening().await;
    let first = daemon(&world, "told-1", &channels);
    in_a_run(&world).await;
    until_says(&world, &channels, "default/shop: 2 is tried at 5%").await;
    let kept = || async {
        let status = world.rollout("shop").await.status.unwrap();
        let told = status.told.get("deploys").and_then(|told| told.last());
        told.is_some_and(|told| told.mark == "Stepping 5%" && told.ts.is_some())
    };
    world
        .until("it is kept what was told", SECOND * 30, kept)
        .await;

    let mut waits = Vec::new();
    for turn in 0..50 {
        let (act, words) = [("hold", "stands still"), ("resume", "is tried")][turn % 2];
        let asked = now();
        ask(&first, act).await;
        let told = until_says(&world, &channels, words).await;
        waits.push(told.saturating_duration_since(asked));
    }
    waits.sort();
    println!("asked to told: p50 {:?}, p99 {:?}", waits[25], waits[49]);
    assert!(waits[49] < SECOND * 20, "{waits:?}");

    drop(first);
    let second = daemon(&world, "told-2", &channels);
    let leads = || second.leads();
    world.until("the other leads", SECOND * 60, leads).await;
    ask(&second, "rollback").await;
    until_says(&world, &channels, "was rolled back").await;
    let posted = channels.posted();
    assert_eq!(posted.len(), 1, "{posted:?}");
    let updates = channels.of("chat.update");
    assert!(
        updates
            .iter()
            .all(|(_, body, ..)| body["channel"] == "C0123")
    );
    let replies = channels.of("chat.postMessage");
    let loud = |(_, body, ..): &Sent| body["text"].as_str().unwrap().starts_with("rolls back");
    assert!(replies.iter().any(loud), "{replies:?}");

    let events = || async {
        let events = channels.of("audit");
        events
            .iter()
            .any(|(_, body, ..)| body["json"]["type"] == "dev.sluice.run.rolledBack")
    };
    world
        .until("the webhook is told too", SECOND * 30, events)
        .await;
    for (_, body, headers, _) in channels.of("audit") {
        assert_eq!(headers["content-type"], "application/cloudevents+json");
        let signature = headers["sluice-signature"].to_str().unwrap();
        let seconds = signature[2..].split(',').next().unwrap();
        let at = jiff::Timestamp::from_second(seconds.parse().unwrap()).unwrap();
        let text = body["text"].as_str().unwrap();
        let wanted = sluice::people::webhook::signature(KEY, at, text.as_bytes());
        assert_eq!(wanted.as_deref(), Some(signature));
    }
    let carded = || async {
        let cards = channels.of("teams");
        cards.iter().any(|(_, body, ..)| {
            let title = &body["json"]["attachments"][0]["content"]["body"][0]["text"];
            title.as_str().unwrap().contains("was rolled back")
        })
    };
    world.until("Teams is told too", SECOND * 30, carded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_slack_and_the_newest_is_told_when_it_is_back() {
    let mut tasks = JoinSet::new();
    let channels = Channels::open(&mut tasks).await;
    let world = World::listening().await;
    channels.answers(500);
    let daemon = daemon(&world, "told-late", &channels);
    in_a_run(&world).await;
    let tried = || async { channels.refused() > 0 };
    world.until("it is tried", SECOND * 30, tried).await;
    ask(&daemon, "rollback").await;
    let ended = || async { world.outcome("shop").await.is_some() };
    world
        .until("the run ends all the same", SECOND * 60, ended)
        .await;
    assert_eq!(channels.says(), None);

    channels.answers(429);
    let (before, more) = (channels.refused(), || async { channels.refused() > 3 });
    world.until("it is told to wait", SECOND * 60, more).await;
    assert!(channels.refused() > before || before > 3);
    channels.answers(200);
    until_says(&world, &channels, "was rolled back").await;
    let posted = channels.posted();
    assert_eq!(posted.len(), 1, "only the newest is told: {posted:?}");
    let text = daemon.page("metrics").await.unwrap();
    assert!(
        text.contains("sluice_messages_total{to=\"deploys\",outcome=\"failed\"}"),
        "{text}"
    );
    let told = daemon.told();
    assert!(!told.contains(BOT) && !told.contains(KEY), "{told}");
}

//! Buttons and the command of Slack's at a real daemon, Slack played by the test; and what is forged at any hook.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::notices::{BOT, Channels, now, secret, until_says};
use crate::page::in_a_run;
use crate::process::Process;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "the-signing-secret-of-this-test";
const TOKEN: &str = "the-token-of-the-alerts";

fn daemon(world: &World, name: &str, channels: &Channels) -> Process {
    daemon_with(world, name, channels, "")
}

fn daemon_with(world: &World, name: &str, channels: &Channels, more: &str) -> Process {
    let to = channels.address;
    let settings = format!(
        "{more}environment: test\npageUrl: http://page.test/\n\
         notify: [{{name: deploys, slack: {{channel: '#deploys', tokenFile: '{}', api: 'http://{to}/api'}}}}]\n\
         slack: {{signingSecretFile: '{}', api: 'http://{to}/api', users: [{{id: U1, user: alice}}]}}\n\
         alerts: {{tokenFile: '{}', matchers: ['severity=\"critical\"']}}\nflux: {{secretFile: '{}'}}\n",
        secret(name, "bot", BOT),
        secret(name, "signing", KEY),
        secret(name, "alerts", TOKEN),
        secret(name, "flux", KEY),
    );
    world.process(name, world.cluster.api_address.unwrap(), &settings)
}

fn hmac(key: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    let mac = mac.chain_update(text).finalize().into_bytes();
    let mut hex = String::new();
    for byte in mac {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

fn time(away: i64) -> String {
    let now = sluice::clock::Clock::machine().now().as_second();
    (now + away).to_string()
}

async fn send(
    client: &reqwest::Client,
    daemon: &Process,
    hook: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut request = client.post(format!("http://{}/hooks/{hook}", daemon.address()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_owned());
    // Behind a body that was too long the daemon ends the connection, which a client may see too late.
    let again = request.try_clone().unwrap();
    let mut answer = request.send().await;
    if answer.is_err() {
        answer = again.send().await;
    }
    let answer = match answer {
        Ok(answer) => answer,
        // The answer came, and the end of the connection, before all was sent.
        Err(error) if body.len() > 256 * 1024 => return (413, error.to_string()),
        Err(error) => panic!("{hook}: {error}"),
    };
    let status = answer.status().as_u16();
    (status, answer.text().await.unwrap())
}

fn client() -> reqwest::Client {
    sluice::prometheus::http_client(SECOND * 15).unwrap()
}

/// As Slack sends it.
async fn slack(daemon: &Process, pairs: &[(&str, &str)]) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    let body = form.extend_pairs(pairs).finish();
    let time = time(0);
    let signature = format!("v0={}", hmac(KEY, &format!("v0:{time}:{body}")));
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-slack-signature", &signature),
        ("x-slack-request-timestamp", &time),
    ];
    let (status, text) = send(&client(), daemon, "slack", &headers, &body).await;
    assert_eq!((status, text.as_str()), (200, ""));
}

/// The button of this act in the message as it stands now.
fn button(channels: &Channels, act: &str) -> Option<Value> {
    let newest = channels.of("chat.update").pop();
    let newest = newest.or_else(|| channels.posted().pop())?;
    let blocks = newest.1["blocks"].as_array()?.clone();
    let buttons = blocks.iter().find(|block| block["type"] == "actions")?;
    let mut buttons = buttons["elements"].as_array()?.iter();
    let id = format!("sluice-{act}");
    buttons.find(|button| button["action_id"] == *id).cloned()
}

async fn press(daemon: &Process, channels: &Channels, act: &str) {
    let button = button(channels, act).unwrap_or_else(|| panic!("a button {act}"));
    assert!(button["confirm"]["text"]["text"].is_string(), "{button}");
    let payload = json!({
        "type": "block_actions", "user": {"id": "U1", "username": "al", "team_id": "T1"}, "api_app_id": "A1",
        "container": {"type": "message", "message_ts": "1700000000.000000", "channel_id": "C0123"},
        "channel": {"id": "C0123", "name": "deploys"}, "response_url": format!("http://{}/reply", channels.address),
        "actions": [{
            "type": "button", "action_id": button["action_id"], "block_id": "sluice", "text": button["text"],
            "value": button["value"], "action_ts": format!("{:?}", now()),
        }],
    });
    slack(daemon, &[("payload", &payload.to_string())]).await;
}

/// Presses it; how long until the message shows what it did.
async fn turn(
    world: &World,
    daemon: &Process,
    channels: &Channels,
    (act, words): (&str, &str),
) -> Duration {
    let asked = now();
    press(daemon, channels, act).await;
    let acknowledged: Duration = Instant::elapsed(&asked);
    assert!(acknowledged < SECOND * 3, "{acknowledged:?}");
    until_says(world, channels, words)
        .await
        .saturating_duration_since(asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_acts_and_the_message_shows_it() {
    let mut tasks = JoinSet::new();
    let channels = Channels::open(&mut tasks).await;
    let world = World::listening().await;
    let daemon = daemon(&world, "slack", &channels);
    in_a_run(&world).await;
    until_says(&world, &channels, "default/shop: 2 is tried at 5%").await;

    let mut waits = Vec::new();
    for number in 0..50 {
        let turns = [("hold", "stands still"), ("resume", "is tried")];
        waits.push(turn(&world, &daemon, &channels, turns[number % 2]).await);
    }
    waits.sort();
    println!("pressed to shown: p50 {:?}, p99 {:?}", waits[25], waits[49]);
    assert!(waits[49] < SECOND * 20, "{waits:?}");
    let answered = || async { channels.of("reply").len() >= 50 };
    world.until("each is answered", SECOND * 30, answered).await;
    let (_, answer, ..) = channels.of("reply").remove(0);
    assert_eq!(answer["json"]["response_type"], "ephemeral");
    assert_eq!(answer["json"]["text"], "hold default/shop: held");
    let status = world.rollout("shop").await.status.unwrap();
    let by = status.answers.last().unwrap().by.clone();
    assert_eq!(by.as_deref(), Some("alice"));

    let reply = format!("http://{}/reply", channels.address);
    let command = |text: &'static str, person: &'static str| {
        [
            ("command", "/sluice"),
            ("text", text),
            ("user_id", person),
            ("response_url", reply.as_str()),
        ]
        .map(|(key, value)| (key, value.to_owned()))
    };
    for (text, person, wanted) in [
        ("status default/shop", "U1", "*default/shop* Stepping"),
        ("rollback default/shop", "U2", "`- {id: U2, user: NAME}`"),
        (
            "rollback default/shop",
            "U1",
            "rollback default/shop: rolls back",
        ),
    ] {
        let before = channels.of("reply").len();
        let pairs = command(text, person);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        slack(&daemon, &pairs).await;
        let more = || async { channels.of("reply").len() > before };
        world.until("it is answered", SECOND * 30, more).await;
        let (_, answer, ..) = channels.of("reply").pop().unwrap();
        let answer = answer["json"]["text"].as_str().unwrap();
        assert!(answer.contains(wanted), "{answer}");
    }
    until_says(&world, &channels, "was rolled back").await;
    assert_eq!(channels.posted().len(), 1);
    let told = daemon.told();
    assert!(!told.contains(KEY) && !told.contains(BOT), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_follows_takes_a_button_and_the_one_that_leads_shows_what_it_did() {
    let mut tasks = JoinSet::new();
    let channels = Channels::open(&mut tasks).await;
    let world = World::listening().await;
    let elected = |identity: &str| {
        format!("leaderElection: {{enabled: true, namespace: default, identity: {identity}}}\n")
    };
    let first = daemon_with(&world, "slack-one", &channels, &elected("one"));
    let leads = || first.leads();
    world.until("one leads", SECOND * 60, leads).await;
    let second = daemon_with(&world, "slack-two", &channels, &elected("two"));
    let follows = || second.follows();
    world.until("the other follows", SECOND * 60, follows).await;
    in_a_run(&world).await;
    until_says(&world, &channels, "is tried at 5%").await;
    press(&second, &channels, "hold").await;
    until_says(&world, &channels, "stands still").await;
    let answered = || async { !channels.of("reply").is_empty() };
    world
        .until("who pressed is answered", SECOND * 30, answered)
        .await;
    let status = world.rollout("shop").await.status.unwrap();
    assert_eq!(status.answers.last().unwrap().by.as_deref(), Some("alice"));
    // One message: the replica that follows posts and changes none.
    assert_eq!(channels.posted().len(), 1);
    let leader = first.page("metrics").await.unwrap_or_default();
    let follower = second.page("metrics").await.unwrap_or_default();
    let sent = |text: &str| {
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("sluice_messages_total"));
        lines.any(|line| line.contains("sent") && !line.ends_with(" 0"))
    };
    assert_eq!(
        (sent(&leader), sent(&follower)),
        (true, false),
        "{follower}"
    );
}

/// A header that shows who one is, the wrong ones of it, and what is sent.
fn forged(hook: &str) -> Vec<(Vec<(String, String)>, String)> {
    let (good, now, old) = (body_of(hook), time(0), time(-301));
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let seal = |key: &str, time: &str, body: &str| match hook {
        "slack" => vec![
            pair(
                "x-slack-signature",
                format!("v0={}", hmac(key, &format!("v0:{time}:{body}"))),
            ),
            pair("x-slack-request-timestamp", time.to_owned()),
        ],
        "flux" => vec![pair("x-signature", format!("sha256={}", hmac(key, body)))],
        _ => vec![pair("authorization", format!("Bearer {key}"))],
    };
    let key = if hook == "alertmanager" { TOKEN } else { KEY };
    let mut all = Vec::new();
    for number in 0..20 {
        all.push((seal(&format!("guess-{number}"), &now, &good), good.clone()));
    }
    for cut in 0..10 {
        let cut = good[..good.len() * cut / 10].to_owned();
        // By the right key for the whole; the alerts' token does not depend on the body.
        let headers = seal(key, &now, if hook == "alertmanager" { &cut } else { &good });
        all.push((headers, cut));
    }
    for long in 0..5 {
        let long = "a".repeat((1 << 20) + 1 + long);
        all.push((seal(key, &now, &long), long));
    }
    for _ in 0..5 {
        all.push((Vec::new(), good.clone()));
        let empty = seal(key, &now, &good)
            .into_iter()
            .map(|(name, _)| (name, String::new()));
        all.push((empty.collect(), good.clone()));
    }
    for _ in 0..5 {
        let late = if hook == "slack" {
            seal(key, &old, &good)
        } else {
            seal("", &now, &good)
        };
        all.push((late, good.clone()));
    }
    all
}

fn body_of(hook: &str) -> String {
    match hook {
        "slack" => {
            "command=%2Fsluice&text=rollback+default%2Fshop&user_id=U1&response_url=x".to_owned()
        }
        "flux" => json!({"involvedObject": {"kind": "Kustomization"}, "severity": "info"}).to_string(),
        _ => json!({"version": "4", "alerts": [{
            "status": "firing", "labels": {"alertname": "A", "severity": "critical", "namespace": "default", "deployment": "shop"},
            "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "f",
        }]})
        .to_string(),
    }
}

/// Resident memory, and its highest so far, in KiB.
fn memory(daemon: &Process) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let of = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// How long its threads were on a processor so far, whatever they did there.
fn on_processor(daemon: &Process) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let nanos = threads.filter_map(|thread| {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_forged_replayed_oversized_or_cut_off_is_taken_at_any_hook() {
    let mut tasks = JoinSet::new();
    let channels = Channels::open(&mut tasks).await;
    let world = World::listening().await;
    let daemon = daemon(&world, "forged", &channels);
    in_a_run(&world).await;
    until_says(&world, &channels, "is tried at 5%").await;
    let client = client();
    for hook in ["slack", "alertmanager", "flux"] {
        let all = forged(hook);
        assert!(all.len() >= 50, "{}", all.len());
        let (before, mut waits, mut costs) = (memory(&daemon), Vec::new(), Vec::new());
        for (headers, body) in &all {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            let (asked, busy) = (now(), on_processor(&daemon));
            let (status, text) = send(&client, &daemon, hook, &headers, body).await;
            waits.push(Instant::elapsed(&asked));
            costs.push(on_processor(&daemon).saturating_sub(busy));
            assert!(
                (400..500).contains(&status),
                "{hook} {status} {headers:?}: {text}"
            );
        }
        waits.sort();
        costs.sort();
        let after = memory(&daemon);
        println!(
            "{hook}: {} requests, there and back p50 {:?}, longest {:?}; processor time of the daemon, with all else that it \
             does, p50 {:?}, p90 {:?}, longest {:?}; resident {} KiB more, highest {} KiB more",
            all.len(),
            waits[all.len() / 2],
            waits[all.len() - 1],
            costs[all.len() / 2],
            costs[all.len() * 9 / 10],
            costs[all.len() - 1],
            after.0.saturating_sub(before.0),
            after.1.saturating_sub(before.1),
        );
    }
    // Sent again: the first is Slack's own, the second is not.
    let (body, time) = ("command=%2Fsluice&text=help&user_id=U1", time(0));
    let signature = format!("v0={}", hmac(KEY, &format!("v0:{time}:{body}")));
    let headers = [
        ("x-slack-signature", signature.as_str()),
        ("x-slack-request-timestamp", time.as_str()),
    ];
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(send(&client, &daemon, "slack", &headers, body).await.0);
    }
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401]);
    assert_eq!(world.weight("shop").await, 5, "the run goes on");
    let status = world.rollout("shop").await.status.unwrap();
    assert_eq!(status.answers, []);
}

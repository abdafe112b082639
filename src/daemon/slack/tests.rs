//! The door and its clerk: what is let in, and what is answered to whom. The API server is a stand-in that lets
//! Alice patch in the namespace `shop`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request as Sent;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tower::ServiceExt;

use super::*;
use crate::daemon::acts::Acts;
use crate::daemon::acts::standin::Shop;
use crate::daemon::settings::{Access, Settings};
use crate::web::Place;

const KEY: &str = "signing-secret";

fn app(folder: &std::path::Path, api: &str) -> SlackApp {
    let file = folder.join("key");
    std::fs::write(&file, KEY).unwrap();
    let text = format!(
        "evidence: {{prometheus: {{url: 'http://x'}}}}\nslack:\n  signingSecretFile: {}\n  api: {api}\n  users:\n  \
         - {{id: U1, user: alice, groups: [dev]}}\n  - {{id: U2, user: bob}}\n",
        file.display()
    );
    let settings = Settings::parse(&text, std::path::Path::new("sluice.yaml"), &[]);
    settings.unwrap().slack.unwrap()
}

fn signed(key: &str, time: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    let mac = mac.chain_update(format!("v0:{time}:{body}")).finalize();
    let mut text = "v0=".to_owned();
    for byte in mac.into_bytes() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

async fn send(desk: &Desk, headers: &[(&str, &str)], body: &str) -> u16 {
    let mut request = Sent::builder().method("POST").uri("/slack");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    desk.router()
        .oneshot(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn only_what_slack_has_signed_now_and_once_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::machine();
    let (desk, mut jobs) = Desk::open(app(folder.path(), "http://127.0.0.1:1/api"), clock);
    let body = "command=%2Fsluice&text=hold+shop%2Fbackend&user_id=U1&response_url=x";
    let now = clock.now().as_second();
    let (time, old) = (now.to_string(), (now - 400).to_string());
    let right = signed(KEY, &time, body);
    let forged = [
        (signed("other", &time, body), time.as_str(), body),
        (signed(KEY, &time, "text=hold"), &time, body),
        (signed(KEY, &old, body), &old, body),
        (right.clone(), &old, body),
        (right.replace("v0=", "v1="), &time, body),
        (String::new(), &time, body),
        (right.clone(), "", body),
    ];
    for (signature, time, body) in &forged {
        let headers = [
            (signed::SIGNATURE, signature.as_str()),
            (signed::TIME, time),
        ];
        assert_eq!(send(&desk, &headers, body).await, 401, "{headers:?}");
    }
    assert_eq!(send(&desk, &[], body).await, 401);
    let long = "a".repeat(BYTES + 1);
    let sealed = signed(KEY, &time, &long);
    let headers = [(signed::SIGNATURE, sealed.as_str()), (signed::TIME, &time)];
    assert_eq!(send(&desk, &headers, &long).await, 413);
    assert!(jobs.try_recv().is_err());

    let headers = [(signed::SIGNATURE, right.as_str()), (signed::TIME, &time)];
    assert_eq!(send(&desk, &headers, body).await, 200);
    assert_eq!(send(&desk, &headers, body).await, 401, "once only");
    let job = jobs.try_recv().unwrap();
    assert_eq!(job.asked.person, "U1");
    assert!(jobs.try_recv().is_err());
    let strange = signed(KEY, &time, "text=hold");
    let headers = [(signed::SIGNATURE, strange.as_str()), (signed::TIME, &time)];
    assert_eq!(send(&desk, &headers, "text=hold").await, 400);
}

#[tokio::test]
async fn an_address_for_events_is_confirmed_to_slack_alone_and_events_do_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::machine();
    let (desk, mut jobs) = Desk::open(app(folder.path(), "http://127.0.0.1:1/api"), clock);
    let time = clock.now().as_second().to_string();
    let check = r#"{"type": "url_verification", "challenge": "3eZbrw1aB1", "token": "old"}"#;
    let event = r#"{"type": "event_callback", "event": {"type": "app_mention", "text": "hold shop/backend"}}"#;
    for (key, body, expected) in [
        (KEY, check, (200, "3eZbrw1aB1")),
        (KEY, event, (200, "")),
        (KEY, r#"{"type": "other"}"#, (400, "")),
        ("other", check, (401, "")),
    ] {
        let sealed = signed(key, &time, body);
        let request = Sent::builder().method("POST").uri("/slack");
        let request = request
            .header(signed::SIGNATURE, sealed)
            .header(signed::TIME, &time)
            .body(Body::from(body));
        let answer = desk.router().oneshot(request.unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let said = axum::body::to_bytes(answer.into_body(), 1024)
            .await
            .unwrap();
        let said = String::from_utf8(said.to_vec()).unwrap();
        assert_eq!(status, expected.0, "{body}: {said}");
        assert!(status != 200 || said == expected.1, "{body}: {said}");
    }
    assert!(jobs.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_be_done_soon_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::machine();
    let (desk, _jobs) = Desk::open(app(folder.path(), "http://127.0.0.1:1/api"), clock);
    let time = clock.now().as_second().to_string();
    let mut answers = BTreeMap::new();
    for number in 0..WAITING + 3 {
        let body = format!("command=%2Fsluice&text=help&user_id=U{number}");
        let signature = signed(KEY, &time, &body);
        let headers = [
            (signed::SIGNATURE, signature.as_str()),
            (signed::TIME, &time),
        ];
        *answers
            .entry(send(&desk, &headers, &body).await)
            .or_insert(0) += 1;
    }
    assert_eq!(answers, BTreeMap::from([(200, WAITING), (503, 3)]));
}

/// Alice may patch in the namespace `shop`, as one of the group `dev`.
fn review(path: &str, spec: &Value) -> Option<Value> {
    if !path.ends_with("/subjectaccessreviews") {
        return None;
    }
    let groups = spec["groups"].as_array().unwrap();
    let dev = groups.contains(&json!("dev")) && groups.contains(&json!("system:authenticated"));
    let here = spec["resourceAttributes"]["namespace"] == "shop";
    Some(json!({"allowed": spec["user"] == "alice" && dev && here}))
}

/// A daemon's desk, whose clerk answers a Slack of the test.
struct Office {
    desk: Desk,
    shop: Shop,
    answers: mpsc::UnboundedReceiver<Value>,
    reply: String,
    _tasks: tokio::task::JoinSet<()>,
    _folder: tempfile::TempDir,
}

async fn office() -> Office {
    let folder = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slack = format!("http://{}", listener.local_addr().unwrap());
    let (noted, answers) = mpsc::unbounded_channel();
    let take = move |axum::Json(answer): axum::Json<Value>| async move {
        noted.send(answer).unwrap();
        "ok"
    };
    let routes = Router::new().route("/reply", post(take));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });

    let shop = Shop::with(json!({
        "stable": {"hash": "91bc03aa17", "images": []}, "phase": "Stepping", "message": "<!channel> is tried at 5%",
    }));
    let clock = Clock::machine();
    let acts = Acts::new(Access::default(), Place::root("production"), None, clock).unwrap();
    let (client, known) = (shop.server(review), shop.clone());
    acts.begin(move |namespace, name| known.find(namespace, name), client);
    let text = "environment: production\nevidence: {prometheus: {url: 'http://x'}}";
    let mut settings = Settings::parse(text, std::path::Path::new("sluice.yaml"), &[]).unwrap();
    settings.slack = Some(app(folder.path(), &format!("{slack}/api")));
    let (desk, clerk) = Clerk::employ(&settings, clock, &acts).unwrap().unwrap();
    let known = shop.clone();
    let all = Arc::new(move || vec![known.rollout()]);
    tasks.spawn(clerk.keep_up(all));
    Office {
        desk,
        shop,
        answers,
        reply: format!("{slack}/reply"),
        _tasks: tasks,
        _folder: folder,
    }
}

impl Office {
    /// Sends it signed; what is answered to the person.
    async fn ask(&mut self, pairs: &[(&str, &str)]) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let body = form.extend_pairs(pairs).finish();
        let time = Clock::machine().now().as_second().to_string();
        let signature = signed(KEY, &time, &body);
        let headers = [
            (signed::SIGNATURE, signature.as_str()),
            (signed::TIME, &time),
        ];
        assert_eq!(send(&self.desk, &headers, &body).await, 200);
        let answer = tokio::time::timeout(Duration::from_secs(30), self.answers.recv());
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer["response_type"], "ephemeral");
        assert_eq!(answer["replace_original"], false);
        answer["text"].as_str().unwrap().to_owned()
    }

    async fn says(&mut self, person: &str, text: &str) -> String {
        let reply = self.reply.clone();
        self.ask(&[
            ("command", "/sluice"),
            ("text", text),
            ("user_id", person),
            ("response_url", &reply),
        ])
        .await
    }

    async fn presses(&mut self, person: &str, environment: &str) -> String {
        let value = json!({"e": environment, "n": "shop", "r": "backend", "h": "77aa"}).to_string();
        let payload = json!({
            "type": "block_actions", "user": {"id": person}, "response_url": self.reply,
            "actions": [{"type": "button", "action_id": "sluice-hold", "value": value}],
        });
        let payload = payload.to_string();
        self.ask(&[("payload", &payload)]).await
    }
}

#[tokio::test]
async fn who_may_patch_the_rollout_may_act_from_slack_and_is_named() {
    let mut office = office().await;
    let answer = office.presses("U1", "production").await;
    assert_eq!(answer, "hold shop/backend: held at 5%");
    let answer = office.says("U1", "hold shop/backend").await;
    assert_eq!(answer, "hold shop/backend: held at 5%");
    assert_eq!(
        office.shop.asked(),
        [
            r#"hold 77aa {"by":"alice"}"#,
            r#"hold 91bc03aa17 {"by":"alice"}"#
        ]
    );
}

#[tokio::test]
async fn others_are_told_why_nothing_was_done() {
    let mut office = office().await;
    let cases = [
        (
            "U2",
            "hold shop/backend",
            "bob may not patch the Rollout shop/backend",
        ),
        (
            "U1",
            "hold pay/backend",
            "alice may not patch the Rollout pay/backend",
        ),
        (
            "U1",
            "hold shop/other",
            "no Rollout shop/other is known here",
        ),
        ("U1", "explode shop/backend", "is not understood"),
        (
            "U2",
            "status shop/backend",
            "bob may not get the Rollout shop/backend",
        ),
        ("U2", "status", "There is no Rollout that you may list"),
        ("U9", "status", "`- {id: U9, user: NAME}`"),
    ];
    for (person, text, wanted) in cases {
        let answer = office.says(person, text).await;
        assert!(answer.contains(wanted), "{text}: {answer}");
    }
    let answer = office.presses("U9", "production").await;
    assert!(answer.contains("`slack.users`"), "{answer}");
    let answer = office.presses("U1", "staging").await;
    assert!(answer.contains("an app of its own"), "{answer}");
    assert_eq!(office.shop.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn status_and_help_are_answered() {
    let mut office = office().await;
    let one = "*shop/backend* Stepping: &lt;!channel&gt; is tried at 5%";
    assert_eq!(office.says("U1", "status shop/backend").await, one);
    assert_eq!(office.says("U1", "status").await, one);
    assert!(office.says("U1", "").await.contains("/sluice status"));
}

/// Slack's end of a socket.
type Far = tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>;

async fn says(far: &mut Far, message: Value) {
    let text = tokio_tungstenite::tungstenite::Message::text(message.to_string());
    futures::SinkExt::send(far, text).await.unwrap();
}

/// What is acknowledged next.
async fn hears(far: &mut Far) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(30), futures::StreamExt::next(far));
    let text = next.await.unwrap().unwrap().unwrap().into_text().unwrap();
    serde_json::from_str(text.as_str()).unwrap()
}

async fn connected(listener: &tokio::net::TcpListener) -> Far {
    let (stream, _) = tokio::time::timeout(Duration::from_secs(60), listener.accept())
        .await
        .unwrap()
        .unwrap();
    let mut far = tokio_tungstenite::accept_async(stream).await.unwrap();
    // As documented, with what is not read left out.
    let hello = json!({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}});
    says(&mut far, hello).await;
    far
}

#[tokio::test]
async fn what_comes_over_a_socket_is_acknowledged_and_done_and_the_socket_is_opened_anew() {
    let mut office = office().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/link/?ticket=1", listener.local_addr().unwrap());
    let opened = Arc::new(Mutex::new(0));
    let (counted, folder) = (Arc::clone(&opened), tempfile::tempdir().unwrap());
    let open = move |headers: HeaderMap| async move {
        let mut opened = counted.lock().unwrap();
        *opened += 1;
        let right = headers["authorization"] == "Bearer xapp-1";
        axum::Json(match (right, *opened) {
            (false, _) => json!({"ok": false, "error": "invalid_auth"}),
            (true, 3) => json!({"ok": false, "error": "internal_error"}),
            (true, _) => json!({"ok": true, "url": url}),
        })
    };
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/api", api.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    let routes = Router::new().route("/api/apps.connections.open", post(open));
    tasks.spawn(async move { axum::serve(api, routes).await.unwrap() });

    let token = folder.path().join("app-token");
    std::fs::write(&token, "xapp-1\n").unwrap();
    let mut app = office.desk.0.app.clone();
    (app.api, app.app_token_file) = (base, Some(token));
    let desk = Desk(Arc::new(Inner {
        app,
        clock: Clock::machine(),
        taken: Mutex::default(),
        jobs: office.desk.0.jobs.clone(),
    }));
    let sender = crate::people::sender::Sender::new().unwrap();
    tasks.spawn(socket::Socket::new(desk, sender).keep_up());

    let mut far = connected(&listener).await;
    let command = json!({
        "envelope_id": "9a0b-1", "type": "slash_commands", "accepts_response_payload": true,
        "payload": {"command": "/sluice", "text": "hold shop/backend", "user_id": "U1", "response_url": office.reply},
    });
    says(&mut far, command.clone()).await;
    assert_eq!(hears(&mut far).await, json!({"envelope_id": "9a0b-1"}));
    let answer = office.answers.recv().await.unwrap();
    assert_eq!(answer["text"], "hold shop/backend: held at 5%");
    let ids = || office.shop.stored();
    assert!(
        ids()[0]
            .get("request.sluice.dev/hold-slack-9a0b-1")
            .is_some(),
        "{:?}",
        ids()
    );

    // Of no use here, but acknowledged; what is not understood is let pass.
    let event = json!({"envelope_id": "9a0b-2", "type": "events_api", "payload": {"event": {"type": "app_mention"}}});
    says(&mut far, json!({"type": "news"})).await;
    says(&mut far, event).await;
    assert_eq!(hears(&mut far).await["envelope_id"], "9a0b-2");

    says(
        &mut far,
        json!({"type": "disconnect", "reason": "refresh_requested"}),
    )
    .await;
    let far = connected(&listener).await;
    // Cut off, and then Slack has a bad moment.
    drop(far);
    let mut far = connected(&listener).await;
    let value = json!({"e": "production", "n": "shop", "r": "backend", "h": "77aa"}).to_string();
    let button = json!({
        "envelope_id": "9a0b-3", "type": "interactive", "payload": {
            "type": "block_actions", "user": {"id": "U1"}, "response_url": office.reply,
            "actions": [{"type": "button", "action_id": "sluice-hold", "value": value}],
        },
    });
    says(&mut far, button).await;
    assert_eq!(hears(&mut far).await["envelope_id"], "9a0b-3");
    office.answers.recv().await.unwrap();
    assert_eq!(office.shop.asked().len(), 2);
    assert_eq!(*opened.lock().unwrap(), 4);
}

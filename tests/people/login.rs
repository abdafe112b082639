//! Signing in at an identity provider with a real browser, the provider played by the test on another site.
//!
//! What only a browser shows: that cookies and pages let one through, coming back from elsewhere. What is
//! refused is tested beside the code (`daemon::acts`, `people::oidc`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::response::{Html, Json};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::page::{browsed, in_a_run};
use crate::process;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

struct Provider {
    key: EcdsaKeyPair,
    issuer: String,
    /// Where browsers are led back, whatever they say: the daemon's port is not known before it starts.
    daemon: Mutex<Option<SocketAddr>>,
    nonce: Mutex<String>,
    secret: Mutex<String>,
}

type Known = State<Arc<Provider>>;

#[derive(Deserialize)]
struct Asked {
    state: String,
    nonce: String,
    redirect_uri: String,
}

#[derive(Deserialize)]
struct Given {
    code: String,
    redirect_uri: String,
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn places(State(provider): Known) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer, "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"), "jwks_uri": at("/keys"),
    }))
}

async fn keys(State(provider): Known) -> Json<Value> {
    let point = provider.key.public_key().as_ref();
    let (x, y) = (part(&point[1..33]), part(&point[33..]));
    Json(json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y}]}))
}

/// A page that leads on by itself, as after somebody has typed a password.
async fn authorize(State(provider): Known, Query(asked): Query<Asked>) -> Html<String> {
    assert_eq!(asked.redirect_uri, "http://page.test/login/callback");
    *provider.nonce.lock().unwrap() = asked.nonce;
    let daemon = provider.daemon.lock().unwrap().unwrap();
    let back = format!(
        "http://{daemon}/login/callback?code=the-code&state={}",
        asked.state
    );
    Html(format!(
        "<!doctype html><title>x</title><meta http-equiv=refresh content=\"0; url={back}\">"
    ))
}

async fn token(
    State(provider): Known,
    headers: axum::http::HeaderMap,
    Form(given): Form<Given>,
) -> Json<Value> {
    assert_eq!(
        (given.code.as_str(), given.redirect_uri.as_str()),
        ("the-code", "http://page.test/login/callback")
    );
    headers["authorization"]
        .to_str()
        .unwrap()
        .clone_into(&mut provider.secret.lock().unwrap());
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let claims = json!({
        "iss": provider.issuer, "aud": "sluice", "sub": "7", "email": "alice@example.org", "groups": ["dev"],
        "iat": now, "exp": now + 300, "nonce": *provider.nonce.lock().unwrap(),
    });
    let text = format!(
        "{}.{}",
        part(r#"{"alg":"ES256","kid":"one"}"#),
        part(claims.to_string())
    );
    let signature = provider
        .key
        .sign(&SystemRandom::new(), text.as_bytes())
        .unwrap();
    Json(
        json!({"access_token": "x", "token_type": "Bearer", "id_token": format!("{text}.{}", part(signature))}),
    )
}

async fn provider(tasks: &mut JoinSet<()>) -> Arc<Provider> {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ES256, &random).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = Arc::new(Provider {
        key: EcdsaKeyPair::from_pkcs8(&ES256, made.as_ref(), &random).unwrap(),
        // Another site than 127.0.0.1, to a browser.
        issuer: format!("http://localhost:{}", listener.local_addr().unwrap().port()),
        daemon: Mutex::default(),
        nonce: Mutex::default(),
        secret: Mutex::default(),
    });
    let router = axum::Router::new()
        .route("/.well-known/openid-configuration", get(places))
        .route("/keys", get(keys))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .with_state(Arc::clone(&provider));
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    provider
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: make test-page"]
async fn a_real_browser_comes_back_from_the_provider_and_may_act() {
    let world = World::listening().await;
    let mut tasks = JoinSet::new();
    let provider = provider(&mut tasks).await;
    let secret = process::file("login", "secret");
    std::fs::write(&secret, "a secret & more\n").unwrap();
    let settings = format!(
        "pageUrl: http://page.test\naccess: {{oidc: {{issuer: '{}', clientId: sluice, clientSecretFile: '{}'}}}}",
        provider.issuer,
        secret.display()
    );
    let daemon = world.process("login", world.cluster.api_address.unwrap(), &settings);
    *provider.daemon.lock().unwrap() = Some(daemon.address());
    in_a_run(&world).await;
    let profile = Arc::new(tempfile::tempdir().unwrap());
    let visit = async |path: &str, patience: &'static str| {
        let url = format!("http://{}/{path}", daemon.address());
        let profile = Arc::clone(&profile);
        let browse = tokio::task::spawn_blocking(move || browsed(profile.path(), &url, patience));
        let (page, complaints) = browse.await.unwrap();
        assert_eq!(complaints, "");
        page
    };
    let there = async || {
        let landed = visit("login/provider?back=/history", "--virtual-time-budget=6000").await;
        let page = visit("rollouts/default/shop", "--timeout=5000").await;
        let known = page.contains("signed in as alice@example.org");
        landed.contains("Past runs") && known && page.contains("id=\"act-hold\"")
    };
    world
        .until("the browser is back and may act", SECOND * 60, there)
        .await;
    // RFC 6749, 2.3.1: both parts as in a form.
    let basic = base64::engine::general_purpose::STANDARD.encode("sluice:a+secret+%26+more");
    assert_eq!(*provider.secret.lock().unwrap(), format!("Basic {basic}"));
}

//! Signing in at a real identity provider, Dex (tests/dex), and what the real API server then lets one do.
//!
//! The browser is an HTTP client that keeps cookies, goes where it is led and fills in Dex's form. Not here: a
//! real browser (tests/people), and refusals of a provider that lies (beside the code).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use regex::Regex;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, REFRESH, SET_COOKIE};
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use sluice::people::oidc::token::{Flaw, Wanted, check};
use sluice::people::oidc::{Keys, Oidc};
use sluice::people::person::Person;

use super::access::{in_a_run, rights};
use super::stand::{Stand, until};
use crate::child::{Server, free_ports};
use crate::needs;
use crate::process;

const SECOND: Duration = Duration::from_secs(1);
/// Where people reach the page; the browser knows the way.
const PAGE: &str = "http://page.test";
const SECRET: &str = "a secret & more";

/// The provider's program; `None`, said aloud, where it was not built.
fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dex");
    if built.exists() {
        return Some(built);
    }
    needs::left_out("the login at Dex", "target/dex is missing: make dex");
    None
}

/// Dex; it ends with this.
struct Dex {
    issuer: String,
    server: Server,
}

impl Dex {
    async fn start(program: &Path, name: &str, port: u16) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let back = format!("{PAGE}/login/callback");
        let arguments = ["-listen", &listen, "-redirect", &back, "-secret", SECRET];
        let server = Server::start(program, &arguments, &process::file(name, "log"));
        let dex = Self {
            issuer: format!("http://{listen}/dex"),
            server,
        };
        let up = || async { dex.json(".well-known/openid-configuration").await.is_some() };
        until("Dex is up", SECOND * 30, up, || dex.server.told()).await;
        dex
    }

    async fn json(&self, path: &str) -> Option<Value> {
        let client = sluice::prometheus::http_client(SECOND).unwrap();
        let asked = client.get(format!("{}/{path}", self.issuer)).send().await;
        let text = asked.ok()?.text().await.ok()?;
        serde_json::from_str(&text).ok()
    }

    /// An ID token for a client of its, by Alice's password.
    async fn token(&self, client: &str, nonce: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("scope", "openid email groups"),
            ("username", "alice@example.org"),
            ("password", "password of alice"),
            ("nonce", nonce),
        ];
        let http = sluice::prometheus::http_client(SECOND * 10).unwrap();
        let asked = http.post(format!("{}/token", self.issuer)).form(&form);
        let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let answer = asked
            .basic_auth(client, Some(encoded))
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["id_token"].as_str().expect(&text).to_owned()
    }
}

/// What a browser shows.
struct Page {
    status: StatusCode,
    url: Url,
    text: String,
}

impl Page {
    /// What one capture of a pattern finds, as HTML has it.
    fn find(&self, pattern: &str) -> String {
        let found = Regex::new(pattern).unwrap().captures(&self.text);
        let found = found.unwrap_or_else(|| panic!("no {pattern} at {}\n{}", self.url, self.text));
        found[1].replace("&amp;", "&").replace("&#43;", "+")
    }

    /// The secret that each form of a signed-in page repeats.
    fn form(&self) -> String {
        self.find("name=\"form\" value=\"([0-9a-f]{64})\"")
    }
}

/// A browser: cookies by site.
struct Browser {
    client: Client,
    cookies: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Browser {
    fn new(daemon: SocketAddr) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(SECOND * 15)
            .redirect(reqwest::redirect::Policy::none())
            .resolve("page.test", daemon);
        Self {
            client: client.build().unwrap(),
            cookies: Mutex::default(),
        }
    }

    /// One request, and where it leads.
    async fn hop(&self, url: &Url, form: Option<(&str, &[(&str, &str)])>) -> (Page, Option<Url>) {
        let site = url.host_str().unwrap().to_owned();
        let mut request = match form {
            Some((origin, fields)) => self
                .client
                .post(url.clone())
                .header(ORIGIN, origin)
                .form(fields),
            None => self.client.get(url.clone()),
        };
        let kept = self.cookies().get(&site).cloned().unwrap_or_default();
        let kept: Vec<String> = kept
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if !kept.is_empty() {
            request = request.header(COOKIE, kept.join("; "));
        }
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, rest) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (key, value) = pair.split_once('=').unwrap();
            let mut all = self.cookies();
            let all = all.entry(site.clone()).or_default();
            if rest.contains("Max-Age=0") {
                all.remove(key);
            } else {
                all.insert(key.to_owned(), value.to_owned());
            }
        }
        let text = |name| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        let refresh = text(REFRESH).and_then(|text| text.strip_prefix("0; url="));
        let on = text(LOCATION)
            .or(refresh)
            .map(|place| url.join(place).unwrap());
        let status = answer.status();
        let text = answer.text().await.unwrap();
        let url = url.clone();
        (Page { status, url, text }, on)
    }

    /// Goes on until nothing leads further.
    async fn go(&self, url: &str, form: Option<(&str, &[(&str, &str)])>) -> Page {
        let (mut page, mut on) = self.hop(&url.parse().unwrap(), form).await;
        for _ in 0..10 {
            let Some(next) = on else { return page };
            (page, on) = self.hop(&next, None).await;
        }
        panic!("led on and on, to {}", page.url);
    }

    /// The page of Dex that asks for a password.
    async fn at_the_password(&self) -> Page {
        let choice = self
            .go(
                &format!("{PAGE}/login/provider?back=/rollouts/default/shop"),
                None,
            )
            .await;
        let there = choice.find("href=\"([^\"]*/auth/local[^\"]*)\"");
        self.go(choice.url.join(&there).unwrap().as_str(), None)
            .await
    }

    async fn with_password(&self, name: &str, password: &str) -> Page {
        let asked = self.at_the_password().await;
        let place = asked.url.join(&asked.find("action=\"([^\"]+)\"")).unwrap();
        let origin = place.origin().ascii_serialization();
        let name = format!("{name}@example.org");
        let fields = [("login", name.as_str()), ("password", password)];
        self.go(place.as_str(), Some((&origin, &fields))).await
    }

    /// Signs in, and comes back to the Rollout's page.
    async fn sign_in(&self, name: &str) -> Page {
        let page = self
            .with_password(name, &format!("password of {name}"))
            .await;
        assert_eq!(
            page.url.as_str(),
            format!("{PAGE}/rollouts/default/shop"),
            "{}",
            page.text
        );
        assert!(
            page.text
                .contains(&format!("signed in as {name}@example.org")),
            "{}",
            page.text
        );
        page
    }

    async fn act(&self, act: &str, form: &str, origin: &str) -> Page {
        let url = format!("{PAGE}/rollouts/default/shop/{act}");
        self.go(&url, Some((origin, &[("form", form)]))).await
    }

    fn cookies(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeMap<String, String>>> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_signs_in_at_dex_may_do_what_the_apiserver_says() {
    let Some(program) = program() else { return };
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    let api = "rbac.authorization.k8s.io";
    // The connector "mock" of Dex knows one person, of this group.
    let subjects = json!([
        {"kind": "User", "apiGroup": api, "name": "alice@example.org"},
        {"kind": "Group", "apiGroup": api, "name": "authors"},
    ]);
    rights(&stand, &subjects).await;
    let [port] = free_ports();
    let dex = Dex::start(&program, "dex", port).await;
    let secret = process::file("login", "secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let settings = format!(
        "pageUrl: {PAGE}\naccess: {{oidc: {{issuer: '{}', clientId: sluice, clientSecretFile: '{}'}}}}",
        dex.issuer,
        secret.display()
    );
    let daemon = stand.daemon("login", &settings);
    in_a_run(&stand, &daemon).await;
    let browser = || Browser::new(daemon.address());

    let (alice, bob, trout) = (browser(), browser(), browser());
    let wrong = alice.with_password("alice", "guess").await;
    assert!(wrong.text.contains("Invalid"), "{}", wrong.text);
    let stranger = alice
        .go(&format!("{PAGE}/rollouts/default/shop"), None)
        .await;
    assert!(stranger.text.contains("Sign in to act"));
    let alices = alice.sign_in("alice").await.form();
    let held = alice.act("hold", &alices, PAGE).await;
    assert_eq!(held.status, 200, "{}", held.text);
    assert_eq!(stand.apps.phase("shop").await, "Held");
    let answers = stand.apps.rollout("shop").await.status.unwrap().answers;
    assert_eq!(
        answers.last().unwrap().by.as_deref(),
        Some("alice@example.org")
    );

    let bobs = bob.sign_in("bob").await.form();
    let refused = bob.act("resume", &bobs, PAGE).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text.contains("bob@example.org may not patch"),
        "{}",
        refused.text
    );
    // Another one's secret, a page of another site, and no secret.
    for (form, origin) in [
        (&bobs, PAGE),
        (&alices, "http://evil.test"),
        (&String::new(), PAGE),
    ] {
        let refused = alice.act("resume", form, origin).await;
        assert_eq!(refused.status, 403, "{form} {origin}");
    }
    let choice = trout
        .go(
            &format!("{PAGE}/login/provider?back=/rollouts/default/shop"),
            None,
        )
        .await;
    let there = choice.find("href=\"([^\"]*/auth/mock[^\"]*)\"");
    let trouts = trout
        .go(choice.url.join(&there).unwrap().as_str(), None)
        .await;
    assert!(
        trouts.text.contains("signed in as kilgore@kilgore.trout"),
        "{}",
        trouts.text
    );
    let resumed = trout.act("resume", &trouts.form(), PAGE).await;
    assert_eq!(resumed.status, 200, "by the group: {}", resumed.text);

    alice_signs_out(&alice, &alices).await;
    nobody_comes_in_by_anothers_way_back(&browser(), &browser()).await;

    drop(dex);
    let dex = Dex::start(&program, "dex-again", port).await;
    bob.sign_in("bob").await;
    // It goes while somebody signs in.
    let begun = format!("{PAGE}/login/provider?back=/").parse().unwrap();
    let (_, there) = bob.hop(&begun, None).await;
    let state = there
        .unwrap()
        .query_pairs()
        .find(|(key, _)| key == "state")
        .unwrap()
        .1
        .into_owned();
    drop(dex);
    let away = bob
        .go(&format!("{PAGE}/login/callback?code=x&state={state}"), None)
        .await;
    assert_eq!(away.status, 503);
    assert!(
        away.text.contains("the identity provider does not answer"),
        "{}",
        away.text
    );
    // Who is signed in stays so.
    let page = bob.go(&format!("{PAGE}/rollouts/default/shop"), None).await;
    assert!(page.text.contains("signed in as bob@example.org"));
}

/// Her cookie, which somebody may have kept, is worth nothing then.
async fn alice_signs_out(alice: &Browser, form: &str) {
    let kept = alice.cookies().clone();
    let out = alice
        .go(&format!("{PAGE}/logout"), Some((PAGE, &[("form", form)])))
        .await;
    // Dex has no exit of its own to lead to.
    assert_eq!((out.status, out.url.path()), (StatusCode::OK, "/"));
    *alice.cookies() = kept;
    let page = alice
        .go(&format!("{PAGE}/rollouts/default/shop"), None)
        .await;
    assert!(page.text.contains("Sign in to act"), "{}", page.text);
    assert_eq!(alice.act("hold", form, PAGE).await.status, 403);
}

/// The address that Dex leads back to, taken to another browser and then used twice in its own.
async fn nobody_comes_in_by_anothers_way_back(own: &Browser, other: &Browser) {
    let back = async |browser: &Browser| {
        let choice = browser
            .go(&format!("{PAGE}/login/provider?back=/"), None)
            .await;
        let there = choice
            .url
            .join(&choice.find("href=\"([^\"]*/auth/mock[^\"]*)\""))
            .unwrap();
        let mut on = there;
        while on.host_str() != Some("page.test") {
            on = browser.hop(&on, None).await.1.unwrap();
        }
        on
    };
    let taken = back(own).await;
    let refused = other.go(taken.as_str(), None).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    // Nobody ends it for who began it.
    assert_eq!(own.go(taken.as_str(), None).await.status, 200);
    assert_eq!(own.go(taken.as_str(), None).await.status, 403, "replayed");
    // A code of another login: its challenge is another one.
    let (mine, theirs) = (back(own).await, back(other).await);
    let part = |url: &Url, name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.unwrap().1.into_owned()
    };
    let mixed = [
        ("code", part(&theirs, "code")),
        ("state", part(&mine, "state")),
    ];
    let mixed = Url::parse_with_params(&format!("{PAGE}/login/callback"), mixed).unwrap();
    let refused = own.go(mixed.as_str(), None).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.text.contains("refused the code"),
        "{}",
        refused.text
    );
}

fn settings(issuer: &str) -> Oidc {
    Oidc {
        issuer: issuer.to_owned(),
        client_id: "sluice".to_owned(),
        client_secret_file: None,
        ca_file: None,
        scopes: Vec::new(),
        user_claim: "email".to_owned(),
        user_prefix: String::new(),
        groups_claim: "groups".to_owned(),
        groups_prefix: String::new(),
        session: SECOND,
    }
}

#[tokio::test]
async fn a_token_of_dex_is_good_for_us_for_its_login_and_for_its_time() {
    let Some(program) = program() else { return };
    let ports: [u16; 2] = free_ports();
    let dex = Dex::start(&program, "dex-tokens", ports[0]).await;
    let other = Dex::start(&program, "dex-other", ports[1]).await;
    let keys = Keys::read(&dex.json("keys").await.unwrap());
    let others = Keys::read(&other.json("keys").await.unwrap());
    let (ours, foreign) = (
        dex.token("sluice", "n").await,
        dex.token("other", "n").await,
    );
    let now = Timestamp::try_from(SystemTime::now()).unwrap();
    let checked = |token: &str, keys: &Keys, issuer: &str, nonce: &str, after: i64| {
        let now = Timestamp::from_second(now.as_second() + after).unwrap();
        let oidc = settings(issuer);
        let wanted = Wanted {
            oidc: &oidc,
            nonce,
            now,
        };
        check(token, keys, wanted)
    };
    let issuer = dex.issuer.as_str();
    let alice = Person::new("alice@example.org".to_owned(), Vec::new()).unwrap();
    assert_eq!(checked(&ours, &keys, issuer, "n", 0), Ok(alice));
    let (text, signature) = ours.rsplit_once('.').unwrap();
    let (_, others_signature) = foreign.rsplit_once('.').unwrap();
    let forged = format!("{text}.{others_signature}");
    // 255 of 256 bytes.
    let cut = format!("{text}.{}", &signature[..signature.len() - 2]);
    let cases = [
        (&foreign, &keys, issuer, "n", 0, Flaw::Audience),
        (&ours, &keys, issuer, "of another login", 0, Flaw::Nonce),
        (
            &ours,
            &keys,
            other.issuer.as_str(),
            "n",
            0,
            Flaw::Issuer(issuer.to_owned()),
        ),
        // Five minutes, and clocks that are a minute apart.
        (&ours, &keys, issuer, "n", 362, Flaw::Time),
        (&ours, &keys, issuer, "n", -120, Flaw::Time),
        (&ours, &others, issuer, "n", 0, Flaw::Key),
        (&forged, &keys, issuer, "n", 0, Flaw::Signature),
        (&cut, &keys, issuer, "n", 0, Flaw::Signature),
    ];
    for (token, keys, issuer, nonce, after, flaw) in cases {
        assert_eq!(checked(token, keys, issuer, nonce, after), Err(flaw));
    }
}

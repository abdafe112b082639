//! Who may act, and what is stored then: against a stand-in for the API server that knows Alice, who
//! may patch, and Bob, who may not.

use axum::body::Body as Content;
use axum::http::{HeaderMap, Method, Request as Asked, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::standin::Shop;
use super::*;
use crate::people::oidc::standin::{Signer, StandIn, settings};
use crate::web::Place;
use crate::web::session::Peer;

/// Whose token it is, and that Alice may patch in the namespace `shop`.
fn review(path: &str, spec: &Value) -> Option<Value> {
    if path.ends_with("/tokenreviews") {
        let user = match spec["token"].as_str() {
            Some("of-alice") => Some("alice"),
            Some("of-bob") => Some("bob"),
            _ => None,
        };
        return Some(
            json!({"authenticated": user.is_some(), "user": {"username": user, "groups": ["dev", "system:authenticated"]}}),
        );
    }
    if !path.ends_with("/subjectaccessreviews") {
        return None;
    }
    let attributes = &spec["resourceAttributes"];
    assert_eq!(attributes["verb"], "patch");
    assert_eq!(attributes["resource"], "rollouts");
    assert_eq!(spec["groups"], json!(["dev", "system:authenticated"]));
    let allowed = spec["user"] == "alice" && attributes["namespace"] == "shop";
    Some(json!({"allowed": allowed}))
}

struct World {
    acts: Acts,
    shop: Shop,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(token_review: bool, shared: Option<&str>) -> Self {
        Self::with(token_review, shared, Access::default())
    }

    /// One that believes what these settings say beside tokens.
    fn with(token_review: bool, shared: Option<&str>, access: Access) -> Self {
        Self::at(Place::root("test"), token_review, shared, access)
    }

    fn at(place: Place, token_review: bool, shared: Option<&str>, access: Access) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = shared.map(|token| {
            let path = folder.path().join("token");
            std::fs::write(&path, token).unwrap();
            path
        });
        let shop = Shop::with(json!({"stable": {"hash": "91bc03aa17", "images": []}}));
        let access = Access {
            token_review,
            token_file,
            ..access
        };
        let page = Some("http://sluice:8095");
        let acts = Acts::new(access, place, page, Clock::machine()).unwrap();
        let client = shop.server(review);
        let known = shop.clone();
        acts.begin(move |namespace, name| known.find(namespace, name), client);
        Self {
            acts,
            shop,
            _folder: folder,
        }
    }

    async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, String) {
        self.send_from(Peer::default(), Method::POST, path, headers, body)
            .await
    }

    async fn send_from(
        &self,
        peer: Peer,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, String) {
        let mut request = Asked::builder().method(method).uri(path).extension(peer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Content::from(body.to_owned())).unwrap();
        let answer = self.acts.router().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            !body.contains("of-alice") && !body.contains("of-bob"),
            "{body}"
        );
        (head.status.as_u16(), head.headers, body)
    }

    async fn act(&self, path: &str, token: &str) -> (u16, String) {
        let bearer = format!("Bearer {token}");
        let (status, _, body) = self.send(path, &[("authorization", &bearer)], "").await;
        (status, body)
    }
}

const HOLD: &str = "/api/rollouts/shop/backend/hold";

#[tokio::test]
async fn who_may_patch_the_rollout_may_act_and_is_named() {
    let world = World::new(true, None);
    let (status, body) = world.act(HOLD, "of-alice").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("held at 5%"), "{body}");
    assert_eq!(world.shop.asked(), [r#"hold 91bc03aa17 {"by":"alice"}"#]);
}

#[tokio::test]
async fn others_may_not_and_nothing_is_stored() {
    let world = World::new(true, None);
    let cases = [
        (HOLD, "of-bob", 403),
        (HOLD, "of-nobody", 401),
        (HOLD, "", 401),
        ("/api/rollouts/pay/backend/hold", "of-alice", 403),
        ("/api/rollouts/shop/front/hold", "of-alice", 404),
        ("/api/rollouts/shop/backend/explode", "of-alice", 404),
        ("/api/rollouts/shop/../pay/backend/hold", "of-alice", 404),
        ("/api/rollouts/shop/backend%2Fx/hold", "of-alice", 404),
    ];
    for (path, token, wanted) in cases {
        let (status, body) = world.act(path, token).await;
        assert_eq!(status, wanted, "{path} {token}: {body}");
    }
    let long = "x".repeat(TOKEN_BYTES + 1);
    assert_eq!(world.act(HOLD, &long).await.0, 401);
    assert_eq!(world.send(HOLD, &[], "").await.0, 401);
    assert_eq!(world.shop.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cookie_is_not_a_token() {
    let world = World::new(true, None);
    let (cookie, _) = signed_in(&world, "of-alice").await;
    let (status, ..) = world.send(HOLD, &[("cookie", &cookie)], "").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn the_shared_token_may_act_on_all() {
    let world = World::new(false, Some("right\n"));
    assert_eq!(world.act(HOLD, "wrong").await.0, 401);
    assert_eq!(world.act(HOLD, "of-alice").await.0, 401);
    assert_eq!(world.act(HOLD, "right").await.0, 200);
    assert_eq!(
        world.shop.asked(),
        [r#"hold 91bc03aa17 {"by":"the shared token"}"#]
    );
}

#[tokio::test]
async fn who_has_the_shared_token_chooses_a_revision_and_nobody_s_name() {
    let world = World::new(false, Some("right\n"));
    let approve = "/api/rollouts/shop/backend/approve";
    for revision in [
        r#"{"by":"alice","groups":["sre"]}"#,
        r#"91bc03aa17 {"by":"alice"}"#,
        "91bc03aa17 to=production",
    ] {
        let body = json!({"revision": revision}).to_string();
        let headers = [("authorization", "Bearer right")];
        let (status, _, told) = world.send(approve, &headers, &body).await;
        assert_eq!(status, 400, "{told}");
        assert!(told.contains("revision: "), "{told}");
    }
    assert_eq!(world.shop.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn without_settings_nobody_acts() {
    let world = World::new(false, None);
    assert!(world.acts.sessions().is_none());
    assert_eq!(world.act(HOLD, "of-alice").await.0, 404);
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const OURS: [(&str, &str); 2] = [("host", "sluice:8095"), ("origin", "http://sluice:8095")];

/// The cookie and the forms' secret of who has signed in.
async fn signed_in(world: &World, token: &str) -> (String, String) {
    let body = format!("token={token}&back=%2Frollouts%2Fshop%2Fbackend");
    let headers = [FORM, OURS[0], OURS[1]];
    let (status, headers, body) = world.send("/login", &headers, &body).await;
    assert_eq!(status, 303, "{body}");
    assert_eq!(headers[header::LOCATION], "/rollouts/shop/backend");
    let cookie = headers[header::SET_COOKIE].to_str().unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let mut known = HeaderMap::new();
    known.insert(header::COOKIE, cookie.parse().unwrap());
    let sessions = world.acts.sessions().unwrap();
    let session = sessions
        .of(&known, Peer::default(), Clock::machine().now())
        .unwrap();
    (cookie.to_owned(), session.form)
}

#[tokio::test]
async fn a_form_acts_for_who_has_signed_in() {
    let world = World::new(true, None);
    let (cookie, form) = signed_in(&world, "of-alice").await;
    let headers = [FORM, OURS[0], OURS[1], ("cookie", &cookie)];
    let body = format!("form={form}&revision=77aa77aa77");
    let (status, _, page) = world
        .send("/rollouts/shop/backend/hold", &headers, &body)
        .await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("held at 5%"), "{page}");
    assert_eq!(world.shop.asked(), [r#"hold 77aa77aa77 {"by":"alice"}"#]);
    let (status, ..) = world.send("/logout", &headers, &body).await;
    assert_eq!(status, 303);
    let (status, ..) = world
        .send("/rollouts/shop/backend/hold", &headers, &body)
        .await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let world = World::new(true, None);
    let (cookie, form) = signed_in(&world, "of-alice").await;
    let body = format!("form={form}");
    let evil = ("origin", "http://evil.example");
    let cross = ("sec-fetch-site", "cross-site");
    let cookie = ("cookie", cookie.as_str());
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[FORM, OURS[0], OURS[1], cookie], "form=guess"),
        (&[FORM, OURS[0], evil, cookie], &body),
        (&[FORM, OURS[0], OURS[1], cross, cookie], &body),
        (&[FORM, OURS[0], cookie], &body),
        (&[FORM, OURS[0], OURS[1]], &body),
    ];
    for (headers, body) in cases {
        let (status, ..) = world
            .send("/rollouts/shop/backend/hold", headers, body)
            .await;
        assert_eq!(status, 403, "{headers:?}");
    }
    let (status, headers, _) = world
        .send("/login", &[FORM, OURS[0], evil], "token=of-alice")
        .await;
    assert_eq!((status, headers.get(header::SET_COOKIE)), (403, None));
    assert_eq!(world.shop.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn who_signed_in_at_one_replica_acts_at_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "k".repeat(32)).unwrap();
    let replica = |environment: &str| {
        let access = Access {
            session_key_file: Some(file.clone()),
            ..Access::default()
        };
        World::at(Place::root(environment), true, None, access)
    };
    let (here, there) = (replica("test"), replica("test"));
    let (cookie, form) = signed_in(&here, "of-alice").await;
    let headers = [FORM, OURS[0], OURS[1], ("cookie", cookie.as_str())];
    let body = format!("form={form}&revision=77aa77aa77");
    let hold = "/rollouts/shop/backend/hold";
    assert_eq!(there.send(hold, &headers, &body).await.0, 200);
    assert_eq!(there.shop.asked(), [r#"hold 77aa77aa77 {"by":"alice"}"#]);
    let elsewhere = replica("staging").send(hold, &headers, &body).await.0;
    assert_eq!(elsewhere, 403);
    std::fs::write(&file, "changed".repeat(5)).unwrap();
    assert_eq!(there.send(hold, &headers, &body).await.0, 403);
}

#[tokio::test]
async fn strangers_keep_nobody_from_acting_who_is_known() {
    let world = World::new(true, None);
    let (cookie, form) = signed_in(&world, "of-alice").await;
    let all = u32::try_from(REVIEWS).unwrap();
    let all = world.acts.0.strangers.acquire_many(all).await.unwrap();
    let headers = [FORM, OURS[0], OURS[1], ("cookie", cookie.as_str())];
    let body = format!("form={form}");
    let (status, ..) = world
        .send("/rollouts/shop/backend/hold", &headers, &body)
        .await;
    assert_eq!(status, 200);
    drop(all);
}

#[tokio::test]
async fn one_environment_of_several_keeps_to_its_own_paths() {
    let world = World::at(Place::beneath("staging"), true, None, Access::default());
    let fields = "token=of-alice&back=%2Frollouts%2Fshop%2Fbackend";
    let (status, headers, _) = world
        .send("/login", &[FORM, OURS[0], OURS[1]], fields)
        .await;
    assert_eq!(status, 303);
    assert_eq!(headers[header::LOCATION], "/environments/staging/");
    let cookie = headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.contains("; Path=/environments/staging/;"),
        "{cookie}"
    );
}

#[tokio::test]
async fn who_is_not_known_is_told_so_where_he_signs_in() {
    let world = World::new(true, None);
    let headers = [FORM, OURS[0], OURS[1]];
    let (status, headers, page) = world.send("/login", &headers, "token=%3Cb%3E").await;
    assert_eq!((status, headers.get(header::SET_COOKIE)), (401, None));
    assert!(
        page.contains("not accepted") && !page.contains("<b>"),
        "{page}"
    );
}

fn behind_a_proxy() -> Access {
    Access {
        proxy: Some(Proxy {
            from: vec!["10.1.0.0/16".parse().unwrap()],
            user_header: "x-user".parse().unwrap(),
            groups_header: Some("x-groups".parse().unwrap()),
        }),
        ..Access::default()
    }
}

const PROXY: Peer = Peer(Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(
    10, 1, 0, 7,
))));
const ALICE: [(&str, &str); 2] = [("x-user", "alice"), ("x-groups", "dev, system:masters")];

type Case<'a> = (Peer, &'a [(&'a str, &'a str)], u16);

#[tokio::test]
async fn whom_a_listed_proxy_names_may_act_as_the_api_server_says() {
    let world = World::with(false, None, behind_a_proxy());
    let bob = [("x-user", "bob"), ALICE[1]];
    let masters = [("x-user", "system:admin"), ALICE[1]];
    let elsewhere = Peer(Some([10, 2, 0, 7].into()));
    let cases: [Case<'_>; 6] = [
        (PROXY, &bob, 403),
        (PROXY, &masters, 401),
        (elsewhere, &ALICE, 401),
        (Peer::default(), &ALICE, 401),
        (PROXY, &[], 401),
        (PROXY, &ALICE, 200),
    ];
    for (peer, headers, wanted) in cases {
        let sent = world.send_from(peer, Method::POST, HOLD, headers, "");
        assert_eq!(sent.await.0, wanted, "{peer:?} {headers:?}");
    }
    assert_eq!(world.shop.asked(), [r#"hold 91bc03aa17 {"by":"alice"}"#]);
}

#[tokio::test]
async fn a_page_of_another_site_does_nothing_for_whom_a_proxy_names() {
    let world = World::with(false, None, behind_a_proxy());
    let evil = ("origin", "http://evil.example");
    let cases: [&[(&str, &str)]; 2] = [
        &[ALICE[0], ALICE[1], OURS[0], evil],
        &[
            ALICE[0],
            ALICE[1],
            OURS[0],
            OURS[1],
            ("sec-fetch-site", "cross-site"),
        ],
    ];
    for headers in cases {
        let sent = world.send_from(PROXY, Method::POST, HOLD, headers, "");
        assert_eq!(sent.await.0, 403, "{headers:?}");
    }
    let form = "/rollouts/shop/backend/hold";
    let known = [FORM, OURS[0], OURS[1], ALICE[0], ALICE[1]];
    let guessed = world.send_from(PROXY, Method::POST, form, &known, "form=guess");
    assert_eq!(guessed.await.0, 403);
    assert_eq!(world.shop.asked(), Vec::<String>::new());
    let mut headers = HeaderMap::new();
    headers.insert("x-user", "alice".parse().unwrap());
    let sessions = world.acts.sessions().unwrap();
    let secret = sessions
        .of(&headers, PROXY, Clock::machine().now())
        .unwrap()
        .form;
    let body = format!("form={secret}");
    let sent = world.send_from(PROXY, Method::POST, form, &known, &body);
    assert_eq!(sent.await.0, 200);
}

async fn with_provider() -> (World, StandIn) {
    let provider = StandIn::start().await;
    let access = Access {
        oidc: Some(settings(&provider.address)),
        ..Access::default()
    };
    (World::with(false, None, access), provider)
}

/// Begins a login; the browser's cookie and the state, which the provider would bring back.
async fn at_the_provider(world: &World, provider: &StandIn) -> (String, String) {
    let path = "/login/provider?back=%2Frollouts%2Fshop%2Fbackend";
    let (status, headers, body) = world
        .send_from(Peer::default(), Method::GET, path, &[], "")
        .await;
    assert_eq!(status, 303, "{body}");
    let place = headers[header::LOCATION].to_str().unwrap();
    assert!(
        place.starts_with(&format!("{}/authorize?tenant=a&", provider.address)),
        "{place}"
    );
    provider.visit(place);
    let url = reqwest::Url::parse(place).unwrap();
    let state = url
        .query_pairs()
        .find(|(key, _)| key == "state")
        .unwrap()
        .1
        .into_owned();
    let (cookie, _) = headers[header::SET_COOKIE]
        .to_str()
        .unwrap()
        .split_once(';')
        .unwrap();
    (cookie.to_owned(), state)
}

async fn led_back(world: &World, cookie: &str, query: &str) -> (u16, HeaderMap, String) {
    let (path, headers) = (format!("/login/callback?{query}"), [("cookie", cookie)]);
    world
        .send_from(Peer::default(), Method::GET, &path, &headers, "")
        .await
}

#[tokio::test]
async fn who_signs_in_at_the_provider_may_act_as_the_api_server_says() {
    let (world, provider) = with_provider().await;
    let (cookie, state) = at_the_provider(&world, &provider).await;
    let query = format!("code=the-code&state={state}");
    let (status, headers, page) = led_back(&world, &cookie, &query).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(headers[header::REFRESH], "0; url=/rollouts/shop/backend");
    let session = headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        session.contains("; HttpOnly; SameSite=Strict; Max-Age=600"),
        "{session}"
    );
    let (session, _) = session.split_once(';').unwrap();
    let mut known = HeaderMap::new();
    known.insert(header::COOKIE, session.parse().unwrap());
    let sessions = world.acts.sessions().unwrap();
    let form = sessions
        .of(&known, Peer::default(), Clock::machine().now())
        .unwrap()
        .form;
    let headers = [FORM, OURS[0], OURS[1], ("cookie", session)];
    let (status, ..) = world
        .send(
            "/rollouts/shop/backend/hold",
            &headers,
            &format!("form={form}"),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(world.shop.asked(), [r#"hold 91bc03aa17 {"by":"alice"}"#]);
    let (status, _, page) = world
        .send("/logout", &headers, &format!("form={form}"))
        .await;
    let exit = format!("{}/logout?client_id=sluice", provider.address);
    assert!(status == 200 && page.contains(&exit), "{page}");
    assert!(
        sessions
            .of(&known, Peer::default(), Clock::machine().now())
            .is_none()
    );
}

#[tokio::test]
async fn a_login_that_is_not_as_it_began_signs_nobody_in() {
    let (world, provider) = with_provider().await;
    let refused = async |cookie: &str, query: &str, why: &str| {
        let (status, headers, page) = led_back(&world, cookie, query).await;
        assert_eq!(
            (status, headers.get(header::SET_COOKIE)),
            (403, None),
            "{query}"
        );
        assert!(page.contains(why), "{why}: {page}");
    };
    let (cookie, state) = at_the_provider(&world, &provider).await;
    let good = format!("code=the-code&state={state}");
    refused("sluice-login=other", &good, "not begun here").await;
    assert_eq!(led_back(&world, &cookie, &good).await.0, 200);
    refused(&cookie, &good, "not begun here").await;
    refused(&cookie, "code=the-code&state=guess", "not begun here").await;
    refused(&cookie, "code=the-code", "not begun here").await;
    for (query, why) in [
        ("error=access_denied", "access_denied"),
        ("code=", "no code"),
        ("code=guess", "invalid_grant"),
    ] {
        let (cookie, state) = at_the_provider(&world, &provider).await;
        refused(&cookie, &format!("{query}&state={state}"), why).await;
    }
}

#[tokio::test]
async fn a_token_that_is_not_good_signs_nobody_in() {
    let (world, provider) = with_provider().await;
    let now = Clock::machine().now().as_second();
    for (claims, why) in [
        (json!({"iss": "https://evil.example"}), "its issuer is"),
        (json!({"aud": "other"}), "for somebody else"),
        (json!({"exp": now - 120}), "has expired"),
        (json!({"nonce": "replayed"}), "another login"),
        (json!({"email": "system:admin"}), "names no user"),
    ] {
        let (cookie, state) = at_the_provider(&world, &provider).await;
        let before = provider.inner.lock().unwrap().claims.clone();
        let fields = claims.as_object().unwrap().clone();
        provider
            .inner
            .lock()
            .unwrap()
            .claims
            .as_object_mut()
            .unwrap()
            .extend(fields);
        let query = format!("code=the-code&state={state}");
        let (status, headers, page) = led_back(&world, &cookie, &query).await;
        assert_eq!(
            (status, headers.get(header::SET_COOKIE)),
            (403, None),
            "{why}"
        );
        assert!(page.contains(why), "{why}: {page}");
        provider.inner.lock().unwrap().claims = before;
    }
}

#[tokio::test]
async fn a_provider_may_change_its_key_and_an_unknown_one_is_none() {
    let (world, provider) = with_provider().await;
    let login = async || {
        let (cookie, state) = at_the_provider(&world, &provider).await;
        led_back(&world, &cookie, &format!("code=the-code&state={state}")).await
    };
    assert_eq!(login().await.0, 200);
    assert_eq!(login().await.0, 200);
    assert_eq!(provider.inner.lock().unwrap().reads, 1);
    provider.rotate(true);
    assert_eq!(login().await.0, 200);
    assert_eq!(provider.inner.lock().unwrap().reads, 2);
    provider.inner.lock().unwrap().signer = Signer::new("three");
    let (status, _, page) = login().await;
    assert!(
        status == 403 && page.contains("not one of the provider"),
        "{page}"
    );
}

#[tokio::test]
async fn another_provider_or_none_signs_nobody_in() {
    let (world, provider) = with_provider().await;
    provider.inner.lock().unwrap().issuer = "http://127.0.0.1:1/other".to_owned();
    let path = "/login/provider";
    let ask = || world.send_from(Peer::default(), Method::GET, path, &[], "");
    let (status, _, page) = ask().await;
    assert!(status == 403 && page.contains("it calls itself"), "{page}");
    drop(provider);
    let (status, _, page) = ask().await;
    assert!(status == 503 && page.contains("does not answer"), "{page}");
}

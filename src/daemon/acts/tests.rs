//! Who may act, and what is stored then: against a stand-in for the API server that knows Alice, who
//! may patch, and Bob, who may not.

use std::sync::Mutex;

use axum::body::Body as Content;
use axum::http::{Method, Request as Asked};
use http_body_util::BodyExt;
use kube::client::Body as KubeBody;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

/// What the API server was asked to store.
type Stored = Arc<Mutex<Vec<Value>>>;

/// Answers as the API server would, and answers each request that is stored.
fn server(rollout: &Arc<Mutex<Rollout>>, stored: &Stored) -> Client {
    let (rollout, stored) = (Arc::clone(rollout), Arc::clone(stored));
    let service = tower::service_fn(move |request: Asked<KubeBody>| {
        let (rollout, stored) = (Arc::clone(&rollout), Arc::clone(&stored));
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut body: Value = serde_json::from_slice(&body).unwrap();
            if path.ends_with("/tokenreviews") {
                let user = match body["spec"]["token"].as_str() {
                    Some("of-alice") => Some("alice"),
                    Some("of-bob") => Some("bob"),
                    _ => None,
                };
                body["status"] = json!({"authenticated": user.is_some(), "user": {"username": user, "groups": ["dev"]}});
            } else if path.ends_with("/subjectaccessreviews") {
                let spec = &body["spec"];
                let attributes = &spec["resourceAttributes"];
                assert_eq!(attributes["verb"], "patch");
                assert_eq!(attributes["resource"], "rollouts");
                assert_eq!(spec["groups"], json!(["dev"]));
                let allowed = spec["user"] == "alice" && attributes["namespace"] == "shop";
                body["status"] = json!({"allowed": allowed});
            } else {
                let annotations = body["metadata"]["annotations"].as_object().unwrap().clone();
                stored
                    .lock()
                    .unwrap()
                    .push(Value::Object(annotations.clone()));
                let id = annotations.keys().next().unwrap();
                let answer = json!({
                    "id": id.strip_prefix("request.sluice.dev/").unwrap(),
                    "act": "hold", "done": true, "message": "held at 5%", "at": "2026-01-01T00:00:00Z",
                });
                let mut rollout = rollout.lock().unwrap();
                let status = rollout.status.get_or_insert_default();
                status.answers.push(serde_json::from_value(answer).unwrap());
                body = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "backend"}});
            }
            let answer = axum::http::Response::new(KubeBody::from(body.to_string().into_bytes()));
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    Client::new(service, "default")
}

struct World {
    acts: Acts,
    stored: Stored,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(token_review: bool, shared: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = shared.map(|token| {
            let path = folder.path().join("token");
            std::fs::write(&path, token).unwrap();
            path
        });
        let rollout = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "backend", "namespace": "shop", "uid": "u"},
            "spec": {"target": {"kind": "Deployment", "name": "backend"}},
            "status": {"revision": "91bc03aa17"},
        });
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        let rollout = Arc::new(Mutex::new(rollout));
        let stored = Stored::default();
        let client = server(&rollout, &stored);
        let access = Access {
            token_review,
            token_file,
        };
        let acts = Acts::new(access, "test", Clock::machine());
        let find = move |namespace: &str, name: &str| {
            let found = (namespace, name) == ("shop", "backend");
            found.then(|| Arc::new(rollout.lock().unwrap().clone()))
        };
        acts.begin(find, client);
        Self {
            acts,
            stored,
            _folder: folder,
        }
    }

    async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, String) {
        let mut request = Asked::builder().method(Method::POST).uri(path);
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

    fn stored(&self) -> Vec<String> {
        let stored = self.stored.lock().unwrap();
        let values = stored.iter().flat_map(|a| a.as_object().unwrap().values());
        values.map(|v| v.as_str().unwrap().to_owned()).collect()
    }
}

const HOLD: &str = "/api/rollouts/shop/backend/hold";

#[tokio::test]
async fn who_may_patch_the_rollout_may_act_and_is_named() {
    let world = World::new(true, None);
    let (status, body) = world.act(HOLD, "of-alice").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("held at 5%"), "{body}");
    assert_eq!(world.stored(), [r#"hold 91bc03aa17 {"by":"alice"}"#]);
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
    assert_eq!(world.stored(), Vec::<String>::new());
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
        world.stored(),
        [r#"hold 91bc03aa17 {"by":"the shared token"}"#]
    );
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
    let session = sessions.of(&known, Clock::machine().now()).unwrap();
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
    assert_eq!(world.stored(), [r#"hold 77aa77aa77 {"by":"alice"}"#]);
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
    assert_eq!(world.stored(), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_is_led_elsewhere_and_nothing_gets_into_a_header() {
    let cases = [
        ("/rollouts/a/b", "/rollouts/a/b"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("/\\evil.example", "/"),
        ("", "/"),
    ];
    for (given, wanted) in cases {
        assert_eq!(local(given), wanted, "{given:?}");
    }
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

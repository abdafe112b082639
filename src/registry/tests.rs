//! A registry stand-in that asks for tokens, and what is read without one. The real one is asked in
//! `tests/environments`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::challenge::Challenge;
use super::{Access, Error, Image, Registry};

#[test]
fn an_image_is_a_host_and_a_repository() {
    for (text, host, repository) in [
        (
            "registry.example/shop/backend",
            "registry.example",
            "shop/backend",
        ),
        ("localhost:5000/a", "localhost:5000", "a"),
        ("shop/backend", "docker.io", "shop/backend"),
        ("nginx", "docker.io", "library/nginx"),
    ] {
        let image = Image::parse(text).unwrap();
        assert_eq!(
            (image.host.as_str(), image.repository.as_str()),
            (host, repository)
        );
    }
    for text in [
        "",
        "registry.example/",
        "registry.example/Shop",
        "r.example/a/../b",
        "r.example/a:v1",
    ] {
        assert!(Image::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_challenge_is_read_with_commas_in_its_values() {
    let text = "Bearer realm=\"https://auth.example/token\",service=\"r.example\",scope=\"repository:a:pull,push\"";
    let wanted = Challenge::Bearer {
        realm: "https://auth.example/token".to_owned(),
        service: Some("r.example".to_owned()),
        scope: Some("repository:a:pull,push".to_owned()),
    };
    assert_eq!(Challenge::parse(text), Some(wanted));
    assert_eq!(Challenge::parse("basic realm=x"), Some(Challenge::Basic));
    assert_eq!(Challenge::parse("Negotiate"), None);
    assert_eq!(Challenge::parse("Bearer service=x"), None);
}

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Tokens for `ada`; a manifest `{}`; one that is not what it is said to be.
async fn answer(State(host): State<String>, uri: Uri, headers: HeaderMap) -> Response {
    let given = headers.get("authorization").and_then(|v| v.to_str().ok());
    match (uri.path(), given) {
        // ada:secret
        ("/token", Some("Basic YWRhOnNlY3JldA==")) => {
            let wanted = "service=here&scope=repository%3Ashop%3Apull";
            assert_eq!(uri.query(), Some(wanted));
            "{\"token\": \"good\"}".into_response()
        }
        ("/token", _) => StatusCode::UNAUTHORIZED.into_response(),
        ("/v2/shop/manifests/v1", Some("Bearer good")) => (
            [("content-type", "a/b"), ("docker-content-digest", DIGEST)],
            "{}",
        )
            .into_response(),
        ("/v2/shop/manifests/false", Some("Bearer good")) => {
            ([("docker-content-digest", DIGEST)], "{ }").into_response()
        }
        ("/v2/shop/tags/list", Some("Bearer good")) if uri.query() == Some("n=1000") => {
            let next = "</v2/shop/tags/list?last=b&n=2>; rel=\"next\"";
            ([("link", next)], "{\"tags\": [\"a\", \"b\"]}").into_response()
        }
        ("/v2/shop/tags/list", Some("Bearer good")) => "{\"tags\": [\"c\"]}".into_response(),
        (_, Some("Bearer good")) => StatusCode::NOT_FOUND.into_response(),
        _ => {
            let wanted = format!(
                "Bearer realm=\"http://{host}/token\",service=\"here\",scope=\"repository:shop:pull\""
            );
            (StatusCode::UNAUTHORIZED, [("www-authenticate", wanted)]).into_response()
        }
    }
}

async fn stand_in() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let app = Router::new().fallback(answer).with_state(host.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (host, tasks)
}

#[tokio::test]
async fn a_token_is_got_by_the_password_of_the_docker_configuration() {
    let (host, _tasks) = stand_in().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let access = Access {
        config_file: Some(file.clone()),
        ..Access::default()
    };
    let registry = Registry::new(&host, &access).unwrap();
    std::fs::write(&file, "{\"auths\": {}}").unwrap();
    let refused = registry.digest("shop", "v1").await.unwrap_err().to_string();
    assert!(
        refused.contains("refuses to give a token: 401"),
        "{refused}"
    );
    // The file is read again each time.
    let login =
        format!("{{\"auths\": {{\"http://{host}/v2/\": {{\"auth\": \"YWRhOnNlY3JldA==\"}}}}}}");
    std::fs::write(&file, login).unwrap();
    assert_eq!(
        registry.digest("shop", "v1").await.unwrap().as_deref(),
        Some(DIGEST)
    );
    assert_eq!(registry.digest("shop", "gone").await.unwrap(), None);
    let manifest = registry.manifest("shop", "v1").await.unwrap();
    assert_eq!(
        (manifest.media.as_str(), manifest.bytes.as_slice()),
        ("a/b", "{}".as_bytes())
    );
    assert_eq!(registry.tags("shop").await.unwrap(), ["a", "b", "c"]);
    let lie = registry.manifest("shop", "false").await.unwrap_err();
    assert!(matches!(lie, Error::Answer { .. }), "{lie}");
}

#[tokio::test]
async fn a_keeper_of_passwords_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let (host, _tasks) = stand_in().await;
    std::fs::write(
        &file,
        format!("{{\"credHelpers\": {{\"{host}\": \"pass\"}}}}"),
    )
    .unwrap();
    let access = Access {
        config_file: Some(file),
        ..Access::default()
    };
    let registry = Registry::new(&host, &access).unwrap();
    let refused = registry.digest("shop", "v1").await.unwrap_err().to_string();
    assert!(refused.contains("is kept by another program"), "{refused}");
}

//! A GitHub App instead of a password: the stand-in for GitHub's API gives a token to whoever signs
//! with the App's key, and the Git server takes that token.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use serde_json::{Value, json};
use sluice::git::{Address, App, Copy, Credentials, Remote, Tokens};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::limits;
use super::repository::Team;
use super::server::Http;

/// GitHub's part: the App's public key, and how often it was asked for a token.
#[derive(Clone)]
struct Api {
    public: Arc<Vec<u8>>,
    asked: Arc<Mutex<u32>>,
}

async fn token(
    State(api): State<Api>,
    Path(installation): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let given = headers["authorization"].to_str().unwrap();
    let given = given.strip_prefix("Bearer ").unwrap();
    let (signed, signature) = given.rsplit_once('.').unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, api.public.as_slice());
    if key
        .verify(signed.as_bytes(), &unwritten(signature))
        .is_err()
    {
        let said = json!({"message": "A JSON web token could not be decoded"});
        return (StatusCode::UNAUTHORIZED, said.to_string());
    }
    let claims: Value =
        serde_json::from_slice(&unwritten(signed.rsplit_once('.').unwrap().1)).unwrap();
    let lasts = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(
        (claims["iss"].as_str(), installation.as_str(), lasts),
        (Some("7"), "8", 600)
    );
    *api.asked.lock().unwrap() += 1;
    let said = json!({"token": "token", "expires_at": "2027-01-15T09:00:00Z"});
    (StatusCode::CREATED, said.to_string())
}

/// From base64 as URLs have it.
fn unwritten(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = |letter: &u8| LETTERS.iter().position(|known| known == letter).unwrap() as u32;
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, letter| bits << 6 | value(letter));
        let bits = bits << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    bytes
}

/// A private key as GitHub gives it, in PEM.
fn key(folder: &std::path::Path, name: &str) -> String {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
        .arg(&path)
        .stdin(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(path).unwrap()
}

fn public(pem: &str) -> Vec<u8> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap() {
        PrivateKeyDer::Pkcs1(der) => {
            let pair = RsaKeyPair::from_der(der.secret_pkcs1_der()).unwrap();
            pair.public_key().as_ref().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_app_fetches_by_a_token_that_is_asked_for_once() {
    let team = Team::new();
    let head = team.commit("Begin", &[("a", "1")]);
    let http = Http::serve(&team.served()).await;
    let pem = key(team.folder.path(), "app");
    let api = Api {
        public: Arc::new(public(&pem)),
        asked: Arc::default(),
    };
    let router = Router::new()
        .route("/app/installations/{id}/access_tokens", post(token))
        .with_state(api.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move { axum::serve(listener, router).await.unwrap() });

    let (tokens, now) = (Tokens::default(), "2027-01-15T08:00:00Z".parse().unwrap());
    let remote = |key: String| Remote {
        at: Address::parse(&format!("{}/shop.git", http.url)).unwrap().0,
        branch: "main".to_owned(),
        credentials: Credentials::App(App {
            id: "7".to_owned(),
            installation: "8".to_owned(),
            key: SecretString::from(key),
            api: format!("http://{at}"),
        }),
        authority: None,
    };
    for _ in 0..2 {
        let remote = remote(pem.clone()).signed_in(&tokens, now).await.unwrap();
        let (folder, runtime) = (team.folder.path().join("copies"), Handle::current());
        let fetched = tokio::task::spawn_blocking(move || {
            Copy::open(&folder, runtime, remote, limits())?.fetch()
        });
        assert_eq!(fetched.await.unwrap().unwrap(), head);
    }
    assert_eq!(*api.asked.lock().unwrap(), 1);

    let other = key(team.folder.path(), "other");
    let refused = remote(other).signed_in(&tokens, now).await.unwrap_err();
    assert!(refused.may_pass(), "{refused}");
    assert!(
        refused.to_string().contains("could not be decoded"),
        "{refused}"
    );
}

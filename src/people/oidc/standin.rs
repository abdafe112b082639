//! An identity provider for tests: discovery, keys and tokens as the specification says, on loopback.
//!
//! Not here: people who type passwords; whoever asks for a code gets one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Oidc;

/// Settings for a provider at this address.
pub fn settings(issuer: &str) -> Oidc {
    Oidc {
        issuer: issuer.to_owned(),
        client_id: "sluice".to_owned(),
        client_secret_file: None,
        ca_file: None,
        scopes: vec!["email".to_owned(), "groups".to_owned()],
        user_claim: "email".to_owned(),
        user_prefix: String::new(),
        groups_claim: "groups".to_owned(),
        groups_prefix: String::new(),
        session: Duration::from_secs(600),
    }
}

fn signed(head: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(head), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// A key of the curve P-256.
#[derive(Debug)]
pub struct Signer {
    id: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    /// A new key of this id.
    pub fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        Self {
            id: id.to_owned(),
            pair: pair.unwrap(),
        }
    }

    /// Its public part, as a JWK.
    pub fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": number(&point[1..33]), "y": number(&point[33..])})
    }

    /// A token of these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let random = SystemRandom::new();
        let sign = |text: &[u8]| self.pair.sign(&random, text).unwrap().as_ref().to_vec();
        signed(&json!({"alg": "ES256", "kid": self.id}), claims, sign)
    }
}

/// An RSA key, made by `ssh-keygen`.
#[derive(Debug)]
pub struct Rsa {
    id: String,
    pair: RsaKeyPair,
}

impl Rsa {
    /// A new key of this id.
    pub fn new(id: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        let pem = std::fs::read(path).unwrap();
        let PrivateKeyDer::Pkcs1(der) = PrivateKeyDer::from_pem_slice(&pem).unwrap() else {
            panic!("ssh-keygen -m PEM makes PKCS#1");
        };
        let pair = RsaKeyPair::from_der(der.secret_pkcs1_der()).unwrap();
        Self {
            id: id.to_owned(),
            pair,
        }
    }

    /// Its public part, as a JWK.
    pub fn public(&self) -> Value {
        let key = self.pair.public();
        let components: ring::signature::RsaPublicKeyComponents<Vec<u8>> = key.into();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "RSA", "kid": self.id, "n": number(&components.n), "e": number(&components.e)})
    }

    /// A token of these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let sign = |text: &[u8]| {
            let mut signature = vec![0; self.pair.public().modulus_len()];
            let random = SystemRandom::new();
            self.pair
                .sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                .unwrap();
            signature
        };
        signed(&json!({"alg": "RS256", "kid": self.id}), claims, sign)
    }
}

/// What the provider knows and was asked.
#[derive(Debug)]
pub struct Inner {
    /// The keys that it shows.
    pub shown: Vec<Value>,
    /// The key by which it signs.
    pub signer: Signer,
    /// What it says beside nonce and times.
    pub claims: Value,
    /// What it calls itself.
    pub issuer: String,
    /// The nonce and the challenge of the newest login: what a browser brought.
    pub login: (String, String),
    /// How often keys were read.
    pub reads: usize,
}

/// A provider on loopback that ends with this.
#[derive(Debug)]
pub struct StandIn {
    /// What it knows.
    pub inner: Arc<Mutex<Inner>>,
    /// Where it is.
    pub address: String,
    _server: tokio::task::JoinSet<()>,
}

type Known = State<Arc<Mutex<Inner>>>;

#[derive(Debug, Deserialize)]
struct Asked {
    grant_type: String,
    code: String,
    code_verifier: String,
    client_id: Option<String>,
}

impl StandIn {
    /// Starts one that knows Alice.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let signer = Signer::new("one");
        let inner = Arc::new(Mutex::new(Inner {
            shown: vec![signer.public()],
            signer,
            claims: json!({"aud": "sluice", "sub": "7", "email": "alice", "groups": ["dev"]}),
            issuer: address.clone(),
            login: Default::default(),
            reads: 0,
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(places))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&inner));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            inner,
            address,
            _server: server,
        }
    }

    /// Takes the nonce and the challenge from the address that a browser is sent to.
    pub fn visit(&self, door: &str) {
        let url = reqwest::Url::parse(door).unwrap();
        let of = |name: &str| {
            url.query_pairs()
                .find(|(key, _)| key == name)
                .unwrap()
                .1
                .into_owned()
        };
        assert_eq!(
            (of("response_type"), of("code_challenge_method")),
            ("code".into(), "S256".into())
        );
        assert_eq!(of("scope"), "openid email groups");
        self.inner.lock().unwrap().login = (of("nonce"), of("code_challenge"));
    }

    /// Signs by another key from now on; whether it shows it.
    pub fn rotate(&self, shows: bool) {
        let mut inner = self.inner.lock().unwrap();
        inner.signer = Signer::new("two");
        if shows {
            inner.shown = vec![inner.signer.public()];
        }
    }
}

async fn places(State(inner): Known) -> Json<Value> {
    let issuer = inner.lock().unwrap().issuer.clone();
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize?tenant=a"), "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"), "end_session_endpoint": format!("{issuer}/logout"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn keys(State(inner): Known) -> Json<Value> {
    let mut inner = inner.lock().unwrap();
    inner.reads += 1;
    Json(json!({"keys": inner.shown}))
}

async fn token(
    State(inner): Known,
    headers: HeaderMap,
    Form(asked): Form<Asked>,
) -> (StatusCode, Json<Value>) {
    let inner = inner.lock().unwrap();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&asked.code_verifier));
    let known =
        asked.client_id.as_deref() == Some("sluice") || headers.contains_key("authorization");
    if asked.grant_type != "authorization_code"
        || asked.code != "the-code"
        || challenge != inner.login.1
        || !known
    {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        );
    }
    let now = crate::clock::Clock::machine().now().as_second();
    let mut claims =
        json!({"iss": inner.issuer, "iat": now, "exp": now + 300, "nonce": inner.login.0});
    let given = inner.claims.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(given);
    let token = inner.signer.sign(&claims);
    (
        StatusCode::OK,
        Json(json!({"access_token": "x", "token_type": "Bearer", "id_token": token})),
    )
}

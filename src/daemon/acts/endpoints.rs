//! The endpoints of acts: what programs and our own pages' forms send, and how they are answered.
//!
//! `POST /api/rollouts/{namespace}/{name}/{act}` with a bearer token, for programs; `POST
//! /rollouts/{namespace}/{name}/{act}` from the page's own forms, by a session.
//!
//! Guarantees: a cookie alone does nothing: forms are taken from our own pages only, and repeat the session's
//! secret. Not here: whether one may (`review`), and the way over an identity provider (`door`).

use axum::body::Bytes;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{Acts, Denial, Standing, door};
use crate::people::oidc::Provider;
use crate::web::acts::{Page, Ways, answered, login, passed};
use crate::web::session::{LASTS, Lasts, Peer, Proof, Session, is_ours};

/// What a program sends.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)] // a mistyped `revision` would act on whatever is under trial
struct Body {
    revision: Option<String>,
}

/// What a form sends.
#[derive(Debug, Deserialize)]
struct Filled {
    form: String,
    revision: Option<String>,
}

#[derive(Deserialize)]
struct SignIn {
    token: SecretString,
    #[serde(default)]
    back: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    pub(super) back: String,
}

type Place = Path<(String, String, String)>;

impl Acts {
    /// The endpoints; none where nobody may act.
    pub fn router(&self) -> Router {
        if !self.0.access.is_given() {
            return Router::new();
        }
        Router::new()
            .route("/api/rollouts/{namespace}/{name}/{act}", post(by_program))
            .route("/rollouts/{namespace}/{name}/{act}", post(by_form))
            .route("/login", get(show_login).post(sign_in))
            .route("/login/provider", get(door::open))
            .route("/login/callback", get(door::back))
            .route("/logout", post(sign_out))
            .with_state(self.clone())
    }

    pub(super) fn page(&self, status: StatusCode, title: &str, main: &maud::Markup) -> Response {
        let page = Page {
            place: &self.0.place,
            title,
            events: None,
        };
        (status, Html(page.html(main).into_string())).into_response()
    }

    /// A path of this environment's own.
    pub(super) fn local(&self, path: &str) -> String {
        self.0.place.local(path)
    }

    pub(super) fn ways(&self) -> Ways {
        let access = &self.0.access;
        Ways {
            token: access.token_review || access.token_file.is_some(),
            provider: access.oidc.is_some(),
        }
    }

    /// What a program shows: its token, or that a proxy introduces it. Of a browser that was introduced
    /// only our own pages count: any page could send it here.
    fn program(&self, headers: &HeaderMap, peer: Peer) -> Result<Proof, Denial> {
        if headers.contains_key(header::AUTHORIZATION) {
            return token(headers).map(Proof::Token);
        }
        let browser =
            headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
        let session = self
            .0
            .sessions
            .introduced(headers, peer, self.0.clock.now());
        let session = session.ok_or(Denial::Stranger)?;
        if browser && !is_ours(headers) {
            return Err(Denial::Foreign);
        }
        Ok(session.proof)
    }

    /// The session of a form that one of our own pages sent.
    fn session(&self, headers: &HeaderMap, peer: Peer, form: &str) -> Result<Session, Denial> {
        let session = self.0.sessions.of(headers, peer, self.0.clock.now());
        let own = session.filter(|session| is_ours(headers) && session.is_own(form));
        own.ok_or(Denial::Foreign)
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn token(headers: &HeaderMap) -> Result<SecretString, Denial> {
    let given = headers.get(header::AUTHORIZATION);
    let text = given.and_then(|value| value.to_str().ok());
    let token = text.and_then(|text| {
        let (scheme, token) = text.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case("bearer ").then(|| token.trim())
    });
    token.map(SecretString::from).ok_or(Denial::Stranger)
}

async fn by_program(
    State(acts): State<Acts>,
    Path((namespace, name, act)): Place,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let done = async {
        let proof = acts.program(&headers, peer)?;
        let body: Body = match body.trim_ascii() {
            [] => Body::default(),
            body => {
                serde_json::from_slice(body).map_err(|error| Denial::Body(error.to_string()))?
            }
        };
        let shown = (&proof, Standing::Stranger);
        acts.act(shown, (&namespace, &name, &act), body.revision)
            .await
    };
    match done.await {
        Ok(answer) if answer.done => Json(answer).into_response(),
        Ok(answer) => (StatusCode::CONFLICT, Json(answer)).into_response(),
        Err(denial) => {
            let error = json!({"error": denial.to_string()});
            (denial.status(), Json(error)).into_response()
        }
    }
}

async fn by_form(
    State(acts): State<Acts>,
    Path((namespace, name, act)): Place,
    peer: Peer,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Response {
    let done = async {
        let session = acts.session(&headers, peer, &filled.form)?;
        let shown = (&session.proof, Standing::Known);
        acts.act(shown, (&namespace, &name, &act), filled.revision)
            .await
    };
    let back = acts.local(&acts.0.place.path(&format!("/rollouts/{namespace}/{name}")));
    match done.await {
        Ok(answer) => {
            let words = format!("{}: {}", answer.act, answer.message);
            let status = if answer.done {
                StatusCode::OK
            } else {
                StatusCode::CONFLICT
            };
            acts.page(status, &answer.act, &answered(&back, answer.done, &words))
        }
        Err(denial) => {
            let words = denial.to_string();
            acts.page(denial.status(), "Not done", &answered(&back, false, &words))
        }
    }
}

async fn show_login(State(acts): State<Acts>, Query(asked): Query<Back>) -> Response {
    let main = login(&acts.0.place, &acts.local(&asked.back), acts.ways(), None);
    acts.page(StatusCode::OK, "Sign in", &main)
}

async fn sign_in(
    State(acts): State<Acts>,
    headers: HeaderMap,
    Form(given): Form<SignIn>,
) -> Response {
    let back = acts.local(&given.back);
    let token = SecretString::from(given.token.expose_secret().trim());
    let who = if is_ours(&headers) {
        acts.who(&token, Standing::Stranger).await
    } else {
        Err(Denial::Foreign)
    };
    let begun = who.and_then(|who| {
        let lasts = Lasts {
            time: LASTS,
            secure: acts.0.secure,
        };
        let sessions = &acts.0.sessions;
        let begun = sessions.begin(&who.name(), Proof::Token(token), lasts, acts.0.clock.now());
        begun.ok_or_else(|| Denial::Away("no session can be begun".to_owned()))
    });
    match begun {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to(&back)).into_response(),
        Err(denial) => {
            let why = denial.to_string();
            let main = login(&acts.0.place, &back, acts.ways(), Some(&why));
            acts.page(denial.status(), "Sign in", &main)
        }
    }
}

async fn sign_out(
    State(acts): State<Acts>,
    peer: Peer,
    headers: HeaderMap,
    Form(filled): Form<Filled>,
) -> Response {
    if let Err(denial) = acts.session(&headers, peer, &filled.form) {
        return (denial.status(), denial.to_string()).into_response();
    }
    let cookie = [(
        header::SET_COOKIE,
        acts.0.sessions.end(&headers, acts.0.clock.now()),
    )];
    let home = acts.0.place.path("/");
    match acts.0.provider.as_ref().and_then(Provider::exit) {
        Some(there) => {
            let main = passed(&home, "Signed out here", Some(&there));
            (cookie, acts.page(StatusCode::OK, "Signed out", &main)).into_response()
        }
        None => (cookie, Redirect::to(&home)).into_response(),
    }
}

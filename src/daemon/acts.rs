//! Acts of people at the page and its API: who they are, whether they may, and the request.
//!
//! `POST /api/rollouts/{namespace}/{name}/{act}` with a bearer token, for programs; `POST
//! /rollouts/{namespace}/{name}/{act}` from the page's own forms, by a session. A token is the one
//! of the settings' file, or the API server is asked whose it is and whether that user may patch
//! the Rollout: the same right that the command line needs. What is allowed becomes the same
//! annotation that the command line writes, with the user's name, and the daemon that leads
//! answers it. Users whom an identity provider (`door`) or a proxy names are asked about in the same way.
//!
//! Guarantees: nothing is read of a Rollout before the right is shown; a cookie alone does nothing:
//! forms are taken from our own pages only, and repeat the session's secret; tokens are in no log.
//!
//! Not here: sessions and pages (`web`), what an act does (`rollout::decide`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::settings::Access;
use crate::causes;
use crate::clock::Clock;
use crate::kubernetes::ask::{self, Act};
use crate::kubernetes::crd::{Answer, Rollout};
use crate::people::oidc::{self, Provider};
use crate::people::proxy::{Introduced, Proxy};
use crate::people::{bearer, person::Person};
use crate::rollout::observation::Request;
use crate::web;
use crate::web::acts::{Page, Ways, answered, login, passed};
use crate::web::login::Logins;
use crate::web::session::{LASTS, Lasts, Peer, Proof, Session, Sessions, is_ours};

mod door;
mod review;

/// The field manager of what is asked.
const MANAGER: &str = "sluice-page";
/// For one request to the API server.
const DEADLINE: Duration = Duration::from_secs(4);
/// How long the daemon that leads has for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Reviews at one time: strangers must not load the API server.
const REVIEWS: usize = 4;
/// The longest token; those of clusters are some thousand bytes.
const TOKEN_BYTES: usize = 16 * 1024;

type Find = dyn Fn(&str, &str) -> Option<Arc<Rollout>> + Send + Sync;

/// What is needed to act, once it is there.
struct Live {
    find: Box<Find>,
    client: Client,
}

struct Inner {
    access: Access,
    place: web::Place,
    clock: Clock,
    sessions: Sessions,
    provider: Option<Provider>,
    logins: Logins,
    /// Whether the page is reached over TLS, as the settings say.
    secure: bool,
    reviews: Semaphore,
    /// People who are signing in, at one time: a provider that is slow must not hold up the reviews.
    logins_at_once: Semaphore,
    live: OnceLock<Live>,
}

/// The group of everybody whom the API server knows.
const AUTHENTICATED: &str = "system:authenticated";

/// The acts. Cheap to clone.
#[derive(Clone)]
pub struct Acts(Arc<Inner>);

/// Who asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asker {
    /// Somebody with the token of the file.
    Shared,
    /// A user of the cluster.
    User(Box<UserInfo>),
}

impl Asker {
    /// A person whom somebody else vouches for, in the groups that the API server would say of them.
    pub(super) fn person(name: &str, groups: &[String]) -> Self {
        Self::User(Box::new(UserInfo {
            username: Some(name.to_owned()),
            groups: Some([groups, &[AUTHENTICATED.to_owned()]].concat()),
            ..UserInfo::default()
        }))
    }

    fn name(&self) -> String {
        match self {
            Self::Shared => "the shared token".to_owned(),
            Self::User(user) => user.username.clone().unwrap_or_default(),
        }
    }

    fn groups(&self) -> Vec<String> {
        match self {
            Self::Shared => Vec::new(),
            Self::User(user) => user.groups.clone().unwrap_or_default(),
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denial {
    #[error("a bearer token is needed, and this one is not accepted")]
    Stranger,
    #[error("{who} may not {verb} the Rollout {rollout}")]
    Forbidden {
        who: String,
        verb: &'static str,
        rollout: String,
    },
    #[error("the request was not made by a page of this daemon, or the session has ended")]
    Foreign,
    #[error("no Rollout {0} is known here")]
    NoRollout(String),
    #[error("there is no act {0:?}")]
    NoAct(String),
    #[error("the body is not understood: {0}")]
    Body(String),
    #[error("nobody was signed in: {0}")]
    Login(String),
    #[error("{0}")]
    Away(String),
}

impl Denial {
    fn status(&self) -> StatusCode {
        match self {
            Self::Stranger => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::Foreign | Self::Login(_) => StatusCode::FORBIDDEN,
            Self::NoRollout(_) | Self::NoAct(_) => StatusCode::NOT_FOUND,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What a program sends.
#[derive(Debug, Default, Deserialize)]
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
struct Back {
    #[serde(default)]
    back: String,
}

type Place = Path<(String, String, String)>;

impl Acts {
    /// The acts of these settings; `page_url` is where browsers reach the page. Fails where the identity
    /// provider's authorities cannot be read.
    pub fn new(
        access: Access,
        place: web::Place,
        page_url: Option<&str>,
        clock: Clock,
    ) -> Result<Self, oidc::Error> {
        let page_url = page_url.unwrap_or_default();
        let back = format!("{page_url}/login/callback");
        let oidc = access.oidc.clone();
        let provider = oidc.map(|oidc| Provider::new(oidc, back)).transpose()?;
        let sessions = access.proxy.clone().map(introduced_by);
        let sessions = sessions.unwrap_or_default().beneath(&place.base);
        Ok(Self(Arc::new(Inner {
            access,
            place,
            clock,
            sessions,
            provider,
            logins: Logins::default(),
            secure: page_url.starts_with("https://"),
            reviews: Semaphore::new(REVIEWS),
            logins_at_once: Semaphore::new(REVIEWS),
            live: OnceLock::new(),
        })))
    }

    /// From now on something can be asked; `find` looks a Rollout up.
    pub fn begin(
        &self,
        find: impl Fn(&str, &str) -> Option<Arc<Rollout>> + Send + Sync + 'static,
        client: Client,
    ) {
        let find = Box::new(find);
        // Set once, at the start.
        let _ = self.0.live.set(Live { find, client });
    }

    /// Who has signed in, where anybody may act.
    pub fn sessions(&self) -> Option<Sessions> {
        let given = self.0.access.is_given();
        given.then(|| self.0.sessions.clone())
    }

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

    fn live(&self) -> Result<&Live, Denial> {
        let live = self.0.live.get();
        live.ok_or_else(|| Denial::Away("not ready yet; try again".to_owned()))
    }

    /// Whose token this is.
    async fn who(&self, token: &SecretString) -> Result<Asker, Denial> {
        let text = token.expose_secret();
        if text.is_empty() || text.len() > TOKEN_BYTES {
            return Err(Denial::Stranger);
        }
        if let Some(file) = &self.0.access.token_file {
            let header = format!("Bearer {text}");
            match bearer::admit(Some(header.as_bytes()), file) {
                Ok(()) => return Ok(Asker::Shared),
                Err(bearer::Stranger::NoToken | bearer::Stranger::WrongToken) => {}
                Err(error) => tracing::error!(error = causes::told(&error), "access.tokenFile"),
            }
        }
        if !self.0.access.token_review {
            return Err(Denial::Stranger);
        }
        self.review(text).await
    }

    /// Who shows this.
    async fn shown(&self, proof: &Proof) -> Result<Asker, Denial> {
        match proof {
            Proof::Token(token) => self.who(token).await,
            Proof::Person { name, groups } => Ok(Asker::person(name, groups)),
        }
    }

    /// Asks, and waits for the answer.
    async fn act(
        &self,
        proof: &Proof,
        (namespace, name, act): (&str, &str, &str),
        revision: Option<String>,
    ) -> Result<Answer, Denial> {
        let asker = self.shown(proof).await?;
        let request = Request {
            id: String::new(),
            act: act.to_owned(),
            revision,
            by: None,
            why: None,
            goal: None,
            groups: Vec::new(),
        };
        self.ask_for(&asker, (namespace, name), request, MANAGER)
            .await
    }

    /// Reads a Rollout for somebody who is known.
    pub(super) async fn look(
        &self,
        asker: &Asker,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Rollout>, Denial> {
        self.may(asker, "get", namespace, name).await?;
        self.find(namespace, name)
    }

    fn find(&self, namespace: &str, name: &str) -> Result<Arc<Rollout>, Denial> {
        let found = (self.live()?.find)(namespace, name);
        found.ok_or_else(|| Denial::NoRollout(format!("{namespace}/{name}")))
    }

    /// Asks for somebody who is known, and waits for the answer. A request without an id gets one, and
    /// without a revision it means the one that is seen.
    pub(super) async fn ask_for(
        &self,
        asker: &Asker,
        (namespace, name): (&str, &str),
        mut request: Request,
        manager: &str,
    ) -> Result<Answer, Denial> {
        self.may(asker, "patch", namespace, name).await?;
        let act = Act::named(&request.act).ok_or_else(|| Denial::NoAct(request.act.clone()))?;
        let live = self.live()?;
        let rollout = self.find(namespace, name)?;
        let status = rollout.status.clone().unwrap_or_default();
        if request.id.is_empty() {
            request.id = ask::id(act, self.0.clock);
        }
        request.revision = request.revision.or_else(|| ask::meant(act, &status));
        let user = asker.name();
        tracing::info!(namespace, rollout = name, %act, user, manager, "asked for");
        request.by = Some(user);
        if act == Act::Approve {
            request.groups = asker.groups();
            // Whoever has the shared token may have approved by name already.
            request.by = request.by.filter(|_| *asker != Asker::Shared);
        }
        let asked = ask::ask(&live.client, &rollout, &request, manager);
        let away = |why: String| Denial::Away(format!("the request was not stored: {why}"));
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(away(causes::told(&error))),
            Err(_) => return Err(away("no answer in time".to_owned())),
        }
        let waiting = self.answer(live, namespace, name, &request.id);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, waiting).await {
            return Ok(answer);
        }
        // A request that nobody answered must not act hours later.
        let withdrawn = ask::withdraw(&live.client, &rollout, &request.id, manager);
        let withdrawn = tokio::time::timeout(DEADLINE, withdrawn).await;
        let how = if matches!(withdrawn, Ok(Ok(()))) {
            "and the request was withdrawn"
        } else {
            "and the request stands"
        };
        Err(Denial::Away(format!("no daemon answered in time, {how}")))
    }

    async fn answer(&self, live: &Live, namespace: &str, name: &str, id: &str) -> Answer {
        loop {
            let rollout = (live.find)(namespace, name);
            let status = rollout.and_then(|rollout| rollout.status.clone());
            let answers = status.unwrap_or_default().answers;
            if let Some(answer) = answers.into_iter().find(|answer| answer.id == id) {
                return answer;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn page(&self, status: StatusCode, title: &str, main: &maud::Markup) -> Response {
        let page = Page {
            place: &self.0.place,
            title,
            events: None,
        };
        (status, Html(page.html(main).into_string())).into_response()
    }

    /// A path of this environment's own.
    fn local(&self, path: &str) -> String {
        self.0.place.local(path)
    }

    fn ways(&self) -> Ways {
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

/// Whoever one of these proxies names. That another one tries is told once.
fn introduced_by(proxy: Proxy) -> Sessions {
    let told = AtomicBool::new(false);
    Sessions::with(
        move |headers, peer| match proxy.introduces(headers, peer.0) {
            Introduced::Person(Person { name, groups }) => Some(Proof::Person { name, groups }),
            Introduced::Nobody => None,
            Introduced::Unlisted => {
                if !told.swap(true, Ordering::Relaxed) {
                    let header = proxy.user_header.as_str();
                    tracing::warn!(header, from = ?peer.0, "somebody is named by an address that is not in access.proxy.from; it is ignored, and not told again");
                }
                None
            }
        },
    )
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
        acts.act(&proof, (&namespace, &name, &act), body.revision)
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
        acts.act(&session.proof, (&namespace, &name, &act), filled.revision)
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
        acts.who(&token).await
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
    let cookie = [(header::SET_COOKIE, acts.0.sessions.end(&headers))];
    let home = acts.0.place.path("/");
    match acts.0.provider.as_ref().and_then(Provider::exit) {
        Some(there) => {
            let main = passed(&home, "Signed out here", Some(&there));
            (cookie, acts.page(StatusCode::OK, "Signed out", &main)).into_response()
        }
        None => (cookie, Redirect::to(&home)).into_response(),
    }
}

#[cfg(test)]
mod tests;

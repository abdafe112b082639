//! Signing in at an identity provider: the way there, and back with its word.
//!
//! `GET /login/provider` leads there; `GET /login/callback` is where it leads back. A session of the
//! person that its token names begins then; what that person may, the API server is asked at each act.
//!
//! Not here: the flow's checks (`people::oidc`, `web::login`).

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::endpoints::Back;
use super::{Acts, Denial};
use crate::causes;
use crate::people::oidc::{self, Door, Provider};
use crate::people::person::Person;
use crate::web::acts::{login, passed};
use crate::web::login::{Cookie, Login};
use crate::web::session::{Lasts, Proof};

/// The longest code and state; those of providers are some hundred bytes.
const BYTES: usize = 8 * 1024;

/// With what the provider leads back.
#[derive(Debug, Deserialize)]
pub(super) struct Brought {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// Leads to the provider.
pub(super) async fn open(State(acts): State<Acts>, Query(asked): Query<Back>) -> Response {
    let back = acts.local(&asked.back);
    let opened = async {
        let provider = provider(&acts)?;
        let now = acts.0.clock.now();
        let permit = acts.0.logins_at_once.try_acquire();
        let permit = permit.map_err(|_| busy())?;
        let begun = acts.0.logins.begin(&back, acts.cookie(), now);
        let (login, cookie) =
            begun.ok_or_else(|| Denial::Away("no login can be begun".to_owned()))?;
        let place = provider.door(&door(&login), now).await.map_err(denied)?;
        drop(permit);
        Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&place)).into_response())
    };
    opened
        .await
        .unwrap_or_else(|denial| refused(&acts, &back, &denial))
}

/// Where the provider leads back.
pub(super) async fn back(
    State(acts): State<Acts>,
    headers: HeaderMap,
    Query(brought): Query<Brought>,
) -> Response {
    let now = acts.0.clock.now();
    let known = brought.state.len() <= BYTES;
    let login = known
        .then(|| acts.0.logins.take(&headers, &brought.state, now))
        .flatten();
    let Some(login) = login else {
        let words = "this login was not begun here, is over, or took too long; begin anew";
        return refused(&acts, &acts.local(""), &Denial::Login(words.to_owned()));
    };
    match signed_in(&acts, &login, brought).await {
        // A page of ours leads on: what follows a foreign page would be without the session's cookie.
        Ok(cookie) => {
            let on = [
                (header::SET_COOKIE, cookie),
                (header::REFRESH, format!("0; url={}", login.back)),
            ];
            let main = passed(&login.back, "Signed in", None);
            (on, acts.page(StatusCode::OK, "Signed in", &main)).into_response()
        }
        Err(denial) => refused(&acts, &login.back, &denial),
    }
}

/// The cookie of a session of the person that the provider names.
async fn signed_in(acts: &Acts, login: &Login, brought: Brought) -> Result<String, Denial> {
    if let Some(error) = brought.error {
        let error: String = error.chars().take(100).collect();
        return Err(Denial::Login(format!(
            "the identity provider says {error:?}"
        )));
    }
    let code = brought
        .code
        .filter(|code| !code.is_empty() && code.len() <= BYTES);
    let code =
        code.ok_or_else(|| Denial::Login("the identity provider gave no code".to_owned()))?;
    let (provider, now) = (provider(acts)?, acts.0.clock.now());
    let permit = acts.0.logins_at_once.try_acquire();
    let permit = permit.map_err(|_| busy())?;
    let who = provider
        .who(&code, &door(login), now)
        .await
        .map_err(denied)?;
    drop(permit);
    let Person { name, groups } = who;
    tracing::info!(user = name, "signed in by the identity provider");
    let lasts = Lasts {
        time: provider.session(),
        secure: acts.0.secure,
    };
    let proof = Proof::Person {
        name: name.clone(),
        groups,
    };
    let begun = acts.0.sessions.begin(&name, proof, lasts, now);
    begun.ok_or_else(|| Denial::Away("no session can be begun".to_owned()))
}

impl Acts {
    fn cookie(&self) -> Cookie<'_> {
        Cookie {
            base: &self.0.place.base,
            secure: self.0.secure,
        }
    }
}

fn busy() -> Denial {
    Denial::Away("too many are signing in at this moment; try again".to_owned())
}

fn provider(acts: &Acts) -> Result<&Provider, Denial> {
    let none = || Denial::Login("no identity provider is in the settings".to_owned());
    acts.0.provider.as_ref().ok_or_else(none)
}

fn door(login: &Login) -> Door {
    Door {
        state: login.state.clone(),
        nonce: login.nonce.clone(),
        verifier: login.verifier.clone(),
    }
}

fn denied(error: oidc::Error) -> Denial {
    let told = causes::told(&error);
    tracing::warn!(
        error = told,
        "nobody was signed in by the identity provider"
    );
    match error {
        oidc::Error::Away { .. } => Denial::Away(told),
        oidc::Error::Other(_)
        | oidc::Error::Refused(_)
        | oidc::Error::File { .. }
        | oidc::Error::Token(_) => Denial::Login(told),
    }
}

fn refused(acts: &Acts, back: &str, denial: &Denial) -> Response {
    let why = denial.to_string();
    let main = login(&acts.0.place, back, acts.ways(), Some(&why));
    acts.page(denial.status(), "Sign in", &main)
}

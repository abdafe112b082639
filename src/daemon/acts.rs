//! Acts of people at the page and its API: who they are, whether they may, and the request.
//!
//! Programs show a bearer token, our own pages a session (`endpoints`). A token is the one of the settings'
//! file, or the API server is asked whose it is and whether that user may patch the Rollout: the same right
//! that the command line needs. What is allowed becomes the same annotation that the command line writes, with
//! the user's name, and the daemon that leads answers it. Users whom an identity provider (`door`) or a proxy
//! names are asked about in the same way.
//!
//! Guarantees: nothing is read of a Rollout before the right is shown; tokens are in no log.
//!
//! Not here: of what the keys of sessions are made (`keys`), sessions and pages (`web`), what an act does (`rollout::decide`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::settings::Access;
use crate::causes;
use crate::clock::Clock;
use crate::kubernetes::ask;
use crate::kubernetes::crd::{Answer, Rollout};
use crate::people::oidc::{self, Provider};
use crate::people::proxy::{Introduced, Proxy};
use crate::people::{bearer, person::Person};
use crate::rollout::request::{Act, Request};
use crate::web;
use crate::web::login::Logins;
use crate::web::session::{Proof, Sessions};
use pending::Withdrawals;

mod door;
mod endpoints;
mod keys;
mod pending;
mod review;
#[cfg(test)]
pub(super) mod standin;

/// The field manager of what is asked.
const MANAGER: &str = "sluice-page";
/// For one request to the API server.
const DEADLINE: Duration = Duration::from_secs(4);
/// How long the daemon that leads has for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Reviews at one time, of strangers' tokens and, apart from them, of those who are known: strangers must
/// neither load the API server nor keep anybody from acting.
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
    strangers: Semaphore,
    reviews: Semaphore,
    /// People who are signing in, at one time: a provider that is slow must not hold up the reviews.
    logins_at_once: Semaphore,
    live: OnceLock<Live>,
    withdrawals: Withdrawals,
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

/// Whether who shows a token has shown before that it is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nobody has seen it yet.
    Stranger,
    /// The page has a session of it.
    Known,
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
        let key = keys::key(&access, &place.environment);
        let sessions = access.proxy.clone().map(introduced_by).unwrap_or_default();
        let sessions = sessions.beneath(&place.base).by(key.clone());
        Ok(Self(Arc::new(Inner {
            access,
            place,
            clock,
            sessions,
            provider,
            logins: Logins::by(key),
            secure: page_url.starts_with("https://"),
            strangers: Semaphore::new(REVIEWS),
            reviews: Semaphore::new(REVIEWS),
            logins_at_once: Semaphore::new(REVIEWS),
            live: OnceLock::new(),
            withdrawals: Withdrawals::default(),
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

    /// Withdraws what nobody has answered, for ever; once something can be asked.
    pub async fn keep_up(self) {
        match self.0.live.get() {
            Some(live) => self.0.withdrawals.keep_up(&live.client).await,
            None => std::future::pending().await,
        }
    }

    /// Who has signed in, where anybody may act.
    pub fn sessions(&self) -> Option<Sessions> {
        let given = self.0.access.is_given();
        given.then(|| self.0.sessions.clone())
    }

    fn live(&self) -> Result<&Live, Denial> {
        let live = self.0.live.get();
        live.ok_or_else(|| Denial::Away("not ready yet; try again".to_owned()))
    }

    /// Whose token this is, which somebody with this standing shows.
    async fn who(&self, token: &SecretString, standing: Standing) -> Result<Asker, Denial> {
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
        self.review(text, standing).await
    }

    /// Who shows this.
    async fn shown(&self, proof: &Proof, standing: Standing) -> Result<Asker, Denial> {
        match proof {
            Proof::Token(token) => self.who(token, standing).await,
            Proof::Person { name, groups } => Ok(Asker::person(name, groups)),
        }
    }

    /// Asks, and waits for the answer.
    async fn act(
        &self,
        (proof, standing): (&Proof, Standing),
        (namespace, name, act): (&str, &str, &str),
        revision: Option<String>,
    ) -> Result<Answer, Denial> {
        let asker = self.shown(proof, standing).await?;
        let request = Request {
            revision,
            ..Request::new(String::new(), act.parse())
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

    /// Asks for somebody who is known, and waits for the answer; without one the request is withdrawn, also when
    /// nobody waits any more. A request without an id gets one, and
    /// without a revision it means the one that is seen.
    pub(super) async fn ask_for(
        &self,
        asker: &Asker,
        (namespace, name): (&str, &str),
        mut request: Request,
        manager: &str,
    ) -> Result<Answer, Denial> {
        self.may(asker, "patch", namespace, name).await?;
        let word = request.word();
        let act = Act::of_people(word).ok_or_else(|| Denial::NoAct(word.to_owned()))?;
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
        let pending = self
            .0
            .withdrawals
            .pending(&rollout, (&request.id, manager), PATIENCE);
        let away = |why: String| Denial::Away(format!("the request was not stored: {why}"));
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ ask::Error::NotOneWord { .. })) => {
                pending.answered();
                return Err(Denial::Body(error.to_string()));
            }
            Ok(Err(error)) => {
                let refused = matches!(&error, ask::Error::Api(kube::Error::Api(status))
                    if (400..500).contains(&status.code));
                if refused {
                    pending.answered();
                }
                return Err(away(causes::told(&error)));
            }
            Err(_) => return Err(away("no answer in time".to_owned())),
        }
        let waiting = self.answer(live, namespace, name, &request.id);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, waiting).await {
            pending.answered();
            return Ok(answer);
        }
        let how = if pending.withdraw().await {
            "and the request was withdrawn"
        } else {
            "and the request is being withdrawn"
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

#[cfg(test)]
mod tests;

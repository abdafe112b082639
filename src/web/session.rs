//! People who have signed in at the page: who they are, and the token by which that was shown.
//!
//! Guarantees: a session is known by a cookie that scripts cannot read, that other sites' requests do not
//! carry and that nobody else can make; forms repeat a second secret; a session ends after the time that it
//! was begun for. What was shown is shown to the reviewer again at each act, so that a right that was taken
//! away is gone at once. Name and groups by an identity provider are those of the login: a group that was
//! left there lasts until the session ends.
//!
//! With a key that replicas share the cookie is the session itself, sealed, and any of them takes it. Without
//! one, and where it would be too long for a header, the cookie is 256 random bits, and the session is in the
//! memory of the process that began it.
//!
//! Whom a proxy introduces needs no session: the daemon hands in who that is, and forms repeat a secret
//! that is made of the name.
//!
//! Caveat: a sealed session that was ended at one replica would be taken at another, or after a restart, from
//! a copy of its cookie; the browser has none. Not here: whether a token is good (the daemon asks the API
//! server), and the key (`key`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{convert, fmt};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key::Key;

/// How long a session lasts that a token began.
pub const LASTS: Duration = Duration::from_secs(8 * 3600);
/// The most sessions in memory; of more, the one that ends first is ended. As many sealed ones are remembered
/// that were ended here.
const MOST: usize = 1000;
/// The most sessions in memory of one person: whoever signs in without end ends nobody else's.
const MOST_OF_ONE: usize = 20;
/// The longest cookie that is a session itself: proxies take heads of answers up to 4 KiB.
const SEALED_BYTES: usize = 2560;
/// What such a cookie begins with.
const SEALED: &str = "s.";
const COOKIE: &str = "sluice-session";

/// One person who has signed in.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who.
    pub who: String,
    /// What each form must repeat.
    pub form: String,
    /// By what that is known.
    pub proof: Proof,
    /// Whether it was begun here, and can be ended here.
    pub is_ours: bool,
    ends: Timestamp,
}

/// By what somebody is known.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A bearer token.
    Token(SecretString),
    /// The word of an identity provider or a proxy.
    Person {
        /// The user's name.
        name: String,
        /// The user's groups.
        groups: Vec<String>,
    },
}

/// The address that a connection comes from, where that is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}

/// What is sealed in a cookie.
#[derive(Serialize, Deserialize)]
struct Sealed {
    who: String,
    /// In milliseconds.
    ends: i64,
    proof: Shown,
}

#[derive(Serialize, Deserialize)]
enum Shown {
    Token(String),
    Person { name: String, groups: Vec<String> },
}

type Introduce = dyn Fn(&HeaderMap, Peer) -> Option<Proof> + Send + Sync;

/// All sessions. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions {
    /// Those in memory, by their cookie's digest.
    all: Arc<Mutex<BTreeMap<[u8; 32], Session>>>,
    /// The sealed ones that were ended here, by their cookie's digest, with when they end by themselves.
    ended: Arc<Mutex<BTreeMap<[u8; 32], Timestamp>>>,
    introduce: Option<Arc<Introduce>>,
    /// The path beneath which its cookies are sent.
    base: String,
    /// Sessions are sealed by it, and forms are made of it.
    key: Key,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Sessions, and whoever `introduce` says that a request is from.
    pub fn with(
        introduce: impl Fn(&HeaderMap, Peer) -> Option<Proof> + Send + Sync + 'static,
    ) -> Self {
        Self {
            introduce: Some(Arc::new(introduce)),
            ..Self::default()
        }
    }

    /// These, by this key.
    #[must_use]
    pub fn by(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// These, with cookies for the paths beneath `base` only.
    #[must_use]
    pub fn beneath(self, base: &str) -> Self {
        let base = base.to_owned();
        Self { base, ..self }
    }

    /// Begins a session that lasts so long; what the answer's `Set-Cookie` says. None without randomness.
    pub fn begin(&self, who: &str, proof: Proof, lasts: Lasts, now: Timestamp) -> Option<String> {
        let session = Session {
            who: who.to_owned(),
            form: random()?,
            proof,
            is_ours: true,
            ends: now.checked_add(lasts.time).ok()?,
        };
        let value = match self.sealed(&session) {
            Some(value) => value,
            None => self.remember(session, now)?,
        };
        let (age, secure) = (
            lasts.time.as_secs(),
            if lasts.secure { "; Secure" } else { "" },
        );
        Some(format!(
            "{COOKIE}={value}; Path={}/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}",
            self.base
        ))
    }

    /// The session as a cookie, where replicas share the key and it is not too long.
    fn sealed(&self, session: &Session) -> Option<String> {
        let proof = match &session.proof {
            Proof::Token(token) => Shown::Token(token.expose_secret().to_owned()),
            Proof::Person { name, groups } => Shown::Person {
                name: name.clone(),
                groups: groups.clone(),
            },
        };
        let (who, ends) = (session.who.clone(), session.ends.as_millisecond());
        let plain = serde_json::to_vec(&Sealed { who, ends, proof }).ok()?;
        let short = self.key.is_shared() && plain.len() <= SEALED_BYTES;
        let value = format!(
            "{SEALED}{}",
            short.then(|| self.key.seal(&plain)).flatten()?
        );
        (value.len() <= SEALED_BYTES).then_some(value)
    }

    /// Keeps the session in memory; its cookie.
    fn remember(&self, session: Session, now: Timestamp) -> Option<String> {
        let id = random()?;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, session| session.ends > now);
        let is_own = |(_, other): &(&[u8; 32], &Session)| other.who == session.who;
        let own = all.iter().filter(is_own);
        let first = if own.clone().count() >= MOST_OF_ONE {
            own.min_by_key(|(_, session)| session.ends)
        } else {
            let full = all.len() >= MOST;
            all.iter().filter(|_| full).min_by_key(|(_, it)| it.ends)
        };
        if let Some(first) = first.map(|(id, _)| *id) {
            all.remove(&first);
        }
        all.insert(digest(&id), session);
        Some(id)
    }

    /// Who a request is from: the session that its cookie names, else whoever is introduced.
    pub fn of(&self, headers: &HeaderMap, peer: Peer, now: Timestamp) -> Option<Session> {
        let known = self.known(headers, now);
        known.or_else(|| self.introduced(headers, peer, now))
    }

    /// By what somebody is introduced, without a session.
    pub fn introduced(&self, headers: &HeaderMap, peer: Peer, now: Timestamp) -> Option<Session> {
        let proof = self
            .introduce
            .as_ref()
            .and_then(|introduce| introduce(headers, peer))?;
        let Proof::Person { name, .. } = &proof else {
            return None;
        };
        Some(Session {
            who: name.clone(),
            form: self.key.made("form of a name", name)?,
            proof,
            is_ours: false,
            ends: now,
        })
    }

    fn known(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let value = cookie(headers, COOKIE)?;
        let session = if let Some(sealed) = value.strip_prefix(SEALED) {
            self.opened(value, sealed)
        } else {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&digest(value)).cloned()
        };
        session.filter(|session| session.ends > now)
    }

    /// The session that a cookie is, unless it was ended here.
    fn opened(&self, value: &str, sealed: &str) -> Option<Session> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.contains_key(&digest(value)) {
            return None;
        }
        drop(ended);
        let plain = self.key.open(sealed)?;
        let Sealed { who, ends, proof } = serde_json::from_slice(&plain).ok()?;
        Some(Session {
            who,
            form: self.key.made("form of a session", value)?,
            proof: match proof {
                Shown::Token(token) => Proof::Token(SecretString::from(token)),
                Shown::Person { name, groups } => Proof::Person { name, groups },
            },
            is_ours: true,
            ends: Timestamp::from_millisecond(ends).ok()?,
        })
    }

    /// Ends the session that a request's cookie names; what the answer's `Set-Cookie` says.
    pub fn end(&self, headers: &HeaderMap, now: Timestamp) -> String {
        if let Some(value) = cookie(headers, COOKIE) {
            let sealed = value.strip_prefix(SEALED);
            if let Some(session) = sealed.and_then(|sealed| self.opened(value, sealed)) {
                self.remember_ended(digest(value), session.ends, now);
            }
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(&digest(value));
        }
        let base = &self.base;
        format!("{COOKIE}=; Path={base}/; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    fn remember_ended(&self, session: [u8; 32], ends: Timestamp, now: Timestamp) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, ends| *ends > now);
        if ended.len() >= MOST {
            let first = ended.iter().min_by_key(|(_, ends)| **ends);
            if let Some(first) = first.map(|(session, _)| *session) {
                ended.remove(&first);
            }
        }
        ended.insert(session, ends);
    }
}

/// How long a session lasts, and where its cookie is sent.
#[derive(Debug, Clone, Copy)]
pub struct Lasts {
    /// How long.
    pub time: Duration,
    /// Over TLS only.
    pub secure: bool,
}

impl Session {
    /// Whether a form repeats this session's secret.
    pub fn is_own(&self, form: &str) -> bool {
        digest(form) == digest(&self.form)
    }
}

/// Whether a request was made by one of our own pages, as the browser says.
pub fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    let host = text("host");
    let origin = text("origin").and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, origin)| Some(origin) == host)
}

/// What a request's cookie of this name says.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let pairs = cookies.filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Digests of one length, so that nothing is told by when a comparison ends.
pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// 256 random bits.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(hexadecimal(&bytes))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn begun(sessions: &Sessions, now: Timestamp) -> HeaderMap {
        let (proof, lasts) = (
            Proof::Token(SecretString::from("t")),
            Lasts {
                time: LASTS,
                secure: false,
            },
        );
        let cookie = sessions.begin("alice", proof, lasts, now);
        let cookie = cookie.unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict;"), "{cookie}");
        let (pair, _) = cookie.split_once(';').unwrap();
        headers(&[("cookie", &format!("theme=dark; {pair}"))])
    }

    #[test]
    fn whoever_signs_in_without_end_signs_nobody_else_out() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let first = begun(&sessions, now);
        let lasts = Lasts {
            time: LASTS,
            secure: false,
        };
        for _ in 0..MOST {
            let proof = Proof::Token(SecretString::from("t"));
            sessions.begin("mallory", proof, lasts, now).unwrap();
        }
        assert!(sessions.of(&first, Peer::default(), now).is_some());
        assert_eq!(sessions.all.lock().unwrap().len(), 1 + MOST_OF_ONE);
    }

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_ends() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let alice = begun(&sessions, now);
        assert_eq!(
            sessions.of(&alice, Peer::default(), now).unwrap().who,
            "alice"
        );
        assert!(sessions.of(&alice, Peer::default(), now + LASTS).is_none());
        let forged = headers(&[("cookie", "sluice-session=00")]);
        assert!(sessions.of(&forged, Peer::default(), now).is_none());
        assert!(
            sessions
                .of(&HeaderMap::new(), Peer::default(), now)
                .is_none()
        );
        sessions.end(&alice, now);
        assert!(sessions.of(&alice, Peer::default(), now).is_none());
    }

    fn replica(secret: &'static str) -> Sessions {
        let key = Key::shared("production", move || Some(SecretString::from(secret)));
        Sessions::default().by(key)
    }

    #[test]
    fn what_one_replica_began_another_takes_by_the_key_that_they_share() {
        let (here, there, now) = (replica("a"), replica("a"), Timestamp::UNIX_EPOCH);
        let alice = begun(&here, now);
        let of = |sessions: &Sessions, now| sessions.of(&alice, Peer::default(), now);
        let (one, two) = (of(&here, now).unwrap(), of(&there, now).unwrap());
        assert_eq!(two.who, "alice");
        assert!(matches!(&two.proof, Proof::Token(token) if token.expose_secret() == "t"));
        assert!(one.is_own(&two.form) && !two.is_own("") && two.is_ours);
        assert!(of(&there, now + LASTS).is_none());
        assert!(of(&replica("b"), now).is_none());
        let other = of(&here, now).unwrap().form;
        let again = here.of(&begun(&here, now), Peer::default(), now).unwrap();
        assert!(!again.is_own(&other), "each session has a form of its own");
        here.end(&alice, now);
        assert!(of(&here, now).is_none());
    }

    #[test]
    fn a_session_too_long_for_a_header_stays_in_memory() {
        let (here, there, now) = (replica("a"), replica("a"), Timestamp::UNIX_EPOCH);
        let groups = (0..100).map(|group| format!("{group:040}")).collect();
        let name = "alice".to_owned();
        let lasts = Lasts {
            time: LASTS,
            secure: true,
        };
        let cookie = here.begin("alice", Proof::Person { name, groups }, lasts, now);
        let cookie = cookie.unwrap();
        assert!(cookie.len() < 200, "{cookie}");
        let (pair, _) = cookie.split_once(';').unwrap();
        let alice = headers(&[("cookie", pair)]);
        assert!(here.of(&alice, Peer::default(), now).is_some());
        assert!(there.of(&alice, Peer::default(), now).is_none());
    }

    #[test]
    fn a_form_must_repeat_the_secret_of_its_own_session() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let one = sessions
            .of(&begun(&sessions, now), Peer::default(), now)
            .unwrap();
        let two = sessions
            .of(&begun(&sessions, now), Peer::default(), now)
            .unwrap();
        assert!(one.is_own(&one.form));
        assert!(!one.is_own(&two.form) && !one.is_own(""));
        assert!(!format!("{one:?}").contains("\"t\""));
    }

    #[test]
    fn sessions_are_bounded() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let first = begun(&sessions, now);
        for second in 0..MOST as u64 {
            begun(&sessions, now + Duration::from_secs(second + 1));
        }
        assert!(sessions.of(&first, Peer::default(), now).is_none());
    }

    #[test]
    fn only_our_own_pages_make_requests() {
        let cases: &[(&[(&'static str, &str)], bool)] = &[
            (&[("host", "a:1"), ("origin", "http://a:1")], true),
            (
                &[
                    ("host", "a:1"),
                    ("origin", "http://a:1"),
                    ("sec-fetch-site", "same-origin"),
                ],
                true,
            ),
            (
                &[
                    ("host", "a:1"),
                    ("origin", "http://a:1"),
                    ("sec-fetch-site", "same-site"),
                ],
                false,
            ),
            (&[("host", "a:1"), ("origin", "http://a:2")], false),
            (&[("host", "a:1"), ("origin", "null")], false),
            (&[("host", "a:1")], false),
            (&[("origin", "http://a:1")], false),
        ];
        for (given, wanted) in cases {
            assert_eq!(is_ours(&headers(given)), *wanted, "{given:?}");
        }
    }

    #[test]
    fn who_is_introduced_needs_no_session_and_repeats_a_secret_of_the_own_name() {
        let sessions = Sessions::with(|headers, peer| {
            let name = headers.get("x-user")?.to_str().ok()?.to_owned();
            let groups = vec!["dev".to_owned()];
            peer.0.map(|_| Proof::Person { name, groups })
        });
        let (now, peer) = (Timestamp::UNIX_EPOCH, Peer(Some([127, 0, 0, 1].into())));
        let of = |user: &str, peer| sessions.of(&headers(&[("x-user", user)]), peer, now);
        let (alice, bob) = (of("alice", peer).unwrap(), of("bob", peer).unwrap());
        assert!(alice.is_own(&of("alice", peer).unwrap().form) && !alice.is_own(&bob.form));
        assert!(!alice.is_ours && of("alice", Peer::default()).is_none());
        assert!(
            Sessions::default()
                .of(&headers(&[("x-user", "alice")]), peer, now)
                .is_none()
        );
    }
}

//! People who have signed in at the page: who they are, and the token by which that was shown.
//!
//! Guarantees: a session is known by 256 random bits in a cookie that scripts cannot read and that
//! other sites' requests do not carry; forms repeat a second secret; a session ends after
//! [`LASTS`], and with the process. The token stays in memory and is shown to the reviewer again
//! at each act, so that a right that was taken away is gone at once.
//!
//! Not here: whether a token is good (the daemon asks the API server).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

/// How long a session lasts.
pub const LASTS: Duration = Duration::from_secs(8 * 3600);
/// The most sessions; of more, the one that ends first is ended.
const MOST: usize = 1000;
const COOKIE: &str = "sluice-session";

/// One person who has signed in.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who.
    pub who: String,
    /// What each form must repeat.
    pub form: String,
    /// The token that was given.
    pub token: SecretString,
    ends: Timestamp,
}

/// All sessions, by their cookie's digest. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<[u8; 32], Session>>>);

impl Sessions {
    /// Begins a session; what the answer's `Set-Cookie` says. None without randomness.
    pub fn begin(&self, who: &str, token: SecretString, now: Timestamp) -> Option<String> {
        let (id, form) = (random()?, random()?);
        let ends = now.checked_add(LASTS).ok()?;
        let session = Session {
            who: who.to_owned(),
            form,
            token,
            ends,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, session| session.ends > now);
        if all.len() >= MOST {
            let first = all.iter().min_by_key(|(_, session)| session.ends);
            if let Some(first) = first.map(|(id, _)| *id) {
                all.remove(&first);
            }
        }
        all.insert(digest(&id), session);
        let age = LASTS.as_secs();
        Some(format!(
            "{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}"
        ))
    }

    /// The session that a request's cookie names.
    pub fn of(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let id = cookie(headers)?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = all.get(&digest(id))?;
        (session.ends > now).then(|| session.clone())
    }

    /// Ends the session that a request's cookie names; what the answer's `Set-Cookie` says.
    pub fn end(&self, headers: &HeaderMap) -> String {
        if let Some(id) = cookie(headers) {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(&digest(id));
        }
        format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }
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

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let pairs = cookies.filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Digests of one length, so that nothing is told by when a comparison ends.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
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
        let cookie = sessions.begin("alice", SecretString::from("t"), now);
        let cookie = cookie.unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict;"), "{cookie}");
        let (pair, _) = cookie.split_once(';').unwrap();
        headers(&[("cookie", &format!("theme=dark; {pair}"))])
    }

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_ends() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let alice = begun(&sessions, now);
        assert_eq!(sessions.of(&alice, now).unwrap().who, "alice");
        assert!(sessions.of(&alice, now + LASTS).is_none());
        let forged = headers(&[("cookie", "sluice-session=00")]);
        assert!(sessions.of(&forged, now).is_none());
        assert!(sessions.of(&HeaderMap::new(), now).is_none());
        sessions.end(&alice);
        assert!(sessions.of(&alice, now).is_none());
    }

    #[test]
    fn a_form_must_repeat_the_secret_of_its_own_session() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let one = sessions.of(&begun(&sessions, now), now).unwrap();
        let two = sessions.of(&begun(&sessions, now), now).unwrap();
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
        assert!(sessions.of(&first, now).is_none());
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
}

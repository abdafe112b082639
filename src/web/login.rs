//! Logins that have begun at this page and end at an identity provider.
//!
//! Guarantees: each is answered at most once, within [`LASTS`], and only in the browser that began it:
//! its cookie is sent along when the provider leads back. The provider's code alone opens nothing. However
//! many begin, nobody else's login is forgotten: what is under way is kept by the browsers alone.
//!
//! The cookie says when the login ends and where it leads; state, nonce and verifier are keyed digests of
//! it. So a cookie that was made or changed by who has not the key fits no state, and what began at one
//! replica may end at another that shares the key.
//!
//! Caveat: of more than a thousand that were answered lately, the earliest could be shown to the provider
//! again, and so could one that was answered at another replica; a provider takes a code once.
//!
//! Not here: the provider (`people::oidc`), and the session that follows (`session`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;

use super::key::Key;
use super::session::{cookie, digest, random};

/// How long one has at the provider.
pub const LASTS: Duration = Duration::from_secs(600);
/// The most answered logins that are remembered.
const MOST: usize = 1000;
/// The longest path to lead back to: browsers keep no cookie over 4 KiB.
const BACK_BYTES: usize = 1024;
const COOKIE: &str = "sluice-login";

/// What one login is asked for with, and where it leads then.
#[derive(Debug, Clone)]
pub struct Login {
    /// Comes back with the code.
    pub state: String,
    /// Comes back in the token.
    pub nonce: String,
    /// Shows that the code is asked for by who began.
    pub verifier: SecretString,
    /// The page that was looked at.
    pub back: String,
}

/// Where a login's cookie is sent.
#[derive(Debug, Clone, Copy)]
pub struct Cookie<'a> {
    /// Beneath this path's `/login` only.
    pub base: &'a str,
    /// Over TLS only.
    pub secure: bool,
}

/// The logins that are under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    key: Key,
    /// The digests of states that were answered here, with when their logins end.
    answered: Arc<Mutex<BTreeMap<[u8; 32], Timestamp>>>,
}

impl Logins {
    /// Logins by this key.
    pub fn by(key: Key) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    /// Begins a login, and what the answer's `Set-Cookie` says. None without randomness.
    pub fn begin(&self, back: &str, sent: Cookie<'_>, now: Timestamp) -> Option<(Login, String)> {
        let ends = now.checked_add(LASTS).ok()?.as_millisecond();
        let first = format!("{}/", sent.base);
        let back = if back.len() <= BACK_BYTES {
            back
        } else {
            &first
        };
        let kept = BASE64_URL_SAFE_NO_PAD.encode(back);
        let value = format!("{}.{ends}.{kept}", random()?);
        let login = self.login(&value, back)?;
        let (age, secure) = (LASTS.as_secs(), if sent.secure { "; Secure" } else { "" });
        // Lax: the provider's page leads back here, and that is another site.
        let cookie = format!(
            "{COOKIE}={value}; Path={}/login; HttpOnly; SameSite=Lax; Max-Age={age}{secure}",
            sent.base
        );
        Some((login, cookie))
    }

    /// The login of this state, if this browser began it; it is over then.
    pub fn take(&self, headers: &HeaderMap, state: &str, now: Timestamp) -> Option<Login> {
        let value = cookie(headers, COOKIE)?;
        let mut parts = value.split('.').skip(1);
        let (ends, kept) = (parts.next()?, parts.next()?);
        let ends = Timestamp::from_millisecond(ends.parse().ok()?).ok()?;
        let back = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(kept).ok()?).ok()?;
        let login = self.login(value, &back)?;
        let state = digest(state);
        let own = state == digest(&login.state) && ends > now;
        (own && self.is_first(state, ends, now)).then_some(login)
    }

    fn login(&self, value: &str, back: &str) -> Option<Login> {
        Some(Login {
            state: self.key.made("state", value)?,
            nonce: self.key.made("nonce", value)?,
            verifier: SecretString::from(self.key.made("verifier", value)?),
            back: back.to_owned(),
        })
    }

    fn is_first(&self, state: [u8; 32], ends: Timestamp, now: Timestamp) -> bool {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|_, ends| *ends > now);
        if answered.len() >= MOST {
            let first = answered.iter().min_by_key(|(_, ends)| **ends);
            if let Some(first) = first.map(|(state, _)| *state) {
                answered.remove(&first);
            }
        }
        answered.insert(state, ends).is_none()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const SENT: Cookie<'_> = Cookie {
        base: "",
        secure: true,
    };

    fn begun(logins: &Logins, now: Timestamp) -> (Login, HeaderMap) {
        let (login, cookie) = logins.begin("/a", SENT, now).unwrap();
        assert!(cookie.ends_with("; Secure") && cookie.contains("; HttpOnly; SameSite=Lax;"));
        let (pair, _) = cookie.split_once(';').unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("cookie", pair.parse().unwrap());
        (login, headers)
    }

    #[test]
    fn a_login_is_answered_once_in_its_own_browser_and_in_time() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let (one, own) = begun(&logins, now);
        let taken = logins.take(&own, &one.state, now).unwrap();
        assert_eq!(taken.back, "/a");
        assert_eq!(taken.nonce, one.nonce);
        assert_eq!(taken.verifier.expose_secret(), one.verifier.expose_secret());
        assert!(logins.take(&own, &one.state, now).is_none(), "replayed");
        let (two, own) = begun(&logins, now);
        let (_, other) = begun(&logins, now);
        assert!(logins.take(&other, &two.state, now).is_none());
        assert!(logins.take(&HeaderMap::new(), &two.state, now).is_none());
        assert!(logins.take(&own, "guess", now).is_none());
        assert!(Logins::default().take(&own, &two.state, now).is_none());
        assert!(logins.take(&own, &two.state, now + LASTS).is_none());
        assert!(logins.take(&own, &two.state, now).is_some());
    }

    #[test]
    fn a_login_may_end_at_a_replica_that_shares_the_key() {
        let replica = || Logins::by(Key::shared("a", || Some(SecretString::from("secret"))));
        let now = Timestamp::UNIX_EPOCH;
        let (login, own) = begun(&replica(), now);
        let taken = replica().take(&own, &login.state, now).unwrap();
        assert_eq!(
            taken.verifier.expose_secret(),
            login.verifier.expose_secret()
        );
    }

    #[test]
    fn a_cookie_that_was_changed_fits_no_login() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let (login, own) = begun(&logins, now);
        let value = own["cookie"].to_str().unwrap();
        let later = (now + LASTS * 2).as_millisecond().to_string();
        let elsewhere = BASE64_URL_SAFE_NO_PAD.encode("//evil.example");
        let (ends, back) = ((now + LASTS).as_millisecond().to_string(), "L2E");
        for changed in [
            value.replace(&ends, &later),
            value.replace(back, &elsewhere),
            format!("{value}.more"),
            format!("{COOKIE}=.."),
            format!("{COOKIE}="),
        ] {
            assert_ne!(changed, value);
            let mut headers = HeaderMap::new();
            headers.insert("cookie", changed.parse().unwrap());
            let taken = logins.take(&headers, &login.state, now);
            assert!(taken.is_none(), "{changed}");
        }
        assert!(logins.take(&own, &login.state, now).is_some());
    }

    #[test]
    fn who_begins_many_logins_ends_nobody_elses() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let (first, own) = begun(&logins, now);
        for _ in 0..2 * MOST {
            begun(&logins, now + Duration::from_secs(1));
        }
        assert!(logins.take(&own, &first.state, now).is_some());
        for _ in 0..2 * MOST {
            let (login, own) = begun(&logins, now + Duration::from_secs(1));
            assert!(logins.take(&own, &login.state, now).is_some());
        }
        assert_eq!(logins.answered.lock().unwrap().len(), MOST);
    }

    #[test]
    fn a_path_too_long_for_a_cookie_leads_to_the_first_page() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let long = format!("/history?{}", "a".repeat(BACK_BYTES));
        let (login, cookie) = logins.begin(&long, SENT, now).unwrap();
        assert!(login.back == "/" && cookie.len() < 4096);
    }
}

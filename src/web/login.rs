//! Logins that have begun at this page and end at an identity provider.
//!
//! Guarantees: each is answered at most once, within [`LASTS`], and only in the browser that began it:
//! its cookie is sent along when the provider leads back. The provider's code alone opens nothing.
//!
//! Not here: the provider (`people::oidc`), and the session that follows (`session`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use secrecy::SecretString;

use super::session::{cookie, digest, random};

/// How long one has at the provider.
pub const LASTS: Duration = Duration::from_secs(600);
/// The most logins that are under way; of more, the one that ends first is forgotten.
const MOST: usize = 1000;
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

#[derive(Debug)]
struct Begun {
    login: Login,
    browser: [u8; 32],
    ends: Timestamp,
}

/// All logins that are under way, by their state's digest. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Logins(Arc<Mutex<BTreeMap<[u8; 32], Begun>>>);

impl Logins {
    /// Begins a login, and what the answer's `Set-Cookie` says. None without randomness.
    pub fn begin(&self, back: &str, sent: Cookie<'_>, now: Timestamp) -> Option<(Login, String)> {
        let (browser, verifier) = (random()?, SecretString::from(random()?));
        let login = Login {
            state: random()?,
            nonce: random()?,
            verifier,
            back: back.to_owned(),
        };
        let begun = Begun {
            login: login.clone(),
            browser: digest(&browser),
            ends: now.checked_add(LASTS).ok()?,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, begun| begun.ends > now);
        if all.len() >= MOST {
            let first = all.iter().min_by_key(|(_, begun)| begun.ends);
            if let Some(first) = first.map(|(state, _)| *state) {
                all.remove(&first);
            }
        }
        all.insert(digest(&login.state), begun);
        let (age, secure) = (LASTS.as_secs(), if sent.secure { "; Secure" } else { "" });
        // Lax: the provider's page leads back here, and that is another site.
        let cookie = format!(
            "{COOKIE}={browser}; Path={}/login; HttpOnly; SameSite=Lax; Max-Age={age}{secure}",
            sent.base
        );
        Some((login, cookie))
    }

    /// The login of this state, if this browser began it; it is over then.
    pub fn take(&self, headers: &HeaderMap, state: &str, now: Timestamp) -> Option<Login> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = all.remove(&digest(state))?;
        let browser = cookie(headers, COOKIE).map(digest);
        let own = browser == Some(begun.browser) && begun.ends > now;
        own.then_some(begun.login)
    }
}

#[cfg(test)]
mod tests {
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
        let back = logins.take(&own, &one.state, now).map(|login| login.back);
        assert_eq!(back.as_deref(), Some("/a"));
        assert!(logins.take(&own, &one.state, now).is_none(), "replayed");
        let (two, own) = begun(&logins, now);
        let (_, other) = begun(&logins, now);
        assert!(logins.take(&other, &two.state, now).is_none());
        assert!(logins.take(&own, &two.state, now).is_none(), "tried once");
        let (three, own) = begun(&logins, now);
        assert!(logins.take(&own, "guess", now).is_none());
        assert!(logins.take(&own, &three.state, now + LASTS).is_none());
        let (four, _) = begun(&logins, now);
        assert!(logins.take(&HeaderMap::new(), &four.state, now).is_none());
    }

    #[test]
    fn logins_are_bounded() {
        let (logins, now) = (Logins::default(), Timestamp::UNIX_EPOCH);
        let (first, own) = begun(&logins, now);
        for _ in 0..MOST {
            begun(&logins, now + Duration::from_secs(1));
        }
        assert!(logins.take(&own, &first.state, now).is_none());
        assert_eq!(logins.0.lock().unwrap().len(), MOST);
    }
}

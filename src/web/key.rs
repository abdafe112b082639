//! The key by which sessions, forms and logins are known as our own.
//!
//! Replicas that read the same secret make the same keys of it: what one began another takes, and a restart
//! ends nothing. Without such a secret the key is this process' own. The secret is read each time, so that
//! another one counts at once: what was begun by the one before is over then.
//!
//! Keys of different purposes, and of different environments, are different ones. Not here: where the secret
//! lies (the daemon hands in how it is read), and what is sealed (`session`).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::session::{hexadecimal, random};

type Read = dyn Fn() -> Option<SecretString> + Send + Sync;

/// A key, of which others are made. Cheap to clone.
#[derive(Clone)]
pub struct Key {
    secret: Arc<Read>,
    is_shared: bool,
    /// For whom: the same secret makes other keys for others.
    whose: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Key")
            .field("is_shared", &self.is_shared)
            .finish_non_exhaustive()
    }
}

impl Default for Key {
    /// This process' own; without randomness nothing can be made of it.
    fn default() -> Self {
        let secret = random().map(SecretString::from);
        Self {
            secret: Arc::new(move || secret.clone()),
            is_shared: false,
            whose: String::new(),
        }
    }
}

impl Key {
    /// Of a secret that all replicas read; none while it cannot be read.
    pub fn shared(
        whose: &str,
        read: impl Fn() -> Option<SecretString> + Send + Sync + 'static,
    ) -> Self {
        Self {
            secret: Arc::new(read),
            is_shared: true,
            whose: whose.to_owned(),
        }
    }

    /// Whether other replicas, and this one after a restart, have it too.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// What nobody without the key can make of this value.
    pub(super) fn made(&self, what: &str, value: &str) -> Option<String> {
        self.mac(what, value).map(|mac| hexadecimal(&mac))
    }

    /// A text that only the key opens, and that nobody else could have made.
    pub(super) fn seal(&self, plain: &[u8]) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut text = plain.to_vec();
        let sealed = self.cipher()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut text,
        );
        sealed.ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode([nonce.as_slice(), &text].concat()))
    }

    /// What was sealed by this key.
    pub(super) fn open(&self, sealed: &str) -> Option<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let plain = self.cipher()?.open_in_place(nonce, Aad::empty(), &mut text);
        plain.ok().map(|plain| plain.to_vec())
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, &self.mac("seal", "")?).ok()?;
        Some(LessSafeKey::new(key))
    }

    fn mac(&self, what: &str, value: &str) -> Option<[u8; 32]> {
        let secret = (self.secret)()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
        for part in ["sluice", self.whose.as_str(), what, value] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        Some(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_for_the_same_environment_opens_what_was_sealed() {
        let of = |whose: &str, secret: &'static str| {
            Key::shared(whose, move || Some(SecretString::from(secret)))
        };
        let key = of("production", "a");
        let sealed = key.seal(b"alice").unwrap();
        assert!(!sealed.contains("alice") && sealed != key.seal(b"alice").unwrap());
        let same = of("production", "a");
        assert_eq!(same.open(&sealed).as_deref(), Some(b"alice".as_slice()));
        assert_eq!(same.made("form", "alice"), key.made("form", "alice"));
        assert_ne!(same.made("form", "alice"), key.made("state", "alice"));
        for other in [of("production", "b"), of("staging", "a"), Key::default()] {
            assert_eq!(other.open(&sealed), None, "{other:?}");
            assert_ne!(other.made("form", "alice"), key.made("form", "alice"));
        }
        let changed = sealed.replace(
            &sealed[20..21],
            if &sealed[20..21] == "A" { "B" } else { "A" },
        );
        for damaged in [changed.as_str(), "", "AAAA", "=", &sealed[1..]] {
            assert_eq!(key.open(damaged), None, "{damaged}");
        }
        let unreadable = Key::shared("production", || None);
        assert!(unreadable.seal(b"alice").is_none() && unreadable.open(&sealed).is_none());
    }
}

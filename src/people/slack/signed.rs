//! A request that Slack has signed: <https://docs.slack.dev/authentication/verifying-requests-from-slack>.
//!
//! `X-Slack-Signature` is `v0=` and the HMAC-SHA256 of `v0:TIME:BODY` in hexadecimal, `X-Slack-Request-Timestamp`
//! the time in seconds. What is older or newer than five minutes is refused, and what was taken once is not taken
//! again. Compared in constant time; the key's file is read each time.
//!
//! Not here: what is asked (`asked`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use crate::people::bearer::{Stranger, secret};
use crate::people::signature::bytes_of_hex;

/// The header of the signature.
pub const SIGNATURE: &str = "x-slack-signature";
/// The header of the time.
pub const TIME: &str = "x-slack-request-timestamp";
/// How far a request's time may be from ours.
const WINDOW: Duration = Duration::from_secs(300);
/// Requests within twice the window that are remembered at most; Slack sends some hundred.
const MOST: usize = 10_000;

/// What the headers say, before the body is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    signature: [u8; 32],
    time: String,
    at: i64,
}

/// Reads the headers. Fails without having seen a body: no signature, no time, or one outside the window.
pub fn claim(
    signature: Option<&[u8]>,
    time: Option<&[u8]>,
    now: Timestamp,
) -> Result<Claim, Stranger> {
    let hex = signature.and_then(|given| given.strip_prefix(b"v0="));
    let signature = hex.and_then(bytes_of_hex).ok_or(Stranger::NoSignature)?;
    let time = time.and_then(|time| std::str::from_utf8(time).ok());
    let digits = |time: &&str| time.len() <= 12 && time.bytes().all(|byte| byte.is_ascii_digit());
    let time = time.filter(digits).ok_or(Stranger::NoSignature)?;
    let at: i64 = time.parse().map_err(|_| Stranger::NoSignature)?;
    if at.abs_diff(now.as_second()) > WINDOW.as_secs() {
        return Err(Stranger::Late);
    }
    let time = time.to_owned();
    Ok(Claim {
        signature,
        time,
        at,
    })
}

impl Claim {
    /// Whether the signature fits this body by the key of this file.
    pub fn admit(&self, body: &[u8], file: &Path) -> Result<(), Stranger> {
        let key = secret(file)?;
        let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes());
        let mac = mac.map_err(|_| Stranger::WrongSignature)?;
        let mac = mac
            .chain_update(b"v0:")
            .chain_update(self.time.as_bytes())
            .chain_update(b":")
            .chain_update(body);
        mac.verify_slice(&self.signature)
            .map_err(|_| Stranger::WrongSignature)
    }

    /// A name of this request, the same wherever it is sent again.
    pub fn id(&self) -> String {
        let mut id = String::with_capacity(24);
        for byte in self.signature.iter().take(12) {
            // Writing to a String cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        id
    }
}

/// What was taken lately. Bounded: only what the key has signed comes in.
#[derive(Debug, Default)]
pub struct Taken(BTreeSet<(i64, [u8; 32])>);

impl Taken {
    /// Notes a request that was admitted; fails if it was taken before, or if there are too many to know.
    pub fn note(&mut self, claim: &Claim, now: Timestamp) -> Result<(), Stranger> {
        let oldest = now.as_second().saturating_sub_unsigned(WINDOW.as_secs());
        self.0.retain(|(at, _)| *at >= oldest);
        if self.0.len() >= MOST {
            return Err(Stranger::Again);
        }
        let new = self.0.insert((claim.at, claim.signature));
        new.then_some(()).ok_or(Stranger::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Slack's documentation.
    const KEY: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const RIGHT: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const AT: i64 = 1_531_420_618;

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{KEY}\n")).unwrap();
        (folder, file)
    }

    fn read(signature: &str, time: &str, now: i64) -> Result<Claim, Stranger> {
        let now = Timestamp::from_second(now).unwrap();
        claim(Some(signature.as_bytes()), Some(time.as_bytes()), now)
    }

    #[test]
    fn slacks_own_example_is_admitted_and_nothing_beside_it() {
        let (_folder, file) = file();
        let right = read(RIGHT, &AT.to_string(), AT).unwrap();
        assert!(right.admit(BODY.as_bytes(), &file).is_ok());
        assert!(right.admit(&BODY.as_bytes()[1..], &file).is_err());
        let later = read(RIGHT, &(AT + 1).to_string(), AT).unwrap();
        assert!(later.admit(BODY.as_bytes(), &file).is_err());
        let other = read(&RIGHT.replace("a2", "a3"), &AT.to_string(), AT).unwrap();
        assert!(other.admit(BODY.as_bytes(), &file).is_err());
        assert_eq!(right.id(), "a2114d57b48eac39b9ad189d");
    }

    #[test]
    fn headers_that_are_old_or_strange_are_refused_unread() {
        let time = AT.to_string();
        for (away, late) in [(300, false), (301, true), (-300, false), (-301, true)] {
            let found = read(RIGHT, &time, AT + away);
            assert_eq!(matches!(found, Err(Stranger::Late)), late, "{away}");
        }
        for (signature, time) in [
            ("", time.as_str()),
            ("v1=00", &time),
            (&RIGHT[3..], &time),
            (&RIGHT[..60], &time),
            (RIGHT, ""),
            (RIGHT, "-1531420618"),
            (RIGHT, "1531420618.5"),
            (RIGHT, "99999999999999999999"),
        ] {
            let found = read(signature, time, AT);
            assert!(
                matches!(found, Err(Stranger::NoSignature)),
                "{signature} {time}"
            );
        }
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let mut taken = Taken::default();
        let (one, now) = (read(RIGHT, &AT.to_string(), AT).unwrap(), |seconds| {
            Timestamp::from_second(AT + seconds).unwrap()
        });
        assert!(taken.note(&one, now(0)).is_ok());
        assert!(matches!(taken.note(&one, now(300)), Err(Stranger::Again)));
        let mut others = 0;
        for second in 0..MOST as u64 + 5 {
            let mut other = one.clone();
            other.signature[..8].copy_from_slice(&second.to_be_bytes());
            others += usize::from(taken.note(&other, now(0)).is_ok());
        }
        assert_eq!(others, MOST - 1);
        let new = read(RIGHT, &(AT + 301).to_string(), AT + 301).unwrap();
        assert!(taken.note(&new, now(301)).is_ok(), "the old are forgotten");
    }
}

//! The webhook's keys: made here, and renewed long before they run out, without a moment in which the
//! API server trusts nobody.
//!
//! Each serving certificate has a CA of its own, whose key is thrown away with the signature: what is
//! stored can serve, but sign nothing. To renew, the next pair is stored first, and its CA joins the
//! bundle; when the API servers have had [`OVERLAP`] to learn it, it serves, and the CA before stays in the
//! bundle for as long again, for daemons that still serve the old one.
//!
//! Keys of a time to come were made by a clock that was ahead: they count as none, since nobody would take
//! their certificate before that time has come.
//!
//! Not here: where they are stored and what time it is (`secret`), and the bundle in the configuration (`daemon::webhook`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde::{Deserialize, Serialize};

use crate::clock::elapsed;

/// How long a certificate is good for.
pub const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// With less than this left, the next one is made.
pub const RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Time for API servers to learn a bundle, and for daemons to serve what is stored.
pub const OVERLAP: Duration = Duration::from_secs(600);
/// A certificate is good from so long before it is made: clocks differ. What differs by more was made by a clock
/// that was wrong.
const EARLIER: Duration = Duration::from_secs(24 * 3600);

/// Keys that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making the webhook's certificate")]
pub struct Error(#[from] rcgen::Error);

/// A certificate with its key and the CA that signed it, each as PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The CA that signed it.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The name that it is for.
    pub host: String,
    /// The end of its life.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pair")
            .field("host", &self.host)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Pair {
    /// Whether it can serve this name now.
    fn serves(&self, host: &str, now: Timestamp) -> bool {
        let left = elapsed(now, self.expires);
        self.host == host && !left.is_zero() && left <= LIFE.saturating_add(EARLIER)
    }
}

/// What all daemons share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// What is served.
    pub serving: Pair,
    /// What will be, when its CA is known.
    pub next: Option<Pair>,
    /// The CA of what was served before, as PEM.
    pub before: Option<String>,
    /// When this last changed.
    pub since: Timestamp,
}

impl Keys {
    /// The CAs that the API server must trust, as PEM.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| next.ca.as_str());
        let all = [Some(self.serving.ca.as_str()), next, self.before.as_deref()];
        all.into_iter().flatten().collect()
    }
}

/// What is to be stored in place of `stored`, if anything; `trusted` is the bundle of the configuration
/// (PEM), where there is one.
///
/// # Errors
///
/// A certificate could not be made.
pub fn due(
    stored: Option<&Keys>,
    host: &str,
    trusted: Option<&str>,
    now: Timestamp,
) -> Result<Option<Keys>, Error> {
    let Some(keys) = stored else {
        return Ok(Some(fresh(host, None, now)?));
    };
    if !keys.serving.serves(host, now) {
        return Ok(Some(instead(keys, host, now)?));
    }
    let left = elapsed(now, keys.serving.expires);
    let is_ahead = elapsed(now, keys.since) > EARLIER;
    let settled = is_ahead || elapsed(keys.since, now) >= OVERLAP;
    match keys.next.as_ref().filter(|next| next.serves(host, now)) {
        Some(next) if settled && trusted.is_none_or(|bundle| bundle.contains(&next.ca)) => {
            Ok(Some(Keys {
                serving: next.clone(),
                next: None,
                before: Some(keys.serving.ca.clone()),
                since: now,
            }))
        }
        None if left < RENEWAL => Ok(Some(Keys {
            next: Some(pair(host, now)?),
            since: now,
            ..keys.clone()
        })),
        None if keys.next.is_some() => Ok(Some(Keys {
            next: None,
            since: now,
            ..keys.clone()
        })),
        None if settled && keys.before.is_some() => Ok(Some(Keys {
            before: None,
            since: now,
            ..keys.clone()
        })),
        Some(_) | None => Ok(None),
    }
}

fn fresh(host: &str, before: Option<String>, now: Timestamp) -> Result<Keys, Error> {
    Ok(Keys {
        serving: pair(host, now)?,
        next: None,
        before,
        since: now,
    })
}

/// In place of keys that cannot serve any more: the next ones if they can, else new ones.
fn instead(keys: &Keys, host: &str, now: Timestamp) -> Result<Keys, Error> {
    let before = Some(keys.serving.ca.clone());
    match keys.next.as_ref().filter(|next| next.serves(host, now)) {
        Some(next) => Ok(Keys {
            serving: next.clone(),
            next: None,
            before,
            since: now,
        }),
        None => fresh(host, before, now),
    }
}

/// A new certificate for this name, with a CA that signs nothing else.
fn pair(host: &str, now: Timestamp) -> Result<Pair, Error> {
    let expires = now.checked_add(LIFE).unwrap_or(Timestamp::MAX);
    let ca_key = KeyPair::generate()?;
    let mut ca = params(&format!("sluice webhook CA of {now}"), &[], (now, expires))?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let mut leaf = params("sluice webhook", &[host.to_owned()], (now, expires))?;
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = leaf.signed_by(&key, &issuer)?;
    Ok(Pair {
        ca: pem("CERTIFICATE", ca_certificate.der()),
        certificate: pem("CERTIFICATE", certificate.der()),
        key: pem("PRIVATE KEY", key.serialized_der()),
        host: host.to_owned(),
        expires,
    })
}

fn params(
    name: &str,
    hosts: &[String],
    (now, expires): (Timestamp, Timestamp),
) -> Result<CertificateParams, Error> {
    let date = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(now) - EARLIER;
    params.not_after = date(expires);
    Ok(params)
}

/// DER as PEM.
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "sluice-webhook.sluice-system.svc";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(time: Duration) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + time
    }

    /// Plays `days` with a look every `every`; what was served, and each change of the bundle.
    fn play(mut keys: Keys, days: u32, every: Duration) -> Vec<(Duration, Keys)> {
        let mut changes = vec![(Duration::ZERO, keys.clone())];
        let mut trusted = keys.bundle();
        let mut time = Duration::ZERO;
        while time < DAY * days {
            if let Some(new) = due(Some(&keys), HOST, Some(&trusted), at(time)).unwrap() {
                changes.push((time, new.clone()));
                keys = new;
            }
            trusted = keys.bundle();
            time += every;
        }
        changes
    }

    #[test]
    fn a_certificate_is_renewed_a_month_early_and_both_are_trusted_meanwhile() {
        let first = due(None, HOST, None, at(Duration::ZERO)).unwrap().unwrap();
        assert_eq!(first.serving.expires, at(LIFE));
        let changes = play(first.clone(), 62, Duration::from_secs(60));
        let [_, (prepared, second), (served, third), (forgotten, last)] = &changes[..] else {
            panic!("{changes:?}");
        };
        let month_before = LIFE.saturating_sub(RENEWAL);
        assert!(*prepared > month_before && *prepared < month_before + DAY);
        assert_eq!(second.serving, first.serving);
        let next = second.next.clone().unwrap();
        assert_eq!(second.bundle(), first.serving.ca.clone() + &next.ca);
        assert_eq!(*served, *prepared + OVERLAP);
        assert_eq!(third.serving, next);
        assert_eq!(third.bundle(), next.ca.clone() + &first.serving.ca);
        assert_eq!(*forgotten, *served + OVERLAP);
        assert_eq!(last.bundle(), next.ca);
    }

    /// Whatever is served at any moment was in the bundle for the overlap's time before.
    #[test]
    fn nothing_is_served_that_was_not_trusted_long_enough() {
        let first = due(None, HOST, None, at(Duration::ZERO)).unwrap().unwrap();
        let changes = play(first, 400, Duration::from_secs(3600));
        assert_eq!(changes.len(), 1 + 3 * 6);
        for pair in changes.windows(2) {
            let [(before, old), (after, new)] = pair else {
                unreachable!()
            };
            assert!(old.bundle().contains(&new.serving.ca));
            let switched = old.serving != new.serving;
            assert!(!switched || *after >= *before + OVERLAP);
        }
    }

    #[test]
    fn the_next_one_waits_for_the_bundle() {
        let first = due(None, HOST, None, at(Duration::ZERO)).unwrap().unwrap();
        let late = at(LIFE.saturating_sub(RENEWAL) + DAY);
        let prepared = due(Some(&first), HOST, None, late).unwrap().unwrap();
        let old = first.bundle();
        let later = |wait: Duration| due(Some(&prepared), HOST, Some(&old), late + wait).unwrap();
        assert_eq!(later(OVERLAP), None);
        assert_eq!(later(DAY * 20), None);
        let expired = later(DAY * 29).unwrap();
        assert_eq!(
            Some(expired.serving),
            prepared.next,
            "better late than never"
        );
    }

    #[test]
    fn another_name_is_served_at_once() {
        let first = due(None, HOST, None, at(Duration::ZERO)).unwrap().unwrap();
        let moved = due(Some(&first), "127.0.0.1", None, at(DAY))
            .unwrap()
            .unwrap();
        assert_eq!(moved.serving.host, "127.0.0.1");
        assert!(moved.bundle().contains(&first.serving.ca));
        assert_eq!(due(Some(&moved), "127.0.0.1", None, at(DAY)).unwrap(), None);
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let first = due(None, HOST, None, at(DAY)).unwrap().unwrap();
        assert_eq!(
            due(Some(&first), HOST, None, at(Duration::ZERO)).unwrap(),
            None
        );
    }

    #[test]
    fn keys_of_a_clock_that_was_ahead_are_replaced_and_never_served() {
        let day = at(Duration::ZERO);
        let present = due(None, HOST, None, day).unwrap().unwrap();
        for ahead in [DAY * 2, LIFE, DAY * 3650] {
            let ahead = due(None, HOST, None, day + ahead).unwrap().unwrap();
            let right = due(Some(&ahead), HOST, None, day).unwrap().unwrap();
            assert_eq!(right.serving.expires, day + LIFE);
            let late = due(Some(&right), HOST, None, day + OVERLAP)
                .unwrap()
                .unwrap();
            assert_eq!((late.serving, late.before), (right.serving, None));
            let prepared = Keys {
                next: Some(ahead.serving.clone()),
                since: ahead.since,
                ..present.clone()
            };
            let dropped = due(Some(&prepared), HOST, None, day).unwrap().unwrap();
            assert_eq!(
                (dropped.serving, dropped.next),
                (present.serving.clone(), None)
            );
        }
    }

    #[test]
    fn keys_come_back_as_they_were_stored_and_are_not_printed() {
        let keys = due(None, HOST, None, at(DAY)).unwrap().unwrap();
        let stored = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<Keys>(&stored).unwrap(), keys);
        assert!(!format!("{keys:?}").contains("PRIVATE"));
    }
}

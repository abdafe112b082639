//! Whether an ID token is good, and of whom it speaks.
//!
//! Guarantees: nothing of a token is believed before its signature by one of the provider's keys was
//! checked; RS256 and ES256 only (`none` and keyed hashes are no signatures); issuer, audience, times and
//! nonce are checked as section 3.1.3.7 of the specification says; nobody becomes a user or a group that
//! Kubernetes has for itself (`system:`).
//!
//! Why no crate: `jsonwebtoken` 11 brings 36 crates, a second generation of what russh has (`rsa`, `p256`, `sha2` and their
//! kin), or `aws-lc-rs`; on *ring* it would call what `keys` calls, read a clock of its own, and leave `azp`, `nonce`, `iat` and
//! groups to us. Not here: fetching the token and the keys (`provider`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Oidc;
use super::keys::{Algorithm, Keys};
use crate::people::person::Person;

/// Clocks may be apart by this, in seconds.
const SKEW: i64 = 60;
/// The longest token; those with many groups are some ten thousand bytes.
const BYTES: usize = 64 * 1024;

/// Why a token is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It cannot be read.
    #[error("it is no signed token")]
    Shape,
    /// By something else than RS256 or ES256.
    #[error("it is signed by {0:?}; RS256 and ES256 are taken")]
    Algorithm(String),
    /// By a key that the provider does not have.
    #[error("its key is not one of the provider's")]
    Key,
    /// The signature does not fit.
    #[error("its signature does not fit")]
    Signature,
    /// Somebody else's.
    #[error("its issuer is {0:?}")]
    Issuer(String),
    /// For somebody else.
    #[error("it is for somebody else")]
    Audience,
    /// Too old, or of the future.
    #[error("it has expired, or is not valid yet")]
    Time,
    /// For another login.
    #[error("it answers another login")]
    Nonce,
    /// It names nobody.
    #[error("it names no user in the claim {0:?} that could be one here")]
    Nobody(String),
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Who issues it and for whom.
    pub oidc: &'a Oidc,
    /// What the login that it answers said.
    pub nonce: &'a str,
    /// The present time.
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    #[serde(default)]
    crit: Value,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    azp: Option<String>,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The person of a good token.
pub fn check(token: &str, keys: &Keys, wanted: Wanted<'_>) -> Result<Person, Flaw> {
    let (head, text, signature) = parts(token)?;
    let algorithm = algorithm(&head)?;
    if !keys.knows(head.kid.as_deref(), algorithm) {
        return Err(Flaw::Key);
    }
    if !keys.signed(head.kid.as_deref(), algorithm, text.as_bytes(), &signature) {
        return Err(Flaw::Signature);
    }
    let claims = text
        .split_once('.')
        .map(|(_, claims)| claims)
        .unwrap_or_default();
    let claims: Claims = decoded(claims)?;
    valid(&claims, wanted)?;
    person(claims, wanted.oidc)
}

/// The head, what is signed, and the signature.
fn parts(token: &str) -> Result<(Head, &str, Vec<u8>), Flaw> {
    let dots = token.matches('.').count();
    let (text, signature) = token.rsplit_once('.').ok_or(Flaw::Shape)?;
    if dots != 2 || token.len() > BYTES {
        return Err(Flaw::Shape);
    }
    let (head, _) = text.split_once('.').ok_or(Flaw::Shape)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Flaw::Shape)?;
    Ok((decoded(head)?, text, signature))
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Flaw> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Shape)?;
    serde_json::from_slice(&bytes).map_err(|_| Flaw::Shape)
}

fn algorithm(head: &Head) -> Result<Algorithm, Flaw> {
    // Whatever must be understood here, we do not.
    let known = head.crit.is_null().then_some(head.alg.as_str());
    match known {
        Some("RS256") => Ok(Algorithm::RS256),
        Some("ES256") => Ok(Algorithm::ES256),
        _ => Err(Flaw::Algorithm(head.alg.chars().take(20).collect())),
    }
}

fn valid(claims: &Claims, wanted: Wanted<'_>) -> Result<(), Flaw> {
    let (oidc, now) = (wanted.oidc, wanted.now.as_second());
    if claims.iss != oidc.issuer {
        return Err(Flaw::Issuer(claims.iss.chars().take(200).collect()));
    }
    let ours = |value: &Value| value.as_str() == Some(&oidc.client_id);
    let (audience, several) = match &claims.aud {
        Value::Array(all) => (all.iter().any(ours), all.len() > 1),
        one => (ours(one), false),
    };
    let party = claims.azp.as_ref().map(|party| *party == oidc.client_id);
    if !audience || party == Some(false) || (several && party.is_none()) {
        return Err(Flaw::Audience);
    }
    let (earliest, latest) = ((now - SKEW) as f64, (now + SKEW) as f64);
    let begun = claims.iat <= latest && claims.nbf.is_none_or(|nbf| nbf <= latest);
    if claims.exp <= earliest || !begun {
        return Err(Flaw::Time);
    }
    if claims.nonce.as_deref() != Some(wanted.nonce) {
        return Err(Flaw::Nonce);
    }
    Ok(())
}

fn person(claims: Claims, oidc: &Oidc) -> Result<Person, Flaw> {
    let nobody = || Flaw::Nobody(oidc.user_claim.clone());
    let other = &claims.other;
    let unproven = oidc.user_claim == "email"
        && other
            .get("email_verified")
            .is_some_and(|said| *said != Value::Bool(true));
    let name = other.get(&oidc.user_claim).and_then(Value::as_str);
    let name = name
        .filter(|name| !name.is_empty() && !unproven)
        .ok_or_else(nobody)?;
    let groups = match other.get(&oidc.groups_claim) {
        Some(Value::String(group)) => vec![group.as_str()],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let groups = groups.into_iter().filter(|group| !group.is_empty());
    let groups = groups.map(|group| format!("{}{group}", oidc.groups_prefix));
    let name = format!("{}{name}", oidc.user_prefix);
    Person::new(name, groups.collect()).ok_or_else(nobody)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standin::{self, Signer};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn claims(change: Value) -> Value {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "sluice", "sub": "7", "email": "alice@example.org",
            "email_verified": true, "groups": ["dev"], "exp": NOW + 300, "iat": NOW, "nonce": "n",
        });
        let fields = change.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(fields);
        claims
    }

    fn checked(token: &str, keys: &Keys) -> Result<Person, Flaw> {
        let oidc = standin::settings("https://id.example");
        let now = Timestamp::from_second(NOW).unwrap();
        check(
            token,
            keys,
            Wanted {
                oidc: &oidc,
                nonce: "n",
                now,
            },
        )
    }

    #[test]
    fn only_a_token_for_us_from_the_provider_for_this_login_is_good() {
        let signer = Signer::new("one");
        let keys = Keys::read(&json!({"keys": [signer.public()]}));
        let nobody = || Err(Flaw::Nobody("email".to_owned()));
        let cases = [
            (json!({}), Ok(vec!["dev"])),
            (json!({"aud": ["sluice"]}), Ok(vec!["dev"])),
            (
                json!({"aud": ["other", "sluice"], "azp": "sluice"}),
                Ok(vec!["dev"]),
            ),
            (json!({"groups": "ops"}), Ok(vec!["ops"])),
            (
                json!({"groups": ["system:masters", "dev", 7]}),
                Ok(vec!["dev"]),
            ),
            (json!({"groups": null}), Ok(vec![])),
            (
                json!({"iss": "https://evil.example"}),
                Err(Flaw::Issuer("https://evil.example".to_owned())),
            ),
            (json!({"aud": "other"}), Err(Flaw::Audience)),
            (json!({"aud": []}), Err(Flaw::Audience)),
            (json!({"aud": ["other", "sluice"]}), Err(Flaw::Audience)),
            (json!({"azp": "other"}), Err(Flaw::Audience)),
            (json!({"exp": NOW - 61}), Err(Flaw::Time)),
            (json!({"iat": NOW + 61}), Err(Flaw::Time)),
            (json!({"nbf": NOW + 61}), Err(Flaw::Time)),
            (json!({"nonce": "of another login"}), Err(Flaw::Nonce)),
            (json!({"nonce": null}), Err(Flaw::Nonce)),
            (json!({"email": null}), nobody()),
            (json!({"email": ""}), nobody()),
            (json!({"email": "system:admin"}), nobody()),
            (json!({"email": "a\nb"}), nobody()),
            (json!({"email_verified": false}), nobody()),
            (json!({"email_verified": "false"}), nobody()),
        ];
        for (change, wanted) in cases {
            let person = checked(&signer.sign(&claims(change.clone())), &keys);
            let groups = person.map(|person| person.groups);
            let wanted = wanted.map(|groups| groups.into_iter().map(str::to_owned).collect());
            assert_eq!(groups, wanted, "{change}");
        }
    }

    #[test]
    fn only_a_signature_by_the_providers_key_counts() {
        let (signer, other) = (Signer::new("one"), Signer::new("one"));
        let keys = Keys::read(&json!({"keys": [signer.public()]}));
        let claims = claims(json!({}));
        let good = signer.sign(&claims);
        assert!(checked(&good, &keys).is_ok());
        assert_eq!(checked(&other.sign(&claims), &keys), Err(Flaw::Signature));
        let unknown = Signer::new("two").sign(&claims);
        assert_eq!(checked(&unknown, &keys), Err(Flaw::Key));
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        for alg in ["none", "None", "HS256", "RS512", ""] {
            let head = part(&json!({"alg": alg, "kid": "one"}));
            for signature in ["", "AAAA"] {
                let token = format!("{head}.{}.{signature}", part(&claims));
                assert_eq!(
                    checked(&token, &keys),
                    Err(Flaw::Algorithm(alg.to_owned())),
                    "{token}"
                );
            }
        }
        // A key of the other kind under the same id is no key.
        let head = part(&json!({"alg": "RS256", "kid": "one"}));
        assert_eq!(
            checked(&format!("{head}.{}.AAAA", part(&claims)), &keys),
            Err(Flaw::Key)
        );
        let critical = part(&json!({"alg": "ES256", "kid": "one", "crit": ["b64"]}));
        let token = format!("{critical}.{}.AAAA", part(&claims));
        assert_eq!(
            checked(&token, &keys),
            Err(Flaw::Algorithm("ES256".to_owned()))
        );
        let (text, signature) = good.rsplit_once('.').unwrap();
        let bob = part(&json!({"email": "bob"}));
        let (head, _) = text.split_once('.').unwrap();
        assert_eq!(
            checked(&format!("{head}.{bob}.{signature}"), &keys),
            Err(Flaw::Signature)
        );
        for broken in [
            "",
            "a",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            "....",
            "ä.ö.ü",
            &good[1..],
        ] {
            assert_eq!(checked(broken, &keys), Err(Flaw::Shape), "{broken}");
        }
    }

    #[test]
    fn rsa_signatures_count_too() {
        let signer = standin::Rsa::new("r");
        let keys = Keys::read(&json!({"keys": [{"kty": "oct", "k": "AA"}, signer.public()]}));
        let token = signer.sign(&claims(json!({})));
        assert_eq!(checked(&token, &keys).unwrap().name, "alice@example.org");
        let other = signer.sign(&claims(json!({"email": "bob"})));
        let (text, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(
            checked(&format!("{text}.{signature}"), &keys),
            Err(Flaw::Signature)
        );
    }
}

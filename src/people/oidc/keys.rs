//! A provider's public keys: RFC 7517, those that RS256 and ES256 need.
//!
//! Keys of other kinds, for other uses or without their numbers are left out: a token that names one is
//! signed by nobody that we know. Not here: fetching them (`provider`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// All keys of a provider.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
}

/// The signatures that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// RSA PKCS#1 with SHA-256.
    RS256,
    /// ECDSA over P-256 with SHA-256.
    ES256,
}

#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// The keys of a JWK set.
    pub fn read(set: &Value) -> Self {
        let keys = set["keys"].as_array().into_iter().flatten();
        Self(keys.filter_map(key).collect())
    }

    /// Whether a key of this id, or without one any, could have made such a signature.
    pub fn knows(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.of(id, algorithm).next().is_some()
    }

    /// Whether one of those keys made this signature.
    pub fn signed(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        text: &[u8],
        signature: &[u8],
    ) -> bool {
        let mut keys = self.of(id, algorithm);
        keys.any(|key| key.kind.signed(text, signature))
    }

    fn of(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let named = move |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let fits = move |key: &&Key| key.kind.algorithm() == algorithm;
        self.0.iter().filter(named).filter(fits)
    }
}

impl Kind {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(..) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
        }
    }

    fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(n, e) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature)
                    .is_ok()
            }
            Self::P256(point) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(text, signature).is_ok()
            }
        }
    }
}

fn key(value: &Value) -> Option<Key> {
    let written: Written = serde_json::from_value(value.clone()).ok()?;
    if written.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?.as_bytes()).ok();
    let kind = match (written.kty.as_str(), written.crv.as_deref()) {
        ("RSA", _) => Kind::Rsa(bytes(&written.n)?, bytes(&written.e)?),
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(&written.x)?, bytes(&written.y)?);
            let whole = x.len() == 32 && y.len() == 32;
            whole.then(|| Kind::P256([&[4], x.as_slice(), &y].concat()))?
        }
        _ => return None,
    };
    Some(Key {
        id: written.kid,
        kind,
    })
}

//! A sender that is known by a signature: Flux's notification-controller, provider `generic-hmac`.
//!
//! <https://fluxcd.io/flux/components/notification/providers/#generic-webhook-with-hmac>: the header
//! `X-Signature` is `sha256=` and the HMAC of the body, in hexadecimal. The key lies in a file and is read
//! anew each time.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::bearer::Stranger;

/// Whether what an `X-Signature` header says fits the body by the key of this file.
pub fn admit(header: Option<&[u8]>, body: &[u8], file: &Path) -> Result<(), Stranger> {
    let given = header.and_then(signature).ok_or(Stranger::NoSignature)?;
    let key = super::bearer::secret(file)?;
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes());
    let mac = mac.map_err(|_| Stranger::WrongSignature)?;
    let mac = mac.chain_update(body);
    mac.verify_slice(&given)
        .map_err(|_| Stranger::WrongSignature)
}

/// The bytes of `sha256=HEX`.
fn signature(header: &[u8]) -> Option<Vec<u8>> {
    bytes_of_hex(header.strip_prefix(b"sha256=")?).map(Vec::from)
}

/// The 32 bytes that this is in hexadecimal.
pub(super) fn bytes_of_hex(hex: &[u8]) -> Option<[u8; 32]> {
    let (pairs, rest) = hex.as_chunks::<2>();
    let whole = rest.is_empty() && pairs.len() == 32;
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>();
    bytes.filter(|_| whole)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_signature_lets_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "Jefe\n").unwrap();
        // RFC 4231, test case 2.
        let right = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        let admits = |header: &str, body: &[u8]| admit(Some(header.as_bytes()), body, &file);
        assert!(admits(right, body).is_ok());
        assert!(matches!(
            admits(right, b"what"),
            Err(Stranger::WrongSignature)
        ));
        let other = right.replace("5b", "5c");
        assert!(matches!(
            admits(&other, body),
            Err(Stranger::WrongSignature)
        ));
        for header in [
            "",
            "sha256=",
            "sha1=5bdc",
            &right[..60],
            &right.replace("5b", "zz"),
        ] {
            assert!(
                matches!(admits(header, body), Err(Stranger::NoSignature)),
                "{header}"
            );
        }
        assert!(matches!(
            admit(None, body, &file),
            Err(Stranger::NoSignature)
        ));
    }
}

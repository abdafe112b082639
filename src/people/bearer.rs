//! A sender that is known by a bearer token, and why a sender is not let in.
//!
//! The token lies in a file and is read anew each time, so that a rotated Secret counts at once.
//! Comparison takes the same time whatever was sent.

use std::path::Path;

use sha2::{Digest, Sha256};

/// Why a sender is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Stranger {
    /// No token, or no bearer token.
    #[error("an Authorization header with a bearer token is needed")]
    NoToken,
    /// Another token.
    #[error("the bearer token is not the right one")]
    WrongToken,
    /// No signature, or none by SHA-256.
    #[error("a signature is needed, as the sender documents it")]
    NoSignature,
    /// Another signature.
    #[error("the signature does not fit the body")]
    WrongSignature,
    /// Signed too long ago, or by a clock that is ahead.
    #[error("the request's time is more than five minutes from ours")]
    Late,
    /// It was taken before.
    #[error("the request was taken before")]
    Again,
    /// Ours cannot be read.
    #[error("the secret file {path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Ours is empty: anybody would fit.
    #[error("the secret file {0} is empty")]
    Empty(String),
}

/// Whether what an `Authorization` header says is the token of this file.
pub fn admit(header: Option<&[u8]>, file: &Path) -> Result<(), Stranger> {
    let given = header.and_then(token).ok_or(Stranger::NoToken)?;
    let wanted = secret(file)?;
    // Digests of one length, so that nothing is told by when the comparison ends.
    if Sha256::digest(given) == Sha256::digest(wanted.as_bytes()) {
        Ok(())
    } else {
        Err(Stranger::WrongToken)
    }
}

/// What a file holds that only we and the sender know.
pub fn secret(file: &Path) -> Result<String, Stranger> {
    let path = || file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|source| Stranger::Unreadable {
        path: path(),
        source,
    })?;
    match text.trim() {
        "" => Err(Stranger::Empty(path())),
        secret => Ok(secret.to_owned()),
    }
}

/// The token of `Bearer TOKEN`.
fn token(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_token_lets_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let admits = |header: Option<&str>| admit(header.map(str::as_bytes), &file);
        assert!(admits(Some("Bearer s3cret")).is_ok());
        assert!(admits(Some("bearer  s3cret ")).is_ok());
        for header in ["Bearer s3cre", "Bearer s3crets", "Bearer "] {
            let refused = admits(Some(header));
            assert!(matches!(refused, Err(Stranger::WrongToken)), "{header}");
        }
        for header in [None, Some("Basic s3cret"), Some("s3cret"), Some("")] {
            assert!(
                matches!(admits(header), Err(Stranger::NoToken)),
                "{header:?}"
            );
        }
    }

    #[test]
    fn a_token_that_is_empty_or_not_there_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let header = Some("Bearer ".as_bytes());
        assert!(matches!(
            admit(header, &file),
            Err(Stranger::Unreadable { .. })
        ));
        std::fs::write(&file, " \n").unwrap();
        assert!(matches!(admit(header, &file), Err(Stranger::Empty(_))));
    }
}

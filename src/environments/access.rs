//! From the files that a pipeline names to who we are at its repository.
//!
//! Files are read again each time, so that rotated credentials count. Not here: which files.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;

use super::error::Error;
use super::pipeline::Pipeline;
use crate::git::{Address, Credentials, Remote, Signer};

/// A branch of the pipeline's repository.
pub fn remote(pipeline: &Pipeline, branch: &str) -> Result<Remote, Error> {
    let source = pipeline.source()?;
    let (at, _) = Address::parse(&source.url)?;
    let mut secret = BTreeMap::new();
    if let Some(token) = &source.token_file {
        // Beside a key of SSH it is the key's passphrase.
        if source.identity_file.is_none() {
            secret.insert("username".to_owned(), source.username.clone().into_bytes());
        }
        secret.insert("password".to_owned(), read(token)?);
    }
    if let Some(identity) = &source.identity_file {
        secret.insert("identity".to_owned(), read(identity)?);
    }
    if let Some(hosts) = &source.known_hosts_file {
        secret.insert("known_hosts".to_owned(), read(hosts)?);
    }
    let authority = source.authority_file.as_deref().map(read).transpose()?;
    Ok(Remote {
        at,
        branch: branch.to_owned(),
        credentials: Credentials::from_secret(&secret)?,
        authority,
    })
}

/// The key by which commits are signed, if there is one.
pub fn signer(pipeline: &Pipeline) -> Result<Option<Signer>, Error> {
    let Some(path) = &pipeline.signing_key_file else {
        return Ok(None);
    };
    let key = String::from_utf8_lossy(&read(path)?).into_owned();
    Ok(Some(Signer::new(&SecretString::from(key), None)?))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Credential {
        path: path.display().to_string(),
        source,
    })
}

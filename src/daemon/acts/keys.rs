//! Of what the keys of sessions are made.
//!
//! Of a secret that all replicas read, so that any of them takes what another one began: the settings' own, else
//! the one that the identity provider gave us. Never of `access.tokenFile`: whoever has that token could make
//! sessions of anybody, and act by another's name.
//!
//! Not here: what is made of them (`web`).

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::causes;
use crate::daemon::settings::Access;
use crate::people::bearer;
use crate::web::Key;

/// The shortest secret that cannot be found by trying.
const LEAST: usize = 32;

/// The key of this environment's sessions.
pub fn key(access: &Access, environment: &str) -> Key {
    let Some(file) = secret_file(access) else {
        if access.is_given() {
            tracing::info!(
                "sessions are known to this process alone: with several replicas set access.sessionKeyFile"
            );
        }
        return Key::default();
    };
    // Sessions of a provider that is not in the settings any more are over.
    let provider = access.oidc.as_ref().map(|oidc| {
        let prefixes = (&oidc.user_prefix, &oidc.groups_prefix);
        format!("{} {} {prefixes:?}", oidc.issuer, oidc.client_id)
    });
    let whose = format!("{environment} {}", provider.unwrap_or_default());
    Key::shared(&whose, move || match secret(&file) {
        Ok(secret) => Some(secret),
        Err(why) => {
            tracing::error!(why, "nobody is known by a session");
            None
        }
    })
}

/// The secret that all replicas read; the provider's only where it is long enough.
fn secret_file(access: &Access) -> Option<PathBuf> {
    let provider = access.oidc.as_ref();
    let provider = provider.and_then(|oidc| oidc.client_secret_file.clone());
    let provider = provider.filter(|file| secret(file).is_ok());
    access.session_key_file.clone().or(provider)
}

fn secret(file: &Path) -> Result<SecretString, String> {
    let secret = bearer::secret(file).map_err(|error| causes::told(&error))?;
    if secret.len() < LEAST {
        let (file, length) = (file.display(), secret.len());
        return Err(format!(
            "{file} has {length} bytes; a key of sessions has {LEAST} or more"
        ));
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::oidc::standin::settings;

    #[test]
    fn the_settings_own_secret_is_taken_before_the_providers_and_the_shared_token_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, secret: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, secret).unwrap();
            Some(path)
        };
        let (long, short) = ("a".repeat(LEAST), "b".repeat(LEAST - 1));
        let (own, provider) = (file("own", &long), file("provider", &long));
        let with = |own: &Option<PathBuf>, provider: &Option<PathBuf>| {
            let mut oidc = settings("http://127.0.0.1:1");
            oidc.client_secret_file.clone_from(provider);
            secret_file(&Access {
                token_file: file("token", &long),
                session_key_file: own.clone(),
                oidc: Some(oidc),
                ..Access::default()
            })
        };
        assert_eq!(with(&own, &provider), own);
        assert_eq!(with(&None, &provider), provider);
        assert_eq!(with(&None, &file("short", &short)), None);
        assert_eq!(with(&None, &None), None);
        let why = secret(&file("short", &short).unwrap()).unwrap_err();
        assert!(why.contains("31 bytes"), "{why}");
    }
}

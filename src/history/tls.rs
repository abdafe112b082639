//! How `PostgreSQL` is reached: by TLS, unless the URL says otherwise.
//!
//! Without `sslmode`, and with `require`, `verify-ca` and `verify-full`, the connection is encrypted and the server's
//! certificate checked, by its name too, as libpq does for `verify-full`: stricter than libpq's own defaults, never
//! weaker. `prefer` takes a server without TLS as it is, `disable` asks for none. A socket in the file system has
//! none either.
//!
//! Not here: the password, and what is asked (`postgres`).

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::store::Cause;

/// libpq's words for what is always done here where TLS is asked for.
const CHECKED: [&str; 2] = ["sslmode=verify-full", "sslmode=verify-ca"];

/// A URL's meaning.
///
/// # Errors
/// If it is none.
pub fn config(url: &str) -> Result<Config, tokio_postgres::Error> {
    let (place, words) = url.split_once('?').unwrap_or((url, ""));
    let given: Vec<&str> = words.split('&').filter(|word| !word.is_empty()).collect();
    let says = given.iter().any(|word| word.starts_with("sslmode="));
    let given: Vec<&str> = given
        .into_iter()
        .map(|word| {
            if CHECKED.contains(&word) {
                "sslmode=require"
            } else {
                word
            }
        })
        .collect();
    let mut config = format!("{place}?{}", given.join("&")).parse::<Config>()?;
    let local = config
        .get_hosts()
        .iter()
        .all(|host| matches!(host, Host::Unix(_)));
    if !says && local && !config.get_hosts().is_empty() {
        config.ssl_mode(SslMode::Disable);
    } else if !says {
        config.ssl_mode(SslMode::Require);
    }
    Ok(config)
}

/// TLS with these authorities, or with the system's.
///
/// # Errors
/// If there are none, or the file has none that can be used.
pub fn connector(authorities: Option<&Path>) -> Result<MakeRustlsConnect, Cause> {
    let Some(path) = authorities else {
        let (tls, _) = MakeRustlsConnect::with_native_certs().map_err(|_| Cause::Authorities)?;
        return Ok(tls);
    };
    let wrong = |why: String| Cause::Authority {
        path: path.to_owned(),
        why,
    };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for one in found {
        let one = one.map_err(|error| wrong(error.to_string()))?;
        roots.add(one).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it has no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| wrong(error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_asked_for_unless_the_url_says_otherwise() {
        let cases = [
            ("postgres://a@db/b", SslMode::Require),
            ("postgres://a@db/b?connect_timeout=3", SslMode::Require),
            ("postgres://a@db/b?sslmode=verify-full", SslMode::Require),
            (
                "postgres://a@db/b?connect_timeout=3&sslmode=verify-ca",
                SslMode::Require,
            ),
            ("postgres://a@db/b?sslmode=require", SslMode::Require),
            ("postgres://a@db/b?sslmode=prefer", SslMode::Prefer),
            ("postgres://a@db/b?sslmode=disable", SslMode::Disable),
            ("postgres://a@%2Frun%2Fpostgresql/b", SslMode::Disable),
        ];
        for (url, wanted) in cases {
            assert_eq!(config(url).unwrap().get_ssl_mode(), wanted, "{url}");
        }
        assert!(config("postgres://a@db/b?sslmode=allow").is_err());
    }

    #[test]
    fn a_file_without_authorities_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(connector(Some(&path)).is_err());
        std::fs::write(&path, "nothing\n").unwrap();
        let error = connector(Some(&path)).err().unwrap();
        assert!(error.to_string().contains("has no certificate"), "{error}");
    }
}

//! Which host keys are accepted: those of the Secret's `known_hosts`, and no other.
//!
//! A host that is not named there is refused with the line that would have to be added; a host
//! whose key changed is refused with the line it contradicts. Nothing is learned by itself.

use std::borrow::Cow;
use std::path::PathBuf;

use russh::client::Handler;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::known_hosts::{check_known_hosts_path, known_host_keys_path};
use russh::keys::{Algorithm, HashAlg};

/// The hosts that are known, and what was wrong with the one that answered.
pub(super) struct Known {
    host: String,
    port: u16,
    file: PathBuf,
    told: tokio::sync::mpsc::UnboundedSender<String>,
}

impl Known {
    /// Hosts as written in `file`; what is wrong is sent to `told`.
    pub fn new(
        host: &str,
        port: u16,
        file: PathBuf,
        told: tokio::sync::mpsc::UnboundedSender<String>,
    ) -> Self {
        Self {
            host: host.to_owned(),
            port,
            file,
            told,
        }
    }

    /// The algorithms that may be asked for, those of known keys first: a server has several
    /// keys and we may know one of them.
    pub fn preferred(&self, all: &[Algorithm]) -> Cow<'static, [Algorithm]> {
        let known = known_host_keys_path(&self.host, self.port, &self.file).unwrap_or_default();
        let is_known = |asked: &Algorithm| {
            known.iter().any(|(_, key)| match key.algorithm() {
                Algorithm::Rsa { .. } => matches!(asked, Algorithm::Rsa { .. }),
                other => other == *asked,
            })
        };
        let (mut first, then): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_known);
        first.extend(then);
        Cow::Owned(first)
    }

    fn check(&self, key: &russh::keys::PublicKey) -> Result<(), String> {
        let (host, port) = (&self.host, self.port);
        let known = check_known_hosts_path(host, port, key, &self.file);
        let line = || match port {
            22 => format!("{host} {}", key.to_openssh().unwrap_or_default()),
            port => format!("[{host}]:{port} {}", key.to_openssh().unwrap_or_default()),
        };
        match known {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "the host's key is not in known_hosts; compare {} with the host's, then add the line: {}",
                key.fingerprint(HashAlg::Sha256),
                line()
            )),
            Err(russh::keys::Error::KeyChanged { line }) => Err(format!(
                "the host's key {} is not that of line {line} of known_hosts",
                key.fingerprint(HashAlg::Sha256)
            )),
            Err(error) => Err(format!("known_hosts: {error}")),
        }
    }
}

impl Handler for Known {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let checked = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.check(key),
            PublicKeyOrCertificate::Certificate(_) => {
                Err("the host shows a certificate; name its key in known_hosts".to_owned())
            }
        };
        if let Err(why) = &checked {
            // Fails if nobody listens any more, who then needs no reason.
            let _ = self.told.send(why.clone());
        }
        Ok(checked.is_ok())
    }
}

//! TLS of the webhook: what the daemon serves with, and a look at whether it is reached.
//!
//! The look goes the API server's way as far as a pod can: by name and port, through the Service,
//! trusting nobody but the bundle of the configuration. It says nothing of the network between the
//! API server and the pods.
//!
//! Not here: connections that are served (`listener`).

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::keys::Pair;

/// For one look.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM text cannot be read.
    #[error("reading the webhook's keys")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The name is neither a DNS name nor an address.
    #[error("reading the webhook's name")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    /// Certificate and key do not fit, or nobody is trusted.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
    /// No connection, or none that is trusted.
    #[error("connecting")]
    Connect(#[from] std::io::Error),
    /// Neither yes nor no.
    #[error("no answer within {DEADLINE:?}")]
    Deadline,
}

/// What is served with this pair; HTTP/1.1 only, which is what API servers speak to webhooks.
pub fn server(pair: &Pair) -> Result<ServerConfig, Error> {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts this bundle (PEM) and nobody else.
pub fn client(bundle: &str) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Whether a connection to this name and port is accepted and trusted.
pub async fn look((host, port): (String, u16), bundle: &str) -> Result<(), Error> {
    let connector = TlsConnector::from(Arc::new(client(bundle)?));
    let name = ServerName::try_from(host.clone())?;
    let connect = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        connector.connect(name, stream).await?;
        Ok(())
    };
    let connected = tokio::time::timeout(DEADLINE, connect).await;
    connected.map_err(|_| Error::Deadline)?
}

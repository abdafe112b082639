//! Clients for HTTP, and the authorities that one trusts beside the system's.
//!
//! Guarantees: the TLS of all of them is rustls on *ring*; they say who they are; none follows a redirect
//! unless whoever builds it says otherwise; a file or Secret of authorities without a certificate is refused,
//! since nothing more would be trusted than before.
//!
//! The rule of proxies is one as well: what lies outside is reached by the environment's (`HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY`, except `NO_PROXY`), and this machine never is.
//!
//! Not here: deadlines and what is asked: they differ by whom one asks. Who asks the cluster's own (metrics, smoke
//! tests) or sends messages leaves proxies out.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use hyper::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Client, ClientBuilder};

/// Why authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Their file cannot be read.
    #[error("it cannot be read")]
    Unread(#[from] io::Error),
    /// They are something else.
    #[error("want certificates in PEM")]
    Unlike(#[source] reqwest::Error),
    /// There are none.
    #[error("no certificate is in it, want certificates in PEM")]
    Empty,
}

/// A client in the making. May be called any number of times.
pub fn builder() -> ClientBuilder {
    // Fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
}

/// The same for what is at `url`: not by a proxy if that is this machine.
pub fn proxied(client: ClientBuilder, url: &str) -> ClientBuilder {
    let url: Option<Uri> = url.parse().ok();
    if url.is_some_and(|url| is_loopback(url.host().unwrap_or_default())) {
        client.no_proxy()
    } else {
        client
    }
}

/// The environment's proxy for a URL, without its password, if it goes by one.
pub fn proxy(url: &Uri) -> Option<Uri> {
    if is_loopback(url.host()?) {
        return None;
    }
    let intercept = Matcher::from_env().intercept(url)?;
    Some(intercept.uri().clone())
}

/// Whether a host, with or without a port, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The same, which trusts these authorities (PEM) too, if there are some.
pub fn trusting(client: ClientBuilder, pem: Option<&[u8]>) -> Result<ClientBuilder, Unusable> {
    let Some(pem) = pem else { return Ok(client) };
    let authorities = Certificate::from_pem_bundle(pem).map_err(Unusable::Unlike)?;
    if authorities.is_empty() {
        return Err(Unusable::Empty);
    }
    Ok(client.tls_certs_merge(authorities))
}

/// The same, which trusts the authorities of a file too, if there is one.
pub fn trusting_file(
    client: ClientBuilder,
    file: Option<&Path>,
) -> Result<ClientBuilder, Unusable> {
    let pem = file.map(std::fs::read).transpose()?;
    trusting(client, pem.as_deref())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::causes;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    fn refusal(pem: &str) -> String {
        causes::told(&trusting(builder(), Some(pem.as_bytes())).unwrap_err())
    }

    #[test]
    fn this_machine_is_known_by_name_and_address() {
        let loopback = ["localhost:5000", "127.0.0.1", "127.8.0.1:80", "[::1]:5000"];
        assert!(loopback.into_iter().all(is_loopback));
        assert!(!is_loopback("127.example:5000"));
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let certified = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let pem = pem("CERTIFICATE", certified.cert.der());
        let both = format!("an authority:\n{pem}{pem}");
        let client = trusting(builder(), Some(both.as_bytes())).unwrap();
        assert!(client.build().is_ok());
        let key = self::pem("PRIVATE KEY", &certified.signing_key.serialize_der());
        let empty = "no certificate is in it, want certificates in PEM";
        assert_eq!(refusal(""), empty);
        assert_eq!(refusal(&key), empty);
        let cut = &pem[..pem.len() / 2];
        assert!(
            refusal(cut).starts_with("want certificates in PEM: "),
            "{}",
            refusal(cut)
        );
        let gone = trusting_file(builder(), Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(matches!(gone, Unusable::Unread(_)), "{gone}");
    }
}

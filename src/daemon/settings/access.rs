//! The settings of who may act at the page and its API.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;

use super::reader::{Reader, Section};
use crate::people::oidc::Oidc;
use crate::people::proxy::Proxy;

/// The time for which one is signed in by an identity provider.
const SESSION: Duration = Duration::from_secs(3600);

/// How people are known. With none of them, nobody can act there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Whether tokens of the cluster are accepted: who may patch a Rollout may act on it.
    pub token_review: bool,
    /// A file with one token that may act on every Rollout, read again each time.
    pub token_file: Option<PathBuf>,
    /// A file with a secret that all replicas have, of which the keys of sessions are made, read again each time.
    pub session_key_file: Option<PathBuf>,
    /// Proxies that say who it is.
    pub proxy: Option<Proxy>,
    /// An identity provider at which people sign in.
    pub oidc: Option<Oidc>,
}

impl Access {
    /// Whether anybody may act.
    pub fn is_given(&self) -> bool {
        let named = self.proxy.is_some() || self.oidc.is_some();
        self.token_review || self.token_file.is_some() || named
    }
}

/// Reads `access`.
pub fn access(reader: &mut Reader, root: &Section) -> Access {
    let section = reader.section(root, "access");
    let proxy_section = reader.section(&section, "proxy");
    let oidc_section = reader.section(&section, "oidc");
    let access = Access {
        token_review: reader.flag(&section, "tokenReview", false),
        token_file: reader.path(&section, "tokenFile"),
        session_key_file: reader.path(&section, "sessionKeyFile"),
        proxy: proxy_section
            .given()
            .then(|| proxy(reader, &proxy_section))
            .flatten(),
        oidc: oidc_section
            .given()
            .then(|| oidc(reader, &oidc_section))
            .flatten(),
    };
    if oidc_section.given() && !root.has("pageUrl") {
        let wanted = "where people reach the page: access.oidc leads back there";
        reader.wrong(root, "pageUrl", "nothing", wanted);
    }
    access
}

fn proxy(reader: &mut Reader, section: &Section) -> Option<Proxy> {
    let mut from = Vec::new();
    for text in reader.texts(section, "from") {
        let address = || {
            text.parse()
                .ok()
                .map(|address: std::net::IpAddr| address.into())
        };
        match text.parse().ok().or_else(address) {
            Some(net) => from.push(net),
            None => reader.wrong(
                section,
                "from",
                &format!("{text:?}"),
                "addresses such as 10.0.0.0/8",
            ),
        }
    }
    if from.is_empty() {
        reader.wrong(
            section,
            "from",
            "nothing",
            "the addresses of the proxies, such as 10.0.0.0/8",
        );
    }
    let wanted = "the header in which the proxy says who it is";
    let user = reader.required(section, "userHeader", wanted);
    Some(Proxy {
        from,
        user_header: header(reader, section, "userHeader", user)?,
        groups_header: {
            let groups = reader.text(section, "groupsHeader");
            header(reader, section, "groupsHeader", groups)
        },
    })
}

fn header(
    reader: &mut Reader,
    section: &Section,
    key: &str,
    text: Option<String>,
) -> Option<HeaderName> {
    let text = text?;
    let name = text.parse().ok();
    if name.is_none() {
        reader.wrong(section, key, &format!("{text:?}"), "a header's name");
    }
    name
}

fn oidc(reader: &mut Reader, section: &Section) -> Option<Oidc> {
    let issuer = reader.required(section, "issuer", "the provider's issuer identifier");
    let client_id = reader.required(section, "clientId", "who we are to the provider");
    let mut text = |key: &str, usual: &str| {
        reader
            .text(section, key)
            .unwrap_or_else(|| usual.to_owned())
    };
    let user_claim = text("userClaim", "email");
    let user_prefix = text("userPrefix", "");
    let groups_claim = text("groupsClaim", "groups");
    let groups_prefix = text("groupsPrefix", "");
    let scopes = reader.texts(section, "scopes");
    let usual = ["email", "groups"].map(str::to_owned);
    Some(Oidc {
        client_secret_file: reader.path(section, "clientSecretFile"),
        ca_file: reader.path(section, "caFile"),
        scopes: if scopes.is_empty() {
            usual.into()
        } else {
            scopes
        },
        user_claim,
        user_prefix,
        groups_claim,
        groups_prefix,
        session: reader.duration(section, "session", SESSION),
        issuer: issuer.and_then(|issuer| is_safe(reader, section, issuer))?,
        client_id: client_id?,
    })
}

/// The issuer as it is written, since tokens repeat it: on TLS, or on this machine.
fn is_safe(reader: &mut Reader, section: &Section, issuer: String) -> Option<String> {
    reader.url(section, "issuer", &issuer)?;
    let url = reqwest::Url::parse(&issuer).ok()?;
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !here {
        let wanted = "an https URL: whoever is between could be anybody";
        reader.wrong(section, "issuer", &format!("{issuer:?}"), wanted);
        return None;
    }
    Some(issuer)
}

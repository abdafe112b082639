//! The settings of the gate's webhook.

use std::net::{Ipv4Addr, SocketAddr};

use super::Gate;
use super::reader::{Reader, Section};
use crate::kubernetes::webhook::{CONFIGURATION, PORT};

/// How the API server reaches the daemon's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where it listens. Default `0.0.0.0:8443`.
    pub listen: SocketAddr,
    /// The `MutatingWebhookConfiguration`. Default `sluice-gate`.
    pub name: String,
    /// The namespace of the Secret with its keys, and of its Service. Default: the daemon's own, or the
    /// context's.
    pub namespace: Option<String>,
    /// The base URL by which it is reached in place of the Service.
    pub url: Option<String>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            name: CONFIGURATION.to_owned(),
            namespace: None,
            url: None,
        }
    }
}

/// Reads `webhook`: given by itself, or meant by `gate: webhook`.
pub fn webhook(reader: &mut Reader, root: &Section, gate: Gate) -> Option<Webhook> {
    let section = reader.section(root, "webhook");
    if !section.given() && gate != Gate::Webhook {
        return None;
    }
    if matches!(gate, Gate::Policy | Gate::Paused) {
        let wanted = "gate: webhook, or gate: auto";
        reader.wrong(root, "webhook", "a webhook that holds nothing", wanted);
    }
    let usual = Webhook::default();
    Some(Webhook {
        listen: listen(reader, &section, usual.listen),
        name: reader.text(&section, "name").unwrap_or(usual.name),
        namespace: reader.text(&section, "namespace"),
        url: url(reader, &section),
    })
}

fn listen(reader: &mut Reader, section: &Section, usual: SocketAddr) -> SocketAddr {
    let Some(text) = reader.text(section, "listen") else {
        return usual;
    };
    text.parse().unwrap_or_else(|_| {
        let wanted = "an address with a port, such as 0.0.0.0:8443";
        reader.wrong(section, "listen", &format!("{text:?}"), wanted);
        usual
    })
}

/// API servers ask webhooks by HTTPS only.
fn url(reader: &mut Reader, section: &Section) -> Option<String> {
    let text = reader.text(section, "url")?;
    let url = reader.url(section, "url", &text)?;
    if !url.starts_with("https://") {
        reader.wrong(section, "url", &format!("{text:?}"), "an https URL");
    }
    Some(url)
}

//! The gate as a webhook, for API servers that serve no `MutatingAdmissionPolicy` (before 1.36).
//!
//! The API server asks the daemon's HTTPS endpoint about every update of a guarded workload, and
//! the answer holds it as the policy would (`mutation`). It asks about nothing else, so that with
//! `failurePolicy: Fail` only these updates are refused while no daemon answers. Every daemon serves,
//! whether it leads or not.
//!
//! Not here: when keys are looked at and what is said of the gate (`daemon::webhook`).

pub mod bodies;
pub mod keys;
pub mod listener;
pub mod manifests;
pub mod mutation;
pub mod reach;
pub mod review;
pub mod secret;

/// Name of the `MutatingWebhookConfiguration`, unless settings say otherwise.
pub const CONFIGURATION: &str = "sluice-gate";
/// Name of the webhook in it.
pub const WEBHOOK: &str = "gate.sluice.dev";
/// Name of the Service by which the API server reaches the daemons.
pub const SERVICE: &str = "sluice-webhook";
/// Name of the Secret with the keys.
pub const SECRET: &str = "sluice-webhook";
/// Where reviews are answered.
pub const PATH: &str = "/gate";
/// The daemons' port, unless settings say otherwise.
pub const PORT: u16 = 8443;

/// How the API server reaches the daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// By the Service [`SERVICE`] of this namespace.
    Service {
        /// The daemons' namespace.
        namespace: String,
    },
    /// At this base URL: `https://host:port`.
    Url(String),
}

impl Reached {
    /// The name that the certificate is for (a DNS name or an IP address), and the port. A URL
    /// without a port means 443.
    pub fn place(&self) -> (String, u16) {
        match self {
            Self::Service { namespace } => (format!("{SERVICE}.{namespace}.svc"), 443),
            Self::Url(url) => {
                let rest = url.strip_prefix("https://").unwrap_or(url);
                let authority = rest.split('/').next().unwrap_or(rest);
                match authority.rsplit_once(':') {
                    Some((host, port)) if !port.ends_with(']') => {
                        (bare(host), port.parse().unwrap_or(443))
                    }
                    _ => (bare(authority), 443),
                }
            }
        }
    }
}

fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_the_name_that_the_api_server_asks_for() {
        let service = Reached::Service {
            namespace: "sluice-system".to_owned(),
        };
        let url = |url: &str| Reached::Url(url.to_owned());
        let table = [
            (service, ("sluice-webhook.sluice-system.svc", 443)),
            (url("https://gate.example"), ("gate.example", 443)),
            (url("https://127.0.0.1:9443"), ("127.0.0.1", 9443)),
            (url("https://[::1]:9443/x"), ("::1", 9443)),
            (url("https://[::1]"), ("::1", 443)),
        ];
        for (reached, (host, port)) in table {
            assert_eq!(reached.place(), (host.to_owned(), port));
        }
    }
}

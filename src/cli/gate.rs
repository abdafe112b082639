//! `sluice gate`: the admission policies with their bindings, or the webhook, for `kubectl apply`.
//!
//! Not here: what they say (`kubernetes::gate`, `kubernetes::webhook`).

use clap::Args;

use super::{Error, Screen};
use crate::kubernetes::webhook::manifests::{self, Wanted};
use crate::kubernetes::webhook::{CONFIGURATION, Reached};
use crate::kubernetes::{crd, gate};

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The user name that the gate lets through: the daemon's
    #[arg(long, value_name = "USERNAME", default_value = crd::ACCOUNT)]
    account: String,
    /// Print the webhook's configuration and Service instead (Kubernetes before 1.36)
    #[arg(long)]
    webhook: bool,
    /// The daemons' namespace
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "sluice-system",
        requires = "webhook"
    )]
    service_namespace: String,
    /// Where the API server reaches the daemon, in place of a Service: https://HOST:PORT
    #[arg(long, value_name = "URL", requires = "webhook")]
    url: Option<String>,
    /// The configuration's name: `webhook.name` of the settings
    #[arg(long, value_name = "NAME", default_value = CONFIGURATION, requires = "webhook")]
    name: String,
    /// Only for this namespace, once for each: `cluster.namespaces` of the settings
    #[arg(long, value_name = "NAMESPACE", requires = "webhook")]
    only: Vec<String>,
}

/// Prints them.
pub fn print(screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let text = if arguments.webhook {
        manifests::yaml(&wanted(arguments)?)
    } else {
        gate::yaml(&arguments.account)
    };
    screen.print(&text.map_err(|error| Error::Format(error.to_string()))?)
}

fn wanted(arguments: &Arguments) -> Result<Wanted, Error> {
    let namespace = arguments.service_namespace.clone();
    let reached = match &arguments.url {
        Some(url) if !url.starts_with("https://") => {
            return Err(Error::Usage("--url must be an https URL".to_owned()));
        }
        Some(url) => Reached::Url(url.trim_end_matches('/').to_owned()),
        None => Reached::Service { namespace },
    };
    Ok(Wanted {
        name: arguments.name.clone(),
        account: arguments.account.clone(),
        namespaces: arguments.only.clone(),
        reached,
    })
}

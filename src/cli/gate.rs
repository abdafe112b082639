//! `sluice gate`: the admission policies with their bindings, for `kubectl apply`.
//!
//! Not here: what they say (`kubernetes::gate`).

use clap::Args;

use super::{Error, Screen};
use crate::kubernetes::{crd, gate};

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The user name that the gate lets through: the daemon's
    #[arg(long, value_name = "USERNAME", default_value = crd::ACCOUNT)]
    account: String,
}

/// Prints them.
pub fn print(screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let text = gate::yaml(&arguments.account).map_err(|error| Error::Format(error.to_string()))?;
    screen.print(&text)
}

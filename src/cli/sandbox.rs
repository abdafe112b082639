//! `sluice sandbox`: a whole cluster in this process, with the daemon in it.
//!
//! Not here: the cluster (`sandbox`).

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{Error, Global, Screen};

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Play this timeline and exit by its expectations
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Begin with nothing applied
    #[arg(long)]
    pub empty: bool,
    /// Leave the daemon out, for a separate `sluice run`
    #[arg(long)]
    pub no_daemon: bool,
    /// Address of the API server [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of the router [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub router: Option<SocketAddr>,
    /// Address of the router's metrics [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// How many times as fast time runs
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// What chance begins with
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// Keep the cluster up after the scenario
    #[arg(long)]
    pub stay: bool,
}

/// Runs it.
#[allow(clippy::unused_async)] // it will wait
pub async fn run(
    _global: &Global,
    _screen: &mut Screen,
    _arguments: Arguments,
) -> Result<(), Error> {
    Err(Error::Usage("the sandbox is not built in yet".to_owned()))
}

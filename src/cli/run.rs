//! `sluice run`: settings, logs, signals, and then the daemon.
//!
//! The first SIGTERM or SIGINT drains, the second ends the process at once.
//!
//! Not here: the daemon.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Error, Global};
use crate::daemon;
use crate::daemon::settings::{self, Log, LogFormat, Settings};
use crate::telemetry::log;

/// The code of a process that was ended by a second signal, as a shell reports SIGINT.
const ABORTED: i32 = 130;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The settings; of several environments: one for each, or a folder with all of them
    #[arg(
        long,
        value_name = "FILE",
        env = "SLUICE_CONFIG",
        default_value = "sluice.yaml"
    )]
    config: Vec<PathBuf>,
}

/// Runs the daemon until a signal, or until it fails.
pub async fn run(global: &Global, arguments: &Arguments) -> Result<(), Error> {
    let chosen = global.kubeconfig.is_some() || global.context.is_some();
    match arguments.config.as_slice() {
        [file] if !file.is_dir() => {
            let mut settings = Settings::load(file)?;
            settings
                .cluster
                .take(global.kubeconfig.as_deref(), global.context.as_deref());
            begin_log(&settings.log)?;
            until_signal(|stop| daemon::run(settings, stop)).await
        }
        _ if chosen => {
            let text = "--kubeconfig and --context are of one environment; of several, each one's settings name its own";
            Err(Error::Usage(text.to_owned()))
        }
        files => {
            let all = Settings::load_several(&settings::files(files)?)?;
            if let Some(first) = all.first() {
                begin_log(&first.settings.log)?;
            }
            until_signal(|stop| daemon::hub::run(all, stop)).await
        }
    }
}

fn begin_log(wanted: &Log) -> Result<(), Error> {
    let format = match wanted.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    Ok(log::begin(format, &wanted.level)?)
}

/// Runs the daemon; the first signal asks it to end.
async fn until_signal<D>(daemon: impl FnOnce(CancellationToken) -> D) -> Result<(), Error>
where
    D: Future<Output = Result<(), daemon::Error>>,
{
    let mut signals = Signals::new()?;
    let shutdown = CancellationToken::new();
    let daemon = daemon(shutdown.clone());
    tokio::pin!(daemon);
    let ended = tokio::select! {
        ended = &mut daemon => ended,
        () = signals.next() => {
            tracing::info!("draining; a second signal ends the process at once");
            shutdown.cancel();
            tokio::select! {
                ended = &mut daemon => ended,
                () = signals.next() => std::process::exit(ABORTED),
            }
        }
    };
    Ok(ended?)
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Error::Runtime)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Error::Runtime)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

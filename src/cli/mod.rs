//! The command line: arguments, the runtime, exit codes. One file a subcommand.
//!
//! Commands act through the Kubernetes API: they read Rollouts and write request annotations
//! that the daemon answers, so RBAC decides who may do what. Results go to stdout, errors to
//! stderr; a closed pipe is not an error.
//!
//! * *Looking*: `get`, `watch`, `explain`, `history`, `dora`, `status`. *Acting*: `request` (all acts on a Rollout), `open`; between environments `way` and
//!   `consent`, told apart by `between`, with smoke tests by `tried`.
//! * *Checking*: `lint`, `validate` (`online`), `plan`, `backtest` and `judge`, on a `subject`. *Installing, coming*: `crd`, `gate`, `import`, `migrate` (`commented`).
//! * *Running*: `run`, `sandbox`, `shell` (completions, manual).
//! * *Shared*: `connect` (to a cluster), `daemon_api`, `input`, `screen`, `text`, `until` (what `watch` waits for), `error`.
//!
//! Exit codes: 0 done, 1 refused, failed or problems found, 2 wrong usage or settings, 3 no
//! answer in time, 4 cluster, or the daemon of `history`, not reachable.

mod backtest;
mod between;
mod commented;
mod connect;
mod consent;
mod crd;
mod daemon_api;
mod dora;
mod error;
mod explain;
mod gate;
mod get;
mod history;
mod import;
mod input;
pub mod judge;
pub(crate) mod lint;
mod migrate;
mod online;
mod open;
mod plan;
mod request;
mod run;
pub mod sandbox;
mod screen;
mod shell;
mod status;
mod subject;
mod text;
mod tried;
mod until;
mod validate;
mod watch;
mod way;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use error::Error;
pub use screen::Screen;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused, failed or problems found; \
2 wrong usage or settings; 3 no answer in time; 4 cluster or daemon not reachable";

/// Progressive delivery for Kubernetes: each new revision is held, tried as a canary, and
/// promoted or rolled back by evidence.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = EXIT_CODES, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// The kubeconfig file [default: as kubectl]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace [default: the context's]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// How a result is written
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// When to colour; `NO_COLOR` is honoured
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// For files.
    Yaml,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Also into a pipe.
    Always,
    /// Nowhere.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the Rollout resource definition: `sluice crd | kubectl apply -f -`
    Crd,
    /// Print the admission policies, or the webhook: `sluice gate | kubectl apply -f -`
    Gate(gate::Arguments),
    /// List Rollouts and where they stand
    Get(get::Arguments),
    /// Follow Rollouts, until one of them is where it should be
    Watch(watch::Arguments),
    /// Say why a Rollout is where it is, and what happens next; or how a run went
    Explain(explain::Arguments),
    /// List the runs that ended
    History(history::Arguments),
    /// Measure delivery: frequency, lead time, failures, time to restore
    Dora(dora::Arguments),
    /// Bring the revision under trial through now, whatever the evidence says; with `--from` and
    /// `--to` bring a version to the next environment
    #[command(disable_version_flag = true)]
    Promote(request::Promote),
    /// Keep the present weight until `resume`
    Hold(request::Arguments),
    /// Go on after `hold`
    Resume(request::Arguments),
    /// End the run: weight 0, canary removed, template put back
    Abort(request::Arguments),
    /// Go back: end the run as `abort` does; between runs, to the last good revision or to `--to`;
    /// as `rollback ENVIRONMENT SERVICE` to the version that was there before
    Rollback(request::Rollback),
    /// Try a revision again that failed or was aborted
    Retry(request::Arguments),
    /// Restart the pods natively; after the run, where one goes on
    Restart(request::Arguments),
    /// Let a step pass that waits for a person; with `--from` and `--to` let a version go to the next
    /// environment
    #[command(disable_version_flag = true)]
    Approve(consent::Approve),
    /// Open the gate in an emergency: every change goes through, and what is held rolls out
    Open(open::Arguments),
    /// Say which version is in which environment, and what stands between it and the next
    Status(status::Arguments),
    /// Check Rollouts and rule files, without a cluster
    Lint(lint::Arguments),
    /// Say what is wrong with an environment's manifests before they are deployed
    Validate(validate::Arguments),
    /// Say what a Rollout's steps can show at the present traffic
    Plan(plan::Arguments),
    /// Say what the rules would have said about what was, healthy and harmed
    Backtest(backtest::Arguments),
    /// Judge a stream of counts from anywhere, without a cluster
    Judge(judge::Arguments),
    /// Turn resources of Flagger or Argo Rollouts into Rollouts and rules
    Import(import::Arguments),
    /// Write the `HTTPRoute`s that equal an Ingress, and the steps of the switch
    Migrate(migrate::Arguments),
    /// Print a script that makes a shell complete commands and options
    Completion(shell::Completion),
    /// Print the manual page, or write those of all commands
    Man(shell::Man),
    /// Run the daemon
    Run(run::Arguments),
    /// Run a whole cluster in this process, with the daemon in it
    Sandbox(sandbox::Arguments),
}

/// Runs the process's arguments to its exit code.
pub fn main() -> ExitCode {
    // Fails only when a provider is installed already, which then serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    main_with(std::env::args_os())
}

fn main_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version print to stdout and exit 0; where the pipe is closed, so be it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    color(arguments.global.color).write_global();
    match block_on(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

fn color(color: Color) -> anstream::ColorChoice {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
}

fn block_on(arguments: Arguments) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(4))
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(dispatch(arguments));
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn dispatch(arguments: Arguments) -> Result<(), Error> {
    use crate::rollout::request::Act;
    let global = &arguments.global;
    let screen = &mut Screen::new(global.output);
    match arguments.command {
        Command::Crd => crd::print(screen),
        Command::Gate(arguments) => gate::print(screen, &arguments),
        Command::Get(arguments) => get::get(global, screen, &arguments).await,
        Command::Watch(arguments) => watch::watch(global, screen, &arguments).await,
        Command::Explain(arguments) => explain::explain(global, screen, &arguments).await,
        Command::History(arguments) => history::history(global, screen, &arguments).await,
        Command::Dora(arguments) => dora::dora(global, screen, &arguments).await,
        Command::Promote(arguments) => Box::pin(request::promote(global, screen, &arguments)).await,
        Command::Hold(arguments) => request::ask(global, screen, Act::Hold, &arguments).await,
        Command::Resume(arguments) => request::ask(global, screen, Act::Resume, &arguments).await,
        Command::Abort(arguments) => request::ask(global, screen, Act::Abort, &arguments).await,
        Command::Rollback(arguments) => request::roll_back(global, screen, &arguments).await,
        Command::Retry(arguments) => request::ask(global, screen, Act::Retry, &arguments).await,
        Command::Restart(arguments) => request::ask(global, screen, Act::Restart, &arguments).await,
        Command::Approve(arguments) => consent::approve(global, screen, &arguments).await,
        Command::Open(arguments) => open::open(global, screen, &arguments).await,
        Command::Status(arguments) => status::status(global, screen, &arguments).await,
        Command::Lint(arguments) => lint::lint(screen, &arguments),
        Command::Validate(arguments) => validate::validate(screen, &arguments).await,
        Command::Plan(arguments) => Box::pin(plan::plan(global, screen, &arguments)).await,
        Command::Backtest(arguments) => Box::pin(backtest::run(global, screen, &arguments)).await,
        Command::Judge(arguments) => judge::judge(screen, &arguments),
        Command::Import(arguments) => import::import(screen, &arguments),
        Command::Migrate(arguments) => migrate::migrate(global, screen, &arguments).await,
        Command::Completion(arguments) => {
            shell::completion(screen, Arguments::command(), &arguments)
        }
        Command::Man(arguments) => shell::man(screen, Arguments::command(), &arguments),
        Command::Run(arguments) => Box::pin(run::run(global, &arguments)).await,
        Command::Sandbox(arguments) => sandbox::run(global, screen, arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_reference() {
        let reference = include_str!("../../docs/reference/cli.md");
        let sections: Vec<&str> = reference.split("\n## ").collect();
        for command in Arguments::command().get_subcommands() {
            let heading = format!("`sluice {}", command.get_name());
            let of_it = sections.iter().filter(|section| section.contains(&heading));
            let of_it: String = of_it.copied().collect();
            assert!(!of_it.is_empty(), "{heading}");
            // What has no long name has no name either: its place says what it is.
            let named = command.get_arguments().filter_map(clap::Arg::get_long);
            for long in named.filter(|long| *long != "help") {
                assert!(of_it.contains(&format!("--{long}")), "{heading}: --{long}");
            }
        }
    }

    #[test]
    fn the_same_binary_is_a_plugin_of_kubectl() {
        let parsed = Arguments::try_parse_from(["kubectl-sluice", "get", "-n", "shop"]).unwrap();
        assert_eq!(parsed.global.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn wrong_usage_is_code_2() {
        let error = Arguments::try_parse_from(["sluice", "gett"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}

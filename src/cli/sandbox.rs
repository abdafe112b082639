//! `sluice sandbox`: a whole cluster in this process, with the daemon in it.
//!
//! Without a scenario it applies the demo's shop and stays until Ctrl-C. With one it plays it
//! and exits by its expectations: 0 only if everything was as expected. With `-o json` the
//! first line on stdout says where everything is, the following ones what happens.
//!
//! Not here: the cluster (`sandbox`), the daemon in it (`embedded`), scenarios (`sandbox::scenario`).

#[cfg(test)]
mod agreement;
pub mod applications;
pub mod embedded;
pub mod keeper;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Error, Format, Global, Screen};
use crate::clock::Clock;
use crate::sandbox::scenario::{self, JsonLines, Mode, Scenario, Sink, Stage, Terminal, Way};
use crate::telemetry::log;
use embedded::{Addresses, Embedded};

/// What is applied when nothing else is asked for.
const SHOP: &str = include_str!("../../scenarios/shop.yaml");
/// The scenario of a sandbox without one.
const NOTHING: &str = "{name: sandbox, seed: 7, steps: []}";

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
    /// Address of the daemon's page [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub page: Option<SocketAddr>,
    /// Let the daemon read this Prometheus, which must scrape the router's metrics
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// How the gate stands: policy, webhook (answered in this process) or paused
    #[arg(long, value_name = "MODE", default_value_t = Mode::Policy)]
    pub gate: Mode,
    /// How many times as fast time runs [default: 1, or as the scenario says]
    #[arg(long, value_name = "N")]
    pub speed: Option<f64>,
    /// What chance begins with [default: 7, or as the scenario says]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Keep the cluster up after the scenario
    #[arg(long)]
    pub stay: bool,
}

/// Runs it.
pub async fn run(global: &Global, screen: &mut Screen, arguments: Arguments) -> Result<(), Error> {
    let scenario = scenario(&arguments)?;
    log::begin(log::Format::Text, "warn,kube=error")?;
    let clock = Clock::at_speed(scenario.speed);
    let embedded = Embedded::start(&scenario, clock, addresses(&arguments))
        .await
        .map_err(|error| Error::Ended(error.to_string()))?;
    let kubeconfig = write_kubeconfig(global, &embedded)?;
    greet(screen, &embedded, &kubeconfig)?;
    let ended = work(screen, &arguments, &scenario, &embedded).await;
    embedded.stop().await;
    if global.kubeconfig.is_none() {
        // A file of a cluster that is gone leads nowhere; if it cannot be removed, so be it.
        let _ = std::fs::remove_file(&kubeconfig);
    }
    ended
}

/// Plays and stays, as the arguments say.
async fn work(
    screen: &mut Screen,
    arguments: &Arguments,
    scenario: &Scenario,
    embedded: &Embedded,
) -> Result<(), Error> {
    let mut failures = 0;
    if arguments.scenario.is_some() {
        failures = play(screen, scenario, embedded).await?;
    } else if !arguments.empty {
        apply_shop(embedded).await?;
    }
    if arguments.scenario.is_none() || arguments.stay {
        stay(screen, embedded).await?;
    }
    match failures {
        0 => Ok(()),
        n => Err(Error::Refused(format!("{n} not as the scenario expects"))),
    }
}

fn scenario(arguments: &Arguments) -> Result<Scenario, Error> {
    let read = match &arguments.scenario {
        Some(file) => scenario::load(file),
        None => scenario::parse("sandbox", NOTHING, Path::new("")),
    };
    let scenario = read.map_err(|problems| Error::Usage(problems.to_string()))?;
    if arguments.gate == Mode::Webhook && arguments.no_daemon {
        let text = "--gate webhook needs the daemon in this process: the sandbox calls no other";
        return Err(Error::Usage(text.to_owned()));
    }
    let mode = arguments.gate;
    let mut scenario = scenario
        .in_mode(mode)
        .map_err(|why| Error::Usage(format!("it cannot be played with --gate {mode}: {why}")))?;
    scenario.speed = arguments.speed.unwrap_or(scenario.speed);
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    scenario.with_daemon &= !arguments.no_daemon;
    if let Some(url) = &arguments.prometheus {
        embedded::read_from(&mut scenario, url, &[]);
    }
    if !(scenario.speed > 0.0 && scenario.speed <= 1000.0) {
        return Err(Error::Usage(
            "--speed must be above 0 and at most 1000".to_owned(),
        ));
    }
    Ok(scenario)
}

fn addresses(arguments: &Arguments) -> Addresses {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Addresses {
        api: Some(arguments.listen.unwrap_or(free)),
        router: Some(arguments.router.unwrap_or(free)),
        metrics: Some(arguments.metrics.unwrap_or(free)),
        page: Some(arguments.page.unwrap_or(free)),
    }
}

/// Writes the kubeconfig where `--kubeconfig` says, else into the folder for temporary files.
fn write_kubeconfig(global: &Global, embedded: &Embedded) -> Result<PathBuf, Error> {
    let port = embedded.at.api.map_or(0, |address| address.port());
    let path = global
        .kubeconfig
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("sluice-sandbox-{port}.kubeconfig")));
    let text = embedded.kubeconfig().unwrap_or_default();
    std::fs::write(&path, text)
        .map_err(|error| Error::Usage(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

/// Says where everything is.
fn greet(screen: &mut Screen, embedded: &Embedded, kubeconfig: &Path) -> Result<(), Error> {
    let url = |address: Option<SocketAddr>, path: &str| {
        address.map(|address| format!("http://{address}{path}"))
    };
    let at = embedded.at;
    let place = kubeconfig.display().to_string();
    if screen.format() != Format::Text {
        return screen.next_value(&json!({
            "api": url(at.api, ""), "kubeconfig": place, "router": url(at.router, ""),
            "metrics": url(at.metrics, "/metrics"), "page": url(at.page, "/"),
        }));
    }
    let server = url(at.page, "").map_or_else(String::new, |page| {
        format!("export SLUICE_SERVER={page}    # for sluice history and sluice dora\n  ")
    });
    let or_none = |url: Option<String>| url.unwrap_or_else(|| "none".to_owned());
    screen.print(&format!(
        "A cluster in this process:\n  \
         api      {}\n  router   {}\n  metrics  {}\n  page     {}\n\
         Use it from another terminal:\n  \
         export KUBECONFIG={place}\n  {server}\
         kubectl get slr -w                                    # the Rollouts as they move\n  \
         kubectl describe slr shop\n  \
         kubectl get deploy,rs,pods,ingress\n  \
         kubectl set image deploy/shop shop=shop:mine          # a release of your own\n  \
         sluice explain shop\n  \
         curl -i -H 'Host: shop.example' {}/\n\n",
        or_none(url(at.api, "")),
        or_none(url(at.router, "")),
        or_none(url(at.metrics, "/metrics")),
        or_none(url(at.page, "/")),
        or_none(url(at.router, "")),
    ))
}

/// Plays the scenario; returns how many things were not as expected.
async fn play(screen: &Screen, scenario: &Scenario, embedded: &Embedded) -> Result<usize, Error> {
    let stdout = anstream::AutoStream::auto(std::io::stdout());
    let mut sink: Box<dyn Sink> = if screen.format() == Format::Text {
        Box::new(Terminal::new(stdout, true, std::io::stdout().is_terminal()))
    } else {
        Box::new(JsonLines(stdout))
    };
    let stop = CancellationToken::new();
    let play = scenario::play(scenario, embedded, &mut *sink, &stop);
    tokio::pin!(play);
    let ended = tokio::select! {
        ended = &mut play => return Ok(ended.failures),
        signal = tokio::signal::ctrl_c() => signal.map_err(Error::Runtime),
    };
    stop.cancel();
    play.await;
    ended.and(Err(Error::Refused(
        "stopped before the scenario's end".to_owned(),
    )))
}

async fn apply_shop(embedded: &Embedded) -> Result<(), Error> {
    let objects = scenario::manifests(SHOP).map_err(Error::Usage)?;
    for object in objects {
        scenario::apply(
            embedded.client("kubernetes-admin"),
            Way::ServerSide,
            &object,
        )
        .await
        .map_err(|error| Error::api("apply the shop", &error))?;
    }
    Ok(())
}

/// Keeps the cluster up until Ctrl-C, or until a part of it fails.
async fn stay(screen: &mut Screen, embedded: &Embedded) -> Result<(), Error> {
    if screen.format() == Format::Text {
        screen.print("The cluster stays up until Ctrl-C.\n")?;
    }
    tokio::select! {
        signal = tokio::signal::ctrl_c() => signal.map_err(Error::Runtime),
        why = embedded.ended() => Err(Error::Ended(why)),
    }
}

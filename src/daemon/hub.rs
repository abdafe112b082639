//! One process for several environments: each a whole daemon, with its own cluster, lease and history.
//!
//! Guarantees: an environment runs on a thread and a runtime of its own, so that one which is busy, away
//! or hangs in a call holds up no other; one that ends with an error is started anew, later and later;
//! its log lines have its name. Environments with the same `listen` share a listener. All drain together
//! at shutdown.
//!
//! Not here: what a daemon does (`daemon`), what a hub shows (`web::hub`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::conductor::LAST_CHECKPOINTS;
use super::settings::{Environment, Settings, conflicts};
use super::tree::LAST_SPANS;
use super::{Error, Front};
use crate::backoff::Doubling;
use crate::causes;
use crate::clock::{Clock, elapsed};
use crate::kubernetes::client;
use crate::web::{self, Seat, Streams};

/// Pauses before an environment is started anew.
const PAUSES: Doubling = Doubling::new(Duration::from_secs(1), Duration::from_secs(60));
/// After a daemon that ran for so long the pauses begin anew.
const STEADY: Duration = Duration::from_secs(300);
/// For all daemons to write their last, at the same time: as much as each takes at most.
const DRAIN: Duration = LAST_CHECKPOINTS
    .saturating_add(LAST_SPANS)
    .saturating_add(REST)
    .saturating_add(Duration::from_millis(200));
/// For what is left of a runtime whose daemon has ended.
const REST: Duration = Duration::from_millis(100);
/// For requests that are open when the daemons have ended.
const PAGES: Duration = Duration::from_millis(300);

/// Serves several environments until `shutdown`.
pub async fn run(all: Vec<Environment>, shutdown: CancellationToken) -> Result<(), Error> {
    check(&all).await?;
    let clock = Clock::machine();
    let stop = shutdown.child_token();
    let _ends_all = stop.clone().drop_guard();
    let (mut pages, mut daemons) = (JoinSet::new(), JoinSet::new());
    for (address, environments) in by_listener(all) {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let streams = Streams::until(stop.clone());
        let mut seats = Vec::new();
        for settings in environments {
            let environment = settings.environment.as_str();
            tracing::info!(%address, environment, "listens");
            let seat = Seat::new(environment, streams.clone());
            seats.push(seat.clone());
            daemons.spawn(keep(beneath(settings, &seat), seat, clock, stop.clone()));
        }
        let router = web::hub(seats, clock);
        pages.spawn(web::serve(listener, router, stop.clone()));
    }
    watch(pages, daemons, &stop).await
}

/// Waits for the end; a listener that fails is one.
async fn watch(
    mut pages: JoinSet<Result<(), std::io::Error>>,
    mut daemons: JoinSet<()>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let failed = tokio::select! {
        () = stop.cancelled() => false,
        Some(ended) = pages.join_next() => !stop.is_cancelled() && {
            tracing::error!(?ended, "a listener failed");
            true
        },
        Some(_) = daemons.join_next() => !stop.is_cancelled(),
    };
    stop.cancel();
    let drained = async { while daemons.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some environments did not drain in time and are ended");
    }
    let closed = async { while pages.join_next().await.is_some() {} };
    // What is still open is cut off.
    let _ = tokio::time::timeout(PAGES, closed).await;
    if failed {
        Err(Error::TaskEnded)
    } else {
        Ok(())
    }
}

/// Rules and smoke tests of all, before anything begins: a mistake in one ends all.
async fn check(all: &[Environment]) -> Result<(), Error> {
    let mut mistakes: Vec<String> = conflicts(&placed(all).await)
        .iter()
        .map(ToString::to_string)
        .collect();
    for Environment { file, settings } in all {
        let wrong = super::unusable(settings);
        let told = wrong
            .iter()
            .map(|error| format!("{}: {}", file.display(), causes::told(error)));
        mistakes.extend(told);
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(Error::Several(mistakes))
    }
}

/// The environments with the namespaces that are meant where none is named: one that is named may be the same.
/// A cluster that cannot be found is left as it is: its daemon says so.
async fn placed(all: &[Environment]) -> Vec<Environment> {
    let mut placed = Vec::new();
    for environment in all {
        let mut environment = environment.clone();
        let settings = &mut environment.settings;
        let (file, context) = (&settings.cluster.kubeconfig, &settings.cluster.context);
        if let Ok(config) = client::config(file.as_deref(), context.as_deref()).await {
            let usual = config.default_namespace;
            settings.election.namespace.get_or_insert(usual.clone());
            if let Some(webhook) = &mut settings.webhook {
                webhook.namespace.get_or_insert(usual);
            }
        }
        placed.push(environment);
    }
    placed
}

fn by_listener(all: Vec<Environment>) -> BTreeMap<SocketAddr, Vec<Settings>> {
    let mut listeners: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Environment { settings, .. } in all {
        let environments = listeners.entry(settings.listen).or_default();
        environments.push(settings);
    }
    listeners
}

/// An environment's settings in a hub: its pages lie beneath its name, and so do its copies of
/// repositories.
fn beneath(mut settings: Settings, seat: &Seat) -> Settings {
    let base = &seat.place().base;
    settings.page_url = settings.page_url.map(|url| format!("{url}{base}"));
    settings.git.folder = settings.git.folder.join(&settings.environment);
    settings
}

/// Runs an environment's daemon, and starts it anew whenever it ends with an error.
async fn keep(settings: Settings, seat: Seat, clock: Clock, stop: CancellationToken) {
    let mut failures = 0_u32;
    loop {
        let began = clock.now();
        let ended = apart(settings.clone(), seat.clone(), stop.clone()).await;
        if stop.is_cancelled() {
            return;
        }
        let error = ended.err().unwrap_or(Error::TaskEnded);
        let why = causes::told(&error);
        seat.close(&why);
        if elapsed(began, clock.now()) >= STEADY {
            failures = 0;
        }
        let pause = PAUSES.after(failures);
        let environment = settings.environment.as_str();
        tracing::error!(
            environment,
            why,
            "the environment's daemon ended; it is started anew in {pause:?}"
        );
        if stop.run_until_cancelled(clock.sleep(pause)).await.is_none() {
            return;
        }
        failures = failures.saturating_add(1);
    }
}

/// Runs a daemon on a thread of its own until it ends; one that panics has ended with an error.
async fn apart(settings: Settings, seat: Seat, stop: CancellationToken) -> Result<(), Error> {
    let mut thread = JoinSet::new();
    thread.spawn_blocking(move || {
        let span = tracing::error_span!("environment", environment = settings.environment);
        let runtime = runtime(&span).map_err(Error::Runtime)?;
        let _named = span.entered();
        let told = (seat.board(), seat.metrics());
        let ended = runtime.block_on(super::begin(settings, Front::Hub(seat), told, stop));
        runtime.shutdown_timeout(REST);
        ended
    });
    match thread.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(_)) | None => Err(Error::TaskEnded),
    }
}

/// A runtime of one thread; what its blocking threads log has the environment's name too.
fn runtime(span: &Span) -> Result<Runtime, std::io::Error> {
    let span = span.clone();
    Builder::new_current_thread()
        .enable_all()
        // Left when the thread ends.
        .on_thread_start(move || std::mem::forget(span.clone().entered()))
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_is_named_may_be_the_one_that_is_meant_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let config = "{apiVersion: v1, kind: Config, current-context: c, users: [], \
            clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], \
            contexts: [{name: c, context: {cluster: c, user: '', namespace: sluice-system}}]}";
        std::fs::write(folder.path().join("kube"), config).unwrap();
        let environment = |name: &str, port: u16, more: &str, lease: &str| {
            let text = format!(
                "environment: {name}\ncluster: {{kubeconfig: kube, namespaces: [{name}]}}\ngate: webhook\n\
                 webhook: {{listen: '127.0.0.1:{port}', name: {name}{more}}}\n\
                 leaderElection: {{enabled: true{lease}}}\n\
                 evidence: {{scrape: {{targets: ['http://127.0.0.1:1/metrics']}}}}\n"
            );
            let file = folder.path().join(format!("{name}.yaml"));
            let settings = Settings::parse(&text, &file, &[]).unwrap();
            Environment { file, settings }
        };
        let told = async |more: &str, lease: &str| {
            let all = [
                environment("a", 1, "", ""),
                environment("b", 2, more, lease),
            ];
            let told = check(&all).await.err();
            told.map_or(String::new(), |error| causes::told(&error))
        };
        let same = told(", namespace: sluice-system", ", namespace: sluice-system").await;
        assert!(
            same.contains("b.yaml: webhook.namespace: found what stands in"),
            "{same}"
        );
        assert!(
            same.contains("b.yaml: leaderElection.name: found what stands in"),
            "{same}"
        );
        let apart = told(", namespace: other", ", name: b").await;
        assert_eq!(apart, "");
    }

    #[tokio::test(start_paused = true)]
    async fn an_environment_has_all_its_time_to_write_its_last() {
        let (stop, wrote) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let (mut daemons, last) = (JoinSet::new(), wrote.clone());
        daemons.spawn(async move {
            tokio::time::sleep(LAST_CHECKPOINTS + LAST_SPANS + REST).await;
            last.store(true, Ordering::Relaxed);
        });
        stop.cancel();
        watch(JoinSet::new(), daemons, &stop).await.unwrap();
        assert!(wrote.load(Ordering::Relaxed));
    }
}

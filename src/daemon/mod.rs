//! The daemon: everything wired together in one task tree.
//!
//! Guarantees: every task is in one set; if one ends early the daemon ends with an error;
//! shutdown drains passes, writes the last checkpoints and frees the lease, within two seconds
//! whatever hangs.
//!
//! Not here: any rule about rollouts (`rollout`), any request (`kubernetes`, `prometheus`).

mod accept;
mod acts;
mod around;
mod beside;
mod conductor;
mod connect;
mod context;
mod entry;
mod gate;
mod hooks;
mod leader;
mod load;
mod notices;
mod pass;
mod publish;
mod queue;
mod reach;
mod recall;
mod remedy;
pub mod rules;
pub mod settings;
mod slack;
mod smoke;
mod ticks;
mod traced;
mod watchlist;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use acts::Acts;
use axum::Router;
use conductor::{Conductor, Inputs, PassLost};
pub use connect::{Clients, Error, prometheus};
use context::Context;
pub use context::Timing;
use hooks::Hooks;
use kube::Client;
use load::Loads;
use notices::Notices;
use rules::Rules;
use settings::{Election, Settings};
use slack::Clerk;
use smoke::Smoke;
use smoke::sync::Poke;
use watchlist::Watchlist;

use crate::clock::Clock;
use crate::history::{History, Telling};
use crate::kubernetes::cache::{self, Filled};
use crate::kubernetes::events;
use crate::kubernetes::execute::Executor;
use crate::kubernetes::fence::Fence;
use crate::prometheus::Source;
use crate::rollout::reason::ENDS;
use crate::smoke::Asker;
use crate::telemetry::{Metrics, otlp};
use crate::web::{self, Board, Check, Nearby, Readiness, Streams, Web};

#[allow(missing_debug_implementations)] // kube's Client has none
/// What a daemon is made of. The sandbox makes it by hand; [`run`] from settings.
pub struct Parts {
    pub settings: Settings,
    pub clients: Clients,
    pub clock: Clock,
    pub source: Source,
    pub rules: Rules,
    /// The page's listener; `None` serves no page.
    pub listener: Option<TcpListener>,
    /// Where Rollouts are shown.
    pub board: Board,
    pub metrics: Metrics,
    /// Who makes smoke tests.
    pub asker: Asker,
}

/// Runs the daemon of these settings until `shutdown`.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), Error> {
    let clients = connect::clients(&settings).await?;
    let clock = Clock::machine();
    let rules = Rules::load(settings.rules.clone()).map_err(Error::Rules)?;
    let mut tasks = JoinSet::new();
    let source = connect::source(&settings, &clients, &shutdown, &mut tasks)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|source| Error::Listen {
            address: settings.listen,
            source,
        })?;
    tracing::info!(address = %settings.listen, environment = settings.environment, "listens");
    let parts = Parts {
        settings,
        clients,
        clock,
        source,
        rules,
        listener: Some(listener),
        board: Board::default(),
        metrics: Metrics::new(),
        asker: Asker::network(clock),
    };
    Box::pin(serve_with(parts, shutdown, tasks)).await
}

/// Runs a daemon of these parts until `shutdown`.
pub async fn serve(parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    Box::pin(serve_with(parts, shutdown, JoinSet::new())).await
}

async fn serve_with(
    parts: Parts,
    shutdown: CancellationToken,
    mut tasks: JoinSet<()>,
) -> Result<(), Error> {
    let stop = shutdown.child_token();
    let _ends_all = stop.clone().drop_guard();
    let ready = Readiness::waiting_for(&["cluster", "gate", "leader"]);
    let poke = Poke::default();
    let hooks = Hooks::new(&parts.settings, parts.metrics.clone(), poke.clone());
    let history = history(&parts, &ready, &stop, &mut tasks);
    let streams = Streams::until(stop.clone());
    let (acts, doors, clerk) = doors(&parts, &hooks)?;
    let nearby = Nearby::default();
    let shown = (&history, streams, nearby.clone());
    let web = web(&parts, &ready, shown, (doors, &acts));
    if let Some(listener) = parts.listener {
        tasks.spawn(page(listener, web, stop.clone()));
    }
    let known = connect::gate(&parts.settings, &parts.clients, &stop).await?;
    let (cache, touched, filled) = cache::start(
        &parts.clients.watches,
        &parts.settings.cluster.namespaces,
        known.served,
        &stop,
        &mut tasks,
    );
    let (events, outgoing) = events::channel();
    // What others send is asked of the Rollout, so a daemon that does not lead takes it too.
    hooks.begin(cache.clone(), parts.clients.writes.clone());
    let asks = (&cache, parts.clients.writes.clone());
    begin_acts((&acts, clerk, &nearby), asks, (&mut tasks, &stop));
    let election = &parts.settings.election;
    let fence = Fence::shut(parts.clock);
    let writes = fenced(election, &fence, &parts.clients.writes);
    tasks.spawn(outgoing.send_all(writes.clone(), stop.clone()));
    let (smoke, loads) = smoke_tests(&parts.settings, parts.asker, parts.clock)?;
    let told = (&parts.metrics, parts.clock);
    let free = CancellationToken::new();
    let traces = connect::traces(&parts.settings, told, &free, &mut tasks)?;
    let context = Context {
        clock: parts.clock,
        cache,
        executor: Executor::new(writes.clone(), parts.clock),
        events,
        watchlist: Arc::new(Watchlist::default()),
        traces,
        metrics: parts.metrics,
        board: parts.board,
        history,
        notices: Notices::default(),
        smoke: smoke.desk(),
        rules: Arc::new(RwLock::new(parts.rules.all().clone())),
        gate: Arc::default(),
        timing: Timing::from(&parts.settings.evidence),
        freeze: parts.settings.freeze.clone().into(),
        approvals: Arc::new(parts.settings.approvals.clone()),
    };
    if !fill(filled.clone(), &ready, &stop).await {
        return Ok(());
    }
    let watches = parts.clients.watches.clone();
    let reach = reach::follow(watches, parts.clock, filled, ready.clone());
    until(&mut tasks, &stop, reach);
    let lease = (parts.clients.lease, fence);
    let role = elect(election, lease, &context, (&ready, &free), &mut tasks);
    let means = parts.settings.git.means()?;
    let clients = || (parts.clients.watches.clone(), writes.clone());
    let authors = remedy::Authors::new(context.clone(), clients(), means.clone(), role.clone());
    until(&mut tasks, &stop, authors.keep_up());
    let remedies = remedy::Remedies::new(context.clone(), clients(), means, role.clone());
    until(&mut tasks, &stop, remedies.keep_up());
    for teller in notices::tellers(&parts.settings, &context, &writes, &role)? {
        until(&mut tasks, &stop, teller.keep_up());
    }
    let source = (parts.source, loads, parts.settings.evidence.source.name());
    let (fresh, fresh_out) = mpsc::unbounded_channel();
    let means = smoke::Means {
        clients: (parts.clients.watches, writes),
        poke,
        role: role.clone(),
        touched: fresh.clone(),
    };
    until(&mut tasks, &stop, smoke.keep_up(context.clone(), means));
    let rules = tick(
        &mut tasks,
        &stop,
        &context,
        source,
        parts.rules,
        (fresh, &ready),
    );
    let inputs = Inputs {
        touched,
        fresh: fresh_out,
        rules,
        role,
    };
    let conductor = Conductor::new(context, known, ready).conduct(inputs, stop.clone());
    Box::pin(watch_over(conductor, tasks, &stop, free)).await
}

/// Who may act, what others send, and what is done of that besides.
fn doors(parts: &Parts, hooks: &Hooks) -> Result<(Acts, Router, Option<Clerk>), Error> {
    let settings = &parts.settings;
    let page_url = settings.page_url.as_deref();
    let access = settings.access.clone();
    let acts = Acts::new(access, &settings.environment, page_url, parts.clock)?;
    let slack = Clerk::employ(settings, parts.clock, &acts)?;
    let (desk, clerk) = slack.unzip();
    let doors = desk.map_or_else(Router::new, |desk| desk.router());
    Ok((acts, doors.merge(hooks.router()), clerk))
}

/// From now on people can ask for something.
fn begin_acts(
    (acts, clerk, nearby): (&Acts, Option<Clerk>, &Nearby),
    (cache, writes): (&Arc<cache::Cache>, Client),
    (tasks, stop): (&mut JoinSet<()>, &CancellationToken),
) {
    let rollouts = Arc::clone(cache);
    let find = move |namespace: &str, name: &str| rollouts.rollouts.get(namespace, name);
    acts.begin(find, writes);
    let watched = Arc::clone(cache);
    nearby.begin(move |namespace, name| around::around(&watched, namespace, name));
    if let Some(clerk) = clerk {
        let known = Arc::clone(cache);
        let all = Arc::new(move || known.rollouts.all());
        until(tasks, stop, clerk.keep_up(all));
    }
}

/// The smoke tests of the settings' folders, and the loads that are made of them.
fn smoke_tests(settings: &Settings, asker: Asker, clock: Clock) -> Result<(Smoke, Loads), Error> {
    let smoke = Smoke::load(settings.smoke.clone(), asker.clone()).map_err(Error::Smoke)?;
    let loads = Loads::new(clock, asker, smoke.tests());
    Ok((smoke, loads))
}

/// Starts the history of runs. How it stands is told; it keeps nobody from being ready.
fn history(
    parts: &Parts,
    ready: &Readiness,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> History {
    let (ready, metrics) = (ready.clone(), parts.metrics.clone());
    let mut before = None;
    let tell = move |telling: Telling| {
        metrics.history_written(matches!(telling, Telling::Good(_)));
        if before.as_ref() == Some(&telling) {
            return;
        }
        before = Some(telling.clone());
        match telling {
            Telling::Good(words) => ready.set("history", Check::Good(words)),
            Telling::Bad(why) => {
                tracing::warn!(why, "the history of runs cannot be kept");
                ready.set("history", Check::Bad(why));
            }
        }
    };
    let settings = &parts.settings.history;
    let (place, keep) = (settings.place.clone(), settings.keep);
    let environment = &parts.settings.environment;
    let (history, keeper) = History::new(environment, place, keep, parts.clock, tell);
    tasks.spawn(keeper.keep_up(stop.clone()));
    history
}

fn web(
    parts: &Parts,
    ready: &Readiness,
    (history, streams, nearby): (&History, Streams, Nearby),
    (hooks, acts): (Router, &Acts),
) -> Web {
    Web {
        environment: parts.settings.environment.clone(),
        board: parts.board.clone(),
        history: history.clone(),
        readiness: ready.clone(),
        metrics: with_all_ends(&parts.metrics),
        streams,
        clock: parts.clock,
        nearby,
        hooks,
        sessions: acts.sessions(),
        acts: acts.router(),
    }
}

/// The metrics, with every end that a run can have.
fn with_all_ends(metrics: &Metrics) -> Metrics {
    for (outcome, reason) in ENDS {
        metrics.runs_can_end(&outcome.to_string(), reason);
    }
    metrics.clone()
}

/// The client of what only the leader writes.
fn fenced(election: &Election, fence: &Fence, writes: &Client) -> Client {
    if election.enabled {
        fence.before(writes)
    } else {
        writes.clone()
    }
}

/// Begins the election; tells whether this daemon leads.
fn elect(
    election: &Election,
    (client, fence): (Client, Fence),
    context: &Context,
    (ready, end): (&Readiness, &CancellationToken),
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<leader::Role> {
    let needs = leader::Needs {
        client,
        clock: context.clock,
        fence,
        ready: ready.clone(),
        metrics: context.metrics.clone(),
        events: context.events.clone(),
        tasks,
        end: end.clone(),
    };
    leader::begin(election, needs)
}

/// Starts the looks at the metrics, which go to `fresh`, and at the rule files; gives back what these
/// bring.
fn tick(
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    context: &Context,
    (source, loads, kind): (Source, Loads, &'static str),
    rules: Rules,
    (fresh, ready): (mpsc::UnboundedSender<queue::Key>, &Readiness),
) -> mpsc::UnboundedReceiver<()> {
    let (changed, changed_out) = mpsc::unbounded_channel();
    let metrics = ticks::metrics(context.clone(), (source, loads), kind, fresh, ready.clone());
    until(tasks, stop, metrics);
    until(tasks, stop, ticks::rules(context.clone(), rules, changed));
    changed_out
}

/// Serves page, API, metrics and health.
async fn page(listener: TcpListener, web: Web, stop: CancellationToken) {
    if let Err(error) = web::serve(listener, web, stop).await {
        tracing::error!(%error, "the page's listener failed");
    }
}

/// Runs a task until `stop`.
fn until(
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        stop.run_until_cancelled(work).await;
    });
}

/// Waits for the first lists of all watches. Whether they came before the end.
async fn fill(
    mut filled: watch::Receiver<Filled>,
    ready: &Readiness,
    stop: &CancellationToken,
) -> bool {
    loop {
        let now = *filled.borrow_and_update();
        if now.done == now.all {
            ready.set(
                "cluster",
                Check::Good(format!("{} watches are filled", now.all)),
            );
            return true;
        }
        let waits = format!("{} of {} watches are filled", now.done, now.all);
        ready.set("cluster", Check::Waiting(waits));
        match stop.run_until_cancelled(filled.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return false,
        }
    }
}

/// Time for the tasks to end after the conductor: the lease is freed, connections are closed, the last spans are
/// sent.
const LAST_TASKS: Duration = otlp::LAST.saturating_add(Duration::from_millis(500));

/// Runs the conductor; a task that ends before it, or a pass that panics, ends everything. The
/// lease is freed when the conductor has written its last.
async fn watch_over(
    conductor: impl Future<Output = Result<(), PassLost>>,
    mut tasks: JoinSet<()>,
    stop: &CancellationToken,
    free: CancellationToken,
) -> Result<(), Error> {
    let freed = free.drop_guard();
    tokio::pin!(conductor);
    let ended = tokio::select! {
        biased;
        ended = &mut conductor => Some(ended),
        Some(_) = tasks.join_next(), if !stop.is_cancelled() => None,
    };
    let early = ended.is_none() && !stop.is_cancelled();
    stop.cancel();
    let lost = match ended {
        Some(ended) => ended.is_err(),
        None => conductor.await.is_err(),
    };
    drop(freed);
    let rest = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_TASKS, rest).await.is_err() {
        tracing::warn!("some tasks did not end in time and are ended");
    }
    if early || lost {
        Err(Error::TaskEnded)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ends(conductor: Result<(), PassLost>, task: bool) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        if task {
            tasks.spawn(std::future::ready(()));
        }
        let stopped = stop.clone();
        let conductor = async move {
            if task {
                stopped.cancelled().await;
            }
            conductor
        };
        watch_over(conductor, tasks, &stop, CancellationToken::new()).await
    }

    #[tokio::test]
    async fn a_lost_pass_or_task_ends_the_daemon_with_an_error() {
        assert!(ends(Ok(()), false).await.is_ok());
        assert!(matches!(
            ends(Err(PassLost), false).await,
            Err(Error::TaskEnded)
        ));
        assert!(matches!(ends(Ok(()), true).await, Err(Error::TaskEnded)));
    }
}

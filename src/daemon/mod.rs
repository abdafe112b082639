//! The daemon: everything wired together in one task tree.
//!
//! Guarantees: every task is in one set; if one ends early the daemon ends with an error;
//! shutdown drains passes, writes the last checkpoints and frees the lease, within two seconds
//! whatever hangs, or three where spans are sent.
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
mod front;
mod gate;
mod hooks;
pub mod hub;
mod leader;
mod load;
mod namespaces;
mod notices;
mod pass;
pub mod pipeline;
mod publish;
mod queue;
mod reach;
mod recall;
mod remedy;
pub mod rules;
pub mod settings;
mod slack;
mod smoke;
mod sweeps;
mod ticks;
mod traced;
mod watchlist;
mod webhook;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use acts::Acts;
use axum::Router;
use conductor::{Conductor, Inputs, PassLost};
pub use connect::{Clients, Error, prometheus};
use context::Context;
pub use front::Front;
use gate::Known;
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
pub use webhook::Within;

use crate::clock::Clock;
use crate::history::{History, Telling};
use crate::kubernetes::cache::{self, Admission, Cache, Touched};
use crate::kubernetes::events;
use crate::kubernetes::execute::Executor;
use crate::kubernetes::fence::Fence;
use crate::kubernetes::sight::Sight;
use crate::prometheus::Source;
use crate::rollout::reason::ENDS;
use crate::smoke::Asker;
use crate::telemetry::{Metrics, otlp};
use crate::web::{Board, Check, Nearby, Place, Readiness, Versions, Web};

/// Passes that reckon at one time. More would gain nothing, and an answer of the API server that one of them
/// waits for would wait behind all of them.
const AT_ONCE: usize = 4;

#[allow(missing_debug_implementations)] // kube's Client has none
/// What a daemon is made of. The sandbox makes it by hand; [`run`] from settings.
pub struct Parts {
    pub settings: Settings,
    pub clients: Clients,
    pub clock: Clock,
    pub source: Source,
    pub rules: Rules,
    /// Where the page is served.
    pub front: Front,
    /// Where Rollouts are shown.
    pub board: Board,
    pub metrics: Metrics,
    /// Who makes smoke tests.
    pub asker: Asker,
    /// Where the gate's webhook answers, in place of its listener, to an API server in this process.
    pub within: Option<Within>,
}

/// Runs the daemon of these settings until `shutdown`.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), Error> {
    let address = settings.listen;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| Error::Listen { address, source })?;
    tracing::info!(%address, environment = settings.environment, "listens");
    let told = (Board::default(), Metrics::new());
    begin(settings, Front::Listener(listener), told, shutdown).await
}

/// Connects as the settings say, and serves until `shutdown`.
async fn begin(
    settings: Settings,
    front: Front,
    (board, metrics): (Board, Metrics),
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let clients = connect::clients(&settings).await?;
    let clock = Clock::machine();
    let rules = Rules::load(settings.rules.clone()).map_err(Error::Rules)?;
    let mut tasks = JoinSet::new();
    let source = connect::source(&settings, &clients, &shutdown, &mut tasks)?;
    let parts = Parts {
        settings,
        clients,
        clock,
        source,
        rules,
        front,
        board,
        metrics,
        asker: Asker::network(clock),
        within: None,
    };
    Box::pin(serve_with(parts, shutdown, tasks)).await
}

/// Runs a daemon of these parts until `shutdown`.
pub async fn serve(parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    Box::pin(serve_with(parts, shutdown, JoinSet::new())).await
}

async fn serve_with(
    mut parts: Parts,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
) -> Result<(), Error> {
    let stop = shutdown.child_token();
    let _ends_all = stop.clone().drop_guard();
    let ready = Readiness::waiting_for(&["cluster", "gate", "leader"]);
    let mut tree = Tree {
        tasks,
        stop,
        ready,
        free: CancellationToken::new(),
        last: match parts.settings.traces {
            Some(_) => LAST_SPANS,
            None => LAST_TASKS,
        },
    };
    let mut desk = open(&mut parts, &mut tree)?;
    let (known, (cache, touched, filled)) = watched(&parts, &mut tree).await?;
    let fence = Fence::shut(parts.clock);
    let writes = fenced(&parts.settings.election, &fence, &parts.clients.writes);
    let (smoke, loads) = smoke_tests(&parts)?;
    let seen = (&cache, smoke.desk(), &desk.history);
    let context = context(&parts, &writes, seen, &mut tree)?;
    desk.answer_slack(&cache, &mut tree);
    if !fill(filled.clone(), &tree).await {
        return Ok(());
    }
    // Not before: shelves that are not filled say of each Rollout that there is none, and of each alert that
    // it concerns no run.
    let poke = desk.begin(&cache, &parts.clients.writes, &mut tree);
    let role = lead(&parts, &context, fence, filled, &mut tree);
    undo_and_tell(&parts, &context, (&writes, &role), &mut tree)?;
    let (fresh, fresh_out) = mpsc::unbounded_channel();
    let means = smoke::Means {
        clients: (parts.clients.watches, writes),
        poke,
        role: role.clone(),
        touched: fresh.clone(),
    };
    tree.until(smoke.keep_up(context.clone(), means));
    let source = (parts.source, loads, parts.settings.evidence.source.name());
    let rules = tick(&mut tree, &context, source, parts.rules, fresh);
    let inputs = Inputs {
        touched,
        fresh: fresh_out,
        rules,
        role,
        webhook: known.webhook.as_ref().map(|hook| hook.standing.clone()),
    };
    let conductor = Conductor::new(context, known, tree.ready.clone());
    let conductor = conductor.conduct(inputs, tree.stop.clone());
    Box::pin(watch_over(conductor, tree)).await
}

/// All tasks, what ends them, and how they stand.
struct Tree {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    ready: Readiness,
    /// The passes are over: the lease is freed, the last is told.
    free: CancellationToken,
    /// The time for that.
    last: Duration,
}

impl Tree {
    /// Runs a task until the end.
    fn until(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
}

/// What stands open to people and programs before the cluster has answered.
struct Desk {
    history: History,
    hooks: Hooks,
    poke: Poke,
    acts: Acts,
    clerk: Option<Clerk>,
    nearby: Nearby,
}

/// Opens page, API, hooks and history.
fn open(parts: &mut Parts, tree: &mut Tree) -> Result<Desk, Error> {
    let poke = Poke::default();
    let hooks = Hooks::new(&parts.settings, parts.metrics.clone(), poke.clone());
    let history = history(parts, tree);
    let front = std::mem::take(&mut parts.front);
    let place = Place {
        has_pipeline: parts.settings.pipeline.is_some(),
        ..front.place(&parts.settings.environment)
    };
    let (acts, doors, clerk) = doors(parts, &place, &hooks)?;
    let (nearby, versions) = (Nearby::default(), Versions::default());
    show_pipeline(parts, &history, &versions, tree);
    let web = Web {
        place,
        board: parts.board.clone(),
        history: history.clone(),
        readiness: tree.ready.clone(),
        metrics: with_all_ends(&parts.metrics),
        streams: front.streams(&tree.stop),
        clock: parts.clock,
        nearby: nearby.clone(),
        versions,
        hooks: doors,
        sessions: acts.sessions(),
        acts: acts.router(),
    };
    front.show(web, tree);
    Ok(Desk {
        history,
        hooks,
        poke,
        acts,
        clerk,
        nearby,
    })
}

/// Reads the pipeline for those who look at the page.
fn show_pipeline(parts: &Parts, history: &History, versions: &Versions, tree: &mut Tree) {
    let means = (&parts.clients.writes, history);
    let reader = pipeline::Reader::new(&parts.settings, means, parts.clock, versions);
    if let Some(reader) = reader {
        tree.until(reader.keep_up());
    }
}

impl Desk {
    /// Slack is answered from now on, until then with that nothing is ready: what is asked there must not wait
    /// and act hours later.
    fn answer_slack(&mut self, cache: &Arc<cache::Cache>, tree: &mut Tree) {
        if let Some(clerk) = self.clerk.take() {
            let known = Arc::clone(cache);
            let all = Arc::new(move || known.rollouts.all());
            tree.until(clerk.keep_up(all));
        }
    }

    /// From now on people and programs can ask for something. What others send is asked of the
    /// Rollout, so a daemon that does not lead takes it too.
    fn begin(self, cache: &Arc<cache::Cache>, writes: &Client, tree: &mut Tree) -> Poke {
        self.hooks.begin(Arc::clone(cache), writes.clone());
        let rollouts = Arc::clone(cache);
        let find = move |namespace: &str, name: &str| rollouts.rollouts.get(namespace, name);
        self.acts.begin(find, writes.clone());
        tree.until(self.acts.keep_up());
        let watched = Arc::clone(cache);
        self.nearby
            .begin(move |namespace, name| around::around(&watched, namespace, name));
        self.poke
    }
}

/// What every pass works with.
fn context(
    parts: &Parts,
    writes: &Client,
    (cache, smoke, history): (&Arc<cache::Cache>, smoke::Desk, &History),
    tree: &mut Tree,
) -> Result<Context, Error> {
    let (events, outgoing) = events::channel();
    let sending = outgoing.send_all(writes.clone(), tree.stop.clone());
    tree.tasks.spawn(sending);
    let told = (&parts.metrics, parts.clock);
    let traces = connect::traces(&parts.settings, told, &tree.free, &mut tree.tasks)?;
    Ok(Context {
        clock: parts.clock,
        cache: Arc::clone(cache),
        executor: Executor::new(writes.clone()),
        events,
        watchlist: Arc::new(Watchlist::default()),
        traces,
        metrics: parts.metrics.clone(),
        board: parts.board.clone(),
        history: history.clone(),
        notices: Notices::default(),
        smoke,
        rules: Arc::new(RwLock::new(parts.rules.all().clone())),
        gate: Arc::default(),
        timing: (&parts.settings.evidence).into(),
        freeze: parts.settings.freeze.clone().into(),
        approvals: Arc::new(parts.settings.approvals.clone()),
        turns: Arc::new(Semaphore::new(AT_ONCE)),
        reach: reach::Reach::default(),
    })
}

/// Follows how the watches stand, and begins the election; tells whether this daemon leads.
fn lead(
    parts: &Parts,
    context: &Context,
    fence: Fence,
    filled: watch::Receiver<Sight>,
    tree: &mut Tree,
) -> watch::Receiver<leader::Role> {
    let watches = parts.clients.watches.clone();
    tree.until(reach::follow(
        watches,
        parts.clock,
        filled,
        (context.reach.clone(), tree.ready.clone()),
    ));
    let needs = leader::Needs {
        client: parts.clients.lease.clone(),
        clock: context.clock,
        fence,
        ready: tree.ready.clone(),
        metrics: context.metrics.clone(),
        events: context.events.clone(),
        tasks: &mut tree.tasks,
        end: tree.free.clone(),
    };
    leader::begin(&parts.settings.election, needs)
}

/// Starts the remedies in Git, who looks up the authors of commits, and those who tell people.
fn undo_and_tell(
    parts: &Parts,
    context: &Context,
    (writes, role): (&Client, &watch::Receiver<leader::Role>),
    tree: &mut Tree,
) -> Result<(), Error> {
    let means = remedy::Means::of(&parts.settings.git)?;
    let clients = || (parts.clients.watches.clone(), writes.clone());
    let authors = remedy::Authors::new(context.clone(), clients(), means.clone(), role.clone());
    tree.until(authors.keep_up());
    let remedies = remedy::Remedies::new(context.clone(), clients(), means, role.clone());
    tree.until(remedies.keep_up());
    for teller in notices::tellers(&parts.settings, context, writes, role)? {
        tree.until(teller.keep_up());
    }
    Ok(())
}

/// What the watches bring.
type Watches = (
    Arc<Cache>,
    mpsc::UnboundedReceiver<Touched>,
    watch::Receiver<Sight>,
);

/// Asks what the cluster serves, starts the watches of that, and the gate's webhook.
async fn watched(parts: &Parts, tree: &mut Tree) -> Result<(Known, Watches), Error> {
    let (settings, clients) = (&parts.settings, &parts.clients);
    let mut known = connect::gate(settings, clients, &tree.stop).await?;
    let webhook = settings.webhook.as_ref();
    let admission = Admission {
        policies: known.served,
        webhook: webhook.map(|webhook| webhook.name.clone()),
    };
    let namespaces = &settings.cluster.namespaces;
    let watches = cache::start(
        &clients.watches,
        namespaces,
        &admission,
        &tree.stop,
        &mut tree.tasks,
    );
    let (ready, metrics) = (tree.ready.clone(), parts.metrics.clone());
    tree.until(namespaces::follow(watches.2.clone(), ready, metrics));
    let around = webhook::Around {
        settings,
        clients,
        clock: parts.clock,
        ready: &tree.ready,
        cache: &watches.0,
        metrics: &parts.metrics,
        within: parts.within.as_ref(),
        stop: &tree.stop,
        tasks: &mut tree.tasks,
    };
    known.webhook = webhook::begin(around, &known.account).await?;
    Ok((known, watches))
}

/// Who may act, what others send, and what is done of that besides.
fn doors(
    parts: &Parts,
    place: &Place,
    hooks: &Hooks,
) -> Result<(Acts, Router, Option<Clerk>), Error> {
    let settings = &parts.settings;
    let page_url = settings.page_url.as_deref();
    let access = settings.access.clone();
    let acts = Acts::new(access, place.clone(), page_url, parts.clock)?;
    let slack = Clerk::employ(settings, parts.clock, &acts)?;
    let (desk, clerk) = slack.unzip();
    let doors = desk.map_or_else(Router::new, |desk| desk.router());
    Ok((acts, doors.merge(hooks.router()), clerk))
}

/// The smoke tests of the settings' folders, and the loads that are made of them.
fn smoke_tests(parts: &Parts) -> Result<(Smoke, Loads), Error> {
    let (folders, asker) = (parts.settings.smoke.clone(), parts.asker.clone());
    let smoke = Smoke::load(folders, asker.clone()).map_err(Error::Smoke)?;
    let loads = Loads::new(parts.clock, asker, smoke.tests());
    Ok((smoke, loads))
}

/// Starts the history of runs. How it stands is told; it keeps nobody from being ready.
fn history(parts: &Parts, tree: &mut Tree) -> History {
    let (ready, metrics) = (tree.ready.clone(), parts.metrics.clone());
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
    tree.tasks.spawn(keeper.keep_up(tree.stop.clone()));
    history
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

/// Starts the looks at the metrics, which go to `fresh`, and at the rule files; gives back what these
/// bring.
fn tick(
    tree: &mut Tree,
    context: &Context,
    (source, loads, kind): (Source, Loads, &'static str),
    rules: Rules,
    fresh: mpsc::UnboundedSender<queue::Key>,
) -> mpsc::UnboundedReceiver<()> {
    let (changed, changed_out) = mpsc::unbounded_channel();
    let ready = tree.ready.clone();
    let metrics = ticks::metrics(context.clone(), (source, loads), kind, fresh, ready);
    tree.until(metrics);
    tree.until(ticks::rules(context.clone(), rules, changed));
    changed_out
}

/// Waits for the first lists of the watches. Whether enough came before the end.
async fn fill(mut filled: watch::Receiver<Sight>, tree: &Tree) -> bool {
    let Tree { stop, ready, .. } = tree;
    loop {
        let now = filled.borrow_and_update().clone();
        if now.suffices() {
            ready.set("cluster", Check::Good(now.words()));
            return true;
        }
        ready.set("cluster", Check::Waiting(now.words()));
        match stop.run_until_cancelled(filled.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return false,
        }
    }
}

/// Time for the tasks to end after the conductor: the lease is freed, connections are closed,
const LAST_TASKS: Duration = Duration::from_millis(900);
/// and, where there is somebody to send them to, the last spans are sent.
const LAST_SPANS: Duration = otlp::LAST.saturating_add(Duration::from_millis(500));

/// Runs the conductor; a task that ends before it, or a pass that panics, ends everything. The
/// lease is freed when the conductor has written its last.
async fn watch_over(
    conductor: impl Future<Output = Result<(), PassLost>>,
    tree: Tree,
) -> Result<(), Error> {
    let Tree {
        mut tasks,
        stop,
        free,
        last,
        ..
    } = tree;
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
    if tokio::time::timeout(last, rest).await.is_err() {
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

    #[test]
    fn the_end_takes_no_longer_than_the_documents_say() {
        use conductor::LAST_CHECKPOINTS;
        assert!(LAST_CHECKPOINTS + LAST_TASKS < Duration::from_secs(2));
        assert!(LAST_CHECKPOINTS + LAST_SPANS < Duration::from_secs(3));
    }

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
        let ready = Readiness::waiting_for(&[]);
        let free = CancellationToken::new();
        let tree = Tree {
            tasks,
            stop,
            ready,
            free,
            last: LAST_TASKS,
        };
        watch_over(conductor, tree).await
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

//! The daemon: everything wired together in one task tree.
//!
//! Guarantees: every task is in one set; if one ends early the daemon ends with an error;
//! shutdown drains passes, writes the last checkpoints and frees the lease, within two seconds
//! whatever hangs, or three where spans are sent.
//!
//! * *Starting*: `settings`, `connect` (clients), `front` (where the page is served), `hub` (several environments), `context` (what passes share), `entrances` (what is open from
//!   the first moment), `tree` (all tasks, and their end).
//! * *A pass*: `conductor` says which, from `queue` and `sweeps`; `pass` makes it: `accept` the spec, `recall` the state, wait `beside`
//!   a slow write, do in a `round` what was decided, `publish` and `traced` what came of it. `entry` is what is remembered from one to the next.
//! * *Seeing*: `watchlist`, `ticks` and `load` (metrics), `rules`, `smoke`, `namespaces`, `reach` (whether the API server answers),
//!   `placing` (whether a promotion's pods find nodes).
//! * *Alone or not*: `leader`. *The gate*: `gate`, `webhook`, `unclaimed` (what it holds for nobody).
//! * *Afterwards, beside the passes*: `remedy` (Git), `notices` (people).
//! * *Who asks*: `acts` (page and API), `slack`, `hooks` (Alertmanager, Flux). *What is shown*: `around` (a Rollout), `pipeline`.
//!
//! Not here: any rule about rollouts (`rollout`), any request (`kubernetes`, `prometheus`).

mod accept;
mod acts;
mod around;
mod beside;
mod conductor;
mod connect;
mod context;
mod entrances;
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
mod placing;
mod publish;
mod queue;
mod reach;
mod recall;
mod remedy;
mod round;
pub mod rules;
pub mod settings;
mod slack;
mod smoke;
mod sweeps;
mod ticks;
mod traced;
mod tree;
mod unclaimed;
mod watchlist;
mod webhook;

use std::sync::{Arc, RwLock};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use conductor::{Conductor, Inputs};
pub use connect::{Clients, Error, prometheus};
use context::{Access, Context};
pub use front::Front;
use gate::Known;
use kube::Client;
use load::Loads;
use notices::Notices;
use rules::Rules;
use settings::{Election, Settings};
use smoke::Smoke;
use tree::{LAST_SPANS, LAST_TASKS, Tree};
use watchlist::Watchlist;
pub use webhook::Within;

use crate::clock::Clock;
use crate::history::History;
use crate::kubernetes::cache::{self, Admission, Cache, Watches};
use crate::kubernetes::events;
use crate::kubernetes::execute::Executor;
use crate::kubernetes::fence::Fence;
use crate::kubernetes::sight::Sight;
use crate::prometheus::Source;
use crate::smoke::Asker;
use crate::telemetry::Metrics;
use crate::web::{Board, Check, Readiness};

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
    if let Some(error) = connect::all(unusable(&settings)) {
        return Err(error);
    }
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
    let mut entrances = entrances::open(&mut parts, &mut tree)?;
    let (known, watches) = watched(&parts, &mut tree).await?;
    let fence = Fence::shut(parts.clock);
    let access = Access {
        reads: parts.clients.watches.clone(),
        writes: fenced(&parts.settings.election, &fence, &parts.clients.writes),
    };
    let (smoke, loads) = smoke_tests(&parts)?;
    let Watches {
        cache,
        touched,
        sight,
    } = watches;
    let seen = (&cache, smoke.desk(), &entrances.history);
    let context = context(&parts, &access.writes, seen, &mut tree)?;
    entrances.answer_slack(&cache, &mut tree);
    if !fill(sight.clone(), &tree).await {
        return Ok(());
    }
    // Not before: shelves that are not filled say of each Rollout that there is none, and of each alert that
    // it concerns no run.
    let poke = entrances.begin(&cache, &parts.clients.writes, &mut tree);
    let role = lead(&parts, &context, fence, sight, &mut tree);
    undo_and_tell(&parts, &context, (&access, &role), &mut tree)?;
    let (fresh, fresh_out) = mpsc::unbounded_channel();
    let means = smoke::Means {
        access,
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
    Box::pin(tree.watch_over(conductor)).await
}

/// What every pass works with.
fn context(
    parts: &Parts,
    writes: &Client,
    (cache, smoke, history): (&Arc<Cache>, smoke::Desk, &History),
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
    (access, role): (&Access, &watch::Receiver<leader::Role>),
    tree: &mut Tree,
) -> Result<(), Error> {
    let means = remedy::Means::of(&parts.settings.git)?;
    let authors = remedy::Authors::new(context.clone(), access, means.clone(), role.clone());
    tree.until(authors.keep_up());
    tree.until(unclaimed::keep_up(context.clone(), role.clone()));
    let remedies = remedy::Remedies::new(context.clone(), access, means, role.clone());
    tree.until(remedies.keep_up());
    for teller in notices::tellers(&parts.settings, context, &access.writes, role)? {
        tree.until(teller.keep_up());
    }
    Ok(())
}

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
    tree.until(namespaces::follow(watches.sight.clone(), ready, metrics));
    let around = webhook::Around {
        settings,
        clients,
        clock: parts.clock,
        ready: &tree.ready,
        cache: &watches.cache,
        metrics: &parts.metrics,
        within: parts.within.as_ref(),
        stop: &tree.stop,
        tasks: &mut tree.tasks,
    };
    known.webhook = webhook::begin(around, &known.account).await?;
    Ok((known, watches))
}

/// Why the rules and smoke tests of the settings' folders cannot be used.
fn unusable(settings: &Settings) -> Vec<Error> {
    let rules = Rules::load(settings.rules.clone()).map_err(Error::Rules);
    let asker = Asker::network(Clock::machine());
    let smoke = Smoke::load(settings.smoke.clone(), asker).map_err(Error::Smoke);
    rules.err().into_iter().chain(smoke.err()).collect()
}

/// The smoke tests of the settings' folders, and the loads that are made of them.
fn smoke_tests(parts: &Parts) -> Result<(Smoke, Loads), Error> {
    let (folders, asker) = (parts.settings.smoke.clone(), parts.asker.clone());
    let smoke = Smoke::load(folders, asker.clone()).map_err(Error::Smoke)?;
    let loads = Loads::new(parts.clock, asker, smoke.tests());
    Ok((smoke, loads))
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

//! What stands open to people and programs before the cluster has answered: page, API, hooks, Slack, history.
//!
//! Until then each of them says that nothing is ready. Not here: what is asked there (`acts`, `hooks`, `slack`), and
//! where the page is served (`front`).

use std::sync::Arc;

use axum::Router;
use kube::Client;

use super::acts::Acts;
use super::hooks::Hooks;
use super::slack::Clerk;
use super::smoke::sync::Poke;
use super::tree::Tree;
use super::{Error, Parts, around, pipeline};
use crate::history::{History, Telling};
use crate::kubernetes::cache::Cache;
use crate::rollout::reason::ENDS;
use crate::telemetry::Metrics;
use crate::web::{Check, Nearby, Place, Versions, Web};

/// What stands open to people and programs before the cluster has answered.
pub(super) struct Entrances {
    pub(super) history: History,
    hooks: Hooks,
    poke: Poke,
    acts: Acts,
    clerk: Option<Clerk>,
    nearby: Nearby,
}

/// Opens page, API, hooks and history.
pub(super) fn open(parts: &mut Parts, tree: &mut Tree) -> Result<Entrances, Error> {
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
    Ok(Entrances {
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

impl Entrances {
    /// Slack is answered from now on, until then with that nothing is ready: what is asked there must not wait
    /// and act hours later.
    pub(super) fn answer_slack(&mut self, cache: &Arc<Cache>, tree: &mut Tree) {
        if let Some(clerk) = self.clerk.take() {
            let known = Arc::clone(cache);
            let all = Arc::new(move || known.rollouts.all());
            tree.until(clerk.keep_up(all));
        }
    }

    /// From now on people and programs can ask for something. What others send is asked of the
    /// Rollout, so a daemon that does not lead takes it too.
    pub(super) fn begin(self, cache: &Arc<Cache>, writes: &Client, tree: &mut Tree) -> Poke {
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

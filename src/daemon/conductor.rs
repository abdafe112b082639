//! The conductor: turns events, readings and alarms into passes, several at a time, one a
//! Rollout.
//!
//! Guarantees: passes are made while this daemon leads; when it stops leading they end at once,
//! and what they knew is forgotten, since the next leader goes on from what is stored.
//!
//! Not here: what a pass does (`pass`) and its order (`queue`).

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::entry::Entry;
use super::gate::{self, Known};
use super::leader::Role;
use super::pass::{self, After};
use super::publish;
use super::queue::{Key, Queue};
use super::round;
use super::sweeps::Sweeps;
use super::webhook::{self, Standing};
use crate::kubernetes::cache::Touched;
use crate::kubernetes::canary;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::entries::Head;
use crate::kubernetes::packed::Text;
use crate::kubernetes::shelf::Shelf;
use crate::web::{Check, Readiness};

/// Passes at one time of Rollouts that only changed.
const PLAIN: usize = 32;
/// Passes at one time in all: more runs than that would have to hang at once to delay another.
const ALL: usize = 1024;
/// Last checkpoints that are written at one time.
const CHECKPOINTS: usize = 32;
/// Checkpoints at shutdown must be written within this time: what is not is read again.
pub const LAST_CHECKPOINTS: Duration = Duration::from_secs(1);

/// What leads to passes.
#[derive(Debug)]
pub struct Inputs {
    /// Events of the watches.
    pub touched: mpsc::UnboundedReceiver<Touched>,
    /// Rollouts that have new readings.
    pub fresh: mpsc::UnboundedReceiver<Key>,
    /// The rules changed.
    pub rules: mpsc::UnboundedReceiver<()>,
    /// Whether this daemon leads.
    pub role: watch::Receiver<Role>,
    /// How the gate's webhook stands, where there is one.
    pub webhook: Option<watch::Receiver<Standing>>,
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Turns inputs into passes.
pub struct Conductor {
    context: Context,
    gate: Known,
    ready: Readiness,
    queue: Queue,
    sweeps: Sweeps,
    entries: HashMap<Key, Box<Entry>>,
    passes: JoinSet<(Key, Box<Entry>, After)>,
    leads: bool,
}

/// A pass panicked: its Rollout's entry is lost, and the process must be started anew.
#[derive(Debug)]
pub struct PassLost;

impl Conductor {
    /// Has made no pass yet.
    pub fn new(context: Context, gate: Known, ready: Readiness) -> Self {
        Self {
            context,
            gate,
            ready,
            queue: Queue::default(),
            sweeps: Sweeps::default(),
            entries: HashMap::new(),
            passes: JoinSet::new(),
            leads: false,
        }
    }

    /// Conducts until `stop`, or until a pass is lost; then writes the evidence that is not saved.
    pub async fn conduct(
        mut self,
        mut inputs: Inputs,
        stop: CancellationToken,
    ) -> Result<(), PassLost> {
        self.look_at_gate();
        self.leads = inputs.role.borrow_and_update().leads();
        // What the first lists brought is on the shelves already, and everything is looked at now.
        while inputs.touched.try_recv().is_ok() {}
        self.everything();
        let ended = loop {
            self.start_passes();
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Ok(()) = inputs.role.changed() => {
                    let leads = inputs.role.borrow_and_update().leads();
                    self.changed(leads).await;
                }
                Some(done) = self.passes.join_next() => match done {
                    Ok((key, entry, after)) => self.finished(key, entry, after),
                    Err(error) => {
                        tracing::error!(%error, "a pass ended abnormally");
                        break Err(PassLost);
                    }
                },
                Some(key) = inputs.fresh.recv() => if self.leads {
                    self.queue.touch(key, true);
                },
                Some(touched) = inputs.touched.recv() => self.touch(&touched),
                Some(()) = inputs.rules.recv() => self.everything(),
                () = webhook::changed(&mut inputs.webhook) => {
                    self.look_at_gate();
                    self.everything();
                }
                namespace = self.sweeps.next() => self.touch_where(&namespace, |_, _| true),
                () = self.queue.alarm() => {}
            }
        };
        self.wind_down().await;
        ended
    }

    /// This daemon begins or ceases to lead.
    async fn changed(&mut self, leads: bool) {
        if leads == self.leads {
            return;
        }
        self.leads = leads;
        // The requests of these passes are not answered any more, and do not pass the fence.
        self.passes.shutdown().await;
        self.queue = Queue::default();
        self.sweeps = Sweeps::default();
        self.entries.clear();
        self.context.smoke.forget_all();
        self.context.watchlist.clear();
        self.context.metrics.forget_all();
        self.context.history.forget_all();
        self.everything();
    }

    fn start_passes(&mut self) {
        while self.passes.len() < ALL {
            let Some(key) = self.queue.next(PLAIN) else {
                return;
            };
            let mut entry = self.entries.remove(&key).unwrap_or_default();
            entry.nudge = self.queue.nudge(&key);
            let context = self.context.clone();
            self.passes.spawn(async move {
                let after = Box::pin(pass::pass(&context, &key, &mut entry)).await;
                (key, entry, after)
            });
        }
    }

    fn finished(&mut self, key: Key, entry: Box<Entry>, after: After) {
        self.queue.done(&key);
        match after {
            After::Gone => {}
            After::Wake(wait) => {
                self.entries.insert(key.clone(), entry);
                if let Some(wait) = wait {
                    self.queue.wake_in(key, self.context.clock.real(wait));
                }
            }
        }
    }

    fn touch(&mut self, touched: &Touched) {
        match touched {
            Touched::Rollout(key) if self.leads => {
                let known = self.rollouts().get(&key.0, &key.1);
                let urgent = known.is_some_and(|known| known.head.running);
                self.queue.touch(key.clone(), urgent);
            }
            Touched::Rollout(key) => self.show(key),
            Touched::Workload(_) | Touched::Around { .. } if !self.leads => {}
            Touched::Workload((namespace, workload)) => {
                self.touch_where(namespace, |_, head| {
                    let target = &*head.target.1;
                    target == workload || canary::deployment_name(target) == *workload
                });
            }
            Touched::Around {
                namespace,
                name,
                rollout,
            } => {
                // The others with all else that changes within a moment.
                self.sweeps.add(namespace);
                self.touch_where(namespace, |rollout_name, head| {
                    let owns = rollout.as_deref() == Some(rollout_name);
                    head.running || owns || head.names(name)
                });
            }
            Touched::Everything => {
                self.look_at_gate();
                self.everything();
            }
        }
    }

    /// Rollouts of a namespace, by name and what is asked of all.
    fn touch_where(&mut self, namespace: &str, concerned: impl Fn(&str, &Head) -> bool) {
        for (name, known) in self.rollouts().named(namespace) {
            if concerned(&name, &known.head) {
                let key = (namespace.to_owned(), name);
                self.queue.touch(key, known.head.running);
            }
        }
    }

    fn rollouts(&self) -> &Shelf<Text<Rollout, Head>> {
        self.context.cache.rollouts.texts()
    }

    fn everything(&mut self) {
        if self.leads {
            for (key, known) in self.rollouts().keyed() {
                self.queue.touch(key, known.head.running);
            }
        } else {
            for rollout in self.context.cache.rollouts.all() {
                publish::show(&self.context, &rollout);
            }
        }
    }

    /// Shows what another daemon has written.
    fn show(&self, key: &Key) {
        match self.context.cache.rollouts.get(&key.0, &key.1) {
            Some(rollout) => publish::show(&self.context, &rollout),
            None => publish::forget(&self.context, key),
        }
    }

    fn look_at_gate(&self) {
        let stands = gate::stands(&self.gate, &self.context.cache);
        self.context.metrics.gate_ready(stands.problem.is_none());
        self.ready.set(
            "gate",
            match &stands.problem {
                None => Check::Good(format!("mode {}", stands.mode.name())),
                Some(problem) => Check::Bad(problem.clone()),
            },
        );
        let mut gate = self
            .context
            .gate
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if gate.problem != stands.problem
            && let Some(problem) = &stands.problem
        {
            tracing::warn!(problem, "the gate does not stand");
        }
        *gate = stands;
    }

    /// Lets the passes that run finish, and writes what is not saved.
    async fn wind_down(mut self) {
        let mut idle = std::mem::take(&mut self.entries);
        let work = async {
            let rest = finish(&mut self.passes);
            let (mut rest, ()) = tokio::join!(rest, checkpoints(&self.context, &mut idle));
            checkpoints(&self.context, &mut rest).await;
        };
        if tokio::time::timeout(LAST_CHECKPOINTS, work).await.is_err() {
            tracing::warn!(
                "shutdown did not wait for all checkpoints; samples since the last one are read again"
            );
        }
    }
}

/// Waits for passes; gives back what they knew.
async fn finish(passes: &mut JoinSet<(Key, Box<Entry>, After)>) -> HashMap<Key, Box<Entry>> {
    let mut entries = HashMap::new();
    while let Some(done) = passes.join_next().await {
        if let Ok((key, entry, _)) = done {
            entries.insert(key, entry);
        }
    }
    entries
}

/// Writes the checkpoints of Rollouts with evidence that is not saved.
async fn checkpoints(context: &Context, entries: &mut HashMap<Key, Box<Entry>>) {
    let write = |(key, entry)| last_checkpoint(context, key, entry);
    let entries = entries.iter_mut().map(|(key, entry)| (key, &mut **entry));
    let entries = futures::stream::iter(entries);
    entries.for_each_concurrent(CHECKPOINTS, write).await;
}

async fn last_checkpoint(context: &Context, key: &Key, entry: &mut Entry) {
    if let Err(error) = round::checkpoint(context, key, entry).await {
        let error = crate::causes::told(&error);
        tracing::warn!(
            namespace = key.0,
            rollout = key.1,
            error,
            "the last checkpoint was not written"
        );
    }
}

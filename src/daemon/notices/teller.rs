//! One destination's teller: what is due first, and what follows when it cannot be told.
//!
//! Not here: what is due (`due`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, watch};

use super::due::{self, Manner};
use super::{LINES, Line};
use crate::backoff::Doubling;
use crate::causes;
use crate::daemon::context::Context;
use crate::daemon::leader::Role;
use crate::daemon::queue::Key;
use crate::kubernetes::crd::{MANAGER, Rollout, Told};
use crate::people::message::{Finding, Message, Seen, messages};
use crate::people::sender::{Destination, Error, Kind, Sender};
use crate::people::slack::api;
use crate::people::webhook::Alarm;
use crate::web::Entry as BoardEntry;

/// The least time between two looks at the board.
const LOOK: Duration = Duration::from_millis(100);
/// A look even if nothing changed: what could not be kept is kept then, and a lease may have come.
const AT_LEAST: Duration = Duration::from_secs(5);
/// Waits after failures.
const RETRY: Doubling = Doubling::new(Duration::from_secs(1), Duration::from_secs(60));
/// A receiver that wants to be left alone longer is asked all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// For one write of the status.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is known of one Rollout.
#[derive(Debug, Default)]
struct Known {
    /// The board's change that was looked at last.
    version: u64,
    /// What was told.
    told: Vec<Told>,
    /// What was told is not in the status yet.
    unsaved: bool,
    /// The run's findings when there last were some: they are told with its end too.
    findings: (String, Vec<Finding>),
    /// Messages that are due, by run.
    due: BTreeMap<String, Message>,
}

/// What cannot be told now.
#[derive(Debug, Default)]
struct Trouble {
    times: u32,
    /// By the clock's ticks, which nobody sets.
    until: Option<Duration>,
    told: String,
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Tells one destination.
pub struct Teller {
    to: Destination,
    /// The names of all destinations.
    names: Vec<String>,
    context: Context,
    environment: String,
    page: Option<String>,
    sender: Sender,
    client: Client,
    role: watch::Receiver<Role>,
    listener: broadcast::Receiver<Line>,
    lines: VecDeque<Line>,
    known: HashMap<Key, Known>,
    trouble: Trouble,
}

impl Teller {
    /// Has told nothing yet.
    pub fn new(
        to: Destination,
        names: Vec<String>,
        context: Context,
        (environment, page): (String, Option<String>),
        (sender, client, role): (Sender, Client, watch::Receiver<Role>),
    ) -> Self {
        Self {
            to,
            names,
            listener: context.notices.listen(),
            context,
            environment,
            page,
            sender,
            client,
            role,
            lines: VecDeque::new(),
            known: HashMap::new(),
            trouble: Trouble::default(),
        }
    }

    /// Tells for ever.
    pub async fn keep_up(mut self) {
        let mut changes = self.context.board.changes();
        loop {
            let pause = self.round().await;
            self.context.clock.sleep(pause).await;
            if pause == LOOK {
                let most = self.context.clock.sleep(AT_LEAST);
                tokio::select! {
                    _ = changes.changed() => {}
                    () = most => {}
                }
            }
        }
    }

    /// Tells what is due. How long to wait before the next round.
    async fn round(&mut self) -> Duration {
        self.take_lines();
        if !self.role.borrow().leads() {
            self.known.clear();
            self.lines.clear();
            return LOOK;
        }
        self.look();
        loop {
            let now = self.context.clock.now();
            if let Some(wait) = self.waits() {
                return wait;
            }
            let done = match self.next() {
                Some((key, message)) => self.tell(key, message, now).await,
                None => match self.lines.pop_front() {
                    Some(line) => self.tell_line(line, now).await,
                    None => break,
                },
            };
            self.came_to(done);
            self.take_lines();
            self.look();
        }
        self.keep_unsaved().await;
        LOOK
    }

    /// How much longer nothing is sent.
    fn waits(&self) -> Option<Duration> {
        let wait = self
            .trouble
            .until?
            .saturating_sub(self.context.clock.ticks());
        (!wait.is_zero()).then_some(wait.min(AT_LEAST))
    }

    fn take_lines(&mut self) {
        loop {
            match self.listener.try_recv() {
                Ok(line) => self.lines.push_back(line),
                Err(TryRecvError::Lagged(lost)) => self.dropped(lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        while self.lines.len() > LINES {
            self.lines.pop_front();
            self.dropped(1);
        }
    }

    fn dropped(&self, lost: u64) {
        for _ in 0..lost.min(LINES as u64) {
            self.context.metrics.messaged(&self.to.name, "dropped");
        }
    }

    /// Looks at each Rollout that has changed.
    fn look(&mut self) {
        let entries = self.context.board.all();
        if self.known.len() > entries.len() {
            let there = |key: &Key| self.context.board.get(&key.0, &key.1).is_some();
            self.known.retain(|key, _| there(key));
        }
        for entry in entries {
            let key = (entry.namespace.clone(), entry.name.clone());
            let version = self.context.board.version(Some(&key));
            if self
                .known
                .get(&key)
                .is_some_and(|known| known.version == version)
            {
                continue;
            }
            if let Some(rollout) = self.context.cache.rollouts.get(&key.0, &key.1) {
                self.look_at(key, version, &entry, &rollout);
            }
        }
    }

    fn look_at(&mut self, key: Key, version: u64, entry: &BoardEntry, rollout: &Rollout) {
        let now = self.context.clock.now();
        let all = messages(self.seen(entry));
        let first = !self.known.contains_key(&key);
        if first {
            self.warn_of_unknown(rollout);
        }
        let known = self.known.entry(key).or_default();
        if first {
            let told = rollout
                .status
                .as_ref()
                .and_then(|status| status.told.get(&self.to.name));
            known.told = told.cloned().unwrap_or_default();
        }
        known.version = version;
        known.due.clear();
        let picked = rollout.spec.notify.as_ref();
        if picked.is_some_and(|names| !names.contains(&self.to.name)) {
            return;
        }
        for mut message in all {
            if message.findings.is_empty() && known.findings.0 == message.run {
                message.findings.clone_from(&known.findings.1);
            } else if !message.findings.is_empty() {
                known.findings = (message.run.clone(), message.findings.clone());
            }
            if due::is_due(&message, &known.told, &self.to.kind, now) {
                known.due.insert(message.run.clone(), message);
            }
        }
    }

    fn seen<'a>(&'a self, entry: &'a BoardEntry) -> Seen<'a> {
        Seen {
            environment: &self.environment,
            namespace: &entry.namespace,
            name: &entry.name,
            phase: &entry.phase,
            message: &entry.message,
            stable: entry.stable.as_ref(),
            run: entry.run.as_deref(),
            last_run: entry.last_run.as_deref(),
            git: entry.git.as_deref(),
            page: self.page.as_deref(),
        }
    }

    /// Says once who is not known; the first teller does, for all.
    fn warn_of_unknown(&self, rollout: &Rollout) {
        if self.names.first() != Some(&self.to.name) {
            return;
        }
        let asked = rollout.spec.notify.iter().flatten();
        for name in asked.filter(|name| !self.names.contains(name)) {
            let (namespace, rollout) = (rollout.namespace(), rollout.name_any());
            tracing::warn!(
                namespace,
                rollout,
                "spec.notify names {name:?}, which is not in the settings"
            );
        }
    }

    /// What is due first: what people should look at now, then the oldest.
    fn next(&mut self) -> Option<(Key, Message)> {
        let all = self
            .known
            .iter()
            .flat_map(|(key, known)| known.due.values().map(move |message| (key, message)));
        let first = all.min_by_key(|(_, message)| (!message.stage.urgent(), message.at));
        first.map(|(key, message)| (key.clone(), message.clone()))
    }

    async fn tell(&mut self, key: Key, message: Message, now: Timestamp) -> Result<bool, Error> {
        let known = self.known.entry(key.clone()).or_default();
        let before = due::place(&known.told, &message.run);
        let told = self
            .sender
            .tell(&self.to.kind, &message, before.as_ref(), now);
        let told = told.await;
        let known = self.known.entry(key.clone()).or_default();
        if told.as_ref().is_err_and(Error::is_of_message) {
            // The others must not wait for it; it is tried again when the run has come further.
            known.due.remove(&message.run);
        }
        let place = told?;
        known.told = due::with(std::mem::take(&mut known.told), &message, place);
        known.due.remove(&message.run);
        known.unsaved = true;
        self.keep(&key).await;
        Ok(true)
    }

    async fn tell_line(&mut self, line: Line, now: Timestamp) -> Result<bool, Error> {
        let picked = self.context.cache.rollouts.get(&line.key.0, &line.key.1);
        let picked = picked
            .as_ref()
            .and_then(|rollout| rollout.spec.notify.as_ref());
        if picked.is_some_and(|names| !names.contains(&self.to.name)) {
            return Ok(false);
        }
        let done = match (&self.to.kind, line.manner) {
            (kind, Manner::Alarm) => self.sender.alarm(kind, &self.alarm(&line), now).await,
            (Kind::Slack(slack), manner) => {
                let known = self.known.get(&line.key);
                let Some(place) = known.and_then(|known| due::place(&known.told, &line.run)) else {
                    return Ok(false);
                };
                let call = api::line(slack, Some(&place), &line.text, manner == Manner::Loud);
                self.sender.slack(slack, call, now).await.map(drop)
            }
            (Kind::Webhook(_) | Kind::Teams(_), _) => return Ok(false),
        };
        match done {
            // That does not change by trying again, and others wait.
            Err(error) if error.is_of_line() => {
                let (to, why) = (&self.to.name, causes::told(&error));
                tracing::warn!(to, why, text = line.text, "people are not told");
                self.dropped(1);
                Ok(false)
            }
            Err(error) => {
                self.lines.push_front(line);
                Err(error)
            }
            Ok(()) => Ok(true),
        }
    }

    fn alarm(&self, line: &Line) -> Alarm {
        Alarm {
            environment: self.environment.clone(),
            namespace: line.key.0.clone(),
            name: line.key.1.clone(),
            reason: line.reason.to_owned(),
            message: line.text.clone(),
            at: line.at,
        }
    }

    fn came_to(&mut self, done: Result<bool, Error>) {
        let to = &self.to.name;
        match done {
            Ok(false) => {}
            Ok(true) => {
                self.context.metrics.messaged(to, "sent");
                if self.trouble.times > 0 {
                    tracing::info!(to, "people are told again");
                }
                self.trouble = Trouble::default();
            }
            Err(error) => {
                self.context.metrics.messaged(to, "failed");
                let why = causes::told(&error);
                if self.trouble.told != why {
                    tracing::warn!(to, why, "people cannot be told; it is tried again");
                    self.trouble.told = why;
                }
                let wait = RETRY.after(self.trouble.times);
                let wait = error.wait().unwrap_or(wait).min(LONGEST_WAIT);
                self.trouble.times = self.trouble.times.saturating_add(1);
                self.trouble.until = Some(self.context.clock.ticks().saturating_add(wait));
            }
        }
    }

    async fn keep_unsaved(&mut self) {
        let unsaved = self.known.iter().filter(|(_, known)| known.unsaved);
        let keys: Vec<Key> = unsaved.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.keep(&key).await;
        }
    }

    /// Keeps in the status what was told.
    async fn keep(&mut self, key: &Key) {
        let Some(rollout) = self.context.cache.rollouts.get(&key.0, &key.1) else {
            return;
        };
        let Some(known) = self.known.get_mut(key) else {
            return;
        };
        let rollouts: Api<Rollout> = Api::namespaced(self.client.clone(), &key.0);
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let told = json!({&self.to.name: known.told});
        let patch = json!({"metadata": {"uid": rollout.uid()}, "status": {"told": told}});
        let patch = Patch::Merge(&patch);
        let request = rollouts.patch_status(&key.1, &params, &patch);
        match tokio::time::timeout(DEADLINE, request).await {
            Ok(Ok(_)) => known.unsaved = false,
            Ok(Err(kube::Error::Api(gone))) if gone.code == 404 || gone.code == 409 => {
                // Deleted, or another one by now.
                known.unsaved = false;
            }
            Ok(Err(error)) => tracing::debug!(%error, "what was told is not kept yet"),
            Err(_) => tracing::debug!("what was told is not kept yet: no answer in time"),
        }
    }
}

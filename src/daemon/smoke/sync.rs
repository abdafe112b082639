//! Smoke tests after each sync of Flux, for whatever it changed: also for what has no Rollout.
//!
//! While a test names a Kustomization or a `HelmRelease`, that object is looked at every few seconds, and at
//! once when Flux's notification says that something happened to it (`poke`). When it is ready with a revision
//! that was not tested yet, its tests are made. A failure is said on the object of Flux, and ends each run
//! whose Deployment the object applies: it acts as a verdict.
//!
//! Not here: how a failed run is put back, in Git too (`rollout::decide`, `daemon::remedy`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::{Notify, watch};

use super::InForce;
use crate::causes;
use crate::daemon::context::Context;
use crate::daemon::leader::Role;
use crate::kubernetes::ask;
use crate::kubernetes::crd::Rollout;
use crate::kubernetes::flux::{Applied, Flux};
use crate::rollout::observation::Request;
use crate::rollout::smoke::{Report, Synced, SyncedKind, Test, Words};
use crate::smoke::Asker;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// The field manager of what is asked.
const MANAGER: &str = "sluice-smoke";
/// For one request to be stored.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes it look at once. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Poke(Arc<Notify>);

impl Poke {
    /// Something was synced.
    pub fn poke(&self) {
        self.0.notify_one();
    }
}

#[allow(missing_debug_implementations)] // kube's Client has none
/// Tests what Flux applies.
pub struct Syncs {
    context: Context,
    client: kube::Client,
    flux: Flux,
    tests: InForce,
    asker: Asker,
    role: watch::Receiver<Role>,
    poke: Poke,
    /// The revision that was tested last, and what was said of an object that cannot be read.
    tested: BTreeMap<Synced, String>,
    troubles: BTreeMap<Synced, String>,
}

impl Syncs {
    /// Nothing is tested yet.
    pub fn new(
        context: Context,
        (reads, writes): (kube::Client, kube::Client),
        (tests, asker): (InForce, Asker),
        role: watch::Receiver<Role>,
        poke: Poke,
    ) -> Self {
        Self {
            flux: Flux::new(reads, writes.clone()),
            client: writes,
            context,
            tests,
            asker,
            role,
            poke,
            tested: BTreeMap::new(),
            troubles: BTreeMap::new(),
        }
    }

    /// Looks for ever.
    pub async fn keep_up(mut self) {
        loop {
            let poked = self.poke.0.clone();
            let _ = self.context.clock.timeout(EVERY, poked.notified()).await;
            if !self.role.borrow().leads() {
                continue;
            }
            let tests = self.tests.now();
            let named = tests.values().filter_map(|test| test.after.clone());
            for synced in named.collect::<BTreeSet<_>>() {
                let tests = tests.values();
                let tests = tests.filter(|test| test.after.as_ref() == Some(&synced));
                let tests: Vec<Arc<Test>> = tests.cloned().collect();
                self.look(&synced, &tests).await;
            }
        }
    }

    async fn look(&mut self, synced: &Synced, tests: &[Arc<Test>]) {
        let applied = match self.flux.applied(synced).await {
            Ok(applied) => applied,
            Err(error) => {
                let error = causes::told(&error);
                if self.troubles.get(synced) != Some(&error) {
                    tracing::warn!("{synced} is not tested: {error}");
                    self.troubles.insert(synced.clone(), error);
                }
                return;
            }
        };
        self.troubles.remove(synced);
        let Some(applied) = applied else {
            return;
        };
        if self.tested.get(synced) == Some(&applied.revision) {
            return;
        }
        self.make(synced, &applied, tests).await;
        self.tested.insert(synced.clone(), applied.revision);
    }

    /// Makes the tests of one revision, all at once.
    async fn make(&self, synced: &Synced, applied: &Applied, tests: &[Arc<Test>]) {
        let clock = self.context.clock;
        let words = Words::from([
            ("namespace", synced.namespace.clone()),
            ("name", synced.name.clone()),
            ("revision", applied.revision.clone()),
        ]);
        let made = tests
            .iter()
            .map(|test| crate::smoke::make(test, &words, (&self.asker, &self.client), clock));
        let made = futures::future::join_all(made).await;
        let mut failures = Vec::new();
        for (test, report) in tests.iter().zip(made) {
            match report {
                Ok(report) if report.passed => self.passed(synced, applied, &report),
                Ok(report) => failures.push(report.to_string()),
                Err(why) => tracing::error!("smoke test {} cannot be made: {why}", test.name),
            }
        }
        if !failures.is_empty() {
            self.failed(synced, applied, &failures.join("; ")).await;
        }
    }

    fn passed(&self, synced: &Synced, applied: &Applied, report: &Report) {
        let revision = &applied.revision;
        tracing::info!("after {synced} applied {revision}: smoke test {report}");
        self.context.metrics.smoked("passed");
    }

    async fn failed(&self, synced: &Synced, applied: &Applied, sentence: &str) {
        let revision = &applied.revision;
        let words = format!("after {synced} applied {revision}: smoke test {sentence}");
        tracing::error!(reason = "SmokeFailed", "{words}");
        self.context.metrics.smoked("failed");
        let now = self.context.clock.now();
        let events = &self.context.events;
        events.note(&applied.object, "SmokeFailed", &words, now);
        for rollout in self.context.cache.rollouts.all() {
            if self.applies(synced, &rollout) {
                self.end(&rollout, revision, &words).await;
            }
        }
    }

    /// Whether a run goes on whose Deployment this object of Flux applies, as Flux's labels say.
    fn applies(&self, synced: &Synced, rollout: &Rollout) -> bool {
        let Some(target) = self.context.cache.guarded(rollout) else {
            return false;
        };
        let group = match synced.kind {
            SyncedKind::Kustomization => "kustomize",
            SyncedKind::HelmRelease => "helm",
        };
        let label = |key: &str| {
            let key = format!("{group}.toolkit.fluxcd.io/{key}");
            target.object.metadata.labels.as_ref()?.get(&key).cloned()
        };
        rollout.on_trial().is_some()
            && label("name").as_ref() == Some(&synced.name)
            && label("namespace").as_ref() == Some(&synced.namespace)
    }

    async fn end(&self, rollout: &Rollout, revision: &str, words: &str) {
        let run = rollout
            .status
            .as_ref()
            .and_then(|status| status.run.as_ref());
        let short: String = revision
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .rev()
            .take(24)
            .collect();
        let request = Request {
            id: format!("smoke-{}", short.chars().rev().collect::<String>()),
            act: "smoke".to_owned(),
            revision: run.map(|run| run.revision.hash.clone()),
            goal: None,
            groups: Vec::new(),
            by: Some("a smoke test".to_owned()),
            why: Some(words.to_owned()),
        };
        let asked = ask::ask(&self.client, rollout, &request, MANAGER);
        let failed = match self.context.clock.timeout(DEADLINE, asked).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => causes::told(&error),
            Err(_) => format!("no answer within {DEADLINE:?}"),
        };
        let name = rollout.name_any();
        tracing::error!(rollout = name, "the rollback cannot be stored: {failed}");
    }
}

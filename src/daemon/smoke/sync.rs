//! Smoke tests after each sync of Flux, for whatever it changed: also for what has no Rollout.
//!
//! While a test names a Kustomization or a `HelmRelease`, that object is looked at every few seconds, and at
//! once when Flux's notification says that something happened to it (`poke`). When it is ready with a revision
//! that was not tested yet, its tests are made. A failure is said on the object of Flux, and ends each run of what
//! that revision brought: it acts as a verdict.
//!
//! Guarantees: one object waits for no other; a run of something newer is not ended; a test that cannot be made
//! is tried again, and so is a verdict that cannot be stored; all this ends when this daemon leads no more.
//!
//! Not here: how a failed run is put back, in Git too (`rollout::decide`, `daemon::remedy`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::ResourceExt;
use tokio::sync::{Notify, watch};

use super::{AGAIN, InForce};
use crate::causes;
use crate::daemon::context::{Access, Context};
use crate::daemon::leader::Role;
use crate::daemon::queue::Key;
use crate::kubernetes::ask;
use crate::kubernetes::crd::{Rollout, RunStatus};
use crate::kubernetes::flux::{Applied, Flux};
use crate::rollout::request::{Act, Request};
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
    bench: Arc<Bench>,
    tests: InForce,
    role: watch::Receiver<Role>,
    poke: Poke,
    objects: BTreeMap<Synced, Standing>,
    /// Those that are looked at now.
    busy: BTreeSet<Synced>,
}

/// A look at one object, and how it stands after it.
type Look = BoxFuture<'static, (Synced, Standing)>;

impl Syncs {
    /// Nothing is tested yet.
    pub fn new(
        context: Context,
        access: Access,
        (tests, asker): (InForce, Asker),
        role: watch::Receiver<Role>,
        poke: Poke,
    ) -> Self {
        let bench = Bench {
            flux: Flux::new(access.reads, access.writes.clone()),
            client: access.writes,
            context,
            asker,
        };
        Self {
            bench: Arc::new(bench),
            tests,
            role,
            poke,
            objects: BTreeMap::new(),
            busy: BTreeSet::new(),
        }
    }

    /// Looks for ever.
    pub async fn keep_up(mut self) {
        let clock = self.bench.context.clock;
        let mut looks = FuturesUnordered::new();
        loop {
            let poked = self.poke.0.clone();
            tokio::select! {
                Ok(()) = self.role.changed() => if !self.role.borrow().leads() {
                    looks.clear();
                    self.busy.clear();
                    self.objects.clear();
                },
                Some((synced, standing)) = looks.next() => {
                    self.busy.remove(&synced);
                    self.objects.insert(synced, standing);
                }
                _ = clock.timeout(EVERY, poked.notified()) => looks.extend(self.look()),
            }
        }
    }

    /// Looks at each object that a test names, unless that is going on.
    fn look(&mut self) -> Vec<Look> {
        if !self.role.borrow().leads() {
            return Vec::new();
        }
        let mut named: BTreeMap<Synced, Vec<Arc<Test>>> = BTreeMap::new();
        for test in self.tests.now().values() {
            if let Some(synced) = &test.after {
                named.entry(synced.clone()).or_default().push(test.clone());
            }
        }
        let idle = named
            .into_iter()
            .filter(|(synced, _)| self.busy.insert(synced.clone()));
        let look = |(synced, tests): (Synced, Vec<Arc<Test>>)| -> Look {
            let bench = self.bench.clone();
            let mut standing = self.objects.get(&synced).cloned().unwrap_or_default();
            Box::pin(async move {
                bench.test(&synced, &tests, &mut standing).await;
                bench.end_runs(&mut standing).await;
                (synced, standing)
            })
        };
        idle.map(look).collect()
    }
}

/// How far one object of Flux has been tested.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// The revision whose tests were begun last.
    revision: Option<String>,
    /// What that revision brought: the templates of guarded workloads, by Rollout, as its tests began.
    brought: BTreeMap<Key, String>,
    /// Tests of it that are still to be made,
    left: BTreeSet<String>,
    /// not before these ticks.
    again: Duration,
    /// What its failure says, until that is stored for each run.
    verdict: Option<String>,
    /// What was said last of an object that cannot be read or a test that cannot be made.
    trouble: Option<String>,
}

impl Standing {
    /// Says what is wrong, once.
    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!("{trouble}");
            self.trouble = Some(trouble);
        }
    }
}

/// What the tests are made with.
struct Bench {
    context: Context,
    client: kube::Client,
    flux: Flux,
    asker: Asker,
}

impl Bench {
    /// Makes the tests of a revision that are not made yet.
    async fn test(&self, synced: &Synced, tests: &[Arc<Test>], standing: &mut Standing) {
        let applied = match self.flux.applied(synced).await {
            Ok(Some(applied)) => applied,
            Ok(None) => return,
            Err(error) => {
                let error = causes::told(&error);
                standing.complain(format!("{synced} is not tested: {error}"));
                return;
            }
        };
        if standing.revision.as_ref() != Some(&applied.revision) {
            *standing = Standing {
                revision: Some(applied.revision.clone()),
                brought: self.brought(synced),
                left: tests.iter().map(|test| test.name.clone()).collect(),
                ..Standing::default()
            };
        }
        if standing.left.is_empty() {
            standing.trouble = None;
        }
        if self.context.clock.ticks() < standing.again {
            return;
        }
        let left = |test: &&Arc<Test>| standing.left.contains(&test.name);
        let tests: Vec<Arc<Test>> = tests.iter().filter(left).cloned().collect();
        if !tests.is_empty() {
            self.make(synced, &applied, &tests, standing).await;
        }
    }

    /// Makes these tests, all at once.
    async fn make(
        &self,
        synced: &Synced,
        applied: &Applied,
        tests: &[Arc<Test>],
        standing: &mut Standing,
    ) {
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
        let mut troubles = Vec::new();
        standing.left.clear();
        for (test, report) in tests.iter().zip(made) {
            match report {
                Ok(report) if report.passed => self.passed(synced, applied, &report),
                Ok(report) => failures.push(report.to_string()),
                Err(why) => {
                    troubles.push(format!("smoke test {} cannot be made: {why}", test.name));
                    standing.left.insert(test.name.clone());
                }
            }
        }
        if !troubles.is_empty() {
            standing.complain(format!("after {synced} applied: {}", troubles.join("; ")));
            standing.again = clock.ticks().saturating_add(AGAIN);
        }
        if !failures.is_empty() {
            standing.verdict = Some(self.failed(synced, applied, &failures.join("; ")));
        }
    }

    fn passed(&self, synced: &Synced, applied: &Applied, report: &Report) {
        let revision = &applied.revision;
        tracing::info!("after {synced} applied {revision}: smoke test {report}");
        self.context.metrics.smoked("passed");
    }

    /// Says that tests failed; gives back the words.
    fn failed(&self, synced: &Synced, applied: &Applied, sentence: &str) -> String {
        let revision = &applied.revision;
        let words = format!("after {synced} applied {revision}: smoke test {sentence}");
        tracing::error!(reason = "SmokeFailed", "{words}");
        self.context.metrics.smoked("failed");
        let now = self.context.clock.now();
        let events = &self.context.events;
        events.note(&applied.object, "SmokeFailed", &words, now);
        words
    }

    /// The templates of what an object of Flux applies, of guarded workloads, as they are now.
    fn brought(&self, synced: &Synced) -> BTreeMap<Key, String> {
        let cache = &self.context.cache;
        let guarded = cache.rollouts.all().into_iter().filter_map(|rollout| {
            let target = cache.guarded(&rollout)?;
            let labels = target.object.metadata.labels.as_ref()?;
            let key = (rollout.namespace().unwrap_or_default(), rollout.name_any());
            is_applied_by(synced, labels).then(|| (key, target.revision.hash.clone()))
        });
        guarded.collect()
    }

    /// Ends each run of what the revision brought, where it failed; what cannot be stored is tried again with the
    /// next look.
    async fn end_runs(&self, standing: &mut Standing) {
        let (Some(words), Some(revision)) = (&standing.verdict, &standing.revision) else {
            return;
        };
        let mut stored = true;
        for ((namespace, name), template) in &standing.brought {
            let Some(rollout) = self.context.cache.rollouts.get(namespace, name) else {
                continue;
            };
            if let Some(run) = run_of(&rollout, template) {
                let request = request(run, revision, words);
                stored &= self.ask(&rollout, &request).await;
            }
        }
        if stored {
            standing.verdict = None;
        }
    }

    /// Whether a request is stored.
    async fn ask(&self, rollout: &Rollout, request: &Request) -> bool {
        let asked = ask::ask(&self.client, rollout, request, MANAGER);
        let failed = match self.context.clock.timeout(DEADLINE, asked).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => causes::told(&error),
            Err(_) => format!("no answer within {DEADLINE:?}"),
        };
        let name = rollout.name_any();
        tracing::error!(
            rollout = name,
            "the rollback cannot be stored; trying again: {failed}"
        );
        false
    }
}

/// Whether an object of Flux applies what has these labels.
fn is_applied_by(synced: &Synced, labels: &BTreeMap<String, String>) -> bool {
    let group = match synced.kind {
        SyncedKind::Kustomization => "kustomize",
        SyncedKind::HelmRelease => "helm",
    };
    let label = |key: &str| labels.get(&format!("{group}.toolkit.fluxcd.io/{key}"));
    label("name") == Some(&synced.name) && label("namespace") == Some(&synced.namespace)
}

/// The run of this template, if it goes on.
fn run_of<'a>(rollout: &'a Rollout, template: &str) -> Option<&'a RunStatus> {
    let run = rollout.on_trial();
    run.filter(|run| run.revision.hash == template)
}

/// The end of a run, the same each time that it is asked for.
fn request(run: &RunStatus, revision: &str, words: &str) -> Request {
    let letters = revision.chars().filter(char::is_ascii_alphanumeric);
    let newest: Vec<char> = letters.rev().take(20).collect();
    let short: String = newest.into_iter().rev().collect();
    let id = format!("smoke-{}-{short}", run.id);
    Request {
        revision: Some(run.revision.hash.clone()),
        by: Some("a smoke test".to_owned()),
        why: Some(words.to_owned()),
        ..Request::new(id, Ok(Act::Smoke))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(phase: &str, run: &str) -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"namespace": "shop", "name": "cart"},
            "spec": {"target": {"name": "cart"}},
            "status": {"phase": phase, "run": {
                "id": run, "revision": {"hash": run.split('-').next(), "images": []}, "weight": 5,
                "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "verdict": "Undecided",
            }},
        }))
        .unwrap()
    }

    #[test]
    fn a_failure_ends_only_the_run_of_what_was_tested() {
        let cases = [
            ("Stepping", "aaaa-1", true),
            ("Stepping", "bbbb-2", false),
            ("RollingBack", "aaaa-1", false),
        ];
        for (phase, run, ends) in cases {
            let rollout = rollout(phase, run);
            assert_eq!(run_of(&rollout, "aaaa").is_some(), ends, "{phase} {run}");
        }
    }

    #[test]
    fn a_run_that_tries_again_is_ended_by_a_request_of_its_own() {
        let id = |run: &str| {
            let rollout = rollout("Stepping", run);
            let run = run_of(&rollout, "91bc03aa17").unwrap();
            request(
                run,
                "main@sha1:0123456789abcdef0123456789abcdef01234567",
                "no",
            )
            .id
        };
        let first = id("91bc03aa17-1767225600");
        assert_eq!(first, "smoke-91bc03aa17-1767225600-456789abcdef01234567");
        assert_ne!(id("91bc03aa17-1767229999"), first);
        assert!(first.len() <= 63, "{first}");
    }

    #[test]
    fn what_an_object_applies_says_so() {
        let synced = |kind| Synced {
            kind,
            namespace: "flux-system".to_owned(),
            name: "apps".to_owned(),
        };
        let labels = BTreeMap::from([
            (
                "kustomize.toolkit.fluxcd.io/name".to_owned(),
                "apps".to_owned(),
            ),
            (
                "kustomize.toolkit.fluxcd.io/namespace".to_owned(),
                "flux-system".to_owned(),
            ),
        ]);
        assert!(is_applied_by(&synced(SyncedKind::Kustomization), &labels));
        assert!(!is_applied_by(&synced(SyncedKind::HelmRelease), &labels));
        assert!(!is_applied_by(
            &synced(SyncedKind::Kustomization),
            &BTreeMap::new()
        ));
    }
}

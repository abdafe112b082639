//! The remedy in Git: what a Rollout's rollback leaves undone as long as the commit that caused it
//! stays on the branch.
//!
//! It goes beside the passes and never holds them up: traffic and template are back before Git
//! is looked at. What is done is written to `status.git` of the Rollout, each step when it is
//! done, so that a restart goes on behind it; a commit that was pushed just before a crash is
//! found by its trailer.
//!
//! Guarantees: only a daemon that leads begins anything; one remedy at a time for a Rollout and for a repository;
//! nothing is asked of anybody while nothing is due; what failed for now is tried again, ever more seldom.
//!
//! * *When*: `due`, by the `schedule`, in `turns` on each repository, with the same `means`.
//! * *Where*: `source` leads from the workload to the repository, `view` says what a tree there deploys, `own` and `others` whose it is.
//! * *What*: `undo`, and `pull` where people merge it; `automation`, `policies` and `exclude` so that the bad tag does not come again.
//! * *Words*: `told`, an `error` for what was not done for now, and `status.git` as the `status` has it; `author` for who wrote what is tried.
//!
//! Not here: what is due (`due`), how commits are undone (`crate::git`).

mod author;
mod automation;
mod due;
mod error;
mod exclude;
mod means;
mod others;
mod own;
mod policies;
mod pull;
mod schedule;
mod source;
mod status;
mod told;
mod turns;
mod undo;
mod view;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

pub use author::Authors;
pub use means::Means;

use super::context::{Access, Context};
use super::leader::Role;
use super::publish;
use super::queue::Key;
use super::traced;
use crate::causes;
use crate::clock::elapsed;
use crate::kubernetes::crd::{GitPoint, GitRemedy, GitStatus, Rollout, RolloutStatus};
use crate::kubernetes::events::reference;
use crate::kubernetes::flux;
use crate::rollout::reason::Reason;
use crate::rollout::remedy::RemedyOutcome;
use crate::rollout::state::PhaseName;
use due::{Due, due, due_without_commits, is_back, pull_wait, wanted};
use error::Error;
use schedule::Schedule;
use source::{By, Commits, Deployed, Sources, Workload, release};
use status::{patch, point, still_suspending, without};
use turns::{Held, Turns};

/// Time between two looks at what is due.
const EVERY: Duration = Duration::from_secs(1);

#[allow(missing_debug_implementations)] // kube's Client has none
/// Does what is due: what asks only the cluster one Rollout after the other, what asks servers of Git beside it.
pub struct Remedies {
    context: Context,
    writes: Client,
    sources: Sources,
    means: Means,
    role: watch::Receiver<Role>,
    turns: Turns,
}

/// What is to be done for a Rollout.
struct Step {
    rollout: Arc<Rollout>,
    key: Key,
    by: By,
    due: Due,
    now: Timestamp,
}

/// What is to be done for a Rollout, with what is known of it when that begins.
struct Case<'a> {
    rollout: &'a Rollout,
    /// What applies it; an Application by the name that was found.
    by: By,
    workload: Workload,
    git: GitStatus,
    now: Timestamp,
}

/// What became of a step.
struct Done {
    step: Step,
    result: Result<(), Error>,
}

impl Remedies {
    /// Nothing is looked at yet.
    pub fn new(
        context: Context,
        access: &Access,
        means: Means,
        role: watch::Receiver<Role>,
    ) -> Self {
        Self {
            context,
            sources: Sources::new(access),
            writes: access.writes.clone(),
            means,
            role,
            turns: Turns::default(),
        }
    }

    /// Looks for ever.
    pub async fn keep_up(self) {
        let this = Arc::new(self);
        let (mut schedule, mut tasks) = (Schedule::default(), JoinSet::new());
        loop {
            this.context.clock.sleep(EVERY).await;
            while let Some(ended) = tasks.try_join_next_with_id() {
                this.ended(ended, &mut schedule);
            }
            if !this.role.borrow().leads() {
                schedule.forget();
                continue;
            }
            for rollout in this.context.cache.rollouts.all_where(|head| head.git) {
                let Some(step) = this.step_for(rollout, &mut schedule) else {
                    continue;
                };
                if step.due.asks_git() {
                    let (key, doer) = (step.key.clone(), this.clone());
                    let task = tasks.spawn(async move { doer.done(step).await });
                    schedule.begun(task.id(), key);
                } else {
                    let done = this.done(step).await;
                    this.note(done, &mut schedule);
                }
            }
        }
    }

    fn ended(&self, ended: Result<(Id, Done), JoinError>, schedule: &mut Schedule) {
        match ended {
            Ok((task, done)) => {
                schedule.ended(task);
                self.note(done, schedule);
            }
            Err(error) => {
                if let Some(key) = schedule.ended(error.id()) {
                    tracing::error!(rollout = ?key, "the work on a remedy ended abnormally: {error}");
                    let now = self.context.clock.ticks();
                    schedule.failed(key, &error.to_string(), None, now);
                }
            }
        }
    }

    /// What is due for one Rollout, unless that goes on or failed a moment ago.
    fn step_for(&self, rollout: Arc<Rollout>, schedule: &mut Schedule) -> Option<Step> {
        let (now, ticks) = (self.context.clock.now(), self.context.clock.ticks());
        let by = wanted(&rollout)?;
        let status = rollout.status.as_ref()?;
        let due = match by {
            By::InputProvider(_) => due_without_commits(status),
            By::Kustomization(_) | By::Application(_) => due(status, now),
        };
        let key = (rollout.namespace().unwrap_or_default(), rollout.name_any());
        if due == Due::Nothing || !schedule.may(&key, ticks) {
            return None;
        }
        if let Some(since) = due.seldom()
            && !schedule.look(&key, pull_wait(elapsed(since, now)), ticks)
        {
            return None;
        }
        Some(Step {
            rollout,
            key,
            by,
            due,
            now,
        })
    }

    /// Does it.
    async fn done(&self, step: Step) -> Done {
        let result = self.tried(&step).await;
        if let Due::Undo { bad, .. } = &step.due
            && let Some(run) = &bad.run
        {
            let of = traced::Of {
                namespace: &step.key.0,
                rollout: &step.key.1,
                run,
            };
            let error = result.as_ref().err().map(|error| causes::told(error));
            traced::remedied(&self.context, of, step.now, error);
        }
        Done { step, result }
    }

    async fn tried(&self, step: &Step) -> Result<(), Error> {
        let case = self.case(step)?;
        let status = case.rollout.status.as_ref();
        let over = status.and_then(|status| step.due.of_a_run_that_is_over(status));
        match (self.step(&case, step.due.clone()).await, over) {
            // What the Rollout names applies something else: that is not mended by trying again.
            (Err(Error::Flux(error @ flux::Error::Foreign { .. })), Some(run)) => {
                let why = causes::told(&error);
                let remedy = GitRemedy::none(run, RemedyOutcome::NotReverted, &why, case.now);
                self.conclude(&case, case.git.clone(), remedy).await
            }
            (tried, _) => tried,
        }
    }

    fn case<'a>(&self, step: &'a Step) -> Result<Case<'a>, Error> {
        let (rollout, cache) = (&*step.rollout, &self.context.cache);
        let status = rollout.status.as_ref();
        let git = status.and_then(|status| status.git.clone());
        Ok(Case {
            rollout,
            by: Sources::tracked(cache, rollout, &step.by)?,
            workload: Workload::of(cache, rollout),
            git: git.unwrap_or_default(),
            now: step.now,
        })
    }

    /// Notes when it is tried again, and tells what lasts.
    fn note(&self, Done { step, result }: Done, schedule: &mut Schedule) {
        let why = result.as_ref().err().map(|error| causes::told(error));
        let (Err(error), Some(why)) = (result, why) else {
            schedule.done(&step.key);
            return;
        };
        let ticks = self.context.clock.ticks();
        if schedule.failed(step.key, &why, error.wait(), ticks) {
            let reason = [Reason::GitWaits { why }];
            let about = [reference(step.rollout.as_ref())];
            publish::tell(&self.context, &about, "", &reason, self.context.clock.now());
        }
    }

    async fn step(&self, case: &Case<'_>, due: Due) -> Result<(), Error> {
        let Case { by, now, .. } = case;
        let git = case.git.clone();
        match due {
            Due::Nothing => Ok(()),
            Due::Keep(good) => {
                let before = git.good.filter(|old| old.revision != good.revision);
                let (good, before) = (Some(good), before.or(git.before));
                let git = GitStatus {
                    good,
                    before,
                    bad: git.bad,
                    remedy: git.remedy,
                };
                self.write(case, &git).await
            }
            Due::AskGood(revision) => {
                let commit = self.commits(case).await?.applied;
                let good = Some(point(by, commit, None, revision)?);
                self.write(case, &GitStatus { good, ..git }).await
            }
            Due::AskBad { run, revision } => {
                let commit = self.commits(case).await?.attempted;
                let bad = Some(point(by, commit, Some(run), revision)?);
                self.write(case, &GitStatus { bad, ..git }).await
            }
            Due::Give { run, why } => {
                let remedy = GitRemedy::none(&run, RemedyOutcome::NotReverted, why, *now);
                self.conclude(case, git, remedy).await
            }
            Due::Undo { good, bad } => {
                let (remedy, let_go) = self.undo(case, &good, &bad).await?;
                self.conclude(case, without(git, &let_go), remedy).await
            }
            Due::AskPull(pull, remedy) => self.await_merged(case, &pull, remedy).await,
            Due::Exclude { run } => self.exclude(case, &run).await,
            Due::Lift(remedy) => self.lift(case, remedy, "a newer template has passed").await,
            Due::AskPolicies(remedy) => self.await_policies(case, remedy).await,
            Due::AskApplied(remedy) => self.await_applied(case, remedy).await,
        }
    }

    /// The commits that what applies the workload knows of now.
    async fn commits(&self, case: &Case<'_>) -> Result<Commits, Error> {
        let (by, workload) = (&case.by, &case.workload);
        Ok(self.sources.commits(by, workload, case.now).await?)
    }

    /// Waits for the turn at a repository.
    async fn turn(&self, deployed: &Deployed) -> Result<Held, Error> {
        let held = self.turns.at(&deployed.repository.url).await;
        // That may have been minutes.
        if self.role.borrow().leads() {
            Ok(held)
        } else {
            Err(Error::Deposed)
        }
    }

    /// Takes the commits back; what cannot be done by trying again is an outcome too. Beside it the image
    /// automation that was let go at once.
    async fn undo(
        &self,
        case: &Case<'_>,
        good: &GitPoint,
        bad: &GitPoint,
    ) -> Result<(GitRemedy, Vec<String>), Error> {
        let Case {
            rollout, by, now, ..
        } = case;
        let run = bad.run.clone().unwrap_or_default();
        let deployed = self.sources.deployed(by, &case.workload).await?;
        let _turn = self.turn(&deployed).await?;
        let when = (self.means.local, *now);
        let job = undo::Job::new(rollout, &deployed, (good, bad), when);
        let suspended = self.suspend_automations(rollout, &run, &deployed).await;
        self.noted(case, &suspended).await?;
        let means = self.means.clone();
        let runtime = tokio::runtime::Handle::current();
        let done = match job {
            Ok(job) => {
                let job = job.of_release(release(&self.context.cache, rollout));
                let job = job.excluding(self.failed_tags(rollout));
                tokio::task::spawn_blocking(move || job.done(&means, &runtime)).await?
            }
            Err(error) => Err(error),
        };
        let remedy = match done {
            Ok(done) => {
                if done.outcome() == Some(RemedyOutcome::Reverted) {
                    self.sources.reconcile_now(by, &deployed, *now).await?;
                }
                GitRemedy { run, ..done }
            }
            Err(error) if error.may_pass() => return Err(error.into()),
            Err(error) => {
                let why = causes::told(&error);
                GitRemedy::none(&run, RemedyOutcome::NotReverted, &why, *now)
            }
        };
        self.with_suspended(rollout, remedy, suspended).await
    }

    /// Writes down what the remedy came to beside the rest of `git`, and tells it.
    async fn conclude(
        &self,
        case: &Case<'_>,
        git: GitStatus,
        remedy: GitRemedy,
    ) -> Result<(), Error> {
        let (run, sentence) = (remedy.run.clone(), remedy.message.clone());
        let reason = match remedy.outcome() {
            Some(RemedyOutcome::NotReverted) => Reason::GitNotReverted { why: sentence },
            Some(RemedyOutcome::PullRequested) => Reason::GitProposed { sentence },
            Some(
                outcome @ (RemedyOutcome::Reverted
                | RemedyOutcome::Excluded
                | RemedyOutcome::Restored
                | RemedyOutcome::Superseded
                | RemedyOutcome::Suspended),
            ) => Reason::GitReverted { outcome, sentence },
            // It was made a moment ago, of one of these.
            None => return Err(Error::NoOutcome(remedy.outcome)),
        };
        let remedy = Some(still_suspending(remedy, git.remedy.as_ref()));
        self.write(case, &GitStatus { remedy, ..git }).await?;
        self.tell(case, &run, reason);
        Ok(())
    }

    /// Flux applies our commit, or a later one on top of it, when it is healthy.
    async fn await_applied(&self, case: &Case<'_>, remedy: GitRemedy) -> Result<(), Error> {
        let applied = self.commits(case).await?.applied;
        let (status, git, now) = (case.rollout.status.as_ref(), case.git.clone(), case.now);
        let before =
            [&git.good, &git.bad].map(|point| point.as_ref().map(|point| point.commit.clone()));
        if applied.is_none() || before.contains(&applied) {
            return Ok(());
        }
        // While a pull request was open, other commits may have been applied.
        let phase = status.and_then(RolloutStatus::phase_name);
        let on_stable = phase == Some(PhaseName::Idle);
        if remedy.pull_request.is_some() && applied != remedy.commit && !on_stable {
            return Ok(());
        }
        let merged = remedy.pull_request.as_ref().map(|pull| pull.since.0);
        let took = elapsed(merged.unwrap_or(remedy.at.0), now);
        let run = remedy.run.clone();
        let took = humantime::format_duration(Duration::from_secs(took.as_secs())).to_string();
        let remedy = Some(GitRemedy {
            applied: Some(Time(now)),
            ..remedy
        });
        // After a person went back, that is where stable comes from.
        let status = status.filter(|status| is_back(status));
        let stable = status.and_then(|status| status.stable.as_ref());
        let back = stable.zip(applied).map(|(stable, commit)| GitPoint {
            commit,
            revision: stable.hash.clone(),
            run: None,
            authors: None,
        });
        let good = back.or(git.good);
        let git = GitStatus {
            good,
            remedy,
            before: git.before,
            bad: git.bad,
        };
        self.write(case, &git).await?;
        self.tell(case, &run, Reason::GitApplied { took });
        Ok(())
    }

    /// Tells what came of it.
    fn tell(&self, case: &Case<'_>, run: &str, reason: Reason) {
        let about = [reference(case.rollout)];
        publish::tell(&self.context, &about, run, &[reason], case.now);
    }

    /// Writes down how the remedy stands.
    async fn keep(&self, case: &Case<'_>, remedy: GitRemedy) -> Result<(), Error> {
        let remedy = Some(remedy);
        let git = case.git.clone();
        self.write(case, &GitStatus { remedy, ..git }).await
    }

    async fn write(&self, case: &Case<'_>, git: &GitStatus) -> Result<(), Error> {
        let operations = json!([
            {"op": "test", "path": "/metadata/uid", "value": case.rollout.uid()},
            {"op": "add", "path": "/status/git", "value": git},
        ]);
        patch(&self.writes, case.rollout, operations).await
    }
}

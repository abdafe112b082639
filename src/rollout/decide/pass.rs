//! One pass in the making: what it may look at, and what it has decided so far.
//!
//! The phases' files write their rules with these words. Not here: any rule about what
//! follows from what.

use std::time::Duration;

use jiff::Timestamp;

use super::Decision;
use crate::clock::elapsed;
use crate::rollout::action::Action;
use crate::rollout::bound::Bound;
use crate::rollout::evidence::{Evidence, Question, RuleReport};
use crate::rollout::observation::{Observation, Target};
use crate::rollout::plan::{Plan, Route};
use crate::rollout::reason::{Cause, HeldWhy, Outcome, Reason};
use crate::rollout::revision::Revision;
use crate::rollout::state::{Mending, Phase, Rollback, Run, State};
use crate::rollout::terms::Terms;

/// A run that does not stand still is looked at this often, whatever comes: what is looked at less often counts as
/// not watched.
const WATCHED_EVERY: Duration = Duration::from_secs(20);

/// A pass in the making.
pub(super) struct Pass<'a> {
    pub terms: &'a Terms,
    pub plan: &'a Plan,
    pub seen: &'a Observation,
    pub state: State,
    actions: Vec<Action>,
    reasons: Vec<Reason>,
    wake_at: Option<Timestamp>,
}

impl<'a> Pass<'a> {
    pub fn new(terms: &'a Terms, state: &State, seen: &'a Observation) -> Self {
        let mut state = state.clone();
        state.phase.set_back(seen.now);
        state.resumed = state.resumed.map(|at| at.min(seen.now));
        if let Some(evidence) = &mut state.evidence {
            evidence.set_back(seen.now, terms.tuning.stale_after);
        }
        Self {
            terms,
            plan: &terms.plan,
            seen,
            state,
            actions: Vec::new(),
            reasons: Vec::new(),
            wake_at: None,
        }
    }

    /// Folds the new samples into the run's evidence.
    pub fn take_samples(&mut self) {
        let phase = &self.state.phase;
        let rolls = matches!(phase, Phase::Promoting { run, .. } if run.rolls);
        let after = rolls || matches!(phase, Phase::Baking(_));
        let routed = self.state.phase.run().is_some_and(|run| run.peak > 0);
        let unready = self
            .state
            .phase
            .run()
            .is_some_and(|run| self.is_unready(run));
        let asked = self.terms.asked(&self.state);
        let unwatched = self.unwatched();
        let wanted = self.target().is_some_and(|target| target.replicas > 0);
        let ready = wanted && self.stable_ready() > 0;
        let Some(evidence) = &mut self.state.evidence else {
            return;
        };
        if !after {
            evidence.follow(&asked);
        }
        if unready {
            evidence.weight_off();
        }
        evidence.stable_seen(ready, self.seen.now);
        let before = evidence.share().ok;
        for sample in &self.seen.metrics.samples {
            if after {
                evidence.observe_after(&asked, sample);
            } else if routed {
                evidence.observe(&asked, sample);
            } else if unwatched.is_none_or(|(from, to)| sample.to <= from || sample.from >= to) {
                evidence.baseline(&asked, sample);
            }
        }
        let share = evidence.share();
        // While it rolls natively, the arms' pods are not those of a step.
        if before != share.ok && matches!(self.state.phase, Phase::Stepping(_)) {
            let sentence = share.sentence();
            self.tell(if before {
                Reason::ShareWrong { sentence }
            } else {
                Reason::ShareRight { sentence }
            });
        }
        if self.seen.metrics.bookmark.is_some() {
            self.state.bookmark.clone_from(&self.seen.metrics.bookmark);
        }
    }

    /// Whether the canary's share would be answered with errors: where no pod of it is ready, ingress-nginx asks
    /// stable, a Gateway does not. What it answers meanwhile is not the revision's doing.
    pub fn is_unready(&self, run: &Run) -> bool {
        let gateway = matches!(self.plan.route, Route::GatewayApi { .. });
        let ready = self.seen.canary.as_ref().map_or(0, |canary| canary.ready);
        gateway && !run.has_no_canary() && run.weight > 0 && run.peak > 0 && ready == 0
    }

    /// Stable has no ready pod. ingress-nginx answers nothing then, whatever the weight, and the canary gets none, so
    /// that what happens is not taken for its doing. A Gateway goes on to serve the canary's share, which stands.
    pub fn leave_without_stable(&self, run: &mut Run) {
        let gateway = matches!(self.plan.route, Route::GatewayApi { .. });
        if !gateway || self.is_unready(run) {
            run.weight = 0;
            run.weight_since = None;
        }
    }

    /// Of a run that another daemon began: the time up to now, in which it may have died before it
    /// could see that stable had lost its pods. What users got then is not counted as stable's.
    fn unwatched(&self) -> Option<(Timestamp, Timestamp)> {
        let (run, resumed) = (self.state.phase.run()?, self.state.resumed?);
        (run.started < resumed).then_some((run.started, resumed))
    }

    pub fn now(&self) -> Timestamp {
        self.seen.now
    }

    pub fn since(&self, earlier: Timestamp) -> Duration {
        elapsed(earlier, self.now())
    }

    pub fn target(&self) -> Option<&'a Target> {
        self.seen.target.as_ref()
    }

    pub fn act(&mut self, action: Action) {
        if !self.actions.contains(&action) {
            self.actions.push(action);
        }
    }

    pub fn tell(&mut self, reason: Reason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Tells that something is being mended, once until it is.
    pub fn tell_mending(&mut self, what: Mending, broken: bool, reason: Reason) {
        let told = self.state.mending.contains(&what);
        if broken && !told {
            self.state.mending.push(what);
            self.tell(reason);
        } else if !broken && told {
            self.state.mending.retain(|mending| *mending != what);
        }
    }

    /// Asks for another look at `at` at the latest.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |present| present.min(at)));
    }

    /// Whether `wait` has passed since `from`; if not, asks to be woken then.
    pub fn over(&mut self, from: Timestamp, wait: Duration) -> bool {
        if self.since(from) >= wait {
            return true;
        }
        let rest = wait.saturating_sub(self.since(from));
        let at = self.now().checked_add(rest).unwrap_or(Timestamp::MAX);
        self.wake_at(at);
        false
    }

    pub fn reports(&self) -> Vec<RuleReport> {
        self.state
            .evidence
            .as_ref()
            .map(|evidence| evidence.report(&self.terms.asked(&self.state)))
            .unwrap_or_default()
    }

    /// Whether each rule has a sample that is young enough, and nothing is said to be absent. One
    /// from the future, before the clock stepped back, says nothing of the present.
    pub fn fresh(&self) -> bool {
        self.seen.metrics.absent.is_none()
            && self.state.evidence.is_some()
            && self.late_rule().is_none()
    }

    /// The first rule whose newest sample is too old for a weight to rise by it.
    pub fn late_rule(&self) -> Option<String> {
        let evidence = self.state.evidence.as_ref()?;
        let asked = self.terms.asked(&self.state);
        let mut asked = asked.questions.iter();
        let late = asked.find(|question| !self.is_fresh(evidence, question))?;
        Some(late.name.clone())
    }

    /// The newest sample may be as old as the next one takes to come: of two targets that are scraped
    /// each minute, one half after the other, both samples are never a moment old.
    fn is_fresh(&self, evidence: &Evidence, question: &Question) -> bool {
        let apart = question.spacing().max(evidence.spacing(&question.name));
        let stale = self.terms.tuning.stale_after.saturating_add(apart);
        let newest = evidence.newest(&question.name);
        newest.is_some_and(|at| self.since(at).max(elapsed(self.now(), at)) <= stale)
    }

    /// Whether each rule that is asked after the promotion has a sample that is young enough.
    pub fn fresh_after(&self) -> bool {
        let Some(evidence) = &self.state.evidence else {
            return true;
        };
        let asked = self.terms.evidence.questions.iter();
        let mut asked = asked.filter(|question| evidence.asks(&question.name));
        asked.all(|question| self.is_fresh(evidence, question))
    }

    /// Whether `wait` has passed since `from` under somebody's eyes; if not, asks to be woken then. What nobody
    /// watched says nothing of the revision: the daemon was away, the API server was, or the clock was wrong.
    pub fn watched_for(&mut self, from: Timestamp, wait: Duration) -> bool {
        let from = self.state.resumed.map_or(from, |at| from.max(at));
        self.over(from, wait)
    }

    /// The time without a sample, counted from the run's start at the earliest.
    pub fn silence(&self, run: &Run) -> Duration {
        self.since(self.newest(run))
    }

    /// Up to when there are samples; the run's start if there are none yet.
    pub fn newest(&self, run: &Run) -> Timestamp {
        let newest = self.state.evidence.as_ref().and_then(Evidence::until);
        newest.map_or(run.started, |at| at.max(run.started))
    }

    /// Whether samples could have come since this daemon took up the watch.
    pub fn has_looked(&mut self) -> bool {
        let stale = self.terms.tuning.stale_after;
        self.state.resumed.is_none_or(|at| self.over(at, stale))
    }

    /// Ready pods of what serves as stable.
    pub fn stable_ready(&self) -> i32 {
        let serving = self.state.stable.as_ref().and_then(|stable| {
            self.target()
                .and_then(|target| target.serving(stable).map(|s| s.ready))
        });
        serving.unwrap_or(0)
    }

    /// Whether a template is known that can be put back.
    pub fn can_restore(&self, target: &Target, revision: &Revision) -> bool {
        target.serving(revision).is_some() || self.seen.kept.is_stable(revision)
    }

    /// Goes on by putting everything back.
    pub fn roll_back(&mut self, mut run: Run, cause: Cause) -> Phase {
        if cause.outcome() == Outcome::RolledBack {
            self.tell(Reason::RollbackStarted {
                cause: cause.clone(),
            });
        }
        // The last rise may be in force without having been seen yet.
        if run.weight > 0 {
            self.act(Action::LowerWeight { weight: 0 });
        }
        run.weight = 0;
        run.weight_since = None;
        run.suspect = None;
        run.since = self.now();
        Phase::RollingBack {
            rollback: Rollback {
                cause,
                since: self.now(),
                off_since: None,
            },
            run,
        }
    }

    /// Stands still.
    pub fn hold(&mut self, mut run: Run, why: HeldWhy) -> Phase {
        self.tell(Reason::Held { why: why.clone() });
        run.since = self.now();
        Phase::Held { run, why }
    }

    /// A weight that was asked for before the pass came to another one is not wanted any more.
    fn drop_overruled(&mut self) {
        let wanted = self.state.phase.run().map_or(0, |run| run.weight);
        self.actions.retain(
            |action| !matches!(action, Action::EnsureRoute { weight } if *weight != wanted),
        );
    }

    /// Orders the actions and closes the pass.
    pub fn finish(mut self) -> Decision {
        self.drop_overruled();
        let stands = matches!(self.state.phase, Phase::Held { .. });
        if self.state.phase.run().is_some() && !stands {
            self.wake_at(self.now() + WATCHED_EVERY);
        }
        let adopted = self.state.target.is_some();
        self.state.bound = adopted.then(|| Bound::of(self.plan));
        let (first, rest): (Vec<_>, Vec<_>) = self.actions.into_iter().partition(Action::relieves);
        Decision {
            next: self.state,
            actions: first.into_iter().chain(rest).collect(),
            wake_at: self.wake_at,
            reasons: self.reasons,
        }
    }
}

//! A run played on the evidence alone: weights rise, fall and end as `decide` would have it.
//!
//! Samples go through the production path ([`Evidence`]); what follows from its verdicts is the
//! decision's, without what only a cluster has: pods are ready at once, a weight is in force at
//! once, approvals are given at once. A test holds it against `decide` itself.
//!
//! Not here: where samples come from. They are drawn (`traffic`) or read from history.

use jiff::Timestamp;

use crate::clock::elapsed;
use crate::rollout::LEAST_STEP;
use crate::rollout::evidence::{Evidence, RuleReport, Sample, Settings, Verdict};
use crate::rollout::plan::{Plan, UndecidedThen};

/// The suspicion after which a person decides.
const LAST_SUSPICION: u8 = 3;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All steps were passed.
    Promoted,
    /// This rule was worse; or none, and the evidence stayed undecided for too long.
    RolledBack(Option<String>),
    /// A person is asked: the evidence stayed undecided for too long.
    Undecided,
    /// A person is asked: this rule was suspect for the third time.
    Suspect(String),
}

/// The pods that the canary of so many has at a weight.
pub fn canary_pods(pods: u32, weight: u8) -> u32 {
    (pods * u32::from(weight)).div_ceil(100).max(1)
}

/// A run that goes on.
#[derive(Debug, Clone)]
pub struct Play<'a> {
    plan: &'a Plan,
    settings: &'a Settings,
    evidence: Evidence,
    begun: Timestamp,
    since: Timestamp,
    step: usize,
    suspect: bool,
    suspicions: u8,
    /// Pods of the Deployment; 0 if unknown.
    pods: u32,
    /// The highest weight so far.
    peak: u8,
    /// Seconds spent in each step, over all visits.
    pub spent: Vec<f64>,
}

impl<'a> Play<'a> {
    /// The first step begins at `now`; `evidence` has seen what was before. The Deployment has so
    /// many `pods`, 0 if unknown.
    pub fn begin(
        plan: &'a Plan,
        settings: &'a Settings,
        mut evidence: Evidence,
        pods: u32,
        now: Timestamp,
    ) -> Self {
        evidence.set_patience(settings);
        let mut play = Self {
            plan,
            settings,
            evidence,
            begun: now,
            since: now,
            step: 0,
            suspect: false,
            suspicions: 0,
            pods,
            peak: 0,
            spent: vec![0.0; plan.steps.len()],
        };
        play.enter(0, now);
        play
    }

    /// The canary's share of the requests, 0..1.
    pub fn share(&self) -> f64 {
        f64::from(self.weight(self.step)) / 100.0
    }

    /// The present step, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Seconds since the first step began.
    pub fn seconds(&self, now: Timestamp) -> f64 {
        elapsed(self.begun, now).as_secs_f64()
    }

    /// The evidence so far.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn weight(&self, step: usize) -> u8 {
        self.plan.steps.get(step).map_or(100, |step| step.weight)
    }

    fn enter(&mut self, step: usize, now: Timestamp) {
        self.step = step;
        self.since = now;
        let (weight, next) = (self.weight(step), self.weight(step + 1));
        self.evidence
            .weight_changed(self.settings, weight, next, now);
        self.peak = self.peak.max(weight);
        self.evidence
            .pods_seen(canary_pods(self.pods, self.peak), self.pods);
    }

    /// Folds a tick's samples in and acts; the end, if the run has come to it.
    pub fn tick(&mut self, samples: &[Sample], now: Timestamp) -> Option<End> {
        for sample in samples {
            self.evidence.observe(self.settings, sample);
        }
        let before = self.step;
        let since = self.since;
        let verdicts: Vec<Verdict> = self.evidence.verdicts(self.settings).collect();
        let end = self.act(&verdicts, now);
        if (self.step, self.since) != (before, since) || end.is_some() {
            self.spent[before] += elapsed(since, now).as_secs_f64();
        }
        end
    }

    fn act(&mut self, verdicts: &[Verdict], now: Timestamp) -> Option<End> {
        if let Some(rule) = self.named(verdicts, Verdict::Worse) {
            return Some(End::RolledBack(Some(rule)));
        }
        let above_first = self.weight(self.step) > self.weight(0);
        if above_first
            && !self.suspect
            && let Some(rule) = self.named(verdicts, Verdict::Suspect)
        {
            return self.doubt(rule, now);
        }
        if self.passed(verdicts, now) {
            return self.advance(now);
        }
        self.undecided(verdicts, now)
    }

    /// The first rule with this verdict.
    fn named(&self, verdicts: &[Verdict], wanted: Verdict) -> Option<String> {
        let mut pairs = verdicts.iter().zip(&self.settings.questions);
        let found = pairs.find(|(verdict, _)| **verdict == wanted);
        found.map(|(_, question)| question.name.clone())
    }

    /// Back to the first step.
    fn doubt(&mut self, rule: String, now: Timestamp) -> Option<End> {
        self.suspicions += 1;
        self.suspect = true;
        self.enter(0, now);
        (self.suspicions >= LAST_SUSPICION).then_some(End::Suspect(rule))
    }

    fn passed(&self, verdicts: &[Verdict], now: Timestamp) -> bool {
        let hold = self.plan.steps.get(self.step).map(|step| step.hold);
        let hold = hold.unwrap_or_default().max(LEAST_STEP);
        elapsed(self.since, now) >= hold && self.shown(verdicts) && self.evidence.share().ok
    }

    /// A suspicion is over when the promotion test says so, though the exact witness still stands.
    fn shown(&self, verdicts: &[Verdict]) -> bool {
        if self.suspect {
            let reports = self.evidence.report(self.settings);
            return !reports.is_empty() && reports.iter().all(RuleReport::shown_not_worse);
        }
        let not_worse = |verdict: &Verdict| *verdict == Verdict::NotWorse;
        !verdicts.is_empty() && verdicts.iter().all(not_worse)
    }

    fn advance(&mut self, now: Timestamp) -> Option<End> {
        if std::mem::take(&mut self.suspect) {
            self.evidence.forgive();
        }
        if self.step + 1 >= self.plan.steps.len() {
            return Some(End::Promoted);
        }
        self.enter(self.step + 1, now);
        None
    }

    fn undecided(&mut self, verdicts: &[Verdict], now: Timestamp) -> Option<End> {
        let (after, then) = self.plan.analysis.undecided;
        let hold = self.plan.steps.get(self.step).map(|step| step.hold);
        let after = after.max(hold.unwrap_or_default());
        if elapsed(self.since, now) < after {
            return None;
        }
        let calm = verdicts.iter().all(|verdict| *verdict < Verdict::Suspect);
        match then {
            UndecidedThen::Hold => Some(End::Undecided),
            UndecidedThen::Promote if calm => self.advance(now),
            UndecidedThen::Promote => None,
            UndecidedThen::Rollback => Some(End::RolledBack(None)),
        }
    }
}

//! A run's evidence: what all rules have counted, and what it comes to.
//!
//! Guarantees: pure; each sample counts once per rule ([`Evidence::newest`] says from where to read
//! again after a restart); the bound on false rollbacks holds over the whole run, at every look.
//! Assumptions: samples come in the order of time per rule, the processes that serve the traffic
//! merged into one sample by the caller, no increment in two samples.
//! Caveats: a rule that begins during the run ([`Evidence::follow`]) is Undecided until it has evidence.
//!
//! * *In*: `sample`. *Out*: `report`, in a `sentence` by its `words`.
//! * *A rule*: `rule` decides which samples count; below it `counts` holds its kind, one of `errors`, `times`, `events` and `numbers`, with a `goal` beside each. `tail` is one
//!   comparison of theirs.
//! * *Over all rules*: `guard` (the share), `noise` (of pods), `patience` (what can be excluded in time), `after` (against what was before).
//! * `judge` is the same without a daemon.
//!
//! Not here: reading counters (the edges), and what follows from a verdict (the decision).

mod after;
mod counts;
mod errors;
mod events;
mod goal;
mod guard;
pub mod judge;
mod noise;
mod numbers;
mod patience;
mod report;
mod rule;
mod sample;
mod sentence;
mod tail;
mod times;
mod words;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use after::Limit;
pub use events::EventsReport;
pub use goal::GoalReport;
pub use guard::ShareReport;
pub use noise::Pods;
pub use numbers::NumbersReport;
pub use patience::Patience;
pub use report::{ArmReport, RuleReport, Verdict};
pub use sample::{ArmCounts, Bounds, Counted, Kind, Max, Question, Sample, Settings};

use crate::clock::elapsed;

use guard::Guard;
use rule::{InForce, Rule, settled};

/// Samples that are further apart are no better than none.
const LONGEST_SPACING: Duration = Duration::from_secs(120);

/// The evidence of one run. Small enough to be stored in a status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    rules: Vec<Rule>,
    step: Option<Step>,
    guard: Guard,
    blast: f64,
    /// Whether `blast` was planned from traffic that was seen.
    planned: bool,
    /// Ready pods of both arms; unknown in older checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pods: Option<Pods>,
    /// Whether stable was seen without a ready pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absence: Option<Absence>,
}

/// Stable without a ready pod: what users get then is not what it is like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Absence {
    /// It has none.
    Lasts,
    /// It was seen with one again at this moment.
    Ended(Timestamp),
}

/// The weight in force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    weight: u8,
    next: u8,
    at: Timestamp,
    /// The promotion test's margin in this step, before a rule's leniency.
    margin: f64,
    /// Since when the canary has had a weight without a break; `at` in older checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<Timestamp>,
}

impl Step {
    /// Whether a sample is of this step's time, after the weight had settled. The number that a
    /// `value` holds to bounds may look back on the steps before: what it is outside for is the canary's
    /// doing all the same, and what happened as the weight rose would be in no other number. But never on
    /// what was before the canary's first requests, which may be another canary's.
    fn counts(&self, settings: &Settings, question: &Question, sample: &Sample) -> bool {
        let own = settled(settings, self.at);
        let in_time = match question.kind {
            Kind::Value { every, .. } => {
                let first = settled(settings, self.first.unwrap_or(self.at));
                sample.from >= first && elapsed(own, sample.to) >= every
            }
            Kind::Proportion
            | Kind::Latency { .. }
            | Kind::Events
            | Kind::Compare { .. }
            | Kind::Load { .. } => sample.from >= own,
        };
        self.weight > 0 && in_time
    }

    fn share(&self) -> f64 {
        f64::from(self.weight) / 100.0
    }
}

impl Evidence {
    /// No evidence yet; the blast radius is the finest until [`Evidence::set_patience`].
    pub fn begin(settings: &Settings) -> Self {
        Self {
            rules: settings.questions.iter().map(Rule::begin).collect(),
            step: None,
            guard: Guard::default(),
            blast: settings.blast,
            planned: false,
            pods: None,
            absence: None,
        }
    }

    /// Follows the questions of `settings`, should they have been edited: a rule that is new or asks
    /// something else begins, one that is gone is forgotten. What did not change stays, and so does
    /// what is not known at the moment.
    pub fn follow(&mut self, settings: &Settings) {
        self.rules
            .retain(|rule| settings.question(&rule.name).is_some());
        for question in &settings.questions {
            match self
                .rules
                .iter_mut()
                .find(|rule| rule.name == question.name)
            {
                Some(_) if !question.is_asked() => {}
                Some(rule) if rule.asks(question) => rule.is_of(question),
                Some(rule) => *rule = Rule::begin(question),
                None => self.rules.push(Rule::begin(question)),
            }
        }
    }

    /// Takes a sample from before the run, or of weight 0: it says how much traffic there is and
    /// how stable behaves, and tests nothing. One from a time without stable's pods is dropped.
    pub fn baseline(&mut self, settings: &Settings, sample: &Sample) {
        let absent = self.absence.is_some_and(|absence| match absence {
            Absence::Lasts => true,
            Absence::Ended(at) => sample.from < settled(settings, at),
        });
        if absent {
            return;
        }
        if let Some(rule) = self.rule_for(sample) {
            let sample = rule.meet(sample);
            rule.note(settings, &sample);
        }
    }

    /// Fixes the blast radius from the traffic and rates seen so far, for the steps to come.
    ///
    /// Without traffic it stays the finest; call again once some was seen. Then the present step
    /// too gets the new radius, and its promotion tests begin anew.
    pub fn set_patience(&mut self, settings: &Settings) -> Patience {
        let patience = Patience::plan(settings, &self.rules);
        let first = !self.planned && patience.rps > 0.0;
        self.planned |= first;
        self.blast = patience.blast;
        if let (true, Some(step)) = (first, &mut self.step) {
            step.margin = margin(self.blast, step.weight, step.next);
            for rule in &mut self.rules {
                rule.restart_promotion();
            }
        }
        patience
    }

    /// A weight was seen to be in force since `at`; `next` is the weight after this step (100
    /// after the last). The settling time begins, promotion tests and the share guard begin anew.
    /// Telling the same twice changes nothing.
    pub fn weight_changed(&mut self, settings: &Settings, weight: u8, next: u8, at: Timestamp) {
        let same = |step: &Step| (step.weight, step.next, step.at) == (weight, next, at);
        if self.step.as_ref().is_some_and(same) {
            return;
        }
        let margin = margin(self.blast.max(settings.blast), weight, next);
        let before = self.step.filter(|before| before.weight > 0);
        let first = before.map(|before| before.first.unwrap_or(before.at));
        self.step = Some(Step {
            weight,
            next,
            at,
            margin,
            first,
        });
        self.guard = Guard::default();
        for rule in &mut self.rules {
            rule.weight_changed();
        }
    }

    /// Whether stable has a ready pod at this moment.
    pub fn stable_seen(&mut self, ready: bool, now: Timestamp) {
        if !ready {
            self.absence = Some(Absence::Lasts);
        } else if self.absence == Some(Absence::Lasts) {
            self.absence = Some(Absence::Ended(now));
        }
    }

    /// What is to be kept at once, since a sample may tell of that time after a restart.
    pub fn absence(&self) -> Option<Absence> {
        self.absence
    }

    /// The pods that both arms have now. From then on Worse takes more where noise belongs to
    /// pods and lasts, or where one pod's way could be the whole effect; an arm without pods is
    /// not told of.
    pub fn pods_seen(&mut self, canary: u32, stable: u32) {
        if canary > 0 && stable > 0 {
            self.pods = Some(Pods { canary, stable });
        }
    }

    /// Folds a sample in. One that was counted, or that is no sound count of its rule, is
    /// dropped; one that begins before the weight had settled only tells how stable behaves.
    pub fn observe(&mut self, settings: &Settings, sample: &Sample) {
        let (step, wrong) = (self.step, self.guard.is_wrong());
        let Some(rule) = self.rule_for(sample) else {
            return;
        };
        let sample = &*rule.meet(sample);
        let question = settings.question(&sample.rule);
        let question = question.filter(|question| question.is_asked());
        let counts = |(step, question): &(Step, &Question)| step.counts(settings, question, sample);
        let Some((step, question)) = step.zip(question).filter(counts) else {
            rule.note(settings, sample);
            return;
        };
        let force = InForce {
            w: step.share(),
            margin: step.margin,
            share_wrong: wrong,
        };
        rule.test(settings, question, sample, force);
        rule.note(settings, sample);
        // Without a baseline there is no share to agree with.
        let alone = rule.is_alone(step.share());
        if !alone
            && settings
                .leading()
                .is_some_and(|leading| leading.name == sample.rule)
        {
            self.guard.observe(step.share(), sample);
        }
    }

    /// The suspicion is over: the exact witnesses go back to their start. They only fall.
    pub fn forgive(&mut self) {
        for rule in &mut self.rules {
            rule.forgive();
        }
    }

    /// The time up to which every rule has been read; `None` if one has not begun.
    pub fn until(&self) -> Option<Timestamp> {
        let newest = self.rules.iter().map(|rule| rule.newest);
        newest.min().flatten()
    }

    /// The canary gets nothing for a while, whatever the step: nothing is counted until a weight is in force.
    pub fn weight_off(&mut self) {
        self.step = None;
        self.guard = Guard::default();
    }

    /// The newest time read for this rule.
    pub fn newest(&self, rule: &str) -> Option<Timestamp> {
        let rule = self.rules.iter().find(|candidate| candidate.name == rule)?;
        rule.newest
    }

    /// The time between this rule's newest two samples, at most two minutes.
    pub fn spacing(&self, rule: &str) -> Duration {
        let rule = self.rules.iter().find(|candidate| candidate.name == rule);
        let apart = rule.map_or(0.0, |rule| rule.apart);
        Duration::try_from_secs_f64(apart).map_or(LONGEST_SPACING, |it| it.min(LONGEST_SPACING))
    }

    /// The clock was set back to `now`: what lies after it moves there. Rules that were read far
    /// beyond it are as if read for the last time `stale` ago: nothing of theirs is fresh, and
    /// what comes now counts.
    pub fn set_back(&mut self, now: Timestamp, stale: Duration) {
        if let Some(step) = &mut self.step {
            step.at = step.at.min(now);
            step.first = step.first.map(|first| first.min(now));
        }
        if let Some(Absence::Ended(at)) = &mut self.absence {
            *at = (*at).min(now);
        }
        self.guard.set_back(now);
        for rule in &mut self.rules {
            rule.set_back(now, stale);
        }
    }

    /// What each rule's evidence says, in the order of the questions.
    pub fn report(&self, settings: &Settings) -> Vec<RuleReport> {
        let report = |question| self.report_of(settings, question);
        settings.questions.iter().map(report).collect()
    }

    fn report_of(&self, settings: &Settings, question: &Question) -> RuleReport {
        let (margin, w) = self
            .step
            .map_or((0.0, 0.0), |step| (step.margin, step.share()));
        let fresh = Rule::begin(question);
        let rule = self.known(question).unwrap_or(&fresh);
        let mut report = RuleReport::of(settings, question, rule, self.blast, margin, w);
        report.discount(rule.log_lasting(w, self.pods), rule.counted);
        report
    }

    /// What is counted for a question; nothing where its rule is not known now.
    fn known(&self, question: &Question) -> Option<&Rule> {
        let mut rules = self.rules.iter().filter(|_| question.is_asked());
        rules.find(|rule| rule.name == question.name)
    }

    /// The verdicts of [`Evidence::report`] alone, in the same order; far cheaper.
    pub fn verdicts(&self, settings: &Settings) -> impl Iterator<Item = Verdict> {
        let verdict = move |question: &Question| match self
            .known(question)
            .and_then(|rule| rule.calm_verdict(settings, question))
        {
            Some(verdict) => verdict,
            None => self.report_of(settings, question).verdict,
        };
        settings.questions.iter().map(verdict)
    }

    /// How the observed share of the canary compares with the configured one.
    pub fn share(&self) -> ShareReport {
        self.guard
            .report(self.step.map_or(0.0, |step| step.share()))
    }

    fn rule_for(&mut self, sample: &Sample) -> Option<&mut Rule> {
        let named = |rule: &&mut Rule| rule.name == sample.rule;
        self.rules
            .iter_mut()
            .find(named)
            .filter(|rule| rule.takes(sample))
    }
}

/// The blast radius in terms of the canary's requests, once the next weight is in force.
fn margin(blast: f64, weight: u8, next: u8) -> f64 {
    blast * 100.0 / f64::from(next.max(weight).clamp(1, 100))
}

#[cfg(test)]
mod tests;

//! Evidence of one rule: which samples count, where blocks end, and the rule's kind below it.
//!
//! A sample counts once (later than the newest one), and only after the settling time of the
//! present weight. Blocks are closed by sample time. Not here: what each kind of rule makes of it (`counts`).

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::elapsed;
use crate::stats::{Arms, Margin};

use super::counts::Counts;
use super::goal::Goal;
use super::noise::{Noise, Pods};
use super::report::Verdict;
use super::sample::{ArmCounts, Counted, Kind, Question, Sample, Settings};
use super::times::Terms;

/// A block may be this much shorter than configured: scrapes do not come to the millisecond.
const NEARLY: f64 = 0.9;
/// What stable is like takes so many seconds at least to see,
const LEAST_SECONDS: f64 = 60.0;
/// so many requests,
const ENOUGH_REQUESTS: f64 = 1000.0;
/// or so many seconds, however few requests there are.
const LONG_SECONDS: f64 = 300.0;

/// The canary's share of synthetic requests.
pub(super) const HALF: f64 = 0.5;

/// State of one rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) name: String,
    /// What is tolerated, as it was when the rule began; unknown in older checkpoints.
    #[serde(default)]
    margin: Option<(f64, f64)>,
    /// What it counts; unknown in older checkpoints.
    #[serde(default)]
    of: Counted,
    pub(super) newest: Option<Timestamp>,
    /// Seconds of the newest sample that none before it told of.
    #[serde(default)]
    pub(super) apart: f64,
    /// Seconds and requests of all samples, for the traffic's rate.
    pub(super) seconds: f64,
    requests: f64,
    /// Start of the open block.
    open_since: Option<Timestamp>,
    /// Whether a sample was counted in this step.
    pub(super) counted: bool,
    pub(super) counts: Counts,
    /// The fixed limit, if the rule has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) goal: Option<Goal>,
    /// Noise that belongs to pods; unknown in older checkpoints.
    #[serde(default)]
    noise: Noise,
    /// Latency rules: the boundary (index) above which the noise is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noise_cut: Option<usize>,
    /// These are synthetic requests, as many of each arm: the weight says nothing of their share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    load: bool,
}

/// The weight in force, as the rules need it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct InForce {
    /// Configured canary share.
    pub(super) w: f64,
    /// The promotion test's margin before the rule's leniency.
    pub(super) margin: f64,
    /// Whether the share guard finds the share wrong.
    pub(super) share_wrong: bool,
}

impl Rule {
    pub(super) fn begin(question: &Question) -> Self {
        Self {
            name: question.name.clone(),
            margin: Some((question.ratio, question.absolute)),
            of: question.of,
            newest: None,
            apart: 0.0,
            seconds: 0.0,
            requests: 0.0,
            open_since: None,
            counted: false,
            counts: Counts::begin(question),
            goal: question.max.map(Goal::begin),
            noise: Noise::default(),
            noise_cut: None,
            load: matches!(question.kind, Kind::Load { .. }),
        }
    }

    /// The canary's share of what this rule counts, where `w` is that of the traffic.
    fn share(&self, w: f64) -> f64 {
        if self.load { HALF } else { w }
    }

    /// Whether it counts synthetic requests.
    pub(super) fn is_load(&self) -> bool {
        self.load
    }

    /// Whether what was counted answers this question.
    pub(super) fn asks(&self, question: &Question) -> bool {
        // JSON may have rounded them.
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let same =
            |(ratio, absolute)| near(ratio, question.ratio) && near(absolute, question.absolute);
        let goal = match (&self.goal, question.max) {
            (Some(goal), Some(max)) => goal.is_of(max),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let kind = self.counts.answers(&question.kind, self.load);
        kind && goal && self.of.agrees(question.of) && self.margin.is_none_or(same)
    }

    /// It counts what this question asks of.
    pub(super) fn is_of(&mut self, question: &Question) {
        self.of = question.of;
    }

    /// Whether the sample is new, sound and of this rule's kind.
    pub(super) fn takes(&self, sample: &Sample) -> bool {
        let kind = self.counts.takes(sample);
        kind && self.is_new(sample) && sample.canary.is_sound() && sample.stable.is_sound()
    }

    /// Brings the sample, and what was counted, to the boundaries that both have.
    pub(super) fn meet<'s>(&mut self, sample: &'s Sample) -> Cow<'s, Sample> {
        let (Counts::Times(times), ArmCounts::Buckets { boundaries, .. }) =
            (&mut self.counts, &sample.canary)
        else {
            return Cow::Borrowed(sample);
        };
        if times.fits(boundaries) {
            return Cow::Borrowed(sample);
        }
        let cut = self.noise_cut.and_then(|cut| times.boundaries.get(cut));
        let cut = cut.copied();
        times.meet(boundaries);
        self.noise_cut = times.boundaries.iter().position(|le| Some(*le) == cut);
        if self.noise_cut.is_none() {
            // What was learned of how long bad times last stands for a boundary near by.
            self.noise.drop_block();
        }
        Cow::Owned(sample.at(&times.boundaries))
    }

    /// New: ends after the newest one. It may begin before that: the caller merges processes that
    /// are scraped at different moments, or of which one was late, and counts no increment twice.
    fn is_new(&self, sample: &Sample) -> bool {
        sample.to > sample.from && self.newest.is_none_or(|newest| sample.to > newest)
    }

    /// Since when the sample tells of time that none before it did.
    fn fresh_since(&self, sample: &Sample) -> Timestamp {
        self.newest
            .map_or(sample.from, |newest| newest.max(sample.from))
    }

    /// What every sample brings, whether it is tested or not: time, traffic, and what stable does.
    pub(super) fn note(&mut self, settings: &Settings, sample: &Sample) {
        let fresh = self.fresh_since(sample);
        self.newest = Some(sample.to);
        let seconds = sample.to.duration_since(fresh).as_secs_f64().max(0.0);
        self.apart = seconds;
        self.seconds += seconds;
        self.requests += sample.canary.total() + sample.stable.total();
        self.counts.learn(&sample.stable);
        self.note_noise(settings, sample, seconds);
    }

    fn note_noise(&mut self, settings: &Settings, sample: &Sample, seconds: f64) {
        if let (Counts::Times(times), None) = (&self.counts, self.noise_cut) {
            self.noise_cut = times.noise_boundary();
        }
        if let Some(arms) = self.arms(sample) {
            let block = settings.block.as_secs_f64() * NEARLY;
            self.noise.note(arms.stable, seconds, block);
        }
    }

    /// Both arms' bad requests: errors, or the slow ones that the noise is learned from.
    fn arms(&self, sample: &Sample) -> Option<Arms> {
        sample.arms(self.noise_cut)
    }

    /// Tests a sample. To be called before [`Rule::note`]: bets are made from earlier samples.
    pub(super) fn test(
        &mut self,
        settings: &Settings,
        question: &Question,
        sample: &Sample,
        force: InForce,
    ) {
        self.counted = true;
        let force = InForce {
            w: self.share(force.w),
            share_wrong: force.share_wrong && !self.load,
            ..force
        };
        self.close_if_over(settings, question, force.w, sample.from);
        let not_worse = Margin {
            ratio: question.ratio,
            absolute: force.margin * question.leniency(),
        };
        let terms = Terms {
            w: force.w,
            worse: question.margin(),
            not_worse,
        };
        self.counts.observe(sample, &terms);
        if let Some(goal) = &mut self.goal {
            goal.observe(&sample.canary);
        }
        if let Some(arms) = self.arms(sample) {
            self.noise.observe(&arms);
        }
        // Processes that were scraped in turns overlap: only time that is new counts.
        let fresh = self.fresh_since(sample);
        self.open_since.get_or_insert(fresh);
        if force.share_wrong {
            self.drop_block();
        }
        self.close_if_over(settings, question, force.w, sample.to);
    }

    /// The clock was set back to `now`.
    pub(super) fn set_back(&mut self, now: Timestamp, stale: Duration) {
        self.open_since = self.open_since.map(|since| since.min(now));
        if self
            .newest
            .is_some_and(|newest| elapsed(now, newest) > stale)
        {
            let stale = stale.saturating_add(Duration::from_millis(1));
            self.newest = Some(now.saturating_sub(stale).unwrap_or(now));
            self.apart = 0.0;
        }
    }

    /// Lets the open block vote if it is complete at `at`.
    fn close_if_over(&mut self, settings: &Settings, question: &Question, w: f64, at: Timestamp) {
        let Some(since) = self.open_since else { return };
        let length = settings.block.as_secs_f64() * NEARLY;
        if at.duration_since(since).as_secs_f64() < length {
            return;
        }
        self.open_since = None;
        if let Some(goal) = &mut self.goal {
            goal.close_block();
        }
        self.counts.close_block(w, question.ratio);
        self.noise.voted(self.log_block());
    }

    /// The open block is not compared. A limit asks for no share: its block goes on.
    fn drop_block(&mut self) {
        if self.goal.is_none() {
            self.open_since = None;
        }
        self.noise.drop_block();
        self.counts.drop_block();
    }

    pub(super) fn weight_changed(&mut self) {
        self.open_since = None;
        self.counted = false;
        if let Some(goal) = &mut self.goal {
            goal.weight_changed();
        }
        self.noise.weight_changed();
        self.counts.weight_changed();
    }

    /// The promotion test begins anew, for another margin.
    pub(super) fn restart_promotion(&mut self) {
        self.counts.restart_promotion();
    }

    pub(super) fn forgive(&mut self) {
        if let Some(goal) = &mut self.goal {
            goal.forgive();
        }
        self.counts.forgive();
    }

    pub(super) fn log_exact(&self) -> f64 {
        self.counts.log_exact()
    }

    pub(super) fn log_block(&self) -> f64 {
        self.counts.log_block()
    }

    /// The block witness's evidence, discounted by the noise of pods: as if blocks were as long as
    /// their bad times last, and nothing where the effect may be one pod's way. `w` is the
    /// canary's share of the traffic.
    pub(super) fn log_lasting(&self, w: f64, pods: Option<Pods>) -> f64 {
        let log = self.log_block();
        let Some(pods) = pods.filter(|_| log > 0.0) else {
            return log;
        };
        let errors = matches!(self.counts, Counts::Errors(_));
        if matches!(self.counts, Counts::Events(_)) {
            return log; // what happens to pods is no noise of requests
        }
        if errors && !self.noise.stands_out(pods) {
            return 0.0;
        }
        log / self.noise.inflation(self.share(w), pods)
    }

    pub(super) fn log_not_worse(&self) -> f64 {
        self.counts.log_not_worse()
    }

    /// Whether a request of stable was ever seen: without one there is nothing to compare with.
    pub(super) fn has_baseline(&self) -> bool {
        self.counts.has_baseline()
    }

    /// Whether the limit alone can decide at the canary share `w`.
    pub(super) fn is_alone(&self, w: f64) -> bool {
        self.goal.is_some() && (self.share(w) >= 1.0 || !self.has_baseline())
    }

    /// The verdict where the exact witness is not convinced; `None` where a closer look is needed.
    pub(super) fn calm_verdict(&self, settings: &Settings, question: &Question) -> Option<Verdict> {
        if self.goal.is_some() {
            return None;
        }
        let convinced = self.counts.exact_reaches(settings.bound(question))?;
        if convinced {
            return None;
        }
        let shown = self.counted && self.log_not_worse() >= settings.bound_not_worse();
        Some(if shown {
            Verdict::NotWorse
        } else {
            Verdict::Undecided
        })
    }

    /// Whether enough of stable was seen to say what it is like.
    pub(super) fn knows_stable(&self) -> bool {
        let long = self.seconds >= LONG_SECONDS;
        self.seconds >= LEAST_SECONDS && (long || self.requests >= ENOUGH_REQUESTS)
    }

    /// Requests per second, both arms, over all samples; `None` without traffic.
    pub(super) fn rps(&self) -> Option<f64> {
        (self.seconds > 0.0 && self.requests > 0.0).then(|| self.requests / self.seconds)
    }

    /// Bad shares of stable, one per test that a step must pass.
    pub(super) fn rates(&self) -> Vec<f64> {
        self.counts.rates()
    }
}

/// The end of the settling time that begins at `at`.
pub(super) fn settled(settings: &Settings, at: Timestamp) -> Timestamp {
    SignedDuration::try_from(settings.settle)
        .ok()
        .and_then(|settle| at.checked_add(settle).ok())
        .unwrap_or(Timestamp::MAX)
}

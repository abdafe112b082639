//! Evidence of the rules that count rare events of pods: restarts, kills for memory.
//!
//! The tests for "worse" are those of errors, with the time that pods lived in place of requests:
//! Poisson counts, so the same bets are valid. The block witness takes each block's own part of
//! that time as the canary's share, since pods are no matter of the weight. Pods are read at
//! different moments, so what one arm brings waits until the other has something too.
//!
//! Rare events prove nothing about a canary in minutes: a step passes when its pods were watched
//! for a minute all together and chance alone would part the arms so in more than one case of
//! twenty over the run. That is a guard and no proof. Not here: where blocks end (`rule`).

use serde::{Deserialize, Serialize};

use crate::stats::binomial::at_least;
use crate::stats::block::Block;
use crate::stats::worse::Exact;
use crate::stats::{Arms, Margin, realised_share};

use super::numbers::small;

/// Seconds that the canary's pods must have lived in a step, all together.
const WATCHED: f64 = 60.0;
/// A step passes where chance alone parts the arms so with a larger probability than this.
const DOUBT: f64 = 0.05;

/// State of a rule that counts events; `total` is seconds, `bad` events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    pub(super) run: Arms,
    pub(super) step: Arms,
    exact: Exact,
    block: Block,
    /// Not tested yet: one arm had no time so far.
    pending: Arms,
    /// The open block.
    open: Arms,
}

impl Events {
    pub(super) fn begin() -> Self {
        Self {
            run: Arms::default(),
            step: Arms::default(),
            exact: Exact::begin(),
            block: Block::begin(),
            pending: Arms::default(),
            open: Arms::default(),
        }
    }

    pub(super) fn observe(&mut self, arms: &Arms, worse: &Margin) {
        for sum in [
            &mut self.run,
            &mut self.step,
            &mut self.pending,
            &mut self.open,
        ] {
            *sum += *arms;
        }
        if self.pending.share().is_some() {
            self.exact
                .observe(&std::mem::take(&mut self.pending), worse);
        }
    }

    /// The open block votes, if both arms had time in it; else it goes on.
    pub(super) fn close_block(&mut self, ratio: f64) {
        let Some(w) = self.open.share() else { return };
        let open = std::mem::take(&mut self.open);
        self.block.vote(open.canary.bad, open.stable.bad, w, ratio);
    }

    pub(super) fn weight_changed(&mut self) {
        (self.step, self.pending, self.open) = Default::default();
        self.exact.share_changed();
        self.block.share_changed();
    }

    pub(super) fn forgive(&mut self) {
        if self.exact.log() > 0.0 {
            self.exact = Exact::begin();
        }
    }

    pub(super) fn log_exact(&self) -> f64 {
        self.exact.log()
    }

    pub(super) fn log_block(&self) -> f64 {
        self.block.log()
    }

    /// What [`Events::log_block`] were if the open block voted now.
    pub(super) fn log_block_if_closed(&self, ratio: f64) -> f64 {
        let mut closed = self.clone();
        closed.close_block(ratio);
        closed.log_block()
    }

    /// Whether both witnesses are at `bound`.
    pub(super) fn is_worse(&self, bound: f64) -> bool {
        self.log_exact().min(self.log_block()) >= bound
    }

    pub(super) fn report(&self, worse: &Margin) -> EventsReport {
        let Arms { canary, stable } = self.run;
        let tolerated = realised_share(canary.total * worse.ratio, stable.total);
        let beyond = (canary.bad - canary.total * worse.absolute).ceil().max(0.0);
        EventsReport {
            watched: self.step.canary.total,
            needed: WATCHED,
            p: tolerated.map(|share| at_least(beyond, beyond + stable.bad, share)),
        }
    }
}

/// What pods' rare events say, besides both arms' counts and times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsReport {
    /// Seconds that the canary's pods lived in this step, all together.
    pub watched: f64,
    /// How many a step asks for.
    pub needed: f64,
    /// Probability that chance alone brings the canary so many of the run's events beyond what is
    /// tolerated; `None` where an arm has no pod.
    pub p: Option<f64>,
}

impl EventsReport {
    /// Whether a step passes on it.
    pub(super) fn passes(&self) -> bool {
        self.watched >= self.needed && self.p.is_some_and(|p| p > DOUBT)
    }

    /// What keeps the step, or that nothing does.
    pub(super) fn sentence(&self) -> String {
        let p = self.p.unwrap_or(1.0);
        if p <= DOUBT {
            let p = small(p);
            format!("no proof, but chance alone does so with probability {p} only")
        } else if self.watched < self.needed {
            let (watched, needed) = (self.watched, self.needed);
            format!("watched for {watched:.0} of {needed:.0} seconds in this step")
        } else {
            "no more than chance brings".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::{
        ArmCounts, Evidence, Kind, Question, RuleReport, Sample, Settings, Verdict,
    };
    use crate::stats::chance::Chance;

    const EVERY: f64 = 15.0;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_secs_f64(seconds)
    }

    fn settings(per_hour: f64) -> Settings {
        let question = Question {
            absolute: per_hour / 3600.0,
            ..Question::new("restarts", Kind::Events)
        };
        Settings {
            questions: vec![question],
            steps: vec![10, 50],
            ..Settings::default()
        }
    }

    fn sample(tick: u32, canary: (f64, f64), stable: (f64, f64)) -> Sample {
        let of = |(pods, events)| ArmCounts::Events {
            seconds: pods * EVERY,
            events,
        };
        let from = 4.0 + EVERY * f64::from(tick);
        Sample {
            rule: "restarts".into(),
            from: at(from),
            to: at(from + EVERY),
            canary: of(canary),
            stable: of(stable),
        }
    }

    /// Ticks of one canary pod and ten of stable, events of both by tick, until Worse or the end.
    fn play(settings: &Settings, ticks: u32, events: impl Fn(u32) -> (f64, f64)) -> RuleReport {
        let mut evidence = Evidence::begin(settings);
        evidence.weight_changed(settings, 10, 50, at(0.0));
        evidence.pods_seen(1, 10);
        for tick in 0..ticks {
            let (canary, stable) = events(tick);
            evidence.observe(settings, &sample(tick, (1.0, canary), (10.0, stable)));
            // As after a restart: what is not stored is lost.
            let stored = serde_json::to_string(&evidence).unwrap();
            evidence = serde_json::from_str(&stored).unwrap();
            let report = evidence.report(settings).remove(0);
            let verdicts: Vec<Verdict> = evidence.verdicts(settings).collect();
            assert_eq!(verdicts, [report.verdict]);
            if report.verdict == Verdict::Worse {
                return report;
            }
        }
        evidence.report(settings).remove(0)
    }

    #[test]
    fn a_canary_that_restarts_again_and_again_is_worse() {
        let report = play(&settings(0.0), 40, |_| (1.0, 0.0));
        assert_eq!(report.verdict, Verdict::Worse, "{}", report.sentence());
        assert!((3.0..=6.0).contains(&report.canary.bad), "{report:?}");
        let sentence = report.sentence();
        assert!(
            sentence.contains("stable 0 events in ")
                && sentence.contains("minutes of its pods: odds against chance "),
            "{sentence}"
        );
        // Many at once are one burst: the block witness has one vote for them.
        let report = play(&settings(0.0), 2, |tick| (f64::from(tick) * 50.0, 0.0));
        assert_eq!(report.verdict, Verdict::Suspect, "{}", report.sentence());
        assert!(report.step_excess().is_none());
    }

    #[test]
    fn a_step_passes_after_a_minute_without_more_than_chance_brings() {
        let quiet = |ticks| play(&settings(0.0), ticks, |_| (0.0, 0.0));
        assert_eq!(quiet(3).verdict, Verdict::Undecided);
        assert!(
            quiet(3)
                .sentence()
                .ends_with("watched for 45 of 60 seconds in this step")
        );
        assert_eq!(quiet(4).verdict, Verdict::NotWorse);
        // One restart is no more than chance, two are.
        let restarts = |count: u32| move |tick| (f64::from(u8::from(tick < count)), 0.0);
        let one = play(&settings(0.0), 8, restarts(1));
        assert_eq!(one.verdict, Verdict::NotWorse, "{}", one.sentence());
        let two = play(&settings(0.0), 8, restarts(2));
        assert_eq!(two.verdict, Verdict::Undecided, "{}", two.sentence());
        assert!(
            two.sentence().contains("with probability 0.01"),
            "{}",
            two.sentence()
        );
        // What is tolerated an hour and pod is taken off.
        let tolerated = play(&settings(120.0), 8, restarts(2));
        assert_eq!(tolerated.verdict, Verdict::NotWorse);
        // As often as stable's.
        let both = play(&settings(0.0), 8, |tick| {
            (f64::from(u8::from(tick % 4 == 0)), 3.0)
        });
        assert_eq!(both.verdict, Verdict::NotWorse, "{}", both.sentence());
    }

    #[test]
    fn without_stables_pods_nothing_is_said_and_nothing_passes() {
        let settings = settings(0.0);
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 10, 50, at(0.0));
        for tick in 0..20 {
            evidence.observe(&settings, &sample(tick, (1.0, 1.0), (0.0, 0.0)));
        }
        let report = evidence.report(&settings).remove(0);
        assert_eq!(report.verdict, Verdict::Undecided);
        assert!(
            report
                .sentence()
                .ends_with("no pod of stable to compare with")
        );
    }

    #[test]
    fn arms_that_are_read_at_different_moments_are_tested_together() {
        let settings = settings(0.0);
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 10, 50, at(0.0));
        for tick in 0..40 {
            let sample = match tick % 2 {
                0 => sample(tick, (2.0, 1.0), (0.0, 0.0)),
                _ => sample(tick, (0.0, 0.0), (20.0, 0.0)),
            };
            evidence.observe(&settings, &sample);
        }
        let report = evidence.report(&settings).remove(0);
        assert_eq!(report.verdict, Verdict::Worse, "{}", report.sentence());
    }

    #[test]
    fn healthy_canaries_are_seldom_worse_at_any_look() {
        let settings = settings(0.0);
        let mut chance = Chance::seeded(21);
        let runs = 600;
        let mut worse = 0;
        for _ in 0..runs {
            let mut evidence = Evidence::begin(&settings);
            evidence.weight_changed(&settings, 10, 50, at(0.0));
            for tick in 0..120 {
                // Each pod every five minutes: far more often than pods should.
                let canary = chance.binomial(15.0, 1.0 / 300.0);
                let stable = chance.binomial(150.0, 1.0 / 300.0);
                evidence.observe(&settings, &sample(tick, (1.0, canary), (10.0, stable)));
                if evidence.verdicts(&settings).any(|v| v == Verdict::Worse) {
                    worse += 1;
                    break;
                }
            }
        }
        assert!(worse <= 6, "{worse} of {runs}");
    }
}

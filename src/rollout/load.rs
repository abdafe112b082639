//! Synthetic load: which results of a smoke test in a loop count, and as what.
//!
//! Each try is a pair, made of both arms at once, and counts when both have been answered (or have
//! not, in time): so both arms have as many requests, of the same seconds, and neither a slow arm nor
//! a daemon that ends changes that. What was not handed on when a daemon ends is lost and counted
//! nowhere, of both arms.
//!
//! Not here: sending (the daemon), and what the counts prove (`evidence`).

use jiff::Timestamp;

use super::evidence::{ArmCounts, Sample};

/// Results that were not handed on yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// When the earliest of them was begun.
    begun: Option<Timestamp>,
    /// Up to when the others were handed on.
    until: Option<Timestamp>,
    pairs: f64,
    /// Bad ones of the canary and of stable.
    bad: (f64, f64),
}

/// What became of one try, which is a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// When it was begun.
    pub begun: Timestamp,
    /// Whether the canary's answer was good.
    pub canary: bool,
    /// Whether stable's was.
    pub stable: bool,
}

impl Tally {
    /// Counts a try whose both answers are there.
    pub fn add(&mut self, pair: Pair) {
        let bad = |good: bool| f64::from(u8::from(!good));
        let begun = self.begun.map_or(pair.begun, |begun| begun.min(pair.begun));
        self.begun = Some(begun);
        self.pairs += 1.0;
        self.bad.0 += bad(pair.canary);
        self.bad.1 += bad(pair.stable);
    }

    /// Takes what was counted up to `now`, as a sample of `rule`; `None` where that is nothing.
    ///
    /// It begins where the last one ended, or when its earliest try did, so that one that was begun before a canary was
    /// ready, or before the weight was in force, does not count.
    pub fn take(&mut self, rule: &str, now: Timestamp) -> Option<Sample> {
        let rest = Self {
            until: Some(now),
            ..Self::default()
        };
        let Self {
            begun,
            until,
            pairs,
            bad,
        } = std::mem::replace(self, rest);
        let counts = |bad| ArmCounts::Proportion { total: pairs, bad };
        let begun = begun?;
        Some(Sample {
            rule: rule.to_owned(),
            from: until.map_or(begun, |until| until.min(begun)),
            to: now,
            canary: counts(bad.0),
            stable: counts(bad.1),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::evidence::{Evidence, Kind, Question, Settings, Verdict};
    use super::*;
    use crate::stats::chance::Chance;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    fn pair(begun: i64, canary: bool, stable: bool) -> Pair {
        let begun = at(begun);
        Pair {
            begun,
            canary,
            stable,
        }
    }

    #[test]
    fn pairs_become_one_sample_that_begins_with_the_earliest() {
        let mut tally = Tally::default();
        assert_eq!(tally.take("probe", at(300)), None);
        for one in [
            pair(400, true, true),
            pair(200, false, true),
            pair(600, false, false),
        ] {
            tally.add(one);
        }
        let counts = |bad| ArmCounts::Proportion { total: 3.0, bad };
        let sample = tally.take("probe", at(1000)).unwrap();
        assert_eq!((sample.from, sample.to), (at(200), at(1000)));
        assert_eq!((sample.canary, sample.stable), (counts(2.0), counts(1.0)));
        assert_eq!(tally.take("probe", at(1500)), None);
        tally.add(pair(1700, true, true));
        let sample = tally.take("probe", at(2000)).unwrap();
        assert_eq!((sample.from, sample.to), (at(1500), at(2000)));
    }

    /// Steps 5 and 50% without any request of users; the tests' bad shares of canary and stable.
    /// The verdict of the last step, and its second.
    fn play(canary: f64, stable: f64, seed: u64) -> (Verdict, i64) {
        let every = Duration::from_millis(200);
        let settings = Settings {
            questions: vec![Question::new("probe", Kind::Load { every })],
            steps: vec![5, 50],
            ..Settings::default()
        };
        let (mut chance, mut tally) = (Chance::seeded(seed), Tally::default());
        let mut evidence = Evidence::begin(&settings);
        let mut second = |evidence: &mut Evidence, second: i64| {
            for slot in 0..5 {
                let begun = second * 1000 + slot * 200;
                tally.add(pair(
                    begun,
                    chance.uniform() >= canary,
                    chance.uniform() >= stable,
                ));
            }
            let sample = tally.take("probe", at((second + 1) * 1000)).unwrap();
            evidence.observe(&settings, &sample);
            // As after a restart: what is not stored is lost.
            let stored = serde_json::to_string(&evidence).unwrap();
            *evidence = serde_json::from_str(&stored).unwrap();
            evidence.report(&settings).remove(0)
        };
        for now in 0..30 {
            second(&mut evidence, now);
        }
        let said = evidence.set_patience(&settings);
        let sentence = said.sentence();
        assert!(
            sentence.starts_with("at 10 synthetic requests a second"),
            "{sentence}"
        );
        let mut now = 30;
        for (weight, next) in [(5, 50), (50, 100)] {
            evidence.weight_changed(&settings, weight, next, at(now * 1000));
            loop {
                let report = second(&mut evidence, now);
                now += 1;
                if report.verdict == Verdict::Worse || now > 1200 {
                    return (report.verdict, now);
                }
                if report.verdict == Verdict::NotWorse {
                    assert!(report.synthetic && report.step_excess().is_none());
                    break;
                }
            }
        }
        (Verdict::NotWorse, now)
    }

    #[test]
    fn a_service_without_traffic_is_decided_by_synthetic_requests() {
        let mut longest = 0;
        for seed in 0..10 {
            let (verdict, second) = play(0.0, 0.0, seed);
            assert_eq!(verdict, Verdict::NotWorse, "{seed}");
            longest = longest.max(second);
            let (verdict, second) = play(0.1, 0.0, seed);
            assert_eq!(verdict, Verdict::Worse, "{seed}");
            assert!(second < 180, "{seed}: {second}");
        }
        // Ten minutes to wait, and half a minute of history.
        assert!(longest <= 630, "{longest}");
    }

    #[test]
    fn what_fails_on_both_arms_alike_is_no_fault_of_the_canary() {
        for seed in 0..20 {
            assert_ne!(play(0.05, 0.05, seed).0, Verdict::Worse, "{seed}");
        }
    }

    #[test]
    fn tries_of_before_the_weight_was_in_force_do_not_count() {
        let settings = Settings {
            questions: vec![Question::new(
                "probe",
                Kind::Load {
                    every: Duration::from_secs(1),
                },
            )],
            ..Settings::default()
        };
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 5, 100, at(0));
        let mut tally = Tally::default();
        for begun in [2_900, 8_000] {
            tally.add(pair(begun, false, true));
            let sample = tally.take("probe", at(begun + 5_200)).unwrap();
            evidence.observe(&settings, &sample);
        }
        let report = evidence.report(&settings).remove(0);
        assert!((report.canary.total - 1.0).abs() < 1e-9, "{report:?}");
    }
}

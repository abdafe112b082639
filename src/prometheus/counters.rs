//! From counters to samples: one rule of one subject, over all processes.
//!
//! Each process is counted by itself ([`Process`]); a scrape of each becomes one [`Sample`]
//! ([`Round`]). Samples of a rule end at rising times, also when a process' scrape arrives late, so
//! that the evidence takes each of them. A cursor says how far was given out as samples: reading again
//! from it brings the same increments.
//!
//! Not here: where points come from (`client`, `scrape`) and which belong (`sorting`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::cursor::RuleCursor;
use super::process::{Added, Point, Process, Scraped, Uncounted};
use super::rounds::Round;
use super::tally::{Arm, Class, Tally};
use crate::rollout::evidence::{ArmCounts, Sample};

/// A process that has not been seen for this long before the newest one is forgotten.
const FORGET_MS: i64 = 3_600_000;

/// What one source brought for one rule and subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Batch {
    /// Values, in any order.
    pub points: Vec<Point>,
    /// Processes that answered, whether they had a series or not.
    pub scraped: Vec<(u64, i64)>,
}

impl Batch {
    /// The arms of which no series has a label by which bad requests are told.
    pub fn untold(&self) -> Vec<Arm> {
        let of = |arm: Arm| self.points.iter().filter(move |point| point.arm == arm);
        let untold = |arm: &Arm| {
            let mut points = of(*arm).peekable();
            points.peek().is_some() && points.all(|point| point.class == Class::Untold)
        };
        [Arm::Canary, Arm::Stable]
            .into_iter()
            .filter(untold)
            .collect()
    }
}

/// Counts one rule of one subject.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    rule: String,
    since: i64,
    until: Option<i64>,
    boundaries: Option<Arc<[f64]>>,
    processes: BTreeMap<u64, Process>,
    round: Round,
    /// The source cannot look back: cursors hold sums.
    sums: bool,
    /// Why something of the newest batch is not counted, and of the next will not be either.
    uncounted: Option<String>,
    /// What is counted, as cursors say it.
    counted: Option<u32>,
}

impl Counters {
    /// Starts counting at `since`, in milliseconds.
    pub fn start(rule: &str, since: i64) -> Self {
        Self {
            rule: rule.to_owned(),
            since,
            until: None,
            boundaries: None,
            processes: BTreeMap::new(),
            round: Round::default(),
            sums: false,
            uncounted: None,
            counted: None,
        }
    }

    /// The same for a source that cannot look back.
    #[must_use]
    pub fn with_sums(self, sums: bool) -> Self {
        Self { sums, ..self }
    }

    /// The same; cursors say that this is what was counted.
    #[must_use]
    pub fn of(self, counted: u32) -> Self {
        Self {
            counted: Some(counted),
            ..self
        }
    }

    /// Goes on from a cursor.
    pub fn resume(rule: &str, since: i64, cursor: &RuleCursor) -> Self {
        let processes = cursor.of.iter().filter_map(|(id, at)| {
            let id = u64::from_str_radix(id, 16).ok()?;
            Some((id, Process::resumed(at.clone())))
        });
        Self {
            until: cursor.until,
            processes: processes.collect(),
            ..Self::start(rule, since)
        }
    }

    /// Where to go on.
    pub fn cursor(&self) -> RuleCursor {
        let of = self
            .processes
            .iter()
            .filter_map(|(id, process)| Some((format!("{id:x}"), process.cursor(self.sums)?)));
        RuleCursor {
            until: self.until,
            counted: self.counted,
            of: of.collect(),
        }
    }

    /// The newest scrape that has been counted, of any process.
    pub fn newest(&self) -> Option<i64> {
        self.processes.values().filter_map(Process::at).max()
    }

    /// Why something of the newest batch could not be counted: what is left says nothing of it.
    pub fn uncounted(&self) -> Option<&str> {
        self.uncounted.as_deref()
    }

    /// Whether any series has been seen.
    pub fn has_series(&self) -> bool {
        self.processes.values().any(Process::has_series)
    }

    /// Folds a batch in. What is wrong with it is told in `problems`.
    pub fn fold(&mut self, batch: Batch, problems: &mut Vec<String>) -> Vec<Sample> {
        self.uncounted = None;
        let mut scrapes: BTreeMap<(i64, u64), Vec<Point>> = BTreeMap::new();
        for (process, at) in batch.scraped {
            scrapes.entry((at, process)).or_default();
        }
        for point in batch.points {
            scrapes
                .entry((point.at, point.process))
                .or_default()
                .push(point);
        }
        // What is forgotten must not be taken for new when it is read again.
        let newest = scrapes.keys().next_back().map(|(at, _)| *at);
        let oldest = oldest(newest.max(self.newest()));
        scrapes.retain(|(at, _), _| *at >= oldest);
        let mut samples = Vec::new();
        let mut scrapes = scrapes.into_iter().peekable();
        while let Some(((at, id), points)) = scrapes.next() {
            match self.scrape(id, at, &points) {
                Ok(()) => {}
                Err(Uncounted::Gap) => {
                    problems.push(format!("{}: a process {}", self.rule, Uncounted::Gap));
                }
                Err(Uncounted::Unfit(why)) => {
                    let why = format!("{}: a process has {why}", self.rule);
                    self.uncounted = Some(why.clone());
                    problems.push(why);
                }
            }
            let last_of_moment = scrapes.peek().is_none_or(|((next, _), _)| *next > at);
            if last_of_moment && let Some(round) = self.round.finish(&self.processes) {
                samples.extend(self.give_out(round, problems));
            }
        }
        self.forget();
        samples
    }

    /// Folds one scrape in: what it added waits in the round.
    fn scrape(&mut self, id: u64, at: i64, points: &[Point]) -> Result<(), Uncounted> {
        let process = self.processes.entry(id).or_default();
        // Only Prometheus has replicas; what it adds comes with the next scrape.
        if !self.sums && process.is_of_the_same_moment(at, points) {
            return Ok(());
        }
        let (before, given) = (process.at(), process.cursor(self.sums));
        let scraped = process.fold(id, at, points);
        self.round.reached(at);
        if let (Some(before), false) = (before, matches!(scraped, Ok(Scraped::Known))) {
            self.round.scraped(id, at, before);
        }
        if let Scraped::Added(added) = scraped?
            && added.from >= self.since
        {
            process.hold(given);
            self.round.add(added);
        }
        Ok(())
    }

    fn give_out(&mut self, round: Vec<Added>, problems: &mut Vec<String>) -> Option<Sample> {
        for added in &round {
            if let Some(process) = self.processes.get_mut(&added.process) {
                process.release();
            }
        }
        self.sample(round, problems)
    }

    fn forget(&mut self) {
        let oldest = oldest(self.newest());
        self.processes
            .retain(|_, process| process.at().is_none_or(|at| at >= oldest));
    }

    fn sample(&mut self, group: Vec<Added>, problems: &mut Vec<String>) -> Option<Sample> {
        let from = group.iter().map(|one| one.from).min()?;
        let to = group.iter().map(|one| one.to).max()?;
        let tally = match self.merged(group) {
            Ok(tally) => tally,
            Err(why) => {
                let why = format!("{}: the pods have {why}", self.rule);
                self.uncounted = Some(why.clone());
                problems.push(why);
                return None;
            }
        };
        let to = self
            .until
            .map_or(to, |until| to.max(until.saturating_add(1)));
        self.until = Some(to);
        let (canary, stable) = self.counts(tally);
        let from = Timestamp::from_millisecond(from).ok()?;
        let to = Timestamp::from_millisecond(to).ok()?;
        Some(Sample {
            rule: self.rule.clone(),
            from,
            to,
            canary,
            stable,
        })
    }

    /// All processes' tallies as one, at the boundaries that all have had so far.
    fn merged(&mut self, group: Vec<Added>) -> Result<Tally, &'static str> {
        let mut tallies = group.into_iter().map(|one| one.tally);
        let first = tallies.next().ok_or("nothing was added")?;
        let mut tally = tallies.try_fold(first, Tally::plus)?;
        if let Some(known) = self
            .boundaries
            .as_deref()
            .filter(|known| *known != tally.le)
        {
            let common: Vec<f64> = known
                .iter()
                .copied()
                .filter(|le| tally.le.contains(le))
                .collect();
            tally.coarsen(&common)?;
        }
        if self.boundaries.as_deref() != Some(&tally.le) {
            self.boundaries = Some(tally.le.clone().into());
        }
        Ok(tally)
    }

    fn counts(&self, tally: Tally) -> (ArmCounts, ArmCounts) {
        let boundaries = self.boundaries.clone().unwrap_or_default();
        let events = tally.events;
        let arm = |counts: Vec<f64>| {
            if events {
                return ArmCounts::Events {
                    seconds: counts[0],
                    events: counts[1],
                };
            }
            if boundaries.is_empty() {
                return ArmCounts::Proportion {
                    total: counts.iter().sum(),
                    bad: counts[1],
                };
            }
            ArmCounts::Buckets {
                boundaries: Arc::clone(&boundaries),
                counts,
            }
        };
        (arm(tally.canary), arm(tally.stable))
    }
}

/// The oldest scrape that counts, when this one is the newest.
fn oldest(newest: Option<i64>) -> i64 {
    newest.unwrap_or(0).saturating_sub(FORGET_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One series: (series, process, arm, class).
    type Series = (u64, u64, Arm, Class);
    const STABLE: Series = (1, 1, Arm::Stable, Class::Good);
    const STABLE_BAD: Series = (2, 1, Arm::Stable, Class::Bad);
    const CANARY: Series = (3, 1, Arm::Canary, Class::Good);
    const OTHER_POD: Series = (4, 2, Arm::Stable, Class::Good);

    fn points(series: Series, values: &[(i64, f64)]) -> Vec<Point> {
        let (series, process, arm, class) = series;
        let point = |(at, value): &(i64, f64)| Point {
            series,
            process,
            arm,
            class,
            at: at * 1000,
            value: *value,
        };
        values.iter().map(point).collect()
    }

    fn batch(all: &[(Series, &[(i64, f64)])]) -> Batch {
        let points = all
            .iter()
            .flat_map(|(series, values)| points(*series, values))
            .collect();
        Batch {
            points,
            scraped: Vec::new(),
        }
    }

    #[test]
    fn a_process_that_was_forgotten_is_not_counted_again() {
        let answer = batch(&[
            (STABLE, &[(10, 1.0), (25, 300.0)]),
            (OTHER_POD, &[(10_000, 1.0)]),
        ]);
        let mut counters = Counters::start("errors", i64::MIN);
        for look in 0..3 {
            let samples = counters.fold(answer.clone(), &mut Vec::new());
            assert_eq!(rows(&samples), [], "look {look}");
        }
    }

    /// Samples as (from, to, canary total, canary bad, stable total, stable bad), in seconds.
    fn rows(samples: &[Sample]) -> Vec<(i64, i64, f64, f64, f64, f64)> {
        let numbers = |counts: &ArmCounts| match counts {
            ArmCounts::Proportion { total, bad } => (*total, *bad),
            _ => panic!("not a proportion"),
        };
        let row = |sample: &Sample| {
            let ((ct, cb), (st, sb)) = (numbers(&sample.canary), numbers(&sample.stable));
            (
                sample.from.as_second(),
                sample.to.as_second(),
                ct,
                cb,
                st,
                sb,
            )
        };
        samples.iter().map(row).collect()
    }

    fn fold(
        counters: &mut Counters,
        all: &[(Series, &[(i64, f64)])],
    ) -> Vec<(i64, i64, f64, f64, f64, f64)> {
        let mut problems = Vec::new();
        let samples = counters.fold(batch(all), &mut problems);
        assert_eq!(problems, Vec::<String>::new());
        rows(&samples)
    }

    #[test]
    fn both_arms_of_a_scrape_become_one_sample() {
        let mut counters = Counters::start("r", 0);
        let got = fold(
            &mut counters,
            &[
                (STABLE, &[(10, 100.0), (20, 150.0)]),
                (STABLE_BAD, &[(10, 1.0), (20, 4.0)]),
                (CANARY, &[(20, 7.0)]),
            ],
        );
        // The canary's series is new in a known process: from zero.
        assert_eq!(got, [(10, 20, 7.0, 0.0, 53.0, 3.0)]);
        assert_eq!(counters.newest(), Some(20_000));
    }

    #[test]
    fn scrapes_that_were_counted_count_nothing_again() {
        let mut counters = Counters::start("r", 0);
        fold(&mut counters, &[(STABLE, &[(10, 100.0), (20, 150.0)])]);
        assert_eq!(
            fold(&mut counters, &[(STABLE, &[(10, 100.0), (20, 150.0)])]),
            []
        );
        let got = fold(&mut counters, &[(STABLE, &[(20, 150.0), (30, 151.0)])]);
        assert_eq!(got, [(20, 30, 0.0, 0.0, 1.0, 0.0)]);
    }

    #[test]
    fn a_counter_that_falls_counts_from_zero_and_so_does_its_whole_process() {
        let mut counters = Counters::start("r", 0);
        let got = fold(
            &mut counters,
            &[
                (STABLE, &[(10, 100.0), (20, 30.0)]),
                // Grown past its old value since the restart.
                (STABLE_BAD, &[(10, 1.0), (20, 2.0)]),
            ],
        );
        assert_eq!(got, [(10, 20, 0.0, 0.0, 32.0, 2.0)]);
    }

    #[test]
    fn replicas_that_answer_in_turns_do_not_make_a_process_begin_anew() {
        // The second one's clock is ahead: what it read before the first has a later time.
        let point = |milliseconds: i64, value: f64| Point {
            at: milliseconds,
            ..points(STABLE, &[(0, value)])[0]
        };
        let answers = [
            vec![point(10_000, 100.0)],
            vec![point(10_010, 99.0)],
            vec![point(10_010, 99.0), point(25_010, 120.0)],
            vec![point(25_000, 121.0), point(40_000, 140.0)],
            vec![
                point(25_010, 120.0),
                point(40_010, 139.0),
                point(55_010, 160.0),
            ],
        ];
        let mut counters = Counters::start("r", 0);
        let mut counted = 0.0;
        for points in answers {
            let batch = Batch {
                points,
                scraped: Vec::new(),
            };
            for sample in counters.fold(batch, &mut Vec::new()) {
                counted += sample.stable.total();
            }
        }
        assert!((counted - 60.0).abs() < 1e-9, "{counted}");
    }

    #[test]
    fn a_process_that_restarts_within_a_moment_is_counted_from_zero_at_the_next_scrape() {
        let mut counters = Counters::start("r", 0);
        let values = [(10, 100.0), (12, 110.0), (14, 3.0), (16, 9.0)];
        let got = fold(&mut counters, &[(STABLE, &values)]);
        let row = |from, to, total| (from, to, 0.0, 0.0, total, 0.0);
        assert_eq!(got, [row(10, 12, 10.0), row(12, 16, 9.0)]);
    }

    #[test]
    fn a_series_that_vanishes_adds_nothing_and_may_come_back() {
        let mut counters = Counters::start("r", 0);
        let got = fold(
            &mut counters,
            &[
                (STABLE, &[(10, 1.0), (20, 2.0), (30, 3.0)]),
                (CANARY, &[(10, 5.0), (30, 9.0)]),
            ],
        );
        assert_eq!(
            got,
            [(10, 20, 0.0, 0.0, 1.0, 0.0), (20, 30, 4.0, 0.0, 1.0, 0.0)]
        );
    }

    #[test]
    fn a_series_that_was_removed_and_made_again_leaves_the_others_alone() {
        let mut counters = Counters::start("r", 0);
        let got = fold(
            &mut counters,
            &[
                (STABLE, &[(10, 9000.0), (20, 9001.0), (30, 9003.0)]),
                (CANARY, &[(10, 50.0), (30, 4.0)]),
            ],
        );
        assert_eq!(
            got,
            [(10, 20, 0.0, 0.0, 1.0, 0.0), (20, 30, 4.0, 0.0, 2.0, 0.0)]
        );
    }

    #[test]
    fn a_process_that_answers_without_its_series_began_anew() {
        let mut counters = Counters::start("r", 0);
        let mut problems = Vec::new();
        let before = batch(&[
            (STABLE, &[(10, 100.0), (20, 150.0)]),
            (STABLE_BAD, &[(20, 1.0)]),
        ]);
        counters.fold(before, &mut problems);
        let quiet = Batch {
            points: Vec::new(),
            scraped: vec![(1, 30_000)],
        };
        counters.fold(quiet, &mut problems);
        let got = fold(
            &mut counters,
            &[(STABLE, &[(40, 6.0)]), (STABLE_BAD, &[(40, 2.0)])],
        );
        assert_eq!(got, [(30, 40, 0.0, 0.0, 8.0, 2.0)]);
    }

    #[test]
    fn a_gap_in_the_scrapes_is_one_long_sample() {
        let mut counters = Counters::start("r", 0);
        fold(&mut counters, &[(STABLE, &[(10, 1.0)])]);
        assert_eq!(
            fold(&mut counters, &[(STABLE, &[(300, 91.0)])]),
            [(10, 300, 0.0, 0.0, 90.0, 0.0)]
        );
    }

    #[test]
    fn an_unknown_process_starts_at_its_first_value() {
        let mut counters = Counters::start("r", 0);
        let got = fold(
            &mut counters,
            &[
                (STABLE, &[(10, 1.0), (20, 2.0), (30, 3.0)]),
                (OTHER_POD, &[(20, 5000.0), (30, 5004.0)]),
            ],
        );
        assert_eq!(
            got,
            [(10, 20, 0.0, 0.0, 1.0, 0.0), (20, 30, 0.0, 0.0, 5.0, 0.0)]
        );
    }

    #[test]
    fn nothing_before_since_is_counted() {
        let mut counters = Counters::start("r", 15_000);
        let got = fold(
            &mut counters,
            &[(STABLE, &[(10, 1.0), (20, 2.0), (30, 4.0)])],
        );
        assert_eq!(got, [(20, 30, 0.0, 0.0, 2.0, 0.0)]);
    }

    #[test]
    fn a_late_scrape_of_another_process_still_ends_after_the_last_sample() {
        let mut counters = Counters::start("r", 0);
        let early = fold(
            &mut counters,
            &[
                (STABLE, &[(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0)]),
                (OTHER_POD, &[(9, 1.0)]),
            ],
        );
        assert_eq!(early, [(10, 40, 0.0, 0.0, 3.0, 0.0)]);
        let mut problems = Vec::new();
        let third = (5, 3, Arm::Stable, Class::Good);
        let late = batch(&[(OTHER_POD, &[(39, 4.0)]), (third, &[(80, 1.0)])]);
        let late = counters.fold(late, &mut problems);
        assert_eq!(late[0].to.as_millisecond(), 40_001);
        assert_eq!(late[0].from.as_millisecond(), 9_000);
    }

    #[test]
    fn reading_again_from_a_cursor_brings_the_same_samples() {
        let all: &[(Series, &[(i64, f64)])] = &[
            (STABLE, &[(10, 1.0), (20, 2.0), (30, 4.0), (40, 9.0)]),
            (CANARY, &[(30, 3.0), (40, 4.0)]),
            (OTHER_POD, &[(12, 7.0), (22, 8.0), (32, 9.0)]),
        ];
        let mut straight = Counters::start("r", 0);
        let mut problems = Vec::new();
        let whole = straight.fold(batch(all), &mut problems);
        for cut in [15, 21, 25, 35] {
            let mut first = Counters::start("r", 0);
            let mut early = batch(all);
            early.points.retain(|point| point.at < cut * 1000);
            let mut got = first.fold(early, &mut problems);
            let cursor = serde_json::to_string(&first.cursor()).unwrap();
            let mut second = Counters::resume("r", 0, &serde_json::from_str(&cursor).unwrap());
            got.extend(second.fold(batch(all), &mut problems));
            assert_eq!(got, whole, "cut at {cut}");
            assert_eq!(second.cursor(), straight.cursor());
        }
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn a_cursor_with_sums_counts_what_came_while_nobody_looked() {
        let mut first = Counters::start("r", 0).with_sums(true);
        fold(
            &mut first,
            &[
                (STABLE, &[(10, 1.0), (20, 5.0)]),
                (STABLE_BAD, &[(20, 1.0)]),
            ],
        );
        let cursor = serde_json::to_string(&first.cursor()).unwrap();
        let cursor: RuleCursor = serde_json::from_str(&cursor).unwrap();
        let mut second = Counters::resume("r", 0, &cursor);
        let got = fold(
            &mut second,
            &[
                (STABLE, &[(90, 50.0)]),
                (STABLE_BAD, &[(90, 3.0)]),
                (CANARY, &[(90, 4.0)]),
            ],
        );
        assert_eq!(got, [(20, 90, 4.0, 0.0, 47.0, 2.0)]);
        // A process that began anew meanwhile counts from zero.
        let mut third = Counters::resume("r", 0, &cursor);
        assert_eq!(
            fold(&mut third, &[(STABLE, &[(90, 3.0)])]),
            [(20, 90, 0.0, 0.0, 3.0, 0.0)]
        );
    }

    #[test]
    fn a_process_that_answers_without_a_series_makes_the_first_one_count_from_zero() {
        let mut counters = Counters::start("r", 0);
        let mut problems = Vec::new();
        let quiet = Batch {
            points: Vec::new(),
            scraped: vec![(1, 10_000)],
        };
        assert_eq!(counters.fold(quiet, &mut problems), []);
        assert!(!counters.has_series());
        let got = fold(&mut counters, &[(STABLE, &[(20, 6.0)])]);
        assert_eq!(got, [(10, 20, 0.0, 0.0, 6.0, 0.0)]);
    }

    #[test]
    fn boundaries_stay_shared_by_all_samples() {
        let inf = f64::INFINITY;
        let up_to = |series, le, of| (series, 1, Arm::Stable, Class::UpTo { le, of });
        let mut counters = Counters::start("r", 0);
        let mut problems = Vec::new();
        let first = counters.fold(
            batch(&[
                (up_to(1, 0.1, 1), &[(10, 0.0), (20, 1.0)]),
                (up_to(2, 1.0, 1), &[(10, 0.0), (20, 3.0)]),
                (up_to(3, inf, 1), &[(10, 0.0), (20, 6.0)]),
            ]),
            &mut problems,
        );
        let ArmCounts::Buckets { boundaries, counts } = &first[0].stable else {
            panic!("no buckets")
        };
        assert_eq!(
            (boundaries.to_vec(), counts.clone()),
            (vec![0.1, 1.0], vec![1.0, 2.0, 3.0])
        );
        // The next version of the router has another boundary.
        let next = counters.fold(
            batch(&[
                (up_to(4, 0.5, 1), &[(30, 1.0)]),
                (up_to(2, 1.0, 1), &[(30, 2.0)]),
                (up_to(3, inf, 1), &[(30, 2.0)]),
            ]),
            &mut problems,
        );
        let ArmCounts::Buckets { boundaries, counts } = &next[0].stable else {
            panic!("no buckets")
        };
        assert_eq!(
            (boundaries.to_vec(), counts.clone()),
            (vec![1.0], vec![2.0, 0.0])
        );
        assert_eq!(problems, Vec::<String>::new());
    }
}

//! A round: what all processes added, gathered until each was scraped once.
//!
//! Every target is scraped at a moment of its own. Where the arms are different processes, one scrape has
//! requests of one arm alone; where many processes serve both, many scrapes tell of the same seconds.
//! So what was added waits until every process that lives was scraped, and is given out as one.
//!
//! Guarantees: a single process, or several that are scraped at one moment, never wait. A process that
//! stays away is waited for two and a half times as long as its scrapes are usually apart, at most two
//! minutes, and not at all when others of its target were scraped without it. When a round is over
//! follows from the scrapes alone, not from the moments at which they were read.
//!
//! Not here: what a scrape added (`process`), and the sample that a round becomes (`counters`).

use std::collections::{BTreeMap, BTreeSet};

use super::process::{Added, Process};

/// No process is waited for longer than this, and no round is open longer.
pub(super) const PATIENCE_MS: i64 = 120_000;

/// The round that is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    added: Vec<Added>,
    /// Processes that were scraped in it, whether they added something or not.
    scraped: BTreeSet<u64>,
    /// The newest scrape of any process, in milliseconds.
    latest: Option<i64>,
    /// How far apart the newest two scrapes of the process were that was scraped last.
    pace: i64,
    /// Scrapes after which one process of the target was scraped again: those of it that were not are gone.
    left: BTreeSet<i64>,
    /// A process that was waited for at the last look, so that not all are asked each time.
    waits_for: Option<u64>,
}

impl Round {
    /// A process was scraped at `at`, and before that at `before`.
    pub fn scraped(&mut self, id: u64, at: i64, before: i64) {
        self.scraped.insert(id);
        self.pace = at.saturating_sub(before);
        self.left.insert(before);
    }

    /// Some process was scraped at `at`, be it for the first time.
    pub fn reached(&mut self, at: i64) {
        let latest = self.latest.max(Some(at));
        self.latest = latest;
        let oldest = latest.unwrap_or(at).saturating_sub(2 * PATIENCE_MS);
        self.left = self.left.split_off(&oldest);
    }

    pub fn add(&mut self, added: Added) {
        self.added.push(added);
    }

    /// What was gathered, if nobody is waited for any more; then the next round begins.
    pub fn finish(&mut self, processes: &BTreeMap<u64, Process>) -> Option<Vec<Added>> {
        let (begun, latest) = (self.added.first()?.to, self.latest?);
        let in_time = latest.saturating_sub(begun) <= PATIENCE_MS;
        if in_time && self.waits(begun, latest, processes) {
            return None;
        }
        self.scraped.clear();
        self.waits_for = None;
        Some(std::mem::take(&mut self.added))
    }

    fn waits(&mut self, begun: i64, latest: i64, processes: &BTreeMap<u64, Process>) -> bool {
        let may_come = |id: &u64| {
            let missing = !self.scraped.contains(id);
            let process = processes.get(id).filter(|_| missing);
            process.is_some_and(|process| self.awaits(process, begun, latest))
        };
        let same = self.waits_for.filter(may_come);
        let waits_for = same.or_else(|| processes.keys().copied().find(may_come));
        self.waits_for = waits_for;
        waits_for.is_some()
    }

    fn awaits(&self, process: &Process, begun: i64, latest: i64) -> bool {
        let Some(at) = process.at() else { return false };
        // What was first seen in this round has nothing to add before the next.
        let pace = process.pace().or((at < begun).then_some(self.pace));
        let patience = pace.map(|pace| (pace.saturating_mul(5) / 2).min(PATIENCE_MS));
        let late = latest.saturating_sub(at);
        !self.left.contains(&at) && patience.is_some_and(|patience| late <= patience)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::counters::{Batch, Counters};
    use super::super::cursor::RuleCursor;
    use super::super::process::Point;
    use super::super::tally::{Arm, Class};
    use super::*;
    use crate::rollout::evidence::{
        ArmCounts, Evidence, Kind, Question, Sample, Settings, Verdict,
    };
    use crate::stats::chance::Chance;

    const ORIGIN: i64 = 1_700_000_000_000;
    /// When the weight comes into force, in seconds.
    const BEGUN: i64 = 120;

    /// Something that is scraped: a pod of one arm, or a router of both.
    #[derive(Clone)]
    struct Target {
        id: u64,
        /// Requests a second and the bad share, of the canary and of stable.
        arms: [(f64, f64); 2],
        /// The first scrape, and the time to the next, in milliseconds.
        first: i64,
        every: i64,
        /// The last scrape is before this.
        ends: i64,
        counters: [[f64; 2]; 2],
    }

    impl Target {
        fn new(id: u32, arms: [(f64, f64); 2], first: i64, every: i64) -> Self {
            Self {
                id: u64::from(id),
                arms,
                first,
                every,
                ends: i64::MAX,
                counters: [[0.0; 2]; 2],
            }
        }

        /// What a scrape after `seconds` more reads.
        fn read(&mut self, chance: &mut Chance, at: i64, seconds: f64, points: &mut Vec<Point>) {
            for (place, arm) in [Arm::Canary, Arm::Stable].into_iter().enumerate() {
                let (rps, share) = self.arms[place];
                let total = chance.poisson(rps * seconds);
                let bad = chance.binomial(total, share);
                self.counters[place][0] += total - bad;
                self.counters[place][1] += bad;
                for (of, class) in [Class::Good, Class::Bad].into_iter().enumerate() {
                    points.push(Point {
                        series: self.id * 4 + place as u64 * 2 + of as u64,
                        process: self.id,
                        arm,
                        class,
                        at: ORIGIN + at,
                        value: self.counters[place][of],
                    });
                }
                if rps <= 0.0 {
                    points.truncate(points.len() - 2);
                }
            }
        }

        fn scrapes_at(&self, at: i64) -> bool {
            at >= self.first && at < self.ends && (at - self.first) % self.every == 0
        }
    }

    /// `canary` pods with the share `w` of `rps`, and `stable` pods with the rest, scraped each
    /// 15 s at moments of their own.
    fn pods(seed: u64, canary: usize, stable: usize, w: f64, rps: f64, bad: f64) -> Vec<Target> {
        let mut chance = Chance::seeded(seed);
        let mut offset = || (chance.uniform() * 15_000.0) as i64;
        let canaries = (0..canary).map(|_| [(rps * w / canary as f64, bad), (0.0, 0.0)]);
        let stables = (0..stable).map(|_| [(0.0, 0.0), (rps * (1.0 - w) / stable as f64, 0.001)]);
        let arms = (0..).zip(canaries.chain(stables));
        arms.map(|(id, arms)| Target::new(id, arms, offset(), 15_000))
            .collect()
    }

    /// All scrapes up to a second, in their order.
    fn scrapes(seed: u64, targets: &mut [Target], until: i64) -> Vec<Point> {
        let mut chance = Chance::seeded(seed);
        let mut points = Vec::new();
        for at in 0..until * 1000 {
            for target in targets.iter_mut().filter(|target| target.scrapes_at(at)) {
                let seconds = target.every as f64 / 1000.0;
                target.read(&mut chance, at, seconds, &mut points);
            }
        }
        points
    }

    fn batch(points: impl Iterator<Item = Point>) -> Batch {
        Batch {
            points: points.collect(),
            scraped: Vec::new(),
        }
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(ORIGIN + milliseconds).unwrap()
    }

    fn settings(w: f64) -> Settings {
        Settings {
            questions: vec![Question::new("errors", Kind::Proportion)],
            steps: vec![(w * 100.0) as u8],
            blast: 0.01,
            ..Settings::default()
        }
    }

    /// The verdict that came first, when, and how often the share was called wrong until then.
    fn judge(points: &[Point], w: f64, until: i64) -> (Verdict, i64, u32) {
        let settings = settings(w);
        let (mut counters, mut problems) = (Counters::start("errors", 0), Vec::new());
        let mut evidence = Evidence::begin(&settings);
        let (mut wrong, mut was_ok, mut read) = (0, true, 0);
        for look in (0..until).step_by(2) {
            let new = points[read..].partition_point(|point| point.at <= ORIGIN + look * 1000);
            let samples = counters.fold(
                batch(points[read..read + new].iter().copied()),
                &mut problems,
            );
            read += new;
            if look == BEGUN {
                evidence.weight_changed(&settings, (w * 100.0) as u8, 100, at(look * 1000));
            }
            for sample in samples {
                if look < BEGUN {
                    evidence.baseline(&settings, &sample);
                } else {
                    evidence.observe(&settings, &sample);
                }
            }
            let ok = evidence.share().ok;
            wrong += u32::from(was_ok && !ok);
            was_ok = ok;
            let verdict = evidence.report(&settings)[0].verdict;
            if matches!(verdict, Verdict::NotWorse | Verdict::Worse) && ok {
                return (verdict, look - BEGUN, wrong);
            }
        }
        assert_eq!(problems, Vec::<String>::new());
        (Verdict::Undecided, until - BEGUN, wrong)
    }

    #[test]
    fn arms_in_processes_of_their_own_are_compared_at_any_traffic() {
        for (canary, stable, w) in [(1, 3, 0.05), (2, 3, 0.5), (3, 10, 0.25), (1, 30, 0.1)] {
            for (seed, rps) in [(1, 20.0), (2, 100.0), (3, 1000.0), (4, 10_000.0)] {
                let told = format!("{canary} and {stable} pods at {w}, {rps} a second");
                let mut targets = pods(seed, canary, stable, w, rps, 0.001);
                let points = scrapes(seed, &mut targets, 1200);
                let (verdict, _, wrong) = judge(&points, w, 1200);
                assert_eq!((verdict, wrong), (Verdict::NotWorse, 0), "{told}");
                let mut targets = pods(seed, canary, stable, w, rps, 0.1);
                let points = scrapes(seed, &mut targets, 1200);
                let (verdict, seconds, wrong) = judge(&points, w, 1200);
                assert_eq!((verdict, wrong), (Verdict::Worse, 0), "{told}");
                assert!(rps < 100.0 || seconds <= 240, "{told}: {seconds}");
            }
        }
    }

    #[test]
    fn a_canary_whose_pods_are_first_scraped_after_the_weight_is_in_force_is_waited_for() {
        for seed in 0..10 {
            let mut targets = pods(seed, 1, 3, 0.1, 1000.0, 0.001);
            targets[0].first += BEGUN * 1000;
            let points = scrapes(seed, &mut targets, 600);
            let (verdict, _, wrong) = judge(&points, 0.1, 600);
            assert_eq!((verdict, wrong), (Verdict::NotWorse, 0), "{seed}");
        }
        // One that gets no request is told all the same.
        let mut targets = pods(1, 1, 3, 0.1, 1000.0, 0.001);
        targets.remove(0);
        let (verdict, _, wrong) = judge(&scrapes(1, &mut targets, 300), 0.1, 300);
        assert_eq!((verdict, wrong), (Verdict::Undecided, 1));
    }

    #[test]
    fn many_routers_have_one_vote_for_one_bad_moment() {
        // Each node's router has both arms; the one canary pod answers badly for three seconds.
        let arms = [(1.0, 0.0), (9.0, 0.0)];
        let mut routers: Vec<Target> = (0..30)
            .map(|id| Target::new(id, arms, i64::from(id) * 500, 15_000))
            .collect();
        let mut points = scrapes(5, &mut routers, 600);
        let bad_since = ORIGIN + 300_000;
        for point in points.iter_mut().filter(|point| point.at > bad_since) {
            let is_canary = point.arm == Arm::Canary;
            if is_canary && point.class == Class::Bad {
                point.value += 3.0;
            }
        }
        let settings = settings(0.1);
        let (mut counters, mut problems) = (Counters::start("errors", 0), Vec::new());
        let mut evidence = Evidence::begin(&settings);
        evidence.weight_changed(&settings, 10, 100, at(0));
        for sample in counters.fold(batch(points.into_iter()), &mut problems) {
            evidence.observe(&settings, &sample);
        }
        let report = evidence.report(&settings).remove(0);
        assert!(report.log_exact > report.bound, "{report:?}");
        assert!(report.log_block < report.bound, "{report:?}");
        assert_ne!(report.verdict, Verdict::Worse);
    }

    /// Samples as (from, to) in seconds with the requests of the canary and of stable.
    fn rows(samples: &[Sample]) -> Vec<(i64, i64, f64, f64)> {
        let total = |counts: &ArmCounts| counts.total();
        let row = |sample: &Sample| {
            let second = |time: Timestamp| time.as_second() - ORIGIN / 1000;
            let (from, to) = (second(sample.from), second(sample.to));
            (from, to, total(&sample.canary), total(&sample.stable))
        };
        samples.iter().map(row).collect()
    }

    /// A target that counts one request each second, of one arm.
    fn steady(id: u32, arm: Arm, first: i64, every: i64) -> Vec<Point> {
        let point = |second: i64| Point {
            series: u64::from(id),
            process: u64::from(id),
            arm,
            class: Class::Good,
            at: ORIGIN + second * 1000,
            value: second as f64,
        };
        (0..20).map(|n| point(first + n * every)).collect()
    }

    fn fold(counters: &mut Counters, points: Vec<Point>) -> Vec<(i64, i64, f64, f64)> {
        let mut problems = Vec::new();
        let samples = counters.fold(batch(points.into_iter()), &mut problems);
        assert_eq!(problems, Vec::<String>::new());
        rows(&samples)
    }

    fn until(second: i64, points: &[Vec<Point>]) -> Vec<Point> {
        let all = points.iter().flatten().copied();
        all.filter(|point| point.at <= ORIGIN + second * 1000)
            .collect()
    }

    #[test]
    fn a_round_ends_when_each_process_was_scraped() {
        let all = [
            steady(1, Arm::Stable, 0, 15),
            steady(2, Arm::Canary, 5, 15),
            steady(3, Arm::Stable, 9, 15),
        ];
        let got = fold(&mut Counters::start("r", 0), until(60, &all));
        assert_eq!(
            got,
            [
                (0, 24, 15.0, 30.0),
                (15, 39, 15.0, 30.0),
                (30, 54, 15.0, 30.0)
            ]
        );
    }

    #[test]
    fn processes_that_are_scraped_more_often_wait_for_the_slowest() {
        let all = [steady(1, Arm::Stable, 2, 15), steady(2, Arm::Canary, 0, 60)];
        let got = fold(&mut Counters::start("r", 0), until(250, &all));
        assert_eq!(
            got,
            [
                // How far apart the canary's scrapes are is not known yet.
                (2, 47, 0.0, 45.0),
                (0, 62, 60.0, 15.0),
                (60, 120, 60.0, 45.0),
                (107, 180, 60.0, 60.0),
                (167, 240, 60.0, 60.0),
            ]
        );
    }

    #[test]
    fn one_missed_scrape_is_waited_for_and_a_process_that_is_gone_is_not() {
        let mut canary = steady(2, Arm::Canary, 5, 15);
        canary.retain(|point| point.at != ORIGIN + 35_000 && point.at < ORIGIN + 60_000);
        let all = [steady(1, Arm::Stable, 0, 15), canary];
        let got = fold(&mut Counters::start("r", 0), until(140, &all));
        assert_eq!(
            got,
            [
                (0, 20, 15.0, 15.0),
                (15, 50, 30.0, 30.0),
                // Its last scrape was at 50 s; two and a half of its last distance, 30 s, are over.
                (45, 135, 0.0, 90.0),
            ]
        );
    }

    #[test]
    fn what_was_scraped_at_one_moment_with_others_and_no_more_is_gone() {
        let mut gone = steady(2, Arm::Stable, 0, 15);
        gone.truncate(3);
        let all = [steady(1, Arm::Stable, 0, 15), gone];
        let got = fold(&mut Counters::start("r", 0), until(60, &all));
        let row = |from, requests| (from, from + 15, 0.0, requests);
        assert_eq!(
            got,
            [row(0, 30.0), row(15, 30.0), row(30, 15.0), row(45, 15.0)]
        );
    }

    #[test]
    fn a_cursor_stays_at_what_was_given_out() {
        let all = [
            steady(1, Arm::Stable, 0, 15),
            steady(2, Arm::Canary, 5, 15),
            steady(3, Arm::Stable, 9, 60),
        ];
        let whole = fold(&mut Counters::start("r", 0), until(250, &all));
        for (sums, cut) in (9..250).flat_map(|cut| [(false, cut), (true, cut)]) {
            let mut first = Counters::start("r", 0).with_sums(sums);
            let mut got = fold(&mut first, until(cut, &all));
            let cursor = serde_json::to_string(&first.cursor()).unwrap();
            let cursor: RuleCursor = serde_json::from_str(&cursor).unwrap();
            let mut second = Counters::resume("r", 0, &cursor).with_sums(sums);
            let mut again = until(250, &all);
            // A source that cannot look back has no scrape from before the cut.
            again.retain(|point| !sums || point.at > ORIGIN + cut * 1000);
            got.extend(fold(&mut second, again));
            if !sums {
                assert_eq!(got, whole, "cut at {cut}");
            }
            // Each counts one request a second since its first scrape.
            let ends: i64 = second.cursor().of.values().map(|of| of.at - ORIGIN).sum();
            let given: f64 = got.iter().map(|row| row.2 + row.3).sum();
            assert_eq!(
                given as i64,
                ends / 1000 - 5 - 9,
                "cut at {cut}, {sums}: {got:?}"
            );
        }
    }

    #[test]
    fn a_round_is_never_open_for_long() {
        // Each pod is seen twice, and then another takes its place: somebody is always missing.
        let mut all: Vec<Vec<Point>> = vec![steady(0, Arm::Canary, 0, 15)];
        for n in 1..20 {
            let mut pod = steady(n, Arm::Stable, i64::from(n) * 14, 15);
            pod.truncate(2);
            all.push(pod);
        }
        let got = fold(&mut Counters::start("r", 0), until(280, &all));
        let longest = got.iter().map(|(from, to, ..)| to - from).max();
        let patience = PATIENCE_MS / 1000 + 30;
        assert!(
            longest.is_some_and(|longest| longest <= patience),
            "{got:?}"
        );
        assert!(got.len() > 1);
    }
}

//! How much more do counts vary than independent requests would, and over how long a time?
//!
//! Bad requests of one arm are summed in blocks of time, four of them in a longer one, and so on.
//! At each length stands the Fano factor (variance over mean, about the arm's rate so far): 1 for
//! independent requests, more where bad times last. Growing with the length, it also tells for
//! how long. The same numbers tell of a share (bad canary requests among all bad ones).
//!
//! Caveats: a length is judged from five blocks on; what lasts longer than a fifth of the time
//! that was seen is not seen. Not here: what a verdict makes of it (`rollout::evidence`).

use serde::{Deserialize, Serialize};

/// Lengths: the first block's times 1, 4, 16, 64 and 256.
const LEVELS: usize = 5;
/// Blocks of one length in the next longer one.
const FANOUT: u8 = 4;
/// Blocks that a length needs to be judged by its variance.
const LEAST_BLOCKS: f64 = 5.0;
/// Standard deviations from which on a factor is no chance.
const STANDS_OUT: f64 = 1.5;
/// Neighbours that a length needs to be judged by their differences.
const LEAST_NEIGHBOURS: f64 = 8.0;

/// Counts in blocks of time, at several lengths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Dispersion {
    levels: Vec<Level>,
}

/// One length of blocks. Stored as a plain array: there are many of them in a status.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(from = "[f64; 14]", into = "[f64; 14]")]
struct Level {
    blocks: f64,
    sums: Sums,
    open: (f64, f64),
    filled: u8,
    before: (f64, f64),
    differences: f64,
    largest: f64,
    neighbours: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sums {
    bad: f64,
    total: f64,
    bad_bad: f64,
    bad_total: f64,
    total_total: f64,
}

/// What one length says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fano {
    /// Variance over mean; 1 for independent requests.
    pub factor: f64,
    /// Standard deviation of `factor` if it were 1.
    pub error: f64,
    /// Mean number of bad requests in a block.
    pub mean: f64,
    /// Number of blocks.
    pub blocks: f64,
}

impl Fano {
    /// The factor as far as it stands out from its own error.
    pub fn prudent(&self) -> f64 {
        self.factor / (1.0 + self.error)
    }

    /// Whether independent requests would hardly have shown it.
    fn stands_out(&self) -> bool {
        self.factor - 1.0 > STANDS_OUT * self.error
    }
}

impl Dispersion {
    /// Adds the next block of the shortest length: `bad` of `total`.
    pub fn add(&mut self, bad: f64, total: f64) {
        self.levels.resize(LEVELS, Level::default());
        let (mut bad, mut total) = (bad, total);
        for level in &mut self.levels {
            match level.add(bad, total) {
                Some(longer) => (bad, total) = longer,
                None => return,
            }
        }
    }

    /// The Fano factor at each length that can be judged, with the length in shortest blocks.
    pub fn factors(&self) -> impl DoubleEndedIterator<Item = (f64, Fano)> + '_ {
        let lengths = self.levels.iter().enumerate();
        lengths.filter_map(|(i, level)| Some((length(i), level.fano()?)))
    }

    /// By how much the largest Fano factor exceeds 1, of the lengths where it stands out from
    /// its error; 0 where none does.
    pub fn excess(&self) -> f64 {
        self.factors()
            .filter(|(_, fano)| fano.stands_out())
            .map(|(_, fano)| fano.factor - 1.0)
            .fold(0.0, f64::max)
    }

    /// By how much the shortest length's Fano factor exceeds 1.
    pub fn first_excess(&self) -> f64 {
        let first = self.levels.first().and_then(Level::fano);
        first.map_or(0.0, |fano| (fano.factor - 1.0).max(0.0))
    }

    /// Relative variance of the rate over a time of so many shortest blocks, beyond chance and as
    /// large as it may well be: that of the longest length within it. `None` while nothing is known.
    pub fn relative_variance(&self, blocks: f64) -> Option<f64> {
        let known: Vec<(f64, Fano)> = self.factors().collect();
        let within = known.iter().rev().find(|(length, _)| *length <= blocks);
        let (_, fano) = within.or_else(|| known.first())?;
        let large = fano.factor * (1.0 + fano.error);
        Some(((large - 1.0) / fano.mean).max(0.0))
    }

    /// The part of `whole`'s excess that is also in `self`, 0..1: both are compared at the longest
    /// length where `whole` has one and `self` can be judged, by the differences of neighbouring
    /// blocks (a lasting change of level is one difference, and the largest is left out).
    /// 1 while nothing can be said.
    pub fn part_of(&self, whole: &Self) -> f64 {
        let pairs = self.levels.iter().zip(&whole.levels).rev();
        let known = pairs.filter_map(|(own, all)| Some((own.trimmed()?, all.jumpy()?)));
        let telling = known.into_iter().find(|(_, all)| *all > 1.5);
        telling.map_or(1.0, |(own, all)| {
            ((own - 1.0) / (all - 1.0)).clamp(0.0, 1.0)
        })
    }
}

fn length(level: usize) -> f64 {
    f64::from(FANOUT).powi(i32::try_from(level).unwrap_or(0))
}

impl Level {
    /// Folds a block in; the longer block that it completes, if it does.
    fn add(&mut self, bad: f64, total: f64) -> Option<(f64, f64)> {
        self.compare(bad, total);
        self.blocks += 1.0;
        self.sums.add(bad, total);
        self.open = (self.open.0 + bad, self.open.1 + total);
        self.filled += 1;
        if self.filled < FANOUT {
            return None;
        }
        self.filled = 0;
        Some(std::mem::take(&mut self.open))
    }

    /// Pearson's chi-squared of two neighbours: on average 1 where they differ only by chance.
    fn compare(&mut self, bad: f64, total: f64) {
        let (bad_before, before) = std::mem::replace(&mut self.before, (bad, total));
        let rate = (bad + bad_before) / (total + before);
        if total <= 0.0 || before <= 0.0 || rate <= 0.0 || rate >= 1.0 {
            return;
        }
        let apart = bad_before / before - bad / total;
        let difference = apart * apart / (rate * (1.0 - rate) * (1.0 / before + 1.0 / total));
        self.differences += difference;
        self.largest = self.largest.max(difference);
        self.neighbours += 1.0;
    }

    fn fano(&self) -> Option<Fano> {
        let (sums, n) = (&self.sums, self.blocks);
        if n < LEAST_BLOCKS || sums.bad <= 0.0 {
            return None;
        }
        let rate = sums.bad / sums.total;
        let squares = sums.bad_bad - 2.0 * rate * sums.bad_total + rate * rate * sums.total_total;
        let mean = sums.bad / n;
        Some(Fano {
            factor: squares / sums.bad * n / (n - 1.0),
            error: (2.0 / (n - 1.0) + 1.0 / sums.bad).sqrt(),
            mean,
            blocks: n,
        })
    }

    /// Mean difference of neighbours.
    fn jumpy(&self) -> Option<f64> {
        (self.neighbours >= LEAST_NEIGHBOURS).then(|| self.differences / self.neighbours)
    }

    /// Mean difference without the largest, as large as it may well be.
    fn trimmed(&self) -> Option<f64> {
        let n = self.neighbours;
        if n < LEAST_NEIGHBOURS {
            return None;
        }
        let mean = (self.differences - self.largest) / (n - 1.0) * (1.0 + 3.0 / n);
        Some(mean * (1.0 + 2.0 * (2.0 / n).sqrt()))
    }
}

impl Sums {
    fn add(&mut self, bad: f64, total: f64) {
        self.bad += bad;
        self.total += total;
        self.bad_bad += bad * bad;
        self.bad_total += bad * total;
        self.total_total += total * total;
    }
}

impl From<Level> for [f64; 14] {
    fn from(level: Level) -> Self {
        let sums = level.sums;
        [
            level.blocks,
            sums.bad,
            sums.total,
            sums.bad_bad,
            sums.bad_total,
            sums.total_total,
            level.open.0,
            level.open.1,
            f64::from(level.filled),
            level.before.0,
            level.before.1,
            level.differences,
            level.largest,
            level.neighbours,
        ]
    }
}

impl From<[f64; 14]> for Level {
    fn from(numbers: [f64; 14]) -> Self {
        let [
            blocks,
            bad,
            total,
            bad_bad,
            bad_total,
            total_total,
            rest @ ..,
        ] = numbers;
        let [
            open_bad,
            open_total,
            filled,
            before_bad,
            before_total,
            differences,
            largest,
            neighbours,
        ] = rest;
        Self {
            blocks,
            sums: Sums {
                bad,
                total,
                bad_bad,
                bad_total,
                total_total,
            },
            open: (open_bad, open_total),
            filled: filled as u8,
            before: (before_bad, before_total),
            differences,
            largest,
            neighbours,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::chance::Chance;

    /// Blocks of 1,000 requests, of which 1% times a factor are bad; the factor lasts for `lasting` blocks.
    fn counted(seed: u64, blocks: u32, lasting: u32, factors: [f64; 2]) -> Dispersion {
        let (mut chance, mut dispersion) = (Chance::seeded(seed), Dispersion::default());
        let mut factor = 1.0;
        for i in 0..blocks {
            if i % lasting == 0 {
                factor = if chance.uniform() < 0.5 {
                    factors[0]
                } else {
                    factors[1]
                };
            }
            dispersion.add(chance.poisson(10.0 * factor), 1000.0);
        }
        dispersion
    }

    #[test]
    fn independent_requests_have_a_factor_near_one_at_every_length() {
        let dispersion = counted(1, 2000, 1, [1.0, 1.0]);
        for (length, fano) in dispersion.factors() {
            assert!(
                (fano.factor - 1.0).abs() < 3.5 * fano.error,
                "{length}: {fano:?}"
            );
        }
        assert!(dispersion.excess() < 2.0);
    }

    #[test]
    fn bad_times_that_last_show_at_the_lengths_that_they_last() {
        let dispersion = counted(2, 2000, 16, [0.5, 1.5]);
        let factors: Vec<f64> = dispersion.factors().map(|(_, f)| f.factor).collect();
        // Variance of the factor .25: 1 + 10 * .25 in a block, 1 + 160 * .25 in sixteen.
        assert!((2.5..4.5).contains(&factors[0]), "{factors:?}");
        assert!((25.0..60.0).contains(&factors[2]), "{factors:?}");
    }

    #[test]
    fn a_change_of_level_is_no_part_of_the_noise() {
        let noisy = counted(3, 400, 8, [0.3, 1.7]);
        let mut step = Dispersion::default();
        let mut chance = Chance::seeded(4);
        for i in 0..200 {
            step.add(chance.poisson(if i < 100 { 10.0 } else { 40.0 }), 1000.0);
        }
        assert!(step.excess() > 20.0);
        assert!(step.part_of(&noisy) < 0.5, "{}", step.part_of(&noisy));
        assert!(counted(5, 400, 8, [0.3, 1.7]).part_of(&noisy) > 0.5);
        assert!((Dispersion::default().part_of(&noisy) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn it_goes_on_after_json_as_if_nothing_had_been() {
        let dispersion = counted(6, 333, 7, [0.5, 1.5]);
        let text = serde_json::to_string(&dispersion).unwrap();
        assert!(text.len() < 900, "{} bytes", text.len());
        let read: Dispersion = serde_json::from_str(&text).unwrap();
        assert!((read.excess() - dispersion.excess()).abs() < 1e-9);
        assert_eq!(read.levels[1].filled, dispersion.levels[1].filled);
    }
}

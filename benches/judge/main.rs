//! How many ticks a second `sluice judge` takes, on one core: reading, parsing and judging.
//!
//! Lines are prepared in memory, with counts that differ from tick to tick; one run, and 1,000
//! interleaved ones. Nothing fails by a figure. Not measured here: the pipe, and writing verdicts.

use std::hint::black_box;
use std::io::Write as _;

#[allow(dead_code)] // what the budgets need besides
#[path = "../budgets/stopwatch.rs"]
mod stopwatch;

use sluice::cli::judge::line::Lines;
use sluice::rollout::evidence::judge::{Judge, Terms};
use sluice::stats::splitmix::SplitMix;

const TICKS: usize = 1_000_000;
const TARGET: f64 = 1e6;

/// Lines of `runs` interleaved runs, at a rate of bad requests of about 1%.
fn lines(runs: usize) -> Vec<u8> {
    let (mut chance, mut text) = (SplitMix(7), Vec::new());
    for i in 0..TICKS {
        let (run, t) = (i % runs, i / runs);
        let (n_c, n_b) = (8 + chance.below(5), 80 + chance.below(21));
        let (x_c, x_b) = (
            u64::from(chance.below(10) == 0),
            u64::from(chance.below(100) < 60),
        );
        // Writing to memory cannot fail.
        let _ = writeln!(
            text,
            r#"{{"run": "run-{run}", "t": {t}.0, "weight": 10, "canary": {{"total": {n_c}, "bad": {x_c}}}, "stable": {{"total": {n_b}, "bad": {x_b}}}}}"#
        );
    }
    text
}

fn measure(runs: usize) -> f64 {
    let text = lines(runs);
    let (mut judge, mut reader) = (Judge::new(Terms::default()), Lines::default());
    let start = stopwatch::now();
    let mut bad = 0;
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        bad += u64::from(reader.read(line, |tick| judge.observe(tick)).is_err());
    }
    judge.finish();
    let seconds = start.elapsed().as_secs_f64();
    black_box(judge.reports().count());
    assert_eq!(bad, 0, "all lines are good");
    TICKS as f64 / seconds
}

fn main() {
    for runs in [1, 1000, 100_000] {
        let rate = measure(runs);
        let mark = if rate >= TARGET { "" } else { "  MISSED" };
        println!(
            "{runs:>7} runs: {:.2} million ticks a second, target 1{mark}",
            rate / 1e6
        );
    }
}

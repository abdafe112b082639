//! Many runs of one row, over all cores, with a word about how long it will take.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sluice::rollout::forecast::chance::Chance;

use super::table::Row;

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Parts to run; all if empty.
    pub parts: Vec<String>,
    /// Runs where rates are near 1%; means take a tenth of them.
    pub runs: u64,
    /// Only rows whose name has this in it.
    pub row: String,
    pub seed: u64,
    pub threads: usize,
}

impl Wanted {
    /// Results of so many runs of the row `name`, each with its own chance, in no order.
    pub fn many<T: Send>(&self, name: &str, runs: u64, one: impl Fn(Chance) -> T + Sync) -> Vec<T> {
        let (next, done) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        let seed = self.seed ^ fingerprint(name);
        #[allow(clippy::disallowed_methods)] // how long it takes is no part of what is simulated
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let run = next.fetch_add(1, Ordering::Relaxed);
                        if run >= runs {
                            return;
                        }
                        let result = one(Chance::of(seed, run));
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.push(result);
                        progress(name, done.len() as u64, runs, begun);
                    }
                });
            }
        });
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        } else {
            eprintln!(
                "{name}: {runs} runs in {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a row was asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.row)
    }

    /// Runs for a mean.
    pub fn few(&self) -> u64 {
        (self.runs / 10).clamp(10, 1000)
    }
}

/// Prints a row as soon as it is measured; the part's table comes when all of it is.
pub fn printed(row: Row) -> Row {
    println!("  {row}");
    row
}

fn progress(name: &str, done: u64, runs: u64, begun: Instant) {
    if !std::io::stderr().is_terminal() || !done.is_multiple_of((runs / 50).max(1)) {
        return;
    }
    let left = begun.elapsed().as_secs_f64() * (runs as f64 / done as f64 - 1.0);
    eprint!("\r\x1b[K{name}: {done} of {runs}, {left:.0} s left");
    let _ = std::io::stderr().flush();
}

/// FNV-1a, so that each row has its own stream of chance.
fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Arithmetic mean; 0 for nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value that this part of all lie below.
pub fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 - 1.0) * part).round().max(0.0);
    values.get(at as usize).copied().unwrap_or(f64::NAN)
}

/// "0.24%, up to 0.38%": the part of so many runs, and the end of its 95% interval (Wilson).
pub fn part(hits: usize, runs: usize) -> (f64, f64) {
    let (n, p, z) = (runs.max(1) as f64, hits as f64 / runs.max(1) as f64, 1.96);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    (p, (middle + half) / (1.0 + z * z / n))
}

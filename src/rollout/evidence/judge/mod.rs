//! Verdicts for streams of counts from anywhere: the daemon's tests without the daemon.
//!
//! Guarantees: the same kernels as a rollout's evidence, per run; a tick that is refused changes
//! nothing; a run costs under a kilobyte with counts, and with buckets or samples what these
//! take. Assumptions: ticks of one run come in the order of time; runs may be interleaved.
//! Caveats: at most [`MOST_RUNS`] runs; ticks of further ones are refused.
//!
//! Not here: how ticks are read and verdicts are written.

mod report;
mod run;
mod terms;
mod tick;

use std::collections::HashMap;

pub use report::{Numbers, Report};
pub use terms::{Kinds, Terms};
pub use tick::{Counts, Exposure, Fault, MOST_BOUNDARIES, Tick};

use run::Run;

/// The most runs that are judged at a time.
pub const MOST_RUNS: usize = 1_000_000;

/// Judges any number of runs.
#[derive(Debug)]
pub struct Judge {
    terms: Terms,
    runs: Vec<Run>,
    places: HashMap<Box<str>, usize>,
    /// Where the newest tick went: the next one often goes there too.
    last: usize,
}

impl Judge {
    /// Nothing seen yet.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            runs: Vec::new(),
            places: HashMap::new(),
            last: 0,
        }
    }

    /// Folds a tick in and answers with the number of its run; or says why it is not taken.
    pub fn observe(&mut self, tick: &Tick<'_>) -> Result<usize, Fault> {
        tick.check()?;
        let place = match self.find(tick.run) {
            Some(place) => place,
            None => self.begin(tick)?,
        };
        let Some(run) = self.runs.get_mut(place) else {
            return Ok(place);
        };
        run.admit(tick)?;
        run.observe(&self.terms, tick);
        self.last = place;
        Ok(place)
    }

    /// The stream has ended: open blocks vote.
    pub fn finish(&mut self) {
        for run in &mut self.runs {
            run.close(&self.terms);
        }
    }

    /// What the run with this number comes to.
    pub fn report(&self, place: usize) -> Option<Report<'_>> {
        let run = self.runs.get(place)?;
        Some(Report::of(run, &self.terms))
    }

    /// What all runs come to, in the order in which they began.
    pub fn reports(&self) -> impl Iterator<Item = Report<'_>> {
        self.runs.iter().map(|run| Report::of(run, &self.terms))
    }

    fn find(&self, name: &str) -> Option<usize> {
        match self.runs.get(self.last) {
            Some(run) if *run.name == *name => Some(self.last),
            _ => self.places.get(name).copied(),
        }
    }

    /// Begins the tick's run, if the tick can begin one.
    fn begin(&mut self, tick: &Tick<'_>) -> Result<usize, Fault> {
        let kinds = self.terms.kinds.unwrap_or(Kinds::of(tick));
        if kinds == Kinds::default() {
            let wanted = "bad, buckets, samples or events";
            return Err(Fault::new("canary", "none of the four", wanted));
        }
        kinds.admit(Kinds::of(tick))?;
        if self.runs.len() >= MOST_RUNS {
            let wanted = format!("one of the {MOST_RUNS} that began");
            return Err(Fault::new("run", "one more", wanted));
        }
        let place = self.runs.len();
        self.runs.push(Run::begin(&self.terms, tick, kinds));
        self.places.insert(tick.run.into(), place);
        Ok(place)
    }
}

#[cfg(test)]
mod tests;

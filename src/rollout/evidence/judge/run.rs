//! One run of a stream: its evidence, and the verdict that was first reached.
//!
//! The tests are those of the daemon; here is only when a block ends, when a weight has changed, and
//! what is kept of a verdict. A block is closed by the first tick that lies beyond it, since only
//! then is it known to be whole; what it shows is dated by its last tick.
//!
//! Not here: which runs there are.

use crate::stats::rank::Ranks;
use crate::stats::share::Split;
use crate::stats::{Arm, Arms};

use super::super::errors::Errors;
use super::super::events::Events;
use super::super::guard::Guard;
use super::super::report::Verdict;
use super::super::times::{self, Times};
use super::report::Reached;
use super::terms::{Kinds, Terms};
use super::tick::{Counts, Exposure, Fault, Tick};

/// State of one run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) name: Box<str>,
    pub(super) kinds: Kinds,
    /// Time and weight of the newest tick.
    pub(super) t: f64,
    pub(super) weight: f64,
    /// Time of the first tick with this weight.
    since: f64,
    /// Number of the open block; `NAN` while none is open.
    block: f64,
    pub(super) ticks: u64,
    /// What both witnesses of the errors, and of each other kind, must reach.
    pub(super) bounds: (f64, f64),
    /// Requests of the ticks that were counted.
    pub(super) requests: f64,
    pub(super) guard: Guard<f64>,
    pub(super) errors: Errors,
    pub(super) times: Option<Box<Times>>,
    pub(super) ranks: Option<Box<Ranks>>,
    pub(super) events: Option<Box<Events>>,
    pub(super) ranks_worse: bool,
    pub(super) reached: Option<Box<Reached>>,
}

impl Run {
    /// A run that begins with this tick, which is still to be observed.
    pub(super) fn begin(terms: &Terms, tick: &Tick<'_>, kinds: Kinds) -> Self {
        let bounds = (kinds.errors_part(), kinds.other_part());
        Self {
            name: tick.run.into(),
            kinds,
            t: f64::NEG_INFINITY,
            weight: tick.weight,
            since: tick.t,
            block: f64::NAN,
            ticks: 0,
            bounds: (terms.bound(bounds.0), terms.bound(bounds.1)),
            requests: 0.0,
            guard: Guard::default(),
            errors: Errors::begin(),
            times: kinds.times.then(|| Box::new(Times::begin())),
            ranks: kinds.samples.then(Box::default),
            events: kinds.events.then(|| Box::new(Events::begin())),
            ranks_worse: false,
            reached: None,
        }
    }

    /// The configured share of the canary.
    pub(super) fn share(&self) -> f64 {
        self.weight / 100.0
    }

    /// Whether the tick belongs to this run, and comes after its newest.
    pub(super) fn admit(&self, tick: &Tick<'_>) -> Result<(), Fault> {
        if tick.t <= self.t {
            let wanted = format!("more than {}, the run's newest", self.t);
            return Err(Fault::new("t", tick.t, wanted));
        }
        self.kinds.admit(Kinds::of(tick))?;
        match &self.times {
            Some(times) if tick.canary.buckets.is_some() && !times.fits(tick.boundaries) => {
                let wanted = "the boundaries that the run began with";
                Err(Fault::new("buckets", "other boundaries", wanted))
            }
            _ => Ok(()),
        }
    }

    /// Folds an admitted tick in.
    pub(super) fn observe(&mut self, terms: &Terms, tick: &Tick<'_>) {
        self.turn(terms, tick);
        let previous = std::mem::replace(&mut self.t, tick.t);
        self.ticks += 1;
        if self.weight > 0.0 && tick.t - self.since >= terms.settle {
            self.block = block_of(terms, tick.t);
            self.requests += tick.canary.total + tick.stable.total;
            self.fold(terms, tick);
            let split = Split {
                canary: tick.canary.total,
                stable: tick.stable.total,
            };
            let from = if previous.is_finite() {
                previous
            } else {
                tick.t
            };
            let (share, t) = (self.share(), tick.t);
            self.guard.fold(share, split, from, |since| t - since);
            self.judge(terms);
        }
        self.learn(tick);
    }

    /// What ends before the tick: the open block, and the step.
    fn turn(&mut self, terms: &Terms, tick: &Tick<'_>) {
        #[allow(clippy::float_cmp)] // another number is another weight
        let same = tick.weight == self.weight;
        #[allow(clippy::float_cmp)] // whole numbers
        let over = !self.block.is_nan() && block_of(terms, tick.t) != self.block;
        if over || !same {
            self.close(terms);
        }
        if !same {
            self.weight = tick.weight;
            self.since = tick.t;
            self.guard = Guard::default();
            self.errors.weight_changed();
            if let Some(times) = &mut self.times {
                times.weight_changed();
            }
            if let Some(ranks) = &mut self.ranks {
                ranks.restart();
            }
            if let Some(events) = &mut self.events {
                events.weight_changed();
            }
        }
    }

    /// Lets the open block vote, if there is one and the share was not wrong.
    pub(super) fn close(&mut self, terms: &Terms) {
        if std::mem::replace(&mut self.block, f64::NAN).is_nan() {
            return;
        }
        let (w, wrong) = (self.share(), self.guard.is_wrong());
        if self.kinds.errors {
            if wrong {
                self.errors.tail.drop_block();
            } else {
                self.errors.tail.close_block(w, terms.errors.ratio);
            }
        }
        match &mut self.times {
            Some(times) if wrong => times.drop_block(),
            Some(times) => times.close_block(w, terms.times.ratio),
            None => {}
        }
        // Pods' time is no share of the requests.
        if let Some(events) = &mut self.events {
            events.close_block(terms.events.ratio);
        }
        self.judge(terms);
    }

    fn fold(&mut self, terms: &Terms, tick: &Tick<'_>) {
        if let (Some(x_c), Some(x_b)) = (tick.canary.bad, tick.stable.bad) {
            let arm = |counts: &Counts<'_>, bad| Arm::new(counts.total, bad);
            let arms = Arms {
                canary: arm(&tick.canary, x_c),
                stable: arm(&tick.stable, x_b),
            };
            let not_worse = terms.not_worse(&terms.errors);
            self.errors
                .observe(&arms, &terms.errors.margin(), &not_worse);
        }
        let w = self.share();
        if let (Some(times), Some(canary), Some(stable)) =
            (&mut self.times, tick.canary.buckets, tick.stable.buckets)
        {
            let terms = times::Terms {
                w,
                worse: terms.times.margin(),
                not_worse: terms.not_worse(&terms.times),
            };
            times.observe(canary, stable, &terms);
        }
        if let (Some(ranks), Some((canary, stable))) = (&mut self.ranks, tick.samples) {
            let (higher, lower) = if terms.higher_is_worse {
                (canary, stable)
            } else {
                (stable, canary)
            };
            let alpha = terms.alpha * self.kinds.other_part();
            let look = ranks.observe(higher, lower);
            self.ranks_worse |= look.is_some_and(|look| look.shows(alpha));
        }
        if let (Some(events), Some((canary, stable))) = (&mut self.events, tick.events) {
            let arm = |arm: Exposure| Arm::new(arm.seconds, arm.events);
            let arms = Arms {
                canary: arm(canary),
                stable: arm(stable),
            };
            events.observe(&arms, &terms.events.margin());
        }
    }

    /// Every tick tells how stable behaves; to be called after the tick was tested.
    fn learn(&mut self, tick: &Tick<'_>) {
        if let (Some(times), Some(stable)) = (&mut self.times, tick.stable.buckets) {
            times.adopt(tick.boundaries);
            times.learn(stable);
        }
    }

    /// Keeps a verdict that is reached now; worse wins over not worse, nothing else changes.
    fn judge(&mut self, terms: &Terms) {
        let before = self.reached.as_ref().map(|reached| reached.verdict);
        let verdict = if before == Some(Verdict::Worse) {
            return;
        } else if self.is_worse() {
            Verdict::Worse
        } else if before.is_none() && self.is_not_worse(terms) {
            Verdict::NotWorse
        } else {
            return;
        };
        self.reached = Some(Box::new(Reached::now(self, terms, verdict)));
    }

    fn is_worse(&self) -> bool {
        let (errors, other) = self.bounds;
        let times = self.times.as_ref();
        let events = self.events.as_ref();
        (self.kinds.errors && self.errors.is_worse(errors))
            || times.is_some_and(|times| times.is_worse(other))
            || events.is_some_and(|events| events.is_worse(other))
            || self.ranks_worse
    }

    /// Every kind that can be shown to be not worse is; a rank test cannot.
    fn is_not_worse(&self, terms: &Terms) -> bool {
        let bound = terms.bound_not_worse();
        let errors = self.errors.tail.log_not_worse() >= bound;
        let times = self.times.as_ref();
        let events = self.events.as_ref();
        let calm = events.is_none_or(|events| events.report(&terms.events.margin()).passes());
        (self.kinds.errors || self.kinds.times || self.kinds.events)
            && (errors || !self.kinds.errors)
            && calm
            && times.is_none_or(|times| times.log_not_worse() >= bound)
    }
}

/// The number of the block in which `t` lies.
fn block_of(terms: &Terms, t: f64) -> f64 {
    (t / terms.block).floor()
}

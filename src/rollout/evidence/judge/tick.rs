//! One tick of a stream: increments of both arms since the tick before, and what is wrong with it.
//!
//! A [`Tick`] borrows from whoever read it. [`Tick::check`] finds what cannot be a count; whether it
//! fits the run it belongs to is said by the run. Not here: how ticks are written.

use std::fmt;

/// The greatest count of a tick, so that sums stay exact.
const LARGEST: f64 = 1e15;
/// The most boundaries that a histogram may have.
pub const MOST_BOUNDARIES: usize = 256;
/// The longest name of a run, in bytes.
pub const LONGEST_NAME: usize = 1024;

/// What both arms did since the run's tick before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick<'a> {
    /// The run that it belongs to.
    pub run: &'a str,
    /// Time in seconds, from any moment on.
    pub t: f64,
    /// The configured share of the canary in percent.
    pub weight: f64,
    /// The canary's increments.
    pub canary: Counts<'a>,
    /// The stable's increments.
    pub stable: Counts<'a>,
    /// Finite limits of the buckets in seconds, rising; empty without buckets.
    pub boundaries: &'a [f64],
    /// Sampled numbers, canary's and stable's, where there are any.
    pub samples: Option<(&'a [f64], &'a [f64])>,
    /// Rare events, canary's and stable's, where they are counted.
    pub events: Option<(Exposure, Exposure)>,
}

/// Rare events of one arm's pods, and the time in which they could happen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Exposure {
    /// Seconds that the pods lived, all together.
    pub seconds: f64,
    /// Number of events.
    pub events: f64,
}

/// Increments of one arm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts<'a> {
    /// Requests.
    pub total: f64,
    /// Bad ones among them, where they are counted.
    pub bad: Option<f64>,
    /// Requests per bucket, not cumulative, the last without limit; where they are counted.
    pub buckets: Option<&'a [f64]>,
}

/// Why a tick is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field with its path, or where in the text.
    pub field: String,
    /// What is there.
    pub found: String,
    /// What would be right.
    pub wanted: String,
}

impl Fault {
    /// A fault of `field`.
    pub fn new(
        field: impl Into<String>,
        found: impl fmt::Display,
        wanted: impl fmt::Display,
    ) -> Self {
        Self {
            field: field.into(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            found,
            wanted,
        } = self;
        write!(f, "{field}: found {found}, wanted {wanted}")
    }
}

impl Tick<'_> {
    /// Whether the numbers can be what they say.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.run.len() > LONGEST_NAME {
            let found = format!("{} bytes", self.run.len());
            let wanted = format!("at most {LONGEST_NAME}");
            return Err(Fault::new("run", found, wanted));
        }
        if self.t.is_nan() || self.t.abs() > LARGEST {
            return Err(Fault::new("t", self.t, "a time in seconds"));
        }
        if !(0.0..=100.0).contains(&self.weight) {
            return Err(Fault::new("weight", self.weight, "a percentage, 0 to 100"));
        }
        self.canary.check("canary")?;
        self.stable.check("stable")?;
        if let Some((canary, stable)) = &self.events {
            canary.check("canary")?;
            stable.check("stable")?;
        }
        both(self.canary.bad.is_some(), self.stable.bad.is_some(), "bad")?;
        both(
            self.canary.buckets.is_some(),
            self.stable.buckets.is_some(),
            "buckets",
        )?;
        self.check_boundaries()
    }

    fn check_boundaries(&self) -> Result<(), Fault> {
        if self.boundaries.len() > MOST_BOUNDARIES {
            let wanted = format!("at most {MOST_BOUNDARIES} boundaries");
            return Err(Fault::new("buckets", self.boundaries.len(), wanted));
        }
        let rising = self.boundaries.windows(2).all(|pair| pair[0] < pair[1]);
        let limits = self
            .boundaries
            .iter()
            .all(|le| le.is_finite() && *le >= 0.0);
        if !rising || !limits {
            let wanted = "rising boundaries, none below 0";
            return Err(Fault::new("buckets", "others", wanted));
        }
        let fits = |counts: Option<&[f64]>| {
            counts.is_none_or(|counts| counts.len() == self.boundaries.len() + 1)
        };
        if fits(self.canary.buckets) && fits(self.stable.buckets) {
            Ok(())
        } else {
            let wanted = "the same boundaries in both arms";
            Err(Fault::new("buckets", "others", wanted))
        }
    }
}

impl Counts<'_> {
    fn check(&self, arm: &str) -> Result<(), Fault> {
        count(&format_args!("{arm}.total"), self.total)?;
        if let Some(bad) = self.bad {
            count(&format_args!("{arm}.bad"), bad)?;
            if bad > self.total {
                let wanted = format!("at most {arm}.total, {}", self.total);
                return Err(Fault::new(format!("{arm}.bad"), bad, wanted));
            }
        }
        for bucket in self.buckets.unwrap_or_default() {
            count(&format_args!("{arm}.buckets"), *bucket)?;
        }
        Ok(())
    }
}

impl Exposure {
    fn check(&self, arm: &str) -> Result<(), Fault> {
        count(&format_args!("events.{arm}.seconds"), self.seconds)?;
        count(&format_args!("events.{arm}.events"), self.events)
    }
}

fn count(field: &fmt::Arguments<'_>, value: f64) -> Result<(), Fault> {
    if (0.0..=LARGEST).contains(&value) {
        return Ok(());
    }
    let wanted = if value < 0.0 {
        "0 or more"
    } else {
        "a count, at most 1e15"
    };
    Err(Fault::new(field.to_string(), value, wanted))
}

fn both(canary: bool, stable: bool, field: &str) -> Result<(), Fault> {
    let (there, missing) = match (canary, stable) {
        (true, false) => ("canary", "stable"),
        (false, true) => ("stable", "canary"),
        _ => return Ok(()),
    };
    let wanted = format!("it, as {there}.{field} is there");
    Err(Fault::new(format!("{missing}.{field}"), "nothing", wanted))
}

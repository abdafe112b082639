//! One line of a stream: JSON to a tick, borrowed from the line and from buffers that are kept.
//!
//! Unknown fields are passed over. What is missing or of the wrong sort is said with the field,
//! what was found and what is wanted. Not here: whether the numbers can be counts (the judge).

use std::borrow::Cow;

use super::json::Cursor;
use crate::rollout::evidence::judge::{Counts, Exposure, Fault, MOST_BOUNDARIES, Tick};

/// Samples of one arm that a line may have.
const MOST_SAMPLES: usize = 10_000;

/// Reads lines; its buffers are used again for the next.
#[derive(Debug, Default)]
pub struct Lines {
    canary: Histogram,
    stable: Histogram,
    samples: (Vec<f64>, Vec<f64>),
}

/// Buckets of one arm: as they stand in the line, then parted.
#[derive(Debug, Default)]
struct Histogram {
    cumulative: Vec<(f64, f64)>,
    boundaries: Vec<f64>,
    counts: Vec<f64>,
}

/// An arm as it stands in the line.
#[derive(Debug, Default, Clone, Copy)]
struct Arm {
    total: Option<f64>,
    bad: Option<f64>,
    buckets: bool,
}

/// Fields of a line in the order in which they may come.
#[derive(Debug, Default)]
struct Fields<'a> {
    run: Option<Cow<'a, str>>,
    t: Option<f64>,
    weight: Option<f64>,
    canary: Option<Arm>,
    stable: Option<Arm>,
    samples: bool,
    events: Option<(Exposure, Exposure)>,
}

impl Fields<'_> {
    /// Whether there is something else than requests.
    fn others(&self) -> bool {
        self.samples || self.events.is_some()
    }
}

impl Lines {
    /// Reads one line and hands its tick to `take`.
    pub fn read<T>(
        &mut self,
        line: &[u8],
        take: impl FnOnce(&Tick<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut cursor = Cursor::new(line);
        let mut fields = Fields::default();
        let Self {
            canary,
            stable,
            samples,
        } = self;
        cursor.object("the line", |name, cursor| {
            match name {
                b"run" => fields.run = Some(cursor.string("run")?),
                b"t" => fields.t = Some(cursor.number("t")?),
                b"weight" => fields.weight = Some(cursor.number("weight")?),
                b"canary" => fields.canary = Some(arm(cursor, "canary", canary)?),
                b"stable" => fields.stable = Some(arm(cursor, "stable", stable)?),
                b"samples" => {
                    read_samples(cursor, samples)?;
                    fields.samples = true;
                }
                b"events" => fields.events = Some(read_events(cursor)?),
                _ => cursor.skip(0)?,
            }
            Ok(())
        })?;
        cursor.end()?;
        take(&self.tick(&fields)?)
    }

    fn tick<'a>(&'a mut self, fields: &'a Fields<'_>) -> Result<Tick<'a>, Fault> {
        let (canary, stable) = arms(fields)?;
        if canary.buckets {
            self.canary.part("canary")?;
        }
        if stable.buckets {
            self.stable.part("stable")?;
        }
        if canary.buckets && stable.buckets && self.canary.boundaries != self.stable.boundaries {
            let wanted = "the boundaries of canary.buckets";
            return Err(Fault::new("stable.buckets", "other boundaries", wanted));
        }
        let run = fields.run.as_deref();
        Ok(Tick {
            run: run.ok_or_else(|| missing("run", "the run's name in quotes"))?,
            t: fields.t.ok_or_else(|| missing("t", "a time in seconds"))?,
            weight: fields
                .weight
                .ok_or_else(|| missing("weight", "the canary's weight in percent"))?,
            canary: counts(canary, "canary", &self.canary, fields.others())?,
            stable: counts(stable, "stable", &self.stable, fields.others())?,
            boundaries: if canary.buckets {
                &self.canary.boundaries
            } else {
                &[]
            },
            samples: fields
                .samples
                .then_some((&self.samples.0[..], &self.samples.1[..])),
            events: fields.events,
        })
    }
}

/// Both arms; they may be missing where there are samples or events.
fn arms(fields: &Fields<'_>) -> Result<(Arm, Arm), Fault> {
    let arm = |arm: Option<Arm>, name| match arm {
        Some(arm) => Ok(arm),
        None if fields.others() && fields.canary.is_none() && fields.stable.is_none() => {
            Ok(Arm::default())
        }
        None => Err(missing(name, "an object with total and bad")),
    };
    Ok((arm(fields.canary, "canary")?, arm(fields.stable, "stable")?))
}

fn missing(field: &str, wanted: &str) -> Fault {
    Fault::new(field, "nothing", wanted)
}

/// Without `total` the buckets say it; samples and events need none.
fn counts<'a>(
    arm: Arm,
    name: &str,
    histogram: &'a Histogram,
    others: bool,
) -> Result<Counts<'a>, Fault> {
    let by_buckets = || arm.buckets.then(|| histogram.total());
    let total = match arm.total.or_else(by_buckets) {
        Some(total) => total,
        None if others && arm.bad.is_none() => 0.0,
        None => return Err(missing(&format!("{name}.total"), "the number of requests")),
    };
    Ok(Counts {
        total,
        bad: arm.bad,
        buckets: arm.buckets.then_some(&histogram.counts[..]),
    })
}

fn arm(cursor: &mut Cursor<'_>, name: &str, histogram: &mut Histogram) -> Result<Arm, Fault> {
    let (total, bad) = match name {
        "canary" => ("canary.total", "canary.bad"),
        _ => ("stable.total", "stable.bad"),
    };
    let mut arm = Arm::default();
    cursor.object(name, |field, cursor| {
        match field {
            b"total" => arm.total = Some(cursor.number(total)?),
            b"bad" => arm.bad = Some(cursor.number(bad)?),
            b"buckets" => {
                histogram.read(cursor, name)?;
                arm.buckets = true;
            }
            _ => cursor.skip(0)?,
        }
        Ok(())
    })?;
    Ok(arm)
}

fn read_samples(cursor: &mut Cursor<'_>, samples: &mut (Vec<f64>, Vec<f64>)) -> Result<(), Fault> {
    samples.0.clear();
    samples.1.clear();
    cursor.object("samples", |name, cursor| {
        let (field, list) = match name {
            b"canary" => ("samples.canary", &mut samples.0),
            b"stable" => ("samples.stable", &mut samples.1),
            _ => return cursor.skip(0),
        };
        list.clear();
        cursor.array(field, |cursor| {
            if list.len() >= MOST_SAMPLES {
                let wanted = format!("at most {MOST_SAMPLES} a line");
                return Err(Fault::new(field, "more samples", wanted));
            }
            list.push(cursor.sample(field)?);
            Ok(())
        })
    })
}

fn read_events(cursor: &mut Cursor<'_>) -> Result<(Exposure, Exposure), Fault> {
    let (mut canary, mut stable) = (None, None);
    cursor.object("events", |name, cursor| {
        match name {
            b"canary" => {
                canary = Some(exposure(
                    cursor,
                    ["events.canary.seconds", "events.canary.events"],
                )?);
            }
            b"stable" => {
                stable = Some(exposure(
                    cursor,
                    ["events.stable.seconds", "events.stable.events"],
                )?);
            }
            _ => cursor.skip(0)?,
        }
        Ok(())
    })?;
    let wanted = "an object with seconds and events";
    let canary = canary.ok_or_else(|| missing("events.canary", wanted))?;
    Ok((
        canary,
        stable.ok_or_else(|| missing("events.stable", wanted))?,
    ))
}

fn exposure(cursor: &mut Cursor<'_>, [seconds, events]: [&str; 2]) -> Result<Exposure, Fault> {
    let (mut lived, mut happened) = (None, None);
    cursor.object("events", |field, cursor| {
        match field {
            b"seconds" => lived = Some(cursor.number(seconds)?),
            b"events" => happened = Some(cursor.number(events)?),
            _ => cursor.skip(0)?,
        }
        Ok(())
    })?;
    Ok(Exposure {
        seconds: lived.ok_or_else(|| missing(seconds, "the seconds that the pods lived"))?,
        events: happened.ok_or_else(|| missing(events, "the number of events"))?,
    })
}

impl Histogram {
    fn read(&mut self, cursor: &mut Cursor<'_>, arm: &str) -> Result<(), Fault> {
        self.cumulative.clear();
        let buckets = &mut self.cumulative;
        cursor.object(&format!("{arm}.buckets"), |le, cursor| {
            let le = &*String::from_utf8_lossy(le);
            if buckets.len() > MOST_BOUNDARIES {
                let wanted = format!("at most {MOST_BOUNDARIES} boundaries");
                return Err(Fault::new(format!("{arm}.buckets"), "more", wanted));
            }
            let Some(limit) = limit(le) else {
                let wanted = "boundaries in seconds, and +Inf";
                return Err(Fault::new(format!("{arm}.buckets"), le, wanted));
            };
            buckets.push((limit, cursor.number(&format!("{arm}.buckets.{le}"))?));
            Ok(())
        })
    }

    /// The requests of each bucket from those up to each boundary.
    fn part(&mut self, arm: &str) -> Result<(), Fault> {
        let fault = |found: &str, wanted| Err(Fault::new(format!("{arm}.buckets"), found, wanted));
        self.cumulative.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.boundaries.clear();
        self.counts.clear();
        let mut before = (f64::NEG_INFINITY, 0.0);
        for &(le, upto) in &self.cumulative {
            if le <= before.0 {
                return fault(&format!("{le} twice"), "each boundary once");
            }
            if upto < before.1 {
                let found = format!("{upto} up to {le}, less than the {} before", before.1);
                return fault(&found, "cumulative counts");
            }
            self.boundaries.push(le);
            self.counts.push(upto - before.1);
            before = (le, upto);
        }
        if self.boundaries.pop() == Some(f64::INFINITY) {
            Ok(())
        } else {
            fault("none for +Inf", "a bucket +Inf with all requests")
        }
    }

    fn total(&self) -> f64 {
        self.cumulative.last().map_or(0.0, |(_, upto)| *upto)
    }
}

fn limit(le: &str) -> Option<f64> {
    match le {
        "+Inf" | "Inf" | "+inf" | "inf" => Some(f64::INFINITY),
        number => number.parse().ok().filter(|le: &f64| le.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<String, String> {
        let told = Lines::default().read(line.as_bytes(), |tick| Ok(format!("{tick:?}")));
        told.map_err(|fault| fault.to_string())
    }

    const GOOD: &str = r#"{"run": "a", "t": 12.0, "weight": 10, "canary": {"total": 10, "bad": 1}, "stable": {"total": 90, "bad": 0}}"#;

    fn broken(part: &str, by: &str) -> String {
        assert!(GOOD.contains(part), "{part}");
        read(&GOOD.replacen(part, by, 1)).unwrap_err()
    }

    #[test]
    fn a_line_is_a_tick() {
        Lines::default()
            .read(GOOD.as_bytes(), |tick| {
                let arm = |total, bad| Counts {
                    total,
                    bad: Some(bad),
                    buckets: None,
                };
                let want = Tick {
                    run: "a",
                    t: 12.0,
                    weight: 10.0,
                    canary: arm(10.0, 1.0),
                    stable: arm(90.0, 0.0),
                    boundaries: &[],
                    samples: None,
                    events: None,
                };
                assert_eq!(*tick, want);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn names_may_have_escapes_and_other_fields_are_passed_over() {
        let line = GOOD.replace("\"a\"", r#""\u00e9\"x", "note": {"by": ["ci", null, 1e3]}"#);
        assert!(read(&line).unwrap().contains("run: \"é\\\"x\""));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let rows = [
            ("\"a\"", "7", "run: found 7, wanted a text in quotes"),
            ("12.0", "\"12\"", "t: found \"12\", wanted a number"),
            ("12.0", "1e999", "t: found 1e999, wanted a finite number"),
            (
                "\"t\"",
                "\"time\"",
                "t: found nothing, wanted a time in seconds",
            ),
            (
                "\"run\"",
                "\"rum\"",
                "run: found nothing, wanted the run's name in quotes",
            ),
            (
                "\"weight\"",
                "\"w\"",
                "weight: found nothing, wanted the canary's weight in percent",
            ),
            (
                "\"stable\"",
                "\"old\"",
                "stable: found nothing, wanted an object with total and bad",
            ),
            (
                "\"total\"",
                "\"n\"",
                "canary.total: found nothing, wanted the number of requests",
            ),
            (
                "{\"total\": 10, \"bad\": 1}",
                "[10, 1]",
                "canary: found [10, 1], wanted an object",
            ),
            (
                "12.0,",
                "12.0",
                "byte 24: found `\"weight\": 10, \"canary\":`, wanted a comma or `}`",
            ),
            (
                "0}}",
                "0}",
                "byte 107: found the end of the line, wanted a comma or `}`",
            ),
            (
                "0}}",
                "0}} x",
                "byte 109: found `x`, wanted the end of the line",
            ),
        ];
        for (part, by, want) in rows {
            assert_eq!(broken(part, by), want);
        }
        assert_eq!(
            read("[]").unwrap_err(),
            "the line: found [], wanted an object"
        );
    }

    fn with_buckets(canary: &str, stable: &str) -> Result<String, String> {
        read(&format!(
            r#"{{"run": "a", "t": 1, "weight": 10, "canary": {{"buckets": {canary}}}, "stable": {{"buckets": {stable}}}}}"#
        ))
    }

    #[test]
    fn buckets_are_parted_in_any_order() {
        let sound = r#"{"+Inf": 10, "0.1": 5, "1": 9}"#;
        let told = with_buckets(sound, sound).unwrap();
        assert!(told.contains("buckets: Some([5.0, 4.0, 1.0])"), "{told}");
        assert!(told.contains("boundaries: [0.1, 1.0]"), "{told}");
        assert!(told.contains("total: 10.0, bad: None"), "{told}");
    }

    #[test]
    fn unsound_buckets_are_told() {
        let sound = r#"{"0.1": 5, "+Inf": 10}"#;
        let rows = [
            (
                r#"{"0.1": 5}"#,
                "canary.buckets: found none for +Inf, wanted a bucket +Inf with all requests",
            ),
            (
                r#"{"0.1": 5, "+Inf": 4}"#,
                "canary.buckets: found 4 up to inf, less than the 5 before, wanted cumulative counts",
            ),
            (
                r#"{"x": 5, "+Inf": 4}"#,
                "canary.buckets: found x, wanted boundaries in seconds, and +Inf",
            ),
            (
                r#"{"0.1": 5, "0.10": 5, "+Inf": 6}"#,
                "canary.buckets: found 0.1 twice, wanted each boundary once",
            ),
            (
                r#"{"0.2": 5, "+Inf": 6}"#,
                "stable.buckets: found other boundaries, wanted the boundaries of canary.buckets",
            ),
        ];
        for (canary, want) in rows {
            assert_eq!(with_buckets(canary, sound).unwrap_err(), want);
        }
    }

    #[test]
    fn samples_need_no_counts() {
        let line = r#"{"run": "a", "t": 1, "weight": 10, "samples": {"canary": [1, NaN, null], "stable": [2.5]}}"#;
        let told = read(line).unwrap();
        assert!(
            told.contains("samples: Some(([1.0, NaN, NaN], [2.5]))"),
            "{told}"
        );
    }
}

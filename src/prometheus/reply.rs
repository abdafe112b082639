//! Reading Prometheus' replies.
//!
//! Our own decoder, since the client crate's drops `warnings` (a partial answer would look
//! complete) and turns error types it does not know into "not JSON". Strings are borrowed from
//! the body, and what all that stands in it would take in memory is reckoned before it is read: three bytes may be a
//! series. Whatever a server, a proxy or a login page answers becomes an [`Error`].
//!
//! Not here: sending (`client`), and which series belong to whom (`sorting`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;

use super::counters::Batch;
use super::error::{Error, beginning};
use super::native::Native;
use super::process::Point;
use super::sorting::{Ask, Labels, Place, part};
use super::tally::Class;
use super::twins::Twins;

/// What an answer may take once it is read, in bytes. The largest one takes two thirds of it.
const HELD: usize = 128 << 20;

/// What one question to a source brought.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// One for each member of the ask, in order.
    pub shares: Vec<Share>,
    /// What is wrong without stopping the reading, of any member.
    pub problems: Vec<String>,
    /// Why nothing may rise on these samples, though they are counted.
    pub doubt: Option<String>,
}

/// What it brought for one member.
#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    pub batch: Batch,
    /// Why nothing of it counts.
    pub failed: Option<Error>,
    /// What is wrong without stopping the reading.
    pub problems: Vec<String>,
    /// The shortest time between two samples of a series, in milliseconds.
    pub spacing: Option<i64>,
}

impl Fetched {
    /// No values for so many members.
    pub fn nothing(members: usize) -> Self {
        Self {
            shares: vec![Share::default(); members],
            ..Self::default()
        }
    }

    /// The same failure for so many members.
    pub fn failed(members: usize, error: &Error) -> Self {
        let mut fetched = Self::nothing(members);
        fetched.fail(0..members, error);
        fetched
    }

    /// Nothing counts for these members.
    pub fn fail(&mut self, members: Range<usize>, error: &Error) {
        for share in self.shares.get_mut(members).into_iter().flatten() {
            share.batch = Batch::default();
            share.failed.get_or_insert_with(|| error.clone());
        }
    }

    /// Says something to these members alone.
    pub fn tell(&mut self, members: Range<usize>, said: &str) {
        for share in self.shares.get_mut(members).into_iter().flatten() {
            share.problems.push(said.to_owned());
        }
    }

    /// Puts in what was brought for the members from `first` on.
    pub fn put(&mut self, first: usize, part: Self) {
        let places = self.shares.iter_mut().skip(first);
        for (place, mut share) in places.zip(part.shares) {
            share.problems.append(&mut place.problems);
            *place = share;
        }
        self.problems.extend(part.problems);
        self.doubt = self.doubt.take().or(part.doubt);
    }

    /// The shortest time between two samples of a series of any member, in milliseconds.
    pub fn spacing(&self) -> Option<i64> {
        self.shares.iter().filter_map(|share| share.spacing).min()
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    status: String,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    infos: Option<Vec<String>>,
    /// `VictoriaMetrics`' word for an answer without all of its stores.
    #[serde(default, rename = "isPartial")]
    partial: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    result_type: String,
    #[serde(borrow, default)]
    result: Vec<Series<'a>>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow, default)]
    metric: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default)]
    values: Vec<(f64, Cow<'a, str>)>,
    #[serde(borrow, default)]
    histograms: Vec<(f64, Native<'a>)>,
}

/// Reads the answer to a query and sorts it among the members of `ask`.
pub(super) fn read(code: u16, body: &[u8], ask: &Ask) -> Result<Fetched, Error> {
    let (mut data, infos) = matrix(code, body)?;
    if ask.is_native() {
        data.result.iter_mut().for_each(Series::only_histograms);
    }
    let mut fetched = sort(&data.result, ask);
    fetched.problems.extend(infos);
    Ok(fetched)
}

/// Reads the answer to a query for one number over time: times in milliseconds, rising. What is
/// no number is left out.
pub(super) fn numbers(code: u16, body: &[u8]) -> Result<Vec<(i64, f64)>, Error> {
    let (data, _) = matrix(code, body)?;
    let values = match &data.result[..] {
        [] => return Ok(Vec::new()),
        [one] => &one.values,
        many => {
            let kind = "more than a number".to_owned();
            let said = format!(
                "it answers with {} series where one is needed, as from sum(...) or avg(...)",
                many.len()
            );
            return Err(Error::Refused { kind, said });
        }
    };
    let number = |(at, value): &(f64, Cow<'_, str>)| {
        let value: f64 = value.parse().ok()?;
        (!value.is_nan()).then_some((milliseconds(*at), value))
    };
    Ok(values.iter().filter_map(number).collect())
}

impl Series<'_> {
    /// Keeps the native histograms alone; their times stand where those of values do.
    fn only_histograms(&mut self) {
        let times = self
            .histograms
            .iter()
            .map(|(at, _)| (*at, Cow::Borrowed("")));
        self.values = times.collect();
    }
}

/// The series of an answer, and what the server remarks.
fn matrix(code: u16, body: &[u8]) -> Result<(Data<'_>, Vec<String>), Error> {
    if held(body) > HELD {
        return Err(Error::TooLarge { limit: HELD >> 20 });
    }
    let envelope: Result<Envelope<'_>, _> = serde_json::from_slice(body);
    let envelope = match envelope {
        Ok(envelope) => envelope,
        Err(error) if (200..300).contains(&code) => {
            return Err(Error::Malformed {
                why: error.to_string(),
                said: beginning(body),
            });
        }
        Err(_) => {
            return Err(Error::Status {
                code,
                said: beginning(body),
            });
        }
    };
    if envelope.status != "success" {
        return Err(Error::Refused {
            kind: envelope
                .error_type
                .unwrap_or_else(|| format!("status {code}")),
            said: envelope
                .error
                .unwrap_or_else(|| "no reason given".to_owned()),
        });
    }
    if !(200..300).contains(&code) {
        return Err(Error::Status {
            code,
            said: beginning(body),
        });
    }
    if let Some(warnings) = envelope.warnings.filter(|warnings| !warnings.is_empty()) {
        return Err(Error::Partial(warnings.join("; ")));
    }
    if envelope.partial == Some(true) {
        return Err(Error::Partial("the server calls it partial".to_owned()));
    }
    let Some(data) = envelope.data else {
        return Err(Error::Malformed {
            why: "it has no data".to_owned(),
            said: beginning(body),
        });
    };
    if data.result_type != "matrix" {
        let why = format!("its result is a {}, not a matrix", data.result_type);
        return Err(Error::Malformed {
            why,
            said: beginning(body),
        });
    }
    Ok((data, envelope.infos.unwrap_or_default()))
}

/// What an answer takes at most once it is read, reckoned by its marks: a brace begins a series or a histogram, a colon
/// stands in a label, a comma behind a value.
fn held(body: &[u8]) -> usize {
    let each = body.iter().map(|byte| match byte {
        b'{' => size_of::<Series<'_>>() + size_of::<(f64, Native<'_>)>(),
        b':' => 2 * size_of::<[Cow<'_, str>; 2]>(),
        b',' => size_of::<Cow<'_, str>>(),
        _ => 0,
    });
    each.sum()
}

fn sort(series: &[Series<'_>], ask: &Ask) -> Fetched {
    let mut fetched = Fetched::nothing(ask.members.len());
    let mut ignored = 0;
    let mut twins = Twins::of(ask);
    for one in series {
        let labels = one
            .metric
            .iter()
            .map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value)));
        let labels: Vec<_> = labels.collect();
        let places = ask.places(&labels);
        if places.is_empty() {
            continue;
        }
        if ask.is_native() {
            sort_native(&labels, &one.histograms, &places, ask, &mut fetched);
        } else {
            ignored += sort_one(&labels, &one.values, &places, ask, &mut fetched);
        }
        twins.add(&labels, &one.values, &places);
        let spacing = spacing(&one.values);
        for place in &places {
            let known = &mut fetched.shares[place.member].spacing;
            *known = [*known, spacing].into_iter().flatten().min();
        }
    }
    fetched
        .problems
        .extend(ignored_values(&ask.metric, ignored));
    for (member, twice) in twins.found() {
        fetched.fail(member..member + 1, &twice);
    }
    // What came after the failure.
    let failed = fetched.shares.iter_mut();
    let failed = failed.filter(|share| share.failed.is_some());
    failed.for_each(|share| share.batch = Batch::default());
    fetched
}

/// The shortest time between two samples, in milliseconds.
fn spacing(values: &[(f64, Cow<'_, str>)]) -> Option<i64> {
    let gaps = values
        .windows(2)
        .map(|pair| milliseconds(pair[1].0).saturating_sub(milliseconds(pair[0].0)));
    gaps.filter(|gap| *gap > 0).min()
}

/// The number of values that were no counts.
fn sort_one(
    labels: &Labels<'_>,
    values: &[(f64, Cow<'_, str>)],
    places: &[Place],
    ask: &Ask,
    fetched: &mut Fetched,
) -> usize {
    let process = ask.process(labels);
    let mut ignored = 0;
    for place in places {
        for (at, value) in values {
            let Some(value) = value.parse().ok().and_then(count) else {
                ignored += 1;
                continue;
            };
            let (series, arm, class) = (place.series, place.arm, place.class);
            let at = milliseconds(*at);
            fetched.shares[place.member].batch.points.push(Point {
                series,
                process,
                arm,
                class,
                at,
                value,
            });
        }
    }
    ignored
}

/// A native histogram is as many counters as there are boundaries. One that cannot be read fails for
/// those alone whose it is.
fn sort_native(
    labels: &Labels<'_>,
    histograms: &[(f64, Native<'_>)],
    places: &[Place],
    ask: &Ask,
    fetched: &mut Fetched,
) {
    let process = ask.process(labels);
    for (at, histogram) in histograms {
        let counts = match histogram.up_to() {
            Ok(counts) => counts,
            Err(why) => {
                let (kind, said) = (ask.metric.clone(), why.to_owned());
                let refused = Error::Refused { kind, said };
                let members = places.iter().map(|place| place.member);
                return members.for_each(|member| fetched.fail(member..member + 1, &refused));
            }
        };
        for place in places {
            let point = |(le, value): &(f64, f64)| Point {
                series: part(place.series, le.to_bits()),
                process,
                arm: place.arm,
                class: Class::UpTo {
                    le: *le,
                    of: place.series,
                },
                at: milliseconds(*at),
                value: *value,
            };
            let points = &mut fetched.shares[place.member].batch.points;
            points.extend(counts.iter().map(point));
        }
    }
}

pub(super) fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// A value that can be a count: finite and not negative. Stale markers are NaN, too.
pub(super) fn count(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}

/// Tells that values were left out.
pub(super) fn ignored_values(metric: &str, ignored: usize) -> Option<String> {
    let what = "of it can be no counts (NaN, infinite or negative) and are left out";
    (ignored > 0).then(|| format!("{metric}: {ignored} values {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sorting::tests::{ask, shipped, subject};
    use super::*;
    use crate::rollout::rule::{Kind, Rule};

    fn answer(code: u16, body: &str) -> Result<Fetched, String> {
        let rule = shipped("error-rate");
        read(
            code,
            body.as_bytes(),
            &ask(&rule, &[subject("shop", "api", &[])]),
        )
        .map_err(|error| error.to_string())
    }

    fn series(values: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"nginx_ingress_controller_requests","exported_namespace":"shop","ingress":"api","service":"api","instance":"10.0.0.1:10254","status":"200"}},"values":{values}}}]}}}}"#
        )
    }

    #[test]
    fn samples_are_read_with_their_own_times() {
        let fetched = answer(
            200,
            &series(r#"[[1435781430.781,"1"],[1435781445.781,"3e2"]]"#),
        )
        .unwrap();
        let points: Vec<_> = fetched.shares[0]
            .batch
            .points
            .iter()
            .map(|point| (point.at, point.value))
            .collect();
        assert_eq!(
            points,
            [(1_435_781_430_781, 1.0), (1_435_781_445_781, 300.0)]
        );
        assert_eq!(fetched.spacing(), Some(15_000));
        assert_eq!(fetched.problems, Vec::<String>::new());
    }

    #[test]
    fn values_that_are_no_counts_are_left_out_and_told() {
        let fetched = answer(200, &series(r#"[[1,"NaN"],[2,"+Inf"],[3,"-4"],[4,"5"]]"#)).unwrap();
        assert_eq!(fetched.shares[0].batch.points.len(), 1);
        assert_eq!(fetched.problems.len(), 1);
        assert!(
            fetched.problems[0].contains("3 values"),
            "{:?}",
            fetched.problems
        );
    }

    #[test]
    fn nothing_found_is_no_error() {
        let fetched = answer(
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
        )
        .unwrap();
        assert_eq!(fetched.shares[0].batch, Batch::default());
        assert_eq!((fetched.shares.len(), fetched.spacing()), (1, None));
    }

    #[test]
    fn bad_answers_are_told_apart() {
        let table = [
            (
                200,
                "<html>\n<h1>Log in</h1>",
                "the answer is not a Prometheus reply (expected value at line 1 column 1): `<html> <h1>Log in</h1>`",
            ),
            (
                502,
                "<html>bad gateway</html>",
                "the server answered 502: `<html>bad gateway</html>`",
            ),
            (503, "", "the server answered 503: nothing"),
            (
                422,
                r#"{"status":"error","errorType":"422","error":"too deep"}"#,
                "the query failed (422): too deep",
            ),
            (
                400,
                r#"{"status":"error"}"#,
                "the query failed (status 400): no reason given",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
                "the answer is not a Prometheus reply (its result is a vector, not a matrix): `{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}`",
            ),
            (
                200,
                r#"{"status":"success"}"#,
                "the answer is not a Prometheus reply (it has no data): `{\"status\":\"success\"}`",
            ),
            (
                200,
                r#"{"status":"success","warnings":["store x: unavailable"],"data":{"resultType":"matrix","result":[]}}"#,
                "the answer is incomplete: store x: unavailable",
            ),
            (
                200,
                r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#,
                "the answer is incomplete: the server calls it partial",
            ),
        ];
        for (code, body, message) in table {
            assert_eq!(answer(code, body).err().as_deref(), Some(message));
        }
        assert!(answer(200, &series(r#"[[1,"2"]"#)).is_err());
        assert!(answer(200, "\u{0}\u{1}").is_err());
    }

    /// A reply with these series of `shop`: Ingress, more labels, and the rest of the series.
    fn several(series: &[(&str, &str, &str)]) -> String {
        let one = |(ingress, labels, rest): &(&str, &str, &str)| {
            format!(
                r#"{{"metric":{{"namespace":"shop","ingress":"{ingress}","service":"{ingress}","instance":"a",{labels}}},{rest}}}"#
            )
        };
        let series: Vec<String> = series.iter().map(one).collect();
        let series = series.join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#)
    }

    /// What came of each of two Ingresses: the number of its values, and why there are none.
    fn told(rule: &Arc<Rule>, body: &str) -> Vec<(usize, Option<String>)> {
        let two = [subject("shop", "api", &[]), subject("shop", "web", &[])];
        let fetched = read(200, body.as_bytes(), &ask(rule, &two)).unwrap();
        let told = |share: &Share| {
            let failed = share.failed.as_ref().map(ToString::to_string);
            (share.batch.points.len(), failed)
        };
        fetched.shares.iter().map(told).collect()
    }

    #[test]
    fn series_that_come_twice_concern_nobody_else() {
        let values = [
            r#""values":[[10,"1"],[20,"2"]]"#,
            r#""values":[[13,"1"],[23,"2"]]"#,
        ];
        let body = several(&[
            ("api", r#""job":"x","status":"200""#, values[0]),
            ("web", r#""job":"x","status":"200""#, values[0]),
            ("api", r#""job":"y","status":"200""#, values[1]),
            ("api", r#""job":"y","status":"500""#, values[1]),
        ]);
        let mut told = told(&shipped("error-rate"), &body);
        assert_eq!(told.pop(), Some((2, None)));
        let (count, failed) = told.remove(0);
        let failed = failed.unwrap_or_default();
        assert!(
            count == 0 && failed.contains("with job=\"x\" and with job=\"y\""),
            "{failed}"
        );
    }

    #[test]
    fn a_native_histogram_that_is_too_coarse_concerns_nobody_else() {
        let mut rule = (*shipped("latency-p99")).clone();
        if let Kind::Latency(latency) = &mut rule.kind {
            latency.native = true;
        }
        let histogram = |lower, upper| {
            let bucket = format!(r#"[0,"{lower}","{upper}","3"]"#);
            format!(r#""histograms":[[10,{{"buckets":[{bucket}]}}]]"#)
        };
        let body = several(&[
            ("api", r#""status":"200""#, &histogram(0.25, 1.0)),
            ("api", r#""status":"404""#, &histogram(0.5, 1.0)),
            ("web", r#""status":"200""#, &histogram(0.5, 1.0)),
        ]);
        let mut told = told(&Arc::new(rule), &body);
        assert_eq!(told.pop(), Some((30, None)));
        let (count, failed) = told.remove(0);
        let failed = failed.unwrap_or_default();
        assert!(
            count == 0 && failed.contains("across powers of two"),
            "{failed}"
        );
    }

    #[test]
    fn an_answer_that_is_small_only_as_text_is_not_read() {
        let of = |one: &str, bytes: usize| {
            let all = vec![one; bytes / (one.len() + 1)].join(",");
            format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{all}]}}}}"#)
        };
        let labels = series(r#""values":[[1700000000.123,"1234567"]]"#);
        let labels = labels.split_once('[').unwrap().1;
        let labels = labels.rsplit_once(']').unwrap().0;
        let values = format!(
            r#"{{"values":[{}]}}"#,
            vec![r#"[1700000000.123,"1"]"#; 1_000].join(",")
        );
        let cases = [
            ("{}", 4 << 20, true),
            (
                r#"{"metric":{"a":"","b":"","c":"","d":""}}"#,
                16 << 20,
                true,
            ),
            (r#"{"histograms":[[0,{}],[0,{}],[0,{}]]}"#, 16 << 20, true),
            (labels, 16 << 20, false),
            (&values, 16 << 20, false),
        ];
        for (one, bytes, refused) in cases {
            let told = answer(200, &of(one, bytes)).err().unwrap_or_default();
            assert_eq!(
                told.contains("larger than 128 MiB"),
                refused,
                "{one:.60}: {told}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_crash(body: Vec<u8>, code in 100u16..600) {
            let rule = shipped("error-rate");
            let _ = read(code, &body, &ask(&rule, &[subject("shop", "api", &[])]));
        }
    }
}

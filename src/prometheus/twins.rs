//! The same series twice: two servers read one target, and nobody merged what they read.
//!
//! Replicas of Prometheus behind a querier that removes no duplicates, or two jobs for one
//! target, would count each request twice, and evidence with it. Two series are twins if only
//! labels that say who read them differ, and they were read in turns, at different moments. A
//! replica that took over from another is none: their times do not overlap. Series whose
//! duplicates were removed are none either, though they may keep different replicas' times.
//!
//! Not here: choosing one of them (`evidence.prometheus.match` does, in the query).

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::Error;
use super::reply::milliseconds;
use super::sorting::{Ask, Labels, MAYBE_REPLICAS, REPLICAS, fingerprint, label};

/// A series' samples as they came: seconds and values.
type Values<'a> = [(f64, Cow<'a, str>)];

/// The series that were seen, by what they count.
#[derive(Default)]
pub(super) struct Twins<'a> {
    seen: HashMap<u64, Vec<Seen<'a>>>,
    found: Option<Error>,
}

struct Seen<'a> {
    reader: Vec<(&'static str, String)>,
    values: &'a Values<'a>,
}

impl<'a> Twins<'a> {
    /// Takes in a series of the ask.
    pub fn add(&mut self, labels: &Labels<'_>, values: &'a Values<'a>, ask: &Ask) {
        if self.found.is_some() || values.is_empty() || ask.places(labels).is_empty() {
            return;
        }
        let names = reader_names(labels);
        let others = self.seen.entry(fingerprint(labels, &names)).or_default();
        let new = Seen {
            reader: names
                .iter()
                .map(|name| (*name, label(labels, name).to_owned()))
                .collect(),
            values,
        };
        self.found = others
            .iter()
            .find(|other| other.is_twin(&new))
            .map(|other| {
                let (one, other) = (other.apart(&new), new.apart(other));
                Error::Twice { one, other }
            });
        others.push(new);
    }

    /// The first pair that was found.
    pub fn found(self) -> Option<Error> {
        self.found
    }
}

/// The labels that may say who read a series. The address does not matter where the exporter
/// itself says which pod it is.
fn reader_names(labels: &Labels<'_>) -> Vec<&'static str> {
    let pod_known = !label(labels, "controller_pod").is_empty();
    let instance = pod_known.then_some("instance");
    let always = REPLICAS.iter().chain(&MAYBE_REPLICAS).chain(&["job"]);
    always.copied().chain(instance).collect()
}

impl Seen<'_> {
    fn is_twin(&self, other: &Self) -> bool {
        let overlap = self.first() <= other.last() && other.first() <= self.last();
        overlap && (self.is_replica_of(other) || self.takes_turns_with(other))
    }

    /// Whether a label differs that only replicas have.
    fn is_replica_of(&self, other: &Self) -> bool {
        let differs = |(a, b): &(&(&str, String), &(&str, String))| a.1 != b.1;
        let mut differ = self.reader.iter().zip(&other.reader).filter(differs);
        differ.any(|(a, _)| REPLICAS.contains(&a.0))
    }

    /// Whether both have two samples or more, and none at the same moment.
    fn takes_turns_with(&self, other: &Self) -> bool {
        let several = self.values.len() > 1 && other.values.len() > 1;
        several
            && !self
                .times()
                .any(|at| other.times().any(|known| known == at))
    }

    fn times(&self) -> impl Iterator<Item = i64> {
        self.values.iter().map(|(at, _)| milliseconds(*at))
    }

    fn first(&self) -> i64 {
        self.times().min().unwrap_or(i64::MAX)
    }

    fn last(&self) -> i64 {
        self.times().max().unwrap_or(i64::MIN)
    }

    /// The labels that are not as in the other.
    fn apart(&self, other: &Self) -> String {
        let own = self
            .reader
            .iter()
            .filter(|label| !other.reader.contains(label));
        let own: Vec<String> = own
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        own.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sorting::tests::{ask, shipped, subject};
    use super::*;

    /// Labels after the usual ones, and the times of the samples.
    type Row = (&'static str, &'static [i64]);

    fn found(rows: &[Row]) -> Option<String> {
        let rule = shipped("error-rate");
        let ask = ask(&rule, &[subject("shop", "api", &[])]);
        let values: Vec<Vec<(f64, Cow<'_, str>)>> = rows
            .iter()
            .map(|(_, at)| {
                at.iter()
                    .map(|at| (*at as f64, Cow::Borrowed("1")))
                    .collect()
            })
            .collect();
        let mut twins = Twins::default();
        for ((text, _), values) in rows.iter().zip(&values) {
            let usual = "namespace=shop,ingress=api,service=api,status=200";
            let labels: Vec<_> = format!("{text},{usual}")
                .split(',')
                .filter_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    Some((Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned())))
                })
                .collect();
            twins.add(&labels, values, &ask);
        }
        twins.found().map(|error| error.to_string())
    }

    #[test]
    fn replicas_without_deduplication_are_found() {
        let said = found(&[
            ("instance=a,prometheus_replica=p-0", &[10, 20, 30]),
            ("instance=a,prometheus_replica=p-1", &[13, 23]),
        ]);
        let want = "with prometheus_replica=\"p-0\" and with prometheus_replica=\"p-1\"";
        assert!(
            said.as_ref().is_some_and(|said| said.contains(want)),
            "{said:?}"
        );
    }

    #[test]
    fn only_the_same_series_read_in_turns_are_twins() {
        let table: [(&str, bool, &[Row]); 9] = [
            (
                "two jobs for one address",
                true,
                &[
                    ("instance=a,job=x", &[10, 20]),
                    ("instance=a,job=y", &[13, 23]),
                ],
            ),
            (
                "two addresses of one pod",
                true,
                &[
                    ("instance=a,job=x,controller_pod=p", &[10, 20]),
                    ("instance=b,job=y,controller_pod=p", &[13, 23]),
                ],
            ),
            (
                "federated with one time",
                true,
                &[
                    ("instance=a,prometheus_replica=x", &[10]),
                    ("instance=a,prometheus_replica=y", &[10]),
                ],
            ),
            (
                "two pods",
                false,
                &[("instance=a", &[10, 20]), ("instance=b", &[13, 23])],
            ),
            (
                "a replica that took over",
                false,
                &[
                    ("instance=a,prometheus_replica=x", &[10, 20]),
                    ("instance=a,prometheus_replica=y", &[30, 40]),
                ],
            ),
            (
                "a label of the exporter's own",
                false,
                &[
                    ("instance=a,replica=x", &[10, 20]),
                    ("instance=a,replica=y", &[10, 20]),
                ],
            ),
            (
                "sums of two jobs",
                false,
                &[("job=x", &[10, 20]), ("job=y", &[10, 20])],
            ),
            (
                "deduplicated, with the times of both",
                false,
                &[
                    ("instance=a,method=GET", &[10, 20]),
                    ("instance=a,method=PUT", &[13, 23]),
                ],
            ),
            (
                "of nobody's concern",
                false,
                &[
                    ("ingress=b,job=x", &[10, 20]),
                    ("ingress=b,job=y", &[13, 23]),
                ],
            ),
        ];
        for (what, twins, rows) in table {
            let said = found(rows);
            assert_eq!(said.is_some(), twins, "{what}: {said:?}");
        }
    }
}

//! The same thing counted twice: two servers read one target, or one server does by two jobs, and
//! nobody merged what they read.
//!
//! Replicas of Prometheus behind a querier that removes no duplicates, a `PodMonitor` beside a
//! `ServiceMonitor`, two replicas of kube-state-metrics: each request, or restart, would be counted
//! twice, and evidence with it. Three signs are looked for, all of series that were read in turns, at
//! different moments: only labels that say who read them differ; one address is read by two jobs,
//! whatever labels these add; one pod's restarts are told by two exporters. A replica that took over
//! from another is no twin: their times do not overlap. Series whose duplicates were removed are none
//! either, though they may keep different replicas' times. It concerns those Rollouts alone whose
//! series they are.
//!
//! Not here: choosing one of them (`evidence.prometheus.match` does, in the query).

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::Error;
use super::reply::milliseconds;
use super::sorting::{
    Ask, Labels, MAYBE_REPLICAS, Place, REPLICAS, fingerprint, label, part, target,
};
use super::tally::{Arm, Class};
use crate::rollout::rule::Kind;

/// A series' samples as they came: seconds and values.
type Values<'a> = [(f64, Cow<'a, str>)];

/// Labels that Prometheus' operator adds to a target, by what found it. An exporter may have its own of
/// these names.
const OF_TARGET: [&str; 2] = ["service", "endpoint"];
/// Exporters that say of each pod the same, whichever of them is asked: kube-state-metrics and the kubelet.
const OF_KUBERNETES: [&str; 2] = ["kube_", "container_"];

/// The series that were seen, by what they count.
pub(super) struct Twins<'a, 'q> {
    ask: &'q Ask,
    /// Labels that may say who read a series, and whether the rule names them.
    readers: Vec<(&'static str, bool)>,
    /// By all labels but those of the reader.
    alike: HashMap<u64, Vec<Seen<'a>>>,
    /// By what is counted, whatever other labels there are.
    counted: HashMap<u64, Vec<Seen<'a>>>,
    /// What the labels of targets were in one scrape: those that differ in one are the exporter's own.
    scrapes: HashMap<(u64, i64), [u64; 2]>,
    own: [bool; 2],
    found: Vec<Pair>,
}

/// A series, and who read it.
struct Seen<'a> {
    member: usize,
    reader: Vec<(&'static str, String)>,
    values: &'a Values<'a>,
}

/// Two that are the same.
struct Pair {
    member: usize,
    one: Vec<(&'static str, String)>,
    other: Vec<(&'static str, String)>,
}

impl<'a, 'q> Twins<'a, 'q> {
    /// Nothing seen yet.
    pub fn of(ask: &'q Ask) -> Self {
        let names = REPLICAS.iter().chain(&MAYBE_REPLICAS).chain(&OF_TARGET);
        let names = names.copied().chain(["job", "instance"]);
        Self {
            ask,
            readers: names.map(|name| (name, ask.names(name))).collect(),
            alike: HashMap::new(),
            counted: HashMap::new(),
            scrapes: HashMap::new(),
            own: [false; 2],
            found: Vec::new(),
        }
    }

    /// Takes in a series that belongs there.
    pub fn add(&mut self, labels: &Labels<'_>, values: &'a Values<'a>, places: &[Place]) {
        if values.is_empty() {
            return;
        }
        let names = self.reader_names(labels);
        let alike = fingerprint(labels, &names);
        self.look_for_own(labels, values);
        for place in places {
            let reader = names
                .iter()
                .map(|name| (*name, label(labels, name).to_owned()));
            let new = Seen {
                member: place.member,
                reader: reader.collect(),
                values,
            };
            self.add_counted(labels, place, values);
            let others = self
                .alike
                .entry(part(alike, place.member as u64))
                .or_default();
            let twin = others.iter().find(|other| other.is_twin(&new));
            self.found.extend(twin.map(|other| new.pair(other)));
            others.push(new);
        }
    }

    /// The labels that may say who read a series. The address does not matter where the exporter
    /// itself says which pod it is.
    fn reader_names(&self, labels: &Labels<'_>) -> Vec<&'static str> {
        let pod_known = !label(labels, "controller_pod").is_empty();
        let readers = self.readers.iter();
        let readers = readers.filter(|(name, named)| {
            (*name != "instance" || pod_known) && !(*named && self.ask.uses(labels, name))
        });
        readers.map(|(name, _)| *name).collect()
    }

    /// Keeps the longest series of each reader of what this one counts.
    fn add_counted(&mut self, labels: &Labels<'_>, place: &Place, values: &'a Values<'a>) {
        let told = self.told_by_kubernetes(labels, place);
        let Some((key, name, value)) = told.or_else(|| self.told_by_job(labels, place)) else {
            return;
        };
        let key = part(
            part(key, place.member as u64),
            u64::from(place.arm == Arm::Canary),
        );
        let readers = self.counted.entry(key).or_default();
        let reader = vec![(name, value)];
        match readers.iter_mut().find(|known| known.reader == reader) {
            Some(known) if known.values.len() >= values.len() => {}
            Some(known) => known.values = values,
            None => readers.push(Seen {
                member: place.member,
                reader,
                values,
            }),
        }
    }

    /// What one process counts, and the job that read it.
    fn told_by_job(
        &self,
        labels: &Labels<'_>,
        place: &Place,
    ) -> Option<(u64, &'static str, String)> {
        let of = |name: &str| label(labels, name);
        let address = Some(of("controller_pod")).filter(|pod| !pod.is_empty());
        let address = address.unwrap_or_else(|| of("instance"));
        if address.is_empty() || of("job").is_empty() || self.ask.names("job") {
            return None;
        }
        let class = match place.class {
            Class::Good | Class::Untold => 0,
            Class::Bad => 1,
            Class::UpTo { le, .. } => le.to_bits(),
            Class::Event { pod } => pod,
        };
        let pods = ["pod", "exported_pod"].map(|name| target(of(name)));
        let key = pods.into_iter().fold(part(target(address), class), part);
        Some((key, "job", of("job").to_owned()))
    }

    /// Whose restarts an exporter of Kubernetes tells, and where it runs.
    fn told_by_kubernetes(
        &self,
        labels: &Labels<'_>,
        place: &Place,
    ) -> Option<(u64, &'static str, String)> {
        let Class::Event { pod } = place.class else {
            return None;
        };
        let metric = &self.ask.metric;
        let known = OF_KUBERNETES.iter().any(|name| metric.starts_with(name));
        let of = |name: &str| label(labels, name);
        if !known || of("instance").is_empty() || !matches!(self.ask.rule.kind, Kind::Events(_)) {
            return None;
        }
        let container = ["exported_container", "container"].map(of);
        let container = container.into_iter().find(|name| !name.is_empty());
        let parts = [container.unwrap_or_default(), of("uid")].map(target);
        let key = parts.into_iter().fold(pod, part);
        Some((key, "instance", of("instance").to_owned()))
    }

    fn look_for_own(&mut self, labels: &Labels<'_>, values: &Values<'_>) {
        let Some((at, _)) = values.last() else { return };
        let now = OF_TARGET.map(|name| target(label(labels, name)));
        let scrape = (target(label(labels, "instance")), milliseconds(*at));
        let known = *self.scrapes.entry(scrape).or_insert(now);
        for ((own, known), now) in self.own.iter_mut().zip(known).zip(now) {
            *own |= known != now;
        }
    }

    /// Whose series come twice, and by what readers.
    pub fn found(self) -> Vec<(usize, Error)> {
        let counted = self.counted.values().flat_map(|readers| {
            let pairs = readers.iter().enumerate();
            pairs.filter_map(move |(at, one)| {
                let twin = readers[..at]
                    .iter()
                    .find(|other| other.is_read_in_turns_with(one));
                twin.map(|other| one.pair(other))
            })
        });
        let own = |name: &str| {
            let mut own = OF_TARGET.iter().zip(self.own);
            own.any(|(known, own)| own && *known == name)
        };
        let alike = self.found.iter().filter(|pair| {
            let mut labels = pair.one.iter().chain(&pair.other);
            !labels.all(|(name, _)| own(name))
        });
        let mut found: Vec<(usize, Error)> = alike.map(Pair::told).collect();
        found.extend(counted.map(|pair| pair.told()));
        found
    }
}

impl Pair {
    fn told(&self) -> (usize, Error) {
        let said = |labels: &[(&str, String)]| {
            let labels = labels.iter();
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            labels.join(", ")
        };
        let (one, other) = (said(&self.one), said(&self.other));
        (self.member, Error::Twice { one, other })
    }
}

impl Seen<'_> {
    fn is_twin(&self, other: &Self) -> bool {
        self.overlaps(other) && (self.is_replica_of(other) || self.takes_turns_with(other))
    }

    fn is_read_in_turns_with(&self, other: &Self) -> bool {
        self.overlaps(other) && self.takes_turns_with(other)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
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

    /// Both, by the labels that are not as in the other.
    fn pair(&self, other: &Self) -> Pair {
        let apart = |one: &Self, other: &Self| {
            let own = one.reader.iter();
            let own = own.filter(|label| !other.reader.contains(label));
            own.cloned().collect()
        };
        Pair {
            member: self.member,
            one: apart(other, self),
            other: apart(self, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sorting::tests::{ask, shipped, subject};
    use super::*;
    use crate::rollout::rule::{Rule, lint};

    /// Labels after the usual ones, and the times of the samples.
    type Row = (&'static str, &'static [i64]);

    fn found(rows: &[Row]) -> Option<String> {
        let usual = "namespace=shop,ingress=api,service=api,status=200";
        found_by(&shipped("error-rate"), usual, rows)
    }

    fn found_by(rule: &Arc<Rule>, usual: &str, rows: &[Row]) -> Option<String> {
        let ask = ask(rule, &[subject("shop", "api", &[])]);
        let values: Vec<Vec<(f64, Cow<'_, str>)>> = rows
            .iter()
            .map(|(_, at)| {
                at.iter()
                    .map(|at| (*at as f64, Cow::Borrowed("1")))
                    .collect()
            })
            .collect();
        let mut twins = Twins::of(&ask);
        for ((text, _), values) in rows.iter().zip(&values) {
            let labels: Vec<_> = format!("{text},{usual}")
                .split(',')
                .filter_map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    Some((Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned())))
                })
                .collect();
            twins.add(&labels, values, &ask.places(&labels));
        }
        twins.found().first().map(|(_, error)| error.to_string())
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

    /// What is read, and whether it is read twice.
    const CASES: [(&str, bool, &[Row]); 12] = [
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
            "a PodMonitor beside a ServiceMonitor",
            true,
            &[
                (
                    "instance=a,job=shop,endpoint=http,exported_service=api",
                    &[10, 20],
                ),
                ("instance=a,job=shop/api,endpoint=http", &[13, 23]),
            ],
        ),
        (
            "a job by annotations beside it",
            true,
            &[
                ("instance=a,job=shop,pod=p", &[10, 20]),
                (
                    "instance=a,job=kubernetes-pods,pod=p,app=x,pod_template_hash=y",
                    &[13, 23],
                ),
            ],
        ),
        (
            "two jobs for one node, where the pods differ",
            false,
            &[
                ("instance=a,job=x,pod=p", &[10, 20]),
                ("instance=a,job=y,pod=q", &[13, 23]),
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

    #[test]
    fn only_the_same_series_read_in_turns_are_twins() {
        for (what, twins, rows) in CASES {
            let said = found(rows);
            assert_eq!(said.is_some(), twins, "{what}: {said:?}");
        }
    }

    #[test]
    fn labels_of_a_target_are_told_from_the_exporters_own() {
        let file = include_str!("../../rules/http-server.yaml");
        let rule = Arc::new(lint(file, "r").unwrap().remove(0));
        let usual = "namespace=shop,pod=api-5d4f-x1,instance=a,job=x,code=200";
        let found = |rows: &[Row]| found_by(&rule, usual, rows).is_some();
        let services: &[Row] = &[
            ("service=shop", &[10, 20]),
            ("service=shop-headless", &[13, 23]),
        ];
        assert!(found(services), "two Services of one pod");
        // Duplicates were removed; one scrape has two values of the label.
        let own: &[Row] = &[
            ("endpoint=/cart", &[10, 20]),
            ("endpoint=/pay", &[13, 23]),
            ("endpoint=/login", &[10, 20]),
        ];
        assert!(!found(own));
    }

    #[test]
    fn two_exporters_of_one_pods_restarts_are_found() {
        let file = include_str!("../../rules/kubernetes.yaml");
        let rule = Arc::new(lint(file, "r").unwrap().remove(0));
        let usual = "namespace=shop,pod=api-5d4f-x1,uid=1,job=ksm";
        let found = |rows: &[Row]| found_by(&rule, usual, rows).is_some();
        let table: [(bool, &[Row]); 4] = [
            (
                true,
                &[
                    ("container=app,instance=a", &[10, 20]),
                    ("container=app,instance=b", &[13, 23]),
                ],
            ),
            (
                false,
                &[
                    ("container=app,instance=a", &[10, 20]),
                    ("container=log,instance=b", &[13, 23]),
                ],
            ),
            // Another took over.
            (
                false,
                &[
                    ("container=app,instance=a", &[10, 20]),
                    ("container=app,instance=b", &[23, 33]),
                ],
            ),
            (
                true,
                &[
                    ("exported_container=app,container=ksm,instance=a", &[10, 20]),
                    ("exported_container=app,container=ksm,instance=b", &[13, 23]),
                ],
            ),
        ];
        for (twins, rows) in table {
            assert_eq!(found(rows), twins, "{rows:?}");
        }
    }
}

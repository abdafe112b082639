//! Which series belong to which subject, and what they count there.
//!
//! One rule's series of all subjects come in one stream. The values of the rule's selected
//! labels are the key into a table of subjects, so that sorting costs the same for one subject
//! as for thousands.
//!
//! Not here: how series are fetched, and how their values become increments (`counters`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use regex::Regex;

use super::Subject;
use super::tally::{Arm, Class};
use crate::rollout::rule::{ArmValue, Kind, LabelPattern, Rule, Series, Variable, anchored};

/// A series' labels, in any order.
pub(super) type Labels<'a> = [(Cow<'a, str>, Cow<'a, str>)];

/// One rule and the subjects that ask it.
#[derive(Debug)]
pub(super) struct Ask {
    pub rule: Arc<Rule>,
    /// Which series are whose.
    pub series: Series,
    /// Name of the metric whose series are wanted.
    pub metric: String,
    /// Values of the selected labels to positions in `members`.
    table: HashMap<Vec<String>, Vec<usize>>,
    pub members: Vec<Member>,
    /// Which query they share: 0 is that of all who are up to date.
    pub class: u32,
}

/// A subject that asks the rule.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The subject's position among all that were asked for.
    pub subject: usize,
    /// The start of what must be read, in milliseconds.
    pub start: i64,
    pub arms: Arms,
}

/// How a subject's arms are told apart.
#[derive(Debug, Clone)]
pub(super) struct Arms {
    canary: ArmTest,
    stable: ArmTest,
}

#[derive(Debug, Clone)]
enum ArmTest {
    Empty,
    Nonempty,
    Like(Regex),
}

/// Where a series belongs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Position in `members`.
    pub member: usize,
    pub arm: Arm,
    pub class: Class,
    /// A hash of the labels.
    pub series: u64,
}

impl Arms {
    /// Compiles the arms' values for one subject; an error in words.
    pub fn of(series: &Series, subject: &Subject) -> Result<Self, String> {
        let test = |value: &ArmValue| match value {
            ArmValue::Empty => Ok(ArmTest::Empty),
            ArmValue::Nonempty => Ok(ArmTest::Nonempty),
            ArmValue::Like(template) => {
                let others = subject.other_ingresses.iter();
                let ingresses = std::iter::once(&subject.ingress).chain(others);
                let ports = std::iter::once(&subject.port).chain(&subject.other_ports);
                let pattern = |(ingress, port): (&String, &String)| {
                    template.fill_pattern(|variable| match variable {
                        Variable::Port => port.as_str(),
                        other => subject.value_for(other, ingress),
                    })
                };
                let places =
                    ingresses.flat_map(|ingress| ports.clone().map(move |port| (ingress, port)));
                let mut patterns: Vec<String> = places.map(pattern).collect();
                patterns.sort_unstable();
                patterns.dedup();
                anchored(&patterns.join("|"))
                    .map(ArmTest::Like)
                    .map_err(|error| error.to_string())
            }
        };
        let arm = &series.arm;
        Ok(Self {
            canary: test(&arm.canary)?,
            stable: test(&arm.stable)?,
        })
    }

    /// The regular expressions of both arms' values, where both have one.
    pub fn patterns(&self) -> Option<[&str; 2]> {
        match (&self.canary, &self.stable) {
            (ArmTest::Like(canary), ArmTest::Like(stable)) => {
                Some([canary.as_str(), stable.as_str()])
            }
            _ => None,
        }
    }

    fn arm(&self, value: &str) -> Option<Arm> {
        // The canary first: its value is often the narrower one.
        if self.canary.holds(value) {
            return Some(Arm::Canary);
        }
        self.stable.holds(value).then_some(Arm::Stable)
    }
}

impl ArmTest {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Empty => value.is_empty(),
            Self::Nonempty => !value.is_empty(),
            Self::Like(pattern) => pattern.is_match(value),
        }
    }
}

impl Ask {
    /// A rule that nobody asks yet; `None` for one that counts no series.
    pub fn new(rule: Arc<Rule>) -> Option<Self> {
        Some(Self {
            metric: rule.metric()?,
            series: rule.series()?.clone(),
            rule,
            table: HashMap::new(),
            members: Vec::new(),
            class: 0,
        })
    }

    /// The same for those who reach so far back.
    #[must_use]
    pub fn of_class(self, class: u32) -> Self {
        Self { class, ..self }
    }

    /// The same of these members alone.
    pub fn part(&self, members: Range<usize>) -> Self {
        let own = |positions: &Vec<usize>| -> Vec<usize> {
            let own = positions.iter().filter(|at| members.contains(at));
            own.map(|at| at - members.start).collect()
        };
        let table = self.table.iter();
        let table = table.map(|(values, positions)| (values.clone(), own(positions)));
        Self {
            rule: Arc::clone(&self.rule),
            series: self.series.clone(),
            metric: self.metric.clone(),
            table: table.filter(|(_, own)| !own.is_empty()).collect(),
            members: self.members[members.clone()].to_vec(),
            class: self.class,
        }
    }

    /// The process that a series came from. Where the arms are told by their pods, each pod is one, also
    /// where a collector tells of many: that one of them began anew says nothing of the others.
    pub fn process(&self, labels: &Labels<'_>) -> u64 {
        let arm = &self.series.arm;
        let pods = [&arm.canary, &arm.stable]
            .into_iter()
            .any(|value| match value {
                ArmValue::Like(template) => template.variables().any(Variable::is_pattern),
                ArmValue::Empty | ArmValue::Nonempty => false,
            });
        let told = arm
            .labels
            .iter()
            .all(|name| PROCESS.contains(&name.as_str()));
        let hash = process(labels);
        if pods && !told {
            mix(hash, first(labels, &arm.labels))
        } else {
            hash
        }
    }

    /// Whether native histograms are wanted.
    pub fn is_native(&self) -> bool {
        matches!(&self.rule.kind, Kind::Latency(latency) if latency.native)
    }

    /// Adds a subject that asks the rule.
    pub fn add(&mut self, subject: &Subject, member: Member) {
        let position = self.members.len();
        for ingress in std::iter::once(&subject.ingress).chain(&subject.other_ingresses) {
            let select = self.series.select.iter();
            let fill = |variable| subject.value_for(variable, ingress);
            let values = select.map(|one| one.value.fill(fill)).collect();
            // Without `{{ingress}}` all of them select the same.
            let members = self.table.entry(values).or_default();
            if !members.contains(&position) {
                members.push(position);
            }
        }
        self.members.push(member);
    }

    /// Whether the rule names this label anywhere.
    pub fn names(&self, name: &str) -> bool {
        let select = self.series.select.iter().flat_map(|one| &one.labels);
        let mut labels = select.chain(&self.series.arm.labels);
        labels.any(|label| label == name) || self.reads(name)
    }

    /// Whether what the series is sorted by is in this label of it.
    pub fn uses(&self, labels: &Labels<'_>, name: &str) -> bool {
        let select = self.series.select.iter().map(|one| &one.labels);
        let mut alternatives = select.chain(std::iter::once(&self.series.arm.labels));
        let there = |label: &&String| !self::label(labels, label).is_empty();
        let used = |names: &Vec<String>| names.iter().find(there).is_some_and(|used| used == name);
        alternatives.any(used) || self.reads(name)
    }

    /// Whether a pattern is about this label.
    fn reads(&self, name: &str) -> bool {
        let bad = match &self.rule.kind {
            Kind::Proportion(proportion) => &proportion.bad[..],
            Kind::Latency(_)
            | Kind::Events(_)
            | Kind::Compare(_)
            | Kind::Value(_)
            | Kind::Load(_) => &[],
        };
        let mut patterns = bad.iter().chain(self.rule.ignore());
        patterns.any(|pattern| pattern.label == name)
    }

    /// The values that the subjects select of the selected label at `position`, each once.
    pub fn values(&self, position: usize) -> Vec<&str> {
        let values = self.table.keys().filter_map(|values| values.get(position));
        let mut values: Vec<&str> = values.map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// Where a series belongs: usually one subject, none for what is ignored or not asked for.
    pub fn places(&self, labels: &Labels<'_>) -> Vec<Place> {
        let Some(members) = self.table.get(&self.selected(labels)) else {
            return Vec::new();
        };
        if self
            .rule
            .ignore()
            .iter()
            .any(|pattern| holds(pattern, labels))
        {
            return Vec::new();
        }
        let Some(class) = self.class(labels) else {
            return Vec::new();
        };
        let series = fingerprint(labels, &[]);
        let value = first(labels, &self.series.arm.labels);
        let place = |member: &usize| {
            let arm = self.members[*member].arms.arm(value)?;
            Some(Place {
                member: *member,
                arm,
                class,
                series,
            })
        };
        members.iter().filter_map(place).collect()
    }

    fn selected(&self, labels: &Labels<'_>) -> Vec<String> {
        let select = self.series.select.iter();
        select
            .map(|one| first(labels, &one.labels).to_owned())
            .collect()
    }

    fn class(&self, labels: &Labels<'_>) -> Option<Class> {
        match &self.rule.kind {
            Kind::Proportion(proportion) => {
                let told = |pattern: &LabelPattern| {
                    !pattern.needs_label() || !label(labels, &pattern.label).is_empty()
                };
                let bad = &proportion.bad;
                Some(if bad.iter().all(|pattern| holds(pattern, labels)) {
                    Class::Bad
                } else if bad.iter().all(told) {
                    Class::Good
                } else {
                    Class::Untold
                })
            }
            // Its boundaries are in the values.
            Kind::Latency(latency) if latency.native => Some(Class::UpTo {
                le: f64::INFINITY,
                of: 0,
            }),
            Kind::Latency(latency) => {
                let le: f64 = label(labels, "le").parse().ok()?;
                let le = if latency.milliseconds {
                    le / 1000.0
                } else {
                    le
                };
                (!le.is_nan()).then(|| Class::UpTo {
                    le,
                    of: fingerprint(labels, &["le"]),
                })
            }
            Kind::Events(_) => {
                let pod = first(labels, &self.series.arm.labels);
                Some(Class::Event { pod: target(pod) })
            }
            Kind::Compare(_) | Kind::Value(_) | Kind::Load(_) => None,
        }
    }
}

fn holds(pattern: &LabelPattern, labels: &Labels<'_>) -> bool {
    pattern.matches(label(labels, &pattern.label))
}

/// The value of the first of these labels that is there.
fn first<'a>(labels: &'a Labels<'_>, names: &[String]) -> &'a str {
    let values = names.iter().map(|name| label(labels, name));
    values
        .into_iter()
        .find(|value| !value.is_empty())
        .unwrap_or_default()
}

/// A label's value; empty when it is missing, as Prometheus has it.
pub(super) fn label<'a>(labels: &'a Labels<'_>, name: &str) -> &'a str {
    labels
        .iter()
        .find(|(known, _)| known == name)
        .map_or("", |(_, value)| value)
}

/// Labels that only say which server read a target. Those that several installations give to
/// their replicas, from Prometheus' operator, Thanos and Cortex.
pub(super) const REPLICAS: [&str; 4] = [
    "prometheus_replica",
    "__replica__",
    "receive_replica",
    "rule_replica",
];
/// Labels that may say the same, or something of the exporter's own.
pub(super) const MAYBE_REPLICAS: [&str; 3] = ["prometheus", "replica", "monitor"];

/// Labels that tell processes apart.
const PROCESS: [&str; 5] = ["job", "instance", "controller_pod", "pod", "exported_pod"];

/// The process that a series came from: the scrape target, the pod where one is named, and the
/// server that read it where it is one of several.
pub(super) fn process(labels: &Labels<'_>) -> u64 {
    let hash = PROCESS
        .iter()
        .fold(SEED, |hash, name| mix(mix(hash, name), label(labels, name)));
    // Only where they are there: without them the hash is as it always was.
    let replicas = REPLICAS.iter().chain(&MAYBE_REPLICAS);
    let present = replicas.filter(|name| !label(labels, name).is_empty());
    present.fold(hash, |hash, name| mix(mix(hash, name), label(labels, name)))
}

/// One of several counters in a series.
pub(super) fn part(series: u64, which: u64) -> u64 {
    finish(series ^ finish(which))
}

/// The process of a scrape target.
pub(super) fn target(name: &str) -> u64 {
    mix(SEED, name)
}

/// A hash of labels that does not depend on their order, `without` some of them.
pub(super) fn fingerprint(labels: &Labels<'_>, without: &[&str]) -> u64 {
    let wanted = labels
        .iter()
        .filter(|(name, _)| !without.contains(&&**name));
    // Each label is finished by itself before they are added, so that order does not matter.
    wanted.fold(0u64, |sum, (name, value)| {
        sum.wrapping_add(finish(mix(mix(SEED, name), value)))
    })
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, since cursors outlive the process: the hash must not change between versions.
fn mix(hash: u64, text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    step(text.bytes().fold(hash, step), 0xff)
}

/// The finisher of `SplitMix64`, which spreads every bit over all others.
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rollout::rule::lint;
    use jiff::Timestamp;

    /// The shipped rule with this name.
    pub fn shipped(name: &str) -> Arc<Rule> {
        let rules = lint(include_str!("../../rules/ingress-nginx.yaml"), "r").unwrap();
        Arc::new(rules.into_iter().find(|rule| rule.name == name).unwrap())
    }

    /// A subject `<namespace>/<name>` whose Ingress and Service have its name.
    pub fn subject(namespace: &str, name: &str, rules: &[Arc<Rule>]) -> Subject {
        Subject {
            namespace: namespace.into(),
            name: name.into(),
            ingress: name.into(),
            service: name.into(),
            canary_service: format!("{name}-canary"),
            other_ingresses: Vec::new(),
            port: "80".into(),
            other_ports: Vec::new(),
            workload: name.into(),
            canary_workload: format!("{name}-canary"),
            canary_pods: format!("{name}-canary-[a-z0-9]+-[a-z0-9]+"),
            stable_pods: format!("{name}-[a-z0-9]+-[a-z0-9]+"),
            rules: rules.to_vec(),
            cursor: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    /// A rule with its subjects as members, in order.
    pub fn ask(rule: &Arc<Rule>, subjects: &[Subject]) -> Ask {
        let mut ask = Ask::new(Arc::clone(rule)).unwrap();
        for (at, subject) in subjects.iter().enumerate() {
            let arms = Arms::of(&ask.series, subject).unwrap();
            ask.add(
                subject,
                Member {
                    subject: at,
                    start: 0,
                    arms,
                },
            );
        }
        ask
    }

    fn labels(text: &'static str) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        let pair = |pair: &'static str| {
            pair.split_once('=')
                .map(|(k, v)| (k.into(), v.into()))
                .unwrap()
        };
        text.split(',').map(pair).collect()
    }

    fn placed(ask: &Ask, text: &'static str) -> Option<(usize, Arm, Class)> {
        let places = ask.places(&labels(text));
        assert!(places.len() <= 1);
        places
            .first()
            .map(|place| (place.member, place.arm, place.class))
    }

    #[test]
    fn series_find_their_subject_arm_and_class() {
        let rule = shipped("error-rate");
        let ask = ask(
            &rule,
            &[subject("shop", "api", &[]), subject("shop", "web", &[])],
        );
        let table = [
            (
                "namespace=shop,ingress=api,service=api,status=200,canary=",
                Some((0, Arm::Stable, Class::Good)),
            ),
            (
                "namespace=shop,ingress=web,service=web,status=503",
                Some((1, Arm::Stable, Class::Bad)),
            ),
            (
                "namespace=shop,ingress=api,service=api,status=200,canary=shop-api-canary-80",
                Some((0, Arm::Canary, Class::Good)),
            ),
            // What Prometheus adds to a scraped pod goes before: the pod's namespace and service are not the Ingress's.
            (
                "exported_namespace=shop,namespace=ingress-nginx,ingress=api,exported_service=api,service=metrics,status=500,canary=",
                Some((0, Arm::Stable, Class::Bad)),
            ),
            (
                "exported_namespace=x,namespace=shop,ingress=api,service=api,status=500,canary=",
                None,
            ),
            (
                "namespace=shop,ingress=api,service=api,status=499,canary=",
                None,
            ),
            (
                "namespace=shop,ingress=api,service=other,status=200,canary=",
                None,
            ),
            (
                "namespace=bank,ingress=api,service=api,status=200,canary=",
                None,
            ),
        ];
        for (text, want) in table {
            assert_eq!(placed(&ask, text), want, "{text}");
        }
    }

    #[test]
    fn other_ingresses_and_ports_of_one_service_are_counted_with_it() {
        let rule = shipped("error-rate");
        let mut api = subject("shop", "api", &[]);
        api.other_ingresses = vec!["api-internal".into(), "api".into()];
        let both = ask(&rule, &[api.clone(), subject("shop", "web", &[])]);
        let of = |text| placed(&both, text).map(|(member, arm, _)| (member, arm));
        let table = [
            (
                "namespace=shop,ingress=api,service=api,status=200",
                Some((0, Arm::Stable)),
            ),
            (
                "namespace=shop,ingress=api-internal,service=api,status=200,canary=shop-api-canary-80",
                Some((0, Arm::Canary)),
            ),
            (
                "namespace=shop,ingress=api-internal,service=web,status=200",
                None,
            ),
            ("namespace=shop,ingress=other,service=api,status=200", None),
        ];
        for (text, want) in table {
            assert_eq!(of(text), want, "{text}");
        }
        // Traefik's names say Ingress and port; the canary takes each port that the Ingress leads to.
        let file = include_str!("../../rules/traefik.yaml");
        let rule = Arc::new(lint(file, "r").unwrap().remove(0));
        api.other_ports = vec!["8443".into()];
        let both = ask(&rule, &[api]);
        let of = |text| placed(&both, text).map(|(_, arm, _)| arm);
        assert_eq!(
            of("code=200,service=shop-api-api-80@kubernetesingressnginx"),
            Some(Arm::Stable)
        );
        assert_eq!(
            of("code=200,service=shop-api-api-8443-canary@kubernetesingressnginx"),
            Some(Arm::Canary)
        );
        assert_eq!(
            of("code=200,service=shop-api-internal-api-80-canary@kubernetesingressnginx"),
            Some(Arm::Canary)
        );
        assert_eq!(
            of("code=200,service=shop-other-api-80@kubernetesingressnginx"),
            None
        );
        assert_eq!(
            of("code=200,service=shop-api-api-9000@kubernetesingressnginx"),
            None
        );
    }

    #[test]
    fn buckets_of_one_histogram_share_everything_but_le() {
        let rule = shipped("latency-p99");
        let ask = ask(&rule, &[subject("shop", "api", &[])]);
        let place = |le: &'static str| {
            let mut all = labels("namespace=shop,ingress=api,service=api,status=200,canary=");
            all.push(("le".into(), le.into()));
            ask.places(&all)
                .first()
                .map(|place| (place.class, place.series))
        };
        let (Some((Class::UpTo { le, of }, a)), Some((Class::UpTo { le: inf, of: same }, b))) =
            (place("0.1"), place("+Inf"))
        else {
            panic!("no buckets");
        };
        assert_eq!((le, inf, of), (0.1, f64::INFINITY, same));
        assert_ne!(a, b);
        assert_eq!(place("x"), None);
        assert_eq!(place("NaN"), None);
    }

    #[test]
    fn arms_may_be_told_apart_by_names_that_are_filled_in() {
        let text = "- name: a\n  proportion:\n    metric: m\n    select: {ns: '{{namespace}}'}\n    arm: {label: service, canary: '{{namespace}}-{{canaryService}}-{{port}}@.*', stable: '{{namespace}}-{{service}}-{{port}}@.*'}\n    bad: {code: '5..'}\n";
        let rule = Arc::new(lint(text, "r").unwrap().remove(0));
        let ask = ask(&rule, &[subject("shop", "a.b", &[])]);
        assert_eq!(
            placed(
                &ask,
                "ns=shop,code=500,service=shop-a.b-canary-80@kubernetes"
            ),
            Some((0, Arm::Canary, Class::Bad))
        );
        assert_eq!(
            placed(&ask, "ns=shop,code=200,service=shop-a.b-80@x"),
            Some((0, Arm::Stable, Class::Good))
        );
        assert_eq!(placed(&ask, "ns=shop,code=200,service=shop-axb-80@x"), None);
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_order_and_never_changes() {
        let a = labels("a=b,c=d");
        let b = labels("c=d,a=b");
        assert_eq!(fingerprint(&a, &[]), fingerprint(&b, &[]));
        assert_ne!(fingerprint(&a, &[]), fingerprint(&labels("a=d,c=b"), &[]));
        assert_ne!(
            fingerprint(&a, &[]),
            fingerprint(&labels("a=bc,d=x"), &["d"])
        );
        assert_eq!(
            target("http://127.0.0.1:10254/metrics"),
            10_834_609_381_585_178_925
        );
    }
}

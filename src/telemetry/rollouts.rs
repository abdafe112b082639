//! The series that each Rollout has: written as a whole, gone when it is forgotten.
//!
//! One table behind one lock, encoded when it is asked for. So a series cannot outlive its
//! Rollout, its rule or its run, and a phase cannot be set twice.
//!
//! Not here: counters and histograms (`metrics`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// What is told of one Rollout.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutSeries {
    /// The state's name; its series is 1, the others of this Rollout are absent.
    pub phase: String,
    /// The canary's weight in percent.
    pub weight_percent: f64,
    /// Whether the Deployment is not behind the gate although it should be.
    pub unguarded: bool,
    /// The rules of the run that goes on; none outside of one.
    pub rules: Vec<RuleSeries>,
}

/// What is told of one rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSeries {
    /// Its name.
    pub rule: String,
    /// Natural logarithm of the evidence for worse, exact witness.
    pub exact: f64,
    /// The same, block witness.
    pub block: f64,
    /// What both must reach.
    pub bound: f64,
    /// Natural logarithm of the evidence for not worse.
    pub not_worse: f64,
    /// What it must reach.
    pub not_worse_bound: f64,
}

type Key = (String, String);

/// All Rollouts' series, by namespace and name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<Mutex<BTreeMap<Key, RolloutSeries>>>);

type Value = fn(&RolloutSeries) -> f64;
type RuleValues = fn(&RuleSeries) -> [(&'static str, f64); 3];

impl Table {
    /// Replaces all that was told of a Rollout.
    pub fn set(&self, namespace: &str, name: &str, series: RolloutSeries) {
        self.with(|table| table.insert((namespace.to_owned(), name.to_owned()), series));
    }

    /// Forgets a Rollout.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.with(|table| table.remove(&(namespace.to_owned(), name.to_owned())));
    }

    /// Forgets all Rollouts.
    pub fn forget_all(&self) {
        self.with(BTreeMap::clear);
    }

    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<Key, RolloutSeries>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn phases(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "1 for the phase in which the Rollout is";
        let mut metric = gauge(encoder, "sluice_phase", help)?;
        self.with(|table| {
            table.iter().try_for_each(|((namespace, name), series)| {
                let labels = [
                    ("namespace", namespace.as_str()),
                    ("rollout", name),
                    ("phase", &series.phase),
                ];
                ConstGauge::new(1i64).encode(metric.encode_family(&labels)?)
            })
        })
    }

    fn values(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        value: Value,
    ) -> fmt::Result {
        let mut metric = gauge(encoder, name, help)?;
        self.with(|table| {
            table.iter().try_for_each(|((namespace, name), series)| {
                let labels = [("namespace", namespace.as_str()), ("rollout", name)];
                ConstGauge::new(value(series)).encode(metric.encode_family(&labels)?)
            })
        })
    }

    fn rules(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        values: RuleValues,
    ) -> fmt::Result {
        let mut metric = gauge(encoder, name, help)?;
        self.with(|table| {
            let rules = table
                .iter()
                .flat_map(|(key, series)| series.rules.iter().map(move |rule| (key, rule)));
            for ((namespace, name), rule) in rules {
                for (witness, value) in values(rule) {
                    let labels = [
                        ("namespace", namespace.as_str()),
                        ("rollout", name),
                        ("rule", &rule.rule),
                        ("witness", witness),
                    ];
                    ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
                }
            }
            Ok(())
        })
    }
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder,
    name: &'a str,
    help: &'a str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        self.phases(encoder)?;
        let help = "The canary's weight that is wanted, in percent";
        self.values(encoder, "sluice_canary_weight_percent", help, |series| {
            series.weight_percent
        })?;
        let help = "1 where a Deployment that should be guarded is not";
        self.values(encoder, "sluice_unguarded", help, |series| {
            f64::from(u8::from(series.unguarded))
        })?;
        let help =
            "Natural logarithm of the evidence: exact and block for worse, not_worse against it";
        self.rules(encoder, "sluice_evidence_log", help, |rule| {
            [
                ("exact", rule.exact),
                ("block", rule.block),
                ("not_worse", rule.not_worse),
            ]
        })?;
        let help = "What the logarithm of the evidence must reach";
        self.rules(encoder, "sluice_evidence_bound_log", help, |rule| {
            [
                ("exact", rule.bound),
                ("block", rule.bound),
                ("not_worse", rule.not_worse_bound),
            ]
        })
    }
}

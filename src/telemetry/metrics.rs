//! Every metric of the daemon, named once, in the words of what happens.
//!
//! `Metrics` is a handle: clone it freely. Its methods say what happened; names, labels and
//! buckets are nobody else's business. Labels are bounded: namespaces, Rollouts, rules and
//! closed vocabularies.
//!
//! Not here: per-Rollout gauges (`rollouts`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::rollouts::{RolloutSeries, Table};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// What a remedy in Git comes to; `waits` where it is tried again.
const REMEDIES: [&str; 7] = [
    "reverted",
    "proposed",
    "excluded",
    "restored",
    "superseded",
    "failed",
    "waits",
];

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    rollouts: Table,
    runs: Counters,
    bypassed: Counter,
    gate_ready: Gauge,
    unclaimed: Gauge,
    leader: Gauge,
    queries: Counters,
    query_seconds: Histograms,
    reconciles: Counter,
    reconcile_errors: Counters,
    reaction: Histogram,
    detection: Histogram,
    reloads: Counters,
    alerts: Counters,
    git_remedies: Counters,
    history_ready: Gauge,
    history_errors: Counter,
    smoke: Counters,
    messages: Counters,
    spans: Counters,
    reviews: Counters,
    review_seconds: Histogram,
    certificate: Family<Labels, Gauge>,
    namespaces: Family<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        Self::within(Registry::default())
    }

    /// All metrics at zero, of one environment among several: each series names it.
    pub fn of(environment: &str) -> Self {
        let label = ("environment".into(), environment.to_owned().into());
        Self::within(Registry::with_labels(std::iter::once(label)))
    }

    fn within(mut registry: Registry) -> Self {
        let r = &mut registry;
        let rollouts = Table::default();
        r.register_collector(Box::new(rollouts.clone()));
        Self {
            rollouts,
            runs: counters(r, "runs", "Runs that ended, by outcome and reason"),
            bypassed: counter(r, "bypassed", "Revisions that reached pods past the gate"),
            gate_ready: gauge(r, "gate_ready", "1 while the gate stands"),
            unclaimed: gauge(
                r,
                "unclaimed_workloads",
                "Workloads that the gate holds and that no Rollout names",
            ),
            leader: gauge(r, "leader", "1 while this daemon acts"),
            queries: counters(
                r,
                "source_queries",
                "Reads of the metrics source, by outcome",
            ),
            query_seconds: query_seconds(r),
            reconciles: counter(r, "reconciles", "Passes over one Rollout"),
            reconcile_errors: counters(r, "reconcile_errors", "Passes that failed, by category"),
            reaction: reaction(r),
            detection: detection(r),
            reloads: counters(r, "rules_reloads", "Reloads of the rules, by outcome"),
            alerts: counters(r, "alerts", "Alerts that concern a run, by what they did"),
            git_remedies: git_remedies(r),
            history_ready: gauge(
                r,
                "history_ready",
                "1 while the history of runs can be written",
            ),
            history_errors: counter(r, "history_errors", "Writes of the history that failed"),
            smoke: counters(
                r,
                "sync_smoke_tests",
                "Smoke tests after a sync of Flux, by outcome",
            ),
            messages: counters(
                r,
                "messages",
                "Messages to people, by destination and outcome",
            ),
            spans: counters(r, "spans", "Spans for a collector, by outcome"),
            reviews: counters(
                r,
                "webhook_reviews",
                "Reviews that the gate's webhook was asked for, by outcome",
            ),
            review_seconds: review_seconds(r),
            certificate: certificate(r),
            namespaces: namespaces(r),
            registry: Arc::new(registry),
        }
    }

    /// The exposition text, as [`CONTENT_TYPE`] says.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Replaces all gauges of a Rollout.
    pub fn rollout(&self, namespace: &str, name: &str, series: RolloutSeries) {
        self.rollouts.set(namespace, name, series);
    }

    /// Removes the gauges of a Rollout that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.rollouts.forget(namespace, name);
    }

    /// Says how runs can end. An increase is seen only after a first sample, so that the counters are
    /// there from the start.
    pub fn runs_can_end(&self, outcome: &str, reason: &str) {
        let labels = labels(&[("outcome", outcome), ("reason", reason)]);
        drop(self.runs.get_or_create_owned(&labels));
    }

    /// A run ended.
    pub fn run_ended(&self, outcome: &str, reason: &str) {
        count(&self.runs, &[("outcome", outcome), ("reason", reason)]);
    }

    /// A revision reached pods past the gate.
    pub fn bypassed(&self) {
        self.bypassed.inc();
    }

    /// An alert that concerns a run was taken: `counts`, `older` or `resolved`.
    pub fn alerted(&self, outcome: &str) {
        count(&self.alerts, &[("outcome", outcome)]);
    }

    /// What a remedy in Git came to: `reverted`, `proposed`, `excluded`, `restored`, `superseded`, `failed` or `waits`.
    pub fn remedied(&self, outcome: &str) {
        count(&self.git_remedies, &[("outcome", outcome)]);
    }

    /// Smoke tests after a sync ended: `passed` or `failed`.
    pub fn smoked(&self, outcome: &str) {
        count(&self.smoke, &[("outcome", outcome)]);
    }

    /// A message to people was `sent`, has `failed` (and is tried again) or was `dropped`.
    pub fn messaged(&self, to: &str, outcome: &str) {
        count(&self.messages, &[("to", to), ("outcome", outcome)]);
    }

    /// Spans were `sent`, or `dropped` because nobody took them in time.
    pub fn spans(&self, outcome: &str, count: usize) {
        let spans = self
            .spans
            .get_or_create_owned(&labels(&[("outcome", outcome)]));
        spans.inc_by(count as u64);
    }

    /// The webhook was asked for a review: `changed`, `unchanged` or `refused`.
    pub fn reviewed(&self, outcome: &str, took: Duration) {
        count(&self.reviews, &[("outcome", outcome)]);
        self.review_seconds.observe(took.as_secs_f64());
    }

    /// The certificate that the webhook serves for this name ends then, in seconds since 1970.
    pub fn certificate_ends(&self, host: &str, second: i64) {
        let ends = self
            .certificate
            .get_or_create_owned(&labels(&[("host", host)]));
        ends.set(second);
    }

    /// Whether a namespace that is watched by itself is in sight.
    pub fn namespace_seen(&self, namespace: &str, seen: bool) {
        let labels = labels(&[("namespace", namespace)]);
        self.namespaces
            .get_or_create_owned(&labels)
            .set(i64::from(seen));
    }

    /// Whether the gate stands.
    pub fn gate_ready(&self, ready: bool) {
        self.gate_ready.set(i64::from(ready));
    }

    /// How many workloads the gate holds that no Rollout names.
    pub fn unclaimed(&self, count: usize) {
        self.unclaimed.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether this daemon acts.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Removes the gauges of all Rollouts: another daemon has them now.
    pub fn forget_all(&self) {
        self.rollouts.forget_all();
    }

    /// The metrics source (`prometheus` or `scrape`) was read; `outcome` is `ok` or the kind of
    /// failure.
    pub fn source_read(&self, source: &str, outcome: &str, took: Duration) {
        count(&self.queries, &[("source", source), ("outcome", outcome)]);
        let labels = labels(&[("source", source)]);
        let seconds = self.query_seconds.get_or_create_owned(&labels);
        seconds.observe(took.as_secs_f64());
    }

    /// A pass over one Rollout was made.
    pub fn reconciled(&self) {
        self.reconciles.inc();
    }

    /// A pass failed.
    pub fn reconcile_failed(&self, category: &str) {
        count(&self.reconcile_errors, &[("category", category)]);
    }

    /// Time from a verdict to weight 0 stored in the API.
    pub fn reacted(&self, took: Duration) {
        self.reaction.observe(took.as_secs_f64());
    }

    /// Time from the weight that showed the damage to the verdict.
    pub fn detected(&self, took: Duration) {
        self.detection.observe(took.as_secs_f64());
    }

    /// The history was written, or could not be.
    pub fn history_written(&self, done: bool) {
        self.history_ready.set(i64::from(done));
        if !done {
            self.history_errors.inc();
        }
    }

    /// The rules were read again; `outcome` is `loaded` or `refused`.
    pub fn rules_reloaded(&self, outcome: &str) {
        count(&self.reloads, &[("outcome", outcome)]);
    }
}

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect()
}

fn count(counters: &Counters, pairs: &[(&'static str, &str)]) {
    counters.get_or_create_owned(&labels(pairs)).inc();
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Counters {
    let counters = Counters::default();
    registry.register(format!("sluice_{name}"), help, counters.clone());
    counters
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(format!("sluice_{name}"), help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(format!("sluice_{name}"), help, gauge.clone());
    gauge
}

/// 1 ms to about 33 s.
fn query_seconds(registry: &mut Registry) -> Histograms {
    let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
    let histograms = Histograms::new_with_constructor(buckets);
    let help = "Time of one read of the metrics source";
    registry.register("sluice_source_query_seconds", help, histograms.clone());
    histograms
}

/// An increase is seen only after a first sample, so that each is there from the start.
fn git_remedies(registry: &mut Registry) -> Counters {
    let all = counters(registry, "git_remedies", "Remedies in Git, by outcome");
    for outcome in REMEDIES {
        drop(all.get_or_create_owned(&labels(&[("outcome", outcome)])));
    }
    all
}

/// 0.25 ms to about 2 s.
fn review_seconds(registry: &mut Registry) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.000_25, 2.0, 14));
    let help = "Time from a review's arrival at the gate's webhook to its answer";
    registry.register("sluice_webhook_review_seconds", help, histogram.clone());
    histogram
}

fn namespaces(registry: &mut Registry) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    let help = "1 while a namespace that is watched by itself is in sight";
    registry.register("sluice_namespace_seen", help, family.clone());
    family
}

/// Absent where no webhook is served: 0 would be a certificate that has ended.
fn certificate(registry: &mut Registry) -> Family<Labels, Gauge> {
    let gauge = Family::default();
    let help = "End of the certificate that the gate's webhook serves";
    let name = "sluice_webhook_certificate_expires_timestamp_seconds";
    registry.register(name, help, gauge.clone());
    gauge
}

/// 1 ms to about 16 s.
fn reaction(registry: &mut Registry) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.001, 2.0, 15));
    let help = "Time from a Worse verdict to weight 0 stored in the API";
    registry.register("sluice_reaction_seconds", help, histogram.clone());
    histogram
}

/// 1 s to about 68 min.
fn detection(registry: &mut Registry) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(1.0, 2.0, 13));
    let help = "Time from the weight that showed the damage to the Worse verdict";
    registry.register("sluice_detection_seconds", help, histogram.clone());
    histogram
}

#[cfg(test)]
mod tests {
    use super::super::RuleSeries;
    use super::*;

    fn series(phase: &str) -> RolloutSeries {
        RolloutSeries {
            phase: phase.to_owned(),
            weight_percent: 25.0,
            unguarded: false,
            rules: vec![RuleSeries {
                rule: "error-rate".to_owned(),
                exact: 1.5,
                bound: 5.3,
                ..RuleSeries::default()
            }],
        }
    }

    fn series_of(text: &str, rollout: &str) -> usize {
        let label = format!("rollout=\"{rollout}\"");
        text.lines().filter(|line| line.contains(&label)).count()
    }

    #[test]
    fn all_that_happened_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.rollout("shop", "backend", series("Stepping"));
        metrics.run_ended("RolledBack", "Worse");
        metrics.bypassed();
        metrics.alerted("counts");
        metrics.remedied("failed");
        metrics.smoked("failed");
        metrics.messaged("deploys", "sent");
        metrics.spans("sent", 3);
        metrics.namespace_seen("shop", false);
        metrics.gate_ready(true);
        metrics.leads(true);
        metrics.source_read("prometheus", "ok", Duration::from_millis(3));
        metrics.reconciled();
        metrics.reconcile_failed("conflict");
        metrics.reacted(Duration::from_millis(20));
        metrics.detected(Duration::from_secs(7));
        metrics.rules_reloaded("refused");
        let before = metrics.text().unwrap();
        assert!(
            !before
                .lines()
                .any(|line| line.starts_with("sluice_webhook_certificate"))
        );
        metrics.reviewed("changed", Duration::from_millis(1));
        metrics.certificate_ends("a.svc", 1_800_000_000);
        let text = metrics.text().unwrap();
        for line in [
            "sluice_webhook_reviews_total{outcome=\"changed\"} 1",
            "sluice_webhook_review_seconds_count 1",
            "sluice_webhook_certificate_expires_timestamp_seconds{host=\"a.svc\"} 1800000000",
            "sluice_phase{namespace=\"shop\",rollout=\"backend\",phase=\"Stepping\"} 1",
            "sluice_canary_weight_percent{namespace=\"shop\",rollout=\"backend\"} 25.0",
            "sluice_unguarded{namespace=\"shop\",rollout=\"backend\"} 0.0",
            "sluice_evidence_log{namespace=\"shop\",rollout=\"backend\",rule=\"error-rate\",witness=\"exact\"} 1.5",
            "sluice_evidence_bound_log{namespace=\"shop\",rollout=\"backend\",rule=\"error-rate\",witness=\"block\"} 5.3",
            "sluice_runs_total{outcome=\"RolledBack\",reason=\"Worse\"} 1",
            "sluice_bypassed_total 1",
            "sluice_alerts_total{outcome=\"counts\"} 1",
            "sluice_git_remedies_total{outcome=\"failed\"} 1",
            "sluice_git_remedies_total{outcome=\"waits\"} 0",
            "sluice_git_remedies_total{outcome=\"excluded\"} 0",
            "sluice_sync_smoke_tests_total{outcome=\"failed\"} 1",
            "sluice_messages_total{to=\"deploys\",outcome=\"sent\"} 1",
            "sluice_spans_total{outcome=\"sent\"} 3",
            "sluice_namespace_seen{namespace=\"shop\"} 0",
            "sluice_gate_ready 1",
            "sluice_leader 1",
            "sluice_source_queries_total{source=\"prometheus\",outcome=\"ok\"} 1",
            "sluice_source_query_seconds_count{source=\"prometheus\"} 1",
            "sluice_reconciles_total 1",
            "sluice_reconcile_errors_total{category=\"conflict\"} 1",
            "sluice_reaction_seconds_count 1",
            "sluice_detection_seconds_count 1",
            "sluice_rules_reloads_total{outcome=\"refused\"} 1",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line}\nin\n{text}"
            );
        }
    }

    #[test]
    fn a_rollout_has_one_phase() {
        let metrics = Metrics::new();
        metrics.rollout("shop", "backend", series("Stepping"));
        metrics.rollout("shop", "backend", series("Idle"));
        let text = metrics.text().unwrap();
        assert!(!text.contains("Stepping"), "{text}");
    }

    #[test]
    fn a_rollout_that_is_gone_leaves_no_series() {
        let metrics = Metrics::new();
        metrics.rollout("shop", "backend", series("Idle"));
        metrics.rollout("shop", "front", series("Idle"));
        metrics.forget("shop", "backend");
        let text = metrics.text().unwrap();
        assert_eq!(series_of(&text, "backend"), 0, "{text}");
        assert_eq!(series_of(&text, "front"), 9, "{text}");
    }
}

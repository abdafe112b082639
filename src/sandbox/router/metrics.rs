//! The router's metrics in exposition text, as ingress-nginx's controller writes them.
//!
//! Labels `ingress` and `service` are always the stable side's; `canary` names the alternative
//! upstream, or is empty. Series stay for the life of the process. Hosts without a rule of
//! their own name (wildcards, host-less rules) have none, as by the controller's default.
//! Not here: the controller's many other metrics.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::table::Labels;

/// Upper bounds of the histogram's buckets, in seconds.
pub const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What tells one series from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub labels: Arc<Labels>,
    pub host: Arc<str>,
    /// The canary's upstream; empty for stable.
    pub canary: Arc<str>,
    pub method: Arc<str>,
    pub status: u16,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    requests: u64,
    seconds: f64,
    /// Not cumulative; the last one is for times above all bounds.
    buckets: [u64; BUCKETS.len() + 1],
}

/// All series of one controller pod.
#[derive(Debug, Clone)]
pub struct Metrics {
    pod: String,
    class: String,
    started: Timestamp,
    series: BTreeMap<Series, Counts>,
    sent: BTreeMap<Sent, u64>,
}

/// What tells one series of a Gateway from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    pub namespace: Arc<str>,
    /// The Service that it was sent to.
    pub service: Arc<str>,
    pub status: u16,
}

/// Which series are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    All,
    /// All but the canary's.
    Stable,
}

/// Whether a Service is a canary's, by its name.
pub fn is_canarys(service: &str) -> bool {
    service.ends_with("-canary")
}

impl Metrics {
    pub fn new(pod: &str, class: &str, started: Timestamp) -> Self {
        Self {
            pod: pod.into(),
            class: class.into(),
            started,
            series: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Counts one request that a Gateway sent.
    pub fn count_sent(&mut self, sent: Sent) {
        *self.sent.entry(sent).or_default() += 1;
    }

    /// Counts one answered request.
    pub fn count(&mut self, series: Series, took: Duration) {
        let seconds = took.as_secs_f64();
        let counts = self.series.entry(series).or_default();
        counts.requests += 1;
        counts.seconds += seconds;
        counts.buckets[BUCKETS.partition_point(|bound| *bound < seconds)] += 1;
    }

    /// A Gateway's counters, with those of Istio's labels that rules ask for.
    fn write_sent(&self, out: &mut String, shown: Shown) -> std::fmt::Result {
        if self.sent.is_empty() {
            return Ok(());
        }
        let counter = "istio_requests_total";
        writeln!(out, "# HELP {counter} requests")?;
        writeln!(out, "# TYPE {counter} counter")?;
        let kept = |sent: &&Sent| shown == Shown::All || !is_canarys(&sent.service);
        for (sent, count) in self.sent.iter().filter(|(sent, _)| kept(sent)) {
            writeln!(
                out,
                "{counter}{{reporter=\"source\",destination_service_namespace=\"{}\",\
                 destination_service_name=\"{}\",response_code=\"{}\"}} {count}",
                sent.namespace, sent.service, sent.status
            )?;
        }
        Ok(())
    }

    /// The exposition text.
    pub fn text(&self, shown: Shown) -> String {
        let mut out = String::with_capacity(512 + self.series.len() * 4096);
        let kept: Vec<_> = self
            .series
            .iter()
            .filter(|(series, _)| shown == Shown::All || series.canary.is_empty())
            .collect();
        self.write(&mut out, &kept).unwrap_or_default();
        self.write_sent(&mut out, shown).unwrap_or_default();
        out
    }

    fn write(&self, out: &mut String, kept: &[(&Series, &Counts)]) -> std::fmt::Result {
        writeln!(
            out,
            "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds."
        )?;
        writeln!(out, "# TYPE process_start_time_seconds gauge")?;
        writeln!(
            out,
            "process_start_time_seconds {}",
            self.started.as_duration().as_secs_f64()
        )?;
        let histogram = "nginx_ingress_controller_request_duration_seconds";
        writeln!(
            out,
            "# HELP {histogram} The request processing time in seconds"
        )?;
        writeln!(out, "# TYPE {histogram} histogram")?;
        for (series, counts) in kept {
            Self::write_histogram(out, histogram, &self.labels(series), counts)?;
        }
        let counter = "nginx_ingress_controller_requests";
        writeln!(out, "# HELP {counter} The total number of client requests")?;
        writeln!(out, "# TYPE {counter} counter")?;
        for (series, counts) in kept {
            writeln!(
                out,
                "{counter}{{{}}} {}",
                self.labels(series),
                counts.requests
            )?;
        }
        Ok(())
    }

    fn write_histogram(
        out: &mut String,
        name: &str,
        labels: &str,
        counts: &Counts,
    ) -> std::fmt::Result {
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(counts.buckets) {
            below += count;
            writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
        }
        writeln!(
            out,
            "{name}_bucket{{{labels},le=\"+Inf\"}} {}",
            counts.requests
        )?;
        writeln!(out, "{name}_sum{{{labels}}} {}", counts.seconds)?;
        writeln!(out, "{name}_count{{{labels}}} {}", counts.requests)
    }

    fn labels(&self, series: &Series) -> String {
        let Labels {
            namespace,
            ingress,
            service,
            path,
        } = series.labels.as_ref();
        format!(
            "canary=\"{}\",controller_class=\"{}\",controller_namespace=\"ingress-nginx\",controller_pod=\"{}\",\
             host=\"{}\",ingress=\"{ingress}\",method=\"{}\",namespace=\"{namespace}\",path=\"{}\",\
             service=\"{service}\",status=\"{}\"",
            series.canary,
            self.class,
            self.pod,
            series.host,
            series.method,
            path.replace('\\', "\\\\").replace('"', "\\\""),
            series.status
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_read_like_the_controllers() {
        let mut metrics = Metrics::new(
            "nginx-0",
            "k8s.io/ingress-nginx",
            Timestamp::from_second(100).unwrap(),
        );
        let labels = Labels {
            namespace: "shop".into(),
            ingress: "web".into(),
            service: "front".into(),
            path: "/".into(),
        };
        let series = Series {
            labels: Arc::new(labels),
            host: "shop.test".into(),
            canary: "shop-front-canary-80".into(),
            method: "GET".into(),
            status: 200,
        };
        for milliseconds in [5, 30, 20_000] {
            metrics.count(series.clone(), Duration::from_millis(milliseconds));
        }
        let text = metrics.text(Shown::All);
        let labels = "canary=\"shop-front-canary-80\",controller_class=\"k8s.io/ingress-nginx\",\
            controller_namespace=\"ingress-nginx\",controller_pod=\"nginx-0\",host=\"shop.test\",ingress=\"web\",\
            method=\"GET\",namespace=\"shop\",path=\"/\",service=\"front\",status=\"200\"";
        for line in [
            "process_start_time_seconds 100".to_owned(),
            format!("nginx_ingress_controller_requests{{{labels}}} 3"),
            format!(
                "nginx_ingress_controller_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"
            ),
            format!(
                "nginx_ingress_controller_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 2"
            ),
            format!(
                "nginx_ingress_controller_request_duration_seconds_bucket{{{labels},le=\"10\"}} 2"
            ),
            format!(
                "nginx_ingress_controller_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3"
            ),
            format!("nginx_ingress_controller_request_duration_seconds_sum{{{labels}}} 20.035"),
        ] {
            assert!(
                text.lines().any(|known| known == line),
                "{line}\nnot in\n{text}"
            );
        }
    }

    #[test]
    fn a_page_without_the_canarys_series_has_all_others() {
        let start = Timestamp::from_second(100).unwrap();
        let mut metrics = Metrics::new("nginx-0", "k8s.io/ingress-nginx", start);
        for service in ["front", "front-canary"] {
            metrics.count_sent(Sent {
                namespace: "shop".into(),
                service: service.into(),
                status: 200,
            });
        }
        let services = |shown| {
            let text = metrics.text(shown);
            let sent = text.lines().filter(|line| line.contains("name=\"front"));
            sent.map(|line| line.contains("front-canary")).collect()
        };
        let (all, stable): (Vec<bool>, Vec<bool>) = (services(Shown::All), services(Shown::Stable));
        assert_eq!((all, stable), (vec![false, true], vec![false]));
    }
}

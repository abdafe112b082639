//! Rules that the converted resources ask for, in the form of rule files.
//!
//! Not here: which resource asks for what.

use serde_json::{Value, json};

use super::condition::{Bound, number};

/// At most this share of the requests answered 5xx, in percent.
pub fn error_limit(name: &str, percent: f64) -> Value {
    let percent = (percent * 1e6).round() / 1e6;
    let mut rule = of_ingress(name, "proportion", "nginx_ingress_controller_requests");
    rule["about"] = json!(format!("at most {percent}% of the requests answered 5xx"));
    rule["proportion"]["bad"] = json!({"status": "5.."});
    rule["max"] = json!(format!("{percent}%"));
    rule
}

/// At most one request of a hundred slower than this.
pub fn latency_limit(name: &str, seconds: f64) -> Value {
    let metric = "nginx_ingress_controller_request_duration_seconds";
    let mut rule = of_ingress(name, "latency", metric);
    rule["about"] = json!(format!(
        "at most 1% of the requests take longer than {seconds} s"
    ));
    rule["latency"]["quantile"] = json!(0.99);
    rule["max"] = json!({"quantile": 0.99, "seconds": seconds});
    rule
}

fn of_ingress(name: &str, kind: &str, metric: &str) -> Value {
    json!({
        "name": name,
        kind: {
            "metric": metric,
            "select": {
                "exported_namespace|namespace": "{{namespace}}",
                "ingress": "{{ingress}}",
                "exported_service|service": "{{service}}",
            },
            "arm": {"label": "canary", "canary": "nonempty", "stable": "empty"},
            "ignore": {"status": "308|401|403|499"},
        },
    })
}

/// A query's result held to bounds.
pub fn value(
    name: &str,
    query: &str,
    bounds: &[Bound],
    every: Option<&str>,
    failures: u64,
) -> Value {
    let failures = failures.clamp(1, 50);
    let mut value = json!({"query": query, "failures": failures, "window": failures + 2});
    for (bound, limit) in bounds {
        value[*bound] = number(*limit);
    }
    if let Some(every) = every {
        value["every"] = json!(every);
    }
    json!({"name": name, "value": value})
}

/// A name that rules may have: lower case letters, digits and dashes.
pub fn rule_name(parts: &[&str]) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = parts.join("-").chars().map(word).collect();
    let name: String = name.chars().take(63).collect();
    name.trim_matches('-').to_owned()
}

//! Rules that the converted resources ask for, in the form of rule files.
//!
//! Not here: which resource asks for what.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::condition::{Bound, number};

/// What stands for a limit of 0%, which no rule has, in percent: some 3,000 requests show it, and ten times less would
/// take ten times as many.
pub const NO_ERRORS_PERCENT: f64 = 0.1;

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

/// So many of the newest numbers a rule holds at most.
pub const WINDOW_MOST: u64 = 100;

/// A query's result held to bounds.
pub fn value(
    name: &str,
    query: &str,
    bounds: &[Bound],
    every: Option<&str>,
    failures: u64,
) -> Value {
    let failures = failures.clamp(1, WINDOW_MOST);
    let window = (failures + 2).min(WINDOW_MOST);
    let mut value = json!({"query": query, "failures": failures, "window": window});
    for (bound, limit) in bounds {
        value[*bound] = number(*limit);
    }
    if let Some(every) = every {
        value["every"] = json!(every);
    }
    json!({"name": name, "value": value})
}

/// The longest name of a rule.
const LONGEST: usize = 63;

/// A name that rules may have: lower case letters, digits and dashes. A long one ends in a hash of the whole, so that two stay two.
pub fn rule_name(parts: &[&str]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    let whole = parts.copied().collect::<Vec<_>>().join("-");
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = whole.chars().map(word).collect();
    if name.len() <= LONGEST {
        return name.trim_matches('-').to_owned();
    }
    let digest: [u8; 32] = Sha256::digest(whole.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    let hash = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
    let cut: String = name.chars().take(LONGEST - 1 - hash.len()).collect();
    format!("{}-{hash}", cut.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_cut_stay_apart() {
        let long = "a".repeat(70);
        let (one, other) = (rule_name(&[&long, "x"]), rule_name(&[&long, "y"]));
        assert_eq!((one.len(), other.len()), (LONGEST, LONGEST));
        assert_ne!(one, other);
        assert_eq!(rule_name(&["", "Shop", "404s %"]), "shop-404s");
    }
}

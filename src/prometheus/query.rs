//! One query for one rule and all its subjects.
//!
//! Raw samples of a range, not `rate()`: exact counts with their own times. The matchers name
//! only what the subjects select, so that Prometheus reads no other series. Where a label has
//! alternative names, the first is matched "one of these, or missing", since `PromQL` cannot say
//! "this label or that one"; sorting does the rest.
//!
//! Not here: sending it (`client`).

use std::time::Duration;

/// Labels with the values that every series must have.
pub(super) type Matching = [(String, String)];

use super::sorting::Ask;

/// The query for `ask` over the last `range`, of the series that match.
pub(super) fn query(ask: &Ask, matching: &Matching, range: Duration) -> String {
    let select = &ask.series.select;
    let matchers = select.iter().enumerate().filter_map(|(position, select)| {
        let first = select.labels.first()?;
        Some(matcher(
            first,
            &ask.values(position),
            select.labels.len() > 1,
        ))
    });
    // Where both arms have names of their own, no other series is read: they may tell the
    // subjects apart alone, and of a namespace's pods few are these.
    let arms = arms(ask);
    let matching = matching
        .iter()
        .map(|(label, value)| matcher(label, &[value], false));
    let matchers: Vec<String> = matchers.chain(arms).chain(matching).collect();
    let seconds = range.as_secs_f64().ceil() as u64;
    format!(
        "{}{{{}}}[{}s]",
        ask.metric,
        matchers.join(","),
        seconds.max(1)
    )
}

/// The label that tells the arms apart has a value of one of them.
fn arms(ask: &Ask) -> Option<String> {
    let patterns = ask.members.iter().map(|member| member.arms.patterns());
    let patterns: Option<Vec<[&str; 2]>> = patterns.collect();
    let mut patterns = patterns?.concat();
    let (label, others) = ask.series.arm.labels.split_first()?;
    if !others.is_empty() {
        patterns.push("");
    }
    Some(format!("{label}=~{}", quoted(&patterns.join("|"))))
}

fn matcher(label: &str, values: &[&str], or_missing: bool) -> String {
    if let ([value], false) = (values, or_missing) {
        return format!("{label}={}", quoted(value));
    }
    let mut all: Vec<String> = values.iter().map(|value| escaped(value)).collect();
    if or_missing {
        all.push(String::new());
    }
    format!("{label}=~{}", quoted(&all.join("|")))
}

/// Escapes what has a meaning in RE2, and nothing else.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::super::sorting::tests::{ask, shipped, subject};
    use super::*;

    #[test]
    fn one_query_serves_all_subjects() {
        let rule = shipped("error-rate");
        let subjects = [
            subject("shop", "api", &[]),
            subject("shop", "web.v1", &[]),
            subject("bank", "api", &[]),
        ];
        assert_eq!(
            query(&ask(&rule, &subjects), &[], Duration::from_millis(37_500)),
            r#"nginx_ingress_controller_requests{exported_namespace=~"bank|shop|",ingress=~"api|web\\.v1",exported_service=~"api|web\\.v1|"}[38s]"#
        );
        let rule = shipped("latency-p99");
        let one = [("cluster".to_owned(), "a\"b".to_owned())];
        assert_eq!(
            query(&ask(&rule, &subjects[..1]), &one, Duration::from_secs(60)),
            r#"nginx_ingress_controller_request_duration_seconds_bucket{exported_namespace=~"shop|",ingress="api",exported_service=~"api|",cluster="a\"b"}[60s]"#
        );
    }

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(
            matcher("a", &["x\"} or up{b=\"\\"], false),
            r#"a="x\"} or up{b=\"\\""#
        );
        assert_eq!(matcher("a", &["x|y", "z\""], false), r#"a=~"x\\|y|z\"""#);
    }
}

//! Which of the settings' namespaces are looked after: told when one is refused, and when it is taken up.
//!
//! Not here: what is watched in them (`kubernetes::cache`), and what their runs do meanwhile
//! (`rollout::decide`).

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::kubernetes::sight::Sight;
use crate::telemetry::Metrics;
use crate::web::{Check, Readiness};

/// Namespaces that are watched by themselves, and why one is not in sight.
type Known = BTreeMap<String, Option<String>>;

/// Follows the watches for ever; ends when they have ended.
pub async fn follow(mut sight: watch::Receiver<Sight>, ready: Readiness, metrics: Metrics) {
    let mut before = Known::new();
    loop {
        let known = known(&sight.borrow_and_update());
        if known != before {
            tell(&before, &known, &metrics);
            ready.set("namespaces", check(&known));
            before = known;
        }
        if sight.changed().await.is_err() {
            return;
        }
    }
}

fn known(sight: &Sight) -> Known {
    let namespaces = sight.namespaces();
    namespaces
        .map(|(namespace, why)| (namespace.to_owned(), why))
        .collect()
}

fn tell(before: &Known, now: &Known, metrics: &Metrics) {
    for (namespace, why) in now {
        metrics.namespace_seen(namespace, why.is_none());
        let was = before.get(namespace).cloned().flatten();
        match (&was, why) {
            (None, Some(why)) => tracing::error!(
                namespace,
                why,
                "the namespace is refused and not looked after: weights stay as they are"
            ),
            (Some(_), None) => tracing::info!(namespace, "the namespace is looked after again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn check(known: &Known) -> Check {
    let refused: Vec<String> = known
        .iter()
        .filter_map(|(namespace, why)| Some(format!("{namespace} is refused: {}", why.as_ref()?)))
        .collect();
    if refused.is_empty() {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        Check::Good(format!("{} in sight", names.join(", ")))
    } else {
        Check::Bad(refused.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_is_refused_is_told_until_it_is_taken_up() {
        let (sender, sight) = watch::channel(Sight::default());
        let ready = Readiness::waiting_for(&[]);
        let metrics = Metrics::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(follow(sight, ready.clone(), metrics.clone()));
        let told = async |wanted: &str, gauge: &str| {
            loop {
                let (is_ready, text) = ready.report(Timestamp::UNIX_EPOCH);
                let metrics = metrics.text().unwrap();
                if text == wanted && metrics.contains(gauge) {
                    return assert!(is_ready);
                }
                tokio::task::yield_now().await;
            }
        };
        sender.send_modify(|sight| {
            sight.begins(Some("a"), "Pod");
            sight.begins(Some("b"), "Pod");
            sight.came(Some("a"), "Pod");
            sight.refused(Some("b"), "Pod", "no".to_owned());
        });
        let refused = "bad  namespaces: b is refused: Pod: no\n";
        told(refused, "sluice_namespace_seen{namespace=\"b\"} 0").await;
        sender.send_modify(|sight| {
            sight.came(Some("b"), "Pod");
        });
        let seen = "good namespaces: a, b in sight\n";
        told(seen, "sluice_namespace_seen{namespace=\"b\"} 1").await;
        drop(sender);
        tasks.join_next().await.unwrap().unwrap();
    }
}

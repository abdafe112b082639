//! Workloads that the gate holds although no Rollout names them: a manifest that was copied with its label, a backup
//! that was put back, a Rollout that was deleted by force. Nobody would ever bring a new template of theirs through.
//!
//! Guarantees: each daemon that leads tells of a workload once, by an Event and in the log, and not before it was found
//! at two looks; one that does not lead tells nothing. Nothing is changed: whose the workload is, people know.
//!
//! Not here: Rollouts without a workload (`rollout::decide`).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::context::Context;
use super::leader::Role;
use crate::kubernetes::cache::Cache;
use crate::kubernetes::crd::{GUARDED, OPEN};
use crate::kubernetes::events;
use crate::rollout::observation::GateMode;
use crate::rollout::plan::WorkloadKind;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(60);

/// A workload: its kind, namespace and name.
type Workload = (WorkloadKind, String, String);

/// Looks for ever, and tells of those found while this daemon leads.
pub async fn keep_up(context: Context, role: watch::Receiver<Role>) {
    let mut before = BTreeSet::new();
    let mut told = BTreeSet::new();
    loop {
        context.clock.sleep(EVERY).await;
        let holds = context.gate().mode != GateMode::Paused;
        let found = if holds && role.borrow().leads() {
            found(&context.cache)
        } else {
            BTreeSet::new()
        };
        let lasting: BTreeSet<Workload> = found.intersection(&before).cloned().collect();
        context.metrics.unclaimed(lasting.len());
        for workload in lasting.difference(&told) {
            tell(&context, workload);
        }
        told = lasting;
        before = found;
    }
}

/// Those behind the gate that no Rollout names, in namespaces that are seen whole.
fn found(cache: &Cache) -> BTreeSet<Workload> {
    let rollouts = cache.rollouts.texts().keyed().into_iter();
    let named: BTreeSet<Workload> = rollouts
        .filter_map(|((namespace, _), rollout)| {
            let (kind, name) = &rollout.head.target;
            Some(((*kind)?, namespace, name.to_string()))
        })
        .collect();
    let all = WorkloadKind::ALL.into_iter().flat_map(|kind| {
        let all = cache.workloads(kind).keyed().into_iter();
        all.filter(|(_, workload)| workload.beside.guarded)
            .map(move |((namespace, name), _)| (kind, namespace, name))
    });
    all.filter(|workload| !named.contains(workload))
        .filter(|(_, namespace, _)| cache.unseen(namespace).is_none())
        .collect()
}

fn tell(context: &Context, (kind, namespace, name): &Workload) {
    let words = words(*kind, namespace, name);
    tracing::warn!(namespace, name, "{words}");
    if let Some(workload) = context.cache.workload(*kind, (namespace, name)) {
        let object = events::workload(*kind, &workload.object);
        let now = context.clock.now();
        context.events.warn(&object, "Unclaimed", &words, now);
    }
}

fn words(kind: WorkloadKind, namespace: &str, name: &str) -> String {
    let kind = kind.name();
    let object = format!("{}/{name} -n {namespace}", kind.to_lowercase());
    format!(
        "the gate holds each new template of {kind} {name}, and no Rollout names it: make one, or take it from the gate \
         with kubectl label {object} {GUARDED}- after kubectl annotate {object} {OPEN}=\"no Rollout\""
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::crd::Rollout;
    use crate::kubernetes::entries;
    use crate::kubernetes::shelf::Filler;

    fn workload(name: &str, label: &Value) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop", "labels": {GUARDED: label}},
            "spec": {
                "serviceName": name, "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}},
            },
        })
    }

    fn put_deployment(cache: &Cache, name: &str, label: &str) {
        let object: Deployment = serde_json::from_value(workload(name, &label.into())).unwrap();
        let mut filler = Filler::default();
        filler.take(
            &cache.deployments,
            Event::Apply(object),
            entries::deployment,
        );
    }

    #[test]
    fn what_is_guarded_and_named_by_no_rollout_is_found() {
        let cache = Cache::default();
        put_deployment(&cache, "shop", "true");
        put_deployment(&cache, "copied", "true");
        put_deployment(&cache, "free", "false");
        let object: StatefulSet = serde_json::from_value(workload("shop", &"true".into())).unwrap();
        let mut filler = Filler::default();
        filler.take(
            &cache.stateful_sets,
            Event::Apply(object),
            entries::stateful_set,
        );
        let rollout: Rollout = serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "any", "namespace": "shop"},
            "spec": {"target": {"kind": "Deployment", "name": "shop"}},
        }))
        .unwrap();
        let mut filler = Filler::default();
        filler.take(
            cache.rollouts.texts(),
            Event::Apply(rollout),
            entries::rollout,
        );
        let found: Vec<Workload> = found(&cache).into_iter().collect();
        let of = |kind, name: &str| (kind, "shop".to_owned(), name.to_owned());
        let wanted = [
            of(WorkloadKind::Deployment, "copied"),
            of(WorkloadKind::StatefulSet, "shop"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_words_name_the_object_and_the_way_out() {
        let words = words(WorkloadKind::StatefulSet, "shop", "db");
        for part in [
            "of StatefulSet db",
            "statefulset/db -n shop sluice.dev/guarded-",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }
}

//! What others write into the cluster: Rollouts, pod templates, annotations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::Value;

use super::kept::{look, passes};
use super::{rule_set, text};
use crate::kubernetes::crd::{REQUEST_PREFIX, Rollout};
use crate::kubernetes::{canary, conversion, fate, observe, quantity, template};
use crate::rollout::state::State;
use crate::rollout::terms::Timing;
use crate::sandbox::router::annotations::Annotations;
use crate::yaml::{self, Node};

/// Rollouts as YAML or JSON: linted, converted, and tried: whatever is accepted can be run by.
pub fn rollout(data: &[u8]) -> bool {
    let text = text(data);
    let report = crate::cli::lint::report(&[("rollout.yaml".to_owned(), text.clone())]);
    let known: BTreeSet<String> = rule_set().keys().cloned().collect();
    let mut accepted = false;
    for document in yaml::documents(&text).unwrap_or_default() {
        let Ok(rollout) = serde_json::from_value::<Rollout>(document.to_json()) else {
            continue;
        };
        let printed = serde_json::to_value(&rollout).unwrap_or_default();
        let again = serde_json::from_value::<Rollout>(printed);
        assert_eq!(
            again.ok().as_ref(),
            Some(&rollout),
            "printed and read again"
        );
        match conversion::plan(&rollout, &known) {
            Ok(plan) => {
                assert!((1..=32).contains(&plan.steps.len()));
                let terms = Timing::default().terms(plan, rule_set());
                passes(&terms, State::default());
                accepted = true;
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                let long = problems.iter().any(|problem| problem.found.len() > 1_000);
                assert!(!long, "a problem repeats all that was found");
                if is_rollout(&document) {
                    assert!(!report.is_good(), "lint accepts what the daemon refuses");
                }
            }
        }
    }
    accepted
}

fn is_rollout(document: &Node) -> bool {
    let text = |key: &str| document.get(key).and_then(Node::text).unwrap_or_default();
    text("kind") == "Rollout" && text("apiVersion").starts_with("sluice.dev/")
}

/// A pod template as JSON: its revision does not depend on how it was written.
pub fn template(data: &[u8]) -> bool {
    let text = text(data);
    let said = text.lines().next().unwrap_or_default();
    let canonical = quantity::canonical(said);
    assert_eq!(quantity::canonical(&canonical), canonical, "of {said:?}");
    let Ok(raw) = serde_json::from_slice::<Value>(data) else {
        return canonical != said;
    };
    let _ = template::revision_of(&raw);
    let _ = fate::fate(
        serde_json::from_value::<Pod>(raw.clone()).as_ref(),
        jiff::Timestamp::UNIX_EPOCH,
    );
    let Ok(parsed) = serde_json::from_value::<PodTemplateSpec>(raw) else {
        return false;
    };
    let revision = template::revision(&parsed);
    let printed = serde_json::to_value(&parsed).unwrap_or_default();
    assert_eq!(template::revision_of(&printed), revision);
    let again = serde_json::from_value::<PodTemplateSpec>(printed).unwrap_or_default();
    assert_eq!(
        template::revision(&again),
        revision,
        "printed and read again"
    );
    let bare = template::without_hash(&parsed);
    assert_eq!(
        template::revision(&bare),
        revision,
        "without the hash's label"
    );
    let _ = template::references(&parsed);
    let _ = template::images(&parsed);
    true
}

/// Annotations as lines `key=value`, on a Rollout, an Ingress and a sandbox pod.
pub fn annotations(data: &[u8]) -> bool {
    let text = text(data);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let annotations: BTreeMap<String, String> = pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let requests = observe::requests(&annotations);
    let asked = annotations
        .keys()
        .filter(|key| key.starts_with(REQUEST_PREFIX));
    assert_eq!(requests.len(), asked.count());
    let mut ingress = Ingress::default();
    ingress.metadata.annotations = Some(annotations.clone());
    let prefix = conversion::ANNOTATION_PREFIX;
    let weight = canary::ingress::observed_weight(&ingress, prefix);
    assert!(weight.is_none_or(|weight| weight <= 100));
    assert!(weight.is_none() || canary::ingress::is_canary(&ingress, prefix));
    let _ = canary::ingress::is_off(&ingress, prefix);
    let read = Annotations::read(&annotations, prefix);
    assert!(read.canary.is_none_or(|canary| canary.total() >= 100));
    let behaves = crate::sandbox::node::fuzzing(&annotations);
    let mut seen = look(Timestamp::UNIX_EPOCH + Duration::from_secs(1));
    seen.rollout.requests = requests;
    super::kept::pass(&seen);
    behaves
}

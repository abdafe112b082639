//! Labels and the selectors that name them: matching as Kubernetes does, and rewriting one label.
//!
//! Choosing the label that tells the arms apart is here too, as it only weighs selectors.
//!
//! Not here: which objects have selectors (`canary`, `preflight`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::template::short_hash;

/// Labels of an object, or the plain selector of a Service.
pub type Labels = BTreeMap<String, String>;

const VALUE_MAX: usize = 63;
/// What the names of a canary's objects end with.
pub const SUFFIX: &str = "-canary";
const HASH_CHARS: usize = 8;

/// The one label by which canary pods differ from stable ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmLabel {
    /// Its key.
    pub key: String,
    /// Its value on stable pods.
    pub stable: String,
    /// Its value on canary pods.
    pub canary: String,
}

impl ArmLabel {
    /// The label `key: value`, with the value that canary pods get.
    pub fn new(key: &str, value: &str) -> Self {
        let canary = match value {
            "" => "canary".to_owned(),
            value => suffixed(value, VALUE_MAX),
        };
        Self {
            key: key.to_owned(),
            stable: value.to_owned(),
            canary,
        }
    }

    /// The labels of a stable pod as a canary pod has them.
    pub fn on(&self, labels: &Labels) -> Labels {
        let mut labels = labels.clone();
        labels.insert(self.key.clone(), self.canary.clone());
        labels
    }

    /// The selector with the stable value replaced; None where it does not name it.
    pub fn in_selector(&self, selector: &LabelSelector) -> Option<LabelSelector> {
        let mut rewritten = selector.clone();
        if let Some(value) = rewritten
            .match_labels
            .as_mut()
            .and_then(|all| all.get_mut(&self.key))
            && *value == self.stable
        {
            value.clone_from(&self.canary);
        }
        let requirements = rewritten.match_expressions.iter_mut().flatten();
        for requirement in requirements.filter(|r| r.key == self.key && r.operator == "In") {
            let values = requirement.values.iter_mut().flatten();
            values
                .filter(|value| **value == self.stable)
                .for_each(|value| value.clone_from(&self.canary));
        }
        (rewritten != *selector).then_some(rewritten)
    }

    /// Rewrites a selector in place where it names the stable value.
    pub(super) fn rewrite(&self, selector: Option<&mut LabelSelector>) {
        if let Some(selector) = selector
            && let Some(rewritten) = self.in_selector(selector)
        {
            *selector = rewritten;
        }
    }

    /// Whether a selector selects pods with these labels, but not once they are a canary's.
    pub fn parts(&self, selector: &LabelSelector, labels: &Labels) -> bool {
        selects(selector, labels) && !selects(selector, &self.on(labels))
    }
}

/// The label to change: a key of the Service's selector that the Deployment's selector has too
/// (else an autoscaler would count canary pods), and among those the one that the fewest
/// `others` name; at a tie the first by name.
///
/// None when the Service selects nothing, or not pods with these labels.
pub fn choose(
    service_selector: &Labels,
    deployment_selector: &LabelSelector,
    template_labels: &Labels,
    others: &[LabelSelector],
) -> Option<ArmLabel> {
    if service_selector.is_empty() || !contains(template_labels, service_selector) {
        return None;
    }
    let rank = |key: &str| {
        let foreign = !names(deployment_selector, key);
        (
            foreign,
            others
                .iter()
                .filter(|selector| names(selector, key))
                .count(),
        )
    };
    service_selector
        .iter()
        .min_by_key(|(key, _)| rank(key))
        .map(|(key, value)| ArmLabel::new(key, value))
}

/// The label that was changed, told from the labels of a canary that exists.
pub fn recognise(service_selector: &Labels, canary: &Labels) -> Option<ArmLabel> {
    service_selector
        .iter()
        .map(|(key, value)| ArmLabel::new(key, value))
        .find(|label| canary.get(&label.key) == Some(&label.canary))
}

/// Whether a selector names a key at all.
pub fn names(selector: &LabelSelector, key: &str) -> bool {
    let labels = selector
        .match_labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(key));
    labels
        || selector
            .match_expressions
            .iter()
            .flatten()
            .any(|requirement| requirement.key == key)
}

/// A Service's plain selector as a label selector.
pub fn plain(selector: &Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector.clone()),
        match_expressions: None,
    }
}

/// Whether all of `part` are among `labels`, with the same values.
pub fn contains(labels: &Labels, part: &Labels) -> bool {
    part.iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a selector selects an object with these labels; an empty one selects all.
pub fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector
        .match_labels
        .as_ref()
        .is_none_or(|part| contains(labels, part))
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|v| v == value));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// `<name>-canary`, shortened with a hash where it would exceed `max` characters.
pub fn suffixed(name: &str, max: usize) -> String {
    if name.len() + SUFFIX.len() <= max {
        return format!("{name}{SUFFIX}");
    }
    let head = shortened(name, max.saturating_sub(SUFFIX.len()));
    format!("{head}{SUFFIX}")
}

/// The name itself, or its beginning with a hash of the whole where it exceeds `max` characters.
pub fn shortened(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let kept: String = name
        .chars()
        .take(max.saturating_sub(HASH_CHARS + 1))
        .collect();
    let kept = kept.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{kept}-{}", short_hash(name, HASH_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(value: Value) -> Labels {
        serde_json::from_value(value).unwrap()
    }

    fn selector(value: Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_selector_selects_as_in_kubernetes() {
        let pod = labels(json!({"app": "x", "tier": "web"}));
        let table = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "x"}}), true),
            (json!({"matchLabels": {"app": "y"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["y", "x"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "no", "operator": "NotIn", "values": ["x"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
        ];
        for (value, expected) in table {
            assert_eq!(selects(&selector(value.clone()), &pod), expected, "{value}");
        }
    }

    #[test]
    fn the_label_that_fewest_others_name_is_chosen() {
        let service = json!({"app": "x", "tier": "web"});
        let template = json!({"app": "x", "tier": "web", "extra": "1"});
        let by = |key: &str| selector(json!({"matchLabels": {key: "x"}}));
        let table = [
            // (service selector, Deployment selector, others, expected key)
            (
                service.clone(),
                json!({"matchLabels": {"app": "x", "tier": "web"}}),
                vec![],
                Some("app"),
            ),
            (
                service.clone(),
                json!({"matchLabels": {"app": "x", "tier": "web"}}),
                vec![by("app")],
                Some("tier"),
            ),
            (
                service.clone(),
                json!({"matchLabels": {"app": "x"}}),
                vec![by("app")],
                Some("app"),
            ),
            (
                service,
                json!({"matchLabels": {"extra": "1"}}),
                vec![by("app")],
                Some("tier"),
            ),
            (
                json!({}),
                json!({"matchLabels": {"app": "x"}}),
                vec![],
                None,
            ),
            (
                json!({"app": "y"}),
                json!({"matchLabels": {"app": "x"}}),
                vec![],
                None,
            ),
        ];
        for (index, (service, deployment, others, expected)) in table.into_iter().enumerate() {
            let chosen = choose(
                &labels(service),
                &selector(deployment),
                &labels(template.clone()),
                &others,
            );
            assert_eq!(
                chosen.as_ref().map(|label| label.key.as_str()),
                expected,
                "row {index}"
            );
        }
    }

    #[test]
    fn only_the_stable_value_is_rewritten() {
        let label = ArmLabel::new("app", "x");
        let table = [
            (
                json!({"matchLabels": {"app": "x", "b": "x"}}),
                Some(json!({"matchLabels": {"app": "x-canary", "b": "x"}})),
            ),
            (json!({"matchLabels": {"app": "cache"}}), None),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}),
                Some(
                    json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x-canary", "y"]}]}),
                ),
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}),
                None,
            ),
        ];
        for (before, after) in table {
            assert_eq!(
                label.in_selector(&selector(before.clone())),
                after.map(selector),
                "{before}"
            );
        }
    }

    #[test]
    fn long_names_and_values_stay_within_their_bounds_and_differ() {
        let long = "a".repeat(70);
        let (one, two) = (suffixed(&long, 63), suffixed(&format!("{long}b"), 63));
        assert!(one.len() <= 63 && two.len() <= 63 && one != two && one.ends_with("-canary"));
        assert_eq!(suffixed("shop", 63), "shop-canary");
        assert_eq!(ArmLabel::new("app", "").canary, "canary");
        assert!(!suffixed(&format!("{}-.{}", "a".repeat(46), "b".repeat(30)), 63).contains("-.-"));
    }
}

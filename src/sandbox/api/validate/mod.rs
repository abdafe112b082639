//! Validation of built-in kinds: what people notice when they get it wrong.
//!
//! Each part speaks of one sort of object, in the real server's order and words.

use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Cause;

mod metadata;
mod network;
mod other;
mod pod;
mod workload;

/// What is wrong with an object.
pub fn check(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    metadata::check(kind, object, old, &mut causes);
    let (spec, before) = (&object["spec"], old.map(|old| &old["spec"]));
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::object(spec, before, &mut causes),
        ("", "Service") => network::service(spec, before, &mut causes),
        ("", "ConfigMap") => other::config_map(object, old, &mut causes),
        ("", "Secret") => other::secret(object, old, &mut causes),
        ("apps", "Deployment") => {
            workload::check(spec, before, &mut causes);
            workload::deployment(spec, &mut causes);
        }
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            workload::check(spec, before, &mut causes);
        }
        ("batch", "Job") => {
            let pods = &spec["template"]["spec"];
            pod::spec(pods, "spec.template.spec", &[], &mut causes);
        }
        ("networking.k8s.io", "Ingress") => network::ingress(spec, &mut causes),
        ("coordination.k8s.io", "Lease") => other::lease(spec, &mut causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            other::definition(object, &mut causes);
        }
        _ => {}
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::Registry;
    use super::*;

    fn told(object: &Value, old: Option<&Value>) -> Vec<String> {
        let kind = Registry::built_in().by_kind("apps", "Deployment").unwrap();
        check(&kind, object, old)
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    fn deployment(spec: &Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": spec})
    }

    #[test]
    fn what_is_wrong_with_a_deployment_is_said_as_kubernetes_says_it() {
        let containers = json!([{"name": "c", "image": "i"}]);
        let good = |selector: &str| {
            deployment(
                &json!({"selector": {"matchLabels": {"app": selector}}, "strategy": {"type": "Recreate"},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}}),
            )
        };
        assert_eq!(told(&good("web"), None), Vec::<String>::new());
        assert_eq!(
            told(&good("api"), None),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"
            ]
        );
        assert_eq!(
            told(&good("web"), Some(&good("old"))),
            [
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\"}}: field is immutable"
            ]
        );
        let bare = deployment(
            &json!({"strategy": {"type": "Recreate"}, "template": {"spec": {"containers": [{"name": "c"}]}}}),
        );
        assert_eq!(
            told(&bare, None),
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
                "spec.template.spec.containers[0].image: Required value"
            ]
        );
    }
}

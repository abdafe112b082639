//! What a server would say of an object's fields before anybody sends it one.
//!
//! The same steps as a write takes (`prepare`): fields that the kind does not have, values of a wrong type, what
//! is missing or cannot be; for custom resources by the schema and the rules of their definition.
//!
//! Not here: what needs other objects, admission policies, and kinds of which nothing is known.

use serde_json::Value;

use super::conform::{Findings, conform};
use super::kinds::{Kind, Registry};
use super::library::{Library, METADATA};
use super::refusal::Cause;
use super::{crd, defaults, structural, validate};

/// The kinds that are known: Kubernetes' own and those of some definitions.
#[derive(Debug)]
pub struct Kinds(Registry);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The field's path, such as `spec.containers[0].image`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether the kind has no such field, whatever its value.
    pub unknown: bool,
}

impl Kinds {
    /// Kubernetes' own kinds and those that these `CustomResourceDefinitions` make.
    pub fn with<'a>(definitions: impl Iterator<Item = &'a Value>) -> Self {
        let mut registry = Registry::built_in();
        for definition in definitions {
            crd::register(&mut registry, definition);
        }
        Self(registry)
    }

    /// Whether anything is known of an object's kind.
    pub fn knows(&self, object: &Value) -> bool {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let mut all = self.0.all();
        all.any(|one| one.group == group && one.kind == object["kind"])
    }

    /// What is wrong with an object; nothing where its kind is not known, but that Kubernetes has none of that name.
    pub fn flaws(&self, object: &Value) -> Vec<Flaw> {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let whole = version;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = object["kind"].as_str().unwrap_or_default();
        let mut versions = self
            .0
            .all()
            .filter(|one| one.group == group && one.kind == kind);
        let Some(any) = versions.next() else {
            let gone = !whole.is_empty() && !is_a_kind(group, kind);
            return gone.then(|| no_kind(whole, kind)).into_iter().collect();
        };
        match std::iter::once(any)
            .chain(versions)
            .find(|one| one.version == version)
        {
            Some(kind) => flaws(kind, object.clone()),
            None => vec![Flaw {
                path: "apiVersion".to_owned(),
                message: format!(
                    "{kind} has no version {version:?}, want {}",
                    any.api_version()
                ),
                unknown: false,
            }],
        }
    }
}

/// Kubernetes' kinds of which the sandbox knows no fields, by their groups; and groups of which it has all kinds.
const MORE: [(&str, &[&str]); 14] = [
    ("", &["Binding", "ComponentStatus", "List"]),
    ("apps", &[]),
    ("batch", &[]),
    ("extensions", &[]),
    ("autoscaling", &["Scale"]),
    ("policy", &["Eviction"]),
    ("networking.k8s.io", &["IPAddress", "ServiceCIDR"]),
    ("discovery.k8s.io", &[]),
    ("coordination.k8s.io", &["LeaseCandidate"]),
    ("events.k8s.io", &[]),
    ("rbac.authorization.k8s.io", &[]),
    (
        "storage.k8s.io",
        &[
            "CSIDriver",
            "CSINode",
            "CSIStorageCapacity",
            "VolumeAttachment",
            "VolumeAttributesClass",
        ],
    ),
    ("apiextensions.k8s.io", &[]),
    ("admissionregistration.k8s.io", &[]),
];

/// Whether there may be such a kind, which is not among those that are known; nothing is said of others' groups.
fn is_a_kind(group: &str, kind: &str) -> bool {
    let more = MORE.iter().find(|(own, _)| *own == group);
    more.is_none_or(|(_, kinds)| kinds.contains(&kind))
}

fn no_kind(version: &str, kind: &str) -> Flaw {
    let message = if version.starts_with("extensions/") {
        "extensions is gone since Kubernetes 1.22: want apps/v1, networking.k8s.io/v1 or policy/v1"
            .to_owned()
    } else {
        format!("Kubernetes has no {kind} in {version}")
    };
    Flaw {
        path: "kind".to_owned(),
        message,
        unknown: false,
    }
}

fn flaws(kind: &Kind, mut object: Value) -> Vec<Flaw> {
    let mut findings = Findings::default();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        // SOPS writes there how to decrypt the object, and whoever decrypts it takes this out.
        map.remove("sops");
    }
    match &kind.custom {
        Some(custom) => {
            conform(&mut object["metadata"], METADATA, &mut findings);
            for path in &mut findings.unknown {
                path.insert_str(0, "metadata.");
            }
            structural::prune(&custom.schema, &mut object, "", &mut findings.unknown);
            structural::default(&custom.schema, &mut object);
        }
        None => {
            if let Some(name) = Library::get().name_of(kind) {
                conform(&mut object, name, &mut findings);
            }
        }
    }
    let mut all = told(&findings);
    // What is of a wrong type cannot be looked at further.
    if findings.wrong.is_empty() {
        if kind.custom.is_none() {
            defaults::fill(kind, &mut object, None);
        }
        let mut causes = validate::check(kind, &object, None);
        if let Some(custom) = &kind.custom {
            structural::validate(&custom.schema, &object, None, "", &mut causes);
        }
        all.extend(causes.into_iter().map(|cause| Flaw {
            path: in_manifest(&cause, &object),
            message: cause.message,
            unknown: false,
        }));
    }
    all
}

/// Where a manifest has what is wrong: of a template's labels Kubernetes leaves `metadata` out, and of any it never
/// says which one.
fn in_manifest(cause: &Cause, object: &Value) -> String {
    let path = match cause.field.as_str() {
        "spec.template.labels" => "spec.template.metadata.labels",
        path => path,
    };
    let labels = path.ends_with("metadata.labels").then(|| {
        let pointer = format!("/{}", path.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_object)
    });
    let mut labels = labels.flatten().into_iter().flatten();
    let own = |(key, value): &(&String, &Value)| {
        let begins = [
            format!("Invalid value: {value}: "),
            format!("Invalid value: {}: ", Value::from(key.as_str())),
        ];
        begins.iter().any(|begin| cause.message.starts_with(begin))
    };
    match labels.find(own) {
        Some((key, _)) => format!("{path}[{key}]"),
        None => path.to_owned(),
    }
}

fn told(findings: &Findings) -> Vec<Flaw> {
    let unknown = findings.unknown.iter().map(|path| Flaw {
        path: path.clone(),
        message: "there is no such field".to_owned(),
        unknown: true,
    });
    let wrong = findings
        .wrong
        .iter()
        .zip(&findings.wrong_at)
        .map(|(why, path)| Flaw {
            path: path.clone(),
            message: why.trim_start_matches("json: ").to_owned(),
            unknown: false,
        });
    unknown.chain(wrong).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(object: &Value) -> Vec<String> {
        let definition = json!({"spec": {"group": "shop.example", "names": {"plural": "carts", "kind": "Cart"},
            "scope": "Namespaced", "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "required": ["size"], "properties": {"size": {"type": "integer", "maximum": 9}}}}}}}]}});
        let kinds = Kinds::with(std::iter::once(&definition));
        let flaws = kinds.flaws(object).into_iter();
        flaws
            .map(|flaw| format!("{}: {}", flaw.path, flaw.message))
            .collect()
    }

    #[test]
    fn a_kind_that_kubernetes_does_not_have_is_told() {
        let of = |version: &str, kind: &str| {
            told(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}))
        };
        assert_eq!(
            of("apps/v1", "Deploymnet"),
            ["kind: Kubernetes has no Deploymnet in apps/v1"]
        );
        assert!(of("extensions/v1beta1", "Ingress")[0].contains("gone since Kubernetes 1.22"));
        for (version, kind) in [
            ("storage.k8s.io/v1", "CSIDriver"),
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            ("apiregistration.k8s.io/v1", "APIService"),
            ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
        ] {
            assert_eq!(of(version, kind), [] as [&str; 0], "{version} {kind}");
        }
    }

    #[test]
    fn a_kind_of_kubernetes_is_held_against_its_type() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "lables": {}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "app", "image": "a", "imagePullPolcy": "Always"}]}}}});
        let found = told(&object);
        assert_eq!(found[0], "metadata.lables: there is no such field");
        assert_eq!(
            found[1],
            "spec.template.spec.containers[0].imagePullPolcy: there is no such field"
        );
        assert!(
            found[2].starts_with("spec.template.metadata.labels: Invalid value"),
            "{found:#?}"
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        let object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": "two"}});
        let wanted = "spec.replicas: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
        assert_eq!(told(&object), [wanted]);
    }

    #[test]
    fn labels_that_are_wrong_are_told_where_the_manifest_has_them() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "b c"}},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web", "env.test/x": "${env}"}},
                "spec": {"containers": [{"name": "app", "image": "a"}]}}}});
        let found = told(&object);
        let wanted = [
            "metadata.labels[a]: Invalid value: \"b c\": a valid label",
            "spec.template.metadata.labels[env.test/x]: Invalid value: \"${env}\": a valid label",
        ];
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        let mut both = found.iter().zip(wanted);
        assert!(
            both.all(|(found, wanted)| found.starts_with(wanted)),
            "{found:#?}"
        );
    }

    #[test]
    fn a_custom_resource_is_held_against_the_schema_of_its_definition() {
        let cart = |spec: Value| json!({"apiVersion": "shop.example/v1", "kind": "Cart", "metadata": {"name": "a"}, "spec": spec});
        assert_eq!(told(&cart(json!({"size": 3}))), Vec::<String>::new());
        assert_eq!(
            told(&cart(json!({"size": 3, "sise": 4}))),
            ["spec.sise: there is no such field"]
        );
        assert!(told(&cart(json!({})))[0].starts_with("spec.size: Required value"));
        assert!(told(&cart(json!({"size": 12})))[0].starts_with("spec.size: Invalid value"));
    }

    #[test]
    fn of_a_kind_that_is_not_known_nothing_is_said_and_of_an_old_version_what_is_new() {
        assert!(
            told(&json!({"apiVersion": "else.example/v1", "kind": "Cart", "spec": 1})).is_empty()
        );
        let old = json!({"apiVersion": "networking.k8s.io/v1beta1", "kind": "Ingress"});
        let wanted = "apiVersion: Ingress has no version \"v1beta1\", want networking.k8s.io/v1";
        assert_eq!(told(&old), [wanted]);
    }

    #[test]
    fn what_a_claim_template_or_sops_adds_is_right() {
        let set = |claims: Value| {
            told(
                &json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
                "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "volumeClaimTemplates": claims,
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                    "containers": [{"name": "c", "image": "i:1", "volumeMounts": [
                        {"name": "data", "mountPath": "/d"}, {"name": "tmp", "mountPath": "/t"}]}]}}}}),
            )
        };
        assert_eq!(
            set(json!([{"metadata": {"name": "data"}, "spec": {}}])),
            [] as [&str; 0]
        );
        let wanted = "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"";
        assert_eq!(
            set(json!([{"metadata": {"name": "other"}, "spec": {}}])),
            [wanted]
        );
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "type": "Opaque",
            "stringData": {"password": "ENC[AES256_GCM,data:x]"}, "sops": {"kms": [], "mac": "x", "version": "3.9.0"}});
        assert_eq!(told(&secret), [] as [&str; 0]);
    }
}

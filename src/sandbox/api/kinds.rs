//! The kinds that the API server knows: built in, or made by a custom resource definition.
//!
//! A [`Kind`] says how a resource is named, where it is stored and what subresources it has.
//! The [`Registry`] finds kinds by the words of a URL. Several versions of one resource share
//! a storage name. Not here: schemas of built-in kinds (`schema`), and defaults (`defaults`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// What only a kind made by a custom resource definition has.
#[derive(Debug, Clone, Default)]
pub struct Custom {
    /// The structural schema of this version.
    pub schema: Value,
    /// `additionalPrinterColumns` of this version.
    pub columns: Vec<Value>,
}

/// One served resource in one version.
#[derive(Debug, Clone)]
#[allow(clippy::struct_field_names)] // `kind` is the field's word
pub struct Kind {
    /// API group; empty for the core group.
    pub group: String,
    /// API version without the group.
    pub version: String,
    /// Kind, like `Deployment`.
    pub kind: String,
    /// Resource, like `deployments`.
    pub plural: String,
    /// Singular, like `deployment`.
    pub singular: String,
    /// Short names, like `deploy`.
    pub short: Vec<String>,
    /// Categories, like `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether status is written through its own subresource.
    pub status: bool,
    /// Whether there is a scale subresource.
    pub scale: bool,
    /// The name under which objects are stored: `deployments.apps`.
    pub storage: Arc<str>,
    /// Set for custom resources.
    pub custom: Option<Custom>,
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, as messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether it is this built-in kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

/// group | version | kind | plural | short | categories | scope and subresources:
/// `n` namespaced, `s` status, `c` scale.
const BUILT_IN: &str = "
|v1|Namespace|namespaces|ns||s
|v1|Node|nodes|no||s
|v1|PersistentVolume|persistentvolumes|pv||s
|v1|Pod|pods|po|all|ns
|v1|Service|services|svc|all|ns
|v1|ConfigMap|configmaps|cm||n
|v1|Secret|secrets|||n
|v1|Event|events|ev||n
|v1|ServiceAccount|serviceaccounts|sa||n
|v1|Endpoints|endpoints|ep||n
|v1|ResourceQuota|resourcequotas|quota||ns
|v1|LimitRange|limitranges|limits||n
|v1|PersistentVolumeClaim|persistentvolumeclaims|pvc||ns
|v1|ReplicationController|replicationcontrollers|rc|all|nsc
|v1|PodTemplate|podtemplates|||n
apps|v1|Deployment|deployments|deploy|all|nsc
apps|v1|ReplicaSet|replicasets|rs|all|nsc
apps|v1|StatefulSet|statefulsets|sts|all|nsc
apps|v1|DaemonSet|daemonsets|ds|all|ns
apps|v1|ControllerRevision|controllerrevisions|||n
batch|v1|Job|jobs||all|ns
batch|v1|CronJob|cronjobs|cj|all|ns
networking.k8s.io|v1|Ingress|ingresses|ing||ns
networking.k8s.io|v1|IngressClass|ingressclasses|||
networking.k8s.io|v1|NetworkPolicy|networkpolicies|netpol||n
discovery.k8s.io|v1|EndpointSlice|endpointslices|||n
policy|v1|PodDisruptionBudget|poddisruptionbudgets|pdb||ns
autoscaling|v2|HorizontalPodAutoscaler|horizontalpodautoscalers|hpa|all|ns
coordination.k8s.io|v1|Lease|leases|||n
events.k8s.io|v1|Event|events|ev||n
rbac.authorization.k8s.io|v1|Role|roles|||n
rbac.authorization.k8s.io|v1|RoleBinding|rolebindings|||n
rbac.authorization.k8s.io|v1|ClusterRole|clusterroles|||
rbac.authorization.k8s.io|v1|ClusterRoleBinding|clusterrolebindings|||
storage.k8s.io|v1|StorageClass|storageclasses|sc||
scheduling.k8s.io|v1|PriorityClass|priorityclasses|pc||
apiextensions.k8s.io|v1|CustomResourceDefinition|customresourcedefinitions|crd,crds|api-extensions|s
admissionregistration.k8s.io|v1|MutatingAdmissionPolicy|mutatingadmissionpolicies||api-extensions|
admissionregistration.k8s.io|v1|MutatingAdmissionPolicyBinding|mutatingadmissionpolicybindings||api-extensions|
admissionregistration.k8s.io|v1|ValidatingAdmissionPolicy|validatingadmissionpolicies||api-extensions|s
admissionregistration.k8s.io|v1|ValidatingAdmissionPolicyBinding|validatingadmissionpolicybindings||api-extensions|
admissionregistration.k8s.io|v1|MutatingWebhookConfiguration|mutatingwebhookconfigurations||api-extensions|
admissionregistration.k8s.io|v1|ValidatingWebhookConfiguration|validatingwebhookconfigurations||api-extensions|
authorization.k8s.io|v1|SelfSubjectAccessReview|selfsubjectaccessreviews|||
authorization.k8s.io|v1|SubjectAccessReview|subjectaccessreviews|||
authorization.k8s.io|v1|SelfSubjectRulesReview|selfsubjectrulesreviews|||
authentication.k8s.io|v1|SelfSubjectReview|selfsubjectreviews|||
authentication.k8s.io|v1|TokenReview|tokenreviews|||
";

/// All kinds, by group, version and plural.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Registry {
    /// The built-in kinds.
    pub fn built_in() -> Self {
        let mut registry = Self::default();
        for line in BUILT_IN.lines().filter(|line| !line.is_empty()) {
            let cells: Vec<&str> = line.split('|').collect();
            if let [group, version, kind, plural, short, categories, flags] = cells[..] {
                registry.add(Kind {
                    group: group.into(),
                    version: version.into(),
                    kind: kind.into(),
                    plural: plural.into(),
                    singular: kind.to_lowercase(),
                    short: words(short),
                    categories: words(categories),
                    namespaced: flags.contains('n'),
                    status: flags.contains('s'),
                    scale: flags.contains('c'),
                    storage: storage_name(group, plural),
                    custom: None,
                });
            }
        }
        registry
    }

    /// Adds or replaces a kind.
    pub fn add(&mut self, kind: Kind) {
        let key = (
            kind.group.clone(),
            kind.version.clone(),
            kind.plural.clone(),
        );
        self.kinds.insert(key, Arc::new(kind));
    }

    /// Forgets every version of a resource.
    pub fn remove(&mut self, group: &str, plural: &str) {
        self.kinds
            .retain(|key, _| key.0 != group || key.2 != plural);
    }

    /// The kind that a URL names.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.kinds.get(&key).cloned()
    }

    /// The kind with this group and kind name, in any version.
    #[cfg(test)]
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<Kind>> {
        self.all().find(|k| k.is(group, kind)).cloned()
    }

    /// All kinds, ordered by group, version, plural.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// All groups (the core group is empty) with their versions.
    pub fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for kind in self.all() {
            let versions = groups.entry(&kind.group).or_default();
            if !versions.contains(&kind.version.as_str()) {
                versions.push(&kind.version);
            }
        }
        groups
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Events of both groups are the same objects.
pub fn storage_name(group: &str, plural: &str) -> Arc<str> {
    match (group, plural) {
        ("" | "events.k8s.io", _) => plural.into(),
        _ => format!("{plural}.{group}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_kinds_are_found_by_the_words_of_a_url() {
        let registry = Registry::built_in();
        let kind = registry.find("apps", "v1", "deployments").unwrap();
        assert_eq!(
            (kind.kind.as_str(), kind.api_version().as_str()),
            ("Deployment", "apps/v1")
        );
        assert!(kind.namespaced && kind.status && kind.scale);
        assert!(
            registry
                .find("", "v1", "namespaces")
                .is_some_and(|k| !k.namespaced)
        );
    }

    #[test]
    fn both_event_groups_share_their_storage() {
        assert_eq!(
            storage_name("", "events"),
            storage_name("events.k8s.io", "events")
        );
    }
}

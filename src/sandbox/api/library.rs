//! The schemas of built-in kinds, taken from the generated Kubernetes types.
//!
//! They serve three ends: bodies are checked and put in canonical form by them (`conform`), and
//! kubectl reads them as `OpenAPI`. They are made once, at first use.

use std::collections::HashMap;
use std::sync::OnceLock;

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, autoscaling::v2 as autoscaling,
    batch::v1 as batch, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, networking::v1 as networking,
    policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::kinds::Kind;

/// Schemas by definition name, and the definition of each kind.
#[derive(Debug)]
pub struct Library {
    /// Definitions, as under `components/schemas`.
    pub definitions: Map<String, Value>,
    kinds: HashMap<(&'static str, &'static str), String>,
}

/// The definition of every object's metadata.
pub const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

macro_rules! kinds {
    ($generator:ident, $kinds:ident; $($group:literal: $($module:ident :: $kind:ident),+;)+) => {
        $($(
            $generator.subschema_for::<$module::$kind>();
            $kinds.insert(($group, stringify!($kind)), <$module::$kind as schemars::JsonSchema>::schema_name().into_owned());
        )+)+
    };
}

impl Library {
    /// The library.
    pub fn get() -> &'static Self {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        LIBRARY.get_or_init(Self::build)
    }

    fn build() -> Self {
        let mut generator = SchemaSettings::openapi3().into_generator();
        let mut kinds = HashMap::new();
        generator.subschema_for::<meta::ObjectMeta>();
        generator.subschema_for::<meta::Status>();
        kinds!(generator, kinds;
            "": core::Namespace, core::Node, core::PersistentVolume, core::Pod, core::Service, core::ConfigMap, core::Secret,
                core::Event, core::ServiceAccount, core::Endpoints, core::ResourceQuota, core::LimitRange,
                core::PersistentVolumeClaim, core::ReplicationController, core::PodTemplate;
            "apps": apps::Deployment, apps::ReplicaSet, apps::StatefulSet, apps::DaemonSet, apps::ControllerRevision;
            "batch": batch::Job, batch::CronJob;
            "networking.k8s.io": networking::Ingress, networking::IngressClass, networking::NetworkPolicy;
            "discovery.k8s.io": discovery::EndpointSlice;
            "policy": policy::PodDisruptionBudget;
            "autoscaling": autoscaling::HorizontalPodAutoscaler;
            "coordination.k8s.io": coordination::Lease;
            "events.k8s.io": events::Event;
            "rbac.authorization.k8s.io": rbac::Role, rbac::RoleBinding, rbac::ClusterRole, rbac::ClusterRoleBinding;
            "storage.k8s.io": storage::StorageClass;
            "scheduling.k8s.io": scheduling::PriorityClass;
            "apiextensions.k8s.io": extensions::CustomResourceDefinition;
            "admissionregistration.k8s.io": admission::MutatingAdmissionPolicy, admission::MutatingAdmissionPolicyBinding,
                admission::ValidatingAdmissionPolicy, admission::ValidatingAdmissionPolicyBinding,
                admission::MutatingWebhookConfiguration, admission::ValidatingWebhookConfiguration;
        );
        Self {
            definitions: generator.take_definitions(true),
            kinds,
        }
    }

    /// The definition name of a built-in kind; events are stored in the core form.
    pub fn name_of(&self, kind: &Kind) -> Option<&str> {
        let group = kind.group.as_str();
        self.kinds
            .iter()
            .find(|((g, k), _)| *g == group && *k == kind.kind)
            .map(|(_, name)| name.as_str())
    }

    /// Follows a reference: the definition's name (empty without a reference) and the schema.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> (&'a str, &'a Value) {
        let inside = schema["allOf"]
            .get(0)
            .and_then(|inner| inner["$ref"].as_str());
        let Some(reference) = schema["$ref"].as_str().or(inside) else {
            return ("", schema);
        };
        let name = reference.rsplit('/').next().unwrap_or_default();
        (name, self.definitions.get(name).unwrap_or(&Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Registry;
    use super::*;

    #[test]
    fn every_stored_built_in_kind_has_a_schema() {
        let library = Library::get();
        for kind in Registry::built_in()
            .all()
            .filter(|kind| !kind.kind.ends_with("Review"))
        {
            let name = library
                .name_of(kind)
                .unwrap_or_else(|| panic!("{} has no schema", kind.kind));
            assert!(library.definitions.contains_key(name), "{name}");
        }
    }
}

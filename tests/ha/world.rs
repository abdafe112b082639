//! An embedded cluster in virtual time, with applications to release.
//!
//! Not here: daemons (`daemons`).

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::{ACCOUNT, Rollout};
use sluice::kubernetes::gate;
use sluice::sandbox::cluster::{Cluster, Options};
use sluice::sandbox::scenario::{self, Way};

/// Runs a test in virtual time, on one thread.
pub fn virtually<T>(test: impl Future<Output = T>) -> T {
    // Fails only when another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// A cluster with the gate.
pub struct World {
    pub cluster: Cluster,
    pub clock: Clock,
    admin: kube::Client,
}

impl World {
    pub async fn new() -> Self {
        let clock = Clock::scaled(Timestamp::from_second(1_700_000_000).unwrap(), 1.0);
        Self::with(Options::in_process(clock, 7)).await
    }

    pub async fn with(options: Options) -> Self {
        let clock = options.clock;
        let cluster = Cluster::start(options).await.unwrap();
        let admin = cluster.client("kubernetes-admin");
        let world = Self {
            cluster,
            clock,
            admin,
        };
        let crd = serde_saphyr::from_str(&gate::crd_yaml().unwrap()).unwrap();
        for object in std::iter::once(crd).chain(gate::manifests(ACCOUNT)) {
            world.apply(object).await;
        }
        world
    }

    pub async fn apply(&self, object: Value) {
        scenario::apply(self.admin.clone(), Way::ServerSide, &object)
            .await
            .unwrap();
    }

    /// An application with its Rollout: 5 % for `hold`, then 50 %.
    pub async fn app(&self, name: &str, rps: u32, hold: &str) {
        let meta = json!({"namespace": "default", "name": name});
        self.release(name, "1", "0").await;
        self.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))
        .await;
        let backend = json!({"service": {"name": name, "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        let rule = json!({"host": format!("{name}.test"), "http": {"paths": paths}});
        let mut loaded = meta.clone();
        loaded["annotations"] = json!({"sandbox.sluice.dev/rps": rps.to_string()});
        self.apply(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": loaded,
            "spec": {"ingressClassName": "nginx", "rules": [rule]},
        }))
        .await;
        let steps = json!([{"weight": 5, "hold": hold}, {"weight": 50}]);
        self.apply(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": meta,
            "spec": {
                "target": {"name": name},
                "route": {"ingressNginx": {"ingress": name}},
                "strategy": {"canary": {"steps": steps}},
            },
        }))
        .await;
    }

    /// Applies a version with this share of errors.
    pub async fn release(&self, name: &str, version: &str, errors: &str) {
        let labels = json!({"app": name});
        let behaves = json!({
            "sandbox.sluice.dev/start-after": "100ms",
            "sandbox.sluice.dev/latency": "5ms 0.3",
            "sandbox.sluice.dev/errors": errors,
        });
        let container = json!({
            "name": "app", "image": format!("{name}:{version}"), "ports": [{"containerPort": 8080}],
        });
        let template = json!({
            "metadata": {"labels": labels, "annotations": behaves},
            "spec": {"containers": [container]},
        });
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": "default", "name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }))
        .await;
    }

    pub async fn rollout(&self, name: &str) -> Rollout {
        let api: Api<Rollout> = Api::namespaced(self.admin.clone(), "default");
        api.get(name).await.unwrap()
    }

    pub async fn has_rollout(&self, name: &str) -> bool {
        let api: Api<Rollout> = Api::namespaced(self.admin.clone(), "default");
        api.get_opt(name).await.unwrap().is_some()
    }

    pub async fn delete_rollout(&self, name: &str) {
        let api: Api<Rollout> = Api::namespaced(self.admin.clone(), "default");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Writes a Rollout's checkpoint, as somebody else.
    pub async fn checkpoint(&self, name: &str, checkpoint: Value) {
        let api: Api<Rollout> = Api::namespaced(self.admin.clone(), "default");
        let patch = Patch::Merge(json!({"status": {"checkpoint": checkpoint}}));
        let params = PatchParams::default();
        api.patch_status(name, &params, &patch).await.unwrap();
    }

    pub async fn deployment(&self, name: &str) -> Value {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.admin.clone(), "default");
        serde_json::to_value(api.get(name).await.unwrap()).unwrap()
    }

    pub async fn phase(&self, name: &str) -> String {
        let status = self.rollout(name).await.status.unwrap_or_default();
        status.phase.unwrap_or_default()
    }

    /// Whether its Rollout waits for a release, and its Deployment stands behind the gate.
    pub async fn guarded(&self, name: &str) -> bool {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.admin.clone(), "default");
        let deployment = api.get(name).await.unwrap();
        let labels = deployment.metadata.labels.unwrap_or_default();
        labels.contains_key("sluice.dev/guarded") && self.phase(name).await == "Idle"
    }

    /// How the newest run ended, if one did.
    pub async fn outcome(&self, name: &str) -> Option<String> {
        let last = self.rollout(name).await.status?.last_run?;
        Some(format!("{:?}", last.outcome).trim_matches('"').to_owned())
    }

    /// The canary's weight; 0 without a canary Ingress.
    pub async fn weight(&self, name: &str) -> u32 {
        let api: Api<k8s_openapi::api::networking::v1::Ingress> =
            Api::namespaced(self.admin.clone(), "default");
        let Some(ingress) = api.get_opt(&format!("{name}-canary")).await.unwrap() else {
            return 0;
        };
        let annotations = ingress.metadata.annotations.unwrap_or_default();
        let weight = annotations.get("nginx.ingress.kubernetes.io/canary-weight");
        weight.map_or(0, |weight| weight.parse().unwrap())
    }

    pub fn leases(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
        Api::namespaced_with(self.admin.clone(), "default", &ApiResource::from_gvk(&kind))
    }

    /// The time since this moment of its clock.
    pub fn since(&self, moment: Duration) -> Duration {
        self.clock.ticks().saturating_sub(moment)
    }

    /// What the Rollouts say.
    async fn story(&self) -> String {
        let api: Api<Rollout> = Api::all(self.admin.clone());
        let rollouts = api.list(&ListParams::default()).await.unwrap();
        let statuses = rollouts.items.into_iter().map(|rollout| rollout.status);
        let lines = statuses.map(|status| {
            let status = status.unwrap_or_default();
            format!(
                "{:?} {:?} {:?} {:?}",
                status.phase, status.message, status.run, status.last_run
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Waits until it holds; panics after `patience`.
    pub async fn until<F: Future<Output = bool>>(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn() -> F,
    ) -> Duration {
        let began = self.clock.ticks();
        while !holds().await {
            let waited = self.since(began);
            let story = if waited < patience {
                None
            } else {
                Some(self.story().await)
            };
            assert_eq!(story, None, "not within {patience:?}: {what}");
            self.clock.sleep(Duration::from_millis(50)).await;
        }
        self.since(began)
    }
}

//! Applications with their Rollouts on any cluster, released and looked at as people do.
//!
//! Each is a Deployment, a Service, an Ingress with load and a Rollout of two steps, all of one
//! name. Not here: the cluster, its node and router, and the daemon.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::Rollout;
use sluice::sandbox::scenario::{self, Way};

/// The applications of the namespace `default`.
pub struct Apps {
    pub clock: Clock,
    pub admin: Client,
}

impl Apps {
    pub async fn apply(&self, object: Value) {
        let applied = scenario::apply(self.admin.clone(), Way::ServerSide, &object).await;
        if let Err(error) = applied {
            panic!("{} {}: {error}", object["kind"], object["metadata"]["name"]);
        }
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
                "analysis": {"within": "1m", "blastMax": "5%"},
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

    /// The time since this moment of its clock.
    pub fn since(&self, moment: Duration) -> Duration {
        self.clock.ticks().saturating_sub(moment)
    }

    /// What the Rollouts say.
    pub async fn story(&self) -> String {
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

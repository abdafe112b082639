//! An embedded cluster in virtual time or in real time, with applications to release (`apps`).
//!
//! Not here: daemons.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::{ACCOUNT, Rollout};
use sluice::kubernetes::gate;
use sluice::sandbox::cluster::{Cluster, Options};

use crate::apps::Apps;
use crate::process::{self, Process, Start};

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

/// A cluster with the gate, and its applications.
pub struct World {
    pub cluster: Cluster,
    apps: Apps,
}

impl Deref for World {
    type Target = Apps;

    fn deref(&self) -> &Apps {
        &self.apps
    }
}

impl World {
    pub async fn new() -> Self {
        let clock = Clock::scaled(Timestamp::from_second(1_700_000_000).unwrap(), 1.0);
        Self::with(Options::in_process(clock, 7)).await
    }

    /// One that listens, in real time, for daemons as processes.
    pub async fn listening() -> Self {
        // Fails only when another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let any = ([127, 0, 0, 1], 0).into();
        let options = Options {
            api: Some(any),
            metrics: Some(any),
            reload: Duration::from_millis(20),
            ..Options::in_process(Clock::at_speed(1.0), 7)
        };
        Self::with(options).await
    }

    pub async fn with(options: Options) -> Self {
        let clock = options.clock;
        let cluster = Cluster::start(options).await.unwrap();
        let admin = cluster.client("kubernetes-admin");
        let apps = Apps { clock, admin };
        let world = Self { cluster, apps };
        let crd = serde_saphyr::from_str(&gate::crd_yaml().unwrap()).unwrap();
        for object in std::iter::once(crd).chain(gate::manifests(ACCOUNT)) {
            world.apply(object).await;
        }
        world
    }

    pub async fn has_rollout(&self, name: &str) -> bool {
        self.rollouts().get_opt(name).await.unwrap().is_some()
    }

    pub async fn delete_rollout(&self, name: &str) {
        let params = DeleteParams::default();
        self.rollouts().delete(name, &params).await.unwrap();
    }

    /// Writes a Rollout's checkpoint, as somebody else.
    pub async fn checkpoint(&self, name: &str, checkpoint: Value) {
        let patch = Patch::Merge(json!({"status": {"checkpoint": checkpoint}}));
        let params = PatchParams::default();
        let written = self.rollouts().patch_status(name, &params, &patch).await;
        written.unwrap();
    }

    pub async fn deployment(&self, name: &str) -> Value {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.apps.admin.clone(), "default");
        serde_json::to_value(api.get(name).await.unwrap()).unwrap()
    }

    fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.apps.admin.clone(), "default")
    }

    pub fn leases(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease");
        Api::namespaced_with(self.admin.clone(), "default", &ApiResource::from_gvk(&kind))
    }

    /// A process of this name that serves it; it reaches the API server at `api`.
    pub fn process(&self, name: &str, api: SocketAddr, settings: &str) -> Process {
        let kubeconfig = process::file(name, "kube");
        let user = format!("user: {{token: \"{ACCOUNT}\"}}");
        let text = self.cluster.api.kubeconfig(api).replace("user: {}", &user);
        std::fs::write(&kubeconfig, text).unwrap();
        Process::start(Start {
            name,
            kubeconfig: &kubeconfig,
            metrics: self.cluster.metrics[0],
            namespaces: &[],
            settings,
        })
    }
}

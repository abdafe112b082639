//! The cluster: Deployments of one replica, each with Service, Ingress and Rollout.
//!
//! The embedded cluster in real time. The API listens on a port for the daemon; this process is
//! an ordinary client in it. Rollouts are spread over namespaces, as teams would have them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::kubernetes::gate;
use sluice::sandbox::cluster::{Cluster, Options};
use sluice::sandbox::router::Router;

use super::{Error, stopwatch};

/// What is waited for comes within this time, or so long for each Rollout: on two cores the embedded cluster
/// takes most of it.
const PATIENCE: Duration = Duration::from_secs(120);
const PER_ROLLOUT: Duration = Duration::from_millis(200);
/// Time between two looks at all Rollouts, each of which costs the cluster something.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Requests a second of an application that is released.
const RPS: u32 = 200;
/// Applications that have a little load all the time, and how much.
const LOADED: usize = 20;
/// Applications that are applied at one time, as several teams would.
const AT_ONCE: usize = 8;
const BACKGROUND_RPS: u32 = 10;

/// A cluster with so many Rollouts.
pub struct Fleet {
    pub cluster: Cluster,
    pub admin: kube::Client,
    namespaces: usize,
    size: usize,
}

/// What a version meets.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// Requests a second.
    pub rps: u32,
    /// The share of them that it answers with an error.
    pub errors: &'a str,
}

/// One application of the fleet.
#[derive(Debug, Clone)]
pub struct App {
    pub namespace: String,
    pub name: String,
}

impl Fleet {
    /// A cluster with gate and namespaces, and no application.
    pub async fn start(namespaces: usize) -> Result<Self, Error> {
        let options = Options {
            api: Some(([127, 0, 0, 1], 0).into()),
            ..Options::in_process(Clock::at_speed(1.0), 7)
        };
        let cluster = Cluster::start(options).await?;
        let admin = cluster.client("kubernetes-admin");
        let fleet = Self {
            cluster,
            admin,
            namespaces: namespaces.max(1),
            size: 0,
        };
        let crd = serde_saphyr::from_str(&gate::crd_yaml()?)?;
        for object in std::iter::once(crd).chain(gate::manifests(ACCOUNT)) {
            fleet.apply(object).await?;
        }
        for index in 0..fleet.namespaces {
            let name = format!("team-{index}");
            let meta = json!({"name": name});
            fleet
                .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}))
                .await?;
        }
        Ok(fleet)
    }

    /// How many applications there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The router.
    pub fn router(&self) -> Router {
        self.cluster.world.routers[0].clone()
    }

    /// The application of this number.
    pub fn app(&self, index: usize) -> App {
        App {
            namespace: format!("team-{}", index % self.namespaces),
            name: format!("app-{index}"),
        }
    }

    /// Applies applications until there are `size`, and waits until the daemon has adopted all.
    pub async fn grow(&mut self, size: usize) -> Result<(), Error> {
        let new = futures::stream::iter(self.size..size).map(|index| self.begin(index));
        new.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.size = self.size.max(size);
        let idle = |status: &Value| status["phase"] == "Idle";
        self.until(size, "idle", idle).await
    }

    /// Applies one application.
    async fn begin(&self, index: usize) -> Result<(), Error> {
        let app = self.app(index);
        let load = if index < LOADED { BACKGROUND_RPS } else { 0 };
        self.apply(app.deployment("1", json!({}))).await?;
        self.apply(app.service()).await?;
        self.apply(app.ingress(load)).await?;
        self.apply(app.rollout("0s")).await
    }

    /// Waits until this holds of so many Rollouts' statuses.
    pub async fn until(
        &self,
        many: usize,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<(), Error> {
        let patience = PATIENCE.max(PER_ROLLOUT * u32::try_from(self.size)?);
        let rollouts = self.rollouts();
        let start = stopwatch::now();
        loop {
            let list = rollouts.list(&ListParams::default()).await?;
            let statuses = list.items.iter().map(|rollout| &rollout.data["status"]);
            let count = statuses.filter(|status| holds(status)).count();
            if count >= many {
                return Ok(());
            }
            let seconds = start.elapsed().as_secs();
            eprintln!("{count} of {many} Rollouts are {what} after {seconds} s");
            if start.elapsed() > patience {
                return Err(format!("only {count} of {many} Rollouts were {what} in time").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// All Rollouts.
    pub fn rollouts(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("sluice.dev", "v1alpha1", "Rollout");
        Api::all_with(self.admin.clone(), &ApiResource::from_gvk(&kind))
    }

    /// Releases so many versions that have this load.
    pub async fn release_many(&self, many: usize, load: Load<'_>, hold: &str) -> Result<(), Error> {
        let release = |index| async move {
            let app = self.app(index);
            self.release_under(&app, load, hold).await
        };
        let releases = futures::stream::iter(0..many).map(release);
        releases.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Releases a version with this share of errors, under much load.
    pub async fn release(&self, app: &App, errors: &str, hold: &str) -> Result<(), Error> {
        let load = Load { rps: RPS, errors };
        self.release_under(app, load, hold).await
    }

    /// Releases a version that has this load.
    pub async fn release_under(&self, app: &App, load: Load<'_>, hold: &str) -> Result<(), Error> {
        self.apply(app.rollout(hold)).await?;
        self.apply(app.ingress(load.rps)).await?;
        let behaves = json!({"sandbox.sluice.dev/errors": load.errors});
        self.apply(app.deployment("2", behaves)).await
    }

    /// Takes the load off.
    pub async fn relax(&self, app: &App) -> Result<(), Error> {
        self.apply(app.ingress(0)).await
    }

    /// Requests of the daemon so far, apart from watches.
    pub fn requests(&self) -> u64 {
        let counted = self.cluster.api.requests();
        counted.total(|c| c.user == ACCOUNT && c.verb != "watch")
    }

    /// The same by verb and resource.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        let counted = self.cluster.api.requests().all().into_iter();
        let own = counted.filter(|(c, _)| c.user == ACCOUNT && c.verb != "watch");
        own.map(|(c, count)| (format!("{} {}", c.verb, c.resource), count))
            .collect()
    }

    /// Writes of the daemon so far.
    pub fn writes(&self) -> u64 {
        self.cluster.api.requests().writes(ACCOUNT)
    }

    /// Stops the cluster.
    pub async fn stop(self) -> Result<(), Error> {
        Ok(self.cluster.stop().await?)
    }

    /// Applies an object as a `GitOps` tool does.
    async fn apply(&self, object: Value) -> Result<(), Error> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&object["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
        let resource = ApiResource::from_gvk(&kind);
        let client = self.admin.clone();
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let name = text(&object["metadata"]["name"]);
        let how = PatchParams::apply("flux").force();
        api.patch(&name, &how, &Patch::Apply(object)).await?;
        Ok(())
    }
}

impl App {
    fn meta(&self) -> Value {
        json!({"namespace": self.namespace, "name": self.name})
    }

    fn deployment(&self, version: &str, mut behaves: Value) -> Value {
        behaves["sandbox.sluice.dev/start-after"] = json!("10ms");
        behaves["sandbox.sluice.dev/latency"] = json!("5ms 0.3");
        let labels = json!({"app": self.name});
        let container = json!({
            "name": "app", "image": format!("{}:{version}", self.name),
            "ports": [{"containerPort": 8080}],
        });
        let template = json!({
            "metadata": {"labels": labels, "annotations": behaves},
            "spec": {"containers": [container]},
        });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.meta(),
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        })
    }

    fn service(&self) -> Value {
        let spec =
            json!({"selector": {"app": self.name}, "ports": [{"port": 80, "targetPort": 8080}]});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": self.meta(), "spec": spec})
    }

    fn ingress(&self, rps: u32) -> Value {
        let mut meta = self.meta();
        meta["annotations"] = json!({"sandbox.sluice.dev/rps": rps.to_string()});
        let backend = json!({"service": {"name": self.name, "port": {"number": 80}}});
        let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
        let rule = json!({"host": format!("{}.test", self.name), "http": {"paths": paths}});
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta,
            "spec": {"ingressClassName": "nginx", "rules": [rule]},
        })
    }

    fn rollout(&self, hold: &str) -> Value {
        let steps = json!([{"weight": 5, "hold": hold}, {"weight": 50}]);
        json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": self.meta(),
            "spec": {
                "target": {"name": self.name},
                "route": {"ingressNginx": {"ingress": self.name}},
                "strategy": {"canary": {"steps": steps}},
            },
        })
    }
}

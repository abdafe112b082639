//! What people and tools do to the cluster in a schedule, and what they mend in the end.
//!
//! They work through the API like anybody else. Each tells the invariants what they must know
//! of it: that the gate stands open, that no pods are wanted, that a person promoted by hand.
//!
//! Not here: when they do it (`schedule`).

use axum::body::Bytes;
use axum::http::Request;
use serde_json::{Value, json};
use sluice::kubernetes::crd::ACCOUNT;
use sluice::kubernetes::gate;
use sluice::sandbox::scenario::Way;

use crate::cluster;
use crate::invariants::{STABLE, never_ready};
use crate::manifests;
use crate::schedule::{Act, Opening, Ours};
use crate::world::World;

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/shop";
const CANARY: &str = "/apis/apps/v1/namespaces/default/deployments/shop-canary";
const SERVICE: &str = "/api/v1/namespaces/default/services/shop-canary";
const INGRESS: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/shop-canary";
const ROUTE: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes/shop";
const KEPT: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const ROLLOUT: &str = "/apis/sluice.dev/v1alpha1/namespaces/default/rollouts/shop";
const GATE: &str = "/apis/admissionregistration.k8s.io/v1";

impl World {
    /// Does what a person does.
    pub async fn user(&mut self, act: &Act) {
        match act {
            Act::Release(kind) => {
                self.releases += 1;
                let image = manifests::image(*kind, self.releases, self.schedule.settings.bake);
                self.release(image).await;
            }
            Act::Return => self.release(STABLE.to_owned()).await,
            Act::Scale(replicas) => self.scale(*replicas).await,
            Act::EditPath if self.schedule.settings.gateway => self.edit_rule().await,
            Act::EditPath => self.edit_ingress(manifests::HOST, "/shop").await,
            Act::EditHost if self.schedule.settings.gateway => {
                self.host = "store.example";
                self.apply_route().await;
            }
            Act::EditHost => self.edit_ingress("store.example", "/").await,
            Act::EditWeight(weight) if self.schedule.settings.gateway => {
                self.edit_split(i64::from(*weight)).await;
            }
            Act::EditWeight(weight) => {
                let key = "nginx.ingress.kubernetes.io/canary-weight";
                let patch = json!({"metadata": {"annotations": {key: weight.to_string()}}});
                self.patch(INGRESS, &patch).await;
            }
            Act::Delete(ours) => self.delete_ours(*ours).await,
            Act::OpenGate(how) => self.open_gate(*how).await,
            Act::CloseGate => self.close_gate().await,
            Act::Ask(what) => self.ask(what).await,
            Act::Suspend => self.suspend(true).await,
            Act::Continue => self.suspend(false).await,
            Act::Restart => {
                let key = "kubectl.kubernetes.io/restartedAt";
                let patch = json!({"spec": {"template": {"metadata": {"annotations": {key: format!("{}", self.journal.now())}}}}});
                self.patch(DEPLOYMENT, &patch).await;
            }
            Act::Unguard { back } => {
                self.opens();
                self.send("DELETE", ROLLOUT, None).await;
                self.unguarded = Some(self.journal.now() + back);
            }
        }
    }

    /// The gate is open from now on; what is applied now may go through.
    fn opens(&self) {
        let mut checker = self.checker();
        checker.opening(true);
        checker.exempts(self.image.clone());
    }

    /// The gate is shut, unless something else holds it open.
    fn shuts(&self) {
        if !self.opened && !self.suspended && self.unguarded.is_none() {
            self.checker().opening(false);
        }
    }

    /// The Rollout is made again, once the old one is gone.
    pub async fn guard_again(&mut self) {
        let (there, live) = {
            let mirror = &self.checker().mirror;
            (
                mirror.rollout().is_some(),
                mirror.target().map(cluster::image),
            )
        };
        if there {
            return;
        }
        let rollout = manifests::rollout(&self.schedule.settings);
        if self.apply(Way::ServerSide, &rollout).await {
            self.unguarded = None;
            self.suspended = false;
            // Who makes it takes what serves now for what is wanted.
            self.image = live.unwrap_or_default();
            self.shuts();
        }
    }

    async fn release(&mut self, image: String) {
        let manifest = manifests::deployment(&image, self.replicas);
        if self.checker().open {
            self.checker().exempts(image.clone());
        }
        // To apply what is there already is seen by nobody: what is kept to be given back stays wanted.
        if self.checker().mirror.target().map(cluster::image).as_ref() != Some(&image) {
            self.image = image;
        }
        // Flux takes over fields that others own; `kubectl apply --server-side` would be refused.
        self.apply(Way::Flux, &manifest).await;
    }

    async fn scale(&mut self, replicas: i64) {
        self.replicas = replicas;
        let now = self.journal.now();
        {
            let mut checker = self.checker();
            checker.unwanted = replicas == 0;
            if replicas == 0 {
                let tried = checker.tried();
                checker.starved.insert(tried);
            }
            checker.wanted_since = now;
        }
        // As a tool that owns the field, so that the next release keeps it.
        self.patch(DEPLOYMENT, &json!({"spec": {"replicas": replicas}}))
            .await;
    }

    async fn edit_ingress(&mut self, host: &str, path: &str) {
        let now = self.journal.now();
        self.checker().wanted_since = now;
        self.apply(Way::ServerSide, &manifests::ingress(host, path))
            .await;
    }

    /// The rules of the `HTTPRoute` as they are.
    pub fn live_rules(&self) -> Value {
        let checker = self.checker();
        let route = checker.mirror.route();
        route.map_or(Value::Null, |route| route["spec"]["rules"].clone())
    }

    /// Flux applies the route as it is in Git: the canary's part of it is gone, and so is what was edited by hand.
    async fn apply_route(&mut self) {
        let now = self.journal.now();
        self.checker().wanted_since = now;
        if self
            .apply(Way::Flux, &manifests::http_route(self.host))
            .await
        {
            self.rules = self.live_rules();
        }
    }

    /// Somebody edits the rule that leads to the shop, as it is now, whether it is split or not.
    async fn edit_rule(&mut self) {
        let now = self.journal.now();
        self.checker().wanted_since = now;
        let timeout = json!(format!("{}s", now / 1000));
        let mut live = self.live_rules();
        edit(&mut live, |rule| {
            rule["matches"][0]["path"]["value"] = json!("/shop");
            rule["timeouts"]["request"] = timeout.clone();
        });
        if self.patch(ROUTE, &json!({"spec": {"rules": live}})).await < 300 {
            edit(&mut self.rules, |rule| {
                rule["matches"][0]["path"]["value"] = json!("/shop");
                rule["timeouts"]["request"] = timeout.clone();
            });
        }
    }

    /// Somebody writes other weights into a route that is split.
    async fn edit_split(&self, weight: i64) {
        let mut live = self.live_rules();
        edit(&mut live, |rule| {
            let split = cluster::backends(rule).any(|to| to["name"] == "shop-canary");
            for to in rule["backendRefs"].as_array_mut().into_iter().flatten() {
                if split && to["name"] == "shop" {
                    to["weight"] = json!(100 - weight);
                } else if split {
                    to["weight"] = json!(weight);
                }
            }
        });
        self.patch(ROUTE, &json!({"spec": {"rules": live}})).await;
    }

    async fn delete_ours(&mut self, ours: Ours) {
        let now = self.journal.now();
        // The router may still know the pods that go.
        self.checker().wanted_since = now;
        if self.schedule.settings.gateway {
            self.checker().bereft |= matches!(ours, Ours::Deployment | Ours::Service);
            if ours == Ours::Ingress {
                return self.apply_route().await;
            }
        }
        match ours {
            Ours::Deployment => self.send("DELETE", CANARY, None).await,
            Ours::Service => self.send("DELETE", SERVICE, None).await,
            Ours::Ingress => self.send("DELETE", INGRESS, None).await,
            Ours::Kept => self.send("DELETE", KEPT, None).await,
        };
    }

    async fn open_gate(&mut self, how: Opening) {
        self.opens();
        self.opened = true;
        let named = |kind: &str| {
            let found = gate::manifests(ACCOUNT)
                .into_iter()
                .find(|object| object["kind"] == kind);
            found
                .map(|object| {
                    object["metadata"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                })
                .unwrap_or_default()
        };
        match how {
            Opening::Policy => {
                let path = format!(
                    "{GATE}/mutatingadmissionpolicies/{}",
                    named("MutatingAdmissionPolicy")
                );
                self.send("DELETE", &path, None).await;
            }
            Opening::Binding => {
                let path = format!(
                    "{GATE}/mutatingadmissionpolicybindings/{}",
                    named("MutatingAdmissionPolicyBinding")
                );
                self.send("DELETE", &path, None).await;
            }
            Opening::Label => {
                let patch = json!({"metadata": {"labels": {"sluice.dev/guarded": null}}, "spec": {"paused": false}});
                self.patch(DEPLOYMENT, &patch).await;
            }
            Opening::Glass => {
                let patch = json!({"metadata": {"annotations": {"sluice.dev/open": "an emergency"}}, "spec": {"paused": false}});
                self.patch(DEPLOYMENT, &patch).await;
            }
        }
    }

    async fn close_gate(&mut self) {
        for object in gate::manifests(ACCOUNT) {
            self.apply(Way::ServerSide, &object).await;
        }
        let patch = json!({"metadata": {"annotations": {"sluice.dev/open": null}}});
        self.patch(DEPLOYMENT, &patch).await;
        self.opened = false;
        self.shuts();
    }

    async fn ask(&mut self, what: &str) {
        self.asked += 1;
        let status = self
            .checker()
            .mirror
            .rollout()
            .map(|rollout| rollout["status"].clone())
            .unwrap_or_default();
        let run = &status["run"]["revision"];
        if what == "promote"
            && let Some(image) = run["images"][0].as_str()
        {
            self.checker().exempts(image.to_owned());
        }
        let request = match run["hash"].as_str() {
            Some(hash) => format!("{what} {hash}"),
            None => what.to_owned(),
        };
        let key = format!("request.sluice.dev/ask-{}", self.asked);
        self.patch(
            ROLLOUT,
            &json!({"metadata": {"annotations": {key: request}}}),
        )
        .await;
    }

    async fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
        if suspended {
            self.opens();
        }
        self.patch(ROLLOUT, &json!({"spec": {"suspended": suspended}}))
            .await;
        self.shuts();
    }

    /// In the end people close the gate, want pods again and let Sluice work.
    pub async fn mend(&mut self) {
        self.close_gate().await;
        if self.replicas == 0 {
            self.scale(2).await;
        }
        self.suspend(false).await;
        // Nobody but them takes back what went past the gate and never becomes ready.
        let stuck = never_ready(&self.image) && self.checker().exempt.contains(&self.image);
        if stuck {
            self.release(STABLE.to_owned()).await;
        }
    }

    /// A change that means nothing to anybody, so that the daemons look.
    pub async fn touch(&self) {
        let touched = self.journal.now().to_string();
        let patch = json!({"metadata": {"annotations": {"example.com/touched": touched}}});
        self.patch(DEPLOYMENT, &patch).await;
    }

    async fn patch(&self, path: &str, patch: &Value) -> u16 {
        self.send("PATCH", path, Some(patch)).await
    }

    /// A request of a person's; its status. Refusals are part of the story.
    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> u16 {
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager=kubectl"))
            .header("content-type", "application/merge-patch+json")
            .body(())
            .unwrap();
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let answer = self
            .cluster
            .api
            .handle(&request.into_parts().0, body, Some("kubernetes-admin"))
            .await;
        let code = answer.map_or(0, |answer| answer.status().as_u16());
        if code >= 400 || code == 0 {
            self.journal
                .say(&format!("{method} {path} was answered {code}"));
        }
        code
    }
}

/// Edits the rule that leads to the shop; one for a header leads to the canary alone.
fn edit(rules: &mut Value, change: impl Fn(&mut Value)) {
    for rule in rules.as_array_mut().into_iter().flatten() {
        if cluster::backends(rule).any(|to| to["name"] == "shop") {
            change(rule);
        }
    }
}

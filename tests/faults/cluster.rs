//! The cluster's state as it was after each change, from the API server's own writes: a mirror
//! that nobody can lie to, with the few questions that the invariants ask of it.
//!
//! Not here: what must hold (`invariants`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sluice::sandbox::api::{Change, Object};

pub const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

/// Objects by resource and name; there is one namespace.
#[derive(Default)]
pub struct Mirror(BTreeMap<(String, String), Arc<Object>>);

const ANNOTATION: &str = "nginx.ingress.kubernetes.io";

impl Mirror {
    pub fn take(&mut self, resource: &str, change: &Change) {
        let key = (resource.to_owned(), name(&change.object.value).to_owned());
        if change.removed {
            self.0.remove(&key);
        } else {
            self.0.insert(key, change.object.clone());
        }
    }

    pub fn get(&self, resource: &str, name: &str) -> Option<&Value> {
        let found = self.0.get(&(resource.to_owned(), name.to_owned()))?;
        Some(&found.value)
    }

    pub fn all(&self, resource: &str) -> impl Iterator<Item = &Value> {
        let from = (resource.to_owned(), String::new());
        let own = resource.to_owned();
        self.0
            .range(from..)
            .take_while(move |((found, _), _)| *found == own)
            .map(|(_, object)| &object.value)
    }

    pub fn target(&self) -> Option<&Value> {
        self.get("deployments.apps", "shop")
    }

    pub fn rollout(&self) -> Option<&Value> {
        self.get("rollouts.sluice.dev", "shop")
    }

    /// Whether the gate's label is on the Deployment.
    pub fn guarded(&self) -> bool {
        let label = |target: &Value| target["metadata"]["labels"]["sluice.dev/guarded"] == "true";
        self.target().is_some_and(label)
    }

    /// The weight that is in force for the canary.
    pub fn weight(&self) -> i64 {
        let ingress = self.get("ingresses.networking.k8s.io", "shop-canary");
        let route = self.route().map_or(0, split);
        ingress.map_or(0, weight).max(route)
    }

    /// The main `HTTPRoute`, if this cluster has one.
    pub fn route(&self) -> Option<&Value> {
        self.get(ROUTES, "shop")
    }

    /// The run whose canary there is.
    pub fn run(&self) -> String {
        let canary = self.get("deployments.apps", "shop-canary");
        let run =
            canary.and_then(|canary| canary["metadata"]["annotations"]["sluice.dev/run"].as_str());
        run.unwrap_or_default().to_owned()
    }

    /// Ready pods of the ReplicaSets that the Deployment owns.
    pub fn ready(&self, deployment: &str) -> i64 {
        let sets: Vec<&str> = self.sets(deployment).map(name).collect();
        let ready = |pod: &&Value| sets.contains(&owner(pod)) && is_ready(pod);
        self.all("pods").filter(ready).count() as i64
    }

    pub fn sets(&self, deployment: &str) -> impl Iterator<Item = &Value> {
        let deployment = deployment.to_owned();
        self.all("replicasets.apps")
            .filter(move |set| owner(set) == deployment)
    }

    /// Whether a template with this image is kept.
    pub fn keeps(&self, image_of: &str) -> bool {
        self.all("controllerrevisions.apps").any(|kept| {
            let named = kept["metadata"]["annotations"]["sluice.dev/images"].as_str();
            named == Some(image_of)
        })
    }

    pub fn canaries(&self) -> usize {
        let role = |object: &&Value| object["metadata"]["labels"]["sluice.dev/role"] == "canary";
        self.all("deployments.apps").filter(role).count()
    }

    /// Anything of a canary that is there.
    pub fn leftovers(&self) -> Vec<String> {
        let kinds = [
            "deployments.apps",
            "services",
            "ingresses.networking.k8s.io",
            "networkpolicies.networking.k8s.io",
        ];
        let left = kinds
            .iter()
            .filter(|kind| self.get(kind, "shop-canary").is_some());
        let mut all: Vec<String> = left.map(|kind| format!("{kind} shop-canary")).collect();
        let mut rules = self.route().into_iter().flat_map(rules);
        if rules.any(|rule| backends(rule).any(|to| to["name"] == "shop-canary")) {
            all.push(format!("the canary in {ROUTES} shop"));
        }
        all
    }
}

/// The rules of an `HTTPRoute`.
pub fn rules(route: &Value) -> impl Iterator<Item = &Value> {
    route["spec"]["rules"].as_array().into_iter().flatten()
}

/// What a rule leads to.
pub fn backends(rule: &Value) -> impl Iterator<Item = &Value> {
    rule["backendRefs"].as_array().into_iter().flatten()
}

/// The canary's part of stable's requests by an `HTTPRoute`, in percent: the greatest of its rules.
/// A rule for the canary alone is one for a header.
fn split(route: &Value) -> i64 {
    let part = |rule: &Value| {
        let of = |name: &str| {
            let found = backends(rule).find(|to| to["name"] == name)?;
            Some(found["weight"].as_i64().unwrap_or(1))
        };
        let (stable, canary) = (of("shop")?, of("shop-canary").unwrap_or(0));
        let sum = (stable + canary).max(1);
        Some((canary * 100 + sum - 1) / sum)
    };
    rules(route).filter_map(part).max().unwrap_or(0)
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn owner(object: &Value) -> &str {
    object["metadata"]["ownerReferences"][0]["name"]
        .as_str()
        .unwrap_or_default()
}

/// The image of a pod template's holder.
pub fn image(object: &Value) -> String {
    let image = &object["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or_default().to_owned()
}

pub fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// The weight that an Ingress says.
pub fn weight(ingress: &Value) -> i64 {
    let said =
        |what: &str| ingress["metadata"]["annotations"][format!("{ANNOTATION}/{what}")].as_str();
    if said("canary") != Some("true") {
        return 0;
    }
    said("canary-weight")
        .and_then(|weight| weight.parse().ok())
        .unwrap_or(0)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let leaves = !pod["metadata"]["deletionTimestamp"].is_null();
    !leaves
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

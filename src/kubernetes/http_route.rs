//! Gateway API's `HTTPRoute`, as far as a split of its traffic needs it.
//!
//! Its rules stay JSON: they are written back whole, and a typed copy would drop what it does not know
//! (filters of one implementation, fields of a newer release). The kind may not be served at all.
//!
//! Source: Gateway API v1, `HTTPRoute` in `gateway.networking.k8s.io/v1`.
//!
//! Not here: how its rules are split (`canary::http_route`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The spec; what is not looked at is kept as it came.
#[derive(CustomResource, Deserialize, Serialize, Clone, Debug, PartialEq)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    status = "HttpRouteStatus",
    schema = "disabled",
    derive = "PartialEq",
    namespaced
)]
pub struct HttpRouteSpec {
    /// What leads where.
    #[serde(default)]
    pub rules: Vec<Value>,
    /// Parents, host names, and what this release does not know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What the controllers of its Gateways say.
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq)]
pub struct HttpRouteStatus {
    /// One for each parent and controller.
    #[serde(default)]
    pub parents: Vec<Parent>,
}

/// What the controller of one parent says.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    /// The parent, as the route names it.
    pub parent_ref: Value,
    /// The controller's name.
    #[serde(default)]
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs` and others.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

impl HttpRoute {
    /// Why nobody serves it, in a few words; `None` if a Gateway accepted some generation of it.
    pub fn unserved(&self) -> Option<String> {
        let said = |parent: &&Parent| parent.condition("Accepted").is_some();
        let mut parents = self.parents().filter(said).peekable();
        if parents.peek().is_none() {
            return Some("no Gateway's controller has said anything of it".to_owned());
        }
        let refusal = |parent: &Parent| {
            let said = parent.condition("Accepted")?;
            (said.status != "True").then(|| refused(said))
        };
        let refusals: Vec<Option<String>> = parents.map(refusal).collect();
        let accepted = refusals.iter().any(Option::is_none);
        refusals.into_iter().flatten().next().filter(|_| !accepted)
    }

    /// Whether each controller that ever said something has acted upon the newest spec.
    pub fn is_taken(&self) -> bool {
        let newest = self.metadata.generation.unwrap_or(0);
        let behind = |said: &Condition| said.observed_generation.is_some_and(|at| at < newest);
        !self.parents().any(|parent| {
            let said = ["Accepted", "ResolvedRefs"].map(|kind| parent.condition(kind));
            said.into_iter().flatten().any(behind)
        })
    }

    /// Why a controller does not find what the newest spec leads to.
    pub fn unresolved(&self) -> Option<String> {
        let newest = self.metadata.generation;
        let mut said = self
            .parents()
            .filter_map(|parent| parent.condition("ResolvedRefs"));
        let failed = said.find(|said| {
            said.status == "False" && said.observed_generation.is_none_or(|at| Some(at) == newest)
        });
        failed.map(refused)
    }

    /// Names of what it leads to.
    pub fn backends(&self) -> impl Iterator<Item = String> {
        let all = self
            .spec
            .rules
            .iter()
            .filter_map(|rule| rule["backendRefs"].as_array());
        let named = all.flatten().filter_map(|backend| backend["name"].as_str());
        named.map(str::to_owned)
    }

    /// What is said of parents that the spec still names.
    fn parents(&self) -> impl Iterator<Item = &Parent> {
        let named = self.spec.rest.get("parentRefs").and_then(Value::as_array);
        let named = move |parent: &&Parent| {
            let same = |wanted: &Value| wanted.get("name") == parent.parent_ref.get("name");
            named.is_none_or(|all| all.iter().any(same))
        };
        self.status
            .iter()
            .flat_map(|status| &status.parents)
            .filter(named)
    }

    /// "`HTTPRoute` web", as sentences have it.
    pub fn title(&self) -> String {
        format!("HTTPRoute {}", self.name_any())
    }
}

impl Parent {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|said| said.type_ == kind)
    }
}

fn refused(said: &Condition) -> String {
    if said.message.is_empty() {
        said.reason.clone()
    } else {
        format!("{}: {}", said.reason, said.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(parents: &Value) -> HttpRoute {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "web", "generation": 3},
            "spec": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.test"], "rules": [{"timeouts": {"request": "1s"}}]},
            "status": {"parents": parents},
        }))
        .unwrap()
    }

    fn said(gateway: &str, kind: &str, status: &str, generation: i64) -> Value {
        json!({"parentRef": {"name": gateway}, "controllerName": "x", "conditions": [{
            "type": kind, "status": status, "reason": "Why", "message": "a word", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]})
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let text = serde_json::to_value(route(&json!([]))).unwrap();
        assert_eq!(text["spec"]["rules"][0]["timeouts"]["request"], "1s");
        assert_eq!(text["spec"]["hostnames"], json!(["a.test"]));
    }

    #[test]
    fn a_route_is_served_once_one_of_its_gateways_accepts_it() {
        let why = |parents: &Value| route(parents).unserved();
        assert!(why(&json!([])).unwrap().contains("no Gateway"));
        assert_eq!(
            why(&json!([said("edge", "Accepted", "False", 3)])),
            Some("Why: a word".to_owned())
        );
        let both = json!([
            said("edge", "Accepted", "False", 3),
            said("edge", "Accepted", "True", 2)
        ]);
        assert_eq!(why(&both), None);
        assert!(why(&json!([said("gone", "Accepted", "True", 3)])).is_some());
    }

    #[test]
    fn the_newest_spec_is_taken_when_all_have_seen_it() {
        let taken =
            |generation| route(&json!([said("edge", "Accepted", "True", generation)])).is_taken();
        assert!(taken(3) && !taken(2));
    }

    #[test]
    fn what_is_not_resolved_counts_for_the_newest_spec_only() {
        let why = |generation| {
            route(&json!([said("edge", "ResolvedRefs", "False", generation)])).unresolved()
        };
        assert!(why(3).is_some() && why(2).is_none());
    }
}

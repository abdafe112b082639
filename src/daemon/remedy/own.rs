//! What belongs to the workload whose release failed, of all that its path deploys: taking it back with the release
//! takes nothing from others.
//!
//! That is what its template names and no other object does (ConfigMaps, Secrets, a service account, claims), its
//! Rollout with the Ingress or `HTTPRoute` and the Services that this names, what scales it, and what selects its pods and no
//! other's. All in the namespace that its manifest says.
//!
//! Not here: what differs of the rest (`others`).

use std::collections::BTreeSet;

use git2::Tree;
use serde_json::Value;

use super::others::Trees;
use crate::git::Error;
use crate::kustomize::{Tracked, build};

/// Namespace, kind and name.
type Name = [String; 3];

/// Names of objects, before changes are taken back and after.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Own(BTreeSet<Name>);

impl Own {
    /// What belongs to the object that `is` says, in either tree.
    pub fn of(trees: Trees<'_>, path: &str, is: &dyn Fn(&Value) -> bool) -> Result<Self, Error> {
        let objects = |tree: &Tree<'_>| {
            let repository = trees.repository;
            build(&Tracked { repository, tree }, path)
                .map_err(|error| Error::View(error.to_string()))
        };
        let mut all = own(&objects(trees.before)?, is);
        all.extend(own(&objects(trees.after)?, is));
        Ok(Self(all))
    }

    /// Whether an object belongs to it.
    pub fn has(&self, object: &Value) -> bool {
        self.0.contains(&name(object))
    }
}

fn own(objects: &[Value], is: &dyn Fn(&Value) -> bool) -> BTreeSet<Name> {
    let (ours, others): (Vec<&Value>, Vec<&Value>) = objects.iter().partition(|it| is(it));
    let mut own = BTreeSet::new();
    for one in ours {
        let beside = others.iter().copied();
        let beside: Vec<&Value> = beside.filter(|it| name(it)[0] == name(one)[0]).collect();
        let mut named = BTreeSet::new();
        references(one, &name(one)[0], &mut named);
        let mut theirs = BTreeSet::new();
        for other in &beside {
            references(other, &name(one)[0], &mut theirs);
        }
        named.retain(|name| !theirs.contains(name));
        let rollouts = beside.iter().filter(|it| guards(it, one));
        named.extend(rollouts.flat_map(|rollout| routed(rollout)));
        let belongs = |object: &&&Value| {
            let alone = || !beside.iter().any(|other| selects(object, other));
            let (scales, selects) = (scales(object, one), selects(object, one));
            named.contains(&name(object)) || scales || (selects && alone())
        };
        own.extend(beside.iter().filter(belongs).map(|object| name(object)));
    }
    own
}

fn name(object: &Value) -> Name {
    let meta = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    [&meta["namespace"], &object["kind"], &meta["name"]].map(text)
}

/// What a value names by the fields in which pods and Helm releases name objects.
fn references(value: &Value, namespace: &str, into: &mut BTreeSet<Name>) {
    let mut add = |kind: &str, name: &Value| {
        let name = name.as_str().map(str::to_owned);
        into.extend(name.map(|name| [namespace.to_owned(), kind.to_owned(), name]));
    };
    match value {
        Value::Array(items) => {
            for item in items {
                references(item, namespace, into);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "configMap" | "configMapRef" | "configMapKeyRef" => {
                        add("ConfigMap", &value["name"]);
                    }
                    "secretRef" | "secretKeyRef" => add("Secret", &value["name"]),
                    "secret" => {
                        add("Secret", &value["secretName"]);
                        add("Secret", &value["name"]);
                    }
                    "serviceAccountName" => add("ServiceAccount", value),
                    "persistentVolumeClaim" => add("PersistentVolumeClaim", &value["claimName"]),
                    "valuesFrom" => {
                        for from in value.as_array().into_iter().flatten() {
                            add(from["kind"].as_str().unwrap_or_default(), &from["name"]);
                        }
                    }
                    _ => {}
                }
            }
            for value in fields.values() {
                references(value, namespace, into);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether an object is the Rollout of a workload.
fn guards(object: &Value, workload: &Value) -> bool {
    let target = &object["spec"]["target"];
    let kind = target["kind"].as_str().unwrap_or("Deployment");
    object["kind"] == "Rollout"
        && workload["kind"] == kind
        && target["name"] == workload["metadata"]["name"]
}

/// A Rollout, and what it names as its route.
fn routed(rollout: &Value) -> Vec<Name> {
    let [namespace, ..] = name(rollout);
    let route = &rollout["spec"]["route"];
    let (nginx, gateway) = (&route["ingressNginx"], &route["gatewayApi"]);
    let named = [
        ("Ingress", &nginx["ingress"]),
        ("Service", &nginx["service"]),
        ("HTTPRoute", &gateway["httpRoute"]),
        ("Service", &gateway["service"]),
    ];
    let named = named.into_iter().filter_map(|(kind, name)| {
        let name = name.as_str()?.to_owned();
        Some([namespace.clone(), kind.to_owned(), name])
    });
    named.chain([name(rollout)]).collect()
}

fn scales(object: &Value, workload: &Value) -> bool {
    let target = &object["spec"]["scaleTargetRef"];
    target["kind"] == workload["kind"] && target["name"] == workload["metadata"]["name"]
}

/// Whether an object selects the pods of a workload.
fn selects(object: &Value, workload: &Value) -> bool {
    let selector = match object["kind"].as_str() {
        Some("Service") => "/spec/selector",
        Some("PodDisruptionBudget") => "/spec/selector/matchLabels",
        Some("NetworkPolicy") => "/spec/podSelector/matchLabels",
        _ => return false,
    };
    let labels = workload.pointer("/spec/template/metadata/labels");
    let wanted = object.pointer(selector).and_then(Value::as_object);
    labels.zip(wanted).is_some_and(|(labels, wanted)| {
        let mut wanted = wanted.iter();
        wanted.len() > 0 && wanted.all(|(key, value)| labels.get(key) == Some(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    metadata: {labels: {app: shop, part-of: all}}
    spec:
      serviceAccountName: shop
      containers: [{name: app, image: shop, envFrom: [{configMapRef: {name: shop}}, {secretRef: {name: both}}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pay}
spec:
  template:
    metadata: {labels: {app: pay, part-of: all}}
    spec: {containers: [{name: app, image: pay, envFrom: [{secretRef: {name: both}}]}]}
---
{kind: ServiceAccount, metadata: {name: shop}}
---
{kind: ConfigMap, metadata: {name: shop}}
---
{kind: ConfigMap, metadata: {name: pay}}
---
{kind: ConfigMap, metadata: {name: shop, namespace: elsewhere}}
---
{kind: Secret, metadata: {name: both}}
---
{kind: Rollout, metadata: {name: shops}, spec: {target: {name: shop}, route: {ingressNginx: {ingress: front}}}}
---
{kind: Rollout, metadata: {name: pay}, spec: {target: {name: pay}, route: {ingressNginx: {ingress: pay}}}}
---
{kind: Ingress, metadata: {name: front}}
---
{kind: Ingress, metadata: {name: pay}}
---
{kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {scaleTargetRef: {kind: Deployment, name: shop}}}
---
{kind: Service, metadata: {name: shop}, spec: {selector: {app: shop}}}
---
{kind: Service, metadata: {name: all}, spec: {selector: {part-of: all}}}
---
{kind: NetworkPolicy, metadata: {name: shop}, spec: {podSelector: {matchLabels: {app: shop}}}}
---
{kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}}}
";

    #[test]
    fn what_only_the_workload_uses_is_its_own() {
        let documents = crate::yaml::documents(PATH).unwrap();
        let objects: Vec<Value> = documents.iter().map(crate::yaml::Node::to_json).collect();
        let is =
            |object: &Value| object["kind"] == "Deployment" && object["metadata"]["name"] == "shop";
        let found = own(&objects, &is);
        let found: Vec<String> = found.into_iter().map(|name| name.join("/")).collect();
        let wanted = [
            "/ConfigMap/shop",
            "/HorizontalPodAutoscaler/a",
            "/Ingress/front",
            "/NetworkPolicy/shop",
            "/Rollout/shops",
            "/Service/shop",
            "/ServiceAccount/shop",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn values_of_a_release_are_its_own() {
        let text = "{kind: HelmRelease, metadata: {name: shop}, spec: {valuesFrom: [{kind: ConfigMap, name: values}]}}\n\
                    ---\n{kind: ConfigMap, metadata: {name: values}}\n";
        let documents = crate::yaml::documents(text).unwrap();
        let objects: Vec<Value> = documents.iter().map(crate::yaml::Node::to_json).collect();
        let found = own(&objects, &|object| object["kind"] == "HelmRelease");
        let wanted = ["", "ConfigMap", "values"].map(str::to_owned);
        assert_eq!(found, BTreeSet::from([wanted]));
    }
}

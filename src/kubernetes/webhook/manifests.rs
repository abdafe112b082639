//! The webhook's configuration and Service as manifests, and whether a cluster has it as it should be.
//!
//! `matchConditions` are those of the policy: Sluice's own account and an open gate need no daemon.
//! One more lets pass what is on its way out, which its controller rolls no more, so that a garbage
//! collection in the foreground needs no daemon either. `caBundle` is left to the daemons, who keep it.
//! An API server that drops `matchConditions` (before 1.28) asks about these too, and is answered the same.
//!
//! Not here: the policy itself, and what of it is shared (`gate`).

use serde_json::{Value, json};

use super::{CONFIGURATION, PATH, Reached, SERVICE, WEBHOOK};
use crate::kubernetes::crd::GUARDED;
use crate::kubernetes::gate::{self, PrintError};

/// Time that the API server waits for an answer, in seconds.
const TIMEOUT: u32 = 5;

/// A configuration as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The user name that passes without being asked about.
    pub account: String,
    /// The namespaces that it is about; none: all.
    pub namespaces: Vec<String>,
    /// How the API server reaches the daemons.
    pub reached: Reached,
}

impl Wanted {
    /// One for all namespaces, of the usual name.
    pub fn usual(account: &str, reached: Reached) -> Self {
        Self {
            name: CONFIGURATION.to_owned(),
            account: account.to_owned(),
            namespaces: Vec::new(),
            reached,
        }
    }

    /// The arguments of `sluice gate` that print it.
    pub fn arguments(&self) -> String {
        let mut words = vec![format!("--webhook --account {}", self.account)];
        words.push(match &self.reached {
            Reached::Service { namespace } => format!("--service-namespace {namespace}"),
            Reached::Url(url) => format!("--url {url}"),
        });
        if self.name != CONFIGURATION {
            words.push(format!("--name {}", self.name));
        }
        let only = self.namespaces.iter();
        words.extend(only.map(|namespace| format!("--only {namespace}")));
        words.join(" ")
    }
}

/// The configuration, and the Service where there is one.
pub fn manifests(wanted: &Wanted) -> Vec<Value> {
    let mut all = vec![configuration(wanted)];
    if let Reached::Service { namespace } = &wanted.reached {
        all.push(service(namespace));
    }
    all
}

/// The same as YAML documents, fit for `kubectl apply -f -`.
pub fn yaml(wanted: &Wanted) -> Result<String, PrintError> {
    let all = manifests(wanted);
    let documents: Result<Vec<String>, PrintError> = all.iter().map(gate::document).collect();
    Ok(documents?.join("---\n"))
}

fn configuration(wanted: &Wanted) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": wanted.name},
        "webhooks": [webhook(wanted)],
    })
}

fn webhook(wanted: &Wanted) -> Value {
    let mut conditions = gate::conditions(&wanted.account);
    if let Some(conditions) = conditions.as_array_mut() {
        let going = "!has(object.metadata.deletionTimestamp)";
        conditions.push(json!({"name": "not-going", "expression": going}));
    }
    let mut webhook = json!({
        "name": WEBHOOK,
        "admissionReviewVersions": ["v1"],
        "clientConfig": reached(&wanted.reached),
        "failurePolicy": "Fail",
        "matchConditions": conditions,
        "matchPolicy": "Equivalent",
        "objectSelector": {"matchLabels": {GUARDED: "true"}},
        "reinvocationPolicy": "IfNeeded",
        "rules": [gate::rule()],
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT,
    });
    if !wanted.namespaces.is_empty() {
        webhook["namespaceSelector"] = json!({"matchExpressions": [{
            "key": "kubernetes.io/metadata.name", "operator": "In", "values": wanted.namespaces,
        }]});
    }
    webhook
}

fn reached(reached: &Reached) -> Value {
    match reached {
        Reached::Service { namespace } => json!({"service": {
            "name": SERVICE, "namespace": namespace, "path": PATH, "port": 443,
        }}),
        Reached::Url(url) => json!({"url": format!("{}{PATH}", url.trim_end_matches('/'))}),
    }
}

fn service(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": SERVICE, "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "sluice"},
        },
        "spec": {
            "selector": {"app.kubernetes.io/name": "sluice"},
            "ports": [{"name": "webhook", "port": 443, "targetPort": "webhook"}],
        },
    })
}

/// Whether a cluster has the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As it should be, with this `caBundle` (base64; empty if there is none).
    Ready {
        /// Whom the API server trusts.
        bundle: String,
    },
    /// Not there (or on its way out): nothing is held.
    Missing,
    /// Not what Sluice would apply: what it holds is unknown.
    Different,
}

/// How the configuration found in a cluster stands.
pub fn state(present: Option<&Value>, wanted: &Wanted) -> State {
    let there = present.filter(|found| found["metadata"]["deletionTimestamp"].is_null());
    let Some(found) = there else {
        return State::Missing;
    };
    let hooks = found["webhooks"].as_array().map_or(&[][..], Vec::as_slice);
    let [found] = hooks else {
        return State::Different;
    };
    let mut plain = found.clone();
    let bundle = take(&mut plain["clientConfig"], "caBundle");
    let mut wanted = webhook(wanted);
    if plain["matchConditions"].is_null() {
        take(&mut wanted, "matchConditions");
    }
    if gate::without_defaults(&plain) == gate::without_defaults(&wanted) {
        State::Ready {
            bundle: bundle.as_str().unwrap_or_default().to_owned(),
        }
    } else {
        State::Different
    }
}

fn take(value: &mut Value, key: &str) -> Value {
    let fields = value.as_object_mut();
    fields
        .and_then(|fields| fields.remove(key))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::crd::ACCOUNT;

    fn by_service() -> Wanted {
        let namespace = "sluice-system".to_owned();
        Wanted::usual(ACCOUNT, Reached::Service { namespace })
    }

    /// What a server gives back.
    fn stored(wanted: &Wanted) -> Value {
        let mut found = configuration(wanted);
        let hook = &mut found["webhooks"][0];
        hook["clientConfig"]["caBundle"] = json!("Q0E=");
        hook["rules"][0]["scope"] = json!("*");
        if wanted.namespaces.is_empty() {
            hook["namespaceSelector"] = json!({});
        }
        found
    }

    #[test]
    fn a_configuration_as_stored_by_a_server_is_ready() {
        let url = Reached::Url("https://127.0.0.1:8443".to_owned());
        let mut some = Wanted::usual(ACCOUNT, url);
        some.namespaces = vec!["production".to_owned()];
        for wanted in [by_service(), some] {
            let bundle = "Q0E=".to_owned();
            assert_eq!(
                state(Some(&stored(&wanted)), &wanted),
                State::Ready { bundle }
            );
        }
    }

    #[test]
    fn every_lack_has_its_own_name() {
        let edit = |pointer: &str, value: Value| {
            let mut found = stored(&by_service());
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            found.pointer_mut(parent).unwrap()[key] = value;
            found
        };
        let hook = |key: &str, value: Value| edit(&format!("/webhooks/0/{key}"), value);
        let ready = State::Ready {
            bundle: "Q0E=".to_owned(),
        };
        let old_server = hook("matchConditions", Value::Null);
        let table = [
            (old_server, ready),
            (
                edit("/metadata/deletionTimestamp", json!("now")),
                State::Missing,
            ),
            (edit("/webhooks", json!([])), State::Different),
            (hook("failurePolicy", json!("Ignore")), State::Different),
            (hook("rules", json!([])), State::Different),
            (hook("timeoutSeconds", json!(1)), State::Different),
            (
                hook(
                    "matchConditions",
                    json!([{"name": "no", "expression": "false"}]),
                ),
                State::Different,
            ),
            (
                hook("namespaceSelector", json!({"matchLabels": {"a": "b"}})),
                State::Different,
            ),
            (
                hook("clientConfig/service/namespace", json!("elsewhere")),
                State::Different,
            ),
        ];
        for (index, (found, expected)) in table.into_iter().enumerate() {
            assert_eq!(state(Some(&found), &by_service()), expected, "row {index}");
        }
        assert_eq!(state(None, &by_service()), State::Missing);
    }

    #[test]
    fn the_types_of_the_api_know_every_field() {
        use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
        let object = configuration(&by_service());
        let typed: MutatingWebhookConfiguration = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), object);
    }

    #[test]
    fn the_manifests_in_clusters_are_what_the_code_prints() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = "clusters/components/webhook-gate/webhook.yaml";
        let stored = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(
            stored == yaml(&by_service()).unwrap(),
            "{file} is out of date: write `sluice gate --webhook` into it"
        );
    }
}

//! The gate as a webhook on the real control plane: real HTTPS from the API server to each stage's daemon.
//!
//! Each scenario has a configuration of its own, for its namespace, and its daemon a port of its own; all share
//! the Secret with the keys, as replicas do. Those that touch what all share have the configuration of the
//! usual name, and find the keys damaged or gone, so that the rights to write them are used.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::kubernetes::webhook::manifests::{self, Wanted};
use sluice::kubernetes::webhook::{CONFIGURATION, Reached, SECRET};
use sluice::sandbox::scenario::{self, Mode, Scenario};

use crate::child::free_ports;
use crate::installed::Accounts;

/// The mode in which all is played: `GATE=webhook make test-real`.
pub fn mode() -> Mode {
    let mode = std::env::var("GATE").unwrap_or_default();
    if mode.is_empty() {
        return Mode::Policy;
    }
    mode.parse()
        .unwrap_or_else(|problem| panic!("GATE: {problem}"))
}

/// The component's rights, for the configurations of these scenarios too.
pub async fn rights(accounts: &Accounts, scenarios: &[&Scenario]) {
    let mut names: Vec<String> = scenarios.iter().map(|scenario| name(scenario)).collect();
    names.push(CONFIGURATION.to_owned());
    for mut object in component() {
        if object["kind"] == "ClusterRole" {
            object["rules"][0]["resourceNames"] = json!(names);
        }
        accounts.apply(&object).await;
    }
}

/// What the component grants.
pub fn component() -> Vec<serde_json::Value> {
    let file = "clusters/components/webhook-gate/rbac.yaml";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    scenario::manifests(&std::fs::read_to_string(file).expect("a manifest")).expect("manifests")
}

fn name(scenario: &Scenario) -> String {
    format!("{CONFIGURATION}-{}", scenario.namespace)
}

/// Tells the scenario's daemon where it is asked, and the API server whom to ask.
pub async fn install(scenario: &mut Scenario, alone: bool, accounts: &Arc<Accounts>) {
    if !scenario.cluster.webhook {
        return;
    }
    let [port] = free_ports();
    let (place, name) = (format!("127.0.0.1:{port}"), name(scenario));
    let name = if alone {
        CONFIGURATION.to_owned()
    } else {
        name
    };
    let url = format!("https://{place}");
    let webhook = json!({"listen": place, "url": url, "name": name, "namespace": "sluice-system"});
    json_patch::merge(&mut scenario.daemon, &json!({"webhook": webhook}));
    let wanted = Wanted {
        name,
        account: ACCOUNT.to_owned(),
        namespaces: vec![scenario.namespace.clone()],
        reached: Reached::Url(url),
    };
    for object in manifests::manifests(&wanted) {
        accounts.apply(&object).await;
    }
}

/// Damages the stored keys, or takes them away.
pub async fn trouble(accounts: &Accounts, damaged: bool) {
    if damaged {
        let meta = json!({"namespace": "sluice-system", "name": SECRET});
        let data = json!({"keys.json": "e30="});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data});
        accounts.apply(&secret).await;
        return;
    }
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(accounts.client("admin"), "sluice-system");
    let gone = kube::api::DeleteParams::default();
    secrets.delete(SECRET, &gone).await.ok();
}

//! The node's own object, as the API shows it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::NAME;

/// Creates it, unless it is there, and says that it is ready.
pub async fn create(client: &Client, now: Timestamp) -> kube::Result<()> {
    let api = Api::<Node>::all(client.clone());
    let labels = json!({"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"});
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": labels}});
    let node: Node = serde_json::from_value(node).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error),
    }
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "100000"});
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the sandbox is ready",
        "lastTransitionTime": now.strftime("%FT%TZ").to_string(), "lastHeartbeatTime": now.strftime("%FT%TZ").to_string()});
    let about = json!({"kubeletVersion": "v1.37.0-sandbox", "osImage": "none", "containerRuntimeVersion": "sandbox://1",
        "architecture": "any", "operatingSystem": "linux", "bootID": "", "machineID": "", "systemUUID": "",
        "kernelVersion": "none", "kubeProxyVersion": ""});
    let addresses = json!([{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": NAME}]);
    let status = json!({"status": {"conditions": [ready], "capacity": room, "allocatable": room,
        "nodeInfo": about, "addresses": addresses}});
    api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

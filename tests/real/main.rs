//! Sluice against real servers: a control plane of kube-apiserver, kube-controller-manager and etcd.
//!
//! `control_plane` starts it; each other module is one sort of test on it. Where the binaries
//! are missing they are left out (`needs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking
#![allow(clippy::disallowed_methods)] // servers live in real time

mod access;
mod approvals;
#[path = "../servers/apps.rs"]
#[allow(dead_code)] // other tests use more of it
mod apps;
mod autoscaler;
#[path = "../docs/blocks.rs"]
#[allow(dead_code)] // other tests use more of it
mod blocks;
#[path = "../servers/child.rs"]
#[allow(dead_code)] // other tests use more of it
mod child;
mod commands;
#[path = "../servers/control_plane.rs"]
#[allow(dead_code)] // other tests use more of it
mod control_plane;
mod differential;
mod flagger;
mod flux;
#[path = "../servers/installed.rs"]
#[allow(dead_code)] // other tests use more of it
mod installed;
mod jobs;
mod kills;
#[path = "../servers/kubectl.rs"]
mod kubectl;
mod login;
mod manifests;
#[path = "../prometheus/server.rs"]
#[allow(dead_code)] // other tests use more of it
mod metrics_server;
mod namespaces;
#[path = "../servers/needs.rs"]
mod needs;
#[path = "../servers/ordeal.rs"]
mod ordeal;
mod outages;
#[path = "../servers/process.rs"]
#[allow(dead_code)] // other tests use more of it
mod process;
mod stand;
mod traefik;
mod webhook;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;

use control_plane::ControlPlane;

#[tokio::test]
async fn a_control_plane_starts() {
    let Some(plane) = ControlPlane::start().await else {
        return;
    };
    let namespaces: Api<Namespace> = Api::all(plane.client("admin").await);
    let names = namespaces.list(&ListParams::default()).await.unwrap();
    assert!(
        names
            .items
            .iter()
            .any(|n| n.metadata.name.as_deref() == Some("kube-system"))
    );
    let daemons = plane.client(sluice::kubernetes::crd::ACCOUNT).await;
    let refused = Api::<Namespace>::all(daemons)
        .list(&ListParams::default())
        .await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
    assert!(!plane.audit().is_empty());
}

//! The kinds of Flux, of the Flux Operator and of Argo CD on a real API server: their objects are taken, what
//! the daemon writes into them stays, and the rights of `clusters/components` are enough for it.
//!
//! Not here: what becomes of it (tests/remedy).

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice::kubernetes::argo::Argo;
use sluice::kubernetes::crd::ACCOUNT;
use sluice::kubernetes::flux::{Flux, Named, Reach};
use sluice::sandbox::scenario::flux::kinds;
use sluice::sandbox::scenario::{self, Way};

use crate::control_plane::ControlPlane;

/// Sent until its kind or its namespace is served.
async fn apply(client: &Client, object: &Value) {
    for _ in 0..600 {
        match scenario::apply(client.clone(), Way::ServerSide, object).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            done => return done.unwrap_or_else(|error| panic!("{object}: {error}")),
        }
    }
    panic!("not served: {object}");
}

fn objects() -> [Value; 9] {
    let meta = |name: &str| json!({"namespace": "flux-system", "name": name});
    let source = json!({"kind": "GitRepository", "name": "fleet"});
    let image = "image.toolkit.fluxcd.io/v1";
    let mut argo = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"namespace": "argocd", "name": "shop"},
        "spec": {"project": "default", "destination": {"namespace": "default"}},
    });
    argo["spec"]["sources"] = json!([
        {"repoURL": "https://charts.example", "chart": "log", "targetRevision": "1.2"},
        {"repoURL": "https://git.example/shop", "path": "apps/shop", "targetRevision": "main"},
    ]);
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}),
        json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": meta("fleet"),
               "spec": {"url": "https://git.example/fleet", "interval": "1m", "ref": {"branch": "main"}}}),
        json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": meta("shop"),
               "spec": {"path": "./apps/shop", "interval": "1m", "prune": true, "wait": true, "sourceRef": source}}),
        json!({"apiVersion": image, "kind": "ImageUpdateAutomation", "metadata": meta("all"),
               "spec": {"interval": "1m", "sourceRef": source, "update": {"path": "./apps"},
                        "git": {"commit": {"author": {"email": "flux@shop.example"}}}}}),
        json!({"apiVersion": image, "kind": "ImageRepository", "metadata": meta("shop"),
               "spec": {"image": "r.example/shop", "interval": "5m"}}),
        json!({"apiVersion": image, "kind": "ImagePolicy", "metadata": meta("shop"),
               "spec": {"imageRepositoryRef": {"name": "shop"}, "policy": {"semver": {"range": ">=1.0.0"}}}}),
        json!({"apiVersion": "fluxcd.controlplane.io/v1", "kind": "ResourceSetInputProvider", "metadata": meta("shop"),
               "spec": {"type": "OCIArtifactTag", "url": "oci://r.example/shop", "filter": {"limit": 1, "semver": "*"}}}),
        argo,
    ]
}

/// The objects, and the rights of the components.
async fn prepare(admin: &Client) {
    for kind in kinds().unwrap() {
        apply(admin, &kind).await;
    }
    for object in objects() {
        apply(admin, &object).await;
    }
    let rights = [
        include_str!("../../clusters/components/git-revert/rbac.yaml"),
        include_str!("../../clusters/components/git-revert-argo-cd/rbac.yaml"),
    ];
    for object in rights
        .iter()
        .flat_map(|text| scenario::manifests(text).unwrap())
    {
        apply(admin, &object).await;
    }
}

async fn now(admin: &Client, index: usize, plural: &str) -> DynamicObject {
    let wanted = &objects()[index];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (api, kind) = (text(&wanted["apiVersion"]), text(&wanted["kind"]));
    let (group, version) = api.split_once('/').unwrap();
    let kind = GroupVersionKind::gvk(group, version, &kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    let (namespace, name) = (
        text(&wanted["metadata"]["namespace"]),
        text(&wanted["metadata"]["name"]),
    );
    let api = Api::<DynamicObject>::namespaced_with(admin.clone(), &namespace, &resource);
    api.get(&name).await.unwrap()
}

fn named(namespace: &str, name: &str) -> Named {
    Named {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn what_the_daemon_writes_into_the_objects_of_flux_and_argo_cd_is_taken_and_stays() {
    let Some(plane) = ControlPlane::start().await else {
        return;
    };
    let admin = plane.client("admin").await;
    prepare(&admin).await;
    let daemon = plane.client(ACCOUNT).await;
    let flux = Flux::new(daemon.clone(), daemon.clone());
    let (shop, fleet) = (named("flux-system", "shop"), named("flux-system", "fleet"));
    flux.reconcile_now(&shop, &fleet, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    let asked = "reconcile.fluxcd.io/requestedAt";
    for (index, plural) in [(2, "gitrepositories"), (3, "kustomizations")] {
        let found = now(&admin, index, plural).await;
        assert!(found.metadata.annotations.unwrap().contains_key(asked));
    }

    let reach = Reach {
        repository: fleet,
        branch: "main".to_owned(),
        path: "./apps/shop".to_owned(),
    };
    let (suspended, failed) = flux
        .suspend_automations(&reach, "default/shop", "run")
        .await;
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(suspended, [named("flux-system", "all")]);
    let automation = now(&admin, 4, "imageupdateautomations").await;
    assert_eq!(automation.data["spec"]["suspend"], true);
    assert!(!flux.chooses(&shop, "3").await.unwrap());
    flux.lift_automation(&suspended[0], "default/shop")
        .await
        .unwrap();
    let automation = now(&admin, 4, "imageupdateautomations").await;
    assert!(automation.data["spec"]["suspend"].is_null());

    let image = |tag: &str| vec![format!("r.example/shop:{tag}")];
    let (failed, stable) = (image("3"), image("2"));
    let images = (failed.as_slice(), stable.as_slice());
    let refused = flux.exclude(&shop, "default/shop", images, Timestamp::UNIX_EPOCH);
    let refused = refused.await.unwrap().unwrap_err();
    assert!(refused.contains("sluice.dev/rollouts"), "{refused}");
    let mut provider = objects()[7].clone();
    provider["metadata"]["annotations"] = json!({"sluice.dev/rollouts": "default/shop"});
    apply(&admin, &provider).await;
    let excluded = flux.exclude(
        &shop,
        "default/shop",
        (&failed, &stable),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(excluded.await.unwrap().as_deref(), Ok("3"));
    let provider = now(&admin, 7, "resourcesetinputproviders").await;
    let filter = json!({"limit": 1, "semver": "*", "excludeTag": "^3$"});
    assert_eq!(provider.data["spec"]["filter"], filter);
    flux.let_in(&shop, "default/shop").await.unwrap();
    let provider = now(&admin, 7, "resourcesetinputproviders").await;
    assert!(provider.data["spec"]["filter"]["excludeTag"].is_null());

    let argo = Argo::new(daemon.clone(), daemon);
    let at = named("argocd", "shop");
    let workload = named("default", "shop");
    let foreign = argo.application(&at, ("Deployment", &workload)).await;
    let foreign = foreign.unwrap_err().to_string();
    assert!(foreign.contains("status.resources"), "{foreign}");
    let one =
        json!({"group": "apps", "kind": "Deployment", "namespace": "default", "name": "shop"});
    let mut listed = objects()[8].clone();
    listed["status"] = json!({"resources": [one]});
    apply(&admin, &listed).await;
    let found = argo.application(&at, ("Deployment", &workload)).await;
    assert_eq!(found.unwrap().path, "apps/shop");
    argo.refresh_now(&at).await.unwrap();
    let application = now(&admin, 8, "applications").await;
    let marks = application.metadata.annotations.unwrap();
    assert_eq!(marks["argocd.argoproj.io/refresh"], "normal");
}

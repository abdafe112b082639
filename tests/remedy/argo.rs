//! A stand-in for Argo CD: an Application whose branch is looked at every few seconds, or at once when
//! a refresh is asked for, and applied as its application controller does it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::sandbox::scenario::flux::kind;
use tokio::task::JoinSet;

use super::flux::{Flux, built, healthy};
use super::repository::{Team, git};
use super::world::{World, virtually};
use super::{MINUTE, Shop, files};

const INTERVAL: u64 = 30;

/// Applies `apps/shop` of the team's repository for ever.
pub async fn start(world: &World, team: &Team, url: &str) -> Flux {
    let meta = |name: &str| json!({"namespace": "argocd", "name": name});
    world.apply(kind("Application").unwrap()).await;
    world
        .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}))
        .await;
    world.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": meta("shop"),
        "spec": {"project": "default", "source": {"repoURL": url, "path": "apps/shop", "targetRevision": "main"},
                 "destination": {"namespace": "default"}, "syncPolicy": {"automated": {"selfHeal": true}}},
    })).await;
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": meta("repo-1"),
        "stringData": {"type": "git", "url": url, "username": "bot", "password": "token"},
    });
    secret["metadata"]["labels"] = json!({"argocd.argoproj.io/secret-type": "repository"});
    world.apply(secret).await;
    let client = world
        .cluster
        .client("system:serviceaccount:argocd:argocd-application-controller");
    let (clock, bare) = (world.clock, team.bare());
    let mut task = JoinSet::new();
    task.spawn(reconcile(client.clone(), clock, bare));
    Flux::instead(client, task)
}

async fn reconcile(client: Client, clock: Clock, bare: std::path::PathBuf) {
    loop {
        let head = git(&bare, &["rev-parse", "main"]);
        status(
            &client,
            json!({"operationState": {
                "operation": {}, "phase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z",
                "syncResult": {"revision": head},
            }}),
        )
        .await;
        let mut wanted = Value::Null;
        for object in built(&bare, &head) {
            let params = PatchParams::apply("argocd-controller").force();
            let mut object = object;
            object["metadata"]["annotations"] =
                json!({"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:default/shop"});
            let patch = Patch::Apply(&object);
            deployments(&client)
                .patch("shop", &params, &patch)
                .await
                .unwrap();
            wanted = object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        }
        let live = deployments(&client).get("shop").await.unwrap();
        let live = &live.spec.template.spec.unwrap().containers[0].image;
        let synced = live.as_deref() == wanted.as_str();
        let word =
            |good: bool, yes: &str, no: &str| if good { yes.to_owned() } else { no.to_owned() };
        let health = word(healthy(&client).await, "Healthy", "Suspended");
        status(
            &client,
            json!({
                "resources": [{"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "default", "name": "shop"}],
                "sync": {"status": word(synced, "Synced", "OutOfSync"), "revision": head},
                "health": {"status": health},
            }),
        )
        .await;
        wait(&client, clock).await;
    }
}

/// Until the interval is over or a refresh is asked for, which is noted by taking the mark away.
async fn wait(client: &Client, clock: Clock) {
    for _ in 0..INTERVAL {
        clock.sleep(Duration::from_secs(1)).await;
        let application = applications(client).get("shop").await.unwrap();
        let marks = application.metadata.annotations.unwrap_or_default();
        if marks.contains_key("argocd.argoproj.io/refresh") {
            let gone = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": null}}});
            let patch = Patch::Merge(gone);
            applications(client)
                .patch("shop", &PatchParams::default(), &patch)
                .await
                .unwrap();
            return;
        }
    }
}

async fn status(client: &Client, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    let api = applications(client);
    api.patch("shop", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), "default")
}

fn applications(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application");
    let resource = ApiResource::from_gvk_with_plural(&kind, "applications");
    Api::namespaced_with(client.clone(), "argocd", &resource)
}

#[test]
fn the_commit_of_a_failed_release_is_reverted_and_argo_cd_applies_that() {
    virtually(async {
        // The one that the Deployment is tracked by.
        let git = json!({"mode": "revert", "application": "argocd/*"});
        let shop = Shop::applied_by(git, "shop.git", files).await;
        let _daemon = shop.daemon();
        let good = shop.released("2", "0", "Promoted").await;
        shop.good_is(good).await;
        let bad = shop.released("3", "0.3", "RolledBack").await;
        let applied = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.applied.is_some())
        };
        shop.world
            .until("Argo CD applied the revert", MINUTE * 3, applied)
            .await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Reverted", "{remedy:?}");
        assert_eq!(shop.team.says(&["rev-parse", "main~1"]), bad.to_string());
        assert!(
            shop.team
                .file("apps/shop/kustomization.yaml")
                .contains("'2'")
        );
        shop.world.clock.sleep(MINUTE * 2).await;
        let status = shop.world.rollout("shop").await.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Idle"));
        assert_eq!(shop.team.says(&["rev-list", "--count", "main"]), "4");
    });
}

//! Without commits: the Flux Operator's provider chooses the newest tag that its filter lets through, and the
//! Deployment gets that.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;
use sluice::clock::Clock;
use sluice::kubernetes::flux::EXCLUDED_FOR;
use sluice::sandbox::scenario::flux::kind;
use tokio::task::JoinSet;

use super::flux::Flux;
use super::world::{World, virtually};
use super::{MINUTE, Shop, files};

/// Tags in the order of their making, and how bad they are.
const TAGS: [(&str, &str); 4] = [("1", "0"), ("2", "0"), ("3", "0.3"), ("4", "0")];

/// Applies the newest of the tags that were published by `shop.flux.newest`, for ever.
pub async fn start(world: &World) -> Flux {
    world.apply(kind("ResourceSetInputProvider").unwrap()).await;
    world
        .apply(json!({
            "apiVersion": "fluxcd.controlplane.io/v1", "kind": "ResourceSetInputProvider",
            "metadata": {"namespace": "default", "name": "shop"},
            "spec": {"type": "OCIArtifactTag", "url": "oci://shop", "filter": {"limit": 1}},
        }))
        .await;
    let client = world
        .cluster
        .client("system:serviceaccount:flux-system:flux-operator");
    let mut task = JoinSet::new();
    let published = std::sync::Arc::new(std::sync::Mutex::new(Some("1".to_owned())));
    task.spawn(reconcile(client.clone(), world.clock, published.clone()));
    Flux::instead(client, task).publishing(published)
}

type Published = std::sync::Arc<std::sync::Mutex<Option<String>>>;

async fn reconcile(client: Client, clock: Clock, published: Published) {
    loop {
        let newest = published.lock().unwrap().clone();
        let provider = providers(&client).get("shop").await.unwrap();
        let excluded = provider.data["spec"]["filter"]["excludeTag"].as_str();
        let excluded = excluded.map(|text| regex::Regex::new(text).unwrap());
        let lets = |tag: &str| excluded.as_ref().is_none_or(|no| !no.is_match(tag));
        let up_to = TAGS
            .iter()
            .position(|(tag, _)| Some(*tag) == newest.as_deref());
        let chosen = TAGS[..=up_to.unwrap()]
            .iter()
            .rev()
            .find(|(tag, _)| lets(tag));
        let (tag, errors) = chosen.unwrap();
        let mut object = None;
        for (path, text) in files(tag, errors) {
            if path.ends_with("deployment.yaml") {
                object = Some(
                    sluice::sandbox::scenario::manifests(text)
                        .unwrap()
                        .remove(0),
                );
            }
        }
        let mut object = object.unwrap();
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(format!("shop:{tag}"));
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(client.clone(), "default");
        let params = PatchParams::apply("flux-operator").force();
        let patch = Patch::Apply(&object);
        deployments.patch("shop", &params, &patch).await.unwrap();
        clock.sleep(Duration::from_secs(2)).await;
    }
}

fn providers(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("fluxcd.controlplane.io", "v1", "ResourceSetInputProvider");
    let resource = ApiResource::from_gvk_with_plural(&kind, "resourcesetinputproviders");
    Api::namespaced_with(client.clone(), "default", &resource)
}

#[test]
fn the_tag_of_a_failed_release_is_excluded_until_a_newer_one_has_passed() {
    virtually(async {
        let git = json!({"mode": "revert", "inputProvider": "shop"});
        let shop = Shop::applied_by(git, "shop.git", files).await;
        let _daemon = shop.daemon();
        shop.flux.newest("2");
        shop.ended("2", "Promoted").await;
        shop.flux.newest("3");
        shop.ended("3", "RolledBack").await;
        let done = || async { shop.remedy().await.is_some() };
        shop.world.until("its tag is excluded", MINUTE, done).await;
        let remedy = shop.remedy().await.unwrap();
        assert_eq!(remedy.outcome, "Excluded", "{remedy:?}");
        let client = shop.world.cluster.client("kubernetes-admin");
        let provider = providers(&client).get("shop").await.unwrap();
        assert_eq!(provider.data["spec"]["filter"]["excludeTag"], "^3$");
        // The provider goes back to the tag before: that is stable, and nothing begins.
        shop.world.clock.sleep(MINUTE).await;
        let status = shop.world.rollout("shop").await.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Idle"));
        assert_eq!(status.stable.unwrap().images, ["shop:2"]);
        shop.flux.newest("4");
        shop.ended("4", "Promoted").await;
        let lifted = || async {
            let remedy = shop.remedy().await;
            remedy.is_some_and(|remedy| remedy.suspended.is_empty())
        };
        shop.world.until("it is let in again", MINUTE, lifted).await;
        let provider = providers(&client).get("shop").await.unwrap();
        let filter = &provider.data["spec"]["filter"];
        assert_eq!(filter, &json!({"limit": 1}));
        let marks = provider.metadata.annotations.unwrap_or_default();
        assert_eq!(marks.get(EXCLUDED_FOR), None);
    });
}

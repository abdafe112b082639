//! The server as its clients see it.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    Api as Kube, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;

use super::*;

fn server() -> Api {
    Api::new(Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0))
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn config_map(name: &str) -> ConfigMap {
    from(json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "1"}}))
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn objects_are_created_changed_and_deleted() {
    let api: Kube<ConfigMap> = Kube::default_namespaced(server().client("me"));
    let made = api
        .create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(
        code(
            api.create(&PostParams::default(), &config_map("x"))
                .await
                .unwrap_err()
        ),
        409
    );
    let merge = Patch::Merge(json!({"data": {"a": null, "b": "2"}}));
    let changed = api
        .patch("x", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(
        changed.data.unwrap().into_iter().collect::<Vec<_>>(),
        [("b".to_owned(), "2".to_owned())]
    );
    assert_eq!(
        code(
            api.replace("x", &PostParams::default(), &made)
                .await
                .unwrap_err()
        ),
        409
    );
    api.delete("x", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(api.get("x").await.unwrap_err()), 404);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let api: Kube<ConfigMap> = Kube::default_namespaced(server().client("me"));
    let made = api
        .create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    let same = Patch::Merge(json!({"data": {"a": "1"}}));
    let again = api
        .patch("x", &PatchParams::default(), &same)
        .await
        .unwrap();
    assert_eq!(
        made.metadata.resource_version,
        again.metadata.resource_version
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_selected_and_paged() {
    let server = server();
    let api: Kube<ConfigMap> = Kube::default_namespaced(server.client("me"));
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    let list = api
        .list(&ListParams::default().labels("app in (a, c)"))
        .await
        .unwrap();
    assert_eq!(list.items.len(), 2);
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    let token = page.metadata.continue_.unwrap();
    let rest = api
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap();
    assert_eq!((page.items.len(), rest.items.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happens_and_ends_with_410_when_compacted() {
    let server = server();
    let api: Kube<ConfigMap> = Kube::default_namespaced(server.client("me"));
    api.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let mut events = api
        .watch(&WatchParams::default().labels("app=a"), "0")
        .await
        .unwrap()
        .boxed();
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Added(_))
    ));
    api.create(&PostParams::default(), &config_map("b"))
        .await
        .unwrap();
    let label = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
    api.patch("a", &PatchParams::default(), &label)
        .await
        .unwrap();
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Deleted(_))
    ));
    server.faults().expire_watches();
    assert!(
        matches!(events.try_next().await.unwrap(), Some(WatchEvent::Error(e)) if e.code == 410)
    );
    server.compact();
    let mut late = api
        .watch(&WatchParams::default(), "1")
        .await
        .unwrap()
        .boxed();
    assert!(matches!(late.try_next().await.unwrap(), Some(WatchEvent::Error(e)) if e.code == 410));
}

#[tokio::test(start_paused = true)]
async fn dependents_go_with_their_owner() {
    let client = server().client("me");
    let sets: Kube<ReplicaSet> = Kube::default_namespaced(client.clone());
    let maps: Kube<ConfigMap> = Kube::default_namespaced(client);
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let owner = sets
        .create(&PostParams::default(), &from(set))
        .await
        .unwrap();
    let reference = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": owner.metadata.uid});
    let owned = json!({"metadata": {"name": "m", "ownerReferences": [reference]}});
    maps.create(&PostParams::default(), &from(owned.clone()))
        .await
        .unwrap();
    sets.delete("s", &DeleteParams::background()).await.unwrap();
    assert!(maps.get_opt("m").await.unwrap().is_none());
    maps.create(&PostParams::default(), &from(owned))
        .await
        .unwrap();
    assert!(
        maps.get_opt("m").await.unwrap().is_none(),
        "its owner is gone already"
    );
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let api: Kube<ConfigMap> = Kube::default_namespaced(server().client("me"));
    let held = json!({"metadata": {"name": "x", "finalizers": ["a/b"]}});
    api.create(&PostParams::default(), &from(held))
        .await
        .unwrap();
    api.delete("x", &DeleteParams::default()).await.unwrap();
    assert!(
        api.get("x")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("x", &PatchParams::default(), &free)
        .await
        .unwrap();
    assert!(api.get_opt("x").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_waits_for_its_node() {
    let api: Kube<Pod> = Kube::default_namespaced(server().client("me"));
    let pod = |name: &str, node: Option<&str>| -> Pod {
        from(
            json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}}),
        )
    };
    api.create(&PostParams::default(), &pod("free", None))
        .await
        .unwrap();
    api.create(&PostParams::default(), &pod("bound", Some("n")))
        .await
        .unwrap();
    api.delete("free", &DeleteParams::default()).await.unwrap();
    api.delete("bound", &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt("free").await.unwrap().is_none());
    assert_eq!(
        api.get("bound")
            .await
            .unwrap()
            .metadata
            .deletion_grace_period_seconds,
        Some(30)
    );
    api.delete("bound", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(api.get_opt("bound").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn status_and_the_rest_are_written_apart() {
    let api: Kube<Deployment> = Kube::default_namespaced(server().client("me"));
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let body = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}, "status": {"replicas": 9}});
    let made = api
        .create(&PostParams::default(), &from(body))
        .await
        .unwrap();
    assert_eq!(
        (
            made.metadata.generation,
            made.status.and_then(|s| s.replicas)
        ),
        (Some(1), None)
    );
    let status = Patch::Merge(json!({"status": {"replicas": 2}, "spec": {"paused": true}}));
    let after = api
        .patch_status("d", &PatchParams::default(), &status)
        .await
        .unwrap();
    assert_eq!(
        (after.metadata.generation, after.status.unwrap().replicas),
        (Some(1), Some(2))
    );
    assert_eq!(after.spec.paused, None);
    let scaled = api
        .patch_scale(
            "d",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 4}})),
        )
        .await
        .unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(4));
    let after = api.get("d").await.unwrap();
    assert_eq!(
        (after.metadata.generation, after.status.unwrap().replicas),
        (Some(2), Some(2))
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_json_patch_test_changes_nothing() {
    let api: Kube<ConfigMap> = Kube::default_namespaced(server().client("me"));
    api.create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    let patch: json_patch::Patch = from(json!([
        {"op": "test", "path": "/data/a", "value": "other"},
        {"op": "replace", "path": "/data/a", "value": "2"},
    ]));
    let failed = api
        .patch("x", &PatchParams::default(), &Patch::Json::<()>(patch))
        .await
        .unwrap_err();
    assert_eq!(code(failed), 422);
    assert_eq!(api.get("x").await.unwrap().data.unwrap()["a"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_its_content() {
    let client = server().client("me");
    let spaces: Kube<k8s_openapi::api::core::v1::Namespace> = Kube::all(client.clone());
    spaces
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "n"}})),
        )
        .await
        .unwrap();
    let maps: Kube<ConfigMap> = Kube::namespaced(client, "n");
    maps.create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    spaces.delete("n", &DeleteParams::default()).await.unwrap();
    assert!(spaces.get_opt("n").await.unwrap().is_none());
    assert!(maps.get_opt("x").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_can_be_lost_after_it_took_effect() {
    let server = server();
    let api: Kube<ConfigMap> = Kube::default_namespaced(server.client("me"));
    server.faults().next(
        1,
        Matching::any().verb("create").user("me"),
        Fault::LostAfterEffect,
    );
    assert!(
        api.create(&PostParams::default(), &config_map("x"))
            .await
            .is_err()
    );
    assert!(api.get("x").await.is_ok());
    server
        .faults()
        .next(1, Matching::any(), Fault::TooManyRequests(3));
    assert_eq!(code(api.get("x").await.unwrap_err()), 429);
    assert_eq!(
        server
            .requests()
            .total(|c| c.user == "me" && c.verb == "get"),
        2
    );
}

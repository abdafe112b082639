//! The server as its clients see it.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
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
    let wrong = ListParams::default().limit(2).continue_token("1");
    assert_eq!(code(api.list(&wrong).await.unwrap_err()), 400);
}

#[tokio::test(start_paused = true)]
async fn what_changes_between_two_pages_is_seen_by_a_watch_from_the_list() {
    let server = server();
    let api: Kube<ConfigMap> = Kube::default_namespaced(server.client("me"));
    for name in ["a", "b", "c"] {
        let made = api.create(&PostParams::default(), &config_map(name)).await;
        made.unwrap();
    }
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    let changed = Patch::Merge(json!({"data": {"a": "2"}}));
    let changed = api.patch("a", &PatchParams::default(), &changed).await;
    api.delete("b", &DeleteParams::default()).await.unwrap();
    let token = page.metadata.continue_.unwrap();
    let rest = ListParams::default().limit(2).continue_token(&token);
    let rest = api.list(&rest).await.unwrap();
    let names: Vec<_> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["c"], "b that went moves no other");
    let from = rest.metadata.resource_version.unwrap();
    let mut events = api
        .watch(&WatchParams::default(), &from)
        .await
        .unwrap()
        .boxed();
    let wanted = changed.unwrap().resource_version();
    assert!(
        matches!(events.try_next().await.unwrap(), Some(WatchEvent::Modified(a)) if a.resource_version() == wanted)
    );
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
    let child = json!({"metadata": {"name": "m", "ownerReferences": [reference]}});
    maps.create(&PostParams::default(), &from(child.clone()))
        .await
        .unwrap();
    sets.delete("s", &DeleteParams::background()).await.unwrap();
    assert!(maps.get_opt("m").await.unwrap().is_none());
    maps.create(&PostParams::default(), &from(child))
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

fn definition() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "properties": {"weight": {"type": "integer", "maximum": 100, "default": 5}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    json!({"metadata": {"name": "things.x.dev"}, "spec": {
        "group": "x.dev", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema},
            "additionalPrinterColumns": [{"name": "Weight", "type": "integer", "jsonPath": ".spec.weight"}]}]}})
}

async fn raw(server: &Api, method: &str, path: &str, media: &str, body: Value) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media)
        .header("accept", media)
        .body(())
        .unwrap();
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let response = server
        .handle(&request.into_parts().0, body, Some("me"))
        .await
        .unwrap();
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

const JSON: &str = "application/json";

#[tokio::test(start_paused = true)]
async fn a_definition_makes_a_resource_and_takes_it_away() {
    let server = server();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let things = "/apis/x.dev/v1/namespaces/default/things";
    assert_eq!(raw(&server, "GET", things, JSON, Value::Null).await.0, 404);
    let (code, made) = raw(&server, "POST", definitions, JSON, definition()).await;
    assert_eq!(
        (code, &made["status"]["conditions"][1]["type"]),
        (201, &json!("Established")),
        "{made}"
    );
    let thing =
        json!({"apiVersion": "x.dev/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {}});
    let (code, made) = raw(&server, "POST", things, JSON, thing).await;
    assert_eq!((code, &made["spec"]["weight"]), (201, &json!(5)), "{made}");
    let merge = "application/merge-patch+json";
    let one = format!("{things}/a");
    let (code, refused) = raw(
        &server,
        "PATCH",
        &one,
        merge,
        json!({"spec": {"weight": 101}}),
    )
    .await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")));
    let (_, table) = raw(
        &server,
        "GET",
        things,
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        Value::Null,
    )
    .await;
    assert_eq!(table["rows"][0]["cells"], json!(["a", 5]));
    let (code, _) = raw(
        &server,
        "DELETE",
        &format!("{definitions}/things.x.dev"),
        JSON,
        Value::Null,
    )
    .await;
    assert_eq!(code, 200);
    assert_eq!(raw(&server, "GET", &one, JSON, Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_refused_when_validation_is_strict() {
    let server = server();
    let path = "/api/v1/namespaces/default/configmaps";
    let body = json!({"metadata": {"name": "x"}, "dta": {}});
    let (code, refused) = raw(
        &server,
        "POST",
        &format!("{path}?fieldValidation=Strict"),
        JSON,
        body.clone(),
    )
    .await;
    assert_eq!(code, 400);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("unknown field \"dta\""),
        "{refused}"
    );
    assert_eq!(raw(&server, "POST", path, JSON, body).await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn bodies_of_a_wrong_shape_are_refused_and_harm_nothing() {
    let server = server();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    for body in [
        json!({"metadata": {"name": "x"}, "spec": "text"}),
        json!({"metadata": {"name": "x"}, "spec": {"template": 3}}),
        json!([1]),
        json!({"metadata": "x"}),
    ] {
        let (code, refused) = raw(&server, "POST", path, JSON, body.clone()).await;
        assert!(
            (400..500).contains(&code),
            "{body} was answered {code}: {refused}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stores_nothing() {
    let server = server();
    let path = "/api/v1/namespaces/default/configmaps";
    let body = json!({"metadata": {"name": "x"}, "data": {"a": "b"}});
    assert_eq!(
        raw(&server, "POST", &format!("{path}?dryRun=All"), JSON, body)
            .await
            .0,
        201
    );
    assert_eq!(
        raw(&server, "GET", &format!("{path}/x"), JSON, Value::Null)
            .await
            .0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn a_replace_after_a_delete_meets_the_new_object_as_a_conflict() {
    let server = server();
    let api: Kube<ConfigMap> = Kube::default_namespaced(server.client("me"));
    let first = api
        .create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    api.delete("x", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    let old = ConfigMap {
        metadata: kube::api::ObjectMeta {
            resource_version: None,
            ..first.metadata
        },
        ..config_map("x")
    };
    assert_eq!(
        code(
            api.replace("x", &PostParams::default(), &old)
                .await
                .unwrap_err()
        ),
        409
    );
}

//! The webhook does what the policies do: the same updates, given to two API servers of the sandbox.
//!
//! One has the policies, the other the webhook; what they store and what they warn of must be the same.

use std::sync::Arc;

use kube::Client;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::kubernetes::crd::{ACCOUNT, GUARDED, HELD_BY, OPEN};
use crate::kubernetes::gate;
use crate::kubernetes::template::RESTARTED_AT;
use crate::kubernetes::webhook::manifests::{self, Wanted};
use crate::kubernetes::webhook::{Reached, review};
use crate::kubernetes::workload::{ON_DELETE, PARTITION};
use crate::sandbox::api::Api;
use crate::sandbox::scenario::{self, Way};

const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

async fn server(objects: Vec<Value>) -> Api {
    let api = Api::new(Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0));
    api.webhooks().answered_by(Arc::new(|review: &Value| {
        let review = review.to_string();
        review::answer(review.as_bytes(), ACCOUNT).map_err(|error| error.to_string())
    }));
    for object in objects {
        let admin = api.client("kubernetes-admin");
        scenario::apply(admin, Way::ServerSide, &object)
            .await
            .unwrap();
    }
    api
}

fn workload(kind: &str, change: &Value) -> Value {
    let meta = json!({"name": "shop", "namespace": "default",
        "labels": {GUARDED: "true", "app": "shop"}, "annotations": {HELD_BY: "shop-rollout"}});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": meta,
        "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "shop", "image": "shop:1", "env": [{"name": "A", "value": "1"}]}]},
        }},
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!("shop");
    }
    json_patch::merge(&mut object, change);
    object
}

/// What held objects of this kind have.
fn held(kind: &str) -> Value {
    match kind {
        "StatefulSet" => {
            json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": PARTITION}}}})
        }
        "DaemonSet" => json!({"spec": {"updateStrategy": {"type": ON_DELETE}}}),
        _ => json!({"spec": {"paused": true}}),
    }
}

/// What held objects of this kind are given by somebody who lets them go.
fn resumed(kind: &str) -> Value {
    match kind {
        "StatefulSet" => json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}),
        "DaemonSet" => json!({"spec": {"updateStrategy": {"type": "RollingUpdate"}}}),
        _ => json!({"spec": {"paused": false}}),
    }
}

/// Merge patches, each of one case of what happens to guarded workloads.
fn changes(kind: &str) -> Vec<Value> {
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "shop", "image": "shop:2"}]}}}});
    let template = |annotations: Value| json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let both = |one: &Value, other: &Value| {
        let mut all = one.clone();
        json_patch::merge(&mut all, other);
        all
    };
    let open = json!({"metadata": {"annotations": {OPEN: "incident"}}});
    let stripped = json!({"metadata": {"labels": {GUARDED: null}}});
    let bare = json!({"metadata": {"labels": null, "annotations": null}});
    vec![
        json!({}),
        image.clone(),
        template(json!({"checksum/config": "1"})),
        template(json!({RESTARTED_AT: "2026-11-22T15:00:00Z"})),
        template(json!({RESTARTED_AT: "2026-11-22T15:00:00Z", "checksum/config": "1"})),
        json!({"spec": {"template": {"metadata": {"labels": {"version": "2"}}}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"minReadySeconds": 7}}),
        resumed(kind),
        both(&resumed(kind), &image),
        held(kind),
        both(&open, &image),
        both(&open, &resumed(kind)),
        stripped.clone(),
        both(&stripped, &image),
        both(&bare, &image),
        bare,
    ]
}

/// The object and the warnings that follow; without what the server counts.
async fn after(api: &Api, user: &str, (kind, old, change): (&str, &Value, &Value)) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let path = format!("/apis/apps/v1/namespaces/default/{plural}");
    let admin = api.client("kubernetes-admin");
    send(&admin, "POST", &path, "application/json", old).await;
    let path = format!("{path}/shop");
    let merge = "application/merge-patch+json";
    let (told, mut object) = send(&api.client(user), "PATCH", &path, merge, change).await;
    send(
        &admin,
        "DELETE",
        &path,
        "application/json",
        &json!({"propagationPolicy": "Background"}),
    )
    .await;
    for field in [
        "uid",
        "resourceVersion",
        "managedFields",
        "creationTimestamp",
    ] {
        object["metadata"][field] = Value::Null;
    }
    json!({"warnings": told, "object": object})
}

async fn send(
    client: &Client,
    method: &str,
    path: &str,
    media: &str,
    body: &Value,
) -> (Vec<String>, Value) {
    let request = http::Request::builder().method(method).uri(path);
    let request = request
        .header("content-type", media)
        .body(body.to_string().into_bytes().into());
    let answer = client.send(request.unwrap()).await.unwrap();
    let warnings = answer.headers().get_all("warning");
    // After the prefix by which a policy names itself.
    let text = |warning: &http::HeaderValue| {
        let text = warning.to_str().unwrap();
        let said = ["held by Sluice", "guarded by Sluice"];
        let at = said.iter().find_map(|said| text.find(said)).unwrap_or(0);
        text[at..].to_owned()
    };
    let warnings = warnings.iter().map(text).collect();
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap();
    (warnings, serde_json::from_slice(&body.to_bytes()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_webhook_does_and_says_what_the_policies_do_and_say() {
    let policies = server(gate::manifests(ACCOUNT)).await;
    let namespace = "sluice-system".to_owned();
    let wanted = Wanted::usual(ACCOUNT, Reached::Service { namespace });
    let webhook = server(manifests::manifests(&wanted)).await;
    let (mut compared, mut holding) = (0, 0);
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let open = json!({"metadata": {"annotations": {OPEN: "incident"}}});
        let unguarded = json!({"metadata": {"labels": {GUARDED: null}}});
        for before in [json!({}), held(kind), open, unguarded] {
            for change in changes(kind) {
                for user in ["jane", FLUX, ACCOUNT] {
                    let old = workload(kind, &before);
                    let one = after(&policies, user, (kind, &old, &change)).await;
                    let other = after(&webhook, user, (kind, &old, &change)).await;
                    assert_eq!(other, one, "{user}: {kind} {before} + {change}");
                    assert!(one["object"]["spec"].is_object(), "{one}");
                    compared += 1;
                    holding += u32::from(!one["warnings"].as_array().unwrap().is_empty());
                }
            }
        }
    }
    assert_eq!(compared, 3 * 4 * 17 * 3);
    assert!(holding > 100, "only {holding} were held");
}

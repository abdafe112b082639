//! The gate, as it was tried on a real kube-apiserver.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api as Kube, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::Api;
use crate::clock::Clock;

const GATE: &str = include_str!("gate_tried.yaml");

fn server() -> Api {
    let api = Api::new(Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0));
    for document in serde_saphyr::from_multiple::<Value>(GATE).unwrap() {
        let plural = match document["kind"].as_str().unwrap() {
            "MutatingAdmissionPolicy" => "mutatingadmissionpolicies",
            "MutatingAdmissionPolicyBinding" => "mutatingadmissionpolicybindings",
            "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
            _ => "validatingadmissionpolicybindings",
        };
        api.seed(
            &format!("/apis/admissionregistration.k8s.io/v1/{plural}"),
            &document,
        );
    }
    api
}

fn web(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"sluice.dev/guarded": "true"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image, "env": [{"name": "A", "value": "1"}]}]},
        }},
    })
}

async fn guarded(server: &Api, by: &str) -> Kube<Deployment> {
    let api: Kube<Deployment> = Kube::default_namespaced(server.client(by));
    api.patch(
        "web",
        &PatchParams::apply("flux"),
        &Patch::Apply(web("web:1")),
    )
    .await
    .unwrap();
    api
}

fn paused(deployment: &Deployment) -> bool {
    deployment.spec.paused.unwrap_or(false)
}

fn image(deployment: &Deployment) -> &str {
    deployment.spec.template.spec.as_ref().unwrap().containers[0]
        .image
        .as_deref()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_way_to_change_the_template_is_held() {
    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}}}});
    let by_json: json_patch::Patch =
        serde_json::from_value(json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:2"}])).unwrap();
    for (patch, params) in [
        (Patch::Apply(web("web:2")), PatchParams::apply("flux")),
        (Patch::Strategic(strategic), PatchParams::default()),
        (Patch::Json(by_json), PatchParams::default()),
        (
            Patch::Merge(json!({"spec": {"template": {"metadata": {"labels": {"more": "x"}}}}})),
            PatchParams::default(),
        ),
    ] {
        let server = server();
        let api = guarded(&server, "flux").await;
        assert!(
            !paused(&api.get("web").await.unwrap()),
            "the first apply is a creation and passes"
        );
        let held = api.patch("web", &params, &patch).await.unwrap();
        assert!(paused(&held), "{patch:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replace_without_label_is_held_and_gets_its_label_back() {
    let server = server();
    let api = guarded(&server, "somebody").await;
    let mut bare = web("web:3");
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    let held = api
        .replace(
            "web",
            &PostParams::default(),
            &serde_json::from_value(bare).unwrap(),
        )
        .await
        .unwrap();
    assert!(paused(&held) && image(&held) == "web:3");
    assert_eq!(held.metadata.labels.unwrap()["sluice.dev/guarded"], "true");
}

#[tokio::test(start_paused = true)]
async fn what_changes_no_template_passes() {
    let server = server();
    let api = guarded(&server, "somebody").await;
    let restart = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let same = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {}, "imagePullPolicy": "IfNotPresent"}]}}}});
    for patch in [json!({"spec": {"replicas": 3}}), restart, same] {
        let after = api
            .patch("web", &PatchParams::default(), &Patch::Strategic(&patch))
            .await
            .unwrap();
        assert!(!paused(&after), "{patch}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_sluice_opens_what_is_held_and_nobody_else_keeps_it_shut() {
    let server = server();
    let api = guarded(&server, "flux").await;
    let held = api
        .patch(
            "web",
            &PatchParams::apply("flux"),
            &Patch::Apply(web("web:2")),
        )
        .await
        .unwrap();
    assert!(paused(&held));
    let owners = serde_json::to_string(&held.metadata.managed_fields).unwrap();
    assert!(
        !owners.contains("f:paused"),
        "no manager owns what the policy sets: {owners}"
    );
    let resume = Patch::Merge(json!({"spec": {"paused": null}}));
    assert!(paused(
        &api.patch("web", &PatchParams::default(), &resume)
            .await
            .unwrap()
    ));
    assert!(paused(
        &api.patch(
            "web",
            &PatchParams::apply("flux"),
            &Patch::Apply(web("web:2"))
        )
        .await
        .unwrap()
    ));
    let ours: Kube<Deployment> = Kube::default_namespaced(server.client("sluice"));
    assert!(!paused(
        &ours
            .patch("web", &PatchParams::default(), &resume)
            .await
            .unwrap()
    ));
    let again = api
        .patch(
            "web",
            &PatchParams::apply("flux"),
            &Patch::Apply(web("web:2")),
        )
        .await
        .unwrap();
    assert!(!paused(&again));
}

#[tokio::test(start_paused = true)]
async fn break_glass_lets_everything_through() {
    let server = server();
    let api = guarded(&server, "somebody").await;
    let open = json!({"metadata": {"annotations": {"sluice.dev/open": "fire"}}, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:9"}]}}}});
    assert!(!paused(
        &api.patch("web", &PatchParams::default(), &Patch::Strategic(open))
            .await
            .unwrap()
    ));
}

#[tokio::test(start_paused = true)]
async fn people_are_warned_that_their_change_is_held() {
    let server = server();
    guarded(&server, "somebody").await;
    let change = json!({"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}});
    let request = axum::http::Request::patch("/apis/apps/v1/namespaces/default/deployments/web")
        .header("content-type", "application/merge-patch+json")
        .body(())
        .unwrap();
    let answer = server
        .handle(&request.into_parts().0, change.to_string().into(), None)
        .await
        .unwrap();
    let warning = answer.headers()["warning"].to_str().unwrap();
    assert!(
        warning.contains("held by Sluice: web starts as a canary"),
        "{warning}"
    );
}

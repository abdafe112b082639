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

const WHO_ASKS: &str = include_str!("../../../../clusters/components/approvals/policy.yaml");

/// A server with Rollouts, and the policy that checks who asks.
fn asked() -> Api {
    let api = Api::new(Clock::scaled(jiff::Timestamp::UNIX_EPOCH, 1.0));
    let crd: Value =
        serde_saphyr::from_str(include_str!("../../../../clusters/base/sluice/crd.yaml")).unwrap();
    api.seed(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &crd,
    );
    for document in serde_saphyr::from_multiple::<Value>(WHO_ASKS).unwrap() {
        let plural = match document["kind"].as_str().unwrap() {
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

#[tokio::test(start_paused = true)]
async fn nobody_asks_in_the_name_of_somebody_else() {
    let api = asked();
    let rollouts = |user: &str| {
        Kube::<kube::api::DynamicObject>::default_namespaced_with(
            api.client(user),
            &kube::api::ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk(
                "sluice.dev",
                "v1alpha1",
                "Rollout",
            )),
        )
    };
    let web = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {"target": {"kind": "Deployment", "name": "web"}, "route": {"ingressNginx": {"ingress": "web"}}},
    });
    rollouts("alice")
        .create(
            &PostParams::default(),
            &serde_json::from_value(web).unwrap(),
        )
        .await
        .unwrap();
    let groups = r#","groups":["system:authenticated"]"#;
    let own = format!(r#"approve 91bc {{"by":"alice"{groups}}}"#);
    let daemon = "system:serviceaccount:sluice-system:sluice";
    let flux = "system:serviceaccount:flux-system:kustomize-controller";
    let cases = [
        ("alice", "request.sluice.dev/1", "approve 91bc", true),
        ("alice", "request.sluice.dev/2", own.as_str(), true),
        (
            "alice",
            "request.sluice.dev/3",
            r#"approve {"by":"alice"}"#,
            true,
        ),
        ("bob", "request.sluice.dev/4", own.as_str(), false),
        (
            "alice",
            "request.sluice.dev/5",
            r#"approve {"by":"bob"}"#,
            false,
        ),
        (
            "alice",
            "request.sluice.dev/6",
            r#"approve {"x":{"by":"alice"},"by":"bob"}"#,
            false,
        ),
        (
            "alice",
            "request.sluice.dev/7",
            r#"approve {"why":"{\"by\":\"alice\"","by":"bob"}"#,
            false,
        ),
        (
            "alice",
            "request.sluice.dev/8",
            r#"approve {"by":"alice","groups":["sre"]}"#,
            false,
        ),
        (
            "alice",
            "request.sluice.dev/9",
            r#"approve {"by":"alice","gr\u006fups":["sre"]}"#,
            false,
        ),
        (
            daemon,
            "request.sluice.dev/a",
            r#"approve {"by":"bob","groups":["sre"]}"#,
            true,
        ),
        ("alice", "sluice.dev/approved", "v2 bob", false),
        (flux, "sluice.dev/approved", "v2 bob", true),
        ("alice", "other", "v2 {bob}", true),
    ];
    for (user, key, value, wanted) in cases {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        let done = rollouts(user)
            .patch("web", &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        match done {
            Ok(_) => assert!(wanted, "{user} {value}"),
            Err(kube::Error::Api(why)) => {
                assert!(!wanted, "{user} {value}: {}", why.message);
                assert!(why.message.contains("sluice-who-asks"), "{}", why.message);
            }
            Err(error) => panic!("{user} {value}: {error}"),
        }
    }
    // What was there already is nobody's doing.
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    rollouts("bob")
        .patch("web", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

//! Nobody asks in the name of somebody else: the policy of `clusters/components/approvals` on a real API server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::kubernetes::ask;
use sluice::kubernetes::crd::{ACCOUNT, Rollout};
use sluice::rollout::request::{Act, Request};
use sluice::sandbox::scenario::{self, Way};

use super::stand::{Stand, until};

const SECOND: Duration = Duration::from_secs(1);
const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

async fn apply(stand: &Stand, object: &Value) {
    let admin = stand.apps.admin.clone();
    scenario::apply(admin, Way::ServerSide, object)
        .await
        .unwrap();
}

/// The policy, and people who may write Rollouts.
async fn prepare(stand: &Stand) {
    let policy = include_str!("../../clusters/components/approvals/policy.yaml");
    for part in policy.split("\n---\n") {
        apply(stand, &serde_saphyr::from_str(part).unwrap()).await;
    }
    let group = "rbac.authorization.k8s.io";
    let meta = json!({"name": "releases"});
    let verbs = ["get", "patch", "delete"];
    let rule = json!({"apiGroups": ["sluice.dev"], "resources": ["rollouts"], "verbs": verbs});
    let api = format!("{group}/v1");
    apply(
        stand,
        &json!({"apiVersion": api, "kind": "ClusterRole", "metadata": meta, "rules": [rule]}),
    )
    .await;
    let users =
        ["alice", FLUX].map(|name| json!({"kind": "User", "apiGroup": group, "name": name}));
    apply(
        stand,
        &json!({
            "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": meta, "subjects": users,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "releases"},
        }),
    )
    .await;
}

async fn client(stand: &Stand, user: &str) -> Client {
    let mut config = stand.plane.config("admin").await;
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups =
        Some(vec!["system:authenticated".to_owned(), "dev".to_owned()]);
    Client::try_from(config).unwrap()
}

/// Annotates the Rollout; why not, if it is refused.
async fn annotated(client: &Client, key: &str, value: &str) -> Result<(), String> {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), "default");
    let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
    let done = rollouts
        .patch("shop", &PatchParams::default(), &patch)
        .await;
    done.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_asks_in_the_name_of_somebody_else() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    prepare(&stand).await;
    stand.apps.app("shop", 0, "0s").await;
    let (alice, flux) = (client(&stand, "alice").await, client(&stand, FLUX).await);
    let forged = r#"approve 91bc {"by":"bob"}"#;
    // A policy counts a moment after it was made; what stands there already is not asked for again.
    let tries = AtomicU32::new(0);
    let counts = || async {
        let key = format!(
            "request.sluice.dev/early-{}",
            tries.fetch_add(1, Ordering::Relaxed)
        );
        annotated(&alice, &key, forged).await.is_err()
    };
    until("the policy counts", SECOND * 60, counts, String::new).await;

    let (by, groups) = ask::who(&alice).await;
    assert_eq!(by.as_deref(), Some("alice"));
    assert!(groups.contains(&"dev".to_owned()), "{groups:?}");
    let request = Request {
        revision: Some("91bc".to_owned()),
        by,
        groups,
        why: Some("tried by hand".to_owned()),
        ..Request::new(ask::id(Act::Approve, Clock::machine()), Ok(Act::Approve))
    };
    let rollout = stand.apps.rollout("shop").await;
    // As `sluice approve` does.
    ask::ask(&alice, &rollout, &request, "sluice-cli")
        .await
        .unwrap();
    assert!(stand.apps.rollout("shop").await.annotations().len() > rollout.annotations().len());

    let ask = "request.sluice.dev/one";
    let words = "nobody asks in the name of somebody else";
    let approved = "sluice.dev/approved";
    let cases = [
        (ask, forged, Some(words)),
        (
            ask,
            r#"approve 91bc {"by":"alice","groups":["sre"]}"#,
            Some(words),
        ),
        (
            ask,
            r#"approve 91bc {"by":"alice","groups":["dev","sre"]}"#,
            Some(words),
        ),
        (ask, r#"approve 91bc {"why":"x","by":"bob"}"#, Some(words)),
        (
            ask,
            r#"approve 91bc {"by":"alice","by":"bob"} {"by":"bob"}"#,
            Some(words),
        ),
        (
            ask,
            r#"approve 91bc {"b\u0079":"bob","why":"{\"by\":\"alice\""}"#,
            Some(words),
        ),
        (approved, "v2 bob", Some("comes from Git")),
        (ask, r#"hold 91bc {"by":"alice"}"#, None),
        ("request.sluice.dev/two", "hold 91bc", None),
        ("team", "shop", None),
    ];
    for (key, value, refused) in cases {
        match (annotated(&alice, key, value).await, refused) {
            (Ok(()), None) => {}
            (Err(told), Some(wanted)) => assert!(told.contains(wanted), "{value}: {told}"),
            (found, _) => panic!("{key}: {value}: {found:?}"),
        }
    }
    nobody_lets_a_version_on_for_somebody_else(&stand, &alice, &flux).await;
    nobody_goes_round_the_approvals(&stand, &alice).await;
    annotated(&flux, approved, "v2 bob").await.unwrap();
    // What stands there is no hindrance to others.
    annotated(&alice, "team", "front").await.unwrap();
    let cleared = Patch::Merge(json!({"metadata": {"annotations": {approved: null}}}));
    let rollouts: Api<Rollout> = Api::namespaced(alice, "default");
    let cleared = rollouts
        .patch("shop", &PatchParams::default(), &cleared)
        .await;
    assert!(cleared.is_err(), "only Git takes it back");
    // The daemon knows who asks at its page and in Slack.
    let daemon = client(&stand, ACCOUNT).await;
    annotated(&daemon, "request.sluice.dev/three", forged)
        .await
        .unwrap();
}

/// Suspending, deleting, another target or another strategy take the verb `detach`.
async fn nobody_goes_round_the_approvals(stand: &Stand, alice: &Client) {
    let rollouts: Api<Rollout> = Api::namespaced(alice.clone(), "default");
    let patched = |spec: Value| {
        let rollouts = rollouts.clone();
        async move {
            let patch = Patch::Merge(json!({"spec": spec}));
            let dry = PatchParams {
                dry_run: true,
                ..PatchParams::default()
            };
            let done = rollouts.patch("shop", &dry, &patch).await;
            done.map(drop).map_err(|error| error.to_string())
        }
    };
    let changes = [
        json!({"suspended": true}),
        json!({"target": {"name": "other"}}),
        json!({"strategy": {"canary": {"steps": [{"weight": 99}]}}}),
        json!({"approvals": {"required": 1}}),
    ];
    let verb = "it takes the verb detach on rollouts.sluice.dev";
    for change in &changes {
        let told = patched(change.clone()).await.unwrap_err();
        assert!(told.contains(verb), "{change}: {told}");
    }
    patched(json!({"bake": "7m", "suspended": false}))
        .await
        .unwrap();
    let dry = DeleteParams::default().dry_run();
    let told = rollouts.delete("shop", &dry).await.unwrap_err().to_string();
    assert!(told.contains(verb), "{told}");

    let group = "rbac.authorization.k8s.io";
    let (api, meta) = (format!("{group}/v1"), json!({"name": "detach"}));
    let rule = json!({"apiGroups": ["sluice.dev"], "resources": ["rollouts"], "verbs": ["detach"]});
    let role = json!({"apiVersion": api, "kind": "ClusterRole", "metadata": meta, "rules": [rule]});
    let binding = json!({
        "apiVersion": api, "kind": "ClusterRoleBinding", "metadata": meta,
        "subjects": [{"kind": "User", "apiGroup": group, "name": "alice"}],
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "detach"},
    });
    apply(stand, &role).await;
    apply(stand, &binding).await;
    let may = || async { patched(changes[0].clone()).await.is_ok() };
    until("the role counts", SECOND * 60, may, String::new).await;
    for change in changes {
        patched(change).await.unwrap();
    }
    rollouts.delete("shop", &dry).await.unwrap();
}

/// What `sluice approve SERVICE --from --to` writes, as itself and forged.
async fn nobody_lets_a_version_on_for_somebody_else(stand: &Stand, alice: &Client, flux: &Client) {
    let words = "nobody asks in the name of somebody else";
    let key = "promotion.sluice.dev/approve-1800000000000-00000a";
    let own = r#"approve 1.3.0 to=production {"by":"alice"}"#;
    let (bobs, sres) = (
        r#"approve 1.3.0 to=production {"by":"bob"}"#,
        r#"approve 1.3.0 to=production {"by":"alice","groups":["sre"]}"#,
    );
    for (who, value, allowed) in [
        (alice, bobs, false),
        (alice, sres, false),
        (flux, own, false),
        (alice, own, true),
        // In the place of hers.
        (flux, r#"approve 6.6.6 to=production {"by":"alice"}"#, false),
        (alice, bobs, false),
    ] {
        match annotated(who, key, value).await {
            Ok(()) => assert!(allowed, "{value}"),
            Err(told) => assert!(!allowed && told.contains(words), "{value}: {told}"),
        }
    }
    let (by, groups) = ask::who(alice).await;
    let request = Request {
        id: ask::id(Act::Approve, Clock::machine()),
        act: Ok(Act::Approve),
        revision: Some("1.4.0".to_owned()),
        by,
        groups,
        why: None,
        goal: Some("production".to_owned()),
        service: Some("shop".to_owned()),
    };
    let before = stand.apps.rollout("shop").await;
    let written = ask::let_on(alice, &before, &request, "sluice-cli").await;
    written.unwrap();
    let rollout = stand.apps.rollout("shop").await;
    let said: Vec<_> = ask::let_on_already(&rollout).into_iter().collect();
    // What she had said by hand went with it.
    assert_eq!(said.len(), 1, "{said:?}");
    let (_, said) = &said[0];
    assert_eq!(said.by.as_deref(), Some("alice"));
    assert_eq!(said.revision.as_deref(), Some("1.4.0"));
    let forged = Request {
        by: Some("bob".to_owned()),
        groups: Vec::new(),
        ..request
    };
    let refused = ask::let_on(alice, &rollout, &forged, "sluice-cli").await;
    assert!(refused.unwrap_err().to_string().contains(words));
}

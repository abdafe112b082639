//! Who may act at the page, as a real API server says: tokens of `ServiceAccounts`, and groups that a
//! proxy names. The rights to ask are those of `clusters/components/page-access`.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use sluice::sandbox::scenario::{self, Way};

use super::stand::{Stand, until};
use crate::process::Process;

const SECOND: Duration = Duration::from_secs(1);
const SETTINGS: &str = "access: {tokenReview: true, proxy: {from: [127.0.0.1], userHeader: x-user, groupsHeader: x-groups}}";

async fn apply(stand: &Stand, object: &Value) {
    scenario::apply(stand.apps.admin.clone(), Way::ServerSide, object)
        .await
        .unwrap();
}

/// The daemon's rights to ask who may what, and those who may patch Rollouts.
pub async fn rights(stand: &Stand, subjects: &Value) {
    let rights = include_str!("../../clusters/components/page-access/rbac.yaml");
    for part in rights.split("\n---\n") {
        apply(stand, &serde_saphyr::from_str(part).unwrap()).await;
    }
    let meta = json!({"namespace": "default", "name": "releases"});
    let rule = json!({"apiGroups": ["sluice.dev"], "resources": ["rollouts"], "verbs": ["patch"]});
    let api = "rbac.authorization.k8s.io/v1";
    apply(
        stand,
        &json!({"apiVersion": api, "kind": "Role", "metadata": meta, "rules": [rule]}),
    )
    .await;
    let group = "rbac.authorization.k8s.io";
    apply(
        stand,
        &json!({
            "apiVersion": api, "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "releases"},
            "subjects": subjects,
        }),
    )
    .await;
}

/// Two accounts, of which Alice's may patch Rollouts, and so may the group `dev`.
async fn prepare(stand: &Stand) {
    for name in ["alice", "bob"] {
        let meta = json!({"namespace": "default", "name": name});
        apply(
            stand,
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        )
        .await;
    }
    let subjects = json!([
        {"kind": "ServiceAccount", "namespace": "default", "name": "alice"},
        {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "dev"},
    ]);
    rights(stand, &subjects).await;
}

/// The application `shop` whose new version gets its first share, and stays there.
pub async fn in_a_run(stand: &Stand, daemon: &Process) {
    let told = || daemon.told();
    stand.apps.app("shop", 50, "3600s").await;
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", SECOND * 60, guarded, told).await;
    stand.apps.release("shop", "2", "0").await;
    let weight = || async { stand.apps.weight("shop").await == 5 };
    until("the canary gets traffic", SECOND * 60, weight, told).await;
}

async fn token(stand: &Stand, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(stand.apps.admin.clone(), "default");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let parameters = PostParams::default();
    let made = accounts.create_token_request(name, &parameters, &request);
    made.await.unwrap().status.unwrap().token.unwrap()
}

async fn ask(daemon: &Process, act: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let client = sluice::prometheus::http_client(SECOND * 15).unwrap();
    let path = format!("api/rollouts/default/shop/{act}");
    let mut request = client.post(format!("http://{}/{path}", daemon.address()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_may_patch_the_rollout_may_act_at_the_page_and_nobody_else() {
    let Some(stand) = Stand::with_sluice().await else {
        return;
    };
    prepare(&stand).await;
    let daemon = stand.daemon("access", SETTINGS);
    in_a_run(&stand, &daemon).await;

    let [alice, bob] = [token(&stand, "alice").await, token(&stand, "bob").await];
    let bearer = |token: &str| format!("Bearer {token}");
    let (alice, bob, broken) = (
        bearer(&alice),
        bearer(&bob),
        bearer(&alice[..alice.len() - 2]),
    );
    for (token, wanted) in [(&broken, 401), (&bob, 403), (&alice, 200)] {
        let (status, answer) = ask(&daemon, "hold", &[("authorization", token)]).await;
        assert_eq!(status, wanted, "{answer}");
        let by = if wanted == 200 {
            json!("system:serviceaccount:default:alice")
        } else {
            Value::Null
        };
        assert_eq!(answer["by"], by, "{answer}");
    }
    assert_eq!(stand.apps.phase("shop").await, "Held");

    let nobody: &[(&str, &str)] = &[("x-user", "carol")];
    let others: &[(&str, &str)] = &[("x-user", "carol"), ("x-groups", "ops,system:masters")];
    let dev: &[(&str, &str)] = &[("x-user", "carol"), ("x-groups", "ops,dev")];
    for (headers, wanted) in [(nobody, 403), (others, 403), (dev, 200)] {
        let (status, answer) = ask(&daemon, "resume", headers).await;
        assert_eq!(status, wanted, "{headers:?}: {answer}");
    }
}

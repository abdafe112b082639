//! Who wrote the commits of a release is read from the repository, and does not approve it.

use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use sluice::kubernetes::crd::{GitAuthor, Rollout};

use super::world::virtually;
use super::{MINUTE, Shop, rollout};

/// Asks for an approval in somebody's name; what is answered.
async fn approves(shop: &Shop, by: &str) -> String {
    let key = format!("request.sluice.dev/by-{by}");
    let value = format!("approve {{\"by\":\"{by}\"}}");
    let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
    let client = shop.world.cluster.client("kubernetes-admin");
    let rollouts: Api<Rollout> = Api::namespaced(client, "default");
    let params = PatchParams::default();
    rollouts.patch("shop", &params, &patch).await.unwrap();
    let id = format!("by-{by}");
    let answer = || async {
        let status = shop.world.rollout("shop").await.status.unwrap_or_default();
        let mut answers = status.answers.into_iter();
        answers
            .find(|answer| answer.id == id)
            .map(|answer| answer.message)
    };
    let answered = || async { answer().await.is_some() };
    shop.world.until("it is answered", MINUTE, answered).await;
    answer().await.unwrap()
}

#[test]
fn who_wrote_the_commit_is_known_and_does_not_approve_it() {
    virtually(async {
        let shop = Shop::open().await;
        let git = json!({"mode": "revert", "kustomization": "flux-system/shop"});
        let mut asking = rollout(&json!({"git": git}));
        asking["spec"]["approvals"] = json!({"notAuthor": true});
        asking["spec"]["strategy"]["canary"]["steps"][0]["approval"] = true.into();
        shop.world.apply(asking).await;
        let people = json!([{"email": "Ada@shop.example", "user": "ada"}]);
        let _daemon = shop.daemon_with(&json!({"authors": people}));
        let known = || async { shop.git().await.good.is_some() };
        let first = shop
            .world
            .until("the first commit is known", MINUTE * 3, known);
        first.await;
        shop.commit("2", "0");
        let waits = || async { shop.world.phase("shop").await == "AwaitingApproval" };
        shop.world.until("it waits", MINUTE * 5, waits).await;
        let ada = GitAuthor {
            name: "Ada".to_owned(),
            email: "ada@shop.example".to_owned(),
            user: "ada".to_owned(),
        };
        let bad = shop.git().await.bad.unwrap();
        assert_eq!(bad.authors, Some(vec![ada.clone()]), "{bad:?}");

        let told = approves(&shop, "ada").await;
        assert!(told.contains("ada is the author of the change"), "{told}");
        assert_eq!(approves(&shop, "bob").await, "approved");
        shop.ended("2", "Promoted").await;
        // What is stable now is known to be hers.
        let kept = || async {
            let good = shop.git().await.good;
            good.is_some_and(|good| good.authors == Some(vec![ada.clone()]))
        };
        shop.world.until("it is kept", MINUTE, kept).await;
    });
}

//! The API server ends in the middle of a release and comes back, with and without what the daemon
//! had seen before.
//!
//! In both tests it comes back with a watch cache that begins at that moment. A watch that goes on
//! from an older version is refused with 410 then. Not here: API servers that answer late or never
//! (`tests/ha`).

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use sluice::kubernetes::crd::ACCOUNT;

use super::stand::{Stand, until};
use crate::process::Process;

const SECOND: Duration = Duration::from_secs(1);

/// A stand with a daemon and the application `shop`, whose version 2 has its first share.
async fn in_a_run(name: &str, hold: &str) -> Option<(Stand, Process)> {
    let stand = Stand::with_sluice().await?;
    let daemon = stand.daemon(name, "");
    stand.apps.app("shop", 500, hold).await;
    let told = || daemon.told();
    let guarded = || stand.apps.guarded("shop");
    until("shop is guarded", SECOND * 60, guarded, told).await;
    stand.apps.release("shop", "2", "0").await;
    let begun = || async { stand.apps.weight("shop").await == 5 };
    until("the canary gets traffic", SECOND * 60, begun, told).await;
    Some((stand, daemon))
}

/// Waits until the newest run of `shop` is that of this version and ended so.
async fn ended(stand: &Stand, daemon: &Process, version: &str, outcome: &str) {
    let ended = || async {
        let status = stand.apps.rollout("shop").await.status.unwrap_or_default();
        let (phase, last) = (status.phase, status.last_run);
        last.is_some_and(|last| {
            last.revision.images == [format!("shop:{version}")]
                && format!("{:?}", last.outcome).trim_matches('"') == outcome
                && phase.as_deref() == Some("Idle")
        })
    };
    let what = format!("{version} is {outcome}");
    until(&what, SECOND * 240, ended, || daemon.told()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_release_goes_on_after_the_api_server_was_away() {
    let Some((mut stand, daemon)) = in_a_run("restart", "12s").await else {
        return;
    };
    stand.plane.kill_api_server();
    // An outage lasts a while; nothing is waited for here.
    tokio::time::sleep(SECOND * 5).await;
    assert!(!daemon.ended(), "{}", daemon.told());
    stand.plane.start_api_server().await;
    ended(&stand, &daemon, "2", "Promoted").await;
    // All its watches live: it sees the next release, and what that does.
    stand.apps.release("shop", "3", "0.5").await;
    ended(&stand, &daemon, "3", "RolledBack").await;
    assert!(!daemon.ended(), "{}", daemon.told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watches_whose_versions_were_compacted_away_begin_anew() {
    let Some((mut stand, daemon)) = in_a_run("compaction", "3600s").await else {
        return;
    };
    let deployments: Api<Deployment> = Api::namespaced(stand.apps.admin.clone(), "default");
    let seen = deployments.list(&ListParams::default()).await.unwrap();
    let seen = seen.metadata.resource_version.unwrap();
    // It stands still while its connections end, so that nothing of what follows waits for it there.
    daemon.signal("STOP");
    stand.plane.kill_api_server();
    stand.plane.start_api_server().await;
    churn(&stand).await;
    stand.apps.release("shop", "3", "0.5").await;
    stand.plane.compact().await;
    let before = lists(&stand);
    stand.plane.kill_api_server();
    stand.plane.start_api_server().await;
    assert_eq!(refused(&deployments, &seen).await, Some(410));
    daemon.signal("CONT");
    ended(&stand, &daemon, "3", "RolledBack").await;
    assert!(lists(&stand) > before, "{}", daemon.told());
}

async fn churn(stand: &Stand) {
    let maps: Api<ConfigMap> = Api::namespaced(stand.apps.admin.clone(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "churn"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    for number in 0..20 {
        let patch = Patch::Merge(json!({"data": {"n": number.to_string()}}));
        let params = PatchParams::default();
        maps.patch("churn", &params, &patch).await.unwrap();
    }
}

/// The code with which a watch that goes on from this version is refused.
async fn refused(api: &Api<Deployment>, version: &str) -> Option<u16> {
    use futures::TryStreamExt as _;
    let params = WatchParams::default().timeout(5);
    let first = match api.watch(&params, version).await {
        Ok(events) => std::pin::pin!(events).try_next().await,
        Err(error) => Err(error),
    };
    match first {
        Ok(Some(WatchEvent::Error(status))) | Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// How often the daemon has asked for all Deployments, as a list or as a watch that begins with them.
fn lists(stand: &Stand) -> usize {
    let audit = stand.plane.audit();
    let ours = audit.iter().filter(|event| {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        event["user"]["username"] == ACCOUNT
            && event["objectRef"]["resource"] == "deployments"
            && (event["verb"] == "list" || uri.contains("sendInitialEvents=true"))
    });
    ours.count()
}

//! The gates that ask others: people, daemons, the environment itself, the calendar; through the binary.
//!
//! Not here: what each says of every case (unit tests).

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::history::{History, Place as Kept, Seen};
use sluice::web::{Nearby, Readiness, Seat, Streams, Versions, Web};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stand::{Stand, kustomization};

/// Runs of any age are kept.
const ALWAYS: Duration = Duration::from_secs(100 * 365 * 86_400);
const PROMOTE: &str = "promote backend --from staging --to production";
const PRODUCTION: &str = "clusters/production/kustomization.yaml";

#[tokio::test(flavor = "multi_thread")]
async fn enough_people_must_let_this_version_go_on() {
    let gate = "gates: {approval: {required: 2, from: [kubernetes-admin, bob]}}";
    let stand = Stand::new("deliver: push", gate).await;
    let cluster = stand.cluster().await;
    cluster.says(Some(("Idle", "Promoted", "v1.3.0"))).await;
    let shut = stand.sluice(PROMOTE).await;
    assert!(
        shut.stdout.contains("0 of 2 approved"),
        "{}{}",
        shut.stdout,
        shut.stderr
    );

    // The person of the kubeconfig, twice: she counts once, and what she said last stands.
    for version in ["v1.2.0", "v1.3.0"] {
        let approve = format!("approve backend --from staging --to production --version {version}");
        let done = stand.sluice(&approve).await;
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
        assert!(
            done.stdout.contains("may go to production, says "),
            "{}",
            done.stdout
        );
    }
    assert_eq!(cluster.annotations().await.len(), 1);
    let shut = stand.sluice(PROMOTE).await;
    assert_eq!(shut.code, 1, "{}", shut.stdout);
    assert!(shut.stdout.contains("1 of 2 approved: "), "{}", shut.stdout);

    let by_bob = [(
        "promotion.sluice.dev/approve-1767225600000-00",
        "approve v1.3.0 to=production service=backend {\"by\":\"bob\"}",
    )];
    cluster.annotate(&BTreeMap::from(by_bob)).await;
    let status = stand.sluice("status backend").await;
    assert!(
        status.stdout.contains("production: may go"),
        "{}",
        status.stdout
    );
    let done = stand.sluice(PROMOTE).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let commit = stand.team.says(&["log", "-1", "--format=%B", "main"]);
    assert!(
        commit.contains("- approval: 2 of 2 approved: ") && commit.contains("bob"),
        "{commit}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_one_service_does_not_count_for_another_of_the_same_rollout() {
    let stand = Stand::new("deliver: push", "gates: {approval: {required: 1}}").await;
    stand.rewrite("{name: frontend}", "{name: frontend, rollout: backend}");
    let staging = "clusters/staging/kustomization.yaml";
    let both = kustomization("v1.3.0", "v1.3.0");
    stand.team.commit("Release both", &[(staging, &both)]);
    let cluster = stand.cluster().await;
    cluster.says(Some(("Idle", "Promoted", "v1.3.0"))).await;
    let approve = "approve frontend --from staging --to production";
    let done = stand.sluice(approve).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let shut = stand.sluice(PROMOTE).await;
    assert_eq!(shut.code, 1, "{}", shut.stdout);
    let why = "shut  approval   0 of 1 approved; kubernetes-admin approved v1.3.0 of frontend";
    assert!(shut.stdout.contains(why), "{}", shut.stdout);
    // Neither takes the place of the other.
    let approve = "approve backend --from staging --to production";
    let done = stand.sluice(approve).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(cluster.annotations().await.len(), 2);
    for service in ["backend", "frontend"] {
        let promote = format!("promote {service} --from staging --to production --dry-run");
        let open = stand.sluice(&promote).await;
        assert!(
            open.stdout.contains("open  approval   1 of 1 approved"),
            "{}{}",
            open.stdout,
            open.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_environment_does_not_ask_for_is_not_approved() {
    let stand = Stand::new("deliver: push", "").await;
    let refused = stand
        .sluice("approve backend --from staging --to production")
        .await;
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("production asks for no approval"),
        "{}",
        refused.stderr
    );
}

/// A daemon's history of these outcomes, the newest first; it says what it was asked.
async fn daemon(outcomes: &[&str]) -> (String, JoinSet<()>) {
    let run = |outcome: &&str| {
        json!({"environment": "staging", "namespace": "shop", "name": "backend", "run": "a",
        "revision": {"hash": "aa", "images": []}, "outcome": outcome,
        "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z"})
    };
    let runs: Vec<Value> = outcomes.iter().map(run).collect();
    let text = json!({"environment": "staging", "runs": runs}).to_string();
    let answer = |State(text): State<String>, RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        assert!(query.contains("namespace=shop&name=backend"), "{query}");
        text
    };
    let app = Router::new().fallback(answer).with_state(text);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_without_an_error_are_those_that_the_daemon_remembers() {
    for (outcomes, wanted) in [
        (&["Promoted", "Superseded", "Promoted"][..], "open  runs"),
        (&["Promoted", "RolledBack", "Promoted"][..], "shut  runs"),
    ] {
        let (url, _tasks) = daemon(outcomes).await;
        let stand = Stand::new("deliver: push", "gates: {runs: 2}").await;
        stand.rewrite(
            "namespace: shop}}",
            &format!("namespace: shop, daemon: '{url}'}}}}"),
        );
        let cluster = stand.cluster().await;
        cluster.says(Some(("Idle", "Promoted", "v1.3.0"))).await;
        let dry = stand.sluice(&format!("{PROMOTE} --dry-run")).await;
        assert!(dry.stdout.contains(wanted), "{}{}", dry.stdout, dry.stderr);
    }
}

/// A hub whose staging remembers two promoted runs, and whose production one that was rolled back; both of the same
/// namespace and Rollout.
async fn hub(tasks: &mut JoinSet<()>) -> String {
    let (clock, stop) = (Clock::machine(), CancellationToken::new());
    let streams = Streams::until(stop.clone());
    let mut seats = Vec::new();
    for (environment, outcome) in [("staging", "Promoted"), ("production", "RolledBack")] {
        let place = Kept::Memory;
        let (history, keeper) = History::new(environment, place, ALWAYS, clock, drop);
        tasks.spawn(keeper.keep_up(stop.clone()));
        for run in ["backend-1", "backend-2"] {
            let last = serde_json::from_value(json!({
                "id": run, "revision": {"hash": "aaaaaaaaaa", "images": ["shop/backend:v1"]},
                "outcome": outcome, "reason": outcome, "message": "in words",
                "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
            }));
            let seen = Seen {
                namespace: "shop",
                name: "backend",
                target: "backend",
                stable: None,
                run: None,
                last_run: Some(&last.unwrap()),
                git: None,
            };
            history.seen(seen, clock.now());
        }
        let seat = Seat::new(environment, streams.clone());
        seat.open(Web {
            place: seat.place().clone(),
            board: seat.board(),
            history,
            readiness: Readiness::waiting_for(&[]),
            metrics: seat.metrics(),
            streams: streams.clone(),
            clock,
            nearby: Nearby::default(),
            versions: Versions::default(),
            hooks: Router::new(),
            sessions: None,
            acts: Router::new(),
        });
        seats.push(seat);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = sluice::web::hub(seats, clock);
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hub_the_runs_count_of_the_environment_that_is_named() {
    let mut tasks = JoinSet::new();
    let url = hub(&mut tasks).await;
    for (path, wanted) in [
        (
            "/environments/staging",
            "open  runs       the newest 2 runs",
        ),
        (
            "/environments/production",
            "shut  runs       the newest 0 runs",
        ),
        (
            "",
            "several environments are served here, each beneath /environments/NAME",
        ),
    ] {
        let stand = Stand::new("deliver: push", "gates: {runs: 2}").await;
        stand.rewrite(
            "namespace: shop}}",
            &format!("namespace: shop, daemon: '{url}{path}'}}}}"),
        );
        let cluster = stand.cluster().await;
        cluster.says(Some(("Idle", "Promoted", "v1.3.0"))).await;
        let dry = stand.sluice(&format!("{PROMOTE} --dry-run")).await;
        assert!(
            dry.stdout.contains(wanted),
            "{path}: {}{}",
            dry.stdout,
            dry.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke_tests_are_made_when_a_version_is_to_go_on() {
    let stand = Stand::new("deliver: push", "gates: {smoke: [health]}").await;
    let _cluster = stand.cluster().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let test = format!("- {{name: health, tcp: {{address: '{address}'}}, timeout: 2s}}\n");
    std::fs::write(stand.team.folder.path().join("smoke.yaml"), test).unwrap();
    stand.rewrite("services:", "smoke: [smoke.yaml]\nservices:");
    let status = stand.sluice("status backend").await;
    assert!(
        status.stdout.contains("health: made by `sluice promote`"),
        "{}",
        status.stdout
    );
    let open = stand.sluice(&format!("{PROMOTE} --dry-run")).await;
    assert!(
        open.stdout.contains("open  smoke"),
        "{}{}",
        open.stdout,
        open.stderr
    );
    // The test would ask v1.3.0.
    let gone = stand.sluice(&format!("{PROMOTE} --version v1.2.0")).await;
    assert_eq!(gone.code, 1, "{}", gone.stdout);
    assert!(
        gone.stdout
            .contains("smoke      staging does not have v1.2.0 any more"),
        "{}",
        gone.stdout
    );
    drop(listener);
    let shut = stand.sluice(PROMOTE).await;
    assert_eq!(shut.code, 1, "{}", shut.stdout);
    assert!(shut.stdout.contains("shut  smoke"), "{}", shut.stdout);
    let file = stand.team.file(PRODUCTION);
    assert_eq!(file, kustomization("v1.2.0", "v2").trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_in_spite_of_a_freeze_says_why_in_the_commit() {
    let freeze = "gates: {freeze: [{name: always, from: 00:00, for: 25h}]}";
    let stand = Stand::new("deliver: push", freeze).await;
    let shut = stand.sluice(PROMOTE).await;
    assert_eq!(shut.code, 1, "{}", shut.stdout);
    assert!(
        shut.stdout.contains("production is frozen until "),
        "{}",
        shut.stdout
    );
    let done = stand
        .sluice(&format!("{PROMOTE} --despite-freeze outage"))
        .await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let commit = stand.team.says(&["log", "-1", "--format=%B", "main"]);
    assert!(
        commit.contains("- freeze: in spite of always until "),
        "{commit}"
    );
    assert!(commit.contains(": outage\n"), "{commit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_digest_must_be_pinned_on_both_sides() {
    let stand = Stand::new("deliver: push", "gates: {sameDigest: true}").await;
    let _cluster = stand.cluster().await;
    let shut = stand.sluice(PROMOTE).await;
    assert!(
        shut.stdout.contains("staging pins no digest of v1.3.0"),
        "{}{}",
        shut.stdout,
        shut.stderr
    );
    let pinned = |tag: &str, digit: &str| {
        let text = kustomization(tag, "v2");
        let tag = format!("newTag: {tag} #");
        text.replace(
            &tag,
            &format!("digest: sha256:{}\n  {tag}", digit.repeat(64)),
        )
    };
    let staging = "clusters/staging/kustomization.yaml";
    stand
        .team
        .commit("Pin", &[(staging, &pinned("v1.3.0", "b"))]);
    let shut = stand.sluice(PROMOTE).await;
    assert!(
        shut.stdout.contains("production pins no digest"),
        "{}{}",
        shut.stdout,
        shut.stderr
    );
    stand
        .team
        .commit("Pin too", &[(PRODUCTION, &pinned("v1.2.0", "a"))]);
    let done = stand.sluice(PROMOTE).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let file = stand.team.file(PRODUCTION);
    assert_eq!(file, pinned("v1.3.0", "b").trim_end());
}

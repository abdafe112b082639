//! Two services and three environments in a repository on a Git server: promoted, refused, rolled
//! back and told by the binary, as people and CI call it.
//!
//! What a Rollout says comes from the sandbox's API server. Not here: the single gates and the
//! forms in which a version is written (unit tests).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test's helpers may fail the test

#[path = "../servers/binary.rs"]
#[allow(dead_code)]
mod binary;
#[path = "../servers/child.rs"]
#[allow(dead_code)]
mod child;
#[path = "../remedy/forge.rs"]
#[allow(dead_code)]
mod forge;
#[path = "../servers/needs.rs"]
mod needs;
mod pulls;
#[path = "../git/repository.rs"]
#[allow(dead_code)]
mod repository;
#[path = "../git/server.rs"]
#[allow(dead_code)]
mod server;
mod stand;
#[path = "../servers/trip.rs"]
#[allow(dead_code)]
mod trip;

mod chart;
mod clusters;
mod demo;
mod gates;
mod page;
mod registry;
mod shared;

use serde_json::Value;
use stand::{Stand, kustomization};

const PRODUCTION: &str = "clusters/production/kustomization.yaml";

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_from_environment_to_environment_and_back() {
    let stand = Stand::new("deliver: push", "").await;
    let dry = stand
        .sluice("promote backend --from staging --to production --dry-run")
        .await;
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    let wanted = "-  newTag: v1.2.0 # the shop's heart\n+  newTag: v1.3.0 # the shop's heart\n";
    assert!(dry.stdout.contains(wanted), "{}", dry.stdout);
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.2.0", "v2").trim_end()
    );

    let done = stand
        .sluice("promote backend --from staging --to production --by Ada<ada@shop.example>")
        .await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.3.0", "v2").trim_end()
    );
    let commit = stand
        .team
        .says(&["log", "-1", "--format=%an %cn%n%B", "main"]);
    let wanted = "Ada Robot\nPromote backend v1.3.0 to production\n\nFrom staging; production had v1.2.0.\n\n\
        Sluice-Service: backend\nSluice-Environment: production\nSluice-Version: v1.3.0\n\
        Sluice-Before: v1.2.0\nSluice-From: staging";
    assert_eq!(commit.trim_end(), wanted);
    let trailers = stand.team.says(&[
        "log",
        "-1",
        "--format=%(trailers:key=Sluice-Version,valueonly)",
        "main",
    ]);
    assert_eq!(trailers.trim(), "v1.3.0");

    let again = stand
        .sluice("promote backend --from staging --to production")
        .await;
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(
        again.stdout.ends_with("production has it already\n"),
        "{}",
        again.stdout
    );

    let back = stand.sluice("rollback production backend -o json").await;
    assert_eq!(back.code, 0, "{}", back.stderr);
    let told: Value = serde_json::from_str(&back.stdout).unwrap();
    assert_eq!(
        (&told["outcome"], &told["version"]),
        (&"pushed".into(), &"v1.2.0".into())
    );
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.2.0", "v2").trim_end()
    );
    // Once more is no way forth again: neither after a lost answer, nor by another person.
    let again = stand.sluice("rollback production backend").await;
    assert_eq!(again.code, 0, "{}", again.stderr);
    let wanted = "note  production went back from v1.3.0 to v1.2.0 ";
    assert!(again.stdout.contains(wanted), "{}", again.stdout);
    assert!(
        again.stdout.ends_with("production has it already\n"),
        "{}",
        again.stdout
    );
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.2.0", "v2").trim_end()
    );
    let named = stand
        .sluice("rollback production backend --to v1.1.0")
        .await;
    assert_eq!(named.code, 0, "{}", named.stderr);
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.1.0", "v2").trim_end()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_remedy_took_back_is_not_brought_again_by_a_way_back() {
    let stand = Stand::new("deliver: push", "").await;
    let file = |version| kustomization(version, "v2");
    let (two, three) = (file("v1.2.0"), file("v1.3.0"));
    stand.team.commit("Release v1.3.0", &[(PRODUCTION, &three)]);
    let words = "Revert \"Release v1.3.0\"\n\nThis reverts commit 01234567.\n\nSluice-Run: backend-7\n\
                 Sluice-Rollout: shop/backend";
    stand.team.commit(words, &[(PRODUCTION, &two)]);
    let back = stand.sluice("rollback production backend").await;
    assert_eq!(back.code, 0, "{}", back.stderr);
    let wanted = "production went back from v1.3.0 to v1.2.0 ";
    assert!(back.stdout.contains(wanted), "{}", back.stdout);
    assert_eq!(stand.team.file(PRODUCTION), two.trim_end());
    // Tried anew, and no better: that is a release like any other.
    let again = [(PRODUCTION, three.as_str())];
    stand.team.commit_on_top("Release v1.3.0", &again);
    let back = stand.sluice("rollback production backend").await;
    assert!(
        back.stdout.contains("pushed "),
        "{}{}",
        back.stdout,
        back.stderr
    );
    assert_eq!(stand.team.file(PRODUCTION), two.trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shut_gate_writes_nothing_and_says_what_is_missing() {
    let stand = Stand::new("deliver: push", "gates: {soak: 1000d, versions: '<1.3.0'}").await;
    let before = stand.team.says(&["rev-parse", "main"]);
    let refused = stand
        .sluice("promote backend --from staging --to production")
        .await;
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(
        refused
            .stdout
            .contains("shut  versions   v1.3.0 is not within <1.3.0"),
        "{}",
        refused.stdout
    );
    assert!(
        refused.stdout.contains("1000d") || refused.stdout.contains("to go"),
        "{}",
        refused.stdout
    );
    assert!(
        refused
            .stderr
            .contains("backend v1.3.0 stays: versions, soak shut"),
        "{}",
        refused.stderr
    );
    assert_eq!(stand.team.says(&["rev-parse", "main"]), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_said_before_anything_is_read() {
    let stand = Stand::new("deliver: push", "").await;
    let cases = [
        (
            "promote backend --from local --to production",
            2,
            "production does not come after local but after staging",
        ),
        (
            "promote cellar --from staging --to production",
            2,
            "there is no service \"cellar\"; the pipeline has backend, frontend",
        ),
        ("promote backend --from staging", 2, "--to"),
        ("promote backend --dry-run", 2, "give --from and --to too"),
        (
            "promote backend --from staging --to production --version v9.9.9",
            1,
            "v9.9.9 of backend was not found in staging, which has v1.3.0",
        ),
        (
            "rollback production backend --to v1.3.0",
            1,
            "v1.3.0 of backend was not found in production, which has v1.2.0, and had v1.1.0 before",
        ),
        ("rollback production cellar", 2, "there is no service"),
        (
            "rollback local backend",
            1,
            "local had no other version of backend than v1.3.0",
        ),
    ];
    for (arguments, code, wanted) in cases {
        let ended = stand.sluice(arguments).await;
        assert_eq!(ended.code, code, "{arguments}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(wanted),
            "{arguments}: {}",
            ended.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_forge_the_branch_for_a_pull_request_is_pushed_once() {
    let stand = Stand::new("deliver: pullRequest", "").await;
    let main = stand.team.says(&["rev-parse", "main"]);
    for _ in 0..2 {
        let asked = stand
            .sluice("promote backend --from staging --to production")
            .await;
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        assert!(
            asked.stdout.contains("open a pull request for it"),
            "{}",
            asked.stdout
        );
    }
    assert_eq!(stand.team.says(&["rev-parse", "main"]), main);
    let branches = stand.team.says(&[
        "for-each-ref",
        "--format=%(refname:short)",
        "refs/heads/sluice",
    ]);
    assert_eq!(branches.lines().count(), 1, "{branches}");
    assert!(
        branches.starts_with("sluice/promote/production-backend-v1.3.0-"),
        "{branches}"
    );
    let file = stand
        .team
        .says(&["show", &format!("{branches}:{PRODUCTION}")]);
    assert_eq!(file, kustomization("v1.3.0", "v2").trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_promoted_there_does_not_leave() {
    let stand = Stand::new("deliver: push", "gates: {promoted: true}").await;
    let cluster = stand.cluster().await;
    let cases = [
        (None, "no Rollout was found in staging"),
        (
            Some(("Stepping", "Promoted", "v1.3.0")),
            "shop/backend in staging is Stepping",
        ),
        (
            Some(("Idle", "RolledBack", "v1.3.0")),
            "shop/backend in staging ended RolledBack: it is worse",
        ),
        (
            Some(("Idle", "Promoted", "v1.2.0")),
            "the last run of shop/backend in staging was of shop/backend:v1.2.0",
        ),
    ];
    for (says, wanted) in cases {
        cluster.says(says).await;
        let refused = stand
            .sluice("promote backend --from staging --to production")
            .await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(
            refused.stdout.contains(wanted),
            "{wanted}: {}",
            refused.stdout
        );
    }
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.2.0", "v2").trim_end()
    );
    cluster.says(Some(("Idle", "Promoted", "v1.3.0"))).await;
    let done = stand
        .sluice("promote backend --from staging --to production")
        .await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(
        stand.team.file(PRODUCTION),
        kustomization("v1.3.0", "v2").trim_end()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_which_version_is_where_and_what_it_waits_for() {
    let stand = Stand::new("deliver: push", "gates: {promoted: true}").await;
    let cluster = stand.cluster().await;
    cluster.says(Some(("Stepping", "Promoted", "v1.3.0"))).await;
    let table = stand.sluice("status backend").await;
    assert_eq!(table.code, 0, "{}", table.stderr);
    let rows: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(rows.len(), 4, "{}", table.stdout);
    let words = |row: &str| row.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    assert_eq!(words(rows[1]), "backend local v1.3.0");
    assert!(rows[1].ends_with("staging has it"), "{}", rows[1]);
    assert_eq!(words(rows[2]), "backend staging v1.3.0");
    assert!(
        rows[2].ends_with("production: shop/backend in staging is Stepping"),
        "{}",
        rows[2]
    );
    assert_eq!(words(rows[3]), "backend production v1.2.0");

    let json = stand.sluice("status -o json").await;
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(told.as_array().unwrap().len(), 6);
    let staging = &told[1];
    assert_eq!(
        (&staging["version"], &staging["phase"]),
        (&"v1.3.0".into(), &"Stepping".into())
    );
    assert_eq!(
        (&staging["gates"][0]["open"], &staging["next"]),
        (&false.into(), &"production".into())
    );
    assert_eq!(staging["summary"], "Try");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_not_there_costs_its_own_rows() {
    let stand = Stand::new("branch: released", "").await;
    let _cluster = stand.cluster().await;
    let json = stand.sluice("status backend -o json").await;
    assert_eq!(json.code, 0, "{}", json.stderr);
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(told[1]["version"], "v1.3.0", "{told:#}");
    let why = told[2]["why"].as_str().unwrap_or_default();
    assert!(why.contains("released"), "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_asked_at_once_and_one_that_hangs_up_costs_its_own_rows() {
    let stand = Stand::new("deliver: push", "").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    stand.cluster_at(listener.local_addr().unwrap());
    // Both services' questions are there before either is hung up on.
    let asked = async {
        let first = listener.accept().await.unwrap();
        let second = listener.accept().await.unwrap();
        drop((first, second));
    };
    let (json, ()) = tokio::join!(stand.sluice("status -o json"), asked);
    assert_eq!(json.code, 0, "{}", json.stderr);
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    for place in told.as_array().unwrap() {
        let phase = place["phase"].as_str().unwrap_or_default();
        let is_staging = place["environment"] == "staging";
        assert_eq!(phase.starts_with("cannot read"), is_staging, "{place:#}");
        assert!(place["version"].is_string(), "{place:#}");
    }
}

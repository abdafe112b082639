//! Three environments as namespaces of one cluster: each is asked of its own Rollout.
//!
//! Not here: three clusters (`demo`).

use super::stand::Stand;

#[tokio::test(flavor = "multi_thread")]
async fn environments_that_share_a_cluster_are_told_apart_by_their_namespaces() {
    let stand = Stand::new("deliver: push", "gates: {promoted: true}").await;
    let cluster = stand.cluster().await;
    let config = stand.kubeconfig();
    let own = |name: &str| {
        format!(
            "path: clusters/{name}, deliver: push, cluster: {{kubeconfig: '{config}', namespace: shop-{name}}}"
        )
    };
    stand.rewrite("path: clusters/local, deliver: push", &own("local"));
    stand.rewrite("namespace: shop}", "namespace: shop-staging}");
    stand.rewrite("path: clusters/production\n", &format!("path: clusters/production\n  cluster: {{kubeconfig: '{config}', namespace: shop-production}}\n"));
    for (name, says) in [
        ("local", ("Idle", "Promoted", "v1.3.0")),
        ("staging", ("Stepping", "Promoted", "v1.2.0")),
        ("production", ("Idle", "Promoted", "v1.2.0")),
    ] {
        cluster.says_in(&format!("shop-{name}"), Some(says)).await;
    }
    let status = stand.sluice("status backend").await;
    assert_eq!(status.code, 0, "{}", status.stderr);
    let words = |row: &str| row.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Vec<String> = status.stdout.lines().map(words).collect();
    let row = |name: &str| {
        let begin = format!("backend {name} ");
        rows.iter()
            .find(|row| row.starts_with(&begin))
            .cloned()
            .unwrap_or_default()
    };
    assert!(
        row("local").contains(" Idle staging has it"),
        "{}",
        status.stdout
    );
    let wanted = " Stepping production: shop-staging/backend in staging is Stepping";
    assert!(row("staging").ends_with(wanted), "{}", status.stdout);
    assert!(row("production").ends_with(" Idle"), "{}", status.stdout);

    let promote = "promote backend --from staging --to production";
    let refused = stand.sluice(promote).await;
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let promoted = Some(("Idle", "Promoted", "v1.3.0"));
    cluster.says_in("shop-staging", promoted).await;
    let done = stand.sluice(promote).await;
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
}

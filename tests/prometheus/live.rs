//! `sluice plan NAME` and `sluice backtest NAME` on a cluster that is running, as a user calls them: the
//! Rollout from the sandbox's API server by a kubeconfig, the traffic from a Prometheus that scrapes
//! its router. The history is what the cluster has lived through until then.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use sluice::cli::sandbox::embedded::{Addresses, Embedded};
use sluice::clock::Clock;
use sluice::sandbox::scenario::{self, Collected, Stage};
use tokio_util::sync::CancellationToken;

use crate::command::report;
use crate::server::{Job, Kind, Server};

const SHOP: &str = r"
name: live
steps:
  - apply: {file: shop.yaml}
  - expect: {within: 60s, that: [{rollout: {name: shop, phase: Idle}}]}
";
/// A backtest needs two minutes of history.
const HISTORY: Duration = Duration::from_secs(80);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_running_cluster_is_planned_for_and_its_past_played_on() {
    if !Kind::Prometheus.is_here() {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenario = scenario::parse("live", SHOP, &folder).unwrap_or_else(|p| panic!("{p}"));
    let any = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let at = Addresses {
        api: any,
        metrics: any,
        ..Addresses::default()
    };
    let cluster = Embedded::start(&scenario, Clock::at_speed(1.0), at)
        .await
        .unwrap();
    let mut server = Server::new(Kind::Prometheus);
    let job = Job {
        name: "nginx".into(),
        every: 1,
        targets: cluster.metrics().to_vec(),
        labels: Vec::new(),
    };
    server.begin(&[job]).await;
    server.wait_for_targets(1).await;
    let mut sink = Collected::default();
    let ended = scenario::play(&scenario, &cluster, &mut sink, &CancellationToken::new()).await;
    assert_eq!(ended.failures, 0, "{}", sink.story());
    let place = tempfile::tempdir().unwrap();
    let kubeconfig = place.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig().unwrap()).unwrap();
    tokio::time::sleep(HISTORY).await;
    // On a busy machine the load is not what the manifest says.
    let answered = || {
        cluster
            .world()
            .tallies()
            .iter()
            .map(|one| one.total)
            .sum::<u64>() as f64
    };
    let before = answered();
    tokio::time::sleep(MINUTE).await;
    let wanted = (answered() - before) / MINUTE.as_secs_f64();

    let (url, common) = (server.url(), ["-o", "json", "--runs", "10", "--prometheus"]);
    let plan = [&["plan", "shop", "--window", "1m"][..], &common, &[&url]].concat();
    let planned = report(Some(&kubeconfig), &plan).await;
    assert_eq!(
        (&planned["rollout"], &planned["namespace"]),
        (&"shop".into(), &"default".into())
    );
    let seen = &planned["traffic"]["rules"][0];
    let rps = seen["rps"].as_f64().unwrap();
    assert!((rps / wanted - 1.0).abs() < 0.3, "{seen}, wanted {wanted}");
    assert_eq!(planned["steps"].as_array().unwrap().len(), 3, "{planned}");

    let backtest = [&["backtest", "shop", "--since", "3m"][..], &common, &[&url]].concat();
    let told = report(Some(&kubeconfig), &backtest).await;
    assert!(told["healthy"]["runs"].as_f64().unwrap() >= 1.0, "{told}");
    assert_eq!(told["healthy"]["rolledBack"], 0.0, "{told}");
    assert_eq!(told["rules"][0]["rule"], "error-rate", "{told}");
    cluster.stop().await;
}

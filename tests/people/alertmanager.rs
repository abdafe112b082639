//! Alerts through a real Alertmanager: Debian's `prometheus-alertmanager`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::{Server, free_ports};
use crate::needs;
use crate::page::in_a_run;
use crate::process::{self, Process};
use crate::way::Way;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const PROGRAM: &str = "prometheus-alertmanager";
const TOKEN: &str = "a-long-token-of-this-test";

/// Whether it is installed. If not, it is said aloud, and in CI it is a failure.
fn is_here() -> bool {
    needs::is_here(PROGRAM, &["--version"], "alerts of a real Alertmanager")
}

/// A running Alertmanager that sends everything to a daemon.
struct Alertmanager {
    server: Server,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Alertmanager {
    fn start(daemon: SocketAddr, token: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let hook = json!({
            "url": format!("http://{daemon}/hooks/alertmanager"),
            "http_config": {"authorization": {"credentials": token}},
        });
        let config = json!({
            "route": {
                "receiver": "sluice", "group_by": ["..."],
                "group_wait": "100ms", "group_interval": "1s", "repeat_interval": "1h",
            },
            "receivers": [{"name": "sluice", "webhook_configs": [hook]}],
        });
        let file = data.path().join("alertmanager.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", data.path().display()),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let server = Server::start(PROGRAM, &arguments, &data.path().join("log"));
        Self {
            server,
            address,
            _data: data,
        }
    }

    /// Gives it an alert on the Deployment `shop`, until it is taken.
    async fn fire(&self, labels: Value, since: jiff::Timestamp) {
        let mut all = json!({"namespace": "default", "deployment": "shop"});
        for (key, value) in labels.as_object().unwrap() {
            all[key] = value.clone();
        }
        let alerts = json!([{
            "labels": all, "startsAt": since,
            "annotations": {"summary": "5 % of checkouts fail"},
        }]);
        let client = sluice::prometheus::http_client(SECOND * 5).unwrap();
        let url = format!("http://{}/api/v2/alerts", self.address);
        for _ in 0..100 {
            let request = client.post(&url).header("content-type", "application/json");
            let sent = request.body(alerts.to_string()).send().await;
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(SECOND / 5).await;
        }
        panic!("it does not answer:\n{}", self.server.told());
    }
}

/// A daemon that takes critical alerts, and the token's file.
fn daemon(world: &World, name: &str, api: SocketAddr) -> (Process, PathBuf) {
    let file = process::file(name, "token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let settings = format!(
        "alerts: {{tokenFile: \"{}\", matchers: ['severity=\"critical\"']}}",
        file.display()
    );
    (world.process(name, api, &settings), file)
}

/// How many alerts did this, by the daemon's own metrics.
async fn counted(daemon: &Process, result: &str) -> bool {
    let page = daemon.page("metrics").await.unwrap_or_default();
    page.contains(&format!("sluice_alerts_total{{outcome=\"{result}\"}}"))
}

async fn rolled_back(world: &World) -> (String, String) {
    let back = || async { world.outcome("shop").await.is_some() };
    world.until("the run ends", SECOND * 60, back).await;
    let status = world.rollout("shop").await.status.unwrap();
    let last = status.last_run.unwrap();
    (last.reason, last.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_that_begins_in_a_run_ends_it_even_if_the_api_server_was_away() {
    if !is_here() {
        return;
    }
    let world = World::listening().await;
    let way = Way::to(world.cluster.api_address.unwrap()).await;
    let (daemon, _) = daemon(&world, "alerts", way.address);
    in_a_run(&world).await;
    let alertmanager = Alertmanager::start(daemon.address(), TOKEN);

    let now = world.clock.now();
    let long_ago = now - jiff::SignedDuration::from_mins(30);
    let older = json!({"alertname": "Old", "severity": "critical"});
    alertmanager.fire(older, long_ago).await;
    let told = || counted(&daemon, "older");
    world.until("the old alert came", SECOND * 30, told).await;
    let mild = json!({"alertname": "CheckoutErrors", "severity": "warning"});
    alertmanager.fire(mild, now).await;
    assert_eq!(world.weight("shop").await, 5);

    way.cut();
    let grave = json!({"alertname": "CheckoutErrors", "severity": "critical"});
    alertmanager.fire(grave, now).await;
    let refused = || async {
        daemon
            .told()
            .contains("the rollback of default/shop cannot be stored")
    };
    world
        .until("it cannot be stored", SECOND * 30, refused)
        .await;
    way.mend();
    let (reason, message) = rolled_back(&world).await;
    assert_eq!(reason, "Alert");
    assert!(
        message.contains("CheckoutErrors fires since") && message.contains("5 % of checkouts fail"),
        "{message}"
    );
    assert_eq!(world.weight("shop").await, 0);
}

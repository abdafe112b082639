//! Which version is where, on the page of a real daemon; one environment's cluster is not to be reached.
//!
//! Not here: the table and the JSON of the command (`main`), when it is read (`daemon::pipeline`).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use sluice::clock::Clock;

use super::child::{Server, free_ports};
use super::stand::Stand;

const SECOND: Duration = Duration::from_secs(1);

/// A daemon of staging that shows the team's pipeline.
struct Daemon {
    address: String,
    server: Server,
}

impl Daemon {
    fn start(stand: &Stand) -> Self {
        let folder = stand.team.folder.path();
        let [port] = free_ports();
        let (kubeconfig, pipeline) = (stand.kubeconfig(), stand.pipeline().display().to_string());
        let text = format!(
            "environment: staging\ncluster: {{kubeconfig: '{kubeconfig}'}}\ngate: paused\n\
             leaderElection: {{enabled: false}}\npipeline: '{pipeline}'\ngit: {{folder: copies}}\n\
             evidence: {{scrape: {{targets: ['http://127.0.0.1:1/metrics']}}}}\nlisten: '127.0.0.1:{port}'\n"
        );
        let settings: PathBuf = folder.join("sluice.yaml");
        std::fs::write(&settings, text).unwrap();
        let arguments = [
            "run".to_owned(),
            "--config".to_owned(),
            settings.display().to_string(),
        ];
        let log = folder.join("daemon.log");
        Self {
            address: format!("http://127.0.0.1:{port}"),
            server: Server::start(env!("CARGO_BIN_EXE_sluice"), &arguments, &log),
        }
    }

    async fn get(&self, path: &str) -> Option<reqwest::Response> {
        let client = sluice::prometheus::http_client(SECOND * 5).unwrap();
        client
            .get(format!("{}{path}", self.address))
            .send()
            .await
            .ok()
    }

    /// The page, once it says this.
    async fn until(&self, path: &str, wanted: &str) -> String {
        let clock = Clock::machine();
        let mut last = String::new();
        let looking = async {
            loop {
                if let Some(answer) = self.get(path).await {
                    last = answer.text().await.unwrap_or_default();
                    if last.contains(wanted) {
                        return;
                    }
                }
                clock.sleep(SECOND / 5).await;
            }
        };
        let came = clock.timeout(SECOND * 60, looking).await;
        assert!(
            came.is_ok(),
            "{wanted} did not come: {last}\n{}",
            self.server.told()
        );
        last
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_which_version_is_where_and_what_it_waits_for() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stand = Stand::new("deliver: push", "gates: {promoted: true, runs: 2}").await;
    stand.rewrite(
        "path: clusters/production\n",
        "path: clusters/production\n  cluster: {kubeconfig: gone.kubeconfig, namespace: shop}\n",
    );
    let cluster = stand.cluster().await;
    cluster.says(Some(("Stepping", "Promoted", "v1.3.0"))).await;
    let daemon = Daemon::start(&stand);
    let first = daemon.until("/environments", "Environments").await;
    // Nobody waits for what is not read yet.
    assert!(
        first.contains("is being read") || first.contains("v1.3.0"),
        "{first}"
    );
    let page = daemon.until("/environments", "v1.3.0").await;
    for wanted in [
        "<td>backend</td><td>local</td>",
        "staging has it",
        "waits for production",
        // The daemon is a real one, and has taken the Rollout in hand.
        "<strong>shut</strong>: shop/backend in staging is ",
        // The daemon's own runs are too few, whether it has noted that of the status yet or not.
        ", 2 are asked for",
        "gone.kubeconfig",
        "<code title=\"v1.2.0\">v1.2.0</code>",
        "Release <code>",
        "http-equiv=\"refresh\"",
    ] {
        assert!(page.contains(wanted), "{wanted}\n{page}");
    }
    let overview = daemon.until("/", "Rollouts").await;
    assert!(overview.contains("href=\"/environments\""), "{overview}");

    let answer = daemon.get("/environments").await.unwrap();
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let answer = daemon.get("/api/pipeline").await.unwrap();
    let told: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let places = told["places"].as_array().unwrap();
    assert_eq!(places.len(), 6, "{told:#}");
    assert!(
        told["read"].is_string() && told.get("wrong").is_none(),
        "{told:#}"
    );
    let of = |environment: &str| {
        let mut found = places.iter();
        let found = found
            .find(|place| place["environment"] == environment && place["service"] == "backend");
        found.unwrap()
    };
    assert_eq!(of("staging")["version"], "v1.3.0");
    let phase = of("staging")["phase"].as_str().unwrap();
    assert!(["Stepping", "Adopting"].contains(&phase), "{phase}");
    assert_eq!(of("staging")["gates"][0]["open"], false);
    assert_eq!(of("production")["version"], "v1.2.0");
    let away = of("production")["phase"].as_str().unwrap();
    assert!(away.contains("gone.kubeconfig"), "{away}");
}

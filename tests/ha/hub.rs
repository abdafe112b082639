//! One process for several environments, in real time: clusters that are away, that hang and that come
//! late hold up no other, and each sees its own credentials only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::api::ListParams;
use serde_json::Value;
use sluice::clock::Clock;
use sluice::kubernetes::gate;
use sluice::sandbox::cluster::Options;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::child::{Server, free_ports};
use crate::process::file;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// The hub's process.
struct Hub {
    server: Server,
    listen: SocketAddr,
}

impl Hub {
    fn start(listen: SocketAddr, files: &[PathBuf]) -> Self {
        let mut arguments = vec!["run".to_owned()];
        for file in files {
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        let program = env!("CARGO_BIN_EXE_sluice");
        let server = Server::start(program, &arguments, &file("hub", "log"));
        Self { server, listen }
    }

    /// The status and the text of a page; 0 where nobody answers.
    async fn page(&self, path: &str) -> (u16, String) {
        let client = sluice::prometheus::http_client(SECOND * 2).unwrap();
        let Ok(answer) = client
            .get(format!("http://{}{path}", self.listen))
            .send()
            .await
        else {
            return (0, String::new());
        };
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap_or_default())
    }

    async fn is_ready(&self, path: &str) -> bool {
        self.page(path).await.0 == 200
    }
}

/// The settings of an environment with a token of its own, as a file.
fn settings(name: &str, listen: SocketAddr, metrics: SocketAddr) -> PathBuf {
    let (config, kubeconfig) = (file(&format!("hub-{name}"), "yaml"), kubeconfig(name));
    let text = format!(
        "environment: {name}\ncluster: {{kubeconfig: \"{}\", namespaces: [{}]}}\nlisten: {listen}\n\
         leaderElection: {{enabled: true, name: {name}}}\n\
         evidence: {{every: 500ms, settle: 500ms, scrape: {{targets: [\"http://{metrics}/metrics\"]}}}}\n",
        kubeconfig.display(),
        if name == "late" {
            "elsewhere"
        } else {
            "default"
        },
    );
    std::fs::write(&config, text).unwrap();
    config
}

fn kubeconfig(name: &str) -> PathBuf {
    file(&format!("hub-{name}"), "kube")
}

fn write_kubeconfig(world: &World, name: &str, api: SocketAddr) {
    let user = format!("user: {{token: \"of-{name}\"}}");
    let text = world.cluster.api.kubeconfig(api).replace("user: {}", &user);
    std::fs::write(kubeconfig(name), text).unwrap();
}

/// A cluster at these addresses whose gate lets this environment's daemon pass.
async fn cluster(name: &str, [api, metrics]: [SocketAddr; 2]) -> World {
    let world = World::with(Options {
        api: Some(api),
        metrics: Some(metrics),
        reload: Duration::from_millis(20),
        ..Options::in_process(Clock::at_speed(1.0), 7)
    })
    .await;
    for object in gate::manifests(&format!("of-{name}")) {
        world.apply(object).await;
    }
    world
}

/// Accepts, keeps what it is sent, and never answers.
async fn silent(kept: Arc<Mutex<Vec<u8>>>, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            open.spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    kept.lock().unwrap().extend(&bytes[..count]);
                }
            });
        }
    });
    address
}

/// Who asked this cluster for anything, of the daemons.
fn strangers(world: &World, allowed: &[&str]) -> Vec<String> {
    let users = world.cluster.api.requests().all();
    let users = users.into_keys().map(|key| key.user);
    let mut users: Vec<String> = users.filter(|user| user.starts_with("of-")).collect();
    users.dedup();
    users.retain(|user| !allowed.contains(&user.as_str()));
    users
}

async fn holder(world: &World, lease: &str) -> Option<Value> {
    let leases = world.leases().list(&ListParams::default()).await.unwrap();
    let mut leases = leases.items.into_iter();
    let lease = leases.find(|found| found.metadata.name.as_deref() == Some(lease))?;
    lease.data["spec"].get("holderIdentity").cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_that_are_away_hang_or_come_late_hold_up_no_other() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let [page, one, two, three, four] = free_ports().map(local);
    let staging = cluster("staging", [one, two]).await;
    let (mut tasks, kept) = (JoinSet::new(), Arc::default());
    let hung = silent(Arc::clone(&kept), &mut tasks).await;
    let names = ["staging", "production", "edge", "late"];
    let files =
        names.map(|name| settings(name, page, if name == "production" { four } else { two }));
    write_kubeconfig(&staging, "staging", one);
    write_kubeconfig(&staging, "production", three);
    write_kubeconfig(&staging, "edge", hung);
    let hub = Hub::start(page, &files);
    let ready = |path: &'static str| {
        let hub = &hub;
        async move { hub.is_ready(path).await }
    };

    staging.app("shop", 100, "3600s").await;
    let guarded = || staging.guarded("shop");
    staging.until("shop is guarded", SECOND * 60, guarded).await;
    staging.release("shop", "2", "0.5").await;
    let ended = || async { staging.outcome("shop").await.is_some() };
    staging.until("the run ends", SECOND * 60, ended).await;
    assert_eq!(staging.outcome("shop").await.as_deref(), Some("RolledBack"));
    staging
        .until("the hub is ready", SECOND * 20, || ready("/readyz"))
        .await;
    let (_, text) = hub.page("/readyz").await;
    let lines = [
        "good staging: ready",
        "bad  production: cluster",
        "bad  edge: ",
        "bad  late: reading the kubeconfig",
    ];
    for line in lines {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!ready("/environments/production/readyz").await);
    let (_, text) = hub.page("/metrics").await;
    assert!(
        text.contains("sluice_leader{environment=\"staging\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("sluice_leader{environment=\"edge\"} 0"),
        "{text}"
    );
    let (_, text) = hub.page("/environments/staging/").await;
    assert!(
        text.contains("/environments/staging/rollouts/default/shop"),
        "{text}"
    );

    let production = cluster("production", [three, four]).await;
    write_kubeconfig(&staging, "late", one);
    production.app("shop", 10, "3600s").await;
    let guarded = || production.guarded("shop");
    production
        .until("production's shop is guarded", SECOND * 60, guarded)
        .await;
    let late = || ready("/environments/late/readyz");
    staging
        .until("the late one is ready", SECOND * 90, late)
        .await;

    assert_eq!(strangers(&staging, &["of-staging", "of-late"]), [""; 0]);
    assert_eq!(strangers(&production, &["of-production"]), [""; 0]);
    let sent = String::from_utf8_lossy(&kept.lock().unwrap()).into_owned();
    assert!(sent.contains("of-edge"), "{sent}");
    for foreign in ["of-staging", "of-production", "of-late"] {
        assert!(!sent.contains(foreign), "{sent}");
    }
    assert!(holder(&staging, "staging").await.is_some());
    assert!(holder(&staging, "production").await.is_none());
    assert!(holder(&production, "production").await.is_some());
    let log = std::fs::read_to_string(file("hub", "log")).unwrap();
    let line = "environment{environment=\"edge\"}: the API server does not answer yet";
    assert!(log.contains(line), "{log}");

    hub.server.signal("TERM");
    let ended = || std::future::ready(hub.server.ended());
    let took = staging.until("it has ended", SECOND * 10, ended).await;
    assert!(took < SECOND * 7 / 2, "{took:?}\n{}", hub.server.told());
    assert_eq!(hub.server.code(), 0);
}

//! The daemon as people run it: `sluice run` with a settings file, a process of its own.
//!
//! It meets the cluster over TCP by a kubeconfig and scrapes the router's page. Dropping the
//! handle ends the process.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use sluice::kubernetes::crd::ACCOUNT;

use super::Error;
use super::fleet::Fleet;
use super::pages::Pages;
use super::process::Process;
use super::stopwatch;

/// Time between two looks at the metrics where reactions are timed: longer than any reaction should
/// take, so that the look that led to a verdict is the last one before its effect.
pub const OFTEN: Duration = Duration::from_millis(400);
/// The daemon must be ready within this time.
const READY: Duration = Duration::from_secs(120);
/// The executable, where it is not the one that was built with the benchmarks.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Measures this executable, from now on.
pub fn measure_binary(binary: PathBuf) -> Result<(), Error> {
    BINARY.set(binary).map_err(|_| "one binary only".into())
}

fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_sluice"));
    BINARY.get().cloned().unwrap_or_else(built)
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    listen: SocketAddr,
    is_hub: bool,
}

/// An environment that it serves.
#[derive(Debug)]
pub struct Environment {
    name: String,
    kubeconfig: String,
    metrics: SocketAddr,
    every: Duration,
}

impl Environment {
    /// One on this cluster, with a look at the metrics so often.
    pub fn of(name: &str, fleet: &Fleet, pages: &Pages, every: Duration) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            kubeconfig: kubeconfig(fleet)?,
            metrics: pages.address,
            every,
        })
    }

    fn settings(&self, listen: SocketAddr) -> String {
        let (name, every) = (&self.name, humantime::format_duration(self.every));
        format!(
            "environment: {name}\ncluster: {{kubeconfig: {name}.kube}}\nlisten: {listen}\n\
             evidence:\n  every: {every}\n  block: {every}\n  settle: 100ms\n  \
             scrape: {{targets: [\"http://{}/metrics\"]}}\nlog: {{level: warn}}\n",
            self.metrics
        )
    }
}

impl Daemon {
    /// Starts one for these environments; for several it is a hub.
    pub fn start(environments: &[Environment]) -> Result<Self, Error> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("budgets");
        fs::create_dir_all(&folder)?;
        let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(binary());
        command.arg("run");
        for environment in environments {
            let name = &environment.name;
            let file = folder.join(format!("{name}.yaml"));
            fs::write(folder.join(format!("{name}.kube")), &environment.kubeconfig)?;
            fs::write(&file, environment.settings(listen))?;
            command.arg("--config").arg(file);
        }
        let child = command
            .env_clear()
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("daemon.log"))?)
            .spawn()?;
        Ok(Self {
            child,
            listen,
            is_hub: environments.len() > 1,
        })
    }

    /// Where its page is.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Waits until it says that it is ready, with all environments.
    pub async fn ready(&self) -> Result<(), Error> {
        let look = async {
            while !self.is_ready().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Ok(tokio::time::timeout(READY, look).await?)
    }

    /// Starts one, and waits until it is ready: how long that took.
    pub async fn timed(environments: &[Environment]) -> Result<(Self, Duration), Error> {
        let began = stopwatch::now();
        let daemon = Self::start(environments)?;
        daemon.ready().await?;
        Ok((daemon, began.elapsed()))
    }

    async fn is_ready(&self) -> bool {
        let text = self.get("readyz").await.unwrap_or_default();
        let all = !self.is_hub || text.lines().all(|line| line.starts_with("good"));
        !text.is_empty() && all
    }

    /// A page of its own listener; an error unless the answer is a good one.
    pub async fn get(&self, page: &str) -> Result<String, Error> {
        let client = sluice::prometheus::http_client(Duration::from_secs(2))?;
        let answer = client
            .get(format!("http://{}/{page}", self.listen))
            .send()
            .await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// A counter of its own metrics page; 0 if it is not there.
    pub async fn counter(&self, name: &str) -> Result<f64, Error> {
        let text = self.get("metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.map_or(Ok(0.0), |value| value.trim().parse())?)
    }

    /// Its process, as `/proc` has it.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Time on the processor so far.
    pub fn processor(&self) -> Result<Duration, Error> {
        self.process().processor()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cluster's kubeconfig, with the daemon's own account.
fn kubeconfig(fleet: &Fleet) -> Result<String, Error> {
    let address = fleet.cluster.api_address.ok_or("the API does not listen")?;
    let text = fleet.cluster.api.kubeconfig(address);
    Ok(text.replace("user: {}", &format!("user: {{token: \"{ACCOUNT}\"}}")))
}

//! The daemon as people run it: `sluice run` with a settings file, a process of its own.
//!
//! It meets the cluster over TCP by a kubeconfig and scrapes the router's page. Dropping the
//! handle ends the process.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice::kubernetes::crd::ACCOUNT;

use super::Error;
use super::fleet::Fleet;
use super::pages::Pages;

/// Time between two looks at the metrics: longer than any reaction should take, so that the
/// look that led to a verdict is the last one before its effect.
const EVERY: &str = "400ms";
/// The daemon must be ready within this time.
const READY: Duration = Duration::from_secs(60);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    listen: SocketAddr,
}

impl Daemon {
    /// Starts it.
    pub fn start(fleet: &Fleet, pages: &Pages) -> Result<Self, Error> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("budgets");
        fs::create_dir_all(&folder)?;
        let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(folder.join("kubeconfig"), kubeconfig(fleet)?)?;
        fs::write(folder.join("sluice.yaml"), settings(listen, pages))?;
        let child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["run", "--config"])
            .arg(folder.join("sluice.yaml"))
            .env_clear()
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("daemon.log"))?)
            .spawn()?;
        Ok(Self { child, listen })
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) -> Result<(), Error> {
        let look = async {
            while self.get("readyz").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        Ok(tokio::time::timeout(READY, look).await?)
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

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64, Error> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kibibytes.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Time on the processor so far.
    pub fn processor(&self) -> Result<Duration, Error> {
        /// Ticks a second of `/proc`, on every Linux that Rust runs on.
        const TICKS: u64 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: Result<Vec<u64>, _> = fields.map(str::parse).collect();
        Ok(Duration::from_millis(
            ticks?.iter().sum::<u64>() * 1000 / TICKS,
        ))
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

fn settings(listen: SocketAddr, pages: &Pages) -> String {
    format!(
        "environment: bench\ncluster: {{kubeconfig: kubeconfig}}\nlisten: {listen}\n\
         evidence:\n  every: {EVERY}\n  block: {EVERY}\n  settle: 100ms\n  \
         scrape: {{targets: [\"http://{}/metrics\"]}}\nlog: {{level: warn}}\n",
        pages.address
    )
}

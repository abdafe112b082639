//! The real binary, `sluice run`, as processes that can be killed, frozen and cut off.
//!
//! A shell stands between: it ends the daemon when its own standard input closes, which the kernel
//! does even if the test process is killed.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice::kubernetes::crd::ACCOUNT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::world::World;

/// Prints the daemon's process id, and ends it when nobody holds standard input any more.
const GUARD: &str =
    r#"log="$1"; shift; "$@" >"$log" 2>&1 & echo "$!"; cat; kill -9 "$!" 2>/dev/null; wait "$!""#;

/// A daemon. Dropping it kills it.
pub struct Process {
    shell: Child,
    pid: u32,
    page: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts one of this name that reaches the API server at `api`.
    pub fn start(world: &World, name: &str, api: SocketAddr, settings: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ha");
        std::fs::create_dir_all(&folder).unwrap();
        let file = |end: &str| folder.join(format!("{}-{name}.{end}", std::process::id()));
        let page = free_address();
        let kubeconfig = world.cluster.api.kubeconfig(api);
        let user = format!("user: {{token: \"{ACCOUNT}\"}}");
        std::fs::write(file("kube"), kubeconfig.replace("user: {}", &user)).unwrap();
        let text = format!(
            "cluster: {{kubeconfig: \"{}\"}}\nlisten: {page}\n\
             evidence: {{every: 500ms, settle: 500ms, scrape: {{targets: [\"http://{}/metrics\"]}}}}\n\
             {settings}\n",
            file("kube").display(),
            world.cluster.metrics[0],
        );
        std::fs::write(file("yaml"), text).unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(file("log"))
            .arg(env!("CARGO_BIN_EXE_sluice"))
            .args(["run", "--config"])
            .arg(file("yaml"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        let out = shell.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut pid).unwrap();
        Self {
            shell,
            pid: pid.trim().parse().unwrap(),
            page,
            log: file("log"),
        }
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).arg(self.pid.to_string());
        assert!(kill.status().unwrap().success());
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.map_or(true, |stat| {
            stat.rsplit(')').next().unwrap().starts_with(" Z")
        })
    }

    /// The exit code of one that has ended.
    pub fn code(mut self) -> i32 {
        drop(self.shell.stdin.take());
        self.shell.wait().unwrap().code().unwrap()
    }

    /// A page of its listener, if it answers within a second.
    pub async fn page(&self, path: &str) -> Option<String> {
        let client = sluice::prometheus::http_client(Duration::from_secs(1)).unwrap();
        let asked = client.get(format!("http://{}/{path}", self.page)).send();
        let answer = asked.await.ok()?.error_for_status().ok()?;
        answer.text().await.ok()
    }

    /// Whether it says that it leads; one that does not answer does not.
    pub async fn leads(&self) -> bool {
        let text = self.page("metrics").await.unwrap_or_default();
        text.lines().any(|line| line == "sluice_leader 1")
    }

    /// The end of what it logged.
    pub fn told(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        self.shell.wait().ok();
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// A way to the API server that can be cut: then it accepts connections and brings nothing.
pub struct Way {
    pub address: SocketAddr,
    cut: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Way {
    pub async fn to(api: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let gate = cut.subscribe();
        tasks.spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(api).await else {
                    continue;
                };
                let ((from_in, from_out), (to_in, to_out)) = (from.into_split(), to.into_split());
                pumps.spawn(pump(from_in, to_out, gate.clone()));
                pumps.spawn(pump(to_in, from_out, gate.clone()));
            }
        });
        Self {
            address,
            cut,
            _tasks: tasks,
        }
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let open = cut.wait_for(|cut| !cut).await.is_ok();
        if read == 0 || !open || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

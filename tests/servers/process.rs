//! The real binary, `sluice run`, as processes that can be killed, frozen and asked to end.
//!
//! A daemon ends with its test (`child`). Not here: the cluster that it serves, and the way there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{Server, free_ports};

/// How a daemon is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// What its files are called.
    pub name: &'a str,
    /// How it connects.
    pub kubeconfig: &'a Path,
    /// Where the routers' metrics are.
    pub metrics: SocketAddr,
    /// The namespaces that it serves; none: all.
    pub namespaces: &'a [&'a str],
    /// More of its settings, as YAML.
    pub settings: &'a str,
}

/// A daemon. Dropping it kills it.
pub struct Process {
    server: Server,
    page: SocketAddr,
}

impl Process {
    pub fn start(start: Start<'_>) -> Self {
        let [port] = free_ports();
        let page = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = format!(
            "cluster: {{kubeconfig: \"{}\", namespaces: {:?}}}\nlisten: {page}\n\
             evidence: {{every: 500ms, settle: 500ms, scrape: {{targets: [\"http://{}/metrics\"]}}}}\n\
             {}\n",
            start.kubeconfig.display(),
            start.namespaces,
            start.metrics,
            start.settings,
        );
        Self::configured(start.name, page, &text)
    }

    /// A daemon of this name with these settings, by which it listens there.
    pub fn configured(name: &str, page: SocketAddr, settings: &str) -> Self {
        let config = file(name, "yaml");
        std::fs::write(&config, settings).expect("its settings");
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let program = env!("CARGO_BIN_EXE_sluice");
        Self {
            server: Server::start(program, &arguments, &file(name, "log")),
            page,
        }
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        self.server.signal(name);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.server.ended()
    }

    /// The exit code of one that has ended.
    pub fn code(self) -> i32 {
        self.server.code()
    }

    /// The end of what it logged.
    pub fn told(&self) -> String {
        self.server.told()
    }

    /// Where its listener is.
    pub fn address(&self) -> SocketAddr {
        self.page
    }

    /// A page of its listener, if it answers within a second.
    pub async fn page(&self, path: &str) -> Option<String> {
        let client = sluice::prometheus::http_client(Duration::from_secs(1)).expect("a client");
        let asked = client.get(format!("http://{}/{path}", self.page)).send();
        let answer = asked.await.ok()?.error_for_status().ok()?;
        answer.text().await.ok()
    }

    /// Whether it says that it leads; one that does not answer does not.
    pub async fn leads(&self) -> bool {
        let text = self.page("metrics").await.unwrap_or_default();
        text.lines().any(|line| line == "sluice_leader 1")
    }

    /// Whether it is ready, and follows another.
    pub async fn follows(&self) -> bool {
        let text = self.page("readyz").await;
        text.is_some_and(|text| text.contains("follows"))
    }
}

/// A file of a daemon of this name, in a folder that is the test's own.
pub fn file(name: &str, end: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("daemons");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(format!("{}-{name}.{end}", std::process::id()))
}

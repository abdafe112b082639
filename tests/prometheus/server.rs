//! A metrics server as a child process: Debian's `prometheus`, or `victoria-metrics`.
//!
//! It ends with the test, however that ends (`child`). Its port and data stay the same from one
//! start to the next.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::child::{self, free_ports};
use crate::needs;

/// Which program serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    /// Whether it is installed. If not, it is said aloud, and where nothing may be left out it
    /// is a failure.
    pub fn is_here(self) -> bool {
        let program = self.program();
        needs::is_here(program, &["--version"], "a test on it")
    }
}

/// What is scraped how often.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    /// In seconds.
    pub every: u64,
    pub targets: Vec<SocketAddr>,
    /// Labels that every series of it gets.
    pub labels: Vec<(&'static str, String)>,
}

/// A server with a place for its data.
pub struct Server {
    kind: Kind,
    address: SocketAddr,
    folder: PathBuf,
    running: Option<child::Server>,
    /// More arguments.
    more: Vec<String>,
}

impl Server {
    /// A server that does not run yet; its address is known.
    pub fn new(kind: Kind) -> Self {
        let [port] = free_ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let folder = std::env::temp_dir().join(format!(
            "sluice-{}-{}-{}",
            kind.program(),
            std::process::id(),
            address.port()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            kind,
            address,
            folder,
            running: None,
            more: Vec::new(),
        }
    }

    /// With this argument too.
    pub fn with(mut self, argument: &str) -> Self {
        self.more.push(argument.to_owned());
        self
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it keeps its data; blocks may be laid there before it starts.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts it with these jobs and waits until it answers.
    pub async fn begin(&mut self, jobs: &[Job]) {
        std::fs::write(self.folder.join("config.yml"), config(jobs)).unwrap();
        self.start().await;
    }

    /// Starts it (again) and waits until it answers.
    pub async fn start(&mut self) {
        assert!(self.running.is_none());
        let log = self.folder.join("log");
        let program = self.kind.program();
        let arguments = [self.arguments(), self.more.clone()].concat();
        self.running = Some(child::Server::start(program, &arguments, &log));
        self.wait_until_ready().await;
    }

    fn arguments(&self) -> Vec<String> {
        let (folder, address) = (self.folder.display(), self.address);
        match self.kind {
            Kind::Prometheus => vec![
                format!("--config.file={folder}/config.yml"),
                format!("--storage.tsdb.path={folder}/data"),
                format!("--web.listen-address={address}"),
            ],
            Kind::VictoriaMetrics => vec![
                format!("-promscrape.config={folder}/config.yml"),
                format!("-storageDataPath={folder}/data"),
                format!("-httpListenAddr={address}"),
                "-retentionPeriod=1d".to_owned(),
            ],
        }
    }

    async fn wait_until_ready(&self) {
        let client = sluice::prometheus::http_client(Duration::from_secs(5)).unwrap();
        let path = match self.kind {
            Kind::Prometheus => "-/ready",
            Kind::VictoriaMetrics => "health",
        };
        let url = format!("{}/{path}", self.url());
        for _ in 0..600 {
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let told = self.running.as_ref().map(child::Server::told);
        panic!("{url} does not answer\n{}", told.unwrap_or_default());
    }

    /// Waits until this many targets were scraped with success.
    pub async fn wait_for_targets(&self, wanted: usize) {
        let client = sluice::prometheus::http_client(Duration::from_secs(5)).unwrap();
        let url = format!("{}/api/v1/query?query=sum(up)", self.url());
        let wanted = format!("\"{wanted}\"");
        for _ in 0..600 {
            if let Ok(answer) = client.get(&url).send().await
                && answer.text().await.is_ok_and(|text| text.contains(&wanted))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{url} is never {wanted}");
    }

    /// Ends it at once, without a word.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Lets it stand still: connections are accepted, nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on, or starts it if it does not run.
    pub async fn mend(&mut self) {
        if self.running.is_none() {
            return self.start().await;
        }
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        self.running.as_ref().unwrap().signal(signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn config(jobs: &[Job]) -> String {
    let job = |job: &Job| {
        let labels: serde_json::Map<String, serde_json::Value> = job
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect();
        serde_json::json!({
            "job_name": job.name,
            "scrape_interval": format!("{}s", job.every),
            "scrape_timeout": format!("{}s", job.every.min(5)),
            "static_configs": [{"targets": job.targets, "labels": labels}],
        })
    };
    let jobs: Vec<_> = jobs.iter().map(job).collect();
    serde_json::json!({"scrape_configs": jobs}).to_string()
}

//! The history in a real `PostgreSQL`: Debian's, started by the test, with a password.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sluice::clock::Clock;
use sluice::history::{Filter, History, Place, Record, Seen, Server as Database, Which};
use sluice::kubernetes::crd::{LastRun, RunStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::child::{Server, free_ports};
use crate::needs;

const SECOND: Duration = Duration::from_secs(1);

/// Where the newest installed server is. If there is none, it is said aloud, and in CI it is a failure.
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let folders = versions.flatten().map(|version| version.path().join("bin"));
    let newest = folders.filter(|bin| bin.join("postgres").exists()).max();
    if newest.is_none() {
        needs::left_out("a test on PostgreSQL", "postgresql is missing");
    }
    newest
}

/// A server of this test, which refuses to run as root.
pub struct Postgres {
    pub folder: tempfile::TempDir,
    programs: PathBuf,
    pub port: u16,
    /// Settings of the next start.
    pub more: Vec<String>,
    server: Option<Server>,
}

impl Postgres {
    pub fn new(programs: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "s3cret\n").unwrap();
        let [port] = free_ports();
        let made = Self {
            folder,
            programs,
            port,
            more: Vec::new(),
            server: None,
        };
        if is_root() {
            run(
                "chown",
                &[
                    "-R".as_ref(),
                    "postgres".as_ref(),
                    made.folder.path().as_os_str(),
                ],
            );
        }
        let password = format!("--pwfile={}", made.folder.path().join("password").display());
        let data = made.folder.path().join("data");
        let mut words = made.command("initdb");
        let more = [
            "-A",
            "scram-sha-256",
            "-U",
            "sluice",
            "--locale=C",
            "-E",
            "UTF8",
            "--no-sync",
        ];
        words.extend(more.map(str::to_owned));
        words.extend([password, "-D".to_owned(), data.display().to_string()]);
        let words: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
        run(words[0], &words[1..]);
        made
    }

    /// The program as the user who may run it.
    fn command(&self, program: &str) -> Vec<String> {
        let program = self.programs.join(program).display().to_string();
        let mut words = Vec::new();
        if is_root() {
            let drop = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
            ];
            words.extend(drop.map(str::to_owned));
        }
        words.push(program);
        words
    }

    pub fn start(&mut self) {
        let folder = self.folder.path().display();
        let mut words = self.command("postgres");
        words.extend([
            "-D".to_owned(),
            format!("{folder}/data"),
            format!("-p{}", self.port),
            format!("-k{folder}"),
            "-clisten_addresses=127.0.0.1".to_owned(),
            "-cfsync=off".to_owned(),
        ]);
        words.extend(self.more.iter().cloned());
        let log = self.folder.path().join("log");
        self.server = Some(Server::start(&words[0], &words[1..], &log));
    }

    pub fn stop(&mut self) {
        self.server = None;
    }

    fn place(&self) -> Place {
        self.at(self.port)
    }

    /// Reached at another port.
    fn at(&self, port: u16) -> Place {
        Place::Postgres(Database {
            url: format!("postgres://sluice@127.0.0.1:{port}/postgres?sslmode=disable"),
            password_file: Some(self.folder.path().join("password")),
            ca_file: None,
        })
    }
}

/// Passes on what comes, each piece so much later, however many are under way.
async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, by: Duration) {
    let (piece, mut pieces) = mpsc::unbounded_channel();
    let read = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let _ = piece.send((Instant::now() + by, bytes[..count].to_vec()));
        }
        drop(piece);
    };
    let write = async {
        while let Some((due, bytes)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// A line to this port of so long a way, as its own port; it is there as long as its task.
async fn line(port: u16, way: Duration) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, mut tasks) = (listener.local_addr().unwrap().port(), JoinSet::new());
    tasks.spawn(async move {
        let mut both = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
            both.spawn(late(near_out, far_in, way));
            both.spawn(late(far_out, near_in, way));
        }
    });
    (own, tasks)
}

pub fn is_root() -> bool {
    let status = std::fs::metadata("/proc/self").unwrap();
    std::os::unix::fs::MetadataExt::uid(&status) == 0
}

pub fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&std::ffi::OsStr]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

struct Life {
    history: History,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Life {
    fn begin(place: Place) -> Self {
        Self::of("test", place)
    }

    fn of(environment: &str, place: Place) -> Self {
        let origin = "2026-01-01T00:02:00Z".parse().unwrap();
        // Ten times as fast: what failed is tried again after a second.
        let clock = Clock::scaled(origin, 10.0);
        let keep = SECOND * 86_400;
        let (history, keeper) = History::new(environment, place, keep, clock, drop);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(keeper.keep_up(stop.clone()));
        Self {
            history,
            stop,
            tasks,
        }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    fn pass(&self, running: Option<&str>, ended: Option<&str>) {
        let revision = json!({"hash": "91bc03aa17", "images": ["shop:v2"]});
        let (started, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        let run: Option<RunStatus> = running.map(|id| {
            let run = json!({
                "id": id, "revision": revision, "weight": 5, "started": started, "since": started,
                "verdict": "Undecided",
            });
            serde_json::from_value(run).unwrap()
        });
        let last: Option<LastRun> = ended.map(|id| {
            let last = json!({
                "id": id, "revision": revision, "outcome": "RolledBack", "reason": "Worse",
                "message": "49 times worse", "started": started, "ended": end,
            });
            serde_json::from_value(last).unwrap()
        });
        let seen = Seen {
            namespace: "shop",
            name: "backend",
            target: "backend",
            stable: None,
            run: run.as_ref(),
            last_run: last.as_ref(),
            git: None,
        };
        self.history
            .seen(seen, "2026-01-01T00:00:30Z".parse().unwrap());
    }

    /// The ids of the runs, once so many are there.
    async fn runs(&self, wanted: usize) -> Vec<String> {
        let all = || Filter {
            limit: 100,
            ..Filter::default()
        };
        let look = async {
            loop {
                match self.history.list(all()).await {
                    Ok(runs) if runs.len() >= wanted => {
                        return runs.into_iter().map(|run| run.run).collect();
                    }
                    _ => tokio::time::sleep(SECOND / 10).await,
                }
            }
        };
        tokio::time::timeout(SECOND * 60, look)
            .await
            .expect("the runs")
    }

    async fn one(&self, run: &str) -> Record {
        let which = Which {
            run: run.to_owned(),
            ..Which::default()
        };
        self.history.one(which).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_each_run_once_over_lives_and_outages() {
    let Some(programs) = programs() else {
        return;
    };
    let mut server = Postgres::new(programs);
    let life = Life::begin(server.place());
    // The server is not up yet: what is handed in waits.
    life.pass(Some("one"), None);
    server.start();
    life.pass(Some("one"), Some("zero"));
    assert_eq!(life.runs(1).await, ["zero"]);
    life.end().await;
    for _ in 0..2 {
        let life = Life::begin(server.place());
        life.pass(None, Some("one"));
        let mut runs = life.runs(2).await;
        runs.sort();
        assert_eq!(runs, ["one", "zero"]);
        assert_eq!(
            life.one("one").await.curve.len(),
            1,
            "what the first life saw"
        );
        life.end().await;
    }
    let life = Life::begin(server.place());
    assert_eq!(life.runs(2).await.len(), 2);
    server.stop();
    life.pass(None, Some("two"));
    server.start();
    assert_eq!(life.runs(3).await.len(), 3);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_far_away_keeps_all_runs() {
    let Some(programs) = programs() else {
        return;
    };
    let mut server = Postgres::new(programs);
    server.start();
    let near = Life::begin(server.place());
    near.pass(None, Some("first"));
    near.runs(1).await;
    near.end().await;
    let (port, _line) = line(server.port, SECOND / 20).await;
    let life = Life::begin(server.at(port));
    for run in 0..99 {
        life.pass(None, Some(&format!("run-{run}")));
    }
    assert_eq!(life.runs(100).await.len(), 100);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environments_that_share_a_database_are_listed_apart() {
    let Some(programs) = programs() else {
        return;
    };
    let mut server = Postgres::new(programs);
    server.start();
    let (staging, production) = (
        Life::of("staging", server.place()),
        Life::of("production", server.place()),
    );
    staging.pass(None, Some("one"));
    staging.runs(1).await;
    production.pass(None, Some("one"));
    production.runs(2).await;
    production.pass(None, Some("two"));
    assert_eq!(
        staging.runs(3).await.len(),
        3,
        "all of them, unless one is named"
    );
    for (life, name, wanted) in [
        (&staging, "staging", &["one"][..]),
        (&staging, "production", &["one", "two"][..]),
        (&production, "nowhere", &[][..]),
    ] {
        let only = Filter {
            environment: Some(name.to_owned()),
            limit: 100,
            ..Filter::default()
        };
        let mut runs = life.history.list(only).await.unwrap();
        assert!(runs.iter().all(|run| run.environment == name), "{runs:?}");
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        let runs: Vec<&str> = runs.iter().map(|run| run.run.as_str()).collect();
        assert_eq!(runs, wanted, "{name}");
    }
    for (run, environment, wanted) in [
        ("one", Some("staging"), "staging"),
        ("one", Some("production"), "production"),
        ("two", Some("staging"), "production"),
        ("two", None, "production"),
    ] {
        let which = Which {
            run: run.to_owned(),
            environment: environment.map(str::to_owned),
            ..Which::default()
        };
        let found = staging.history.one(which).await.unwrap().unwrap();
        assert_eq!(
            found.summary.environment, wanted,
            "{run} of {environment:?}"
        );
    }
    staging.end().await;
    production.end().await;
}

/// Ten thousand runs of 50 Rollouts, made of one that the history wrote.
async fn ten_thousand(server: &Postgres) {
    let config = format!(
        "host=127.0.0.1 port={} user=sluice dbname=postgres password=s3cret",
        server.port
    );
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let many = "INSERT INTO sluice_runs (environment, namespace, name, run, started, ended, outcome, summary, record) \
        SELECT environment, namespace, 'app-' || (n % 50), run || '-' || n, started + n * 600000::bigint, ended + n * 600000::bigint, \
        outcome, replace(summary, '\"backend\"', '\"app-' || (n % 50) || '\"'), record FROM sluice_runs, generate_series(1, 10000) n";
    assert_eq!(client.execute(many, &[]).await.unwrap(), 10_000);
    // As the server does by itself after a while.
    client.batch_execute("ANALYZE sluice_runs").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // a server takes real time
async fn among_ten_thousand_runs_in_postgres_a_list_comes_at_once() {
    let Some(programs) = programs() else {
        return;
    };
    let mut server = Postgres::new(programs);
    server.start();
    let life = Life::begin(server.place());
    life.pass(None, Some("one"));
    life.runs(1).await;
    ten_thousand(&server).await;
    let all = Filter {
        limit: 100,
        ..Filter::default()
    };
    let one = Filter {
        name: Some("app-7".to_owned()),
        ..all.clone()
    };
    for (what, filter, wanted) in [("of all", all, 100), ("of one Rollout", one, 100)] {
        let mut took = Vec::new();
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            let runs = life.history.list(filter.clone()).await.unwrap();
            took.push(begun.elapsed());
            assert_eq!(runs.len(), wanted);
        }
        took.sort();
        let (median, slowest) = (took[10], took[19]);
        eprintln!(
            "100 runs {what} among 10,000 in PostgreSQL: median {median:?}, slowest of 20 {slowest:?}"
        );
        // The budget is 50 ms; a loaded machine has its time.
        assert!(slowest < SECOND, "{what}: {slowest:?}");
    }
    life.end().await;
}

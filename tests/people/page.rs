//! The page of a real daemon: acts, the history over a kill, and many open pages.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{self, Process};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const TOKEN: &str = "the-token-of-this-test";

/// A daemon with a shared token, whose history lies in this file.
fn daemon(world: &World, name: &str, history: &Path) -> Process {
    let token = process::file(name, "token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let settings = format!(
        "access: {{tokenFile: \"{}\"}}\nhistory: \"sqlite:{}\"",
        token.display(),
        history.display()
    );
    world.process(name, world.cluster.api_address.unwrap(), &settings)
}

/// The application `shop` whose new version gets its first share, and stays there.
pub async fn in_a_run(world: &World) {
    world.app("shop", 50, "3600s").await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    world.release("shop", "2", "0").await;
    let steps = || async { world.weight("shop").await == 5 };
    let what = "the canary gets traffic";
    world.until(what, SECOND * 60, steps).await;
}

async fn ask(daemon: &Process, act: &str, token: Option<&str>) -> (StatusCode, Value) {
    let client = sluice::prometheus::http_client(SECOND * 15).unwrap();
    let path = format!("api/rollouts/default/shop/{act}");
    let mut request = client.post(format!("http://{}/{path}", daemon.address()));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

async fn json(daemon: &Process, path: &str) -> Value {
    let text = daemon.page(path).await.unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// What the command line says of the daemon's history.
fn sluice(daemon: &Process, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments);
    command.args(["--server", &format!("http://{}", daemon.address())]);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether the file holds a run that goes on.
fn has_draft(history: &Path) -> bool {
    let Ok(file) = rusqlite::Connection::open(history) else {
        return false;
    };
    let query = "SELECT count(*) FROM sluice_runs WHERE ended IS NULL";
    let drafts: Result<i64, _> = file.query_row(query, (), |row| row.get(0));
    drafts.is_ok_and(|drafts| drafts == 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_at_the_page_is_done_and_a_run_is_kept_once_over_a_kill() {
    let world = World::listening().await;
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.db");
    let first = daemon(&world, "page", &history);
    in_a_run(&world).await;
    let page = first.page("rollouts/default/shop").await.unwrap();
    for wanted in [
        "Sign in to act",
        "<h1>default/shop</h1>",
        "shop:2",
        "Weight",
    ] {
        assert!(page.contains(wanted), "{wanted}\n{page}");
    }
    // The watches bring the pods; the page itself asks nothing of the API server.
    let pods = || async {
        let page = first
            .page("rollouts/default/shop")
            .await
            .unwrap_or_default();
        [
            "<td>stable</td>",
            "<td>canary</td>",
            "2 of 2 ready",
            "aria-current=\"step\"><strong>5%</strong>",
        ]
        .iter()
        .all(|wanted| page.contains(wanted))
    };
    world
        .until("pods and plan are on the page", SECOND * 60, pods)
        .await;
    assert_eq!(ask(&first, "hold", None).await.0, 401);
    assert_eq!(ask(&first, "hold", Some("guess")).await.0, 401);
    let (status, answer) = ask(&first, "hold", Some(TOKEN)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["by"], "the shared token");
    assert_eq!(world.phase("shop").await, "Held");
    let (status, answer) = ask(&first, "approve", Some(TOKEN)).await;
    assert_eq!(
        (status.as_u16(), &answer["done"]),
        (409, &json!(false)),
        "{answer}"
    );

    let drafted = || async { has_draft(&history) };
    world
        .until("the run is in the file", SECOND * 60, drafted)
        .await;
    drop(first);
    let second = daemon(&world, "page-2", &history);
    let up = || async { second.page("rollouts/default/shop").await.is_some() };
    world.until("the next daemon is up", SECOND * 60, up).await;
    let aborted = || async { ask(&second, "abort", Some(TOKEN)).await.0 == 200 };
    world
        .until("the run is aborted", SECOND * 60, aborted)
        .await;
    let ended = || async {
        let runs = json(&second, "api/history").await;
        runs["runs"][0]["outcome"] == "RolledBack"
    };
    world.until("the run is kept", SECOND * 60, ended).await;

    let runs = json(&second, "api/history").await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
    let run = runs["runs"][0]["run"].as_str().unwrap();
    let record = json(&second, &format!("api/runs/{run}")).await;
    let told: Vec<&str> = record["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| told["reason"].as_str().unwrap())
        .collect();
    for (reason, life) in [("RunStarted", 1), ("Held", 1), ("RolledBack", 2)] {
        assert!(told.contains(&reason), "{reason} of life {life}: {told:?}");
    }
    assert!(
        record["curve"]["at"].as_array().unwrap().len() > 5,
        "{record}"
    );

    let page = second.page("rollouts/default/shop").await.unwrap();
    assert!(
        page.contains("<h2 id=\"plan\">Plan <small>of the next run"),
        "{page}"
    );
    // Nothing earlier is known to be good, and the way back says so.
    let (status, answer) = ask(&second, "rollback", Some(TOKEN)).await;
    assert_eq!(status, 409, "{answer}");
    let said = answer["message"].as_str().unwrap_or_default();
    assert!(said.contains("no earlier revision"), "{answer}");

    assert!(sluice(&second, &["history"]).contains("RolledBack"));
    assert!(sluice(&second, &["explain", run]).contains("Timeline"));
    let report = sluice(&second, &["explain", run, "--html"]);
    assert!(report.contains("<svg") && report.contains("shop:2"));
    assert!(sluice(&second, &["dora"]).contains("shop"));
}

/// The resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_open_pages_cost_little_and_hear_of_changes() {
    const PAGES: usize = 500;
    let world = World::listening().await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(&world, "pages", &folder.path().join("history.db"));
    world.app("shop", 10, "3600s").await;
    let guarded = || world.guarded("shop");
    world.until("shop is guarded", SECOND * 60, guarded).await;
    let before = resident(daemon.pid());
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        let mut page = TcpStream::connect(daemon.address()).await.unwrap();
        let head = b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n";
        page.write_all(head).await.unwrap();
        pages.push(page);
    }
    for page in &mut pages {
        heard(page, "text/event-stream").await;
    }
    let cost = resident(daemon.pid()).saturating_sub(before);
    eprintln!("{PAGES} open pages: {cost} KiB");
    assert!(cost < 32 * 1024, "{cost} KiB");
    assert!(daemon.page("healthz").await.is_some());
    world.release("shop", "2", "0").await;
    for page in &mut pages {
        heard(page, "data: changed").await;
    }
    daemon.signal("TERM");
    let ended = || async { daemon.ended() };
    world.until("it ends", SECOND * 5, ended).await;
    assert_eq!(daemon.code(), 0);
}

/// Waits until this is heard on a stream.
async fn heard(page: &mut TcpStream, wanted: &str) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let hear = async {
        while !text.contains(wanted) {
            let count = page.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    let heard = tokio::time::timeout(SECOND * 60, hear).await;
    assert!(heard.is_ok(), "{wanted} was not heard");
}

/// What Chromium makes of a page after some seconds (`patience` is its option for them), and what it complains of.
pub fn browsed(profile: &Path, url: &str, patience: &str) -> (String, String) {
    let profile = format!("--user-data-dir={}", profile.display());
    let output = Command::new("timeout")
        .args([
            "60",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args([
            &profile,
            "--enable-logging=stderr",
            patience,
            "--dump-dom",
            url,
        ])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stderr);
    let console: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    (text(&output.stdout), console.join("\n"))
}

/// A picture of a page at this width in this theme, as a PNG beside the tests' other files.
fn pictured(url: &str, name: &str, width: u32, dark: bool) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    let theme = if dark { "dark" } else { "light" };
    let file = folder.join(format!("{name}-{width}-{theme}.png"));
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args([
            "240",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!(
            "--blink-settings=preferredColorScheme={}",
            u8::from(!dark)
        ))
        .arg(format!("--window-size={width},1800"))
        .arg(format!("--screenshot={}", file.display()))
        .args(["--timeout=4000", url])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let size = std::fs::metadata(&file).map_or(0, |file| file.len());
    assert!(size > 5_000, "{}: {size} bytes: {said}", file.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: make test-page"]
async fn a_real_browser_shows_the_pages_live_and_complains_of_nothing() {
    let world = World::listening().await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(&world, "browser", &folder.path().join("history.db"));
    in_a_run(&world).await;
    for (path, wanted) in [
        ("", "default/shop"),
        ("rollouts/default/shop", "Sign in to act"),
        ("history", "Past runs"),
        ("login?back=/", "Token"),
    ] {
        let url = format!("http://{}/{path}", daemon.address());
        let shown = || async {
            let url = url.clone();
            let browse = tokio::task::spawn_blocking(move || {
                let profile = tempfile::tempdir().unwrap();
                browsed(profile.path(), &url, "--timeout=5000")
            });
            let (page, complaints) = browse.await.unwrap();
            assert_eq!(complaints, "", "{path}");
            let live = page.contains("data-events=");
            page.contains(wanted) && page.contains("class=\"on\">live<") == live
        };
        world.until(path, SECOND * 60, shown).await;
        // To be looked at.
        let (url, name) = (url.clone(), path.replace(['/', '?', '='], "-"));
        let pictures = tokio::task::spawn_blocking(move || {
            for (width, dark) in [
                (360, false),
                (360, true),
                (800, false),
                (800, true),
                (1400, false),
                (1400, true),
            ] {
                pictured(&url, &format!("page{name}"), width, dark);
            }
        });
        pictures.await.unwrap();
    }
}

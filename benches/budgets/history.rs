//! What the history and the page cost: 10,000 runs in a file, and 200 Rollouts on the page.
//!
//! Not measured here: the network, and the browser.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use sluice::clock::Clock;
use sluice::history::{Filter, Found, History, Place, Record, Sqlite, Which, Work, Write};
use sluice::telemetry::Metrics;
use sluice::web::{self, Board, Entry, Nearby, Readiness, Streams, Versions, Web, router};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::table::Row;
use super::{Error, stopwatch};

const RUNS: i64 = 10_000;
const ROLLOUTS: usize = 200;
const BEGAN: i64 = 1_700_000_000;

/// Measures both.
pub async fn measure() -> Result<Vec<Row>, Error> {
    let mut rows = runs()?;
    rows.extend(page().await?);
    Ok(rows)
}

/// A run of ten minutes with two rules and as many points as are kept.
fn record(number: i64) -> Result<Record, Error> {
    let seconds = |second: i64| Timestamp::from_second(BEGAN + number * 600 + second);
    let values: Vec<[f32; 6]> = (0..300_u16)
        .map(|point| [10.0, 0.01, 190.0, 0.2, 0.003, 0.02].map(|value| value * f32::from(point)))
        .collect();
    let line =
        |name: &str| json!({"name": name, "bound": 5.3, "notWorseBound": 3.0, "values": values});
    let at: Vec<i64> = (0..300)
        .map(|point| BEGAN * 1000 + number * 600_000 + point * 2000)
        .collect();
    let record = json!({
        "environment": "bench", "namespace": "shop", "name": format!("app-{}", number % 50),
        "run": format!("91bc03aa17-{number}"),
        "revision": {"hash": "91bc03aa17", "images": ["registry.example/shop:v2"]},
        "outcome": "Promoted", "reason": "Promoted", "message": "canary 3 of 6120, stable 12 of 115900",
        "peak": 50, "started": seconds(0)?, "ended": seconds(600)?,
        "curve": {"at": at, "weight": vec![5; 300], "rules": [line("error-rate"), line("latency-p99")], "gap": 2000},
    });
    Ok(serde_json::from_value(record)?)
}

fn runs() -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.db");
    let mut store = Sqlite::open(&Place::Sqlite(path.clone()))?;
    let start = stopwatch::now();
    for batch in 0..RUNS / 100 {
        let numbers = batch * 100..(batch + 1) * 100;
        let writes: Result<Vec<Write>, Error> = numbers
            .map(|number| Ok(Write::Run(Box::new(record(number)?))))
            .collect();
        store.act(&Work::Put(writes?))?;
    }
    let wrote = start.elapsed() / u32::try_from(RUNS)?;
    let filter = Filter {
        limit: 100,
        ..Filter::default()
    };
    let listed = timed(&mut store, &Work::List(filter))?;
    let one = Filter {
        name: Some("app-7".to_owned()),
        limit: 100,
        ..Filter::default()
    };
    let of_one = timed(&mut store, &Work::List(one))?;
    let which = Which {
        run: format!("91bc03aa17-{}", RUNS / 2),
        ..Which::default()
    };
    let read = timed(&mut store, &Work::One(which))?;
    let bytes = std::fs::metadata(&path)?.len() / u64::try_from(RUNS)?;
    let under = |what: &str, took: Duration, most: u64| {
        let met = took < Duration::from_millis(most);
        Row::held(what, format!("{took:.1?}"), format!("< {most} ms"), met)
    };
    Ok(vec![
        under("history: the newest 100 of 10,000 runs", listed, 50),
        under("history: 100 runs of one Rollout among 10,000", of_one, 50),
        under("history: one run of 10,000, with its curve", read, 50),
        Row::known(
            "history: one run written, in batches",
            format!("{wrote:.1?}"),
        ),
        Row::known(
            "history: one run of 300 points in the file",
            format!("{} KiB", bytes / 1024),
        ),
    ])
}

/// The slowest of 20.
fn timed(store: &mut Sqlite, work: &Work) -> Result<Duration, Error> {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = stopwatch::now();
        let found = store.act(work)?;
        slowest = slowest.max(start.elapsed());
        if matches!(&found, Found::Runs(runs) if runs.len() != 100) || found == Found::One(None) {
            return Err("not what was written".into());
        }
    }
    Ok(slowest)
}

async fn page() -> Result<Vec<Row>, Error> {
    let board = Board::default();
    for number in 0..ROLLOUTS {
        board.set(entry(number)?);
    }
    let web = Web {
        place: web::Place::root("bench"),
        board,
        history: History::closed(),
        readiness: Readiness::waiting_for(&[]),
        metrics: Metrics::new(),
        streams: Streams::until(CancellationToken::new()),
        clock: Clock::machine(),
        versions: Versions::default(),
        nearby: Nearby::default(),
        hooks: axum::Router::new(),
        sessions: None,
        acts: axum::Router::new(),
    };
    let router = router(web);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = stopwatch::now();
        read(&router, "/", "gzip").await?;
        slowest = slowest.max(start.elapsed());
    }
    let name = format!("the page of {ROLLOUTS} Rollouts in a run");
    let mut rows = vec![Row::held(
        name.clone(),
        format!("{slowest:.1?}"),
        "< 200 ms",
        slowest < Duration::from_millis(200),
    )];
    for (encoding, how) in [("gzip", "compressed"), ("identity", "plain")] {
        let mut bytes = 0;
        for path in ["/", "/style.css", "/live.js", "/icon.svg"] {
            bytes += read(&router, path, encoding).await?;
        }
        rows.push(Row::held(
            format!("{name}, with style and script, {how}"),
            format!("{:.1} KB", bytes as f64 / 1000.0),
            "< 100 KB",
            bytes < 100_000,
        ));
    }
    Ok(rows)
}

/// The bytes of an answer's body.
async fn read(router: &axum::Router, path: &str, encoding: &str) -> Result<usize, Error> {
    let asked = Request::get(path).header("accept-encoding", encoding);
    let answer = router.clone().oneshot(asked.body(Body::empty())?).await?;
    Ok(to_bytes(answer.into_body(), 1 << 24).await?.len())
}

fn entry(number: usize) -> Result<Entry, Error> {
    let rule = |name: &str| -> Value {
        json!({
            "name": name, "verdict": "Undecided", "canaryTotal": 612, "canaryBad": 3, "stableTotal": 11590,
            "stableBad": 12, "exact": 2.65, "block": 0.4, "bound": 5.3, "notWorse": 1.2, "notWorseBound": 3,
            "sentence": "canary 3 of 612 (0.49%), stable 12 of 11590 (0.10%)",
        })
    };
    let run = json!({
        "id": "one", "revision": {"hash": "91bc03aa17", "images": ["shop:v2"]}, "step": "1/3", "weight": 5,
        "started": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "verdict": "Undecided",
        "rules": [rule("error-rate"), rule("latency-p99")],
    });
    Ok(Entry {
        namespace: "shop".to_owned(),
        name: format!("app-{number}"),
        target: format!("app-{number}"),
        phase: "Stepping".to_owned(),
        message: "91bc03aa17 (shop:v2) is tried at 5%".to_owned(),
        stable: None,
        run: Some(serde_json::from_value(run)?),
        last_run: None,
        git: None,
        updated: Timestamp::UNIX_EPOCH,
    })
}

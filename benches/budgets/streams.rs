//! How soon open pages hear of a change: from the request that changes a Rollout to each page's event, by the wall
//! clock, with one page open and with 500.
//!
//! The pages are read by this process, the daemon is one of its own. They are not read again at each event, as a
//! browser would do.

use std::net::SocketAddr;
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Error;
use super::daemon::{self, Daemon, Environment};
use super::fleet::Fleet;
use super::pages::Pages;
use super::stopwatch::{self, Instant, quantile};
use super::table::Row;

const ROLLOUTS: usize = 20;
const PAGES: usize = 500;
const TRIALS: usize = 10;
/// Longer than the daemon lets 500 pages rest and wait for their turn.
const QUIET: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(60);

/// A page heard of a change.
type Heard = (usize, Instant);

/// Measures with one page, and with many.
pub async fn measure() -> Result<Vec<Row>, Error> {
    let mut fleet = Fleet::start(1).await?;
    let pages = Pages::start(fleet.router()).await?;
    let place = Environment::of("streams", &fleet, &pages, daemon::OFTEN)?;
    let daemon = Daemon::start(&[place])?;
    daemon.ready().await?;
    fleet.grow(ROLLOUTS).await?;
    let mut rows = Vec::new();
    for open in [1, PAGES] {
        rows.extend(with(&fleet, &daemon, open).await?);
    }
    drop(daemon);
    fleet.stop().await?;
    Ok(rows)
}

async fn with(fleet: &Fleet, daemon: &Daemon, open: usize) -> Result<Vec<Row>, Error> {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for index in 0..open {
        let page = subscribe(daemon.listen()).await?;
        tasks.spawn(listen(page, index, sender.clone()));
    }
    let (mut waits, mut last) = (Vec::new(), Vec::new());
    for trial in 0..TRIALS {
        while tokio::time::timeout(QUIET, heard.recv()).await.is_ok() {}
        let asked = stopwatch::now();
        suspend(fleet, trial % 2 == 0).await?;
        let mut first: Vec<Option<Instant>> = vec![None; open];
        while first.contains(&None) {
            let next = tokio::time::timeout(PATIENCE, heard.recv()).await;
            let (index, at) = next?.ok_or("a page ended")?;
            first[index].get_or_insert(at);
        }
        let took = first
            .into_iter()
            .flatten()
            .map(|at| at.duration_since(asked));
        let mut took: Vec<Duration> = took.collect();
        took.sort();
        last.extend(took.last().copied());
        waits.extend(took);
    }
    waits.sort();
    last.sort();
    let shown = |took: Duration| format!("{:.0} ms", took.as_secs_f64() * 1e3);
    let name = format!("a change at the API to a page's event, {open} open, {TRIALS} changes");
    Ok(vec![
        Row::known(format!("{name}, p50"), shown(quantile(&waits, 0.5))),
        Row::known(format!("{name}, p99"), shown(quantile(&waits, 0.99))),
        Row::known(
            format!("{name}, the last page"),
            shown(quantile(&last, 1.0)),
        ),
    ])
}

/// An open page's stream, once it is answered.
async fn subscribe(address: SocketAddr) -> Result<TcpStream, Error> {
    let mut page = TcpStream::connect(address).await?;
    page.write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        .await?;
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains("text/event-stream") {
        match page.read(&mut buffer).await? {
            0 => return Err(format!("no stream: {text}").into()),
            count => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    Ok(page)
}

/// Tells each event, until the stream or the listener ends.
async fn listen(mut page: TcpStream, index: usize, heard: mpsc::UnboundedSender<Heard>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = page.read(&mut buffer).await {
        let at = stopwatch::now();
        let told = String::from_utf8_lossy(&buffer[..count]).contains("data: changed");
        if told && heard.send((index, at)).is_err() {
            return;
        }
    }
}

/// Suspends the first Rollout, or lets it go on.
async fn suspend(fleet: &Fleet, suspended: bool) -> Result<(), Error> {
    let app = fleet.app(0);
    let kind = GroupVersionKind::gvk("sluice.dev", "v1alpha1", "Rollout");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> =
        Api::namespaced_with(fleet.admin.clone(), &app.namespace, &resource);
    let patch = Patch::Merge(json!({"spec": {"suspended": suspended}}));
    api.patch(&app.name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

//! Between those who know of runs and the database: nothing waits for it.
//!
//! Passes hand in what they saw; the keeper writes it, in order, a batch at a time, one thing at
//! a time. What fails stays and is tried again; when too much waits, the newest is not taken and
//! is handed in again by a later pass. Runs that go on are written now and then, so that a crash
//! costs seconds of their curve. Whoever reads waits for a bounded time.
//!
//! Not here: what is written (`recorder`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::recorder::{Recorder, Seen};
use super::store::{Error, Found, Place, Server, Work, Write};
use super::{Filter, Postgres, Record, Sqlite, Summary, Which};
use crate::causes;
use crate::clock::Clock;
use crate::rollout::reason::Reason;

/// What may wait to be done by the database.
const BACKLOG: usize = 1024;
/// Writes of one transaction.
const BATCH: usize = 64;
/// How long a reader waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two tries after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// Runs that go on are written this often, to a file.
const DRAFTS: Duration = Duration::from_secs(30);
/// Old runs are forgotten this often.
const FORGET: Duration = Duration::from_secs(3600);
/// The last writes at the end.
const LAST: Duration = Duration::from_millis(400);

enum Ask {
    Write(Write),
    Read(Work, oneshot::Sender<Result<Found, Error>>),
}

/// Where runs are handed in and asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    recorder: Arc<Mutex<Recorder>>,
    asks: mpsc::Sender<Ask>,
    kept: bool,
    shared: bool,
}

/// How the history stands, for those who tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telling {
    /// It works, in words.
    Good(String),
    /// It does not, and why. What was written stays to be written.
    Bad(String),
}

/// Writes what is handed in.
#[allow(missing_debug_implementations)] // the asks have none
pub struct Keeper {
    place: Place,
    keep: Duration,
    environment: String,
    clock: Clock,
    asks: mpsc::Receiver<Ask>,
    recorder: Arc<Mutex<Recorder>>,
    store: Option<Database>,
    waiting: Vec<Write>,
    /// The last write failed: the next is tried after a while.
    failing: bool,
    tell: Box<dyn FnMut(Telling) + Send>,
}

/// A database that is open.
#[derive(Debug)]
enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

type Done = Result<(Found, Database), Error>;

fn in_sqlite(place: &Place, store: Option<Database>, work: Work) -> (Done, Work) {
    let store = match store {
        Some(Database::Sqlite(store)) => Ok(store),
        Some(Database::Postgres(_)) | None => Sqlite::open(place),
    };
    let done = store.and_then(|mut store| {
        let found = store.act(&work)?;
        Ok((found, Database::Sqlite(store)))
    });
    (done, work)
}

async fn in_postgres(server: &Server, store: Option<Database>, work: &Work) -> Done {
    let mut store = match store {
        Some(Database::Postgres(store)) => store,
        Some(Database::Sqlite(_)) | None => Postgres::open(server).await?,
    };
    let found = store.act(work).await?;
    Ok((found, Database::Postgres(store)))
}

impl History {
    /// A history at this place that keeps runs for `keep`, and what does the work; how it stands
    /// is told to `tell`.
    pub fn new(
        environment: &str,
        place: Place,
        keep: Duration,
        clock: Clock,
        tell: impl FnMut(Telling) + Send + 'static,
    ) -> (Self, Keeper) {
        let recorder = Arc::new(Mutex::new(Recorder::new(environment.to_owned())));
        let (sender, asks) = mpsc::channel(BACKLOG);
        let history = Self {
            recorder: Arc::clone(&recorder),
            asks: sender,
            kept: place != Place::Off,
            shared: matches!(place, Place::Postgres(_)),
        };
        let keeper = Keeper {
            place,
            keep,
            environment: environment.to_owned(),
            clock,
            asks,
            recorder,
            store: None,
            waiting: Vec::new(),
            failing: false,
            tell: Box::new(tell),
        };
        (history, keeper)
    }

    /// A history that keeps nothing.
    pub fn closed() -> Self {
        Self::new("", Place::Off, RETRY, Clock::machine(), drop).0
    }

    /// Whether other environments may keep theirs in the same place.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    fn recorder(&self) -> std::sync::MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was told of a run.
    pub fn told(&self, rollout: (&str, &str), run: &str, why: &Reason, at: Timestamp) {
        self.recorder().told(rollout, run, why, at);
    }

    /// A pass was made.
    pub fn seen(&self, seen: Seen<'_>, now: Timestamp) {
        let mut recorder = self.recorder();
        for write in recorder.seen(seen, now) {
            if self.kept && self.asks.try_send(Ask::Write(write)).is_err() {
                recorder.refused(seen.namespace, seen.name);
            }
        }
    }

    /// A Rollout is gone; its runs stay.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.recorder().forget(namespace, name);
    }

    /// The run of a Rollout that goes on, as far as this daemon watched it.
    pub fn live(&self, namespace: &str, name: &str) -> Option<Record> {
        self.recorder().live(namespace, name)
    }

    /// The runs that ended, newest first.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Summary>, Error> {
        match self.read(Work::List(filter)).await? {
            Found::Runs(runs) => Ok(runs),
            Found::Done | Found::One(_) => Ok(Vec::new()),
        }
    }

    /// One run; one that goes on as it is now.
    pub async fn one(&self, which: Which) -> Result<Option<Record>, Error> {
        if let (Some(namespace), Some(name)) = (&which.namespace, &which.name)
            && let Some(live) = self.live(namespace, name)
            && live.summary.run == which.run
        {
            return Ok(Some(live));
        }
        match self.read(Work::One(which)).await? {
            Found::One(record) => Ok(record.map(|record| *record)),
            Found::Done | Found::Runs(_) => Ok(None),
        }
    }

    async fn read(&self, work: Work) -> Result<Found, Error> {
        if !self.kept {
            return Err(Error::Off);
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            let ask = Ask::Read(work, answer);
            self.asks.send(ask).await.map_err(|_| Error::Silent)?;
            answered.await.map_err(|_| Error::Silent)?
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(Error::Silent))
    }
}

impl Keeper {
    /// Writes and reads until `stop`; then writes what is left, for a moment.
    pub async fn keep_up(mut self, stop: CancellationToken) {
        if self.place == Place::Off {
            (self.tell)(Telling::Good(self.place.told()));
            stop.cancelled().await;
            return;
        }
        self.forget_old().await;
        let (mut looked, mut drafted, mut forgot) = (self.clock.ticks(), None, self.clock.ticks());
        while !stop.is_cancelled() {
            let wait = RETRY.saturating_sub(self.clock.ticks().saturating_sub(looked));
            if let Some(ask) = self.asked(wait, &stop).await {
                self.serve(ask).await;
                continue;
            }
            looked = self.clock.ticks();
            if drafted.is_none_or(|at| looked.saturating_sub(at) >= DRAFTS) {
                drafted = Some(looked);
                self.take_drafts();
            }
            self.write().await;
            if looked.saturating_sub(forgot) >= FORGET {
                forgot = looked;
                self.forget_old().await;
            }
        }
        self.finish().await;
    }

    /// What is asked within this time.
    async fn asked(&mut self, wait: Duration, stop: &CancellationToken) -> Option<Ask> {
        if wait.is_zero() {
            return None;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            asked = self.asks.recv() => asked,
            () = self.clock.sleep(wait) => None,
        }
    }

    /// Does what is asked, and what was asked since.
    async fn serve(&mut self, first: Ask) {
        let mut next = Some(first);
        let mut reads = Vec::new();
        while let Some(ask) = next {
            match ask {
                Ask::Write(write) => self.take(write),
                Ask::Read(work, answer) => reads.push((work, answer)),
            }
            let full = self.waiting.len() >= BATCH;
            next = (!full).then(|| self.asks.try_recv().ok()).flatten();
        }
        if !self.failing {
            self.write().await;
        }
        for (work, answer) in reads {
            let found = self.act(work).await;
            let found = found.map(|(found, _)| found).map_err(|(error, _)| error);
            // Whoever asked may have gone.
            let _ = answer.send(found);
        }
    }

    fn take(&mut self, write: Write) {
        if self.waiting.len() >= BACKLOG {
            let (namespace, name) = write.rollout();
            let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.refused(namespace, name);
            return;
        }
        self.waiting.push(write);
    }

    /// Runs that go on are of use after a crash only.
    fn take_drafts(&mut self) {
        if !matches!(self.place, Place::Sqlite(_) | Place::Postgres(_)) {
            return;
        }
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let drafts = recorder.drafts();
        drop(recorder);
        for draft in drafts {
            self.take(Write::Run(Box::new(draft)));
        }
    }

    async fn write(&mut self) {
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH);
            let batch: Vec<Write> = self.waiting.drain(..count).collect();
            match self.act(Work::Put(batch)).await {
                Ok(_) => self.works(),
                Err((error, work)) => {
                    if let Work::Put(batch) = work {
                        self.waiting.splice(..0, batch);
                    }
                    self.failed(&error);
                    return;
                }
            }
        }
        if self.place == Place::Memory {
            self.forget_old().await;
        }
    }

    async fn forget_old(&mut self) {
        let newest = (self.place == Place::Memory).then_some(Place::NEWEST);
        let now = self.clock.now();
        let work = Work::Forget {
            environment: self.environment.clone(),
            before: now.checked_sub(self.keep).unwrap_or(Timestamp::MIN),
            newest,
        };
        match self.act(work).await {
            Ok(_) => self.works(),
            Err((error, _)) => self.failed(&error),
        }
    }

    fn works(&mut self) {
        self.failing = false;
        (self.tell)(Telling::Good(self.place.told()));
    }

    fn failed(&mut self, error: &Error) {
        self.failing = true;
        (self.tell)(Telling::Bad(causes::told(error)));
    }

    /// Does one thing; after a failure the database is opened anew.
    async fn act(&mut self, work: Work) -> Result<(Found, Work), (Error, Work)> {
        let (done, work) = match (&self.place, self.store.take()) {
            (Place::Postgres(server), store) => (in_postgres(server, store, &work).await, work),
            (Place::Memory, store) => in_sqlite(&Place::Memory, store, work),
            (Place::Off | Place::Sqlite(_), store) => {
                // Beside the runtime, since a disk may hang.
                let place = self.place.clone();
                let act = move || in_sqlite(&place, store, work);
                match tokio::task::spawn_blocking(act).await {
                    Ok(done) => done,
                    Err(_) => return Err((Error::Silent, Work::Put(Vec::new()))),
                }
            }
        };
        match done {
            Ok((found, store)) => {
                self.store = Some(store);
                Ok((found, work))
            }
            Err(error) => Err((error, work)),
        }
    }

    /// What is left, and the runs that go on.
    async fn finish(mut self) {
        let work = async {
            while let Ok(ask) = self.asks.try_recv() {
                if let Ask::Write(write) = ask {
                    self.take(write);
                }
            }
            self.take_drafts();
            self.write().await;
        };
        if tokio::time::timeout(LAST, work).await.is_err() {
            tracing::warn!("shutdown did not wait for the history");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::record::samples::run;
    use super::*;
    use crate::kubernetes::crd::LastRun;

    const NINETY_DAYS: Duration = Duration::from_secs(90 * 86_400);

    fn last(id: &str) -> LastRun {
        serde_json::from_value(serde_json::json!({
            "id": id, "revision": {"hash": "a", "images": []}, "outcome": "RolledBack",
            "reason": "Worse", "message": "49 times worse",
            "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
        }))
        .unwrap()
    }

    struct Life {
        history: History,
        stop: CancellationToken,
        task: JoinSet<()>,
        told: Arc<Mutex<Vec<Telling>>>,
    }

    impl Life {
        fn begin(place: Place) -> Self {
            let origin = "2026-01-01T00:02:00Z".parse().unwrap();
            let clock = Clock::scaled(origin, 1.0);
            let told = Arc::new(Mutex::new(Vec::new()));
            let tell = {
                let told = Arc::clone(&told);
                move |telling| told.lock().unwrap().push(telling)
            };
            let (history, keeper) = History::new("test", place, NINETY_DAYS, clock, tell);
            let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
            task.spawn(keeper.keep_up(stop.clone()));
            Self {
                history,
                stop,
                task,
                told,
            }
        }

        fn pass(&self, running: Option<&str>, ended: Option<&str>) {
            let (run, last) = (running.map(run), ended.map(last));
            let seen = Seen {
                namespace: "shop",
                name: "backend",
                target: "backend",
                stable: None,
                run: run.as_ref(),
                last_run: last.as_ref(),
                git: None,
            };
            let now = "2026-01-01T00:00:30Z".parse().unwrap();
            self.history.seen(seen, now);
        }

        async fn runs(&self) -> Vec<String> {
            let all = Filter {
                limit: 1000,
                ..Filter::default()
            };
            let runs = self.history.list(all).await.unwrap();
            runs.into_iter().map(|run| run.run).collect()
        }

        async fn end(mut self) {
            self.stop.cancel();
            while self.task.join_next().await.is_some() {}
        }

        async fn until_told(&self, wanted: impl Fn(&Telling) -> bool) {
            loop {
                if self.told.lock().unwrap().iter().any(&wanted) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test]
    async fn memory_keeps_the_newest() {
        let life = Life::begin(Place::Memory);
        for run in 0..150 {
            life.pass(None, Some(&format!("run-{run:03}")));
        }
        assert_eq!(life.runs().await.len(), Place::NEWEST);
        life.end().await;
    }

    #[tokio::test]
    async fn nothing_is_kept_where_nothing_should_be() {
        let life = Life::begin(Place::Off);
        life.pass(Some("one"), None);
        assert!(life.history.live("shop", "backend").is_some());
        let all = life.history.list(Filter::default()).await;
        assert!(matches!(all, Err(Error::Off)));
        life.end().await;
    }

    #[tokio::test]
    async fn a_crash_loses_no_run_and_keeps_none_twice() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("runs.db"));
        let life = Life::begin(place.clone());
        life.pass(Some("one"), None);
        life.end().await;
        for _ in 0..3 {
            // The daemon died after the status said so, at the latest: each life hands it in again.
            let life = Life::begin(place.clone());
            life.pass(None, Some("one"));
            assert_eq!(life.runs().await, ["one"]);
            let which = Which {
                run: "one".to_owned(),
                ..Which::default()
            };
            let kept = life.history.one(which).await.unwrap().unwrap();
            assert_eq!(kept.curve.len(), 1, "what was seen before the crash");
            drop(life);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_cannot_be_opened_is_told_and_what_was_seen_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        std::fs::write(&path, "no database".repeat(100)).unwrap();
        let life = Life::begin(Place::Sqlite(path.clone()));
        life.until_told(|told| matches!(told, Telling::Bad(_)))
            .await;
        life.pass(None, Some("one"));
        std::fs::remove_file(&path).unwrap();
        life.until_told(|told| matches!(told, Telling::Good(_)))
            .await;
        assert_eq!(life.runs().await, ["one"]);
        life.end().await;
    }

    #[tokio::test]
    async fn a_database_that_another_holds_delays_nobody_who_hands_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        let life = Life::begin(Place::Sqlite(path.clone()));
        life.until_told(|told| matches!(told, Telling::Good(_)))
            .await;
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let before = Clock::machine().ticks();
        for run in 0..5000 {
            life.pass(None, Some(&format!("run-{run:04}")));
        }
        let took = Clock::machine().ticks().saturating_sub(before);
        assert!(took < Duration::from_secs(2), "{took:?}");
        other.execute_batch("ROLLBACK").unwrap();
        life.pass(None, Some("run-4999"));
        assert!(life.runs().await.len() >= 64);
        life.end().await;
    }
}

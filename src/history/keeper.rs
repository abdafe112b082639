//! Between those who know of runs and the database: nothing waits for it.
//!
//! Passes hand in what they saw; the keeper writes it, in order, a batch at a time, one thing at
//! a time. What fails stays and is tried again, in smaller batches; a single write that the database itself
//! refuses each time is given up, and said. When too much waits, the newest is not taken and is handed in again
//! by a later pass. Runs that go on are written now and then, so that a crash costs seconds of their curve;
//! they wait once each, and not at all while nothing can be written. Whoever reads waits for a bounded time,
//! and takes no place from who writes.
//!
//! Not here: what is written (`recorder`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::error::TrySendError;
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
/// Those who read at one time.
const READERS: usize = 64;
/// The most writes of one transaction.
const BATCH: usize = 64;
/// Tries of a single write that the database itself refuses.
const TRIES: u32 = 6;
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
    Read(Reading),
}

type Reading = (Work, oneshot::Sender<Result<Found, Error>>);

/// Where runs are handed in and asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    recorder: Arc<Mutex<Recorder>>,
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Reading>,
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
    writes: mpsc::Receiver<Write>,
    reads: mpsc::Receiver<Reading>,
    recorder: Arc<Mutex<Recorder>>,
    store: Option<Database>,
    waiting: Vec<Write>,
    /// Writes of the next transaction: fewer after a failure, since it may be their number or one of them.
    batch: usize,
    /// Tries of the first that waits, alone.
    tries: u32,
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

/// What came of it, and the database, if it is still of use.
type Done = (Result<Found, Error>, Option<Database>);

fn in_sqlite(place: &Place, store: Option<Database>, work: &Work) -> Done {
    let opened = match store {
        Some(Database::Sqlite(store)) => Ok(store),
        Some(Database::Postgres(_)) | None => Sqlite::open(place),
    };
    let mut store = match opened {
        Ok(store) => store,
        Err(error) => return (Err(error), None),
    };
    let found = store.act(work);
    // What is in memory is nowhere else.
    let stays = *place == Place::Memory || found.as_ref().map_or_else(is_of_a_run, |_| true);
    (found, stays.then_some(Database::Sqlite(store)))
}

async fn in_postgres(server: &Server, store: Option<Database>, work: &Work) -> Done {
    let opened = match store {
        Some(Database::Postgres(store)) => Ok(store),
        Some(Database::Sqlite(_)) | None => Postgres::open(server).await,
    };
    let mut store = match opened {
        Ok(store) => store,
        Err(error) => return (Err(error), None),
    };
    let found = store.act(work).await;
    let stays = found.as_ref().map_or_else(is_of_a_run, |_| true);
    (found, stays.then_some(Database::Postgres(store)))
}

/// Whether it is what a run says that is wrong, not the database.
fn is_of_a_run(error: &Error) -> bool {
    matches!(error, Error::Decode(_) | Error::Encode(_))
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
        let (write, writes) = mpsc::channel(BACKLOG);
        let (read, reads) = mpsc::channel(READERS);
        let history = Self {
            recorder: Arc::clone(&recorder),
            writes: write,
            reads: read,
            kept: place != Place::Off,
            shared: matches!(place, Place::Postgres(_)),
        };
        let keeper = Keeper {
            place,
            keep,
            environment: environment.to_owned(),
            clock,
            writes,
            reads,
            recorder,
            store: None,
            waiting: Vec::new(),
            batch: BATCH,
            tries: 0,
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
            if !self.kept {
                continue;
            }
            match self.writes.try_send(write) {
                Ok(()) => {}
                Err(TrySendError::Full(write) | TrySendError::Closed(write)) => {
                    recorder.refused(write);
                }
            }
        }
    }

    /// Another daemon sees the runs from now on, or this one begins to.
    pub fn forget_all(&self) {
        self.recorder().forget_all();
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
            let asked = self.reads.send((work, answer)).await;
            asked.map_err(|_| Error::Silent)?;
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
                if !self.failing {
                    self.take_drafts();
                }
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
            Some(write) = self.writes.recv() => Some(Ask::Write(write)),
            Some(reading) = self.reads.recv() => Some(Ask::Read(reading)),
            () = self.clock.sleep(wait) => None,
        }
    }

    /// Does what is asked, and writes what was handed in since.
    async fn serve(&mut self, ask: Ask) {
        let reading = match ask {
            Ask::Write(write) => {
                self.take(write);
                None
            }
            Ask::Read(reading) => Some(reading),
        };
        while self.waiting.len() < BATCH
            && let Ok(write) = self.writes.try_recv()
        {
            self.take(write);
        }
        if !self.failing {
            self.write().await;
        }
        // Whoever asked may have gone.
        if let Some((work, answer)) = reading
            && !answer.is_closed()
        {
            let _ = answer.send(self.act(&Arc::new(work)).await);
        }
    }

    /// Takes a write, in the place of a draft of the same run; where too much waits, of any.
    fn take(&mut self, write: Write) {
        let same = |draft: &Write| draft.is_draft() && draft.key() == write.key();
        let is_full = self.waiting.len() >= BACKLOG;
        let any = |draft: &Write| is_full && !write.is_draft() && draft.is_draft();
        let place = self.waiting.iter().position(same);
        let place = place.or_else(|| self.waiting.iter().position(any));
        match place {
            Some(place) if matches!(write, Write::Run(_)) => self.waiting[place] = write,
            Some(_) | None if !is_full => self.waiting.push(write),
            Some(_) | None => {
                let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
                recorder.refused(write);
            }
        }
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
            let count = self.waiting.len().min(self.batch);
            let work = Arc::new(Work::Put(self.waiting.drain(..count).collect()));
            let done = self.act(&work).await;
            // A thread that ended abnormally may not have given it back.
            let batch = match Arc::try_unwrap(work).unwrap_or_else(|work| (*work).clone()) {
                Work::Put(batch) => batch,
                Work::List(_) | Work::One(_) | Work::Forget { .. } => Vec::new(),
            };
            match done {
                Ok(_) => {
                    (self.batch, self.tries) = ((self.batch * 2).min(BATCH), 0);
                    self.works();
                }
                Err(error) if self.is_given_up(&batch, &error) => self.works(),
                Err(error) => {
                    self.waiting.splice(..0, batch);
                    self.batch = (count / 2).max(1);
                    self.failed(&error);
                    return;
                }
            }
        }
        if self.place == Place::Memory {
            self.forget_old().await;
        }
    }

    /// Whether these are a single write that the database itself refuses each time; that is said. All others
    /// would wait behind it for ever.
    fn is_given_up(&mut self, batch: &[Write], error: &Error) -> bool {
        let [write] = batch else { return false };
        if !error.is_refusal() {
            return false;
        }
        self.tries += 1;
        if self.tries < TRIES {
            return false;
        }
        self.tries = 0;
        let ([_, namespace, rollout, run], error) = (write.key(), causes::told(error));
        tracing::error!(
            namespace,
            rollout,
            run,
            error,
            "a run is not kept: the history refuses it"
        );
        true
    }

    async fn forget_old(&mut self) {
        let newest = (self.place == Place::Memory).then_some(Place::NEWEST);
        let work = Work::Forget {
            environment: self.environment.clone(),
            now: self.clock.now(),
            keep: self.keep,
            newest,
        };
        match self.act(&Arc::new(work)).await {
            Ok(_) => self.works(),
            Err(error) => self.failed(&error),
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

    /// Does one thing; after a failure of the database it is opened anew.
    async fn act(&mut self, work: &Arc<Work>) -> Result<Found, Error> {
        let (found, store) = match (&self.place, self.store.take()) {
            (Place::Postgres(server), store) => in_postgres(server, store, work).await,
            (Place::Memory, store) => in_sqlite(&Place::Memory, store, work),
            (Place::Off | Place::Sqlite(_), store) => {
                // Beside the runtime, since a disk may hang.
                let (place, work) = (self.place.clone(), Arc::clone(work));
                let act = move || in_sqlite(&place, store, &work);
                let done = tokio::task::spawn_blocking(act).await;
                done.unwrap_or((Err(Error::Lost), None))
            }
        };
        self.store = store;
        found
    }

    /// What is left, and the runs that go on.
    async fn finish(mut self) {
        let work = async {
            while let Ok(write) = self.writes.try_recv() {
                self.take(write);
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

    use super::super::record::samples::{record, run};
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

    #[tokio::test(start_paused = true)]
    async fn a_run_that_the_database_refuses_each_time_keeps_no_other_from_being_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        drop(Sqlite::open(&Place::Sqlite(path.clone())).unwrap());
        let other = rusqlite::Connection::open(&path).unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON sluice_runs WHEN new.run = 'run-2'
            BEGIN SELECT raise(ABORT, 'no'); END";
        other.execute_batch(refuse).unwrap();
        let life = Life::begin(Place::Sqlite(path));
        for run in 0..5 {
            life.pass(None, Some(&format!("run-{run}")));
        }
        while life.runs().await.len() < 4 {
            tokio::time::sleep(RETRY).await;
        }
        let mut runs = life.runs().await;
        runs.sort();
        assert_eq!(runs, ["run-0", "run-1", "run-3", "run-4"]);
        assert!(matches!(
            life.told.lock().unwrap().last(),
            Some(Telling::Good(_))
        ));
        life.end().await;
    }

    #[test]
    fn what_waits_is_one_draft_a_run_and_gives_way_to_runs_that_ended() {
        let (_history, mut keeper) =
            History::new("test", Place::Memory, NINETY_DAYS, Clock::machine(), drop);
        let of = |run: usize, ended: bool| {
            let mut record = record("backend", &format!("run-{run}"), 60);
            if !ended {
                (record.summary.outcome, record.summary.ended) = (None, None);
            }
            Write::Run(Box::new(record))
        };
        for _ in 0..3 {
            keeper.take(of(0, false));
        }
        assert_eq!(keeper.waiting, [of(0, false)]);
        for run in 0..BACKLOG + 10 {
            keeper.take(of(run, false));
        }
        assert_eq!(keeper.waiting.len(), BACKLOG);
        keeper.take(of(0, true));
        keeper.take(of(BACKLOG + 5, true));
        assert_eq!(keeper.waiting.len(), BACKLOG);
        assert!(
            keeper.waiting.contains(&of(0, true))
                && keeper.waiting.contains(&of(BACKLOG + 5, true))
        );
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

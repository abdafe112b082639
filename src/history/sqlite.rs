//! Runs in `SQLite`: one file with a write-ahead log, or memory.
//!
//! Guarantees: a run is one row, whatever is written how often; a row of a run that ended is not
//! replaced; the tables' version is in a table, and steps between versions are taken in a
//! transaction each. Caveat: after a power failure the newest rows may be missing (`synchronous =
//! NORMAL`); the file is not damaged by that.
//!
//! Not here: when it is asked (`keeper`).

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};

use super::store::{Error, Found, Place, Work, Write, decode, milliseconds, steps};
use super::{Filter, Record, Summary, Which};

/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(2);

/// A database that is open.
#[derive(Debug)]
pub struct Sqlite(Connection);

impl Sqlite {
    /// Opens it and brings its tables up to date.
    pub fn open(place: &Place) -> Result<Self, Error> {
        let mut connection = match place {
            Place::Off | Place::Postgres(_) => return Err(Error::Off),
            Place::Memory => Connection::open_in_memory().map_err(|source| Error::Open {
                place: ":memory:".into(),
                source: source.into(),
            })?,
            Place::Sqlite(path) => open(path).map_err(|source| Error::Open {
                place: path.clone(),
                source: source.into(),
            })?,
        };
        migrate(&mut connection)?;
        Ok(Self(connection))
    }

    /// Does one thing.
    pub fn act(&mut self, work: &Work) -> Result<Found, Error> {
        match work {
            Work::Put(writes) => self.put(writes).map(|()| Found::Done),
            Work::List(filter) => self.list(filter).map(Found::Runs),
            Work::One(which) => self.one(which).map(|run| Found::One(run.map(Box::new))),
            Work::Forget {
                environment,
                now,
                keep,
                newest,
            } => self
                .forget(environment, (*now, *keep), *newest)
                .map_err(written)
                .map(|()| Found::Done),
        }
    }

    fn put(&mut self, writes: &[Write]) -> Result<(), Error> {
        let transaction = self.0.transaction().map_err(written)?;
        for write in writes {
            let kept = kept(&transaction, write.key())?;
            if let Some(record) = write.joined(kept) {
                write_row(&transaction, &record)?;
            }
        }
        transaction.commit().map_err(written)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let query = "SELECT summary FROM sluice_runs WHERE ended IS NOT NULL
            AND (:environment IS NULL OR environment = :environment)
            AND (:namespace IS NULL OR namespace = :namespace)
            AND (:name IS NULL OR name = :name)
            AND ended >= :since AND ended < :before
            ORDER BY ended DESC, run LIMIT :limit";
        let mut statement = self.0.prepare(query).map_err(read)?;
        let given = named_params! {
            ":environment": filter.environment,
            ":namespace": filter.namespace,
            ":name": filter.name,
            ":since": filter.since.map_or(i64::MIN, Timestamp::as_millisecond),
            ":before": filter.before.map_or(i64::MAX, Timestamp::as_millisecond),
            ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
        };
        let rows = statement.query_map(given, |row| row.get::<_, String>(0));
        let mut runs = Vec::new();
        for text in rows.map_err(read)? {
            let text = text.map_err(read)?;
            runs.push(serde_json::from_str(&text).map_err(Error::Decode)?);
        }
        Ok(runs)
    }

    fn one(&self, which: &Which) -> Result<Option<Record>, Error> {
        let query = "SELECT record FROM sluice_runs WHERE run = :run
            AND (:namespace IS NULL OR namespace = :namespace)
            AND (:name IS NULL OR name = :name)
            ORDER BY environment = :environment DESC, started DESC LIMIT 1";
        let given = named_params! {
            ":run": which.run,
            ":environment": which.environment,
            ":namespace": which.namespace,
            ":name": which.name,
        };
        let text = self
            .0
            .query_row(query, given, |row| row.get::<_, String>(0));
        let text = text.optional().map_err(read)?;
        text.map(|text| decode(&text)).transpose()
    }

    fn forget(
        &mut self,
        environment: &str,
        (now, keep): (Timestamp, Duration),
        newest: Option<usize>,
    ) -> Result<(), rusqlite::Error> {
        let old = "DELETE FROM sluice_runs WHERE environment = ?1 AND coalesce(ended, started) <
            min(?2, (SELECT max(coalesce(ended, started)) FROM sluice_runs WHERE environment = ?1)) - ?3";
        let (now, keep) = (now.as_millisecond(), milliseconds(keep));
        self.0.execute(old, params![environment, now, keep])?;
        if let Some(newest) = newest {
            let surplus = "DELETE FROM sluice_runs WHERE rowid IN (SELECT rowid FROM sluice_runs
                WHERE environment = ?1 ORDER BY coalesce(ended, started) DESC LIMIT -1 OFFSET ?2)";
            let newest = i64::try_from(newest).unwrap_or(i64::MAX);
            self.0.execute(surplus, params![environment, newest])?;
        }
        Ok(())
    }
}

fn written(error: rusqlite::Error) -> Error {
    Error::Write(error.into())
}

fn read(error: rusqlite::Error) -> Error {
    Error::Read(error.into())
}

fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| Error::Migrate(error.into());
    let found = version(connection).map_err(failed)?;
    for (step, version) in steps(found)? {
        let transaction = connection.transaction().map_err(failed)?;
        let taken = transaction.execute_batch(step).and_then(|()| {
            transaction.execute("DELETE FROM sluice_version", ())?;
            transaction.execute("INSERT INTO sluice_version VALUES (?1)", [version])
        });
        taken.map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let table = "CREATE TABLE IF NOT EXISTS sluice_version (version INTEGER NOT NULL)";
    connection.execute(table, ())?;
    let version = connection.query_row("SELECT version FROM sluice_version", (), |row| row.get(0));
    Ok(version.optional()?.unwrap_or(0))
}

/// The run of this key, if it can be read, and whether it has ended.
fn kept(
    transaction: &Transaction<'_>,
    key: [&str; 4],
) -> Result<Option<(Option<Record>, bool)>, Error> {
    let query = "SELECT record, ended IS NOT NULL FROM sluice_runs
        WHERE environment = ?1 AND namespace = ?2 AND name = ?3 AND run = ?4";
    let mut statement = transaction.prepare(query).map_err(read)?;
    let found = statement.query_row(key, |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    let found: Option<(String, bool)> = found.optional().map_err(read)?;
    Ok(found.map(|(text, ended)| (decode(&text).ok(), ended)))
}

fn write_row(transaction: &Transaction<'_>, record: &Record) -> Result<(), Error> {
    let summary = &record.summary;
    let statement = "INSERT OR REPLACE INTO sluice_runs
        (environment, namespace, name, run, started, ended, outcome, summary, record)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut statement = transaction.prepare(statement).map_err(written)?;
    let values = params![
        summary.environment,
        summary.namespace,
        summary.name,
        summary.run,
        summary.started.as_millisecond(),
        summary.ended.map(Timestamp::as_millisecond),
        summary.outcome,
        serde_json::to_string(summary).map_err(Error::Encode)?,
        serde_json::to_string(record).map_err(Error::Encode)?,
    ];
    statement.execute(values).map(drop).map_err(written)
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::record;
    use super::*;
    use crate::kubernetes::crd::{GitRemedy, GitStatus};
    use crate::rollout::remedy::RemedyOutcome;

    fn put(store: &mut Sqlite, records: Vec<Record>) {
        let writes = records.into_iter().map(|r| Write::Run(Box::new(r)));
        store.act(&Work::Put(writes.collect())).unwrap();
    }

    fn one(store: &mut Sqlite, run: &str) -> Option<Record> {
        let which = Which {
            run: run.to_owned(),
            ..Which::default()
        };
        match store.act(&Work::One(which)).unwrap() {
            Found::One(record) => record.map(|record| *record),
            other => panic!("{other:?}"),
        }
    }

    fn list(store: &mut Sqlite, filter: Filter) -> Vec<String> {
        match store.act(&Work::List(filter)).unwrap() {
            Found::Runs(runs) => runs.into_iter().map(|run| run.run).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn all() -> Filter {
        Filter {
            limit: 100,
            ..Filter::default()
        }
    }

    #[test]
    fn a_run_is_kept_once_and_the_fuller_record_stays() {
        let mut store = Sqlite::open(&Place::Memory).unwrap();
        let full = record("backend", "one", 60);
        let mut bare = full.clone();
        bare.decisions.clear();
        bare.curve = crate::history::Curve::default();
        put(&mut store, vec![full.clone(), bare.clone(), bare]);
        assert_eq!(one(&mut store, "one"), Some(full));
        assert_eq!(list(&mut store, all()), ["one"]);
    }

    #[test]
    fn what_a_life_before_saw_of_a_run_is_joined_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("runs.db"));
        let mut draft = record("backend", "one", 60);
        (draft.summary.outcome, draft.summary.ended) = (None, None);
        let mut store = Sqlite::open(&place).unwrap();
        put(&mut store, vec![draft.clone()]);
        assert_eq!(list(&mut store, all()), Vec::<String>::new());
        drop(store);
        let mut store = Sqlite::open(&place).unwrap();
        let mut bare = record("backend", "one", 60);
        bare.decisions.clear();
        bare.curve = crate::history::Curve::default();
        put(&mut store, vec![bare]);
        assert_eq!(one(&mut store, "one"), Some(record("backend", "one", 60)));
    }

    #[test]
    fn a_remedy_is_added_to_the_run_that_it_belongs_to() {
        let mut store = Sqlite::open(&Place::Memory).unwrap();
        put(&mut store, vec![record("backend", "one", 60)]);
        let remedy = GitRemedy::none(
            "one",
            RemedyOutcome::Reverted,
            "reverted",
            Timestamp::UNIX_EPOCH,
        );
        let git = Write::Git {
            environment: "test".to_owned(),
            namespace: "shop".to_owned(),
            name: "backend".to_owned(),
            run: "one".to_owned(),
            git: Box::new(GitStatus {
                remedy: Some(remedy.clone()),
                ..GitStatus::default()
            }),
        };
        store.act(&Work::Put(vec![git])).unwrap();
        let found = one(&mut store, "one").unwrap().git.unwrap();
        assert_eq!(found.remedy, Some(remedy));
    }

    #[test]
    fn runs_are_listed_newest_first_as_asked() {
        let mut store = Sqlite::open(&Place::Memory).unwrap();
        let runs = [
            ("a", "1", 10),
            ("b", "2", 20),
            ("a", "3", 30),
            ("a", "4", 40),
        ];
        put(
            &mut store,
            runs.map(|(name, run, end)| record(name, run, end)).into(),
        );
        assert_eq!(list(&mut store, all()), ["4", "3", "2", "1"]);
        let a = Filter {
            name: Some("a".to_owned()),
            limit: 2,
            ..Filter::default()
        };
        assert_eq!(list(&mut store, a), ["4", "3"]);
        let at = |second| Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
        let middle = Filter {
            since: at(20),
            before: at(40),
            ..all()
        };
        assert_eq!(list(&mut store, middle), ["3", "2"]);
        let forget = |now: i64, keep, newest| Work::Forget {
            environment: "test".to_owned(),
            now: at(now).unwrap(),
            keep: Duration::from_secs(keep),
            newest,
        };
        store.act(&forget(40, 20, None)).unwrap();
        assert_eq!(list(&mut store, all()), ["4", "3", "2"]);
        let ahead = 10 * 365 * 86_400;
        store.act(&forget(ahead, 15, None)).unwrap();
        assert_eq!(list(&mut store, all()), ["4", "3"]);
        store.act(&forget(0, 20, Some(1))).unwrap();
        assert_eq!(list(&mut store, all()), ["4"]);
    }

    #[test]
    fn environments_with_one_database_are_listed_apart() {
        let mut store = Sqlite::open(&Place::Memory).unwrap();
        let of = |environment: &str, run: &str, end| {
            let mut record = record("backend", run, end);
            environment.clone_into(&mut record.summary.environment);
            record
        };
        let all_runs = [
            of("staging", "1", 10),
            of("production", "2", 20),
            of("staging", "same", 30),
            of("production", "same", 40),
        ];
        put(&mut store, all_runs.into());
        let only = |environment: &str| Filter {
            environment: Some(environment.to_owned()),
            ..all()
        };
        assert_eq!(list(&mut store, only("staging")), ["same", "1"]);
        assert_eq!(list(&mut store, only("production")), ["same", "2"]);
        assert_eq!(list(&mut store, only("nowhere")), [] as [&str; 0]);
        assert_eq!(list(&mut store, all()).len(), 4);
        let mut where_is = |environment: Option<&str>, run: &str| {
            let which = Which {
                run: run.to_owned(),
                environment: environment.map(str::to_owned),
                ..Which::default()
            };
            match store.act(&Work::One(which)).unwrap() {
                Found::One(Some(record)) => record.summary.environment,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(where_is(Some("staging"), "same"), "staging");
        assert_eq!(where_is(None, "same"), "production");
        // One that only another environment had is found too.
        assert_eq!(where_is(Some("staging"), "2"), "production");
    }

    #[test]
    fn a_file_that_is_no_database_or_a_newer_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        std::fs::write(&path, "no database".repeat(100)).unwrap();
        let error = Sqlite::open(&Place::Sqlite(path.clone())).unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
        let store = Sqlite::open(&Place::Sqlite(path.clone())).unwrap();
        store
            .0
            .execute("UPDATE sluice_version SET version = 9", ())
            .unwrap();
        drop(store);
        let error = Sqlite::open(&Place::Sqlite(path)).unwrap_err();
        assert!(matches!(error, Error::Newer { found: 9, .. }), "{error}");
    }
}

//! Runs in `PostgreSQL`, for several daemons or environments with one history.
//!
//! The same rows and the same guarantees as in `SQLite`. The password comes from a file, read anew at each
//! connection, and so do the authorities by which the server's certificate is checked.
//!
//! Not here: when it is asked (`keeper`), and TLS (`tls`).

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement, Transaction};

use super::store::{Cause, Error, Found, Server, Work, Write, decode, milliseconds, steps};
use super::{Filter, Record, Summary, Which, tls};

/// For the connection, and for each thing that is done.
const DEADLINE: Duration = Duration::from_secs(5);
/// Under which only one daemon changes the tables at a time; any number that nobody else uses.
const LOCK: i64 = 0x51_0ce0_5715;

/// A database that is connected.
#[derive(Debug)]
pub struct Postgres {
    client: Client,
    /// Prepared once: each would cost the server's distance twice otherwise.
    statements: Option<Statements>,
    /// What moves the bytes; it ends with this.
    _connection: JoinSet<()>,
}

/// What each write needs.
#[derive(Debug, Clone)]
struct Statements {
    kept: Statement,
    write: Statement,
}

impl Postgres {
    /// Connects, and brings the tables up to date.
    pub async fn open(server: &Server) -> Result<Self, Error> {
        let opened = async {
            let mut opened = connect(server).await?;
            opened.migrate().await?;
            Ok(opened)
        };
        let opened = tokio::time::timeout(DEADLINE, opened).await;
        opened.unwrap_or(Err(Error::Silent))
    }

    /// Does one thing.
    pub async fn act(&mut self, work: &Work) -> Result<Found, Error> {
        let done = async {
            match work {
                Work::Put(writes) => self.put(writes).await.map(|()| Found::Done),
                Work::List(filter) => self.list(filter).await.map(Found::Runs),
                Work::One(which) => {
                    let found = self.one(which).await?;
                    Ok(Found::One(found.map(Box::new)))
                }
                Work::Forget {
                    environment,
                    now,
                    keep,
                    newest: _,
                } => self.forget(environment, *now, *keep).await,
            }
        };
        let done = tokio::time::timeout(DEADLINE, done).await;
        done.unwrap_or(Err(Error::Silent))
    }

    async fn migrate(&mut self) -> Result<(), Error> {
        let failed = |error: tokio_postgres::Error| Error::Migrate(error.into());
        let transaction = self.client.transaction().await.map_err(failed)?;
        let lock = "SELECT pg_advisory_xact_lock($1)";
        transaction.execute(lock, &[&LOCK]).await.map_err(failed)?;
        let table = "CREATE TABLE IF NOT EXISTS sluice_version (version BIGINT NOT NULL)";
        transaction.batch_execute(table).await.map_err(failed)?;
        let query = "SELECT version FROM sluice_version";
        let row = transaction.query_opt(query, &[]).await.map_err(failed)?;
        let found = row.map_or(0, |row| row.get(0));
        for (step, version) in steps(found)? {
            transaction.batch_execute(step).await.map_err(failed)?;
            let forget = "DELETE FROM sluice_version";
            transaction.execute(forget, &[]).await.map_err(failed)?;
            let remember = "INSERT INTO sluice_version VALUES ($1)";
            let remembered = transaction.execute(remember, &[&version]).await;
            remembered.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Writes of different runs at once: a batch costs the server's distance a few times, not for each write.
    async fn put(&mut self, writes: &[Write]) -> Result<(), Error> {
        let statements = self.statements().await?;
        let transaction = self.client.transaction().await.map_err(written)?;
        let (within, by) = (&transaction, &statements);
        for part in apart(writes) {
            let all = part.iter().map(|write| async move {
                let kept = kept(within, &by.kept, write.key()).await?;
                Ok::<_, Error>(write.joined(kept))
            });
            let records = future::try_join_all(all).await?;
            let records = records.iter().flatten();
            let wrote = records.map(|record| write_row(within, &by.write, record));
            future::try_join_all(wrote).await?;
        }
        transaction.commit().await.map_err(written)
    }

    async fn statements(&mut self) -> Result<Statements, Error> {
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        let prepared = Statements {
            kept: self.client.prepare(KEPT).await.map_err(written)?,
            write: self.client.prepare(WRITE).await.map_err(written)?,
        };
        Ok(self.statements.insert(prepared).clone())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let query = "SELECT summary FROM sluice_runs WHERE ended IS NOT NULL
            AND ($1::text IS NULL OR namespace = $1) AND ($2::text IS NULL OR name = $2)
            AND ended >= $3 AND ended < $4 AND ($5::text IS NULL OR environment = $5)
            ORDER BY ended DESC, run LIMIT $6";
        let since = filter.since.map_or(i64::MIN, Timestamp::as_millisecond);
        let before = filter.before.map_or(i64::MAX, Timestamp::as_millisecond);
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let given: [&(dyn ToSql + Sync); 6] = [
            &filter.namespace,
            &filter.name,
            &since,
            &before,
            &filter.environment,
            &limit,
        ];
        let rows = self.client.query(query, &given).await.map_err(read)?;
        let texts = rows.iter().map(|row| row.get::<_, String>(0));
        texts
            .map(|text| serde_json::from_str(&text).map_err(Error::Decode))
            .collect()
    }

    async fn one(&self, which: &Which) -> Result<Option<Record>, Error> {
        let query = "SELECT record FROM sluice_runs WHERE run = $1
            AND ($2::text IS NULL OR namespace = $2) AND ($3::text IS NULL OR name = $3)
            ORDER BY coalesce(environment = $4, false) DESC, started DESC LIMIT 1";
        let given: [&(dyn ToSql + Sync); 4] = [
            &which.run,
            &which.namespace,
            &which.name,
            &which.environment,
        ];
        let row = self.client.query_opt(query, &given).await.map_err(read)?;
        row.map(|row| decode(row.get(0))).transpose()
    }

    /// Also by the server's clock: ours may be ahead, and so may one that wrote a run.
    async fn forget(
        &self,
        environment: &str,
        now: Timestamp,
        keep: Duration,
    ) -> Result<Found, Error> {
        let old = "DELETE FROM sluice_runs WHERE environment = $1 AND coalesce(ended, started) <
            least($2::bigint, (extract(epoch FROM now()) * 1000)::bigint,
            (SELECT max(coalesce(ended, started)) FROM sluice_runs WHERE environment = $1)) - $3::bigint";
        let (now, keep) = (now.as_millisecond(), milliseconds(keep));
        let given: [&(dyn ToSql + Sync); 3] = [&environment, &now, &keep];
        let forgot = self.client.execute(old, &given).await;
        forgot.map(|_| Found::Done).map_err(written)
    }
}

fn written(error: tokio_postgres::Error) -> Error {
    Error::Write(error.into())
}

fn read(error: tokio_postgres::Error) -> Error {
    Error::Read(error.into())
}

async fn connect(server: &Server) -> Result<Postgres, Error> {
    let failed = |source: Cause| Error::Open {
        place: server.url.clone().into(),
        source,
    };
    let config = tls::config(&server.url);
    let mut config = config.map_err(|error| failed(error.into()))?;
    if let Some(file) = &server.password_file {
        let password = std::fs::read_to_string(file).map_err(|error| failed(error.into()))?;
        config.password(password.trim());
    }
    config.application_name("sluice").connect_timeout(DEADLINE);
    let mut tasks = JoinSet::new();
    let client = if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(|e| failed(e.into()))?;
        tasks.spawn(async move { drop(connection.await) });
        client
    } else {
        let tls = tls::connector(server.ca_file.as_deref()).map_err(failed)?;
        let (client, connection) = config.connect(tls).await.map_err(|e| failed(e.into()))?;
        tasks.spawn(async move { drop(connection.await) });
        client
    };
    Ok(Postgres {
        client,
        statements: None,
        _connection: tasks,
    })
}

/// The writes in their order, in parts in which no run is named twice.
fn apart(writes: &[Write]) -> Vec<&[Write]> {
    let mut parts = Vec::new();
    let (mut begins, mut named) = (0, BTreeSet::new());
    for (at, write) in writes.iter().enumerate() {
        if !named.insert(write.key()) {
            parts.push(&writes[begins..at]);
            begins = at;
            named = BTreeSet::from([write.key()]);
        }
    }
    parts.push(&writes[begins..]);
    parts
}

const KEPT: &str = "SELECT record, ended IS NOT NULL FROM sluice_runs
    WHERE environment = $1 AND namespace = $2 AND name = $3 AND run = $4 FOR UPDATE";

/// The run of this key, if it can be read, and whether it has ended; nobody else writes it now.
async fn kept(
    transaction: &Transaction<'_>,
    statement: &Statement,
    key: [&str; 4],
) -> Result<Option<(Option<Record>, bool)>, Error> {
    let given: [&(dyn ToSql + Sync); 4] = [&key[0], &key[1], &key[2], &key[3]];
    let row = transaction.query_opt(statement, &given).await;
    let row = row.map_err(read)?;
    Ok(row.map(|row| (decode(row.get(0)).ok(), row.get(1))))
}

const WRITE: &str = "INSERT INTO sluice_runs
    (environment, namespace, name, run, started, ended, outcome, summary, record)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (environment, namespace, name, run) DO UPDATE SET started = excluded.started,
    ended = excluded.ended, outcome = excluded.outcome, summary = excluded.summary,
    record = excluded.record";

async fn write_row(
    transaction: &Transaction<'_>,
    statement: &Statement,
    record: &Record,
) -> Result<(), Error> {
    let summary = &record.summary;
    let (started, ended) = (
        summary.started.as_millisecond(),
        summary.ended.map(Timestamp::as_millisecond),
    );
    let line = serde_json::to_string(summary).map_err(Error::Encode)?;
    let whole = serde_json::to_string(record).map_err(Error::Encode)?;
    let given: [&(dyn ToSql + Sync); 9] = [
        &summary.environment,
        &summary.namespace,
        &summary.name,
        &summary.run,
        &started,
        &ended,
        &summary.outcome,
        &line,
        &whole,
    ];
    let wrote = transaction.execute(statement, &given).await;
    wrote.map(drop).map_err(written)
}

#[cfg(test)]
mod tests {
    use super::super::record::samples::record;
    use super::*;

    #[test]
    fn what_is_written_at_once_names_no_run_twice_and_nothing_is_left_out() {
        let write = |run: &str| Write::Run(Box::new(record("backend", run, 60)));
        let writes = ["a", "b", "a", "a", "c", "b", "a"].map(write);
        let parts = apart(&writes);
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 1, 3, 1]);
        assert_eq!(parts.concat(), writes);
        assert_eq!(apart(&[]), [[].as_slice()]);
    }
}

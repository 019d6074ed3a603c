//! The sink.

use std::time::Duration;

use levada_plugin::api::{
    Batch, Commit, Error, ErrorKind, Offsets, OutputMode, Result, Retry, Sink, TaskContext, async_trait,
};
use levada_plugin::arrow::array::RecordBatch;
use levada_plugin::arrow::datatypes::SchemaRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::Settings;
use crate::table::{self, Failed, quoted};

/// What each task of each pipeline has committed last, in the same file.
const COMMITS: &str = "CREATE TABLE IF NOT EXISTS levada_commits (pipeline TEXT NOT NULL, task INTEGER NOT NULL, \
    epoch INTEGER NOT NULL, batch INTEGER, offsets TEXT, PRIMARY KEY (pipeline, task))";

pub(crate) struct SqliteSink {
    settings: Settings,
    opened: Option<Opened>,
    /// What was written and is not committed yet.
    staged: Vec<RecordBatch>,
}

struct Opened {
    /// `None` while it is at work on another thread.
    connection: Option<Connection>,
    task: TaskContext,
    complete: bool,
}

/// A task's line in `levada_commits`.
struct Line {
    epoch: u64,
    batch: Option<u64>,
    offsets: Option<String>,
}

impl SqliteSink {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, opened: None, staged: Vec::new() }
    }

    /// SQLite waits for disks, so it works on a thread that may.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection, &Settings, &TaskContext) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let opened = self.opened.as_mut().ok_or_else(|| Error::internal("the sink is not open"))?;
        let connection = opened.connection.take();
        let mut connection = connection.ok_or_else(|| Error::internal("a call before this one has panicked"))?;
        let (settings, task) = (self.settings.clone(), opened.task.clone());
        let place = settings.path.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut connection, &settings, &task);
            (connection, result)
        });
        let (connection, result) = done.await.map_err(|e| Error::internal(e.to_string()))?;
        opened.connection = Some(connection);
        result.map_err(|e| e.context(place))
    }
}

/// What an error of SQLite means.
fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => ErrorKind::Io,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => ErrorKind::Data,
        // A table that has other columns, above all.
        _ => ErrorKind::Config,
    };
    Error::new(kind, error.to_string())
}

fn line(transaction: &Transaction<'_>, task: &TaskContext) -> Result<Option<Line>> {
    let sql = "SELECT epoch, batch, offsets FROM levada_commits WHERE pipeline = ?1 AND task = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Line {
            epoch: row.get::<_, i64>(0)? as u64,
            batch: row.get::<_, Option<i64>>(1)?.map(|id| id as u64),
            offsets: row.get(2)?,
        })
    };
    transaction.query_row(sql, params![task.pipeline, task.task], read).optional().map_err(failed)
}

/// Refuses a run that is over.
fn unfenced(line: Option<&Line>, task: &TaskContext) -> Result<()> {
    match line {
        Some(line) if line.epoch > task.epoch => {
            let message = format!("run {} is over: run {} of the task has begun", task.epoch, line.epoch);
            Err(Error::new(ErrorKind::Fenced, message))
        }
        _ => Ok(()),
    }
}

fn open(settings: &Settings, task: &TaskContext, schema: &SchemaRef) -> Result<(Connection, Option<Commit>)> {
    let mut connection = Connection::open(&settings.path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    // Readers are not in the way, and what is committed survives a power cut.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    transaction.execute_batch(&table::create(&settings.table, schema)?).map_err(failed)?;
    transaction.execute_batch(COMMITS).map_err(failed)?;
    let line = line(&transaction, task)?;
    unfenced(line.as_ref(), task)?;
    let sql = "INSERT INTO levada_commits (pipeline, task, epoch) VALUES (?1, ?2, ?3) \
               ON CONFLICT (pipeline, task) DO UPDATE SET epoch = excluded.epoch";
    transaction.execute(sql, params![task.pipeline, task.task, task.epoch as i64]).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    let last = match line {
        Some(Line { epoch, batch: Some(batch_id), offsets: Some(offsets) }) => {
            let offsets: Offsets = serde_json::from_str(&offsets)
                .map_err(|e| Error::corrupt(format!("the offsets in levada_commits are no offsets: {e}")))?;
            Some(Commit { batch_id, epoch, offsets })
        }
        _ => None,
    };
    Ok((connection, last))
}

/// The whole micro-batch, or nothing of it.
fn commit(
    connection: &mut Connection,
    settings: &Settings,
    task: &TaskContext,
    commit: &Commit,
    rows: &[RecordBatch],
    complete: bool,
) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let line = line(&transaction, task)?;
    unfenced(line.as_ref(), task)?;
    if line.and_then(|line| line.batch).is_some_and(|last| last >= commit.batch_id) {
        // It is there already: the runtime had not heard of it.
        return Ok(());
    }
    if complete {
        transaction.execute(&format!("DELETE FROM {}", quoted(&settings.table)), []).map_err(failed)?;
    }
    for rows in rows {
        table::insert(&transaction, &settings.table, rows).map_err(|error| match error {
            Failed::Sql(error) => failed(error),
            Failed::Row(error) => error,
        })?;
    }
    let offsets = serde_json::to_string(&commit.offsets).map_err(|e| Error::internal(e.to_string()))?;
    let sql = "UPDATE levada_commits SET batch = ?3, offsets = ?4 WHERE pipeline = ?1 AND task = ?2";
    let changed = transaction.execute(sql, params![task.pipeline, task.task, commit.batch_id as i64, offsets]);
    if changed.map_err(failed)? != 1 {
        return Err(Error::corrupt("the task's line in levada_commits is gone"));
    }
    task.faults.at("sqlite.commit.before")?;
    // Nobody knows whether a commit that failed has happened: the runtime asks when it opens the next sink.
    transaction.commit().map_err(|e| failed(e).with_retry(Retry::Indeterminate))?;
    task.faults.at("sqlite.commit.after")
}

#[async_trait]
impl Sink for SqliteSink {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        let (settings, task) = (self.settings.clone(), context.clone());
        let done = tokio::task::spawn_blocking(move || {
            open(&settings, &task, &schema).map_err(|e| e.context(settings.path.clone()))
        });
        let (connection, last) = done.await.map_err(|e| Error::internal(e.to_string()))??;
        tracing::info!(
            path = self.settings.path,
            table = self.settings.table,
            last = last.as_ref().map(|l| l.batch_id),
            "open"
        );
        let complete = mode == OutputMode::Complete;
        self.opened = Some(Opened { connection: Some(connection), task: context.clone(), complete });
        Ok(last)
    }

    async fn write(&mut self, _batch_id: u64, batch: Batch) -> Result<()> {
        self.staged.push(batch.rows);
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let (rows, this) = (std::mem::take(&mut self.staged), commit.clone());
        let complete = self.opened.as_ref().is_some_and(|opened| opened.complete);
        self.with(move |connection, settings, task| self::commit(connection, settings, task, &this, &rows, complete))
            .await
    }

    async fn abort(&mut self, _batch_id: u64) -> Result<()> {
        self.staged.clear();
        Ok(())
    }
}

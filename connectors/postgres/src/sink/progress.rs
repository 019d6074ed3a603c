//! The table of the progress: for each task of each pipeline the last micro-batch, its run and its offsets, written in
//! the transaction that writes the rows.

use levada_connector_api::{Commit, Error, ErrorKind, Offsets, Result, TaskContext};
use tokio_postgres::Statement;

use crate::connect::Connection;
use crate::error::During;
use crate::name::TableName;
use crate::table;

/// A task's row of the table.
pub(crate) struct Progress {
    table: TableName,
    place: String,
    pipeline: String,
    task: i32,
    epoch: i64,
    advance: Statement,
    /// The last micro-batch that is known to be there.
    pub(crate) held: Option<u64>,
}

/// What the row says.
struct Row {
    batch: Option<u64>,
    epoch: i64,
    offsets: String,
}

impl Progress {
    /// Makes the table if need be, ends the sessions of earlier runs, and claims the row for this run. Answers with the
    /// last commit, too.
    ///
    /// The claim waits for a commit of an earlier run that is under way: what it answers with does not change any more.
    ///
    /// # Errors
    /// A newer run has claimed it, or the server refuses.
    pub(crate) async fn claim(
        connection: &mut Connection,
        table: &TableName,
        context: &TaskContext,
    ) -> Result<(Self, Option<Commit>)> {
        let place = format!("table {table}");
        if table::read(connection, table).await?.is_none() {
            let create = format!(
                "CREATE TABLE IF NOT EXISTS {} (pipeline text, task integer, batch_id bigint NOT NULL, \
                 epoch bigint NOT NULL, offsets json NOT NULL, committed timestamptz NOT NULL DEFAULT now(), \
                 PRIMARY KEY (pipeline, task))",
                table.sql()
            );
            table::change(connection, &place, &create).await?;
        }
        let number = |what: &str, value: u64| {
            i64::try_from(value).map_err(|_| Error::internal(format!("{what} {value} is out of range of bigint")))
        };
        let advance = format!(
            "UPDATE {} SET batch_id = $4, offsets = $5::text::json, committed = now() \
             WHERE pipeline = $1 AND task = $2 AND epoch = $3 AND batch_id < $4",
            table.sql()
        );
        let advance = match connection.client.prepare(&advance).await {
            Ok(statement) => statement,
            Err(error) => return Err(connection.explain(&place, error, During::Work).await),
        };
        let task = i32::try_from(context.task).map_err(|_| Error::internal("the task's number is out of range"))?;
        let epoch = number("epoch", context.epoch)?;
        let pipeline = context.pipeline.clone();
        let mut this = Self { table: table.clone(), place, pipeline, task, epoch, advance, held: None };
        match (this.read(connection).await?, context.pending) {
            (Some(row), _) if row.epoch >= this.epoch => return Err(this.fenced(row.epoch)),
            (None, Some(batch)) => return Err(this.unknown(batch)),
            _ => {}
        }
        this.end_sessions(connection).await?;
        let claim = format!(
            "INSERT INTO {0} AS row (pipeline, task, batch_id, epoch, offsets) VALUES ($1, $2, -1, $3, '[]') \
             ON CONFLICT (pipeline, task) DO UPDATE SET epoch = EXCLUDED.epoch WHERE row.epoch < EXCLUDED.epoch \
             RETURNING batch_id, epoch, offsets::text",
            table.sql()
        );
        match connection.client.query_opt(&claim, &[&this.pipeline, &this.task, &this.epoch]).await {
            Ok(Some(row)) => {
                let row =
                    Row { batch: u64::try_from(row.get::<_, i64>(0)).ok(), epoch: row.get(1), offsets: row.get(2) };
                this.held = row.batch;
                let commit = this.commit_of(&row)?;
                Ok((this, commit))
            }
            Ok(None) => Err(this.fenced(this.read(connection).await?.map_or(this.epoch, |row| row.epoch))),
            Err(error) => Err(connection.explain(&this.place, error, During::Work).await),
        }
    }

    /// Sessions of earlier runs of this task: their work is void, and their locks would stand in the way.
    async fn end_sessions(&self, connection: &mut Connection) -> Result<()> {
        let session = self.session_name();
        // The table's number tells apart pipelines of one name that keep their progress in different tables.
        let named = "SELECT set_config('application_name', $1 || ' ' || $2::text::regclass::oid, false)";
        let session: String = match connection.client.query_one(named, &[&session, &self.table.sql()]).await {
            Ok(row) => row.get(0),
            Err(error) => return Err(connection.explain(&self.place, error, During::Work).await),
        };
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 \
                   AND usename = current_user AND datname = current_database() AND pid <> pg_backend_pid() \
                   AND state <> 'idle'";
        match connection.client.query(end, &[&session]).await {
            Ok(ended) if ended.is_empty() => Ok(()),
            Ok(ended) => {
                tracing::info!("{}: ended {} sessions of earlier runs", self.place, ended.len());
                Ok(())
            }
            // It is a kindness, not a need: the row's lock is what keeps order.
            Err(error) if error.as_db_error().is_some() => {
                tracing::debug!("{}: sessions of earlier runs cannot be ended: {error}", self.place);
                Ok(())
            }
            Err(error) => Err(connection.explain(&self.place, error, During::Work).await),
        }
    }

    /// `levada car-info/0 6b2f…`: what the server's list of sessions shows, told apart by a sum of the whole name. The
    /// server keeps 63 bytes of ASCII.
    fn session_name(&self) -> String {
        let sum = self
            .pipeline
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let shown: String = self.pipeline.chars().filter(char::is_ascii_graphic).take(16).collect();
        format!("levada {shown}/{} {:08x}", self.task, sum >> 32)
    }

    async fn read(&self, connection: &mut Connection) -> Result<Option<Row>> {
        let read = format!(
            "SELECT batch_id, epoch, offsets::text FROM {} WHERE pipeline = $1 AND task = $2",
            self.table.sql()
        );
        match connection.client.query_opt(&read, &[&self.pipeline, &self.task]).await {
            Ok(row) => Ok(row.map(|row| Row {
                batch: u64::try_from(row.get::<_, i64>(0)).ok(),
                epoch: row.get(1),
                offsets: row.get(2),
            })),
            Err(error) => Err(connection.explain(&self.place, error, During::Work).await),
        }
    }

    fn commit_of(&self, row: &Row) -> Result<Option<Commit>> {
        let Some(batch_id) = row.batch else { return Ok(None) };
        let offsets: Offsets = serde_json::from_str(&row.offsets).map_err(|e| {
            Error::corrupt(format!(
                "{}: the offsets of pipeline '{}', task {} are damaged: {e}",
                self.place, self.pipeline, self.task
            ))
            .hint("restore the row, or give the pipeline a new name and a new checkpoint")
        })?;
        Ok(Some(Commit { batch_id, epoch: row.epoch as u64, offsets }))
    }

    /// Each run has a row, also before it commits: it was there when the micro-batch was prepared.
    fn unknown(&self, batch: u64) -> Error {
        let message = format!(
            "{}: whether batch {batch} of pipeline '{}', task {} was committed is not known any more: its row was deleted",
            self.place, self.pipeline, self.task
        );
        Error::corrupt(message).hint(
            "look into the target whether the rows of this batch are there; then start anew with another checkpoint.location and name, and \
             behind or before them",
        )
    }

    fn fenced(&self, epoch: i64) -> Error {
        let message = format!(
            "{}: run {epoch} of pipeline '{}', task {} has taken over; this is run {}",
            self.place, self.pipeline, self.task, self.epoch
        );
        Error::new(ErrorKind::Fenced, message).hint(
            "another process runs this pipeline; or its checkpoint was replaced: then give it a new name, or delete its \
             rows from the table",
        )
    }

    /// In the rows' transaction: moves on to `commit`.
    ///
    /// # Errors
    /// A newer run has taken over, or the server refuses.
    pub(crate) async fn advance(&mut self, connection: &mut Connection, commit: &Commit) -> Result<()> {
        let batch = i64::try_from(commit.batch_id).map_err(|_| Error::internal("the batch id is out of range"))?;
        let offsets = serde_json::to_string(&commit.offsets)
            .map_err(|e| Error::internal(format!("offsets cannot be written as JSON: {e}")))?;
        let moved = connection
            .client
            .execute(&self.advance, &[&self.pipeline, &self.task, &self.epoch, &batch, &offsets])
            .await;
        match moved {
            Ok(1) => Ok(()),
            Ok(_) => {
                self.check(connection).await?;
                let message = format!(
                    "{}: the row of pipeline '{}', task {} is gone, or ahead of batch {batch}",
                    self.place, self.pipeline, self.task
                );
                Err(Error::corrupt(message).hint(
                    "somebody else has changed it; restore it, or give the pipeline a new name and a new checkpoint",
                ))
            }
            Err(error) => Err(connection.explain(&self.place, error, During::Work).await),
        }
    }

    /// In a transaction: keeps newer runs from taking over until it ends.
    ///
    /// # Errors
    /// A newer run has taken over, or the connection is lost.
    pub(crate) async fn hold(&self, connection: &mut Connection) -> Result<()> {
        let lock = format!("SELECT FROM {} WHERE pipeline = $1 AND task = $2 FOR UPDATE", self.table.sql());
        if let Err(error) = connection.client.query_opt(&lock, &[&self.pipeline, &self.task]).await {
            return Err(connection.explain(&self.place, error, During::Work).await);
        }
        self.check(connection).await
    }

    /// Whether this run may still speak for the task.
    ///
    /// # Errors
    /// A newer run has taken over, or the connection is lost.
    pub(crate) async fn check(&self, connection: &mut Connection) -> Result<()> {
        match self.read(connection).await? {
            Some(row) if row.epoch > self.epoch => Err(self.fenced(row.epoch)),
            _ => Ok(()),
        }
    }
}

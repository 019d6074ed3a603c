//! A run of a task: its connection, its statements, and the transaction under way.
//!
//! A micro-batch is a transaction: `BEGIN`, COPY, the progress, the merge from the stage, `COMMIT`. The progress is moved
//! by one `UPDATE` that also is the fence: it waits for whoever holds the row, and then moves it only for the run that has
//! claimed it, and only forward.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::SinkExt as _;
use levada_connector_api::{Batch, Commit, Error, ErrorKind, Faults, Origin, OutputMode, Result, TaskContext};
use tokio_postgres::error::SqlState;
use tokio_postgres::{CopyInSink, Statement};

use super::delete::deletes;
use super::merge::Statements;
use super::plan::Plan;
use super::progress::Progress;
use crate::config::{InsertMode, Options};
use crate::connect::{Address, Connection};
use crate::encode::{self, BadValue, HEADER, Keys, TRAILER, Target, encode};
use crate::error::{self, During};
use crate::table::{self, Table};
use crate::types::Wire;

/// An open sink.
pub(crate) struct Session {
    connection: Connection,
    progress: Progress,
    plan: Plan,
    targets: Vec<Target>,
    statements: Statements,
    copy: Statement,
    delete: bool,
    mode: OutputMode,
    faults: Faults,
    place: String,
    address: Address,
    under_way: Option<UnderWay>,
}

/// A transaction.
struct UnderWay {
    rows: Option<Pin<Box<CopyInSink<Bytes>>>>,
    sent: u64,
    /// The keys, where it matters whether they are different.
    keys: Option<Keys>,
    /// Where the rows came from, by the number of the first of each piece.
    origins: Vec<(u64, Origin)>,
}

impl UnderWay {
    /// Where the row with this number, from 0, came from.
    fn origin(&self, row: u64) -> String {
        let at = self.origins.partition_point(|(first, _)| *first <= row);
        match at.checked_sub(1).and_then(|at| self.origins.get(at)) {
            Some((first, origin)) => origin.of((row - first) as usize),
            None => format!("row {row} of the micro-batch"),
        }
    }
}

impl Session {
    /// Connects, makes or checks the table, and claims the progress for this run.
    ///
    /// # Errors
    /// The server cannot be reached, the table does not fit the rows, or a newer run has taken over.
    pub(crate) async fn open(
        options: &Options,
        context: &TaskContext,
        schema: &SchemaRef,
        mode: OutputMode,
    ) -> Result<(Self, Option<Commit>)> {
        context.faults.at("postgres.sink.open.before")?;
        let mut connection =
            Connection::open_patiently(&options.address, "levada", options.attempts, options.backoff).await?;
        let (plan, table) = prepare_table(&mut connection, options, schema).await?;
        plan.check(options, &table)?;
        let (progress, held) = Progress::claim(&mut connection, &options.offsets_table, context).await?;
        let statements = Statements::new(options, &plan, &table);
        let place = format!("table {}", options.table);
        if let Some(prepare) = &statements.prepare
            && let Err(error) = connection.client.batch_execute(prepare).await
        {
            return Err(connection.explain(&place, error, During::Work).await);
        }
        let copy = match connection.client.prepare(&statements.copy).await {
            Ok(copy) => copy,
            Err(error) => return Err(connection.explain(&place, error, During::Work).await),
        };
        let columns = plan.items.iter().filter_map(|item| Some((item, table.column(&item.name)?)));
        let mut targets: Vec<Target> = columns
            .map(|(item, column)| Target {
                wire: column.wire.clone(),
                not_null: (item.key && options.insert != InsertMode::Insert) || (column.not_null && !options.delete),
                type_name: column.type_name.clone(),
            })
            .collect();
        if options.delete {
            targets.push(Target { wire: Wire::Bool, not_null: true, type_name: "boolean".to_owned() });
        }
        context.faults.at("postgres.sink.open.after")?;
        let this = Self {
            connection,
            progress,
            plan,
            targets,
            statements,
            copy,
            delete: options.delete,
            mode,
            faults: context.faults.clone(),
            place,
            address: options.address.clone(),
            under_way: None,
        };
        Ok((this, held))
    }

    /// Begins the transaction unless it has begun.
    async fn begin(&mut self) -> Result<()> {
        if self.under_way.is_some() {
            return Ok(());
        }
        let mut sql = "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned();
        if self.mode == OutputMode::Complete {
            sql = format!("{sql}; {}", self.statements.clear);
        }
        // From here on there is something to roll back, whatever comes of it.
        let keys = self.statements.distinct.as_ref().map(|distinct| Keys::new(distinct.key));
        self.under_way = Some(UnderWay { rows: None, sent: 0, keys, origins: Vec::new() });
        if let Err(error) = self.connection.client.batch_execute(&sql).await {
            return Err(self.connection.explain(&self.place, error, During::Work).await);
        }
        self.faults.at("postgres.sink.begin.after")
    }

    /// Sends the rows.
    ///
    /// # Errors
    /// A value does not fit its column, a newer run has taken over, or the connection is lost.
    pub(crate) async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        match self.send(batch_id, batch).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge(error).await),
        }
    }

    /// A newer run ends the session of an older one that is in its way. The older one must learn why: it would begin again
    /// and take over in its turn.
    async fn judge(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Unavailable {
            return error;
        }
        let ask = async {
            let mut connection = Connection::open(&self.address, "levada").await?;
            let answer = self.progress.check(&mut connection).await;
            connection.close().await;
            answer
        };
        match tokio::time::timeout(Duration::from_secs(5), ask).await {
            Ok(Err(fenced)) if fenced.kind() == ErrorKind::Fenced => fenced.source(error),
            _ => error,
        }
    }

    async fn send(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        // What is there already would only get in its own way.
        if batch.num_rows() == 0 || self.progress.held >= Some(batch_id) {
            return Ok(());
        }
        let copy = self.copy.clone();
        self.begin().await?;
        if self.under_way.as_ref().is_some_and(|under_way| under_way.rows.is_none()) {
            let rows = match self.connection.client.copy_in(&copy).await {
                Ok(rows) => rows,
                Err(error) => return Err(self.connection.explain(&self.place, error, During::Work).await),
            };
            let mut rows = Box::pin(rows);
            let sent = rows.send(Bytes::from_static(HEADER)).await;
            if let Some(under_way) = &mut self.under_way {
                under_way.rows = Some(rows);
            }
            if let Err(error) = sent {
                return Err(self.failed_copy(error).await);
            }
        }
        let columns = self.columns(&batch)?;
        let (total, step) = (batch.num_rows(), encode::chunk_rows(&columns, batch.num_rows()));
        let Some(under_way) = &mut self.under_way else { return Err(Error::internal("there is no transaction")) };
        under_way.origins.push((under_way.sent, batch.origin.clone()));
        under_way.sent += total as u64;
        for start in (0..total).step_by(step) {
            let rows = step.min(total - start);
            let chunk: Vec<ArrayRef> = columns.iter().map(|column| column.slice(start, rows)).collect();
            let keys = self.under_way.as_mut().and_then(|under_way| under_way.keys.as_mut());
            let bytes =
                encode(&self.targets, &chunk, rows, keys).map_err(|bad| self.bad_value(&bad, &batch.origin, start))?;
            let Some(UnderWay { rows: Some(copy), .. }) = &mut self.under_way else { break };
            if let Err(error) = copy.send(bytes).await {
                return Err(self.failed_copy(error).await);
            }
        }
        Ok(())
    }

    /// The columns to send, with the one that says which rows delete.
    fn columns(&self, batch: &Batch) -> Result<Vec<ArrayRef>> {
        let mut columns = self.plan.arrays(&batch.rows)?;
        let op = self.plan.op.and_then(|index| batch.rows.columns().get(index));
        if self.delete || op.is_some() {
            let deletes = deletes(&self.plan, op, &columns, self.delete)
                .map_err(|bad| Error::data(bad.reason).context(batch.origin.of(bad.row)).context(self.place.clone()))?;
            if self.delete {
                columns.push(Arc::new(deletes));
            }
        }
        Ok(columns)
    }

    fn bad_value(&self, bad: &BadValue, origin: &Origin, start: usize) -> Error {
        let column = self.plan.items.get(bad.column).map_or("", |item| item.name.as_str());
        Error::data(bad.reason.clone())
            .context(format!("column '{column}', {}", origin.of(start + bad.row)))
            .context(self.place.clone())
    }

    /// What the server has against the rows, with the place of the first that it refuses.
    async fn failed_copy(&mut self, error: tokio_postgres::Error) -> Error {
        let place = error::copy_line(&error).zip(self.under_way.as_ref()).map(|((line, column), under_way)| {
            let origin = under_way.origin(line.saturating_sub(1));
            column.map_or_else(|| origin.clone(), |column| format!("column '{column}', {origin}"))
        });
        let place = place.map_or_else(|| self.place.clone(), |place| format!("{}: {place}", self.place));
        self.connection.explain(&place, error, During::Work).await
    }

    /// Makes the transaction durable.
    ///
    /// # Errors
    /// See [`levada_connector_api::Sink::commit`].
    pub(crate) async fn commit(&mut self, commit: &Commit) -> Result<()> {
        match self.try_commit(commit).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge(error).await),
        }
    }

    async fn try_commit(&mut self, commit: &Commit) -> Result<()> {
        if self.progress.held >= Some(commit.batch_id) {
            self.abort().await?;
            // It is there; whether this run may still speak for the task is another question.
            return self.progress.check(&mut self.connection).await;
        }
        self.begin().await?;
        self.bring(commit).await?;
        self.faults.at("postgres.sink.commit.before")?;
        if let Err(error) = self.connection.client.batch_execute("COMMIT").await {
            self.under_way = None;
            return Err(self.connection.explain(&self.place, error, During::Commit).await);
        }
        self.under_way = None;
        self.progress.held = Some(commit.batch_id);
        self.faults.at("postgres.sink.commit.after")
    }

    /// Everything but `COMMIT`.
    async fn bring(&mut self, commit: &Commit) -> Result<()> {
        if let Some(mut rows) = self.under_way.as_mut().and_then(|under_way| under_way.rows.take()) {
            let mut finished = rows.send(Bytes::from_static(TRAILER)).await.map(|()| 0);
            if finished.is_ok() {
                finished = rows.as_mut().finish().await;
            }
            if let Err(error) = finished {
                let conflict = error::is_conflict(&error);
                let error = self.failed_copy(error).await;
                return Err(self.settle(conflict, error).await);
            }
        }
        self.faults.at("postgres.sink.copy.after")?;
        self.progress.advance(&mut self.connection, commit).await?;
        self.faults.at("postgres.sink.progress.after")?;
        if self.under_way.as_ref().is_some_and(|under_way| under_way.sent > 0) && !self.merge_distinct().await? {
            for statement in &self.statements.merge {
                if let Err(error) = self.connection.client.batch_execute(statement).await {
                    let conflict = error::is_conflict(&error);
                    let error = self.connection.explain(&self.place, error, During::Work).await;
                    return Err(self.settle(conflict, error).await);
                }
            }
        }
        self.faults.at("postgres.sink.merge.after")
    }

    /// Merges rows whose keys are different. `false` when they are not, or when another writer was faster.
    async fn merge_distinct(&mut self) -> Result<bool> {
        let Some(under_way) = &self.under_way else { return Ok(false) };
        let (Some(distinct), Some(true)) = (&self.statements.distinct, under_way.keys.as_ref().map(Keys::differ))
        else {
            return Ok(false);
        };
        let begin = format!("SAVEPOINT levada_merge; {}", distinct.delete.as_deref().unwrap_or_default());
        let client = &self.connection.client;
        let merged = async {
            client.batch_execute(&begin).await?;
            let inserted = client.execute(&distinct.insert, &[]).await?;
            match &distinct.update {
                Some(update) if inserted < under_way.sent => client.batch_execute(update).await,
                _ => Ok(()),
            }
        };
        match merged.await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                match client.batch_execute("ROLLBACK TO SAVEPOINT levada_merge").await {
                    Ok(()) => Ok(false),
                    Err(error) => Err(self.connection.explain(&self.place, error, During::Work).await),
                }
            }
            Err(error) => Err(self.connection.explain(&self.place, error, During::Work).await),
        }
    }

    /// Rows that are there already may be those of a newer run that has taken over.
    async fn settle(&mut self, conflict: bool, error: Error) -> Error {
        if conflict
            && self.abort().await.is_ok()
            && let Err(fenced) = self.progress.check(&mut self.connection).await
            && fenced.kind() == ErrorKind::Fenced
        {
            return fenced.source(error);
        }
        error
    }

    /// Rolls back.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) async fn abort(&mut self) -> Result<()> {
        // An unfinished COPY is given up when it is dropped; the rollback waits behind it.
        if self.under_way.take().is_none() {
            return Ok(());
        }
        match self.connection.client.batch_execute("ROLLBACK").await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.connection.explain(&self.place, error, During::Work).await),
        }
    }

    /// Ends the session.
    pub(crate) async fn close(self) {
        drop(self.under_way);
        self.connection.close().await;
    }
}

/// Reads the table, and makes or extends it where that is wanted.
async fn prepare_table(connection: &mut Connection, options: &Options, schema: &SchemaRef) -> Result<(Plan, Table)> {
    let name = &options.table;
    let place = format!("table {name}");
    let Some(mut table) = table::read(connection, name).await? else {
        let plan = Plan::new(options, schema, &[])?;
        let create = table::create_sql(name, &plan.new_columns(options.delete), &plan.key());
        if !options.create {
            return Err(table::missing(name, &create));
        }
        table::change(connection, &place, &create).await?;
        let made = table::read(connection, name).await?;
        return Ok((plan, made.ok_or_else(|| table::missing(name, &create))?));
    };
    let primary = if table.has_primary_key { table.unique.first().cloned() } else { None };
    let plan = Plan::new(options, schema, &primary.unwrap_or_default())?;
    let lacking = plan.lacking(&table, options.delete);
    if options.evolve && !lacking.is_empty() {
        table::change(connection, &place, &table::evolve_sql(name, &lacking)).await?;
        if let Some(evolved) = table::read(connection, name).await? {
            table = evolved;
        }
    }
    Ok((plan, table))
}

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
use super::tolerate::{Failure, Gathered, Refused};
use crate::config::{InsertMode, Options};
use crate::connect::{Address, Connection};
use crate::encode::{self, BadValue, HEADER, Keys, TRAILER, Target, encode};
use crate::error::{self, During};
use crate::table::{self, Table};
use crate::types::Wire;

/// An open sink.
pub(crate) struct Session {
    pub(super) connection: Connection,
    pub(super) progress: Progress,
    plan: Plan,
    targets: Vec<Target>,
    pub(super) statements: Statements,
    copy: Statement,
    delete: bool,
    mode: OutputMode,
    pub(super) faults: Faults,
    pub(super) place: String,
    address: Address,
    pub(super) under_way: Option<UnderWay>,
    /// Whether rows that are refused are left out, and what is kept for that.
    pub(super) tolerant: bool,
    pub(super) gathered: Gathered,
}

/// A transaction.
pub(super) struct UnderWay {
    rows: Option<Pin<Box<CopyInSink<Bytes>>>>,
    sent: u64,
    /// The keys, where it matters whether they are different.
    keys: Option<Keys>,
    /// Where the rows came from, by the number of the first of each piece.
    origins: Vec<(u64, Origin)>,
}

impl UnderWay {
    /// Nothing has been sent.
    pub(super) fn new(statements: &Statements) -> Self {
        let keys = statements.distinct.as_ref().map(|distinct| Keys::new(distinct.key));
        Self { rows: None, sent: 0, keys, origins: Vec::new() }
    }

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
        let (plan, mut table) = prepare_table(&mut connection, options, schema).await?;
        plan.choose_forms(&mut table);
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
            tolerant: context.tolerant,
            gathered: Gathered::default(),
        };
        Ok((this, held))
    }

    /// Begins the transaction unless it has begun.
    pub(super) async fn begin(&mut self) -> Result<()> {
        if self.under_way.is_some() {
            return Ok(());
        }
        let mut sql = "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned();
        if self.mode == OutputMode::Complete {
            sql = format!("{sql}; {}", self.statements.clear);
        }
        // From here on there is something to roll back, whatever comes of it.
        self.under_way = Some(UnderWay::new(&self.statements));
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
        // What is there already would only get in its own way.
        if batch.num_rows() == 0 || self.progress.held >= Some(batch_id) {
            return Ok(());
        }
        let written = match self.tolerant {
            true => self.write_tolerantly(batch).await,
            false => self.send(&batch).await.map_err(|failure| failure.error),
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge(error).await),
        }
    }

    /// A newer run ends the session of an older one that is in its way. The older one must learn why: it would begin again
    /// and take over in its turn.
    pub(super) async fn judge(&self, error: Error) -> Error {
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

    pub(super) async fn send(&mut self, batch: &Batch) -> Result<(), Failure> {
        let copy = self.copy.clone();
        self.begin().await?;
        if self.under_way.as_ref().is_some_and(|under_way| under_way.rows.is_none()) {
            let rows = match self.connection.client.copy_in(&copy).await {
                Ok(rows) => rows,
                Err(error) => return Err(self.connection.explain(&self.place, error, During::Work).await.into()),
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
        let columns = self.columns(batch)?;
        let (total, step) = (batch.num_rows(), encode::chunk_rows(&columns, batch.num_rows()));
        let Some(under_way) = &mut self.under_way else {
            return Err(Error::internal("there is no transaction").into());
        };
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
    fn columns(&self, batch: &Batch) -> Result<Vec<ArrayRef>, Failure> {
        let mut columns = self.plan.arrays(&batch.rows)?;
        let op = self.plan.op.and_then(|index| batch.rows.columns().get(index));
        let deletes = deletes(&self.plan, op, &columns, &batch.origin, self.delete).map_err(|bad| {
            let error = Error::data(bad.reason.clone());
            let error = error.context(batch.origin.of(bad.row)).context(self.place.clone());
            Failure { error, conflict: false, refused: Some(Refused { row: Some(bad.row), reason: bad.reason }) }
        })?;
        if self.delete {
            columns.push(Arc::new(deletes));
        }
        Ok(columns)
    }

    fn bad_value(&self, bad: &BadValue, origin: &Origin, start: usize) -> Failure {
        let column = self.plan.items.get(bad.column).map_or("", |item| item.name.as_str());
        let error = Error::data(bad.reason.clone())
            .context(format!("column '{column}', {}", origin.of(start + bad.row)))
            .context(self.place.clone());
        let reason = format!("column '{column}': {}", bad.reason);
        Failure { error, conflict: false, refused: Some(Refused { row: Some(start + bad.row), reason }) }
    }

    /// What the server has against the rows, with the place of the first that it refuses.
    async fn failed_copy(&mut self, error: tokio_postgres::Error) -> Failure {
        let found = error::copy_line(&error);
        let row = found.as_ref().and_then(|(line, _)| usize::try_from(line.saturating_sub(1)).ok());
        let column = found.as_ref().and_then(|(_, column)| column.clone());
        let place = found.zip(self.under_way.as_ref()).map(|((line, column), under_way)| {
            let origin = under_way.origin(line.saturating_sub(1));
            column.map_or_else(|| origin.clone(), |column| format!("column '{column}', {origin}"))
        });
        let place = place.map_or_else(|| self.place.clone(), |place| format!("{}: {place}", self.place));
        let mut failure = self.failed(&place, error).await;
        if let Some(refused) = &mut failure.refused {
            refused.row = row;
            if let Some(column) = column {
                refused.reason = format!("column '{column}': {}", refused.reason);
            }
        }
        failure
    }

    /// What the server has against a statement.
    pub(super) async fn failed(&mut self, place: &str, error: tokio_postgres::Error) -> Failure {
        let (conflict, refused) = (error::is_conflict(&error), error::is_refusal(&error));
        let error = self.connection.explain(place, error, During::Work).await;
        let refused = refused.then(|| Refused { row: None, reason: error.message().to_owned() });
        Failure { error, conflict, refused }
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
        self.gathered = Gathered::default();
        self.progress.held = Some(commit.batch_id);
        self.faults.at("postgres.sink.commit.after")
    }

    /// Everything but `COMMIT`.
    async fn bring(&mut self, commit: &Commit) -> Result<()> {
        let prepared = self.gathered.prepared;
        if !prepared && let Err(failure) = self.fill().await {
            return Err(self.settle(failure).await);
        }
        self.faults.at("postgres.sink.copy.after")?;
        self.progress.advance(&mut self.connection, commit).await?;
        self.faults.at("postgres.sink.progress.after")?;
        if !prepared && let Err(failure) = self.merge().await {
            return Err(self.settle(failure).await);
        }
        self.faults.at("postgres.sink.merge.after")
    }

    /// Ends the COPY.
    pub(super) async fn fill(&mut self) -> Result<(), Failure> {
        let Some(mut rows) = self.under_way.as_mut().and_then(|under_way| under_way.rows.take()) else { return Ok(()) };
        let mut finished = rows.send(Bytes::from_static(TRAILER)).await.map(|()| 0);
        if finished.is_ok() {
            finished = rows.as_mut().finish().await;
        }
        match finished {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed_copy(error).await),
        }
    }

    /// Brings what was sent from the stage into the table, where there is one.
    pub(super) async fn merge(&mut self) -> Result<(), Failure> {
        if self.under_way.as_ref().is_none_or(|under_way| under_way.sent == 0) || self.merge_distinct().await? {
            return Ok(());
        }
        for statement in &self.statements.merge {
            if let Err(error) = self.connection.client.batch_execute(statement).await {
                let place = self.place.clone();
                return Err(self.failed(&place, error).await);
            }
        }
        Ok(())
    }

    /// Merges rows whose keys are different. `false` when they are not, or when another writer was faster.
    async fn merge_distinct(&mut self) -> Result<bool, Failure> {
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
        let back = match merged.await {
            Ok(()) => return Ok(true),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                client.batch_execute("ROLLBACK TO SAVEPOINT levada_merge").await
            }
            Err(error) => Err(error),
        };
        match back {
            Ok(()) => Ok(false),
            Err(error) => {
                let place = self.place.clone();
                Err(self.failed(&place, error).await)
            }
        }
    }

    /// Rows that are there already may be those of a newer run that has taken over.
    async fn settle(&mut self, failure: Failure) -> Error {
        let Failure { error, conflict, .. } = failure;
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
        self.gathered = Gathered::default();
        self.roll_back().await
    }

    /// Rolls back, and keeps what was gathered of the rows.
    pub(super) async fn roll_back(&mut self) -> Result<()> {
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

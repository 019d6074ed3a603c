//! A database a test, sinks into it, and a client that looks at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, Commit, Error, Offset, Offsets, OutputMode, Partition, Plugin as _, Result, Sink, SinkPlugin as _,
    TaskContext,
};
use levada_connector_postgres::PostgresSinkPlugin;
use levada_services::postgres;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A database of one test.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Database {
    /// A new database; `None` where there is no server.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let url = postgres::shared()?.database(name);
        Some(Self { client: connect(&url).await, url })
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// The first column of the answer's rows, as text; null is `null`.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<String> {
        let answer = self.client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let text = |message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null").to_owned()),
            _ => None,
        };
        answer.into_iter().filter_map(text).collect()
    }

    /// The options of a sink into this database: table `t` unless `entries` name another.
    pub(crate) fn sink(&self, entries: &[(&str, &str)]) -> Box<dyn Sink> {
        sink(&self.url, entries).unwrap()
    }
}

pub(crate) fn sink(url: &str, entries: &[(&str, &str)]) -> Result<Box<dyn Sink>> {
    let mut raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    raw.entry("connection.url".to_owned()).or_insert_with(|| url.to_owned());
    raw.entry("connection.backoff.ms".to_owned()).or_insert_with(|| "10".to_owned());
    if !raw.contains_key("table.name.format") {
        raw.entry("table".to_owned()).or_insert_with(|| "t".to_owned());
    }
    let config = PostgresSinkPlugin.config_def().parse(&raw, "").unwrap_or_else(|e| panic!("{e:?}"));
    let errors = PostgresSinkPlugin.validate(&config);
    if let Some(error) = errors.into_iter().next() {
        return Err(error.into());
    }
    PostgresSinkPlugin.create(&config)
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Rows of these columns; those whose name ends in `!` may not be null.
pub(crate) fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns =
        columns.into_iter().map(|(name, array)| (name.trim_end_matches('!').to_owned(), array, !name.ends_with('!')));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub(crate) fn array<A: arrow::array::Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}

/// The run number `epoch` of task 0 of pipeline `p`.
pub(crate) fn context(epoch: u64) -> TaskContext {
    TaskContext { epoch, ..TaskContext::new("p") }
}

pub(crate) fn commit(batch_id: u64, epoch: u64) -> Commit {
    let offsets = Offsets::from_iter([(Partition::named("file", "a"), Offset::at(batch_id + 1))]);
    Commit { batch_id, epoch, offsets }
}

/// Opens a sink, writes micro-batches from number 0, commits them, and closes it.
pub(crate) async fn write(sink: Box<dyn Sink>, batches: &[RecordBatch]) -> Result<()> {
    write_as(sink, OutputMode::Append, batches).await
}

pub(crate) async fn write_as(mut sink: Box<dyn Sink>, mode: OutputMode, batches: &[RecordBatch]) -> Result<()> {
    // Each run's epoch is above all before it.
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    let epoch = NEXT.fetch_add(1, Ordering::Relaxed);
    sink.open(&context(epoch), batches[0].schema(), mode).await?;
    for (id, rows) in batches.iter().enumerate() {
        sink.write(id as u64, Batch::new(rows.clone())).await?;
        sink.commit(&commit(id as u64, epoch)).await?;
    }
    sink.close().await
}

/// The error that it must end with.
pub(crate) async fn refused(sink: Box<dyn Sink>, batches: &[RecordBatch]) -> Error {
    match write(sink, batches).await {
        Ok(()) => panic!("it was not refused"),
        Err(error) => error,
    }
}

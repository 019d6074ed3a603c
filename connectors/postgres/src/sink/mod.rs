//! Writes a micro-batch in one transaction: its rows by binary COPY, and the progress beside them.

mod delete;
mod merge;
mod plan;
mod progress;
mod session;
mod tolerate;

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{
    BadRow, Batch, Commit, Error, Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin,
    TaskContext, async_trait,
};

use self::session::Session;
use crate::config::{InsertMode, Options, insert_mode};

/// The sink `PostgresSink`.
pub struct PostgresSinkPlugin;

impl Plugin for PostgresSinkPlugin {
    fn name(&self) -> &str {
        "PostgresSink"
    }

    fn aliases(&self) -> &[&str] {
        &[
            "Postgres",
            "JdbcSink",
            "JdbcSinkConnector",
            "io.confluent.connect.jdbc.JdbcSinkConnector",
            "io.aiven.connect.jdbc.JdbcSinkConnector",
            "io.debezium.connector.jdbc.JdbcSinkConnector",
        ]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Writes a table of PostgreSQL: appends, upserts and deletes, each micro-batch exactly once."
    }

    fn config_def(&self) -> ConfigDef {
        crate::config::sink()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        Options::new(config).err().unwrap_or_default()
    }
}

impl SinkPlugin for PostgresSinkPlugin {
    fn capabilities(&self, config: &Config) -> SinkCapabilities {
        let modes: &[OutputMode] = match insert_mode(config) {
            InsertMode::Insert => &[OutputMode::Append, OutputMode::Complete],
            InsertMode::Upsert => &[OutputMode::Append, OutputMode::Update, OutputMode::Complete],
            InsertMode::Update => &[OutputMode::Append, OutputMode::Update],
        };
        SinkCapabilities { guarantee: Guarantee::Transactional, modes }
    }

    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(PostgresSink { options: Options::checked(config)?, session: None }))
    }
}

struct PostgresSink {
    options: Options,
    session: Option<Session>,
}

impl PostgresSink {
    fn session(&mut self) -> Result<&mut Session> {
        self.session.as_mut().ok_or_else(|| Error::internal("the sink is not open"))
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        let (session, held) = Session::open(&self.options, context, &schema, mode).await?;
        self.session = Some(session);
        Ok(held)
    }

    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        self.session()?.write(batch_id, batch).await
    }

    async fn prepare(&mut self, _: u64) -> Result<Vec<BadRow>> {
        self.session()?.prepare().await
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        self.session()?.commit(commit).await
    }

    async fn abort(&mut self, _: u64) -> Result<()> {
        self.session()?.abort().await
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(())
    }
}

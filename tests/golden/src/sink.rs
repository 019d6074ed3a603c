//! The sink of the runner: it keeps the rows of every batch and fails on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef};
use levada_connector_api::{
    Batch, Commit, Error, ErrorKind, Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin,
    TaskContext, async_trait,
};
use levada_formats::ddl::type_name;

use crate::canonical;

/// The sink's class.
pub(crate) const GOLDEN: &str = "Golden";

/// A batch that the sink was given in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The run, from 0.
    pub(crate) run: usize,
    /// The batch.
    pub(crate) batch: u64,
    /// Its rows, canonical.
    pub(crate) rows: Vec<String>,
    /// Whether the sink accepted it.
    pub(crate) accepted: bool,
}

/// What the sink of a case has seen.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The run under way.
    pub(crate) run: usize,
    /// How often each batch is still to fail.
    pub(crate) failures: BTreeMap<u64, u32>,
    /// Names and Spark types, of the last batch.
    pub(crate) schema: Vec<(String, String)>,
    /// The same of the last run, which may not have come to a batch.
    pub(crate) opened: Vec<(String, String)>,
    /// All batches, in order.
    pub(crate) attempts: Vec<Attempt>,
}

/// [`Collected`], shared between the sinks of all runs and the runner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Collected>>);

impl Shared {
    /// Looks at it, or changes it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Collected) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes the runner's sinks.
pub(crate) struct GoldenPlugin(pub(crate) Shared);

impl Plugin for GoldenPlugin {
    fn name(&self) -> &str {
        GOLDEN
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Keeps the rows of every batch for the golden runner"
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
    }
}

impl SinkPlugin for GoldenPlugin {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities {
            guarantee: Guarantee::Idempotent,
            modes: &[OutputMode::Append, OutputMode::Update, OutputMode::Complete],
        }
    }

    fn create(&self, _: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(GoldenSink { shared: self.0.clone(), schema: Vec::new(), staged: Vec::new() }))
    }
}

struct GoldenSink {
    shared: Shared,
    schema: Vec<(String, String)>,
    staged: Vec<String>,
}

#[async_trait]
impl Sink for GoldenSink {
    async fn open(&mut self, _: &TaskContext, schema: SchemaRef, _: OutputMode) -> Result<Option<Commit>> {
        let column = |field: &arrow::datatypes::FieldRef| (field.name().clone(), type_name(field.data_type()));
        self.schema = schema.fields().iter().map(column).collect();
        self.shared.with(|collected| collected.opened.clone_from(&self.schema));
        Ok(None)
    }

    async fn write(&mut self, _: u64, batch: Batch) -> Result<()> {
        self.staged.extend(canonical::lines(&batch.rows).map_err(Error::internal)?);
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let rows = std::mem::take(&mut self.staged);
        let batch = commit.batch_id;
        let accepted = self.shared.with(|collected| {
            let left = collected.failures.get_mut(&batch).filter(|left| **left > 0);
            let accepted = left.is_none();
            if let Some(left) = left {
                *left -= 1;
            }
            let run = collected.run;
            collected.schema.clone_from(&self.schema);
            collected.attempts.push(Attempt { run, batch, rows, accepted });
            accepted
        });
        if accepted { Ok(()) } else { Err(Error::new(ErrorKind::Io, format!("the sink refused batch {batch}"))) }
    }

    async fn abort(&mut self, _: u64) -> Result<()> {
        self.staged.clear();
        Ok(())
    }
}

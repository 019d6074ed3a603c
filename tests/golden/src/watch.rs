//! A look at the source: whether a query that keeps running has nothing left to do.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{
    Offsets, Plugin, PollLimit, PollStatus, Polled, Result, Source, SourceCapabilities, SourcePlugin, TaskContext,
    async_trait,
};
use tokio::sync::{Mutex, watch};

/// After how many polls without anything the query counts as idle. More than one: a batch without data may follow the
/// last commit.
const QUIET_POLLS: u32 = 4;

/// What the source has done since something last happened.
#[derive(Debug, Default)]
struct Seen {
    /// What was read and not yet acknowledged.
    read: Offsets,
    /// What the engine has acknowledged.
    committed: Offsets,
    quiet_polls: u32,
}

impl Seen {
    fn idle(&self) -> bool {
        self.quiet_polls >= QUIET_POLLS && self.read == self.committed
    }
}

/// Watches the sources of one run.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    seen: Arc<watch::Sender<Seen>>,
    /// Held during a poll: files that appear together are seen together.
    gate: Arc<Mutex<()>>,
}

impl Watch {
    /// Nothing seen yet.
    pub(crate) fn new() -> Self {
        Self { seen: Arc::new(watch::Sender::new(Seen::default())), gate: Arc::default() }
    }

    /// Does `work` between two polls. The query is not idle after it before it has looked again.
    pub(crate) async fn between_polls<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.gate.lock().await;
        self.seen.send_modify(|seen| seen.quiet_polls = 0);
        work()
    }

    /// Waits until everything read is committed and nothing more comes.
    pub(crate) async fn idle(&self) {
        // The sender is alive as long as `self`.
        let _ = self.seen.subscribe().wait_for(Seen::idle).await;
    }

    fn polled(&self, polled: &Polled) {
        self.seen.send_modify(|seen| {
            if polled.ranges.is_empty() {
                seen.quiet_polls += u32::from(polled.status == PollStatus::Idle);
            } else {
                seen.quiet_polls = 0;
                for (partition, offset) in polled.ranges.ends().iter() {
                    seen.read.set(partition.clone(), offset.clone());
                }
            }
        });
    }

    fn committed(&self, offsets: &Offsets) {
        self.seen.send_modify(|seen| {
            seen.quiet_polls = 0;
            for (partition, offset) in offsets.iter() {
                seen.committed.set(partition.clone(), offset.clone());
            }
        });
    }
}

/// A source plugin whose sources are watched.
pub(crate) struct Watched {
    /// The plugin.
    pub(crate) inner: Arc<dyn SourcePlugin>,
    /// Who watches.
    pub(crate) watch: Watch,
}

impl Plugin for Watched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn version(&self) -> &str {
        self.inner.version()
    }

    fn doc(&self) -> &str {
        self.inner.doc()
    }

    fn config_def(&self) -> ConfigDef {
        self.inner.config_def()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        self.inner.validate(config)
    }
}

impl SourcePlugin for Watched {
    fn capabilities(&self, config: &Config) -> SourceCapabilities {
        self.inner.capabilities(config)
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        Ok(Box::new(WatchedSource { inner: self.inner.create(config)?, watch: self.watch.clone() }))
    }
}

struct WatchedSource {
    inner: Box<dyn Source>,
    watch: Watch,
}

#[async_trait]
impl Source for WatchedSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        self.inner.schema().await
    }

    fn only(&mut self, columns: &[String]) {
        self.inner.only(columns);
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        self.inner.open(context, from).await
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let gate = self.watch.gate.clone();
        let _held = gate.lock().await;
        let polled = self.inner.poll(limit).await?;
        self.watch.polled(&polled);
        Ok(polled)
    }

    async fn latest(&mut self) -> Result<Offsets> {
        self.inner.latest().await
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<()> {
        self.inner.commit(offsets).await?;
        self.watch.committed(offsets);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

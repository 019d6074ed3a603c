//! A panic in any operation of any kind is an error of that operation, and its instance is of no more use.

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, RawConfig};
use levada_connector_api::*;

use super::{registry, rows};
use crate::guest::Exported;

crate::plugin_config! {
    /// Where it panics.
    struct Settings {
        /// The operation.
        at: String,
    }
}

struct Panics;

impl Plugin for Panics {
    fn name(&self) -> &str {
        "Panics"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn doc(&self) -> &str {
        "Panics"
    }

    fn config_def(&self) -> config::ConfigDef {
        Settings::definition()
    }

    fn validate(&self, config: &Config) -> Vec<config::ConfigError> {
        At(Settings::read(config).at).pass("validate");
        Vec::new()
    }
}

/// The operation that panics.
struct At(String);

impl At {
    fn pass(&self, operation: &str) {
        assert!(self.0 != operation, "panics in {operation}");
    }

    async fn later(&self, operation: &str) -> Result<()> {
        tokio::task::yield_now().await;
        self.pass(operation);
        Ok(())
    }
}

impl SourcePlugin for Panics {
    fn capabilities(&self, config: &Config) -> SourceCapabilities {
        At(Settings::read(config).at).pass("capabilities");
        SourceCapabilities { replayable: true, bounded: true }
    }

    fn tasks(&self, config: &Config, max: u32) -> u32 {
        At(Settings::read(config).at).pass("tasks");
        max
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        Ok(Box::new(At(Settings::read(config).at)))
    }
}

impl TransformPlugin for Panics {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        Ok(Box::new(At(Settings::read(config).at)))
    }
}

impl SinkPlugin for Panics {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities { guarantee: Guarantee::Idempotent, modes: &[OutputMode::Append] }
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(At(Settings::read(config).at)))
    }
}

#[async_trait]
impl Source for At {
    async fn schema(&mut self) -> Result<SchemaRef> {
        self.later("schema").await.map(|()| rows(0, 0).schema())
    }

    async fn open(&mut self, _: &TaskContext, _: &Offsets) -> Result<()> {
        self.later("open").await
    }

    async fn poll(&mut self, _: &PollLimit) -> Result<Polled> {
        self.later("poll").await.map(|()| Polled::nothing(PollStatus::End))
    }

    async fn latest(&mut self) -> Result<Offsets> {
        self.later("latest").await.map(|()| Offsets::new())
    }

    async fn commit(&mut self, _: &Offsets) -> Result<()> {
        self.later("commit").await
    }

    async fn close(&mut self) -> Result<()> {
        self.later("close").await
    }
}

#[async_trait]
impl Transform for At {
    fn bind(&mut self, input: &SchemaRef, _: &BindContext) -> Result<Bound> {
        self.pass("bind");
        Ok(Bound::stateless(input.clone()))
    }

    async fn open(&mut self, _: &TaskContext) -> Result<()> {
        self.later("open").await
    }

    fn begin(&mut self, _: &BatchInfo) -> Result<()> {
        self.pass("begin");
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        self.pass("process");
        Ok(Emitted::one(batch))
    }

    async fn finish(&mut self, _: u64) -> Result<Emitted> {
        self.later("finish").await.map(|()| Emitted::default())
    }

    async fn checkpoint(&mut self, _: StateKind) -> Result<Option<StateImage>> {
        self.later("checkpoint").await.map(|()| None)
    }

    async fn restore(&mut self, _: StateImage) -> Result<()> {
        self.later("restore").await
    }
}

#[async_trait]
impl Sink for At {
    async fn open(&mut self, _: &TaskContext, _: SchemaRef, _: OutputMode) -> Result<Option<Commit>> {
        self.later("open").await.map(|()| None)
    }

    async fn write(&mut self, _: u64, _: Batch) -> Result<()> {
        self.later("write").await
    }

    async fn prepare(&mut self, _: u64) -> Result<Vec<BadRow>> {
        self.later("prepare").await.map(|()| Vec::new())
    }

    async fn commit(&mut self, _: &Commit) -> Result<()> {
        self.later("commit").await
    }

    async fn abort(&mut self, _: u64) -> Result<()> {
        self.later("abort").await
    }

    async fn close(&mut self) -> Result<()> {
        self.later("close").await
    }
}

fn config(plugin: &dyn Plugin, at: &str) -> Config {
    let raw = RawConfig::from([("at".to_owned(), at.to_owned())]);
    plugin.config_def().parse(&raw, "").unwrap()
}

/// The operations that went well, and the error of the first that did not.
type Outcome = (Vec<&'static str>, Option<Error>);

macro_rules! steps {
    ($($name:literal: $call:expr),* $(,)?) => {{
        let mut done = Vec::new();
        $(match $call {
            Ok(_) => done.push($name),
            Err(error) => return (done, Some(error)),
        })*
        (done, None)
    }};
}

async fn source(at: &str) -> Outcome {
    let registry = registry(Exported::source(Panics));
    let plugin = registry.source("Panics").unwrap();
    let mut source = plugin.create(&config(plugin.as_ref(), at)).unwrap();
    steps! {
        "schema": source.schema().await,
        "open": source.open(&TaskContext::new("p"), &Offsets::new()).await,
        "poll": source.poll(&PollLimit::unlimited(0)).await,
        "latest": source.latest().await,
        "commit": source.commit(&Offsets::new()).await,
        "close": source.close().await,
    }
}

async fn transform(at: &str) -> Outcome {
    let registry = registry(Exported::transform(Panics));
    let plugin = registry.transform("Panics").unwrap();
    let mut transform = plugin.create(&config(plugin.as_ref(), at)).unwrap();
    let image = StateImage { kind: StateKind::Snapshot, fingerprint: String::new(), sections: Vec::new() };
    steps! {
        "bind": transform.bind(&rows(0, 0).schema(), &BindContext::new("t", OutputMode::Append)),
        "open": transform.open(&TaskContext::new("p")).await,
        "restore": transform.restore(image).await,
        // It waits for the next operation, in which it is told.
        "begin": {
            transform.begin(&BatchInfo { batch_id: 0, watermark: 0, late: 0 }).unwrap();
            transform.process(Batch::new(rows(0, 0))).await
        },
        "process": transform.process(Batch::new(rows(0, 3))).await,
        "finish": transform.finish(0).await,
        "checkpoint": transform.checkpoint(StateKind::Delta).await,
    }
}

async fn sink(at: &str) -> Outcome {
    let registry = registry(Exported::sink(Panics));
    let plugin = registry.sink("Panics").unwrap();
    let mut sink = plugin.create(&config(plugin.as_ref(), at)).unwrap();
    let commit = Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() };
    steps! {
        "open": sink.open(&TaskContext::new("p"), rows(0, 0).schema(), OutputMode::Append).await,
        "write": sink.write(0, Batch::new(rows(0, 3))).await,
        "abort": sink.abort(0).await,
        "prepare": sink.prepare(0).await,
        "commit": sink.commit(&commit).await,
        "close": sink.close().await,
    }
}

#[tokio::test]
async fn each_operation_may_panic() {
    for kind in ["source", "transform", "sink"] {
        let run = async |at: &str| match kind {
            "source" => source(at).await,
            "transform" => transform(at).await,
            _ => sink(at).await,
        };
        let (all, none) = run("nowhere").await;
        assert!(all.len() >= 6 && none.is_none(), "{kind}: {none:?}");
        for (number, at) in all.iter().enumerate() {
            // Of 'process' the one before, for 'begin', is one, too.
            let expected = if *at == "process" { number - 1 } else { number };
            let (done, error) = run(at).await;
            let error = error.unwrap_or_else(|| panic!("{kind}: nobody tells of a panic in {at}"));
            assert_eq!((done.len(), error.kind()), (expected, ErrorKind::Panic), "{kind}, {at}: {error}");
            let text = error.to_string();
            for part in ["loopback 1", "'Panics'", at, &format!("panics in {at}")] {
                assert!(text.contains(part), "{kind}: {text} lacks {part}");
            }
        }
    }
}

#[test]
fn a_query_may_panic() {
    let registry = registry(Exported::source(Panics));
    let plugin = registry.source("Panics").unwrap();
    let wrong = plugin.validate(&config(plugin.as_ref(), "validate"));
    assert!(wrong[0].message.contains("panics in validate"), "{wrong:?}");
    // Promising nothing is always right.
    let can = plugin.capabilities(&config(plugin.as_ref(), "capabilities"));
    assert!(!can.replayable && !can.bounded);
    assert_eq!(plugin.tasks(&config(plugin.as_ref(), "tasks"), 4), 1);
    assert_eq!(plugin.tasks(&config(plugin.as_ref(), "nowhere"), 4), 4);
}

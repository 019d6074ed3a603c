//! The contracts hold through the tables.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use levada_connector_api::testkit::{MemoryStore, SinkTarget, canonical_rows, sink_conformance, source_conformance};
use levada_connector_api::{
    Batch, BindContext, Origin, OutputMode, Registry, Sink, SinkCapabilities, StateKind, TaskContext, async_trait,
};

use super::shapes::{Keep, Memory, Pass};
use super::{config, registry, rows};
use crate::guest::Exported;

#[tokio::test]
async fn a_source_keeps_its_contract_through_its_table() {
    let registry = registry(Exported::source(Memory));
    let plugin = registry.source("com.example.memory").unwrap();
    let config = config(plugin.as_ref());
    let can = plugin.capabilities(&config);
    assert!(can.replayable);
    source_conformance(&|| plugin.create(&config).unwrap(), can).await;
}

struct Target(Registry, MemoryStore);

#[async_trait]
impl SinkTarget for Target {
    fn make(&self) -> Box<dyn Sink> {
        let plugin = self.0.sink("Keep").unwrap();
        plugin.create(&config(plugin.as_ref())).unwrap()
    }

    async fn visible(&self) -> Vec<String> {
        self.1.rows()
    }

    async fn clear(&self) {
        self.1.clear();
    }

    fn capabilities(&self) -> SinkCapabilities {
        let plugin = self.0.sink("Keep").unwrap();
        plugin.capabilities(&config(plugin.as_ref()))
    }

    fn schema(&self) -> SchemaRef {
        rows(0, 0).schema()
    }

    fn rows(&self, seed: u64) -> RecordBatch {
        let first = i64::try_from(seed).unwrap() * 10;
        rows(first, first + 5)
    }
}

#[tokio::test]
async fn a_sink_keeps_its_contract_through_its_table() {
    let store = MemoryStore::new();
    let target = Target(registry(Exported::sink(Keep(store.clone()))), store);
    sink_conformance(&target).await;
}

#[tokio::test]
async fn a_transform_passes_rows_state_and_bad_rows() {
    let registry = registry(Exported::transform(Pass));
    let plugin = registry.transform("pass").unwrap();
    assert_eq!((plugin.version(), plugin.config_def().keys().len()), ("1.2.3", 2));
    let mut transform = plugin.create(&config(plugin.as_ref())).unwrap();
    let bound = transform.bind(&rows(0, 0).schema(), &BindContext::new("t", OutputMode::Append)).unwrap();
    assert!(bound.stateful && bound.schema == rows(0, 0).schema());
    transform.open(&TaskContext::new("p")).await.unwrap();
    for i in 0..3 {
        let origin = Origin::exact("a.csv", "line", 2);
        let sent = rows(i * 10, i * 10 + 10).slice(2, 5);
        let emitted = transform.process(Batch::with_origin(sent.clone(), origin)).await.unwrap();
        assert_eq!(canonical_rows(&emitted.batches[0].rows), canonical_rows(&sent));
        assert_eq!(emitted.batches[0].origin.of(1), "a.csv, line 3");
        assert_eq!(emitted.rejected[0].position, "a.csv, line 2");
    }
    let image = transform.checkpoint(StateKind::Snapshot).await.unwrap().unwrap();
    assert_eq!((image.sections[0].partition, image.sections[0].batches[0].num_rows()), (3, 15));
    let mut other = plugin.create(&config(plugin.as_ref())).unwrap();
    other.bind(&rows(0, 0).schema(), &BindContext::new("t", OutputMode::Append)).unwrap();
    other.restore(image).await.unwrap();
    let again = other.checkpoint(StateKind::Snapshot).await.unwrap().unwrap();
    assert_eq!(again.sections[0].batches[0].num_rows(), 15);
}

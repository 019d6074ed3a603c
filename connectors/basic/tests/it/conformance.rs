//! The conformance kit on each connector.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_connector_api::testkit::{SinkTarget, sink_conformance, source_conformance};
use levada_connector_api::{Registry, Sink, SinkCapabilities, SinkPlugin, SourcePlugin, async_trait};
use levada_connector_basic::console::{Console, ConsoleSink, Options};
use levada_connector_basic::datagen::Datagen;
use levada_connector_basic::null::Null;

use super::config;

fn rows(seed: u64) -> RecordBatch {
    let first = i64::try_from(seed).unwrap() * 10;
    let words = StringArray::from_iter_values((first..first + 4).map(|i| format!("word{i}")));
    let counts = Int64Array::from_iter_values(first..first + 4);
    RecordBatch::try_from_iter([("word", Arc::new(words) as ArrayRef), ("count", Arc::new(counts))]).unwrap()
}

struct Screen(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl SinkTarget for Screen {
    fn make(&self) -> Box<dyn Sink> {
        Box::new(ConsoleSink::with_writer(Options { truncate: 20, num_rows: 20 }, self.0.clone()))
    }

    async fn visible(&self) -> Vec<String> {
        let printed = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = printed.lines().filter(|line| line.starts_with('|') && !line.contains("word|count"));
        let row = |line: &str| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            format!("{{\"word\": \"{}\", \"count\": {}}}", cells[0], cells[1])
        };
        lines.map(row).collect()
    }

    async fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn capabilities(&self) -> SinkCapabilities {
        Console.capabilities(&config(&Console, &[]))
    }

    fn rows(&self, seed: u64) -> RecordBatch {
        rows(seed)
    }
}

struct Nowhere;

#[async_trait]
impl SinkTarget for Nowhere {
    fn make(&self) -> Box<dyn Sink> {
        Null.create(&config(&Null, &[])).unwrap()
    }

    async fn visible(&self) -> Vec<String> {
        Vec::new()
    }

    async fn clear(&self) {}

    fn capabilities(&self) -> SinkCapabilities {
        Null.capabilities(&config(&Null, &[]))
    }

    fn discards(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_console_conforms() {
    sink_conformance(&Screen(Arc::default())).await;
}

#[tokio::test]
async fn the_null_sink_conforms() {
    sink_conformance(&Nowhere).await;
}

#[tokio::test]
async fn the_generator_conforms() {
    for kind in ["words", "orders", "cars"] {
        for rows in [&[("rows", "300")] as &[_], &[]] {
            let entries: Vec<_> = [("kind", kind)].into_iter().chain(rows.iter().copied()).collect();
            let config = config(&Datagen, &entries);
            let capabilities = Datagen.capabilities(&config);
            assert_eq!(capabilities.bounded, !rows.is_empty());
            source_conformance(&|| Datagen.create(&config).unwrap(), capabilities).await;
        }
    }
}

#[test]
fn all_are_registered_once() {
    let mut registry = Registry::new();
    levada_connector_basic::register(&mut registry).unwrap();
    let names: Vec<_> =
        registry.list().iter().map(|(kind, plugin)| format!("{} {}", kind.as_str(), plugin.name())).collect();
    assert_eq!(names, ["source Datagen", "sink Console", "sink Null"]);
    assert!(levada_connector_basic::register(&mut registry).is_err());
}

//! Every built-in plugin by way of its own table of the plugin interface, with the conformance kit; and whole pipelines of
//! them, killed.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use levada_connector_api::config::{Config, RawConfig};
use levada_connector_api::testkit::{sink_protocol, source_conformance, transform_conformance};
use levada_connector_api::{
    Batch, BindContext, Commit, Offsets, OutputMode, Plugin, PluginKind, Registry, TaskContext,
};
use levada_plugin::loopback;
use levada_plugins::registry;
use levada_services::kafka::Kafka;
use levada_services::postgres;
use tempfile::TempDir;

use crate::crash::kill_at_random;
use crate::support::{Case, topics};

/// The built-ins, and the same by way of their tables.
fn both() -> [(&'static str, Registry); 2] {
    let direct = registry().unwrap();
    let tables = loopback(&direct).unwrap();
    [("directly", direct), ("through its table", tables)]
}

fn config(plugin: &dyn Plugin, entries: &[(&str, &str)]) -> Config {
    let raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    plugin.config_def().parse(&raw, "").unwrap_or_else(|errors| panic!("{}: {errors:?}", plugin.name()))
}

async fn source_conforms(class: &str, entries: &[(&str, &str)]) {
    for (way, registry) in both() {
        println!("{class} {way}");
        let plugin = registry.source(class).unwrap();
        let config = config(plugin.as_ref(), entries);
        source_conformance(&|| plugin.create(&config).unwrap(), plugin.capabilities(&config)).await;
    }
}

/// Rows with a number, a key, a value that may be null, and a time that mostly rises.
fn rows(seed: u64, n: i64) -> RecordBatch {
    let first = i64::try_from(seed).unwrap() * 100;
    let words = (first..first + n).map(|i| format!("the word{} a", i % 7));
    let values = (first..first + n).map(|i| (i % 5 > 0).then_some(i as f64 / 4.0));
    let times = (first..first + n).map(|i| 1_700_000_000_000_000 + (i - i % 4 * 3) * 1_000_000);
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from_iter_values(first..first + n)) as ArrayRef, false),
        ("value", Arc::new(StringArray::from_iter_values(words)), false),
        ("x", Arc::new(Float64Array::from_iter(values)), true),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")), false),
    ])
    .unwrap()
}

async fn transform_conforms(class: &str, mode: OutputMode, entries: &[(&str, &str)]) {
    let input: Vec<_> = (0..4).map(|seed| rows(seed, 40)).collect();
    for (way, registry) in both() {
        println!("{class} {way}");
        let plugin = registry.transform(class).unwrap();
        let config = config(plugin.as_ref(), entries);
        transform_conformance(&|| plugin.create(&config).unwrap(), &BindContext::new("t", mode), &input).await;
    }
}

async fn sink_conforms(class: &str, entries: &[(&str, &str)]) {
    for (number, (way, registry)) in both().into_iter().enumerate() {
        println!("{class} {way}");
        let plugin = registry.sink(class).unwrap();
        let entries: Vec<_> =
            entries.iter().map(|(key, value)| (*key, value.replace("%", &number.to_string()))).collect();
        let entries: Vec<_> = entries.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let config = config(plugin.as_ref(), &entries);
        let make = || plugin.create(&config).unwrap();
        let pipeline = format!("tables-{number}");
        sink_protocol(&make, plugin.capabilities(&config), &|seed| rows(seed, 5), &pipeline).await;
    }
}

/// A plugin that is new must be here, too.
#[test]
fn all_built_ins_are_in_these_tests() {
    let here = include_str!("tables.rs");
    let all = registry().unwrap();
    let missing: Vec<_> = all
        .list()
        .into_iter()
        .filter(|(kind, plugin)| *kind != PluginKind::DeadLetters && !here.contains(&format!("\"{}\"", plugin.name())))
        .map(|(kind, plugin)| format!("{} {}", kind.as_str(), plugin.name()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // What a table tells of a plugin is what the plugin tells.
    let tables = loopback(&all).unwrap();
    let told = |registry: &Registry| -> BTreeMap<String, String> {
        let line = |(kind, plugin): &(PluginKind, Arc<dyn Plugin>)| {
            let told = (plugin.version(), plugin.doc(), plugin.aliases(), plugin.config_def().to_markdown("x."));
            (format!("{} {}", kind.as_str(), plugin.name()), format!("{told:?}"))
        };
        registry.list().iter().map(line).collect()
    };
    assert_eq!(told(&all), told(&tables));
}

#[tokio::test]
async fn generated_rows() {
    for kind in ["words", "orders", "cars"] {
        source_conforms("Datagen", &[("kind", kind), ("rows", "100")]).await;
    }
}

#[tokio::test]
async fn rows_of_files() {
    let folder = TempDir::new().unwrap();
    for file in 0..3 {
        let lines: String = (0..40).map(|line| format!("{{\"n\": {line}, \"s\": \"file {file}\"}}\n")).collect();
        // A line that is none is rejected, with its place and its bytes.
        fs::write(folder.path().join(format!("{file}.json")), lines + "no json\n").unwrap();
    }
    let path = folder.path().to_str().unwrap();
    source_conforms("Files", &[("path", path), ("format", "text")]).await;
    source_conforms("Files", &[("path", path), ("format", "json"), ("schema", "n INT, s STRING")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_topics() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = topics::unique("tables");
    let servers = ("bootstrap.servers", kafka.bootstrap());
    let plugin = registry().unwrap().sink("Kafka").unwrap();
    // Without transactions: the mark at the end of one is an offset that is reached in the broker's own time.
    let options =
        [servers, ("topic", &topic), ("topic.creation.partitions", "1"), ("delivery.guarantee", "at-least-once")];
    let mut sink = plugin.create(&config(plugin.as_ref(), &options)).unwrap();
    let values = Arc::new(StringArray::from_iter_values((0..60).map(|n| format!("message {n}")))) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("value", values)]).unwrap();
    sink.open(&TaskContext::new(&topic), rows.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, Batch::new(rows)).await.unwrap();
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    source_conforms("Kafka", &[servers, ("topics", &topic)]).await;
}

#[tokio::test]
async fn transforms_of_single_rows() {
    let append = OutputMode::Append;
    transform_conforms("Filter", append, &[("condition", "n % 3 = 0 AND x > 2")]).await;
    transform_conforms("Select", append, &[("columns", "n + 1 AS m, upper(value) AS v, x, at")]).await;
    transform_conforms("Sql", append, &[("query", "SELECT n, x * 2 AS y FROM input WHERE x IS NOT NULL")]).await;
    transform_conforms("Watermark", append, &[("column", "at"), ("delay", "5 seconds")]).await;
    transform_conforms("Union", append, &[]).await;
}

#[tokio::test]
async fn transforms_with_state() {
    for mode in [OutputMode::Update, OutputMode::Complete] {
        transform_conforms("WordCount", mode, &[]).await;
        transform_conforms(
            "WindowedAggregate",
            mode,
            &[("group.by", "value"), ("aggregates", "count(*) AS c, sum(n) AS s")],
        )
        .await;
    }
    let windows = [("time", "at"), ("window", "10 seconds"), ("watermark", "5 seconds"), ("group.by", "value")];
    let aggregates = [("aggregates", "count(*) AS c, max(x) AS m, min(n) AS l")];
    transform_conforms("WindowedAggregate", OutputMode::Append, &[&windows[..], &aggregates[..]].concat()).await;
    transform_conforms("Deduplicate", OutputMode::Append, &[("columns", "value")]).await;
}

#[tokio::test]
async fn a_trees_predictions() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/trees-cases/onnx-dt-clf-iris/model.onnx");
    let features = ("features", "x0,x1,x2,x3");
    let input: Vec<_> = (0..3u64)
        .map(|seed| {
            let column = |i: u64| {
                let values = (0..30u64).map(move |row| ((seed * 31 + row * 7 + i * 13) % 80) as f64 / 10.0);
                (format!("x{i}"), Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
            };
            RecordBatch::try_from_iter((0..4).map(column)).unwrap()
        })
        .collect();
    for (way, registry) in both() {
        println!("DecisionTree {way}");
        let plugin = registry.transform("DecisionTree").unwrap();
        let config = config(plugin.as_ref(), &[("model", model), features]);
        let context = BindContext::new("t", OutputMode::Append);
        transform_conformance(&|| plugin.create(&config).unwrap(), &context, &input).await;
    }
}

#[tokio::test]
async fn files_and_what_shows_nothing() {
    let folder = TempDir::new().unwrap();
    for format in ["json", "csv", "parquet"] {
        let path = folder.path().join(format!("{format}-%"));
        // The protocol is gone through as several pipelines.
        let options = [("path", path.to_str().unwrap()), ("format", format), ("shared", "true")];
        sink_conforms("Files", &options).await;
    }
    sink_conforms("Null", &[]).await;
    sink_conforms("Console", &[("num.rows", "0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_topics() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = topics::unique("tables-%");
    let servers = [("bootstrap.servers", kafka.bootstrap())];
    sink_conforms("Kafka", &[&servers[..], &[("topic", &topic), ("value.converter", "json")]].concat()).await;
}

#[tokio::test]
async fn rows_of_a_table() {
    let Some(server) = postgres::shared() else { return };
    let database = server.database("tables");
    let options = [("connection.url", database.as_str()), ("table", "t%"), ("auto.create", "true")];
    sink_conforms("PostgresSink", &options).await;
}

/// Whole pipelines whose source, transforms and sink are all called by way of their tables.
#[test]
fn pipelines_killed_at_random_moments() {
    for (number, case) in [Case::filter(), Case::word_count(), Case::windows()].into_iter().enumerate() {
        kill_at_random(&case.with("plugin.tables", "true"), 40 + number as u64);
    }
}

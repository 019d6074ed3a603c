//! Topics of a real broker, written and read by a sink and a source of ours, which their own tests check against other
//! clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{AsArray as _, Int32Array, RecordBatch, StringArray};
use levada_connector_api::config::{Config, RawConfig};
use levada_connector_api::{Batch, Commit, Offsets, OutputMode, Plugin, PollLimit, PollStatus, TaskContext};
use levada_plugins::registry;
use levada_services::kafka::Kafka;

/// A name that nothing else uses.
pub(crate) fn unique(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn config(plugin: &dyn Plugin, entries: &[(&str, &str)]) -> Config {
    let raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    plugin.config_def().parse(&raw, "").unwrap()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// Writes values, in turn over so many partitions.
pub(crate) fn write(kafka: &Kafka, topic: &str, partitions: i32, values: &[String]) {
    let plugin = registry().unwrap().sink("Kafka").unwrap();
    let count = partitions.to_string();
    let entries = [
        ("bootstrap.servers", kafka.bootstrap()),
        ("topic", topic),
        ("topic.creation.partitions", &count),
        ("partition.column", "partition"),
    ];
    let places = Int32Array::from_iter_values((0..values.len()).map(|i| i as i32 % partitions));
    let rows = [("value", Arc::new(StringArray::from_iter_values(values)) as _), ("partition", Arc::new(places) as _)];
    let rows = RecordBatch::try_from_iter(rows).unwrap();
    let mut sink = plugin.create(&config(plugin.as_ref(), &entries)).unwrap();
    wait(async {
        sink.open(&TaskContext::new(topic), rows.schema(), OutputMode::Append).await.unwrap();
        sink.write(0, Batch::new(rows)).await.unwrap();
        sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
        sink.close().await.unwrap();
    });
}

/// The values that are committed, partition by partition in their order.
pub(crate) fn read(kafka: &Kafka, topic: &str) -> Vec<String> {
    let plugin = registry().unwrap().source("Kafka").unwrap();
    let entries = [
        ("bootstrap.servers", kafka.bootstrap()),
        ("topics", topic),
        ("value.converter", "string"),
        ("metadata.columns", "partition"),
    ];
    let mut source = plugin.create(&config(plugin.as_ref(), &entries)).unwrap();
    let mut values = Vec::new();
    wait(async {
        source.open(&TaskContext::new(topic), &Offsets::new()).await.unwrap();
        let until = Some(Arc::new(source.latest().await.unwrap()));
        loop {
            let polled = source.poll(&PollLimit { until: until.clone(), ..PollLimit::unlimited(0) }).await.unwrap();
            for batch in polled.batches {
                let texts = batch.rows.column(0).as_string::<i32>();
                let places = batch.rows.column(1).as_primitive::<arrow::datatypes::Int32Type>();
                values.extend(texts.iter().zip(places).map(|(text, place)| (place.unwrap(), text.unwrap().to_owned())));
            }
            if polled.status == PollStatus::End {
                break;
            }
        }
        source.close().await.unwrap();
    });
    values.sort_by_key(|(place, _)| *place);
    values.into_iter().map(|(_, value)| value).collect()
}

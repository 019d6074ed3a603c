//! Topics of a real broker, written and read by a sink and a source of ours, which their own tests check against other
//! clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, BinaryBuilder, Int32Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type};
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
        sink.open(&TaskContext::new(unique(topic)), rows.schema(), OutputMode::Append).await.unwrap();
        sink.write(0, Batch::new(rows)).await.unwrap();
        sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
        sink.close().await.unwrap();
    });
}

/// All that is committed.
fn batches(entries: &[(&str, &str)], name: &str) -> Vec<Batch> {
    let plugin = registry().unwrap().source("Kafka").unwrap();
    let mut source = plugin.create(&config(plugin.as_ref(), entries)).unwrap();
    let mut batches = Vec::new();
    wait(async {
        source.open(&TaskContext::new(name), &Offsets::new()).await.unwrap();
        let until = Some(Arc::new(source.latest().await.unwrap()));
        loop {
            let polled = source.poll(&PollLimit { until: until.clone(), ..PollLimit::unlimited(0) }).await.unwrap();
            batches.extend(polled.batches);
            if polled.status == PollStatus::End {
                break;
            }
        }
        source.close().await.unwrap();
    });
    batches
}

/// The values that are committed, partition by partition in their order.
pub(crate) fn read(kafka: &Kafka, topic: &str) -> Vec<String> {
    let entries = [
        ("bootstrap.servers", kafka.bootstrap()),
        ("topics", topic),
        ("value.converter", "string"),
        ("metadata.columns", "partition"),
    ];
    let mut values = Vec::new();
    for batch in batches(&entries, topic) {
        let texts = batch.rows.column(0).as_string::<i32>();
        let places = batch.rows.column(1).as_primitive::<Int32Type>();
        values.extend(texts.iter().zip(places).map(|(text, place)| (place.unwrap(), text.unwrap().to_owned())));
    }
    values.sort_by_key(|(place, _)| *place);
    values.into_iter().map(|(_, value)| value).collect()
}

/// A message as it lies in a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

fn headers(messages: &[Message]) -> ArrayRef {
    let fields = vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)];
    let entries = StructBuilder::new(fields, vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
    let mut list = ListBuilder::new(entries);
    for message in messages {
        for (name, value) in &message.headers {
            let entry = list.values();
            entry.field_builder::<StringBuilder>(0).unwrap().append_value(name);
            entry.field_builder::<BinaryBuilder>(1).unwrap().append_value(value);
            entry.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

/// Writes messages into a topic of one partition.
pub(crate) fn write_messages(kafka: &Kafka, topic: &str, messages: &[Message]) {
    write_messages_with(kafka, topic, messages, &[]);
}

/// The same where some have many megabytes.
pub(crate) fn write_large_messages(kafka: &Kafka, topic: &str, messages: &[Message]) {
    write_messages_with(kafka, topic, messages, &[("kafka.message.max.bytes", "30000000")]);
}

fn write_messages_with(kafka: &Kafka, topic: &str, messages: &[Message], options: &[(&str, &str)]) {
    let plugin = registry().unwrap().sink("Kafka").unwrap();
    let entries = [("bootstrap.servers", kafka.bootstrap()), ("topic", topic), ("topic.creation.partitions", "1")];
    let entries = [&entries[..], options].concat();
    let column = |part: fn(&Message) -> Option<&str>| -> ArrayRef {
        Arc::new(StringArray::from_iter(messages.iter().map(part)))
    };
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("key", column(|message| message.key.as_deref()), true),
        ("value", column(|message| message.value.as_deref()), true),
        ("headers", headers(messages), true),
    ])
    .unwrap();
    let mut sink = plugin.create(&config(plugin.as_ref(), &entries)).unwrap();
    wait(async {
        sink.open(&TaskContext::new(topic), rows.schema(), OutputMode::Append).await.unwrap();
        sink.write(0, Batch::new(rows)).await.unwrap();
        sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
        sink.close().await.unwrap();
    });
}

/// The messages that are committed, in the order of their offsets where there is one partition.
pub(crate) fn read_messages(kafka: &Kafka, topic: &str) -> Vec<Message> {
    let entries = [("bootstrap.servers", kafka.bootstrap()), ("topics", topic), ("include.headers", "true")];
    let mut messages = Vec::new();
    for batch in batches(&entries, topic) {
        let rows = &batch.rows;
        let texts = |name: &str| rows.column_by_name(name).unwrap().as_binary::<i32>().clone();
        let text = |array: &BinaryArray, row: usize| {
            array.is_valid(row).then(|| String::from_utf8_lossy(array.value(row)).into_owned())
        };
        let (keys, values) = (texts("key"), texts("value"));
        let all = rows.column_by_name("headers").unwrap().as_list::<i32>();
        for row in 0..rows.num_rows() {
            let mut headers = BTreeMap::new();
            if all.is_valid(row) {
                let entries = all.value(row);
                let entries = entries.as_struct();
                let names = entries.column(0).as_string::<i32>();
                let values = entries.column(1).as_binary::<i32>();
                for (name, value) in names.iter().zip(values) {
                    let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
                    headers.insert(name.unwrap().to_owned(), value);
                }
            }
            messages.push(Message { key: text(&keys, row), value: text(&values, row), headers });
        }
    }
    messages
}

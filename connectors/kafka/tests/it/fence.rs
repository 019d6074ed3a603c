//! Runs that are over, and transactions that take too long.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use levada_connector_api::testkit::sink_protocol;
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::Kafka;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::support::{PATIENCE, Topic, config, unique};

const TRANSACTIONAL: SinkCapabilities =
    SinkCapabilities { guarantee: Guarantee::Transactional, modes: &[OutputMode::Append] };

fn rows(seed: u64) -> RecordBatch {
    let values: StringArray = (0..5).map(|row| Some(format!("{seed}-{row}"))).collect();
    RecordBatch::try_from_iter([("value", Arc::new(values) as ArrayRef)]).unwrap()
}

fn sink(kafka: &Kafka, options: &[(&str, &str)]) -> Box<dyn Sink> {
    let servers = [("bootstrap.servers", kafka.bootstrap())];
    KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &[&servers[..], options].concat())).unwrap()
}

async fn open(kafka: &Kafka, pipeline: &str, epoch: u64, options: &[(&str, &str)]) -> Box<dyn Sink> {
    let mut sink = sink(kafka, options);
    let context = TaskContext { epoch, ..TaskContext::new(pipeline) };
    sink.open(&context, rows(0).schema(), OutputMode::Append).await.unwrap();
    sink
}

fn commit(batch_id: u64, epoch: u64) -> Commit {
    Commit { batch_id, epoch, offsets: Offsets::new() }
}

/// Many at once, as the order of the brokers' answers is what differs.
#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_holds_however_many_go_through_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let runs: u64 = std::env::var("LEVADA_REPEAT").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let each = tokio::task::LocalSet::new();
    for _ in 0..runs {
        each.spawn_local(through_the_protocol(kafka));
    }
    each.await;
}

async fn through_the_protocol(kafka: &'static Kafka) {
    let (topic, pipeline) = (unique("protocol"), unique("protocol"));
    let make = || sink(kafka, &[("topic", &topic)]);
    sink_protocol(&make, TRANSACTIONAL, &rows, &pipeline).await;
}

/// After a producer was fenced once, librdkafka says of each call that it is not allowed in this state, or of messages that
/// they are not taken.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_run_that_is_over_says_so() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut all = tokio::task::JoinSet::new();
    for round in 0..12_u64 {
        all.spawn(async move {
            let (topic, pipeline) = (unique("over"), unique("over"));
            let options = [("topic", topic.as_str())];
            let mut old = open(kafka, &pipeline, 1, &options).await;
            let in_transaction = round % 2 == 0;
            if in_transaction {
                old.write(0, Batch::new(rows(0))).await.unwrap();
                tokio::time::sleep(Duration::from_millis(round * 10)).await;
            }
            let mut new = open(kafka, &pipeline, 2, &options).await;
            new.write(0, Batch::new(rows(1))).await.unwrap();
            new.commit(&commit(0, 2)).await.unwrap();
            let mut refused = Vec::new();
            for call in 0..6 {
                let answer = match (call + round / 4) % 3 {
                    0 => old.write(0, Batch::new(rows(2))).await,
                    1 => old.commit(&commit(0, 1)).await,
                    _ => old.abort(0).await,
                };
                refused.extend(answer.err());
            }
            assert!(!refused.is_empty(), "round {round}: nothing was refused");
            for error in refused {
                assert_eq!(error.kind(), ErrorKind::Fenced, "round {round}: {error}");
            }
            new.write(1, Batch::new(rows(3))).await.unwrap();
            new.commit(&commit(1, 2)).await.unwrap();
        });
    }
    all.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_takes_too_long_is_repeated_and_is_no_takeover() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let pipeline = unique("slow");
    let options = [("topic", topic.name.as_str()), ("kafka.transaction.timeout.ms", "1000")];
    let mut slow = open(kafka, &pipeline, 1, &options).await;
    slow.write(0, Batch::new(rows(0))).await.unwrap();
    // Until the brokers have given it up: longer than the timeout, and than they look for such transactions.
    let mut error = None;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if let Err(found) = slow.write(0, Batch::new(rows(1))).await {
            error = Some(found);
            break;
        }
    }
    let error = match error {
        Some(error) => error,
        None => slow.commit(&commit(0, 1)).await.unwrap_err(),
    };
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Indeterminate), "{error}");
    assert!(error.to_string().contains("kafka.transaction.timeout.ms"), "{error}");
    // The next run finds that nothing was committed, and goes on.
    let mut sink = sink(kafka, &options);
    let context = TaskContext { epoch: 2, ..TaskContext::new(&pipeline) };
    assert_eq!(sink.open(&context, rows(0).schema(), OutputMode::Append).await.unwrap(), None);
    sink.write(0, Batch::new(rows(0))).await.unwrap();
    sink.commit(&commit(0, 2)).await.unwrap();
    sink.close().await.unwrap();
    let mut source = topic.open(&[("value.converter", "string"), ("metadata.columns", "")], &Offsets::new()).await;
    let end = source.latest().await.unwrap();
    assert_eq!(crate::support::until(&mut *source, end, usize::MAX).await.rows.len(), 5);
}

/// The brokers lock out both in the same way; whoever has taken over has left a record.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_is_told_from_a_transaction_that_takes_too_long() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut all = tokio::task::JoinSet::new();
    for (committed_before, commits) in [(true, true), (true, false), (false, false)] {
        all.spawn(async move {
            let (topic, pipeline) = (Topic::new(kafka, 1).await, unique("late"));
            let progress = Topic::with(kafka, 1, &[("cleanup.policy", "compact")]).await;
            let options = [
                ("topic", topic.name.as_str()),
                ("progress.topic", progress.name.as_str()),
                ("kafka.transaction.timeout.ms", "1000"),
            ];
            let mut old = open(kafka, &pipeline, 1, &options).await;
            let mut batch = 0;
            if committed_before {
                old.write(0, Batch::new(rows(0))).await.unwrap();
                old.commit(&commit(0, 1)).await.unwrap();
                batch = 1;
            }
            old.write(batch, Batch::new(rows(1))).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1100)).await;
            // The brokers have more patience with it, however slow this machine is.
            let mut new = open(kafka, &pipeline, 2, &options[..2]).await;
            let before = written(&progress).await;
            new.write(batch, Batch::new(rows(1))).await.unwrap();
            if commits {
                new.commit(&commit(batch, 2)).await.unwrap();
            }
            let since = std::time::Instant::now();
            while written(&progress).await == before {
                assert!(since.elapsed() < PATIENCE, "nothing is written");
            }
            let error = match old.write(batch, Batch::new(rows(2))).await {
                Err(error) => error,
                Ok(()) => old.commit(&commit(batch, 1)).await.unwrap_err(),
            };
            assert_eq!(error.kind(), ErrorKind::Fenced, "{commits}: {error}");
            if !commits {
                new.commit(&commit(batch, 2)).await.unwrap();
            }
        });
    }
    all.join_all().await;
}

/// How far a topic is written, committed or not.
async fn written(topic: &Topic) -> i64 {
    let (name, config) = (topic.name.clone(), crate::support::client(topic.kafka));
    tokio::task::spawn_blocking(move || {
        let mut config = config;
        let consumer: BaseConsumer = config.set("isolation.level", "read_uncommitted").create().unwrap();
        consumer.fetch_watermarks(&name, 0, PATIENCE).unwrap().1
    })
    .await
    .unwrap()
}

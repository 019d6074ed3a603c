//! Topics that are deleted while a sink writes to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::Kafka;

use crate::support::{Topic, config, unique, until};

fn rows(seed: usize) -> RecordBatch {
    let values: StringArray = (0..5).map(|row| Some(format!("{seed}-{row}"))).collect();
    RecordBatch::try_from_iter([("value", Arc::new(values) as ArrayRef)]).unwrap()
}

async fn open(kafka: &Kafka, pipeline: &str, epoch: u64, options: &[(&str, &str)]) -> (Box<dyn Sink>, Option<Commit>) {
    let servers = [("bootstrap.servers", kafka.bootstrap())];
    let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &[&servers[..], options].concat())).unwrap();
    let context = TaskContext { epoch, ..TaskContext::new(pipeline) };
    let held = sink.open(&context, rows(0).schema(), OutputMode::Append).await.unwrap();
    (sink, held)
}

fn commit(batch_id: u64, epoch: u64) -> Commit {
    Commit { batch_id, epoch, offsets: Offsets::new() }
}

/// Writes on until a call fails, as the engine would. The error, and how long after the deletion it came.
async fn write_on(sink: &mut dyn Sink, epoch: u64) -> (Error, Duration) {
    let since = Instant::now();
    let write = async {
        for seed in 2..4 {
            sink.write(1, Batch::new(rows(seed))).await?;
        }
        sink.prepare(1).await?;
        sink.commit(&commit(1, epoch)).await
    };
    (write.await.unwrap_err(), since.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_soon_and_the_batch_arrives_as_a_whole_once_the_pipeline_starts_again() {
    let Some(kafka) = Kafka::shared() else { return };
    for guarantee in ["exactly-once", "at-least-once"] {
        let topic = Topic::new(kafka, 2).await;
        let pipeline = unique("deleted");
        let options = [("topic", topic.name.as_str()), ("delivery.guarantee", guarantee)];
        let (mut sink, _) = open(kafka, &pipeline, 1, &options).await;
        sink.write(0, Batch::new(rows(0))).await.unwrap();
        sink.commit(&commit(0, 1)).await.unwrap();
        sink.write(1, Batch::new(rows(1))).await.unwrap();
        topic.delete().await;
        let (error, took) = write_on(&mut *sink, 1).await;
        assert_eq!((error.kind(), error.retry()), (ErrorKind::NotFound, Retry::Permanent), "{guarantee}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("topic '{}'", topic.name)) && text.contains("topic.creation.enable"), "{text}");
        assert!(took < Duration::from_secs(10), "{guarantee}: {took:?}");
        drop(sink);

        let (mut sink, held) = open(kafka, &pipeline, 2, &options).await;
        assert_eq!(held, (guarantee == "exactly-once").then(|| commit(0, 1)));
        for seed in 1..4 {
            sink.write(1, Batch::new(rows(seed))).await.unwrap();
        }
        sink.commit(&commit(1, 2)).await.unwrap();
        sink.close().await.unwrap();
        let mut source = topic.open(&[("value.converter", "string"), ("metadata.columns", "")], &Offsets::new()).await;
        let end = source.latest().await.unwrap();
        let mut found = until(&mut *source, end, usize::MAX).await.rows;
        found.sort();
        let expected = (1..4).flat_map(|seed| (0..5).map(move |row| format!(r#"{{"value": "{seed}-{row}"}}"#)));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{guarantee}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_topic_that_is_deleted_is_told_soon_and_does_not_come_back_by_itself() {
    let Some(kafka) = Kafka::shared() else { return };
    let progress = Topic::with(kafka, 1, &[("cleanup.policy", "compact")]).await;
    let topic = unique("kept");
    let options = [("topic", topic.as_str()), ("progress.topic", progress.name.as_str())];
    let (mut sink, _) = open(kafka, &unique("deleted"), 1, &options).await;
    sink.write(0, Batch::new(rows(0))).await.unwrap();
    sink.commit(&commit(0, 1)).await.unwrap();
    progress.delete().await;
    let (error, took) = write_on(&mut *sink, 1).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::NotFound, Retry::Permanent), "{error}");
    assert!(error.message().starts_with(&format!("progress topic '{}' is gone", progress.name)), "{error}");
    let text = error.to_string();
    assert!(!text.contains(&topic) && !text.contains("topic.creation.enable"), "{text}");
    assert!(text.contains("the next start refuses") && text.contains("checkpoint.location"), "{text}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let metadata = crate::support::admin(kafka).inner().fetch_metadata(None, crate::support::PATIENCE).unwrap();
    assert!(metadata.topics().iter().all(|found| found.name() != progress.name));
}

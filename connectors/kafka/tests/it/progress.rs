//! Progress records that are gone.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::Kafka;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::{PATIENCE, Topic, admin, client, config, unique};

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap()
}

/// A pipeline with a progress topic of its own.
struct Pipeline {
    kafka: &'static Kafka,
    topic: String,
    progress: Topic,
}

impl Pipeline {
    async fn new(kafka: &'static Kafka) -> Self {
        let progress = Topic::with(kafka, 1, &[("cleanup.policy", "compact,delete")]).await;
        Self { kafka, topic: unique("records"), progress }
    }

    async fn open(&self, epoch: u64, pending: Option<u64>) -> (Box<dyn Sink>, Result<Option<Commit>>) {
        self.open_task(0, epoch, pending).await
    }

    async fn open_task(&self, task: u32, epoch: u64, pending: Option<u64>) -> (Box<dyn Sink>, Result<Option<Commit>>) {
        let entries = [
            ("bootstrap.servers", self.kafka.bootstrap()),
            ("topic", self.topic.as_str()),
            ("progress.topic", self.progress.name.as_str()),
        ];
        let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &entries)).unwrap();
        let context = TaskContext { task, tasks: 2, epoch, pending, ..TaskContext::new(&self.topic) };
        let answer = sink.open(&context, rows().schema(), OutputMode::Append).await;
        (sink, answer)
    }

    async fn commit_first(&self) {
        let (mut sink, answer) = self.open(1, None).await;
        assert_eq!(answer.unwrap(), None);
        sink.write(0, Batch::new(rows())).await.unwrap();
        sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
        sink.close().await.unwrap();
    }

    /// What the next run is told, of whose first micro-batch nobody else knows whether it was committed.
    async fn asked_for_the_first(&self) -> Result<Option<Commit>> {
        self.open(2, Some(0)).await.1
    }
}

#[track_caller]
fn assert_unknown(answer: Result<Option<Commit>>, why: &str) {
    let error = answer.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Permanent), "{error}");
    let text = error.to_string();
    assert!(text.contains("whether batch 0 of task") && text.contains(why), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_batch_is_not_repeated_when_its_record_is_gone() {
    let Some(kafka) = Kafka::shared() else { return };
    let pipeline = Pipeline::new(kafka).await;
    pipeline.commit_first().await;
    assert_eq!(pipeline.asked_for_the_first().await.unwrap().unwrap().batch_id, 0);

    // A tombstone, as somebody may write it who wants the pipeline to begin anew.
    let producer: BaseProducer = client(kafka).create().unwrap();
    let key = format!("{}/0", pipeline.topic);
    producer.send(BaseRecord::<str, str>::to(&pipeline.progress.name).partition(0).key(key.as_str())).unwrap();
    producer.flush(PATIENCE).unwrap();
    assert_unknown(pipeline.asked_for_the_first().await, "records were deleted");

    let pipeline = Pipeline::new(kafka).await;
    pipeline.commit_first().await;
    let mut all = rdkafka::TopicPartitionList::new();
    all.add_partition_offset(&pipeline.progress.name, 0, rdkafka::Offset::End).unwrap();
    let answer = admin(kafka).delete_records(&all, &AdminOptions::new()).await.unwrap();
    answer.elements().iter().for_each(|partition| partition.error().unwrap());
    assert_unknown(pipeline.asked_for_the_first().await, "records were deleted");

    let pipeline = Pipeline::new(kafka).await;
    pipeline.commit_first().await;
    pipeline.progress.delete().await;
    assert_unknown(pipeline.asked_for_the_first().await, "the topic was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_batch_that_was_not_committed_is_repeated() {
    let Some(kafka) = Kafka::shared() else { return };
    let pipeline = Pipeline::new(kafka).await;
    let (mut sink, answer) = pipeline.open(1, None).await;
    answer.unwrap();
    sink.write(0, Batch::new(rows())).await.unwrap();
    assert_eq!(pipeline.asked_for_the_first().await.unwrap(), None);
}

/// That task has nothing in doubt, and makes the topic anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_batch_is_not_repeated_when_another_task_has_made_the_topic_anew() {
    let Some(kafka) = Kafka::shared() else { return };
    let pipeline = Pipeline::new(kafka).await;
    pipeline.commit_first().await;
    pipeline.progress.delete().await;
    let since = std::time::Instant::now();
    // The brokers take a moment to forget it.
    while let Err(error) = pipeline.open_task(1, 2, None).await.1 {
        assert!(since.elapsed() < PATIENCE, "{error}");
    }
    assert_unknown(
        pipeline.asked_for_the_first().await,
        "either the topic was deleted and made anew, or it is another one",
    );
    assert_unknown(
        pipeline.asked_for_the_first().await,
        "either the topic was deleted and made anew, or it is another one",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_has_begun_and_committed_nothing_begins_again() {
    let Some(kafka) = Kafka::shared() else { return };
    let pipeline = Pipeline::new(kafka).await;
    for (epoch, pending) in [(1, None), (2, None), (3, Some(0)), (1, None)] {
        let (mut sink, held) = pipeline.open(epoch, pending).await;
        assert_eq!(held.unwrap(), None, "{epoch}");
        sink.close().await.unwrap();
    }
}

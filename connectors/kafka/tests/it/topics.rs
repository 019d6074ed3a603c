//! Topics that the sink creates: the broker creates topics by itself, as Kafka does unless it is told not to.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use levada_connector_api::*;
use levada_connector_kafka::KafkaDeadLetterPlugin;
use levada_services::kafka::Kafka;
use rdkafka::admin::{AdminOptions, ConfigSource, ResourceSpecifier};

use crate::sink::write;
use crate::support::{PATIENCE, Topic, admin, config, unique};

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["a", "b"])) as _)]).unwrap()
}

/// What was set for a topic.
async fn settings(kafka: &Kafka, topic: &str) -> HashMap<String, String> {
    let answers = admin(kafka).describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let told = answers.unwrap().remove(0).unwrap().entries.into_iter();
    let own = told.filter(|entry| entry.source == ConfigSource::DynamicTopic);
    own.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
}

/// How many partitions a topic has, asked for in a way that creates nothing; 0: it is not there.
fn partitions(kafka: &Kafka, topic: &str) -> usize {
    let all = admin(kafka).inner().fetch_metadata(None, PATIENCE).unwrap();
    all.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_as_configured_where_the_broker_would_create_them_too() {
    let Some(kafka) = Kafka::shared() else { return };
    let (topic, progress) = (unique("created"), unique("progress"));
    let options = [("topic", topic.as_str()), ("progress.topic", &progress), ("topic.creation.partitions", "5")];
    write(kafka, rows(), &options).await.unwrap();
    assert_eq!((partitions(kafka, &topic), partitions(kafka, &progress)), (5, 1));
    assert_eq!(settings(kafka, &progress).await.get("cleanup.policy").map(String::as_str), Some("compact"));

    // There is one broker: it must be asked for three replicas to say so.
    let topic = unique("replicas");
    let error =
        write(kafka, rows(), &[("topic", &topic), ("topic.creation.replication.factor", "3")]).await.unwrap_err();
    assert_eq!((error.kind(), partitions(kafka, &topic)), (ErrorKind::Config, 0), "{error}");
    let letters = unique("letters");
    let entries = [("bootstrap.servers", kafka.bootstrap()), ("topic.name", &letters)];
    let mut queue = KafkaDeadLetterPlugin.create(&config(&KafkaDeadLetterPlugin, &entries)).unwrap();
    let error = queue.open(&TaskContext::new("p"), "c").await.unwrap_err();
    assert!(error.to_string().contains("replication.factor=1"), "{error}");
    assert_eq!(partitions(kafka, &letters), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_must_be_there_is_not_created_by_looking_for_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = unique("absent");
    let error = write(kafka, rows(), &[("topic", &topic), ("topic.creation.enable", "false")]).await.unwrap_err();
    assert_eq!((error.kind(), partitions(kafka, &topic)), (ErrorKind::NotFound, 0), "{error}");
    let entries = [("bootstrap.servers", kafka.bootstrap()), ("topics", topic.as_str())];
    let error = crate::support::make(&entries).open(&TaskContext::new("p"), &Offsets::new()).await.unwrap_err();
    assert_eq!((error.kind(), partitions(kafka, &topic)), (ErrorKind::NotFound, 0), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_topic_that_forgets_is_compacted() {
    let Some(kafka) = Kafka::shared() else { return };
    for (given, expected) in [
        (&[("retention.ms", "604800000"), ("max.message.bytes", "2000000")][..], "compact"),
        (&[("cleanup.policy", "compact,delete"), ("retention.bytes", "1000000")], "compact"),
        // These keep everything, and are left alone.
        (&[("cleanup.policy", "delete"), ("retention.ms", "-1")], "delete"),
        (&[("cleanup.policy", "compact"), ("segment.ms", "1000")], "compact"),
    ] {
        let progress = Topic::with(kafka, 1, given).await.name;
        let topic = unique("forgets");
        write(kafka, rows(), &[("topic", &topic), ("progress.topic", &progress)]).await.unwrap();
        let found = settings(kafka, &progress).await;
        assert_eq!(found.get("cleanup.policy").map(String::as_str), Some(expected), "{given:?}: {found:?}");
        for (key, value) in given.iter().filter(|(key, _)| *key != "cleanup.policy") {
            assert_eq!(found.get(*key).map(String::as_str), Some(*value), "{given:?}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_for_its_topic_is_told_with_its_place() {
    let Some(kafka) = Kafka::shared() else { return };
    let letters = Topic::with(kafka, 1, &[("max.message.bytes", "1000")]).await.name;
    let entries = [("bootstrap.servers", kafka.bootstrap()), ("topic.name", &letters)];
    let mut queue = KafkaDeadLetterPlugin.create(&config(&KafkaDeadLetterPlugin, &entries)).unwrap();
    queue.open(&TaskContext::new(unique("p")), "c").await.unwrap();
    let letter = |offset: usize, size: usize| DeadLetter {
        row: BadRow {
            reason: "bad".to_owned(),
            stage: "source".to_owned(),
            position: format!("huge-0, offset {offset}"),
            raw: vec![b'x'; size],
            record: None,
        },
        stage: Stage::Source,
        class: "Kafka".to_owned(),
    };
    queue.write(0, vec![letter(1, 10)]).await.unwrap();
    queue.write(0, vec![letter(2, 10), letter(3, 100_000)]).await.unwrap();
    let error = queue.commit(0).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error}");
    let text = error.to_string();
    assert!(text.contains("huge-0, offset 3") && text.contains("raise max.message.bytes of the topic"), "{text}");
}

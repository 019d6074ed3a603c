use levada_connector_api::SourceCapabilities;
use levada_connector_api::testkit::{source_conformance, source_conformance_within};
use levada_services::kafka::Kafka;

use crate::support::Topic;

const REPLAYABLE: SourceCapabilities = SourceCapabilities { replayable: true, bounded: false };

#[tokio::test(flavor = "multi_thread")]
async fn raw_messages_of_one_partition() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let values: Vec<_> = (0..120).map(|i| format!("message number {i}")).collect();
    topic.write(0, values.iter().map(String::as_str));
    source_conformance(&|| topic.source(&[]), REPLAYABLE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decoded_messages_of_three_partitions_with_bad_ones() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 3).await;
    for partition in 0..2 {
        let value = |i: i32| match i % 20 {
            7 => format!("{{broken {i}"),
            _ => format!(r#"{{"id": {i}, "name": "n{partition}"}}"#),
        };
        let values: Vec<_> = (0..60).map(value).collect();
        topic.write(partition, values.iter().map(String::as_str));
    }
    let options = [
        ("value.converter", "json"),
        ("value.converter.schema", "id INT NOT NULL, name STRING"),
        ("partition.discovery.interval", "10 ms"),
    ];
    source_conformance_within(&|| topic.source(&options), REPLAYABLE, &["_topic", "_partition"]).await;
}

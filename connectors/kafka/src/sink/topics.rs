//! Topics that must be there.

use std::time::Duration;

use levada_connector_api::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::producer::Producer;
use crate::client::{self, REQUEST, blocking};

/// How topics are created.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    pub(crate) enabled: bool,
    pub(crate) partitions: i32,
    pub(crate) replication: i32,
}

/// Creates `topic` unless it is there. Answers with how many partitions it has.
pub(crate) async fn ensure(
    config: &ClientConfig,
    producer: &Producer,
    topic: &str,
    creation: &Creation,
    settings: &[(&str, &str)],
) -> Result<i32> {
    if let Some(count) = partitions(producer.clone(), topic.to_owned()).await? {
        return Ok(count);
    }
    if !creation.enabled {
        return Err(client::error(
            format!("topic '{topic}'"),
            KafkaError::MetadataFetch(Code::UnknownTopicOrPartition),
        ));
    }
    let what = |e| client::error(format!("creating the topic '{topic}'"), e);
    let own = client::access(config);
    let admin: AdminClient<DefaultClientContext> = own.create().map_err(what)?;
    let mut new = NewTopic::new(topic, creation.partitions, TopicReplication::Fixed(creation.replication));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
    let answers = admin.create_topics([&new], &options).await.map_err(what)?;
    // Stopping its thread takes a client a moment.
    blocking(move || {
        drop(admin);
        Ok(())
    })
    .await?;
    match answers.into_iter().next() {
        Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {}
        Some(Err((_, code))) => return Err(what(KafkaError::AdminOp(code))),
        None => return Err(Error::internal(format!("creating the topic '{topic}' had no answer"))),
    }
    // The brokers learn of it one after the other.
    for _ in 0..100 {
        if let Some(count) = partitions(producer.clone(), topic.to_owned()).await? {
            return Ok(count);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Error::new(
        levada_connector_api::ErrorKind::Unavailable,
        format!("the topic '{topic}' was created, but is not seen"),
    ))
}

/// How many bytes the brokers take at once for `topic`; `None`: they do not say.
pub(crate) async fn largest_batch(config: &ClientConfig, topic: &str) -> Option<usize> {
    let admin: AdminClient<DefaultClientContext> = client::access(config).create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    // Stopping its thread takes a client a moment, and nobody has to wait for it.
    let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(admin));
    let told = answers.ok()?.into_iter().next()?.ok()?;
    told.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}

/// How many partitions a topic has that is there.
pub(crate) async fn partitions(producer: Producer, topic: String) -> Result<Option<i32>> {
    blocking(move || {
        let failed = |e| client::error(format!("looking for the topic '{topic}'"), e);
        let metadata = producer.client().fetch_metadata(Some(&topic), REQUEST).map_err(failed)?;
        match metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic)
            .map(|found| (found.error(), found.partitions().len()))
        {
            Some((None, partitions)) => Ok(i32::try_from(partitions).ok().filter(|count| *count > 0)),
            Some((Some(code), _)) => match Code::from(code) {
                Code::UnknownTopicOrPartition | Code::LeaderNotAvailable => Ok(None),
                code => Err(failed(KafkaError::MetadataFetch(code))),
            },
            None => Ok(None),
        }
    })
    .await
}

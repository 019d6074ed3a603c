//! Topics that must be there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::producer::Producer;
use crate::client::{self, Closing, Consumer, Context, REQUEST, blocking};

/// How topics are created.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    pub(crate) enabled: bool,
    pub(crate) partitions: i32,
    pub(crate) replication: i32,
}

/// How long a topic that was created may take to be known to the broker that is asked.
const SEEN: Duration = Duration::from_secs(5);

/// The client's own size of batches.
const BATCH_SIZE: usize = 1_000_000;

/// With these a topic keeps the last record of each key for ever.
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "3600000"), ("min.cleanable.dirty.ratio", "0.1")];

/// What looks for topics and creates them.
///
/// Nobody asks for a topic by way of a producer before it is known to be there: brokers with `auto.create.topics.enable`, which is
/// Kafka's default, would create it for the asking, with their settings instead of ours. A consumer asks without that.
#[derive(Clone)]
pub(crate) struct Topics {
    looking: Arc<Closing>,
    admin: Arc<Closing<AdminClient<Context>>>,
}

impl Topics {
    /// Reaches the brokers as a producer of this configuration does.
    pub(crate) async fn new(config: &ClientConfig) -> Result<Self> {
        let own = client::access(config);
        blocking(move || {
            let failed = |e| client::error("making a client", e);
            let looking: Consumer = own.create_with_context(Context::default()).map_err(failed)?;
            let admin: AdminClient<Context> = own.create_with_context(Context::default()).map_err(failed)?;
            Ok(Self { looking: Arc::new(Closing::new(looking)), admin: Arc::new(Closing::new(admin)) })
        })
        .await
    }

    /// Creates `topic` unless it is there. Answers with how many partitions it has.
    pub(crate) async fn ensure(&self, topic: &str, creation: &Creation) -> Result<i32> {
        Ok(self.ensure_with(topic, creation, &[]).await?.0)
    }

    /// Answers with its partitions, and whether it was created.
    async fn ensure_with(&self, topic: &str, creation: &Creation, settings: &[(&str, &str)]) -> Result<(i32, bool)> {
        if let Some(count) = self.partitions(topic).await? {
            return Ok((count, false));
        }
        if !creation.enabled {
            return Err(client::error(
                format!("topic '{topic}'"),
                KafkaError::MetadataFetch(Code::UnknownTopicOrPartition),
            ));
        }
        let what = |e| client::error(format!("creating the topic '{topic}'"), e);
        let mut new = NewTopic::new(topic, creation.partitions, TopicReplication::Fixed(creation.replication));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let answers = self.admin.create_topics([&new], &options).await.map_err(what)?;
        match answers.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {}
            Some(Err((_, code))) => return Err(what(KafkaError::AdminOp(code))),
            None => return Err(Error::internal(format!("creating the topic '{topic}' had no answer"))),
        }
        // The brokers learn of it one after the other.
        let since = Instant::now();
        let mut pause = Duration::from_millis(2);
        while since.elapsed() < SEEN {
            if let Some(count) = self.partitions(topic).await? {
                return Ok((count, true));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        Err(Error::new(ErrorKind::Unavailable, format!("the topic '{topic}' was created, but is not seen")))
    }

    /// Sees to it that `topic` is there and keeps the last record of each key, however long nothing is written. One that is
    /// there already and lets records expire is made to keep them. Answers with whether it was created.
    ///
    /// # Errors
    /// It lets them expire, and cannot be changed.
    pub(crate) async fn ensure_compacted(&self, topic: &str, creation: &Creation) -> Result<bool> {
        let new = Creation { enabled: true, partitions: 1, ..creation.clone() };
        let (_, created) = self.ensure_with(topic, &new, &COMPACTED).await?;
        // Who may not look may be right nevertheless.
        let Some(told) = self.settings(topic).await else { return Ok(created) };
        let Some(why) = expires(&told) else { return Ok(created) };
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in COMPACTED {
            altered = altered.set(key, value);
        }
        // What is not named again goes back to its default.
        for entry in told.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic) {
            if let (Some(value), true) = (&entry.value, entry.name != "cleanup.policy") {
                altered = altered.set(&entry.name, value);
            }
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST));
        let failed = |e| {
            let hint = format!(
                "set it yourself (kafka-configs --alter --entity-type topics --entity-name {topic} --add-config \
                 cleanup.policy=compact), or name another topic by progress.topic"
            );
            client::error(format!("the progress topic '{topic}' forgets ({why}), and cannot be compacted"), e)
                .hint(hint)
        };
        let answers = self.admin.alter_configs([&altered], &options).await.map_err(failed)?;
        if let Some(Err((_, code))) = answers.into_iter().next() {
            return Err(failed(KafkaError::AdminOp(code)));
        }
        tracing::warn!(
            topic,
            "the progress topic would have forgotten which micro-batch was the last ({why}): it is compacted from now on"
        );
        Ok(created)
    }

    /// Lets the client send no batch of several messages that is too large for `topic`. Answers with whether that changed its
    /// configuration; `None`: the brokers do not say what they take.
    pub(crate) async fn fit_batches(&self, config: &mut ClientConfig, topic: &str) -> Option<bool> {
        let largest: usize = self.settings(topic).await?.get("max.message.bytes")?.value.as_ref()?.parse().ok()?;
        // With room for what stands around the messages.
        let largest = largest - largest / 16;
        let size = config.get("batch.size").and_then(|size| size.parse::<usize>().ok()).unwrap_or(BATCH_SIZE);
        if size <= largest {
            return Some(false);
        }
        config.set("batch.size", largest.max(1).to_string());
        Some(true)
    }

    /// The settings of a topic; `None`: the brokers do not say.
    async fn settings(&self, topic: &str) -> Option<ConfigResource> {
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
        let answers = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        answers.ok()?.into_iter().next()?.ok()
    }

    /// How many partitions a topic has that is there.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let (looking, topic) = (self.looking.clone(), topic.to_owned());
        blocking(move || {
            let what = format!("looking for the topic '{topic}'");
            let metadata = client::metadata(&looking, Some(&topic), &what)?;
            match metadata
                .topics()
                .iter()
                .find(|found| found.name() == topic)
                .map(|found| (found.error(), found.partitions().len()))
            {
                Some((None, partitions)) => Ok(i32::try_from(partitions).ok().filter(|count| *count > 0)),
                Some((Some(code), _)) => match Code::from(code) {
                    Code::UnknownTopicOrPartition | Code::LeaderNotAvailable => Ok(None),
                    code => Err(client::error(what, KafkaError::MetadataFetch(code))),
                },
                None => Ok(None),
            }
        })
        .await
    }
}

/// Lets a producer know a topic that is there: messages for certain partitions of one that it does not know spoil a transaction.
pub(crate) async fn show(producer: &Producer, topic: &str) -> Result<()> {
    let (producer, topic) = (producer.clone(), topic.to_owned());
    blocking(move || {
        let what = |e| client::error(format!("looking for the topic '{topic}'"), e);
        producer.client().fetch_metadata(Some(&topic), REQUEST).map(|_| ()).map_err(what)
    })
    .await
}

/// Why records of a topic may be gone one day that are the last of their key.
fn expires(settings: &ConfigResource) -> Option<String> {
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref());
    let policy = value("cleanup.policy")?;
    if !policy.contains("delete") {
        return None;
    }
    let limits = ["retention.ms", "retention.bytes"].into_iter().filter_map(|name| Some((name, value(name)?)));
    let limits: Vec<_> =
        limits.filter(|(_, limit)| *limit != "-1").map(|(name, limit)| format!("{name}={limit}")).collect();
    (!limits.is_empty()).then(|| format!("cleanup.policy={policy}, {}", limits.join(", ")))
}

//! Topics with messages, and sources over them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use levada_connector_api::config::{Config, RawConfig};
use levada_connector_api::testkit::canonical_rows;
use levada_connector_api::*;
use levada_connector_kafka::KafkaSourcePlugin;
use levada_services::kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// No test waits longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A topic of its own for a test.
pub(crate) struct Topic {
    pub(crate) kafka: &'static Kafka,
    pub(crate) name: String,
}

/// A name that no other test, of this run or another, uses.
pub(crate) fn unique(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    config
}

pub(crate) fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    client(kafka).create().unwrap()
}

impl Topic {
    pub(crate) async fn new(kafka: &'static Kafka, partitions: i32) -> Self {
        Self::with(kafka, partitions, &[]).await
    }

    pub(crate) async fn with(kafka: &'static Kafka, partitions: i32, settings: &[(&str, &str)]) -> Self {
        Self::named(kafka, &unique("test"), partitions, settings).await
    }

    pub(crate) async fn named(kafka: &'static Kafka, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let answers = admin(kafka).create_topics([&topic], &AdminOptions::new()).await.unwrap();
        answers.into_iter().for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));
        Self { kafka, name: name.to_owned() }
    }

    pub(crate) async fn grow(&self, partitions: usize) {
        let new = NewPartitions::new(&self.name, partitions);
        let answers = admin(self.kafka).create_partitions([&new], &AdminOptions::new()).await.unwrap();
        answers.into_iter().for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));
    }

    pub(crate) async fn delete(&self) {
        admin(self.kafka).delete_topics(&[&self.name], &AdminOptions::new()).await.unwrap();
    }

    /// Another topic in its place.
    pub(crate) async fn make_anew(&self, partitions: i32) {
        self.delete().await;
        let since = Instant::now();
        loop {
            let topic = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
            let answers = admin(self.kafka).create_topics([&topic], &AdminOptions::new()).await.unwrap();
            match answers.into_iter().next().unwrap() {
                Ok(_) => return,
                Err(answer) => assert!(since.elapsed() < PATIENCE, "{answer:?}"),
            }
        }
    }

    pub(crate) fn producer(&self) -> BaseProducer {
        client(self.kafka).set("linger.ms", "1").create().unwrap()
    }

    /// Writes values into a partition.
    pub(crate) fn write<'a>(&self, partition: i32, values: impl IntoIterator<Item = &'a str>) {
        let producer = self.producer();
        for value in values {
            producer.send(BaseRecord::<(), str>::to(&self.name).partition(partition).payload(value)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Writes one message with everything that a message has.
    pub(crate) fn write_full(
        &self,
        partition: i32,
        key: Option<&str>,
        value: Option<&str>,
        timestamp: Option<i64>,
        headers: Option<OwnedHeaders>,
    ) {
        let producer = self.producer();
        let mut record = BaseRecord::<str, str>::to(&self.name).partition(partition);
        record = if let Some(key) = key { record.key(key) } else { record };
        record = if let Some(value) = value { record.payload(value) } else { record };
        record = if let Some(timestamp) = timestamp { record.timestamp(timestamp) } else { record };
        record = if let Some(headers) = headers { record.headers(headers) } else { record };
        producer.send(record).unwrap();
        producer.flush(PATIENCE).unwrap();
    }

    /// A source over the topic.
    pub(crate) fn source(&self, options: &[(&str, &str)]) -> Box<dyn Source> {
        let given = [("bootstrap.servers", self.kafka.bootstrap()), ("topics", self.name.as_str())];
        let given = given.into_iter().filter(|(key, _)| {
            *key != "topics" || !options.iter().any(|(own, _)| ["topics", "topics.regex", "assign"].contains(own))
        });
        make(&given.chain(options.iter().copied()).collect::<Vec<_>>())
    }

    /// A source that is open.
    pub(crate) async fn open(&self, options: &[(&str, &str)], from: &Offsets) -> Box<dyn Source> {
        let mut source = self.source(options);
        source.open(&TaskContext::new(&self.name), from).await.unwrap();
        source
    }

    pub(crate) fn at(&self, partition: i32) -> Partition {
        Partition::new([("topic", self.name.clone().into()), ("partition", partition.into())])
    }
}

pub(crate) fn config(plugin: &dyn Plugin, entries: &[(&str, &str)]) -> Config {
    let raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let config = plugin.config_def().parse(&raw, "").unwrap_or_else(|e| panic!("{e:?}"));
    let errors = plugin.validate(&config);
    assert!(errors.is_empty(), "{errors:?}");
    config
}

pub(crate) fn make(entries: &[(&str, &str)]) -> Box<dyn Source> {
    KafkaSourcePlugin.create(&config(&KafkaSourcePlugin, entries)).unwrap()
}

/// What was read of a source.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) rows: Vec<String>,
    pub(crate) rejected: Vec<BadRow>,
    pub(crate) ranges: OffsetRanges,
}

impl Got {
    fn add(&mut self, polled: Polled) {
        self.rows.extend(polled.batches.iter().flat_map(|batch| canonical_rows(&batch.rows)));
        self.rejected.extend(polled.rejected);
        self.ranges.append(polled.ranges).unwrap();
    }
}

/// Polls until there were so many rows, good and bad ones.
pub(crate) async fn read(source: &mut dyn Source, rows: usize) -> Got {
    let (mut got, since) = (Got::default(), Instant::now());
    while got.rows.len() + got.rejected.len() < rows {
        assert!(since.elapsed() < PATIENCE, "{} of {rows} rows: {:?}", got.rows.len(), got.rows);
        let limit = PollLimit { wait: Duration::from_millis(50), ..PollLimit::unlimited(0) };
        got.add(source.poll(&limit).await.unwrap());
    }
    got
}

/// What a trigger finds that fires now: polls until there is nothing more.
pub(crate) async fn trigger(source: &mut dyn Source, batch_id: u64) -> Got {
    let mut got = Got::default();
    loop {
        let polled = source.poll(&PollLimit::unlimited(batch_id)).await.unwrap();
        let status = polled.status;
        got.add(polled);
        if status != PollStatus::More {
            return got;
        }
    }
}

/// Polls until `until`.
pub(crate) async fn until(source: &mut dyn Source, until: Offsets, rows: usize) -> Got {
    let until = std::sync::Arc::new(until);
    let mut got = Got::default();
    loop {
        let limit = PollLimit { rows, until: Some(until.clone()), ..PollLimit::unlimited(0) };
        let polled = source.poll(&limit).await.unwrap();
        let status = polled.status;
        got.add(polled);
        if status == PollStatus::End {
            return got;
        }
    }
}

/// Polls until the source fails.
pub(crate) async fn failure(source: &mut dyn Source) -> Error {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let limit = PollLimit { wait: Duration::from_millis(50), ..PollLimit::unlimited(0) };
        if let Err(error) = source.poll(&limit).await {
            return error;
        }
    }
    panic!("the source did not fail");
}

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use levada_connector_api::testkit::{SinkTarget, canonical_rows, sink_conformance_share};
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::Kafka;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::Headers as _;

use crate::support::{PATIENCE, Topic, client, config, unique};

struct Messages {
    kafka: &'static Kafka,
    topic: Mutex<String>,
    options: Vec<(&'static str, &'static str)>,
}

/// A message: partition, key, value, headers.
type Found = (i32, Option<String>, Option<String>, Vec<(String, Option<String>)>);

/// Waits until the partitions know of commits that have returned: the coordinator tells them one by one. Not for ever: what
/// a killed sink has left may be undecided for long.
fn decided(kafka: &Kafka, topic: &str, partitions: usize, committed: &BaseConsumer) {
    let written: BaseConsumer =
        client(kafka).set("group.id", "content").set("isolation.level", "read_uncommitted").create().unwrap();
    let since = std::time::Instant::now();
    let end = |consumer: &BaseConsumer, partition| loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok((_, end)) => return end,
            // A topic that was just made has no leader for a moment.
            Err(error) => assert!(since.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    for partition in 0..partitions as i32 {
        let all = end(&written, partition);
        while end(committed, partition) < all && since.elapsed() < Duration::from_millis(1500) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // Leaving takes a consumer a moment.
    std::thread::spawn(move || drop(written));
}

/// Waits until a reader of committed messages finds so many. A broker that is killed before the partitions know of a commit
/// may forget to tell them when it is back: Kafka 4.3's coordinator loads its log before it knows any partition's leader, takes
/// the topics for deleted, and writes the commit down as complete. The messages stay undecided until the same producer's next
/// commit.
fn told(kafka: &Kafka, topic: &str, messages: usize) {
    let since = std::time::Instant::now();
    while content(kafka, topic).len() < messages {
        assert!(since.elapsed() < PATIENCE, "topic '{topic}' has no {messages} committed messages");
    }
}

/// What a reader of committed messages finds in a topic.
fn content(kafka: &Kafka, topic: &str) -> Vec<Found> {
    let consumer: BaseConsumer = client(kafka)
        .set("group.id", "content")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    if metadata.topics()[0].error().is_some() {
        return Vec::new();
    }
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, rdkafka::Offset::Beginning).unwrap();
    }
    decided(kafka, topic, partitions, &consumer);
    consumer.assign(&list).unwrap();
    let (mut found, mut ends) = (Vec::new(), 0);
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    while ends < partitions {
        match consumer.poll(PATIENCE).expect("an answer in time") {
            Ok(message) => {
                let headers = message
                    .headers()
                    .map(|headers| headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect());
                let found_now =
                    (message.partition(), text(message.key()), text(message.payload()), headers.unwrap_or_default());
                found.push(found_now);
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            // The client connects again by itself.
            Err(rdkafka::error::KafkaError::MessageConsumption(
                Code::AllBrokersDown | Code::BrokerTransportFailure,
            )) => {}
            Err(error) => panic!("{error}"),
        }
    }
    // Leaving takes a consumer a moment.
    std::thread::spawn(move || drop(consumer));
    found
}

impl Messages {
    fn new(kafka: &'static Kafka, options: &[(&'static str, &'static str)]) -> Self {
        Self { kafka, topic: Mutex::new(unique("sink")), options: options.to_vec() }
    }

    fn topic(&self) -> String {
        self.topic.lock().unwrap().clone()
    }
}

#[async_trait]
impl SinkTarget for Messages {
    fn make(&self) -> Box<dyn Sink> {
        let topic = self.topic();
        let (progress, id) = (format!("{topic}-progress"), format!("{topic}-id"));
        let entries: Vec<_> = [
            ("bootstrap.servers", self.kafka.bootstrap()),
            ("topic", &topic),
            ("progress.topic", &progress),
            ("transactional.id", &id),
        ]
        .into_iter()
        .chain(self.options.iter().copied())
        .collect();
        KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &entries)).unwrap()
    }

    async fn visible(&self) -> Vec<String> {
        let (kafka, topic, schema) = (self.kafka, self.topic(), self.schema());
        tokio::task::spawn_blocking(move || {
            let text: Vec<_> = content(kafka, &topic).into_iter().map(|(_, _, value, _)| value.unwrap()).collect();
            let text = text.join("\n");
            let batches = arrow::json::ReaderBuilder::new(schema).build(text.as_bytes()).unwrap();
            batches.flat_map(|batch| canonical_rows(&batch.unwrap())).collect()
        })
        .await
        .unwrap()
    }

    async fn clear(&self) {
        *self.topic.lock().unwrap() = unique("sink");
    }

    fn capabilities(&self) -> SinkCapabilities {
        let entries: Vec<_> = [("bootstrap.servers", "b:1")].into_iter().chain(self.options.iter().copied()).collect();
        KafkaSinkPlugin.capabilities(&config(&KafkaSinkPlugin, &entries))
    }
}

/// Most of the time goes into waiting for the broker: several topics are checked at a time.
async fn conforms(options: &'static [(&'static str, &'static str)]) {
    const SHARES: u64 = 8;
    let Some(kafka) = Kafka::shared() else { return };
    let mut shares = tokio::task::JoinSet::new();
    for share in 0..SHARES {
        shares.spawn(async move { sink_conformance_share(&Messages::new(kafka, options), share, SHARES).await });
    }
    shares.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_exactly_once() {
    conforms(&[("topic.creation.partitions", "2")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_at_least_once() {
    conforms(&[("delivery.guarantee", "at-least-once")]).await;
}

/// Writes one micro-batch.
pub(crate) async fn write(kafka: &'static Kafka, rows: RecordBatch, options: &[(&str, &str)]) -> Result<()> {
    let entries: Vec<_> =
        [("bootstrap.servers", kafka.bootstrap())].into_iter().chain(options.iter().copied()).collect();
    write_to(rows, &entries).await
}

pub(crate) async fn write_to(rows: RecordBatch, options: &[(&str, &str)]) -> Result<()> {
    let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, options)).unwrap();
    sink.open(&TaskContext::new(unique("write")), rows.schema(), OutputMode::Append).await?;
    sink.write(0, Batch::new(rows)).await?;
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await?;
    sink.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_reads_a_sink_writes() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let headers = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "h", value: Some("1") })
        .insert(rdkafka::message::Header { key: "n", value: None::<&str> });
    topic.write_full(0, Some("k"), Some("v"), None, Some(headers));
    topic.write_full(0, Some("gone"), None, None, None);
    topic.write_full(0, None, Some(""), None, None);
    let mut source = topic.open(&[("include.headers", "true")], &Offsets::new()).await;
    let until = Arc::new(source.latest().await.unwrap());
    let mut batches = Vec::new();
    loop {
        let polled = source.poll(&PollLimit { until: Some(until.clone()), ..PollLimit::unlimited(0) }).await.unwrap();
        batches.extend(polled.batches.into_iter().map(|batch| batch.rows));
        if polled.status == PollStatus::End {
            break;
        }
    }
    let rows = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let copy = unique("copy");
    write(kafka, rows, &[("topic", &copy)]).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        content(kafka, &copy),
        [
            (0, some("k"), some("v"), vec![("h".to_owned(), some("1")), ("n".to_owned(), None)]),
            (0, some("gone"), None, vec![]),
            (0, None, some(""), vec![]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_name_topic_key_and_partition() {
    let Some(kafka) = Kafka::shared() else { return };
    let (one, two) = (unique("one"), unique("two"));
    let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as _;
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as _, true),
        ("name", text(vec![Some("a"), None, Some("ä\n")]), true),
        ("_topic", text(vec![Some(&one), Some(&two), Some(&one)]), true),
        ("part", Arc::new(Int64Array::from(vec![Some(2), None, Some(0)])) as _, true),
    ])
    .unwrap();
    let options = [("key.column", "id"), ("partition.column", "part"), ("topic.creation.partitions", "3")];
    write(kafka, rows.clone(), &options).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let mut found = content(kafka, &one);
    found.sort();
    assert_eq!(
        found,
        [
            (0, some("3"), some("{\"id\":3,\"name\":\"ä\\n\",\"part\":0}"), vec![]),
            (2, some("1"), some(r#"{"id":1,"name":"a","part":2}"#), vec![]),
        ]
    );
    let found = content(kafka, &two);
    assert_eq!(found[0].2, some(r#"{"id":2}"#));
    // Java's murmur2 of "2", positive, over three partitions.
    assert_eq!(found[0].0, 2);

    let error = write(kafka, rows.clone(), &[("topic", &one), ("key.column", "nmae")]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("key.column: there is no column 'nmae'") && text.contains("did you mean 'name'?"), "{text}");
    let error = write(kafka, rows.clone(), &[("topic", &one), ("value.converter", "string")]).await.unwrap_err();
    assert!(error.to_string().contains("writes the column 'value'"), "{error}");
    let options = [("topic", unique("absent")), ("topic.creation.enable", "false".to_owned())];
    let options: Vec<_> = options.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let error = write(kafka, rows, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_an_error_with_its_row() {
    let Some(kafka) = Kafka::shared() else { return };
    let large = "x".repeat(20 << 20);
    let rows = RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["small", large.as_str()])) as _)])
        .unwrap();
    let topic = unique("large");
    let error = write(kafka, rows.clone(), &[("topic", &topic)]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error}");
    assert!(
        error.to_string().contains("row 1 of a batch") && error.to_string().contains("message.max.bytes"),
        "{error}"
    );
    // The test broker takes it.
    write(kafka, rows, &[("topic", &topic), ("kafka.message.max.bytes", "30000000")]).await.unwrap();
    assert_eq!(content(kafka, &topic).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_comes_back_too_late_fences_nobody() {
    let Some(kafka) = Kafka::shared() else { return };
    let target = Messages::new(kafka, &[]);
    let commit = |batch_id, epoch| Commit { batch_id, epoch, offsets: Offsets::new() };
    let open = |epoch: u64| {
        let (mut sink, schema) = (target.make(), target.schema());
        async move {
            let context = TaskContext { epoch, ..TaskContext::new("late") };
            let answer = sink.open(&context, schema, OutputMode::Append).await;
            (sink, answer)
        }
    };
    let (mut new, answer) = open(2).await;
    assert_eq!(answer.unwrap(), None);
    new.write(0, Batch::new(target.rows(0))).await.unwrap();
    new.commit(&commit(0, 2)).await.unwrap();
    let (_old, answer) = open(1).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Fenced);
    new.write(1, Batch::new(target.rows(1))).await.unwrap();
    new.commit(&commit(1, 2)).await.unwrap();
    assert_eq!(target.visible().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_is_written_to_again() {
    let Some(mut kafka) = Kafka::start() else { return };
    let (bootstrap, topic) = (kafka.bootstrap().to_owned(), unique("back"));
    let rows = RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec!["a"])) as _)]).unwrap();
    let entries = [("bootstrap.servers", bootstrap.as_str()), ("topic", topic.as_str())];
    let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &entries)).unwrap();
    let schema = rows.schema();
    sink.open(&TaskContext::new("back"), schema, OutputMode::Append).await.unwrap();
    sink.write(0, Batch::new(rows.clone())).await.unwrap();
    let commit = |batch_id| Commit { batch_id, epoch: 1, offsets: Offsets::new() };
    let first = commit(0);
    let committing = tokio::spawn(async move {
        let answer = sink.commit(&first).await;
        (sink, answer)
    });
    tokio::task::spawn_blocking(move || {
        kafka.kill();
        std::thread::sleep(Duration::from_millis(300));
        kafka.restart();
        kafka
    })
    .await
    .map(|kafka| async move {
        let (mut sink, answer) = committing.await.unwrap();
        // It was committed before the kill, or waits for the broker and is then, or says that it may pass.
        if let Err(error) = answer {
            assert_ne!(error.retry(), Retry::Permanent, "{error}");
            return;
        }
        // The two producers take turns.
        for batch_id in [1, 2] {
            sink.write(batch_id, Batch::new(rows.clone())).await.unwrap();
            sink.commit(&commit(batch_id)).await.unwrap();
        }
        told(&kafka, &topic, 3);
    })
    .unwrap()
    .await;
}

/// Nobody waits for what is thrown away: neither while it is under way, nor for the brokers to say that it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_does_not_wait_for_brokers_that_are_gone() {
    let Some(mut kafka) = Kafka::start() else { return };
    let (bootstrap, topic) = (kafka.bootstrap().to_owned(), unique("gone"));
    let rows =
        |text: &str| RecordBatch::try_from_iter([("value", Arc::new(StringArray::from(vec![text])) as _)]).unwrap();
    let schema = rows("").schema();
    let open = async |pipeline: &str| {
        let entries = [("bootstrap.servers", bootstrap.as_str()), ("topic", topic.as_str())];
        let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &entries)).unwrap();
        sink.open(&TaskContext::new(pipeline), schema.clone(), OutputMode::Append).await.unwrap();
        sink
    };
    let commit = |batch_id| Commit { batch_id, epoch: 1, offsets: Offsets::new() };
    let (mut sink, mut other) = (open("stays").await, open("ends").await);
    sink.write(0, Batch::new(rows("a"))).await.unwrap();
    sink.commit(&commit(0)).await.unwrap();
    told(&kafka, &topic, 1);
    kafka.kill();
    for sink in [&mut sink, &mut other] {
        sink.write(1, Batch::new(rows("thrown away"))).await.unwrap();
        sink.prepare(1).await.unwrap();
    }
    let since = std::time::Instant::now();
    tokio::time::timeout(PATIENCE, async { tokio::join!(sink.abort(1), other.close()) })
        .await
        .map(|(aborted, closed)| aborted.and(closed).unwrap())
        .expect("it waits for the brokers");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let kafka = tokio::task::spawn_blocking(move || {
        kafka.restart();
        kafka
    })
    .await
    .unwrap();
    sink.write(1, Batch::new(rows("b"))).await.unwrap();
    sink.commit(&commit(1)).await.unwrap();
    told(&kafka, &topic, 2);
    let mut found: Vec<_> = content(&kafka, &topic).into_iter().map(|(_, _, value, _)| value.unwrap()).collect();
    found.sort();
    assert_eq!(found, ["a", "b"]);
}

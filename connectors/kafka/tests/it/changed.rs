//! What changes between two runs, and while one is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::Kafka;
use rdkafka::producer::Producer as _;

use crate::source::{PLAIN, words};
use crate::support::{Got, PATIENCE, Topic, config, trigger, unique, until};

fn sorted(got: &Got) -> Vec<String> {
    let mut words = words(&got.rows);
    words.sort();
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_first_start_is_read_whenever_the_first_rows_come() {
    let Some(kafka) = Kafka::shared() else { return };
    for start in [("starting.offsets", "latest"), ("starting.timestamp", "99999999999999")] {
        let topic = Topic::new(kafka, 2).await;
        topic.write(0, ["old"]);
        let options = [PLAIN[0], PLAIN[1], start];
        let mut source = topic.open(&options, &Offsets::new()).await;
        let got = trigger(&mut *source, 0).await;
        assert_eq!(got.rows, [""; 0]);
        let mut stands = Offsets::new();
        stands.apply(&got.ranges).unwrap();
        drop(source);
        topic.write(0, ["a"]);
        topic.write(1, ["b"]);
        let mut source = topic.open(&options, &stands).await;
        assert_eq!(sorted(&trigger(&mut *source, 1).await), ["a", "b"], "{start:?}");
    }
}

/// The first batch was prepared when the process was killed, and a partition came while nothing ran.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_before_the_first_batch_is_repeated_is_read_from_its_first_message() {
    let Some(kafka) = Kafka::shared() else { return };
    const LATE: i64 = 99_999_999_999_999;
    for start in ["latest", "offsets", "time", "times"] {
        let topic = Topic::new(kafka, 2).await;
        topic.write(0, ["old"]);
        let each = |at: i64| format!(r#"{{"{}": {{"0": {at}, "1": {at}}}}}"#, topic.name);

        let (given, far, late) = (each(-1), LATE.to_string(), each(LATE));
        let start = match start {
            "offsets" => ("starting.offsets", given.as_str()),
            "time" => ("starting.timestamp", far.as_str()),
            "times" => ("starting.timestamp", late.as_str()),
            latest => ("starting.offsets", latest),
        };
        let options = [PLAIN[0], PLAIN[1], start];
        let mut source = topic.open(&options, &Offsets::new()).await;
        topic.write(1, ["a"]);
        let first = trigger(&mut *source, 0).await;
        assert_eq!(sorted(&first), ["a"]);
        drop(source);
        topic.grow(3).await;
        // The partition's leader is known a moment after the topic has grown.
        let producer: rdkafka::producer::BaseProducer =
            crate::support::client(kafka).set("topic.metadata.refresh.interval.ms", "100").create().unwrap();
        let since = Instant::now();
        while producer.client().fetch_metadata(Some(&topic.name), PATIENCE).unwrap().topics()[0].partitions().len() < 3
        {
            assert!(since.elapsed() < PATIENCE, "the topic does not grow");
        }
        topic.write(2, ["b"]);
        let mut source = topic.source(&options);
        let context = TaskContext { pending: Some(0), ..TaskContext::new(&topic.name) };
        source.open(&context, &Offsets::new()).await.unwrap();
        let again = until(&mut *source, first.ranges.ends(), usize::MAX).await;
        assert_eq!(sorted(&again), ["a"], "{start:?}");
        assert_eq!(again.ranges.ends(), first.ranges.ends());
        topic.write(0, ["c"]);
        assert_eq!(sorted(&trigger(&mut *source, 1).await), ["b", "c"], "{start:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_no_longer_named_is_left_alone_and_keeps_its_place() {
    let Some(kafka) = Kafka::shared() else { return };
    let (one, two) = (Topic::new(kafka, 1).await, Topic::new(kafka, 1).await);
    let both = format!("{},{}", one.name, two.name);
    let (both, alone) = (("topics", both.as_str()), ("topics", one.name.as_str()));
    let open = async |topics, from: &Offsets| one.open(&[PLAIN[0], PLAIN[1], topics], from).await;
    one.write(0, ["one 0"]);
    two.write(0, ["two 0"]);
    let mut stands = Offsets::new();
    let got = trigger(&mut *open(both, &stands).await, 0).await;
    assert_eq!(sorted(&got), ["one 0", "two 0"]);
    stands.apply(&got.ranges).unwrap();
    // A batch that was prepared is repeated as it was.
    let got = until(&mut *open(alone, &Offsets::new()).await, stands.clone(), usize::MAX).await;
    assert_eq!(sorted(&got), ["one 0", "two 0"]);

    one.write(0, ["one 1"]);
    two.write(0, ["two 1"]);
    let mut source = open(alone, &stands).await;
    let end = source.latest().await.unwrap();
    let ended = until(&mut *source, end, usize::MAX).await;
    let got = trigger(&mut *open(alone, &stands).await, 1).await;
    assert_eq!((sorted(&got), sorted(&ended)), (vec!["one 1".to_owned()], vec!["one 1".to_owned()]));
    stands.apply(&got.ranges).unwrap();
    // It is named again.
    let got = trigger(&mut *open(both, &stands).await, 2).await;
    assert_eq!(sorted(&got), ["two 1"]);
    stands.apply(&got.ranges).unwrap();
    // Nobody needs it.
    two.make_anew(1).await;
    one.write(0, ["one 2"]);
    let got = trigger(&mut *open(alone, &stands).await, 3).await;
    assert_eq!(sorted(&got), ["one 2"]);
    stands.apply(&got.ranges).unwrap();
    two.delete().await;
    let mut source = open(alone, &stands).await;
    let end = source.latest().await.unwrap();
    assert!(until(&mut *source, end, usize::MAX).await.rows.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_end_the_partition_has_lost_is_told() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["a", "b"]);
    let mut source = topic.open(&PLAIN, &Offsets::new()).await;
    let end = Arc::new(Offsets::from_iter([(topic.at(0), Offset::at(5))]));
    let (since, mut rows) = (Instant::now(), 0);
    let error = loop {
        match source.poll(&PollLimit { until: Some(end.clone()), ..PollLimit::unlimited(0) }).await {
            Ok(polled) => rows += polled.num_rows(),
            Err(error) => break error,
        }
        assert!(since.elapsed() < PATIENCE, "it waits for messages that are gone");
    };
    assert_eq!((rows, error.kind(), error.retry()), (2, ErrorKind::Data, Retry::Permanent), "{error}");
    let wanted = format!("{}-0: offset 4 is to be read, but the partition ends at 2", topic.name);
    assert!(error.to_string().starts_with(&wanted), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_an_end_waits_for_brokers_that_are_gone() {
    let Some(mut own) = Kafka::start() else { return };
    // A topic wants a broker that lives as long as the tests; this one is known by its address alone.
    let kafka: &'static Kafka = Box::leak(Box::new(Kafka::at(own.bootstrap())));
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["a", "b"]);
    let mut source = topic.open(&PLAIN, &Offsets::new()).await;
    let end = Arc::new(source.latest().await.unwrap());
    own.kill();
    // It is asked whether the rest is there after 5 s without any.
    let (since, limit) = (Instant::now(), PollLimit { until: Some(end.clone()), ..PollLimit::unlimited(0) });
    while since.elapsed() < Duration::from_secs(7) {
        let polled = source.poll(&limit).await.unwrap();
        assert_eq!((polled.status, polled.num_rows()), (PollStatus::More, 0));
    }
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    let _own = tokio::task::spawn_blocking(move || {
        own.restart();
        own
    })
    .await
    .unwrap();
    assert_eq!(sorted(&until(&mut *source, (*end).clone(), usize::MAX).await), ["a", "b"]);
}

/// More than is read ahead: the rest is gone before the trigger's batch is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_does_not_wait_for_a_topic_that_is_gone() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let value = "x".repeat(10_000);
    topic.write(0, std::iter::repeat_n(value.as_str(), 4000));
    let options = [
        PLAIN[0],
        PLAIN[1],
        ("fail.on.data.loss", "false"),
        ("kafka.topic.metadata.refresh.interval.ms", "500"),
        ("kafka.topic.metadata.propagation.max.ms", "1000"),
        ("kafka.queued.max.messages.kbytes", "1024"),
    ];
    let mut source = topic.open(&options, &Offsets::new()).await;
    let first = source.poll(&PollLimit { rows: 1, ..PollLimit::unlimited(0) }).await.unwrap();
    assert_eq!(first.status, PollStatus::More);
    topic.delete().await;
    let (since, mut rows) = (Instant::now(), first.num_rows());
    loop {
        let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
        rows += polled.num_rows();
        if polled.status == PollStatus::Idle {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "it waits for what is gone, after {rows} rows");
    }
    assert!(rows < 4000, "the test needs more rows");
}

/// The producers ask for a topic's partitions every five minutes.
#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_partitions_that_have_just_come() {
    let Some(kafka) = Kafka::shared() else { return };
    // With times each row is sent alone, else many at once.
    for timed in [true, false] {
        let topic = Topic::new(kafka, 1).await;
        let entries = [
            ("bootstrap.servers", kafka.bootstrap()),
            ("topic", &topic.name),
            ("partition.column", "to"),
            ("value.converter", "json"),
        ];
        let entries = [&entries[..], if timed { &[("timestamp.column", "at")] } else { &[] }].concat();
        let mut sink = KafkaSinkPlugin.create(&config(&KafkaSinkPlugin, &entries)).unwrap();
        let rows = |to: i32| {
            let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
            let mut columns = vec![("to", Arc::new(Int32Array::from(vec![0, to])) as ArrayRef), ("v", text)];
            if timed {
                let times = TimestampMicrosecondArray::from_value(1_700_000_000_000_000, 2).with_timezone("UTC");
                columns.push(("at", Arc::new(times)));
            }
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
                .unwrap()
        };
        let commit = |batch_id| Commit { batch_id, epoch: 1, offsets: Offsets::new() };
        sink.open(&TaskContext::new(unique("grown")), rows(0).schema(), OutputMode::Append).await.unwrap();
        sink.write(0, Batch::new(rows(0))).await.unwrap();
        sink.commit(&commit(0)).await.unwrap();
        topic.grow(3).await;
        let since = Instant::now();
        // Until the brokers know of it.
        while sink.write(1, Batch::new(rows(2))).await.is_err() {
            assert!(since.elapsed() < Duration::from_secs(5), "the new partition is not known");
            sink.abort(1).await.unwrap();
        }
        sink.commit(&commit(1)).await.unwrap();
        let error = sink.write(2, Batch::new(rows(7))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(error.to_string().contains(&format!("topic '{}' has no partition 7", topic.name)), "{error}");
        tokio::time::timeout(PATIENCE, sink.abort(2)).await.unwrap().unwrap();
        sink.close().await.unwrap();
        let mut source = topic.open(&[("metadata.columns", "partition"), PLAIN[0]], &Offsets::new()).await;
        let end = source.latest().await.unwrap();
        let found = until(&mut *source, end, usize::MAX).await.rows;
        let in_new = found.iter().filter(|row| row.contains(r#""_partition": 2"#)).count();
        assert_eq!((found.len(), in_new), (4, 1), "{found:?}");
    }
}

use std::sync::Arc;
use std::time::Duration;

use levada_connector_api::*;
use levada_services::kafka::Kafka;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use crate::support::{PATIENCE, Topic, client, failure, read, trigger, until};

pub(crate) fn words(got: &[String]) -> Vec<String> {
    got.iter().map(|row| row.trim_start_matches(r#"{"value": ""#).trim_end_matches(r#""}"#).to_owned()).collect()
}

pub(crate) const PLAIN: [(&str, &str); 2] = [("value.converter", "string"), ("metadata.columns", "")];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_sparks_columns() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "b", value: None::<&str> });
    topic.write_full(0, Some("k"), Some("v"), Some(1_700_000_000_123), Some(headers));
    topic.write_full(0, Some("gone"), None, Some(5), None);
    let mut source = topic.open(&[("include.headers", "true")], &Offsets::new()).await;
    let got = read(&mut *source, 2).await;
    let name = &topic.name;
    assert_eq!(
        got.rows,
        [
            format!(
                r#"{{"key": 6b, "value": 76, "topic": "{name}", "partition": 0, "offset": 0, "timestamp": 2023-11-14T22:13:20.123Z, "timestampType": 0, "headers": [{{key: a, value: 31}}, {{key: b, value: null}}]}}"#
            ),
            format!(
                r#"{{"key": 676f6e65, "value": null, "topic": "{name}", "partition": 0, "offset": 1, "timestamp": 1970-01-01T00:00:00.005Z, "timestampType": 0, "headers": null}}"#
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decoded_values_stand_before_where_they_came_from() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write_full(0, Some("k0"), Some(r#"{"id": 1, "x": 2.5}"#), Some(0), None);
    topic.write_full(0, Some("k1"), Some("{nonsense"), Some(0), None);
    topic.write_full(0, Some("k2"), None, Some(0), None);
    topic.write_full(0, Some("k3"), Some(r#"{"id": "three"}"#), Some(0), None);
    let options = [
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schema", "id INT, x DOUBLE"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("metadata.columns", "key, offset"),
    ];
    let mut source = topic.open(&options, &Offsets::new()).await;
    let got = read(&mut *source, 4).await;
    assert_eq!(
        got.rows,
        [
            r#"{"id": 1, "x": 2.5, "_key": "k0", "_offset": 0}"#,
            r#"{"id": null, "x": null, "_key": "k2", "_offset": 2}"#,
            r#"{"id": null, "x": null, "_key": "k3", "_offset": 3}"#,
        ]
    );
    assert_eq!(got.rejected.len(), 1);
    assert_eq!(got.rejected[0].position, format!("{}-0, offset 1", topic.name));
    assert_eq!((got.rejected[0].stage.as_str(), &got.rejected[0].raw[..]), ("source", &b"{nonsense"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_finds_all_there_is_at_its_first_poll() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 2).await;
    let mut source = topic.open(&PLAIN, &Offsets::new()).await;
    assert!(trigger(&mut *source, 0).await.rows.is_empty());
    for batch in 1..4u64 {
        topic.write(0, ["a", "b"]);
        topic.write(1, ["c"]);
        let mut rows = words(&trigger(&mut *source, batch).await.rows);
        rows.sort();
        assert_eq!(rows, ["a", "b", "c"], "batch {batch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_are_not_committed_are_not_read() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let producer: rdkafka::producer::BaseProducer =
        client(kafka).set("transactional.id", &topic.name).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let send = |value: &str, commit: Option<bool>| {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&topic.name).payload(value)).unwrap();
        match commit {
            Some(true) => producer.commit_transaction(PATIENCE).unwrap(),
            Some(false) => producer.abort_transaction(PATIENCE).unwrap(),
            None => producer.flush(PATIENCE).unwrap(),
        }
    };
    send("committed", Some(true));
    // The client drops what was sent and not flushed: it is flushed here so that the abort has something to abort.
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic.name).payload("aborted")).unwrap();
    producer.flush(PATIENCE).unwrap();
    producer.abort_transaction(PATIENCE).unwrap();
    send("second", Some(true));

    let mut source = topic.open(&PLAIN, &Offsets::new()).await;
    let latest = source.latest().await.unwrap();
    assert_eq!(latest.get(&topic.at(0)).unwrap().number(), Some(6), "three messages and their three markers");
    let got = until(&mut *source, latest.clone(), usize::MAX).await;
    assert_eq!(words(&got.rows), ["committed", "second"]);
    assert_eq!(got.ranges.ends().get(&topic.at(0)).unwrap().number(), Some(6));

    send("open", None);
    let impatient = [PLAIN[0], PLAIN[1], ("transaction.wait", "100 ms")];
    let mut source = topic.open(&impatient, &Offsets::new()).await;
    assert_eq!(source.latest().await.unwrap(), latest, "an open transaction is not there yet");
    assert_eq!(words(&trigger(&mut *source, 0).await.rows), ["committed", "second"]);
    let dirty = [PLAIN[0], PLAIN[1], ("isolation.level", "read_uncommitted")];
    let mut source = topic.open(&dirty, &Offsets::new()).await;
    assert_eq!(words(&trigger(&mut *source, 0).await.rows), ["committed", "aborted", "second", "open"]);
    let mut source = topic.open(&PLAIN, &Offsets::new()).await;
    let (latest, ()) = tokio::join!(source.latest(), async {
        // What is committed just now is seen a moment later: this moment is long.
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::spawn_blocking(move || producer.commit_transaction(PATIENCE).unwrap()).await.unwrap();
    });
    let got = until(&mut *source, latest.unwrap(), usize::MAX).await;
    assert_eq!(words(&got.rows), ["committed", "second", "open"], "it waits for what is being decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_range_is_read_again_exactly() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 2).await;
    topic.write(0, ["before"]);
    // Begun at the end of what there was: where that was is part of what is recorded.
    let options = [PLAIN[0], PLAIN[1], ("starting.offsets", "latest")];
    let mut source = topic.open(&options, &Offsets::new()).await;
    topic.write(0, ["a", "b", "c"]);
    topic.write(1, ["x"]);
    let first = read(&mut *source, 4).await;
    let text = serde_json::to_string(&first.ranges).unwrap();
    let recorded: OffsetRanges = serde_json::from_str(&text).unwrap();
    topic.write(0, ["d"]);
    for rows in [1, 2, usize::MAX] {
        let mut again = topic.open(&options, &Offsets::new()).await;
        let got = until(&mut *again, recorded.ends(), rows).await;
        let sorted = |mut rows: Vec<String>| {
            rows.sort();
            rows
        };
        assert_eq!(sorted(words(&got.rows)), ["a", "b", "c", "x"]);
        assert_eq!(got.ranges.ends(), recorded.ends());
        // And it goes on behind them.
        assert_eq!(words(&read(&mut *again, 1).await.rows), ["d"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_and_topics_are_found_while_running() {
    let Some(kafka) = Kafka::shared() else { return };
    let stem = crate::support::unique("found");
    let topic = Topic::named(kafka, &format!("{stem}.a"), 1, &[]).await;
    topic.write(0, ["1"]);
    let pattern = format!("{}\\..*", stem);
    let options = [
        PLAIN[0],
        PLAIN[1],
        ("topics.regex", pattern.as_str()),
        ("partition.discovery.interval", "50 ms"),
        ("starting.offsets", "latest"),
    ];
    let mut source = topic.open(&options, &Offsets::new()).await;
    topic.grow(2).await;
    topic.write(1, ["2"]);
    assert_eq!(words(&read(&mut *source, 1).await.rows), ["2"], "new partitions are read from their first message");
    let other = Topic::named(kafka, &format!("{stem}.b"), 1, &[]).await;
    other.write(0, ["3"]);
    let got = read(&mut *source, 1).await;
    assert_eq!(words(&got.rows), ["3"]);
    // A partition that has appeared while nothing ran is read from its beginning, too.
    let mut stands = Offsets::new();
    stands.set(topic.at(0), Offset::at(1));
    let mut again = topic.open(&options, &stands).await;
    let mut rows = words(&read(&mut *again, 2).await.rows);
    rows.sort();
    assert_eq!(rows, ["2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_have_expired_are_an_error_or_a_warning() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["0", "1", "2", "3", "4"]);
    let mut gone = rdkafka::TopicPartitionList::new();
    gone.add_partition_offset(&topic.name, 0, rdkafka::Offset::Offset(3)).unwrap();
    crate::support::admin(kafka).delete_records(&gone, &rdkafka::admin::AdminOptions::new()).await.unwrap();

    let from = Offsets::from_iter([(topic.at(0), Offset::at(1))]);
    let mut source = topic.open(&PLAIN, &from).await;
    let error = failure(&mut *source).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent));
    let wanted = format!("{}-0: offsets 1 to 2 are gone; the first that is there is 3", topic.name);
    assert!(error.to_string().starts_with(&wanted), "{error}");

    let mut source = topic.open(&[PLAIN[0], PLAIN[1], ("fail.on.data.loss", "false")], &from).await;
    let got = read(&mut *source, 2).await;
    assert_eq!(words(&got.rows), ["3", "4"]);
    let range = got.ranges.get(&topic.at(0)).unwrap();
    assert_eq!((range.start.as_ref().unwrap().number(), range.end.number()), (Some(1), Some(5)));

    // Beyond the end: another topic of the same name.
    let from = Offsets::from_iter([(topic.at(0), Offset::at(100))]);
    let mut source = topic.open(&PLAIN, &from).await;
    let error = failure(&mut *source).await;
    assert!(error.to_string().contains("the next offset to read is 100, but the partition ends at 5"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_running_is_an_error() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["1"]);
    let options = [PLAIN[0], PLAIN[1], ("kafka.topic.metadata.refresh.interval.ms", "500")];
    let mut source = topic.open(&options, &Offsets::new()).await;
    read(&mut *source, 1).await;
    let mut lenient = topic.open(&[&options[..], &[("fail.on.data.loss", "false")]].concat(), &Offsets::new()).await;
    read(&mut *lenient, 1).await;
    topic.delete().await;
    let error = failure(&mut *source).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&topic.name), "{error}");
    assert!(trigger(&mut *lenient, 7).await.rows.is_empty(), "it goes on without the topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_an_error_of_runs_that_end() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 2).await;
    let from = Offsets::from_iter([(topic.at(0), Offset::at(500)), (topic.at(1), Offset::at(0))]);
    topic.write(0, ["new"]);
    topic.write(1, ["more"]);
    for lenient in ["false", "true"] {
        let mut source = topic.open(&[PLAIN[0], PLAIN[1], ("fail.on.data.loss", lenient)], &from).await;
        let error = source.latest().await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error}");
        let wanted = format!("{}-0: the next offset to read is 500, but the partition ends at 1", topic.name);
        assert!(error.to_string().starts_with(&wanted), "{error}");
    }
    // Where nothing has been read of it, nothing is lost.
    let from = Offsets::from_iter([(topic.at(0), Offset::at(1)), (topic.at(1), Offset::at(0))]);
    let mut source = topic.open(&PLAIN, &from).await;
    assert_eq!(source.latest().await.unwrap().get(&topic.at(0)).unwrap().number(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_rows_before_the_end_are_missing_there_is_more() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["a", "b"]);
    let options = [PLAIN[0], PLAIN[1], ("min.offsets.per.trigger", "100")];
    let mut source = topic.open(&options, &Offsets::new()).await;
    let until = Arc::new(source.latest().await.unwrap());
    let mut status = Vec::new();
    for rows in [0, 1, 0, 1] {
        let limit = PollLimit { rows, until: Some(until.clone()), ..PollLimit::unlimited(0) };
        let mut polled = source.poll(&limit).await.unwrap();
        while rows > 0 && polled.num_rows() == 0 {
            assert_eq!(polled.status, PollStatus::More);
            polled = source.poll(&limit).await.unwrap();
        }
        status.push(polled.status);
    }
    assert_eq!(status, [PollStatus::More, PollStatus::More, PollStatus::More, PollStatus::End]);
    // A topic that is gone is no reason to wait for ever, if it may be.
    let until = Arc::new(Offsets::from_iter([(topic.at(0), Offset::at(5))]));
    let options = [PLAIN[0], PLAIN[1], ("fail.on.data.loss", "false")];
    let mut source = topic.open(&options, &Offsets::from_iter([(topic.at(0), Offset::at(1))])).await;
    topic.delete().await;
    let end = crate::support::until(&mut *source, (*until).clone(), 10).await;
    assert_eq!(end.ranges.get(&topic.at(0)).unwrap().end.number(), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_takes_as_many_as_it_may_and_waits_for_as_many_as_it_should() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 2).await;
    topic.write(0, ["a", "b", "c"]);
    topic.write(1, ["d", "e"]);
    let mut source = topic.open(&[PLAIN[0], PLAIN[1], ("max.offsets.per.trigger", "2")], &Offsets::new()).await;
    let mut sizes = Vec::new();
    for batch in 0..4 {
        sizes.push(trigger(&mut *source, batch).await.rows.len());
    }
    assert_eq!(sizes, [2, 2, 1, 0]);
    let mut source = topic.open(&[PLAIN[0], PLAIN[1], ("max.offsets.per.trigger", "2")], &Offsets::new()).await;
    let end = Arc::new(source.latest().await.unwrap());
    let (mut sizes, mut batch_id) = (vec![0], 0);
    loop {
        let limit = PollLimit { until: Some(end.clone()), ..PollLimit::unlimited(batch_id) };
        let polled = source.poll(&limit).await.unwrap();
        *sizes.last_mut().unwrap() += polled.num_rows();
        match polled.status {
            PollStatus::End => break,
            PollStatus::Boundary => {
                batch_id += 1;
                sizes.push(0);
            }
            _ => {}
        }
    }
    assert_eq!(sizes, [2, 2, 1], "what is available now comes in as many batches");
    // What a micro-batch cannot hold of a trigger comes in the next, and counts.
    let mut source = topic.open(&[PLAIN[0], PLAIN[1], ("max.offsets.per.trigger", "4")], &Offsets::new()).await;
    for sizes in [[3, 1], [1, 0]] {
        for (batch_id, size) in sizes.into_iter().enumerate() {
            let (mut rows, batch_id) = (0, (sizes[0] * 10 + batch_id) as u64);
            let status = loop {
                let limit = PollLimit { rows: 3 - rows, wait: Duration::ZERO, ..PollLimit::unlimited(batch_id) };
                let polled = source.poll(&limit).await.unwrap();
                rows += polled.num_rows();
                if polled.status != PollStatus::More || rows == 3 {
                    break polled.status;
                }
            };
            assert_eq!(rows, size, "{sizes:?}, {status:?}");
        }
    }

    let options = [PLAIN[0], PLAIN[1], ("min.offsets.per.trigger", "6"), ("max.trigger.delay", "1 hour")];
    let mut source = topic.open(&options, &Offsets::new()).await;
    for _ in 0..5 {
        let polled =
            source.poll(&PollLimit { wait: Duration::from_millis(20), ..PollLimit::unlimited(0) }).await.unwrap();
        assert!(polled.ranges.is_empty(), "five messages are fewer than six");
    }
    topic.write(1, ["f"]);
    assert_eq!(read(&mut *source, 6).await.rows.len(), 6);
    let options = [PLAIN[0], PLAIN[1], ("min.offsets.per.trigger", "600"), ("max.trigger.delay", "200 ms")];
    let mut source = topic.open(&options, &Offsets::new()).await;
    assert_eq!(read(&mut *source, 6).await.rows.len(), 6, "after the delay, what there is");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_group_learns_what_the_sink_has() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["a", "b", "c"]);
    let group = format!("{}-group", topic.name);
    let mut source = topic.open(&[("group.id", group.as_str())], &Offsets::new()).await;
    let got = read(&mut *source, 3).await;
    let committed = || {
        let consumer: rdkafka::consumer::BaseConsumer = client(kafka).set("group.id", &group).create().unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition(&topic.name, 0);
        let list = rdkafka::consumer::Consumer::committed_offsets(&consumer, list, PATIENCE).unwrap();
        list.elements()[0].offset()
    };
    assert_eq!(committed(), rdkafka::Offset::Invalid, "nothing is committed at a poll");
    source.commit(&got.ranges.ends()).await.unwrap();
    source.close().await.unwrap();
    assert_eq!(committed(), rdkafka::Offset::Offset(3));
}

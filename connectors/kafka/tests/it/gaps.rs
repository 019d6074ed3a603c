//! Offsets without messages: the ends of transactions, what was aborted, what compaction has removed.

use std::sync::Arc;

use levada_connector_api::*;
use levada_services::kafka::Kafka;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::source::{PLAIN, words};
use crate::support::{PATIENCE, Topic, client, trigger, until};

/// Ten messages, each in a transaction of its own that is followed by one that is aborted: of four offsets one has a message.
async fn with_gaps(kafka: &'static Kafka) -> Topic {
    let topic = Topic::new(kafka, 1).await;
    let producer: BaseProducer = client(kafka).set("transactional.id", &topic.name).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    for i in 0..10 {
        for commits in [true, false] {
            let text = if commits { i.to_string() } else { "aborted".to_owned() };
            producer.begin_transaction().unwrap();
            producer.send(BaseRecord::<(), str>::to(&topic.name).payload(text.as_str())).unwrap();
            producer.flush(PATIENCE).unwrap();
            match commits {
                true => producer.commit_transaction(PATIENCE).unwrap(),
                false => producer.abort_transaction(PATIENCE).unwrap(),
            }
        }
    }
    topic
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_messages_and_every_batch_is_read_again_as_it_was() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = with_gaps(kafka).await;
    let options = [PLAIN[0], PLAIN[1], ("max.offsets.per.trigger", "3")];
    // In one run, and by a run for each batch.
    for restarts in [false, true] {
        let (mut stands, mut sizes, mut all) = (Offsets::new(), Vec::new(), Vec::new());
        let mut source = topic.open(&options, &stands).await;
        let end = Arc::new(source.latest().await.unwrap());
        for batch in 0.. {
            let (mut rows, mut ranges) = (Vec::new(), OffsetRanges::default());
            let ended = loop {
                let limit = PollLimit { until: Some(end.clone()), ..PollLimit::unlimited(batch) };
                let polled = source.poll(&limit).await.unwrap();
                rows.extend(polled.batches.iter().flat_map(|batch| testkit::canonical_rows(&batch.rows)));
                ranges.append(polled.ranges).unwrap();
                match polled.status {
                    PollStatus::End => break true,
                    PollStatus::Boundary => break false,
                    _ => {}
                }
            };
            let again = until(&mut *topic.open(&options, &stands).await, ranges.ends(), 1).await;
            assert_eq!((words(&again.rows), again.ranges.ends()), (words(&rows), ranges.ends()), "batch {batch}");
            sizes.push(rows.len());
            all.extend(words(&rows));
            stands.apply(&ranges).unwrap();
            if ended {
                break;
            }
            if restarts {
                source = topic.open(&options, &stands).await;
            }
        }
        assert_eq!(sizes, [3, 3, 3, 1], "{restarts}");
        assert_eq!(all, (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
        // What lies behind the last message is read, too: nothing is left that a run would look for again.
        let last = stands.get(&topic.at(0)).unwrap().number();
        assert_eq!(last, Some(40));
    }
    let mut source = topic.open(&options, &Offsets::new()).await;
    let mut sizes = Vec::new();
    for batch in 0..5 {
        sizes.push(trigger(&mut *source, batch).await.rows.len());
    }
    assert_eq!(sizes, [3, 3, 3, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_has_removed_is_no_loss() {
    let Some(kafka) = Kafka::shared() else { return };
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "0"),
    ];
    let topic = Topic::with(kafka, 1, &settings).await;
    let write = |key: &str, value: Option<&str>| topic.write_full(0, Some(key), value, None, None);
    let mut strict = topic.open(&PLAIN, &Offsets::new()).await;
    write("a", Some("0"));
    write("b", Some("1"));
    let got = crate::support::read(&mut *strict, 2).await;
    let mut stands = Offsets::new();
    stands.apply(&got.ranges).unwrap();
    drop(strict);
    write("a", Some("2"));
    write("b", None);
    let since = std::time::Instant::now();
    // Until nothing is left before what the next run is to read, and of that not all.
    loop {
        assert!(since.elapsed() < PATIENCE, "nothing is compacted");
        std::thread::sleep(std::time::Duration::from_millis(100));
        // A segment is closed by what comes after it.
        write("c", Some("3"));
        let mut all = topic.open(&PLAIN, &Offsets::new()).await;
        let found = words(&trigger(&mut *all, 0).await.rows);
        if !found.iter().any(|word| word == "0" || word == "1") && found.len() <= 4 {
            break;
        }
    }
    let mut strict = topic.open(&PLAIN, &stands).await;
    let found = words(&trigger(&mut *strict, 1).await.rows);
    assert!(found.iter().any(|word| word == "2") && found.last().is_some_and(|word| word == "3"), "{found:?}");
}

//! Topics that are deleted, and made anew under the same name.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use levada_connector_api::*;
use levada_services::kafka::Kafka;

use crate::source::{PLAIN, words};
use crate::support::{PATIENCE, Topic, failure, read, trigger, until};

const LENIENT: [(&str, &str); 3] = [PLAIN[0], PLAIN[1], ("fail.on.data.loss", "false")];

/// A topic of which all was read, and what was read.
async fn read_topic(kafka: &'static Kafka) -> (Topic, Offsets) {
    let topic = Topic::new(kafka, 2).await;
    topic.write(0, ["old 0", "old 1"]);
    topic.write(1, ["old 2"]);
    let mut source = topic.open(&PLAIN, &Offsets::new()).await;
    let mut offsets = Offsets::new();
    offsets.apply(&read(&mut *source, 3).await.ranges).unwrap();
    (topic, offsets)
}

fn write_more(topic: &Topic) {
    topic.write(0, ["new 0", "new 1", "new 2", "new 3"]);
    topic.write(1, ["new 4", "new 5"]);
}

fn sorted(rows: &[String]) -> Vec<String> {
    let mut words = words(rows);
    words.sort();
    words
}

const NEW: [&str; 6] = ["new 0", "new 1", "new 2", "new 3", "new 4", "new 5"];

fn assert_is_made_anew(error: &Error, topic: &Topic, at: u64) {
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error}");
    let text = error.to_string();
    let wanted = format!("{}-0: the topic was deleted and made anew since offset {at} was read", topic.name);
    assert!(text.starts_with(&wanted) && text.contains("fail.on.data.loss=false"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_noticed_though_it_is_longer() {
    let Some(kafka) = Kafka::shared() else { return };
    let (topic, mut offsets) = read_topic(kafka).await;
    topic.make_anew(2).await;
    write_more(&topic);
    let mut source = topic.source(&PLAIN);
    assert_is_made_anew(&source.open(&TaskContext::new("p"), &offsets).await.unwrap_err(), &topic, 2);

    // Where that is wanted, the new topic is read as a whole.
    let mut source = topic.open(&LENIENT, &offsets).await;
    let got = trigger(&mut *source, 0).await;
    assert_eq!(sorted(&got.rows), NEW);
    offsets.apply(&got.ranges).unwrap();
    source.commit(&offsets).await.unwrap();
    source.close().await.unwrap();

    // From then on it is a topic like others.
    topic.write(1, ["later"]);
    let mut source = topic.open(&PLAIN, &offsets).await;
    let end = source.latest().await.unwrap();
    let got = until(&mut *source, end, usize::MAX).await;
    assert_eq!(words(&got.rows), ["later"]);
    offsets.apply(&got.ranges).unwrap();

    // And once more.
    topic.make_anew(2).await;
    write_more(&topic);
    let error = topic.source(&PLAIN).open(&TaskContext::new("p"), &offsets).await.unwrap_err();
    assert!(error.to_string().contains("made anew since offset 4 was read"), "{error}");
    let mut source = topic.open(&LENIENT, &offsets).await;
    let got = trigger(&mut *source, 0).await;
    assert_eq!(sorted(&got.rows), NEW);
    offsets.apply(&got.ranges).unwrap();
    let mut source = topic.open(&PLAIN, &offsets).await;
    assert!(trigger(&mut *source, 0).await.rows.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_is_repeated_nothing_is_left_when_its_topic_is_another() {
    let Some(kafka) = Kafka::shared() else { return };
    let (topic, end) = read_topic(kafka).await;
    topic.make_anew(2).await;
    write_more(&topic);
    // It was read in part before, or not at all.
    let begun = Offsets::from_iter(end.iter().map(|(key, end)| {
        let begun = Offset { position: Position::Number(0), notes: end.notes.clone() };
        (key.clone(), begun)
    }));
    for from in [begun, Offsets::new()] {
        let mut source = topic.open(&PLAIN, &Offsets::new()).await;
        let limit = PollLimit { until: Some(std::sync::Arc::new(end.clone())), ..PollLimit::unlimited(0) };
        assert_is_made_anew(&source.poll(&limit).await.unwrap_err(), &topic, 0);

        let mut source = topic.open(&LENIENT, &from).await;
        let got = until(&mut *source, end.clone(), usize::MAX).await;
        let mut offsets = from.clone();
        offsets.apply(&got.ranges).unwrap();
        let stands = |offsets: &Offsets| offsets.iter().map(|(_, offset)| offset.number()).collect::<Vec<_>>();
        assert_eq!((got.rows.len(), stands(&offsets)), (0, stands(&end)), "{from:?}");
        let got = trigger(&mut *source, 1).await;
        assert_eq!(sorted(&got.rows), NEW, "{from:?}");
        offsets.apply(&got.ranges).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_while_it_is_read_is_noticed() {
    let Some(kafka) = Kafka::shared() else { return };
    let soon = [("partition.discovery.interval", "100 ms"), ("kafka.topic.metadata.refresh.interval.ms", "500")];
    let topic = Topic::new(kafka, 2).await;
    topic.write(0, ["old 0", "old 1"]);
    topic.write(1, ["old 2"]);
    let mut strict = topic.open(&[&PLAIN[..], &soon].concat(), &Offsets::new()).await;
    let mut lenient = topic.open(&[&LENIENT[..], &soon].concat(), &Offsets::new()).await;
    read(&mut *strict, 3).await;
    read(&mut *lenient, 3).await;
    topic.make_anew(2).await;
    write_more(&topic);
    let error = failure(&mut *strict).await;
    assert!(error.to_string().contains("the topic was deleted and made anew"), "{error}");
    let (mut found, since) = (BTreeSet::new(), Instant::now());
    while found.len() < NEW.len() {
        assert!(since.elapsed() < PATIENCE, "{found:?}");
        let limit = PollLimit { wait: Duration::from_millis(50), ..PollLimit::unlimited(1) };
        let polled = lenient.poll(&limit).await.unwrap();
        let rows = polled.batches.iter().flat_map(|batch| testkit::canonical_rows(&batch.rows)).collect::<Vec<_>>();
        found.extend(words(&rows));
    }
    assert_eq!(Vec::from_iter(found), NEW);
}

//! Messages that are larger, or less, than others.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use levada_connector_api::config::RawConfig;
use levada_connector_api::*;
use levada_connector_kafka::KafkaSinkPlugin;
use levada_services::kafka::Kafka;
use rdkafka::producer::{BaseRecord, Producer as _};

use crate::support::{PATIENCE, Topic, read, unique};

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_and_tombstones_are_read_like_others() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::with(kafka, 1, &[("max.message.bytes", "30000000")]).await;
    let large = format!(r#"{{"text": "{}"}}"#, "x".repeat(20 << 20));
    let producer: rdkafka::producer::BaseProducer =
        crate::support::client(kafka).set("message.max.bytes", "30000000").create().unwrap();
    let record = BaseRecord::<str, str>::to(&topic.name).partition(0);
    producer.send(record.key("a").payload(r#"{"text": "small"}"#)).unwrap();
    let record = BaseRecord::<str, str>::to(&topic.name).partition(0);
    producer.send(record.key("b").payload(large.as_str())).unwrap();
    // A tombstone has a key and no value.
    producer.send(BaseRecord::<str, str>::to(&topic.name).partition(0).key("a")).unwrap();
    let record = BaseRecord::<str, str>::to(&topic.name).partition(0);
    producer.send(record.key("c").payload(r#"{"text": "last"}"#)).unwrap();
    producer.flush(PATIENCE).unwrap();
    let options = [
        ("value.converter", "json"),
        ("value.converter.schema", "text STRING"),
        ("metadata.columns", "key,offset"),
        ("key.converter", "string"),
    ];
    let mut source = topic.open(&options, &Offsets::new()).await;
    let rows = read(&mut *source, 4).await.rows;
    let short: Vec<_> = rows.iter().map(|row| row.replace(&"x".repeat(20 << 20), "…20 MB…")).collect();
    assert_eq!(
        short,
        [
            r#"{"text": "small", "_key": "a", "_offset": 0}"#,
            r#"{"text": "…20 MB…", "_key": "b", "_offset": 1}"#,
            r#"{"text": null, "_key": "a", "_offset": 2}"#,
            r#"{"text": "last", "_key": "c", "_offset": 3}"#,
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_message_without_a_value_is_a_tombstone() {
    let Some(kafka) = Kafka::shared() else { return };
    for tolerant in [false, true] {
        let topic = Topic::new(kafka, 1).await;
        for value in [Some(r#"{"v": "abc"}"#), None, Some("no json"), Some(r#"{"other": 7}"#), Some("")] {
            topic.write_full(0, Some("k"), value, None, None);
        }
        let options = [
            ("value.converter", "json"),
            ("value.converter.schema", "v INT"),
            ("metadata.columns", "offset"),
            ("malformed.rows", "drop"),
        ];
        let mut source = topic.source(&options);
        source.open(&TaskContext { tolerant, ..TaskContext::new("p") }, &Offsets::new()).await.unwrap();
        let until = Some(Arc::new(source.latest().await.unwrap()));
        let mut found = Vec::new();
        loop {
            let limit = PollLimit { until: until.clone(), ..PollLimit::unlimited(0) };
            let polled = source.poll(&limit).await.unwrap();
            for batch in polled.batches {
                let offsets = batch.rows.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().clone();
                found.extend((0..batch.num_rows()).map(|row| (offsets.value(row), batch.origin.is_tombstone(row))));
            }
            if polled.status == PollStatus::End {
                break;
            }
        }
        // What is no JSON is dropped, and does not move the others; an empty value is a row without fields.
        assert_eq!(found, [(0, Some(false)), (1, Some(true)), (3, Some(false)), (4, Some(false))], "{tolerant}");
    }
}

fn sink(kafka: &str, entries: &[(&str, &str)]) -> Box<dyn Sink> {
    let mut raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    raw.insert("bootstrap.servers".to_owned(), kafka.to_owned());
    KafkaSinkPlugin.create(&KafkaSinkPlugin.config_def().parse(&raw, "").unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_comes_back_while_errors_are_tolerated() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let large = "x".repeat(20 << 20);
    let rows = StringArray::from(vec!["first", large.as_str(), "last"]);
    let rows = RecordBatch::try_from_iter([("value", Arc::new(rows) as _)]).unwrap();
    let mut sink = sink(kafka.bootstrap(), &[("topic", &topic.name)]);
    let context = TaskContext { tolerant: true, ..TaskContext::new(unique("large")) };
    sink.open(&context, rows.schema(), OutputMode::Append).await.unwrap();
    let origin = Origin::exact("in.txt", "line", 1);
    sink.write(0, Batch::with_origin(rows, origin)).await.unwrap();
    let refused = sink.prepare(0).await.unwrap();
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].position.as_str(), refused[0].stage.as_str()), ("in.txt, line 2", "sink"));
    assert!(refused[0].reason.contains("message.max.bytes"), "{}", refused[0].reason);
    let mut source = topic.open(&[("value.converter", "string"), ("metadata.columns", "")], &Offsets::new()).await;
    assert_eq!(read(&mut *source, 2).await.rows, [r#"{"value": "first"}"#, r#"{"value": "last"}"#]);
}

/// What a topic that takes 100,000 bytes at once holds after rows of which two are too large for it, and what was refused.
async fn into_a_narrow_topic(
    options: &[(&str, &str)],
    named: bool,
    tolerant: bool,
) -> Result<(Vec<String>, Vec<BadRow>)> {
    let kafka = Kafka::shared().expect("it was asked for before");
    let topic = Topic::with(kafka, 1, &[("max.message.bytes", "100000")]).await;
    // More than a batch of the client's, so that one of several messages would be refused, too.
    let large = |i: usize| if i == 70 || i == 300 { "x".repeat(200_000) } else { "y".repeat(1000) };
    let values: Vec<_> = (0..400).map(|i| format!("{i} {}", large(i))).collect();
    let mut columns = vec![("value", Arc::new(StringArray::from(values)) as arrow::array::ArrayRef)];
    let mut given = options.to_vec();
    match named {
        true => columns.push(("_topic", Arc::new(StringArray::from(vec![topic.name.as_str(); 400])) as _)),
        false => given.push(("topic", &topic.name)),
    }
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut sink = sink(kafka.bootstrap(), &given);
    let context = TaskContext { tolerant, ..TaskContext::new(unique("narrow")) };
    sink.open(&context, rows.schema(), OutputMode::Append).await?;
    let mut refused = Vec::new();
    for batch_id in 0..2 {
        let begin = batch_id * 200;
        for first in [begin, begin + 100] {
            let origin = Origin::exact("in.txt", "line", first as u64);
            sink.write(batch_id as u64, Batch::with_origin(rows.slice(first, 100), origin)).await?;
        }
        refused.extend(sink.prepare(batch_id as u64).await?);
        sink.commit(&Commit { batch_id: batch_id as u64, epoch: 1, offsets: Offsets::new() }).await?;
    }
    sink.close().await?;
    let mut source = topic.open(&[("value.converter", "string"), ("metadata.columns", "")], &Offsets::new()).await;
    let end = source.latest().await?;
    let mut found = crate::support::until(&mut *source, end, usize::MAX).await.rows;
    found.sort();
    Ok((found, refused))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brokers_refuse_for_its_size_comes_back_and_the_others_arrive_once() {
    if Kafka::shared().is_none() {
        return;
    }
    let once = [("kafka.linger.ms", "50")];
    let least = [("kafka.linger.ms", "50"), ("delivery.guarantee", "at-least-once")];
    for (options, named) in [(&once[..], false), (&once[..], true), (&least[..], false), (&least[..], true)] {
        let (found, refused) = into_a_narrow_topic(options, named, true).await.unwrap();
        let places: Vec<_> = refused.iter().map(|row| (row.position.as_str(), row.stage.as_str())).collect();
        assert_eq!(places, [("in.txt, line 70", "sink"), ("in.txt, line 300", "sink")], "{options:?}, named: {named}");
        assert!(refused[0].reason.contains("max.message.bytes of the topic"), "{}", refused[0].reason);
        let mut expected: Vec<_> = (0..400)
            .filter(|i| ![70, 300].contains(i))
            .map(|i| format!(r#"{{"value": "{i} {}"}}"#, "y".repeat(1000)))
            .collect();
        expected.sort();
        assert!(found == expected, "{} rows, {options:?}, named: {named}", found.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brokers_refuse_for_its_size_is_an_error_with_its_place() {
    if Kafka::shared().is_none() {
        return;
    }
    for options in [&[][..], &[("delivery.guarantee", "at-least-once")]] {
        let since = std::time::Instant::now();
        let error = into_a_narrow_topic(options, false, false).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error}");
        let text = error.to_string();
        assert!(text.contains("in.txt, line 70") && text.contains("max.message.bytes of the topic"), "{text}");
        assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
    }
}

/// What a topic holds after rows without a key, or of a time that it does not take, and what was refused.
async fn into_a_strict_topic(
    options: &[(&str, &str)],
    settings: &[(&str, &str)],
    tolerant: bool,
) -> Result<(usize, Vec<BadRow>)> {
    let kafka = Kafka::shared().expect("it was asked for before");
    let topic = Topic::with(kafka, 1, settings).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    let is_bad = |row: i64| row == 3 || row == 77;
    let keys: StringArray = (0..100).map(|row| (!is_bad(row)).then(|| format!("k{row}"))).collect();
    let times = (0..100).map(|row| if is_bad(row) { 1_000_000 } else { now });
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("_key", Arc::new(keys) as arrow::array::ArrayRef, true),
        ("t", Arc::new(times) as _, true),
    ])
    .unwrap();
    let mut given = options.to_vec();
    given.push(("topic", &topic.name));
    let mut sink = sink(kafka.bootstrap(), &given);
    let context = TaskContext { tolerant, ..TaskContext::new(unique("strict")) };
    sink.open(&context, rows.schema(), OutputMode::Append).await?;
    sink.write(0, Batch::with_origin(rows, Origin::exact("in.txt", "line", 0))).await?;
    let refused = sink.prepare(0).await?;
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await?;
    sink.close().await?;
    let mut source = topic.open(&[("metadata.columns", "key")], &Offsets::new()).await;
    let end = source.latest().await?;
    let found = crate::support::until(&mut *source, end, usize::MAX).await.rows;
    let different: std::collections::BTreeSet<_> = found.iter().collect();
    assert_eq!(different.len(), found.len(), "none is there twice");
    Ok((found.len(), refused))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_topic_does_not_take_come_back_and_their_neighbours_arrive_once() {
    if Kafka::shared().is_none() {
        return;
    }
    let compacted = (&[][..], &[("cleanup.policy", "compact")][..]);
    let timely = (&[("timestamp.column", "t")][..], &[("message.timestamp.before.max.ms", "3600000")][..]);
    for (options, settings) in [compacted, timely] {
        for guarantee in ["exactly-once", "at-least-once"] {
            let options: Vec<_> = options.iter().copied().chain([("delivery.guarantee", guarantee)]).collect();
            let (there, refused) = into_a_strict_topic(&options, settings, true).await.unwrap();
            let places: Vec<_> = refused.iter().map(|row| row.position.as_str()).collect();
            assert_eq!((there, places), (98, vec!["in.txt, line 3", "in.txt, line 77"]), "{guarantee} {settings:?}");
            let error = into_a_strict_topic(&options, settings, false).await.unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error}");
            let text = error.to_string();
            assert!(["in.txt, line 3:", "in.txt, line 77:"].iter().any(|place| text.contains(place)), "{text}");
        }
    }
}

//! What messages hold: columns found in them, Connect's envelope, CSV, compression.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, Int64Builder, MapBuilder,
    RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use levada_connector_api::testkit::canonical_rows;
use levada_connector_api::*;
use levada_formats::ddl::to_ddl;
use levada_services::kafka::Kafka;

use crate::sink::write;
use crate::support::{Topic, trigger, unique};

const BARE: (&str, &str) = ("metadata.columns", "");

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_found_in_messages() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 2).await;
    let json = [("value.converter", "json"), BARE];
    let error = topic.source(&json).schema().await.unwrap_err().to_string();
    assert!(error.contains("set value.converter.schema"), "{error}");
    topic.write(0, [r#"{"a": 1, "b": "x"}"#, "no json"]);
    topic.write(1, [r#"{"a": 2.5, "c": {"d": true}}"#]);
    let mut source = topic.source(&json);
    let schema = source.schema().await.unwrap();
    assert_eq!(to_ddl(&schema), "a DOUBLE, b STRING, c STRUCT<d: BOOLEAN>");
    source.open(&TaskContext::new(&topic.name), &Offsets::new()).await.unwrap();
    let mut got = trigger(&mut *source, 0).await;
    got.rows.sort();
    let rows = [r#"{"a": 1.0, "b": "x", "c": null}"#, r#"{"a": 2.5, "b": null, "c": {d: true}}"#];
    assert_eq!((got.rows, got.rejected.len()), (rows.map(str::to_owned).to_vec(), 1));
}

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as _, false),
        ("text", Arc::new(StringArray::from(vec![Some("a\"\n"), None, Some("ü")])) as _, true),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_704_067_200_250_000), None, Some(0)]).with_timezone("UTC"),
            ) as _,
            true,
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(19723), None, Some(-1)])) as _, true),
        (
            "price",
            Arc::new(Decimal128Array::from(vec![Some(1234), None, Some(-1)]).with_precision_and_scale(38, 2).unwrap())
                as _,
            true,
        ),
        ("raw", Arc::new(BinaryArray::from_iter([Some(&[0u8, 255][..]), None, Some(b"")])) as _, true),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_envelope_goes_both_ways() {
    let Some(kafka) = Kafka::shared() else { return };
    let name = unique("envelope");
    let enveloped = ("value.converter.schemas.enable", "true");
    write(kafka, rows(), &[("topic", &name), enveloped, ("value.converter", "json")]).await.unwrap();
    let topic = Topic { kafka, name };
    let mut raw = topic.open(&[("value.converter", "string"), BARE], &Offsets::new()).await;
    let messages = trigger(&mut *raw, 0).await.rows.join("\n");
    let first = r#"\"payload\":{\"id\":1,\"text\":\"a\\\"\\n\",\"at\":1704067200250,\"day\":19723,\"price\":\"BNI=\",\"raw\":\"AP8=\"}}"#;
    assert!(messages.contains(first), "{messages}");
    // The columns come from the schemas in the messages.
    let mut source =
        topic.source(&[("value.converter", "org.apache.kafka.connect.json.JsonConverter"), enveloped, BARE]);
    let schema = source.schema().await.unwrap();
    // Fields that do not fit become null, in any column.
    assert_eq!(to_ddl(&schema), "id BIGINT, text STRING, at TIMESTAMP, day DATE, price DECIMAL(38,2), raw BINARY");
    source.open(&TaskContext::new(&topic.name), &Offsets::new()).await.unwrap();
    let mut found = trigger(&mut *source, 0).await.rows;
    found.sort();
    let mut expected = canonical_rows(&rows());
    expected.sort();
    assert_eq!(found, expected);
}

/// Numbers that are not finite, maps, and times that are finer than Connect's.
#[tokio::test(flavor = "multi_thread")]
async fn connects_envelope_loses_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    maps.keys().append_value("a\"");
    maps.values().append_value(1);
    maps.keys().append_value("b");
    maps.values().append_null();
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    let times = TimestampMicrosecondArray::from(vec![Some(1_704_067_200_250_001), Some(-1), None]);
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("x", Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY])) as ArrayRef, true),
        ("m", Arc::new(maps.finish()), true),
        ("at", Arc::new(times.with_timezone("UTC")), true),
    ])
    .unwrap();
    let topic = Topic { kafka, name: unique("lossless") };
    let enveloped = ("value.converter.schemas.enable", "true");
    let options =
        [("topic", topic.name.as_str()), enveloped, ("value.converter", "json"), ("json.timestamps", "micros")];
    write(kafka, rows.clone(), &options).await.unwrap();
    let mut source = topic.source(&[("value.converter", "json"), enveloped, BARE]);
    assert_eq!(to_ddl(&source.schema().await.unwrap()), "x DOUBLE, m MAP<STRING, BIGINT>, at TIMESTAMP");
    source.open(&TaskContext::new(&topic.name), &Offsets::new()).await.unwrap();
    assert_eq!(trigger(&mut *source, 0).await.rows, canonical_rows(&rows));

    // As Connect has times: what is finer is cut off, and nothing else.
    let topic = Topic { kafka, name: unique("millis") };
    write(kafka, rows, &[("topic", topic.name.as_str()), enveloped, ("value.converter", "json")]).await.unwrap();
    let options = [("value.converter", "json"), ("value.converter.schema", "at TIMESTAMP"), enveloped, BARE];
    let got = trigger(&mut *topic.open(&options, &Offsets::new()).await, 0).await.rows;
    assert!(got[0].contains("2024-01-01T00:00:00.250Z"), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_read() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write(0, ["1,\"a,b\"", "x,c", "2,\n"]);
    let schema = ("value.converter.schema", "id INT, s STRING");
    let options = [("value.converter", "csv"), schema, ("malformed.fields", "error"), BARE];
    let got = trigger(&mut *topic.open(&options, &Offsets::new()).await, 0).await;
    assert_eq!(got.rows, [r#"{"id": 1, "s": "a,b"}"#, r#"{"id": 2, "s": null}"#]);
    assert_eq!(got.rejected[0].position, format!("{}-0, offset 1", topic.name));
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_are_written_and_read() {
    let Some(kafka) = Kafka::shared() else { return };
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let topic = Topic { kafka, name: unique(codec) };
        let text = StringArray::from_iter_values(
            (0..1000).map(|i| format!("a message that is much like the others {}", i % 7)),
        );
        let rows = RecordBatch::try_from_iter([("value", Arc::new(text) as _)]).unwrap();
        write(kafka, rows, &[("topic", &topic.name), ("compression", codec)]).await.unwrap();
        let got = trigger(&mut *topic.open(&[("value.converter", "string"), BARE], &Offsets::new()).await, 0).await;
        assert_eq!(got.rows.len(), 1000, "{codec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_nobody_reads_cost_nothing_and_are_null() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    topic.write_full(0, Some("k"), Some(r#"{"a": 1, "b": "x", "c": 2.5}"#), None, None);
    let options = [
        ("value.converter", "json"),
        ("value.converter.schema", "a INT, b STRING, c DOUBLE"),
        ("key.converter", "string"),
        ("metadata.columns", "key,offset"),
    ];
    for (tolerant, row) in [
        (false, r#"{"a": null, "b": "x", "c": null, "_key": null, "_offset": 0}"#),
        // A dead letter shows the whole.
        (true, r#"{"a": 1, "b": "x", "c": 2.5, "_key": "k", "_offset": 0}"#),
    ] {
        let mut source = topic.source(&options);
        source.schema().await.unwrap();
        source.only(&["b".to_owned(), "_offset".to_owned()]);
        let context = TaskContext { tolerant, ..TaskContext::new(&topic.name) };
        source.open(&context, &Offsets::new()).await.unwrap();
        assert_eq!(trigger(&mut *source, 0).await.rows, [row]);
    }
}

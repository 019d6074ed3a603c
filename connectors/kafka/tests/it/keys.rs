//! Keys in their converters' forms.

use levada_connector_api::*;
use levada_connector_kafka::KafkaSourcePlugin;
use levada_services::kafka::Kafka;

use crate::sink::write;
use crate::support::{Topic, make, trigger, unique};

const VALUE: [(&str, &str); 3] =
    [("value.converter", "json"), ("value.converter.schema", "v INT"), ("metadata.columns", "key")];

/// The rows of messages with these keys, and their bad rows: place and reason.
async fn rows(topic: &Topic, options: &[(&str, &str)]) -> (Vec<String>, Vec<(String, String)>) {
    let mut source = topic.open(&[&VALUE[..], options].concat(), &Offsets::new()).await;
    let got = trigger(&mut *source, 0).await;
    (got.rows, got.rejected.into_iter().map(|bad| (bad.position, bad.reason)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_objects_are_structs() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 1).await;
    let keys = [Some(r#"{"id": 7, "place": "x"}"#), Some(r#"{"place": "y"}"#), None, Some("7"), Some(r#"{"id": 8}"#)];
    for (v, key) in keys.into_iter().enumerate() {
        topic.write_full(0, key, Some(&format!(r#"{{"v": {v}}}"#)), None, None);
    }
    topic.write_full(0, Some(r#"{"id": 9}"#), None, None, None);
    topic.write_full(0, Some("no json"), Some("nor that"), None, None);
    let schema = ("key.converter.schema", "id BIGINT NOT NULL, place STRING");
    let (got, bad) = rows(&topic, &[("key.converter", "org.apache.kafka.connect.json.JsonConverter"), schema]).await;
    assert_eq!(
        got,
        [
            r#"{"v": 0, "_key": {id: 7, place: x}}"#,
            r#"{"v": 2, "_key": null}"#,
            r#"{"v": 4, "_key": {id: 8, place: null}}"#,
            r#"{"v": null, "_key": {id: 9, place: null}}"#,
        ]
    );
    let places: Vec<_> = bad.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, [1, 3, 6].map(|offset| format!("{}-0, offset {offset}", topic.name)));
    assert!(bad[0].1.starts_with("the key: ") && bad[0].1.contains("id"), "{bad:?}");
    assert!(bad[1].1.starts_with("the key: ") && !bad[2].1.starts_with("the key: "), "{bad:?}");

    // What has such a key writes it as it was.
    let options = [&VALUE[..], &[("key.converter", "json"), schema]].concat();
    let mut source = topic.open(&options, &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    let name = unique("keys");
    write(kafka, polled.batches[0].rows.clone(), &[("topic", &name)]).await.unwrap();
    let copy = Topic { kafka, name };
    let (got, _) = rows(&copy, &[("key.converter", "string"), ("metadata.columns", "key")]).await;
    assert_eq!(got[0], r#"{"v": 0, "_key": "{\"id\":7,\"place\":\"x\"}"}"#);
    assert_eq!(got[1], r#"{"v": 2, "_key": null}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_single_values_are_columns_of_their_type() {
    let Some(kafka) = Kafka::shared() else { return };
    let plain = Topic::new(kafka, 1).await;
    for key in [Some("42"), Some("null"), None, Some("\"x\"")] {
        plain.write_full(0, key, Some(r#"{"v": 1}"#), None, None);
    }
    let (got, bad) = rows(&plain, &[("key.converter", "json"), ("key.converter.schema", "BIGINT")]).await;
    let null = r#"{"v": 1, "_key": null}"#;
    assert_eq!(got, [r#"{"v": 1, "_key": 42}"#, null, null]);
    assert_eq!((bad.len(), bad[0].0.as_str()), (1, format!("{}-0, offset 3", plain.name).as_str()));

    let told = Topic::new(kafka, 1).await;
    told.write_full(0, Some(r#"{"schema":{"type":"int32"},"payload":42}"#), Some(r#"{"v": 1}"#), None, None);
    let options =
        [("key.converter", "json"), ("key.converter.schema", "INT"), ("key.converter.schemas.enable", "true")];
    assert_eq!(rows(&told, &options).await.0, [r#"{"v": 1, "_key": 42}"#]);

    let object = Topic::new(kafka, 1).await;
    let schema = r#"{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}],"optional":false}"#;
    let key = format!(r#"{{"schema":{schema},"payload":{{"id":7}}}}"#);
    object.write_full(0, Some(&key), Some(r#"{"v": 1}"#), None, None);
    let options = [options[0], ("key.converter.schema", "id BIGINT NOT NULL"), options[2]];
    assert_eq!(rows(&object, &options).await.0, [r#"{"v": 1, "_key": {id: 7}}"#]);

    let binary = Topic::new(kafka, 1).await;
    binary.write_full(0, Some("\0\0\0\u{7}"), Some(r#"{"v": 1}"#), None, None);
    binary.write_full(0, Some("seven"), Some(r#"{"v": 2}"#), None, None);
    let (got, bad) = rows(&binary, &[("key.converter", "integer")]).await;
    assert_eq!((got, bad.len()), (vec![r#"{"v": 1, "_key": 7}"#.to_owned()], 1));
}

#[test]
fn what_json_keys_need_is_said() {
    let wrong = |entries: &[(&str, &str)]| {
        let entries = [&[("bootstrap.servers", "b:1"), ("topics", "t")], entries].concat();
        let raw = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = KafkaSourcePlugin.config_def().parse(&raw, "").unwrap();
        KafkaSourcePlugin.validate(&config).into_iter().map(|error| error.to_string()).collect::<String>()
    };
    assert!(wrong(&[("key.converter", "json")]).contains("key.converter.schema: missing"));
    assert!(wrong(&[("key.converter.schema", "a INT")]).contains("it is for key.converter=json"));
    assert_eq!(wrong(&[("key.converter", "json"), ("key.converter.schema", "a INT")]), "");
    drop(make(&[
        ("bootstrap.servers", "b:1"),
        ("topics", "t"),
        ("key.converter", "json"),
        ("key.converter.schema", "INT"),
    ]));
}

use levada_connector_api::*;
use levada_connector_kafka::KafkaSourcePlugin;
use levada_services::kafka::Kafka;

use crate::support::{Topic, make, trigger};

const PLAIN: [(&str, &str); 2] = [("value.converter", "string"), ("metadata.columns", "")];

async fn begins_with(topic: &Topic, options: &[(&str, &str)]) -> Vec<String> {
    let options: Vec<_> = PLAIN.iter().chain(options).copied().collect();
    let mut source = topic.open(&options, &Offsets::new()).await;
    let mut rows = trigger(&mut *source, 0).await.rows;
    rows.iter_mut().for_each(|row| *row = row.replace(r#"{"value": ""#, "").replace(r#""}"#, ""));
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_begins_where_it_is_told() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = Topic::new(kafka, 2).await;
    for (i, value) in ["a0", "a1", "a2"].into_iter().enumerate() {
        topic.write_full(0, None, Some(value), Some(1000 * (i as i64 + 1)), None);
    }
    topic.write_full(1, None, Some("b0"), Some(1000), None);
    let offsets = |zero: i64, one: i64| format!(r#"{{"{}": {{"0": {zero}, "1": {one}}}}}"#, topic.name);
    let name = topic.name.clone();
    assert_eq!(begins_with(&topic, &[]).await, ["a0", "a1", "a2", "b0"]);
    assert_eq!(begins_with(&topic, &[("starting.offsets", "latest")]).await, [""; 0]);
    assert_eq!(begins_with(&topic, &[("starting.offsets", &offsets(2, -2))]).await, ["a2", "b0"]);
    assert_eq!(begins_with(&topic, &[("starting.offsets", &offsets(-1, -1))]).await, [""; 0]);
    assert_eq!(begins_with(&topic, &[("starting.timestamp", "1500")]).await, ["a1", "a2"]);
    assert_eq!(begins_with(&topic, &[("starting.timestamp", &offsets(3000, 0))]).await, ["a2", "b0"]);
    assert_eq!(begins_with(&topic, &[("assign", &format!(r#"{{"{name}": [1]}}"#))]).await, ["b0"]);

    let mut source = topic.source(&[("starting.offsets", &offsets(9, 0))]);
    let error = source.open(&TaskContext::new("p"), &Offsets::new()).await.unwrap_err();
    assert!(error.to_string().contains("-0 has offsets 0 to 3, not 9"), "{error}");
    let mut source = topic.source(&[("starting.offsets", &format!(r#"{{"{name}": {{"0": 1}}}}"#))]);
    let error = source.open(&TaskContext::new("p"), &Offsets::new()).await.unwrap_err();
    assert!(error.to_string().contains("partition 1 of topic"), "{error}");
    for (key, value, part) in [
        (
            "starting.offsets",
            format!(r#"{{"{name}": {{"0": 1, "1": 0, "9": 1}}}}"#),
            format!("it names {name}-9, which"),
        ),
        ("starting.offsets", format!(r#"{{"{name}": {{"0": 1, "1": 0}}, "typo": {{"0": 1}}}}"#), "names typo-0".into()),
        ("starting.timestamp", format!(r#"{{"{name}": {{"0": 1, "1": 0, "9": 1}}}}"#), format!("names {name}-9")),
        ("starting.timestamp", format!(r#"{{"{name}": {{"0": 1}}}}"#), "0 is before all messages".into()),
    ] {
        let mut source = topic.source(&[(key, &value)]);
        let error = source.open(&TaskContext::new("p"), &Offsets::new()).await.unwrap_err().to_string();
        assert!(error.contains(&part), "{part}\nnot in\n{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_before_anything_is_read() {
    let def = KafkaSourcePlugin.config_def();
    let errors = |entries: &[(&str, &str)]| {
        let raw = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let errors = match def.parse(&raw, "") {
            Ok(config) => KafkaSourcePlugin.validate(&config),
            Err(errors) => errors,
        };
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (entries, part) in [
        (&[("topics", "a")][..], "bootstrap.servers: missing"),
        (&[("kafka.bootstrap.servers", "b:1")], "topics: missing; set topics, topics.regex or assign"),
        (&[("bootstrap.servers", "b:1"), ("topics", "a"), ("topics.regex", "b")], "only one of topics, topics.regex"),
        (&[("bootstrap.servers", "b:1"), ("topics.regex", "(")], "not a regular expression"),
        (
            &[("bootstrap.servers", "b:1"), ("topics", "a"), ("value.converter", "csv")],
            "value.converter.schema: missing; csv needs",
        ),
        (
            &[("bootstrap.servers", "b:1"), ("topics", "a"), ("value.converter", "avro")],
            "use one of bytes, string, json",
        ),
        (&[("bootstrap.servers", "b:1"), ("topics", "a"), ("starting.offsets", "erliest")], "use earliest, latest, or"),
        (&[("bootstrap.servers", "b:1"), ("topics", "a"), ("starting.timestamp", "-1")], "-1 is before 1970"),
        (
            &[("bootstrap.servers", "b:1"), ("topics", "a"), ("kafka.ssl.ca.location", "/no/such.pem")],
            "kafka.ssl.ca.location: '/no/such.pem' cannot be read",
        ),
        (
            &[("bootstrap.servers", "b:1"), ("topics", "a"), ("kafka.max.poll.records", "5")],
            "kafka.max.poll.records: No such configuration property",
        ),
        (
            &[("bootstrap.servers", "b:1"), ("topics", "a"), ("consumer.override.enable.auto.commit", "true")],
            "it is set by the connector",
        ),
        (
            &[("bootstrap.servers", "b:1"), ("topics", "a"), ("max.offset.per.trigger", "5")],
            "did you mean 'max.offsets.per.trigger'?",
        ),
        (&[("bootstrap.servers", "b:1"), ("topics", "a"), ("metadata.columns", "key,ofset")], "'ofset' is none of"),
    ] {
        let found = errors(entries);
        assert!(found.contains(part), "{part}\nnot in\n{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_named() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut source = make(&[("bootstrap.servers", kafka.bootstrap()), ("topics", "no-such-topic")]);
    let error = source.open(&TaskContext::new("p"), &Offsets::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("topic 'no-such-topic'"), "{error}");
}

//! Bad rows of every stage, sent to a topic: with the bytes and headers that they had, each once whatever is killed.

use std::collections::BTreeMap;

use levada_services::kafka::Kafka;
use levada_services::postgres;
use tempfile::TempDir;

use crate::support::topics::{self, Message};
use crate::support::{Site, Table, for_all};

/// What a message of the input comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Undecodable,
    Untransformable,
    Refused,
}

fn fate(i: usize) -> Fate {
    match i % 20 {
        3 => Fate::Undecodable,
        8 => Fate::Untransformable,
        14 => Fate::Refused,
        _ => Fate::Good,
    }
}

const MESSAGES: usize = 300;

fn input() -> Vec<Message> {
    let message = |i: usize| {
        let value = match fate(i) {
            Fate::Good => format!(r#"{{"id":{i},"age":"{}"}}"#, i % 90),
            Fate::Undecodable => format!(r#"{{"id":{i},"age"#),
            Fate::Untransformable => format!(r#"{{"id":{i},"age":"old"}}"#),
            Fate::Refused => format!(r#"{{"id":{i},"age":"-1"}}"#),
        };
        let headers = BTreeMap::from([("trace".to_owned(), format!("t{i}"))]);
        Message { key: Some(format!("key {i}")), value: Some(value), headers }
    };
    (0..MESSAGES).map(message).collect()
}

/// The dead letters that there must be, with the headers that can be foretold.
fn expected(pipeline: &str, topic: &str) -> Vec<Message> {
    let letter = |(i, mut message): (usize, Message)| {
        let (stage, class) = match fate(i) {
            Fate::Good => return None,
            Fate::Undecodable => ("VALUE_CONVERTER", "Kafka"),
            Fate::Untransformable => ("TRANSFORMATION", "Select"),
            Fate::Refused => ("TASK_PUT", "PostgresSink"),
        };
        for (name, value) in [
            ("topic", topic),
            ("partition", "0"),
            ("offset", &i.to_string()),
            ("connector.name", pipeline),
            ("task.id", "0"),
            ("stage", stage),
            ("class.name", class),
            ("exception.class.name", "org.apache.kafka.connect.errors.DataException"),
        ] {
            message.headers.insert(format!("__connect.errors.{name}"), value.to_owned());
        }
        Some(message)
    };
    let mut all: Vec<_> = input().into_iter().enumerate().filter_map(letter).collect();
    all.sort();
    all
}

struct Place {
    site: Site,
    table: Table,
    name: String,
}

fn place(kafka: &Kafka, url: &str, topic: &str) -> Place {
    let (root, table, name) = (TempDir::new().unwrap(), Table::new(url), topics::unique("letters"));
    table.create("id bigint PRIMARY KEY, age int CHECK (age >= 0)");
    let config = [
        ("name", name.as_str()),
        ("source.class", "Kafka"),
        ("source.bootstrap.servers", kafka.bootstrap()),
        ("source.topics", topic),
        ("source.value.converter", "json"),
        ("source.value.converter.schema", "id BIGINT, age STRING"),
        ("source.max.offsets.per.trigger", "60"),
        ("transforms", "known,pick"),
        ("transforms.known.type", "Filter"),
        ("transforms.known.condition", "id % 10 <> 9"),
        ("transforms.pick.type", "Select"),
        ("transforms.pick.columns", "id, CAST(age AS INT) AS age"),
        ("transforms.pick.ansi", "true"),
        ("sink.class", "PostgresSink"),
        ("sink.connection.url", url),
        ("sink.table", &table.name()),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", &format!("{name}-dead")),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
        ("trigger", "available-now"),
        ("restart.delay", "5 ms"),
    ];
    let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Place { site: Site::new(root, &config, None), table, name }
}

impl Place {
    fn check(&self, kafka: &Kafka, topic: &str) -> Result<(), String> {
        let mut letters = topics::read_messages(kafka, &format!("{}-dead", self.name));
        for letter in &mut letters {
            for told in ["exception.message", "exception.stacktrace"] {
                let text = letter.headers.remove(&format!("__connect.errors.{told}")).unwrap_or_default();
                if text.is_empty() {
                    return Err(format!("no {told} in {letter:?}"));
                }
            }
        }
        letters.sort();
        let expected = expected(&self.name, topic);
        if letters != expected {
            let first = letters.iter().zip(&expected).find(|(a, b)| a != b);
            return Err(format!(
                "{} letters, not {}; the first that differs: {first:?}",
                letters.len(),
                expected.len()
            ));
        }
        let good = (0..MESSAGES).filter(|i| fate(*i) == Fate::Good && i % 10 != 9).count();
        let rows = self.table.rows().len();
        if rows == good { Ok(()) } else { Err(format!("{rows} rows, not {good}")) }
    }
}

/// The fault points that an uninterrupted run passes, whose rows the server refuses, too.
pub(crate) fn points() -> BTreeMap<String, u64> {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return BTreeMap::new() };
    let (url, topic) = (server.database("letter_points"), topics::unique("input"));
    topics::write_messages(kafka, &topic, &input());
    let place = place(kafka, &url, &topic);
    place.site.run(&["--list-points"]).succeeded().points()
}

#[test]
fn letters_of_every_stage_are_there_once_with_what_they_were() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let (url, topic) = (server.database("letters"), topics::unique("input"));
    topics::write_messages(kafka, &topic, &input());
    let whole = place(kafka, &url, &topic);
    whole.site.run(&[]).succeeded();
    whole.check(kafka, &topic).unwrap();
    let points = [
        "postgres.sink.pieces.before",
        "sink.prepare.after",
        "prepare.after",
        "dead-letters.after",
        "sink.commit.after",
        "commit.before",
    ];
    let moments = points.iter().map(|point| format!("{point}:2")).chain(["dead-letters.after:5".to_owned()]).collect();
    for_all(moments, |moment: &String| {
        let place = place(kafka, &url, &topic);
        if !place.site.run(&["--kill-at", moment]).killed() {
            return Err("it was not killed".to_owned());
        }
        place.site.run(&[]).succeeded();
        place.check(kafka, &topic)
    });
}

#[test]
fn lines_of_files_go_to_a_topic_of_brokers_that_the_pipeline_does_not_know_otherwise() {
    let Some(kafka) = Kafka::shared() else { return };
    let (root, name) = (TempDir::new().unwrap(), topics::unique("lines"));
    std::fs::create_dir(root.path().join("in")).unwrap();
    std::fs::write(root.path().join("in/a.jsonl"), "{\"n\": 1}\n{\"n\": \n{\"n\": 3}\n").unwrap();
    let (input, output) = (root.path().join("in").display().to_string(), root.path().join("out").display().to_string());
    let config: BTreeMap<_, _> = [
        ("name", name.as_str()),
        ("source.class", "Files"),
        ("source.path", &input),
        ("source.format", "json"),
        ("source.schema", "n INT"),
        ("sink.class", "Files"),
        ("sink.path", &output),
        ("sink.format", "json"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", &format!("{name}-dead")),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.bootstrap.servers", kafka.bootstrap()),
        ("trigger", "available-now"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    let site = Site::new(root, &config, None);
    site.run(&[]).succeeded();
    let letters = topics::read_messages(kafka, &format!("{name}-dead"));
    let letter = Message { key: None, value: Some("{\"n\": ".to_owned()), headers: BTreeMap::new() };
    assert_eq!(letters, [letter]);
    assert_eq!(site.output().rows, [r#"{"n":1}"#, r#"{"n":3}"#]);
}

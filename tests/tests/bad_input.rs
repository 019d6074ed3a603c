//! Messages of every bad kind from a real topic into a real table: each is told with its place, the good ones arrive, nothing
//! is lost. And keys, which say where good ones go.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::{Duration, Instant};

use levada_services::kafka::Kafka;
use levada_services::postgres;
use serde_json::Value;
use tempfile::TempDir;

use crate::broken::{Tmpfs, fill, no_disk};
use crate::support::topics::{self, Message};
use crate::support::{Site, Table, for_all, wait};

struct Place {
    site: Site,
    table: Table,
}

/// A pipeline from `topic` into a new table with `columns`.
fn place(kafka: &Kafka, url: &str, topic: &str, columns: &str, entries: &[(&str, &str)]) -> Place {
    let (root, table) = (TempDir::new().unwrap(), Table::new(url));
    table.create(columns);
    let config = [
        ("name", topic),
        ("source.class", "Kafka"),
        ("source.bootstrap.servers", kafka.bootstrap()),
        ("source.topics", topic),
        ("source.value.converter", "json"),
        ("sink.class", "PostgresSink"),
        ("sink.connection.url", url),
        ("sink.table", &table.name()),
        ("errors.deadletterqueue.path", &root.path().join("dead").display().to_string()),
        ("trigger", "available-now"),
        ("restart.attempts", "0"),
    ];
    let mut config: BTreeMap<_, _> =
        config.iter().chain(entries).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    if config.contains_key("errors.deadletterqueue.topic.name") {
        config.remove("errors.deadletterqueue.path");
    }
    Place { site: Site::new(root, &config, None), table }
}

fn message(key: Option<&str>, value: Option<&str>) -> Message {
    Message { key: key.map(str::to_owned), value: value.map(str::to_owned), headers: BTreeMap::new() }
}

const COLUMNS: &str = "id integer PRIMARY KEY, name text, n smallint CHECK (n <> 13)";
const STRICT: [(&str, &str); 2] =
    [("source.value.converter.schema", "id INT NOT NULL, name STRING, n INT"), ("source.malformed.fields", "error")];

/// Each with a part of what is said of it.
const BAD: [(Option<&str>, &str); 8] = [
    (Some(r#"{"id": "#), "JSON"),
    (Some(r#"{"name": "x", "n": 1}"#), "id"),
    (Some(r#"{"id": "x", "n": 1}"#), "id"),
    (None, "null or empty"),
    (Some(r#"{"id": 5, "name": "a\u0000b"}"#), "NUL"),
    (Some(r#"{"id": 5, "n": 40000}"#), "40000"),
    (Some(r#"{"id": 1}"#), "duplicate key"),
    (Some(r#"{"id": 5, "n": 13}"#), "check constraint"),
];

#[test]
fn what_is_bad_is_told_with_its_place_and_what_is_good_arrives() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let (url, topic) = (server.database("bad_input"), topics::unique("bad"));
    let large = format!(r#"{{"id": 3, "name": "{}"}}"#, "x".repeat(20 << 20));
    let mut messages = vec![message(None, Some(r#"{"id": 1}"#))];
    messages.extend(BAD.iter().map(|(value, _)| message(None, *value)));
    messages.extend([
        message(None, Some(r#"{"id": 2}"#)),
        message(None, Some(&large)),
        message(None, Some(r#"{"id": 4}"#)),
    ]);
    topics::write_large_messages(kafka, &topic, &messages);
    let place = place(kafka, &url, &topic, COLUMNS, &[&STRICT[..], &[("errors.tolerance", "all")]].concat());
    place.site.run(&[]).succeeded();
    let rows = place.table.rows();
    let id = |row: &String| serde_json::from_str::<Value>(row).unwrap()["id"].as_i64().unwrap();
    assert_eq!(rows.iter().map(id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(rows[2].len() > 20 << 20);
    let letters = place.site.output().letters;
    assert_eq!(letters.len(), BAD.len(), "{letters:?}");
    for (at, (_, said)) in BAD.iter().enumerate() {
        let position = format!("{topic}-0, offset {}", at + 1);
        let found = letters.iter().find(|letter| letter.position == position);
        assert!(found.is_some_and(|letter| letter.reason.contains(said)), "{position}: {found:?} of {letters:?}");
    }
}

#[test]
fn where_nothing_bad_is_tolerated_the_task_stops_at_it() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let url = server.database("bad_alone");
    for_all(BAD.to_vec(), |(value, said)| {
        let topic = topics::unique("alone");
        let messages =
            [message(None, Some(r#"{"id": 1}"#)), message(None, *value), message(None, Some(r#"{"id": 2}"#))];
        topics::write_messages(kafka, &topic, &messages);
        let place = place(kafka, &url, &topic, COLUMNS, &STRICT);
        let ended = place.site.run(&[]);
        let error = ended.error();
        let position = format!("{topic}-0, offset 1");
        if !error.starts_with("data: ") || !error.contains(&position) || !error.contains(said) {
            return Err(format!("'{position}' and '{said}' are not in {error}"));
        }
        // Somebody decides to go on without it.
        place.site.set("errors.tolerance", "all");
        place.site.run(&[]).succeeded();
        let (rows, letters) = (place.table.rows().len(), place.site.output().letters.len());
        if (rows, letters) == (2, 1) { Ok(()) } else { Err(format!("{rows} rows and {letters} letters")) }
    });
}

#[test]
fn rows_are_replaced_and_deleted_by_their_records_key() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let (url, topic) = (server.database("record_key"), topics::unique("keys"));
    let key = |id: i64| {
        format!(
            r#"{{"schema":{{"type":"struct","fields":[{{"type":"int64","field":"id"}}]}},"payload":{{"id":{id}}}}}"#
        )
    };
    let of = |id: i64, value: Option<&str>| message(Some(&key(id)), value);
    let messages = [
        of(1, Some(r#"{"v": "a"}"#)),
        of(2, Some(r#"{"v": "b"}"#)),
        of(1, Some(r#"{"v": "c"}"#)),
        message(None, Some(r#"{"v": "no key"}"#)),
        message(Some("no json"), Some(r#"{"v": "a bad key"}"#)),
        of(2, None),
        of(3, Some(r#"{"v": "d"}"#)),
    ];
    topics::write_messages(kafka, &topic, &messages);
    let entries = [
        ("source.value.converter.schema", "v STRING"),
        ("source.key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("source.key.converter.schemas.enable", "true"),
        ("source.key.converter.schema", "id BIGINT NOT NULL"),
        ("sink.insert.mode", "upsert"),
        ("sink.pk.mode", "record_key"),
        ("sink.delete.enabled", "true"),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", &format!("{topic}-dead")),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ];
    let place = place(kafka, &url, &topic, "id bigint PRIMARY KEY, v text", &entries);
    place.site.run(&[]).succeeded();
    assert_eq!(place.table.rows(), [r#"{"id":1,"v":"c"}"#, r#"{"id":3,"v":"d"}"#]);
    let stages = topics::read_messages(kafka, &format!("{topic}-dead")).into_iter().map(|letter| {
        let of = |name: &str| letter.headers[&format!("__connect.errors.{name}")].clone();
        (of("offset"), of("stage"))
    });
    let stages: BTreeMap<_, _> = stages.collect();
    let told = [("3", "TASK_PUT"), ("4", "KEY_CONVERTER")].map(|(at, stage)| (at.to_owned(), stage.to_owned()));
    assert_eq!(stages, told.into());
}

#[test]
fn a_full_disk_of_the_server_is_told_and_the_rows_arrive_once_there_is_space() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let (url, topic) = (server.database("full"), topics::unique("full"));
    let root = TempDir::new().unwrap();
    let disk = root.path().join("disk");
    let mounted = match Tmpfs::mount(&disk, 16 << 10) {
        Ok(mounted) => mounted,
        Err(reason) => return no_disk(&reason),
    };
    // The server's user must own the folder, and find the way to it.
    let data = server.sql(&url, "SHOW data_directory");
    let (space, owner) = (disk.join("space"), fs::metadata(data.trim()).unwrap());
    fs::create_dir(&space).unwrap();
    chown(&space, Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let name = format!("full_{}", std::process::id());
    server.sql(&url, &format!("CREATE TABLESPACE {name} LOCATION '{}'", space.display()));

    let values: Vec<_> = (0..1000).map(|id| format!(r#"{{"id": {id}, "name": "{}"}}"#, "x".repeat(1000))).collect();
    topics::write(kafka, &topic, 2, &values);
    let place = place(kafka, &url, &topic, "id integer PRIMARY KEY, name text, n smallint", &STRICT);
    server.sql(&url, &format!("ALTER TABLE {0} SET TABLESPACE {name}", place.table.name()));
    let filler = fill(&disk);
    place.site.set("restart.attempts", "2");
    let ended = place.site.run(&[]);
    let error = ended.error();
    assert!(error.starts_with("unavailable: ") && error.contains("No space left on device"), "{error}");
    assert_eq!(ended.said.matches("restarting: ").count(), 2, "{}", ended.said);
    assert_eq!(place.table.rows(), Vec::<String>::new());

    fs::remove_file(filler).unwrap();
    place.site.run(&[]).succeeded();
    assert_eq!(place.table.rows().len(), 1000);
    // The server must not miss the disk later.
    server.sql(&url, &format!("ALTER TABLE {} SET TABLESPACE pg_default", place.table.name()));
    server.sql(&url, "CHECKPOINT");
    server.sql(&url, &format!("DROP TABLESPACE {name}"));
    drop(mounted);
}

#[test]
fn a_column_that_is_taken_away_is_told_and_nothing_is_lost() {
    let (Some(kafka), Some(server)) = (Kafka::shared(), postgres::shared()) else { return };
    let (url, topic) = (server.database("column"), topics::unique("column"));
    topics::write(kafka, &topic, 1, &[r#"{"id": 1, "n": 1}"#.to_owned()]);
    let place = place(kafka, &url, &topic, COLUMNS, &STRICT);
    place.site.set("trigger", "100 ms");
    let mut running = place.site.spawn(&[]);
    let since = Instant::now();
    while place.table.rows().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(60) && running.try_wait().unwrap().is_none(), "no row came");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.sql(&url, &format!("ALTER TABLE {} DROP COLUMN n", place.table.name()));
    topics::write(kafka, &topic, 1, &[r#"{"id": 2, "n": 2}"#.to_owned()]);
    let ended = wait(running);
    let error = ended.error();
    assert!(error.contains("column") && error.contains("\"n\"") || error.contains("'n'"), "{error}");
    server.sql(&url, &format!("ALTER TABLE {} ADD COLUMN n smallint", place.table.name()));
    place.site.set("trigger", "available-now");
    place.site.run(&[]).succeeded();
    let rows = [r#"{"id":1,"name":null,"n":null}"#, r#"{"id":2,"name":null,"n":2}"#];
    assert_eq!(place.table.rows(), rows);
}

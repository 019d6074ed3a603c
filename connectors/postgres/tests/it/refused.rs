//! Rows that the server refuses, while errors are tolerated: they come back, and the others arrive.

use arrow::array::*;
use levada_connector_api::{BadRow, Batch, ErrorKind, Origin, OutputMode, Sink, TaskContext};

use crate::support::{Database, array, commit, context, rows};

fn tolerant(epoch: u64) -> TaskContext {
    TaskContext { tolerant: true, ..context(epoch) }
}

fn people(ids: &[i64], names: &[Option<&str>]) -> Batch {
    let names = array(StringArray::from(names.to_vec()));
    let rows = rows(vec![("id!", array(Int64Array::from(ids.to_vec()))), ("name", names)]);
    Batch::with_origin(rows, Origin::exact("people.csv", "line", 1))
}

/// Writes one micro-batch of some batches. Answers with what was refused.
async fn put(sink: &mut Box<dyn Sink>, batch_id: u64, batches: Vec<Batch>) -> Vec<BadRow> {
    for batch in batches {
        sink.write(batch_id, batch).await.unwrap();
    }
    let refused = sink.prepare(batch_id).await.unwrap();
    sink.commit(&commit(batch_id, 1)).await.unwrap();
    refused
}

fn places(refused: &[BadRow]) -> Vec<String> {
    refused.iter().map(|row| format!("{}: {}", row.position, row.reason)).collect()
}

const ALL: &str = "SELECT string_agg(id || ' ' || coalesce(name, '-'), ', ' ORDER BY id) FROM t";

#[tokio::test]
async fn each_row_that_is_refused_comes_back_and_the_others_arrive() {
    let Some(db) = Database::new("refused").await else { return };
    for (mode, key) in [("insert", ""), ("upsert", "id")] {
        db.run("DROP TABLE IF EXISTS t, levada_offsets").await;
        db.run("CREATE TABLE t (id smallint PRIMARY KEY, name varchar(5) NOT NULL CHECK (name <> 'evil'))").await;
        db.run("CREATE UNIQUE INDEX ON t (name)").await;
        let mut sink = db.sink(&[("insert.mode", mode), ("pk.fields", key)]);
        let first = people(&[1], &[Some("a")]);
        sink.open(&tolerant(1), first.rows.schema(), OutputMode::Append).await.unwrap();
        assert!(put(&mut sink, 0, vec![first]).await.is_empty());
        let one = people(
            &[2, 3, 99_999, 4, 5, 6, 7],
            &[Some("b"), Some("evil"), Some("big"), Some("toolong"), None, Some("n\0l"), Some("c")],
        );
        let two = people(&[8, 9, 10], &[Some("a"), Some("d"), Some("b")]);
        let refused = put(&mut sink, 1, vec![one, two]).await;
        let told = places(&refused);
        let expected = [
            ("people.csv, line 2", "check"),
            ("people.csv, line 3", "'id': "),
            ("people.csv, line 4", "too long"),
            ("people.csv, line 5", "NOT NULL"),
            ("people.csv, line 6", "NUL"),
            ("people.csv, line 1", "t_name_idx"),
            ("people.csv, line 3", "t_name_idx"),
        ];
        assert_eq!(told.len(), expected.len(), "{mode}: {told:#?}");
        for (told, (place, reason)) in told.iter().zip(expected) {
            assert!(told.starts_with(place) && told.contains(reason), "{mode}: {told} is not {place}, {reason}");
        }
        assert!(refused.iter().all(|row| row.stage == "sink"));
        assert_eq!(String::from_utf8_lossy(&refused[0].raw), r#"{"id":3,"name":"evil"}"#);
        assert_eq!(db.ask(ALL).await, ["1 a, 2 b, 7 c, 9 d"], "{mode}");
        // And on: nothing is left of the one before.
        assert!(put(&mut sink, 2, vec![people(&[11], &[Some("e")])]).await.is_empty());
        assert_eq!(db.ask("SELECT batch_id FROM levada_offsets").await, ["2"]);
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn many_refused_rows_among_many_good_ones() {
    let Some(db) = Database::new("refused_many").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text CHECK (name <> 'evil'))").await;
    let mut sink = db.sink(&[]);
    let ids: Vec<i64> = (0..20_000).collect();
    let names: Vec<Option<&str>> = ids.iter().map(|id| Some(if id % 200 == 77 { "evil" } else { "good" })).collect();
    let batch = people(&ids, &names);
    sink.open(&tolerant(1), batch.rows.schema(), OutputMode::Append).await.unwrap();
    let refused = put(&mut sink, 0, vec![batch]).await;
    let places: Vec<_> = refused.iter().map(|row| row.position.as_str()).collect();
    assert_eq!(refused.len(), 100);
    assert_eq!((places[0], places[99]), ("people.csv, line 78", "people.csv, line 19878"));
    assert_eq!(
        db.ask("SELECT count(*) || ' ' || sum(id) FROM t").await,
        ["19900 199990000"
            .replace("199990000", &(199_990_000 - (0..100).map(|i| i * 200 + 77).sum::<i64>()).to_string())]
    );
}

#[tokio::test]
async fn constraints_that_are_checked_late_are_checked_in_time() {
    let Some(db) = Database::new("refused_late").await else { return };
    db.run("CREATE TABLE names (name text PRIMARY KEY); INSERT INTO names VALUES ('a'), ('b')").await;
    db.run("CREATE TABLE t (id bigint, name text REFERENCES names DEFERRABLE INITIALLY DEFERRED)").await;
    let mut sink = db.sink(&[]);
    let batch = people(&[1, 2, 3], &[Some("a"), Some("stranger"), Some("b")]);
    sink.open(&tolerant(1), batch.rows.schema(), OutputMode::Append).await.unwrap();
    let refused = put(&mut sink, 0, vec![batch]).await;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].position.ends_with("line 2") && refused[0].reason.contains("stranger"), "{refused:?}");
    assert_eq!(db.ask(ALL).await, ["1 a, 3 b"]);
}

#[tokio::test]
async fn what_is_no_rows_fault_is_an_error_still() {
    let Some(db) = Database::new("refused_not").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text)").await;
    let mut sink = db.sink(&[]);
    let batch = people(&[1], &[Some("a")]);
    sink.open(&tolerant(1), batch.rows.schema(), OutputMode::Append).await.unwrap();
    db.run("DROP TABLE t").await;
    let result = match sink.write(0, batch).await {
        Ok(()) => sink.prepare(0).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Rows of a newer run are no duplicates.
#[tokio::test]
async fn a_zombie_is_fenced_and_takes_nothing_for_refused() {
    let Some(db) = Database::new("refused_zombie").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text)").await;
    let (mut old, mut new) = (db.sink(&[]), db.sink(&[]));
    let batch = || people(&[1, 2], &[Some("a"), Some("b")]);
    old.open(&tolerant(1), batch().rows.schema(), OutputMode::Append).await.unwrap();
    new.open(&tolerant(2), batch().rows.schema(), OutputMode::Append).await.unwrap();
    new.write(0, batch()).await.unwrap();
    assert!(new.prepare(0).await.unwrap().is_empty());
    new.commit(&commit(0, 2)).await.unwrap();
    let result = match old.write(0, batch()).await {
        Ok(()) => old.prepare(0).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(db.ask(ALL).await, ["1 a, 2 b"]);
}

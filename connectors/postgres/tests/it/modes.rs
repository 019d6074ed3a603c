//! Appending, replacing, deleting; tables made and extended.

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Fields};
use levada_connector_api::{Batch, ErrorKind, Origin, OutputMode, Record, Records, Retry};

use crate::support::{Database, array, commit, context, refused, rows, sink, write, write_as};

fn people(ids: &[i64], names: &[Option<&str>]) -> RecordBatch {
    rows(vec![("id!", array(Int64Array::from(ids.to_vec()))), ("name", array(StringArray::from(names.to_vec())))])
}

const UPSERT: [(&str, &str); 2] = [("insert.mode", "upsert"), ("pk.fields", "id")];

#[tokio::test]
async fn the_last_row_of_a_key_wins() {
    let Some(db) = Database::new("upsert").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text, kept int DEFAULT 7)").await;
    let first = people(&[1, 2, 1, 3, 1], &[Some("a"), Some("b"), Some("c"), None, Some("d")]);
    let second = people(&[2, 4, 2], &[Some("x"), Some("y"), None]);
    write(db.sink(&UPSERT), &[first, second]).await.unwrap();
    assert_eq!(
        db.ask("SELECT concat_ws(' ', id, coalesce(name, '-'), kept) FROM t ORDER BY id").await,
        ["1 d 7", "2 - 7", "3 - 7", "4 y 7"]
    );
}

#[tokio::test]
async fn the_key_is_the_tables_unless_it_is_named() {
    let Some(db) = Database::new("primary_key").await else { return };
    db.run("CREATE TABLE t (name text, id bigint, PRIMARY KEY (id))").await;
    write(db.sink(&[("insert.mode", "upsert")]), &[people(&[1, 1], &[Some("a"), Some("b")])]).await.unwrap();
    assert_eq!(db.ask("SELECT id || name FROM t").await, ["1b"]);
    db.run("DROP TABLE t, levada_offsets; CREATE TABLE t (id bigint, name text)").await;
    let error = refused(db.sink(&UPSERT), &[people(&[1], &[None])]).await;
    assert!(error.to_string().contains("CREATE UNIQUE INDEX ON \"t\" (\"id\")"), "{error}");
    db.run("CREATE UNIQUE INDEX ON t (id) WHERE id > 5").await;
    refused(db.sink(&UPSERT), &[people(&[1], &[None])]).await;
    db.run("CREATE UNIQUE INDEX ON t (id)").await;
    write(db.sink(&UPSERT), &[people(&[1], &[None])]).await.unwrap();
    let null = rows(vec![("id", array(Int64Array::from(vec![Some(1), None]))), ("name", array(NullArray::new(2)))]);
    db.run("DROP TABLE levada_offsets").await;
    let error = refused(db.sink(&UPSERT), &[null]).await;
    assert!(error.to_string().contains("column 'id', row 1 of a batch: null"), "{error}");
}

#[tokio::test]
async fn update_adds_no_rows() {
    let Some(db) = Database::new("update").await else { return };
    db.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text, must int NOT NULL);
         INSERT INTO t VALUES (1, 'old', 5), (2, 'old', 5)",
    )
    .await;
    write(
        db.sink(&[("insert.mode", "update"), ("pk.fields", "id")]),
        &[people(&[1, 9, 1], &[Some("a"), Some("b"), Some("new")])],
    )
    .await
    .unwrap();
    assert_eq!(db.ask("SELECT id || name FROM t ORDER BY id").await, ["1new", "2old"]);
}

#[tokio::test]
async fn rows_that_would_stay_the_same_are_left_alone() {
    let Some(db) = Database::new("same").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text)").await;
    write(db.sink(&UPSERT), &[people(&[1, 2], &[Some("a"), None]), people(&[1, 2], &[Some("a"), Some("b")])])
        .await
        .unwrap();
    let written = db.ask("SELECT count(DISTINCT xmin::text) FROM t").await;
    assert_eq!(written, ["2"], "row 1 must still be the first transaction's");
}

#[tokio::test]
async fn rows_are_deleted_by_their_operation_and_by_tombstones() {
    let Some(db) = Database::new("delete").await else { return };
    let changes = |ids: Vec<i64>, names: Vec<Option<&str>>, ops: Vec<Option<&str>>| {
        rows(vec![
            ("id!", array(Int64Array::from(ids))),
            ("name", array(StringArray::from(names))),
            ("_op", array(StringArray::from(ops))),
        ])
    };
    let options = [UPSERT[0], UPSERT[1], ("delete.enabled", "true"), ("auto.create", "true")];
    let batches = [
        changes(
            vec![1, 2, 3, 4],
            vec![Some("a"), Some("b"), Some("c"), Some("d")],
            vec![Some("c"), None, Some("r"), None],
        ),
        changes(
            vec![1, 2, 3, 3, 4, 5, 5],
            vec![Some("a"), None, None, Some("again"), None, Some("new"), None],
            vec![Some("d"), None, Some("delete"), Some("u"), Some("u"), None, Some("d")],
        ),
    ];
    write(db.sink(&options), &batches).await.unwrap();
    // 1 by its operation, 2 by a tombstone, 3 came back, 4 says that it is an update to null, 5 never was.
    assert_eq!(db.ask("SELECT concat(id, name) FROM t ORDER BY id").await, ["3again", "4"]);
    db.run("DROP TABLE levada_offsets").await;
    let error = refused(db.sink(&UPSERT), &[batches[1].clone()]).await;
    assert!(error.to_string().contains("row 0 of a batch: _op is delete, and delete.enabled is false"), "{error}");
    db.run("DROP TABLE levada_offsets").await;
    let error = refused(db.sink(&options), &[changes(vec![1], vec![None], vec![Some("truncate")])]).await;
    assert!(error.to_string().contains("_op 'truncate' is not known"), "{error}");
}

/// Rows of which some were made of records without a value.
struct Tombstones(&'static [bool]);

impl Records for Tombstones {
    fn place(&self, _: usize) -> Option<String> {
        None
    }

    fn record(&self, _: usize) -> Option<Record> {
        None
    }

    fn is_tombstone(&self, row: usize) -> Option<bool> {
        self.0.get(row).copied()
    }
}

#[tokio::test]
async fn a_message_with_nothing_but_nulls_is_no_tombstone() {
    let Some(db) = Database::new("nulls").await else { return };
    db.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 5) i",
    )
    .await;
    let mut sink = db.sink(&[UPSERT[0], UPSERT[1], ("delete.enabled", "true")]);
    // Messages 1 and 4 had a value without any field that is known; 3 is dropped on the way.
    let batch = people(&[1, 2, 3, 4, 5], &[None, None, None, None, Some("new")]);
    let origin = Origin::unknown().with_records(std::sync::Arc::new(Tombstones(&[false, true, true, false, false])));
    let left = BooleanArray::from(vec![true, true, false, true, true]);
    let kept = arrow::compute::filter_record_batch(&batch, &left).unwrap();
    sink.open(&context(1), kept.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, Batch::with_origin(kept, origin.kept(&left))).await.unwrap();
    sink.commit(&commit(0, 1)).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(db.ask("SELECT concat(id, name) FROM t ORDER BY id").await, ["1", "3old", "4", "5new"]);

    // Without delete.enabled a tombstone is no row of nulls.
    for options in [&[("insert.mode", "insert")][..], &UPSERT] {
        db.run("DROP TABLE t, levada_offsets; CREATE TABLE t (id bigint PRIMARY KEY, name text)").await;
        let mut sink = db.sink(options);
        let batch = match options.len() {
            1 => rows(vec![("id", array(NullArray::new(2))), ("name", array(NullArray::new(2)))]),
            _ => people(&[1, 2], &[None, None]),
        };
        let origin = Origin::unknown().with_records(std::sync::Arc::new(Tombstones(&[false, true])));
        sink.open(&context(1), batch.schema(), OutputMode::Append).await.unwrap();
        let error = sink.write(0, Batch::with_origin(batch, origin)).await.unwrap_err().to_string();
        assert!(error.contains("row 1 of a batch") && error.contains("set delete.enabled"), "{error}");
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn complete_mode_replaces_everything_at_once() {
    let Some(db) = Database::new("complete").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t VALUES (9, 'before')").await;
    let batches = [people(&[1, 2], &[Some("a"), None]), people(&[2, 3], &[Some("b"), Some("c")])];
    write_as(db.sink(&[]), OutputMode::Complete, &batches).await.unwrap();
    assert_eq!(db.ask("SELECT id || name FROM t ORDER BY id").await, ["2b", "3c"]);
    db.run("DROP TABLE levada_offsets").await;
    write_as(db.sink(&UPSERT), OutputMode::Complete, &[people(&[5, 5], &[Some("a"), Some("b")])]).await.unwrap();
    assert_eq!(db.ask("SELECT id || name FROM t").await, ["5b"]);
}

#[tokio::test]
async fn views_are_written_and_two_columns_of_one_name_are_not() {
    let Some(db) = Database::new("views").await else { return };
    db.run("CREATE TABLE base (id bigint, name text); CREATE VIEW t AS SELECT id, name FROM base").await;
    write(db.sink(&[]), &[people(&[1, 2], &[Some("a"), None])]).await.unwrap();
    assert_eq!(db.ask("SELECT concat(id, name) FROM base ORDER BY id").await, ["1a", "2"]);
    let twice = rows(vec![("A", array(Int64Array::from(vec![1]))), ("A", array(Int64Array::from(vec![1])))]);
    let error = refused(db.sink(&[("table", "twice"), ("auto.create", "true")]), &[twice]).await;
    assert!(error.to_string().contains("the rows have two columns 'A'"), "{error}");
    // What is wrong with a statement is no change of the table.
    db.run(
        "DROP TABLE IF EXISTS levada_offsets; CREATE VIEW joined AS SELECT count(*) AS id, 'x'::text AS name FROM base",
    )
    .await;
    let error = refused(db.sink(&[("table", "joined")]), &[people(&[1], &[None])]).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error:?}");
    assert!(error.to_string().contains("joined") && !error.to_string().contains("restart the task"), "{error}");
}

#[tokio::test]
async fn columns_are_found_whatever_their_case() {
    let Some(db) = Database::new("case").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text)").await;
    write(db.sink(&[UPSERT[0], ("pk.fields", "ID")]), &[people(&[1, 1], &[Some("a"), Some("b")])]).await.unwrap();
    assert_eq!(db.ask("SELECT id || name FROM t").await, ["1b"]);
    let error = refused(db.sink(&[UPSERT[0], ("pk.fields", "idd")]), &[people(&[1], &[None])]).await;
    assert!(error.to_string().contains("pk.fields: there is no column 'idd'"), "{error}");
}

#[tokio::test]
async fn tables_are_made_and_extended() {
    let Some(db) = Database::new("auto").await else { return };
    let error = refused(db.sink(&[]), &[people(&[1], &[None])]).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("auto.create"), "{error}");
    write(db.sink(&[("auto.create", "true"), ("pk.fields", "id")]), &[people(&[1], &[None])]).await.unwrap();
    let columns = "SELECT column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns \
                   WHERE table_name = 't' ORDER BY ordinal_position";
    assert_eq!(db.ask(columns).await, ["id bigint NO", "name text YES"]);
    let point = StructArray::from(vec![(
        std::sync::Arc::new(Field::new("x", DataType::Int32, true)),
        array(Int32Array::from(vec![1])),
    )]);
    let more = rows(vec![
        ("id!", array(Int64Array::from(vec![2]))),
        ("Weird \"name\"!", array(Decimal128Array::from(vec![5]).with_precision_and_scale(9, 2).unwrap())),
        ("at", array(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC"))),
        ("point", array(point)),
        ("tags", array(ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>(vec![Some(vec![Some(1)])]))),
    ]);
    db.run("DROP TABLE levada_offsets").await;
    let error = refused(db.sink(&[]), std::slice::from_ref(&more)).await.to_string();
    assert!(error.contains("ALTER TABLE \"t\" ADD COLUMN \"Weird \"\"name\"\"\" numeric(9,2)"), "{error}");
    write(db.sink(&[("auto.evolve", "true")]), &[more]).await.unwrap();
    assert_eq!(
        db.ask(columns).await[2..],
        ["Weird \"name\" numeric YES", "at timestamp with time zone YES", "point jsonb YES", "tags ARRAY YES",]
    );
    assert_eq!(db.ask("SELECT count(*) FROM t").await, ["2"]);
}

#[tokio::test]
async fn two_tasks_may_make_the_same_table() {
    let Some(db) = Database::new("race").await else { return };
    let batch = people(&[1], &[None]);
    let mut tasks = Vec::new();
    for task in 0..4 {
        let (mut sink, schema) = (sink(&db.url, &[("auto.create", "true")]).unwrap(), batch.schema());
        tasks.push(tokio::spawn(async move {
            let context = levada_connector_api::TaskContext { task, ..crate::support::context(1) };
            sink.open(&context, schema, OutputMode::Append).await.map(|_| ())
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(db.ask("SELECT task FROM levada_offsets ORDER BY task").await, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn any_name_can_be_written() {
    let Some(db) = Database::new("names").await else { return };
    db.run("CREATE SCHEMA \"my.schema\"").await;
    let batch = rows(vec![
        ("select!", array(Int32Array::from(vec![1]))),
        ("a \"b\" c", array(Int32Array::from(vec![2]))),
        ("große", array(Int32Array::from(vec![3]))),
    ]);
    let options = [
        ("table.name.format", "\"my.schema\".\"o'clock; DROP TABLE x\""),
        ("auto.create", "true"),
        ("insert.mode", "upsert"),
        ("pk.fields", "select"),
    ];
    write(db.sink(&options), &[batch]).await.unwrap();
    let sum = "SELECT \"select\" + \"a \"\"b\"\" c\" + \"große\" FROM \"my.schema\".\"o'clock; DROP TABLE x\"";
    assert_eq!(db.ask(sum).await, ["6"]);
    assert_eq!(db.ask("SELECT batch_id FROM \"my.schema\".levada_offsets").await, ["0"]);
}

#[tokio::test]
async fn keys_come_from_the_records_key_and_from_kafkas_coordinates() {
    let Some(db) = Database::new("keys").await else { return };
    let key = StructArray::from(
        Fields::from(vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, false)])
            .iter()
            .cloned()
            .zip([array(Int32Array::from(vec![1, 1])), array(StringArray::from(vec!["x", "x"]))])
            .collect::<Vec<_>>(),
    );
    let batch = rows(vec![
        ("v", array(Int32Array::from(vec![10, 20]))),
        ("_key", array(key)),
        ("_topic", array(StringArray::from(vec!["t", "t"]))),
        ("_partition", array(Int32Array::from(vec![0, 0]))),
        ("_offset", array(Int64Array::from(vec![5, 6]))),
    ]);
    let options = [("insert.mode", "upsert"), ("pk.mode", "record_key"), ("auto.create", "true")];
    write(db.sink(&options), std::slice::from_ref(&batch)).await.unwrap();
    assert_eq!(db.ask("SELECT row_to_json(t) FROM t").await, ["{\"a\":1,\"b\":\"x\",\"v\":20}"]);
    db.run("DROP TABLE t, levada_offsets").await;
    let options = [("insert.mode", "upsert"), ("pk.mode", "kafka"), ("auto.create", "true"), ("fields.whitelist", "v")];
    write(db.sink(&options), &[batch]).await.unwrap();
    assert_eq!(
        db.ask("SELECT concat_ws('-', __connect_topic, __connect_partition, __connect_offset, v) FROM t ORDER BY v")
            .await,
        ["t-0-5-10", "t-0-6-20"]
    );
}

#[tokio::test]
async fn what_the_table_needs_is_said_before_the_first_row() {
    let Some(db) = Database::new("needs").await else { return };
    db.run("CREATE TABLE t (id bigint, must int NOT NULL, twice bigint GENERATED ALWAYS AS (id * 2) STORED, serial serial)").await;
    let batch = rows(vec![("id", array(Int64Array::from(vec![1]))), ("twice", array(Int64Array::from(vec![2])))]);
    let error = refused(db.sink(&[]), &[batch]).await.to_string();
    assert!(
        error.contains("column 'must' is NOT NULL without a default") && error.contains("'twice' is generated"),
        "{error}"
    );
    assert!(!error.contains("serial"), "{error}");
    for (options, part) in [
        (vec![("insert.mode", "upsert"), ("pk.mode", "none")], "need a key"),
        (vec![("delete.enabled", "true")], "insert.mode"),
        (vec![("table.name.format", "${topic}")], "one table"),
        (vec![("connection.url", "mysql://x/y")], "'mysql' is no scheme"),
    ] {
        let error = sink(&db.url, &options).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = refused(db.sink(&[("fields.whitelist", "idd")]), &[people(&[1], &[None])]).await;
    assert!(error.to_string().contains("did you mean 'id'?"), "{error}");
}

#[tokio::test]
async fn partitioned_tables_identities_and_types_that_are_cast() {
    let Some(db) = Database::new("kinds").await else { return };
    db.run(
        "CREATE TABLE t (id bigint, address inet, number bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (id, address))
             PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE high PARTITION OF t DEFAULT",
    )
    .await;
    let batch = |addresses: &[&str]| {
        rows(vec![
            ("id!", array(Int64Array::from(vec![1, 11, 1]))),
            ("address!", array(StringArray::from(addresses.to_vec()))),
        ])
    };
    // Two ways to write one address are one key.
    let batches = [batch(&["10.0.0.1", "::1", "10.0.0.1/32"]), batch(&["10.0.0.1", "0:0::1", "10.0.0.2"])];
    write(db.sink(&[("insert.mode", "upsert"), ("delete.enabled", "true")]), &batches).await.unwrap();
    let shown = db.ask("SELECT concat_ws(' ', tableoid::regclass, id, address) FROM t ORDER BY id, address").await;
    assert_eq!(shown, ["low 1 10.0.0.1", "low 1 10.0.0.2", "high 11 ::1"]);
}

/// Rows with different keys are merged in two steps, between which another writer may come.
#[tokio::test]
async fn another_writer_of_the_same_key_loses_nothing() {
    let Some(db) = Database::new("writers").await else { return };
    db.run("CREATE TABLE t (id bigint PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'old'), (3, 'old')").await;
    let mut sink = db.sink(&UPSERT);
    let batch = people(&[1, 2, 3], &[Some("new"), Some("new"), Some("new")]);
    sink.open(&crate::support::context(1), batch.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, levada_connector_api::Batch::new(batch)).await.unwrap();
    let other = crate::support::connect(&db.url).await;
    other.batch_execute("BEGIN; INSERT INTO t VALUES (2, 'other'); DELETE FROM t WHERE id = 3").await.unwrap();
    let committed = tokio::spawn(async move { sink.commit(&crate::support::commit(0, 1)).await });
    // The sink waits for the other to end: only then is it known whether there is a row.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while db.ask(waits).await != ["1"] {
        assert!(!committed.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    other.batch_execute("COMMIT").await.unwrap();
    committed.await.unwrap().unwrap();
    assert_eq!(db.ask("SELECT id || name FROM t ORDER BY id").await, ["1new", "2new", "3new"]);
}

#[tokio::test]
async fn keys_that_only_look_different_are_one_key() {
    let Some(db) = Database::new("look").await else { return };
    for (sql_type, first, second) in [("numeric", "1.0", "1.00"), ("char(3)", "a", "a "), ("varchar(1)", "a", "a ")] {
        db.run(&format!(
            "DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t (id {sql_type} PRIMARY KEY, name text)"
        ))
        .await;
        let keys = |of: &[&str]| match sql_type {
            "numeric" => array(Float64Array::from_iter_values(of.iter().map(|key| key.parse::<f64>().unwrap()))),
            _ => array(StringArray::from(of.to_vec())),
        };
        let batch = |name: &str| {
            rows(vec![
                ("id!", keys(&[first, second])),
                ("name", array(StringArray::from(vec!["lost".to_owned(), name.to_owned()]))),
            ])
        };
        write(db.sink(&UPSERT), &[batch("one"), batch("two")]).await.unwrap();
        assert_eq!(db.ask("SELECT name FROM t").await, ["two"], "{sql_type}");
    }
}

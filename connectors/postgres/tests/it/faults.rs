//! Lost connections, newer runs, and everything that the server refuses.

use std::time::Duration;

use arrow::array::*;
use levada_connector_api::{Batch, ErrorKind, OutputMode, Retry, Sink, TaskContext};
use levada_services::postgres::{self, Postgres};
use levada_services::proxy::{Cut, Proxy};

use crate::support::{Database, array, commit, connect, context, refused, rows, sink, write};

fn numbers(of: std::ops::Range<i64>) -> RecordBatch {
    rows(vec![("n!", array(Int64Array::from_iter_values(of)))])
}

async fn open(sink: &mut Box<dyn Sink>, epoch: u64) -> levada_connector_api::Result<Option<u64>> {
    let held = sink.open(&context(epoch), numbers(0..1).schema(), OutputMode::Append).await?;
    Ok(held.map(|commit| commit.batch_id))
}

async fn put(
    sink: &mut Box<dyn Sink>,
    batch: u64,
    epoch: u64,
    of: std::ops::Range<i64>,
) -> levada_connector_api::Result<()> {
    sink.write(batch, Batch::new(numbers(of))).await?;
    sink.commit(&commit(batch, epoch)).await
}

const SUM: &str = "SELECT concat_ws(' ', count(*), count(DISTINCT n), sum(n)) FROM t";

#[tokio::test]
async fn a_zombie_in_the_middle_of_a_batch_is_ended_and_fenced() {
    let Some(db) = Database::new("zombie").await else { return };
    db.run("CREATE TABLE t (n bigint PRIMARY KEY)").await;
    let (mut old, mut new) = (db.sink(&[]), db.sink(&[]));
    assert_eq!(open(&mut old, 1).await.unwrap(), None);
    put(&mut old, 0, 1, 0..10).await.unwrap();
    // Its rows hold locks on the keys that the newer run is about to write.
    old.write(1, Batch::new(numbers(10..20))).await.unwrap();
    assert_eq!(open(&mut new, 2).await.unwrap(), Some(0));
    put(&mut new, 1, 2, 10..20).await.unwrap();
    let error = old.commit(&commit(1, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Fenced, Retry::Permanent), "{error:?}");
    drop(old);
    // It comes back as what it was: an earlier run.
    let error = open(&mut db.sink(&[]), 1).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Fenced, Retry::Permanent), "{error}");
    put(&mut new, 2, 2, 20..30).await.unwrap();
    assert_eq!(db.ask(SUM).await, ["30 30 435"]);
}

#[tokio::test]
async fn of_two_runs_that_write_the_same_batch_one_wins() {
    let Some(db) = Database::new("two_runs").await else { return };
    for key in ["", "PRIMARY KEY"] {
        db.run(&format!("DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t (n bigint {key})")).await;
        let (mut old, mut new) = (db.sink(&[]), db.sink(&[]));
        open(&mut old, 1).await.unwrap();
        open(&mut new, 2).await.unwrap();
        put(&mut new, 0, 2, 0..10).await.unwrap();
        let error = put(&mut old, 0, 1, 0..10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert_eq!(db.ask(SUM).await, ["10 10 45"]);
    }
}

#[tokio::test]
async fn a_connection_that_is_ended_in_the_middle_can_be_tried_again() {
    let Some(db) = Database::new("ended").await else { return };
    db.run("CREATE TABLE t (n bigint)").await;
    let mut sink = db.sink(&[]);
    open(&mut sink, 1).await.unwrap();
    put(&mut sink, 0, 1, 0..10).await.unwrap();
    sink.write(1, Batch::new(numbers(10..20))).await.unwrap();
    let ended = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity \
                 WHERE application_name LIKE 'levada p/0 %' AND datname = current_database()";
    assert_eq!(db.ask(ended).await, ["1"]);
    let error = put(&mut sink, 1, 1, 20..30).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Retriable), "{error:?}");
    assert!(error.to_string().contains("table t: the connection to the server was lost"), "{error}");
    let mut again = db.sink(&[]);
    assert_eq!(open(&mut again, 2).await.unwrap(), Some(0));
    put(&mut again, 1, 2, 10..20).await.unwrap();
    assert_eq!(db.ask(SUM).await, ["20 20 190"]);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_indeterminate_and_then_known() {
    let Some(server) = postgres::shared() else { return };
    let Some(db) = Database::new("lost_answer").await else { return };
    let proxy = Proxy::to(server.port());
    let url = db.url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let bytes = b"COMMIT\0".to_vec();
    for (cut, happened) in [(Cut::After(bytes.clone()), true), (Cut::Before(bytes), false)] {
        db.run("DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t (n bigint)").await;
        let mut first = sink(&url, &[]).unwrap();
        open(&mut first, 1).await.unwrap();
        put(&mut first, 0, 1, 0..10).await.unwrap();
        let before = proxy.cuts();
        proxy.plan(cut);
        let error = put(&mut first, 1, 1, 10..20).await.unwrap_err();
        assert_eq!(error.retry(), Retry::Indeterminate, "{error:?}");
        assert_eq!(proxy.cuts(), before + 1);
        drop(first);
        let mut again = sink(&url, &[]).unwrap();
        assert_eq!(open(&mut again, 2).await.unwrap(), Some(u64::from(happened)));
        put(&mut again, 1, 2, 10..20).await.unwrap();
        assert_eq!(db.ask(SUM).await, ["20 20 190"]);
    }
}

#[tokio::test]
async fn a_server_that_stops_and_comes_back_loses_nothing() {
    let Some(mut server) = Postgres::start() else { return };
    let url = server.url().to_owned();
    connect(&url).await.batch_execute("CREATE TABLE t (n bigint)").await.unwrap();
    let mut first = sink(&url, &[]).unwrap();
    open(&mut first, 1).await.unwrap();
    put(&mut first, 0, 1, 0..10).await.unwrap();
    first.write(1, Batch::new(numbers(10..20))).await.unwrap();
    server.stop();
    let error = first.commit(&commit(1, 1)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Retriable, "{error:?}");
    let error = open(&mut sink(&url, &[("connection.attempts", "2")]).unwrap(), 2).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Retriable), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1") && error.to_string().contains("refused"), "{error}");
    server.start_again();
    let mut again = sink(&url, &[]).unwrap();
    assert_eq!(open(&mut again, 3).await.unwrap(), Some(0));
    put(&mut again, 1, 3, 10..20).await.unwrap();
    let client = connect(&url).await;
    assert_eq!(client.query_one("SELECT sum(n)::bigint FROM t", &[]).await.unwrap().get::<_, i64>(0), 190);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let Some(db) = Database::new("refused").await else { return };
    db.run("CREATE TABLE t (n bigint)").await;
    let role = format!("poor_{}", std::process::id());
    db.run(&format!("CREATE ROLE {role} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {role}")).await;
    let options = [("connection.user", role.as_str())];
    let mut sink_of = db.sink(&options);
    open(&mut sink_of, 1).await.unwrap();
    let error = put(&mut sink_of, 0, 1, 0..1).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error:?}");
    assert!(
        error.to_string().contains("permission denied for table t") && error.to_string().contains("grant"),
        "{error}"
    );
    db.run(&format!("GRANT INSERT ON t TO {role}")).await;
    let mut sink_of = db.sink(&options);
    open(&mut sink_of, 2).await.unwrap();
    put(&mut sink_of, 0, 2, 0..1).await.unwrap();
    db.run(&format!("REVOKE INSERT ON t FROM {role}")).await;
    assert_eq!(put(&mut sink_of, 1, 2, 1..2).await.unwrap_err().kind(), ErrorKind::Config);
    // Afterwards the same task goes on.
    db.run(&format!("GRANT INSERT ON t TO {role}")).await;
    let mut sink_of = db.sink(&options);
    assert_eq!(open(&mut sink_of, 3).await.unwrap(), Some(0));
    put(&mut sink_of, 1, 3, 1..2).await.unwrap();
    assert_eq!(db.ask(SUM).await, ["2 2 1"]);
    drop(sink_of);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    let error = refused(db.sink(&[("connection.user", "nobody_at_all")]), &[numbers(0..1)]).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Permanent), "{error:?}");
    assert!(error.to_string().contains("connection.user"), "{error}");
    let url = db.url.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database";
    let error = refused(sink(&url, &[]).unwrap(), &[numbers(0..1)]).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}

#[tokio::test]
async fn what_the_table_refuses_names_the_row_and_the_remedy() {
    let Some(db) = Database::new("row").await else { return };
    db.run("CREATE TABLE t (n bigint PRIMARY KEY CHECK (n < 100)); INSERT INTO t VALUES (7)").await;
    let mut first = db.sink(&[]);
    open(&mut first, 1).await.unwrap();
    let origin = levada_connector_api::Origin::exact("in/numbers.csv", "line", 2);
    first.write(0, Batch::with_origin(numbers(0..5), origin.clone())).await.unwrap();
    first.write(0, Batch::with_origin(numbers(5..9), origin.sliced(5))).await.unwrap();
    let error = first.commit(&commit(0, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent));
    let text = error.to_string();
    for part in ["table t", "in/numbers.csv, line 9", "duplicate key", "(n)=(7)", "upsert"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    let error = refused(db.sink(&[]), &[numbers(98..105)]).await.to_string();
    assert!(error.contains("row 2 of a batch") && error.contains("check constraint"), "{error}");
    assert_eq!(db.ask("SELECT count(*) FROM t").await, ["1"]);
    // The columns of a table that goes away while the task runs.
    let mut second = db.sink(&[]);
    open(&mut second, 1_000_000).await.unwrap();
    db.run("DROP TABLE t").await;
    let error = put(&mut second, 0, 1_000_000, 0..1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_will_not() {
    let Some(db) = Database::new("verdicts").await else { return };
    for (code, kind, retry) in [
        ("53100", ErrorKind::Unavailable, Retry::Retriable),
        ("53200", ErrorKind::Unavailable, Retry::Retriable),
        ("40001", ErrorKind::Unavailable, Retry::Retriable),
        ("40P01", ErrorKind::Unavailable, Retry::Retriable),
        ("57P03", ErrorKind::Unavailable, Retry::Retriable),
        ("25006", ErrorKind::Unavailable, Retry::Retriable),
        ("22003", ErrorKind::Data, Retry::Permanent),
        ("23514", ErrorKind::Data, Retry::Permanent),
        ("P0001", ErrorKind::Data, Retry::Permanent),
    ] {
        // The server's own errors: a trigger raises what a full disk or a deadlock would.
        db.run(&format!(
            "DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t (n bigint);
             CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN RAISE EXCEPTION 'refused by a trigger' USING ERRCODE = '{code}'; END$$;
             CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()"
        ))
        .await;
        let error = refused(db.sink(&[]), &[numbers(0..3)]).await;
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{error:?}");
        assert!(error.to_string().contains(&format!("refused by a trigger (SQLSTATE {code})")), "{error}");
        assert_eq!(db.ask("SELECT count(*) FROM t").await, ["0"]);
    }
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_did_not_happen() {
    let Some(db) = Database::new("deferred").await else { return };
    db.run("CREATE TABLE t (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (2)").await;
    let mut first = db.sink(&[]);
    open(&mut first, 1).await.unwrap();
    let error = put(&mut first, 0, 1, 0..3).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Data, Retry::Permanent), "{error:?}");
    assert_eq!(db.ask("SELECT count(*) FROM t").await, ["1"]);
    assert_eq!(open(&mut db.sink(&[]), 2).await.unwrap(), None);
}

#[tokio::test]
async fn a_run_goes_on_where_its_task_was_and_others_are_not_disturbed() {
    let Some(db) = Database::new("tasks").await else { return };
    db.run("CREATE TABLE t (n bigint)").await;
    let task = |pipeline: &str, task| TaskContext { task, epoch: 1, ..TaskContext::new(pipeline) };
    let schema = numbers(0..1).schema();
    let mut sinks = Vec::new();
    for (number, context) in [task("a", 0), task("a", 1), task("b", 0)].into_iter().enumerate() {
        let mut sink = db.sink(&[]);
        sink.open(&context, schema.clone(), OutputMode::Append).await.unwrap();
        for batch in 0..=number as u64 {
            sink.write(batch, Batch::new(numbers(0..1))).await.unwrap();
            sink.commit(&commit(batch, 1)).await.unwrap();
        }
        sinks.push(sink);
    }
    let rows = "SELECT concat_ws(' ', pipeline, task, batch_id, epoch, offsets) FROM levada_offsets ORDER BY 1";
    let offsets = |n: u64| format!("[{{\"partition\":{{\"file\":\"a\"}},\"offset\":{{\"position\":{n}}}}}]");
    assert_eq!(
        db.ask(rows).await,
        [format!("a 0 0 1 {}", offsets(1)), format!("a 1 1 1 {}", offsets(2)), format!("b 0 2 1 {}", offsets(3))]
    );
    for sink in &mut sinks {
        tokio::time::timeout(Duration::from_secs(10), sink.close()).await.unwrap().unwrap();
    }
    write(db.sink(&[]), &[numbers(0..1)]).await.unwrap();
}

#[tokio::test]
async fn a_first_batch_is_not_repeated_when_its_row_of_progress_is_gone() {
    let Some(db) = Database::new("gone").await else { return };
    db.run("CREATE TABLE t (n bigint)").await;
    let next = |epoch| TaskContext { epoch, pending: Some(0), ..TaskContext::new("p") };
    let schema = numbers(0..1).schema();
    // It was prepared, and not committed: the run before has left its row.
    open(&mut db.sink(&[]), 1).await.unwrap();
    let mut sink = db.sink(&[]);
    assert_eq!(sink.open(&next(2), schema.clone(), OutputMode::Append).await.unwrap(), None);
    for gone in ["DELETE FROM levada_offsets", "DROP TABLE levada_offsets"] {
        db.run(gone).await;
        let error = db.sink(&[]).open(&next(3), schema.clone(), OutputMode::Append).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Permanent), "{error}");
        assert!(error.to_string().contains("whether batch 0 of pipeline 'p', task 0 was committed"), "{error}");
    }
}

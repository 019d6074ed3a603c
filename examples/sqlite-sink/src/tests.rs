//! The contract, and what SQLite keeps.

use std::sync::Arc;

use levada_plugin::api::testkit::{SinkTarget, sink_conformance};
use levada_plugin::api::{
    Batch, Commit, ErrorKind, OutputMode, Plugin as _, Sink, SinkCapabilities, SinkPlugin as _, TaskContext,
    async_trait,
};
use levada_plugin::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Int64Array, ListArray, RecordBatch, StringArray,
    UInt64Array,
};
use levada_plugin::arrow::datatypes::{Int32Type, SchemaRef};
use rusqlite::Connection;

use crate::Sqlite;

struct Target(tempfile::TempDir);

impl Target {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn database(&self) -> Connection {
        Connection::open(self.0.path().join("t.db")).unwrap()
    }
}

#[async_trait]
impl SinkTarget for Target {
    fn make(&self) -> Box<dyn Sink> {
        let path = self.0.path().join("t.db").display().to_string();
        let options = [("path".to_owned(), path), ("table".to_owned(), "a \"table\"".to_owned())].into();
        Sqlite.create(&Sqlite.config_def().parse(&options, "").unwrap()).unwrap()
    }

    async fn visible(&self) -> Vec<String> {
        let database = self.database();
        let Ok(mut all) = database.prepare("SELECT n, text FROM \"a \"\"table\"\"\"") else { return Vec::new() };
        let row = |row: &rusqlite::Row<'_>| {
            Ok(format!("{{\"n\": {}, \"text\": \"{}\"}}", row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        };
        all.query_map([], row).unwrap().map(Result::unwrap).collect()
    }

    async fn clear(&self) {
        let sql = "DROP TABLE IF EXISTS \"a \"\"table\"\"\"; DROP TABLE IF EXISTS levada_commits";
        self.database().execute_batch(sql).unwrap();
    }

    fn capabilities(&self) -> SinkCapabilities {
        Sqlite.capabilities(
            &Sqlite
                .config_def()
                .parse(&[("path", "p"), ("table", "t")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(), "")
                .unwrap(),
        )
    }

    fn schema(&self) -> SchemaRef {
        self.rows(0).schema()
    }

    fn rows(&self, seed: u64) -> RecordBatch {
        let numbers: Vec<i64> = (0..5).map(|n| n + 10 * i64::try_from(seed).unwrap()).collect();
        let texts = StringArray::from_iter_values(numbers.iter().map(|n| format!("row {n}")));
        let columns = [("n", Arc::new(Int64Array::from(numbers)) as ArrayRef), ("text", Arc::new(texts))];
        RecordBatch::try_from_iter(columns).unwrap()
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    sink_conformance(&Target::new()).await;
}

async fn written(target: &Target, rows: RecordBatch) -> levada_plugin::api::Result<()> {
    let mut sink = target.make();
    sink.open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await?;
    sink.write(0, Batch::new(rows)).await?;
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Default::default() }).await
}

#[tokio::test]
async fn types_are_kept_as_sqlite_has_them() {
    let target = Target::new();
    let columns = [
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef),
        ("real", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_723), None]))),
    ];
    written(&target, RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap())
        .await
        .unwrap();
    let sql = "SELECT group_concat(quote(yes) || quote(real) || quote(bytes) || quote(day)) FROM \"a \"\"table\"\"\"";
    let all: String = target.database().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(all, "10.5X'00FF''2024-01-01',NULLNULLNULLNULL");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    let lists = RecordBatch::try_from_iter([("l", Arc::new(list) as ArrayRef)]).unwrap();
    let error = written(&Target::new(), lists).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("'l'"), "{error}");
    // A number that is too large does not become null.
    let large = RecordBatch::try_from_iter([("n", Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef)]).unwrap();
    let target = Target::new();
    assert_eq!(written(&target, large).await.unwrap_err().kind(), ErrorKind::Data);
    let sql = "SELECT count(*) FROM \"a \"\"table\"\"\"";
    assert_eq!(target.database().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

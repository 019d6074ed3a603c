//! The contract of every sink.

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use levada_connector_api::testkit::{SinkTarget, canonical_rows, sink_conformance};
use levada_connector_api::{Sink, SinkCapabilities, SinkPlugin as _, async_trait};
use levada_connector_postgres::PostgresSinkPlugin;

use crate::support::{Database, array, rows};

struct Target {
    database: Database,
    options: Vec<(&'static str, &'static str)>,
}

#[async_trait]
impl SinkTarget for Target {
    fn make(&self) -> Box<dyn Sink> {
        self.database.sink(&self.options)
    }

    async fn visible(&self) -> Vec<String> {
        if self.database.ask("SELECT to_regclass('t')").await == ["null"] {
            return Vec::new();
        }
        let json = self.database.ask("SELECT row_to_json(t)::text FROM t").await.join("\n");
        let reader = arrow::json::ReaderBuilder::new(self.schema()).build(json.as_bytes()).unwrap();
        reader.flat_map(|batch| canonical_rows(&batch.unwrap())).collect()
    }

    async fn clear(&self) {
        self.database.run("DROP TABLE IF EXISTS t, levada_offsets").await;
    }

    fn capabilities(&self) -> SinkCapabilities {
        let raw =
            [("connection.url", "postgres://db/x"), ("table", "t")].into_iter().chain(self.options.iter().copied());
        let raw = raw.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let config = levada_connector_api::Plugin::config_def(&PostgresSinkPlugin).parse(&raw, "").unwrap();
        PostgresSinkPlugin.capabilities(&config)
    }

    fn rows(&self, seed: u64) -> RecordBatch {
        let base = seed as i64 * 100;
        rows(vec![
            ("n!", array(Int64Array::from_iter_values(base..base + 10))),
            ("s", array(StringArray::from_iter_values((0..10).map(|i| format!("row {i}, \"{seed}\" é"))))),
            ("x", array(Float64Array::from_iter((0..10).map(|i| (i % 3 > 0).then_some(f64::from(i) / 4.0))))),
        ])
    }
}

async fn conforms(name: &str, options: &[(&'static str, &'static str)]) {
    let Some(database) = Database::new(name).await else { return };
    let mut options = options.to_vec();
    options.push(("auto.create", "true"));
    sink_conformance(&Target { database, options }).await;
}

#[tokio::test]
async fn the_contract_holds_for_inserts() {
    conforms("contract_insert", &[]).await;
}

#[tokio::test]
async fn the_contract_holds_for_inserts_into_a_table_with_a_key() {
    conforms("contract_key", &[("pk.fields", "n")]).await;
}

#[tokio::test]
async fn the_contract_holds_for_upserts() {
    conforms("contract_upsert", &[("insert.mode", "upsert"), ("pk.fields", "n")]).await;
}

#[tokio::test]
async fn the_contract_holds_with_deletes() {
    conforms("contract_delete", &[("insert.mode", "upsert"), ("pk.fields", "n"), ("delete.enabled", "true")]).await;
}

//! `SELECT` and `WHERE` by the transform `Sql`, and by DataFusion alone, on the same batches: one thread, rows a second.
//!
//!     cargo run --release --manifest-path benches/datafusion/Cargo.toml [ROWS]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use levada_connector_api::config::RawConfig;
use levada_connector_api::{Batch, BindContext, OutputMode, Plugin as _, TransformPlugin as _};
use levada_transform_sql::SqlPlugin;

/// Rows of a batch: what sources give, and DataFusion's own size.
const BATCH: usize = 8192;
const RUNS: usize = 5;

const QUERIES: [&str; 4] = [
    "SELECT id, value * 2 + 1 AS v FROM input WHERE value >= 500",
    "SELECT id, name FROM input WHERE value < 900 AND id % 3 = 0",
    "SELECT upper(name) AS name, value FROM input WHERE name LIKE 'user-1%'",
    "SELECT id + 1 AS id, value / 4.0 AS v, concat(name, '!') AS name FROM input",
];

fn batches(rows: usize) -> Vec<RecordBatch> {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..rows / BATCH)
        .map(|number| {
            let first = (number * BATCH) as i64;
            let id: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + BATCH as i64));
            let value: ArrayRef = Arc::new(Float64Array::from_iter_values((0..BATCH).map(|_| (random() % 1000) as f64)));
            let names = (0..BATCH).map(|_| format!("user-{}", random() % 100_000));
            let name: ArrayRef = Arc::new(StringArray::from_iter_values(names));
            RecordBatch::try_from_iter([("id", id), ("value", value), ("name", name)]).unwrap()
        })
        .collect()
}

async fn levada(query: &str, input: &[RecordBatch]) -> (f64, usize) {
    let raw = RawConfig::from([("query".to_owned(), query.to_owned()), ("ansi".to_owned(), "false".to_owned())]);
    let config = SqlPlugin.config_def().parse(&raw, "").unwrap();
    let mut transform = SqlPlugin.create(&config).unwrap();
    transform.bind(&input[0].schema(), &BindContext::new("sql", OutputMode::Append)).unwrap();
    let (began, mut rows) = (Instant::now(), 0);
    for batch in input {
        let emitted = transform.process(Batch::new(batch.clone())).await.unwrap();
        rows += emitted.batches.iter().map(|batch| batch.rows.num_rows()).sum::<usize>();
    }
    (began.elapsed().as_secs_f64(), rows)
}

async fn datafusion(query: &str, input: &[RecordBatch]) -> (f64, usize) {
    let config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH);
    let context = SessionContext::new_with_config(config);
    let table = MemTable::try_new(input[0].schema(), vec![input.to_vec()]).unwrap();
    context.register_table("input", Arc::new(table)).unwrap();
    let plan = context.sql(query).await.unwrap().create_physical_plan().await.unwrap();
    let (began, mut rows) = (Instant::now(), 0);
    let mut stream = plan.execute(0, context.task_ctx()).unwrap();
    while let Some(batch) = stream.next().await {
        rows += batch.unwrap().num_rows();
    }
    (began.elapsed().as_secs_f64(), rows)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rows = std::env::args().nth(1).map_or(8_000_000, |rows| rows.parse().expect("a number of rows"));
    let input = batches(rows);
    let rows = input.len() * BATCH;
    for query in QUERIES {
        let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
        for _ in 0..RUNS {
            let (seconds, found) = levada(query, &input).await;
            let (other, expected) = datafusion(query, &input).await;
            assert_eq!(found, expected, "{query}");
            (ours, theirs) = (ours.min(seconds), theirs.min(other));
        }
        let rate = |seconds: f64| rows as f64 / seconds / 1e6;
        println!(
            "{:6.1} M rows/s, DataFusion alone {:6.1}: {:3.0} %   {query}",
            rate(ours),
            rate(theirs),
            theirs / ours * 100.0
        );
    }
}

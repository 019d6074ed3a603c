//! What a batch costs on its way through a transform's table and back.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{Batch, BindContext, OutputMode, Registry};
use levada_plugin::host::wait;

/// Half nullable numbers, half text.
fn rows(rows: i64, columns: usize) -> RecordBatch {
    let column = |i: usize| -> ArrayRef {
        match i % 2 {
            0 => Arc::new(Int64Array::from_iter((0..rows).map(|n| (n % 7 != 0).then_some(n)))),
            _ => Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("text {n}")))),
        }
    };
    RecordBatch::try_from_iter((0..columns).map(|i| (format!("c{i}"), column(i)))).expect("equal columns")
}

/// Batches through the transform `class`, one after the other, with its schema sent once.
pub(crate) fn measure(registry: &Registry, class: &str) {
    let plugin = registry.transform(class).expect("a transform");
    let config = plugin.config_def().parse(&RawConfig::new(), "").expect("no options");
    for (n, columns) in [(1_000, 10), (10_000, 10), (10_000, 50)] {
        let rows = rows(n, columns);
        let mut transform = plugin.create(&config).expect("an instance");
        transform.bind(&rows.schema(), &BindContext::new("t", OutputMode::Append)).expect("columns that it takes");
        let mut best = f64::MAX;
        for _ in 0..20 {
            let before = Instant::now();
            for _ in 0..500 {
                let emitted = wait(transform.process(Batch::new(rows.clone()))).expect("no error");
                assert_eq!(emitted.batches.len(), 1);
            }
            best = best.min(before.elapsed().as_secs_f64() * 1e6 / 500.0);
        }
        println!("{class:<8} {n:>6} rows x {columns:>2} columns: {best:>5.1} us there and back");
    }
}

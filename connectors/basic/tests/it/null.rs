//! The null sink.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use levada_connector_api::{Batch, Commit, Offsets, OutputMode, Sink, TaskContext};
use levada_connector_basic::null::NullSink;

#[tokio::test]
async fn only_what_is_committed_counts() {
    let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)]).unwrap();
    let mut sink = NullSink::new();
    let totals = sink.totals();
    sink.open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, Batch::new(rows.clone())).await.unwrap();
    sink.abort(0).await.unwrap();
    sink.write(0, Batch::new(rows.clone())).await.unwrap();
    sink.write(0, Batch::new(rows)).await.unwrap();
    for batch_id in 0..2 {
        sink.commit(&Commit { batch_id, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    }
    sink.close().await.unwrap();
    let totals = *totals.lock().unwrap();
    assert_eq!((totals.batches, totals.rows), (2, 6));
    assert!(totals.bytes >= 48, "{totals:?}");
}

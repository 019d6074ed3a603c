//! What a micro-batch costs when there is nothing in it: its two records in a durable checkpoint.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops when it fails"
)]

use std::time::Instant;

use levada_connector_api::{Offset, OffsetRange, OffsetRanges, Partition};
use levada_engine::checkpoint::{Checkpoint, Prepared, Watermarks};

const BATCHES: u64 = 1000;

fn main() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut times = runtime.block_on(async {
        let (mut checkpoint, recovered) = Checkpoint::open(folder.path().to_str().unwrap(), "bench").await.unwrap();
        checkpoint.begin(&recovered, 0).await.unwrap();
        let mut times = Vec::new();
        for batch_id in 0..BATCHES {
            let start = Instant::now();
            let mut ranges = OffsetRanges::default();
            let from = (batch_id > 0).then(|| Offset::at(batch_id));
            ranges.push(Partition::named("p", 0), OffsetRange::new(from, Offset::at(batch_id + 1)).unwrap()).unwrap();
            let prepared = Prepared {
                flushed: true,
                batch_id,
                epoch: 1,
                timestamp: 0,
                rows: 0,
                ranges: ranges.clone(),
                watermarks: Watermarks::default(),
                state: Vec::new(),
            };
            checkpoint.prepare(prepared).await.unwrap();
            checkpoint.commit(batch_id, &ranges).await.unwrap();
            checkpoint.sync().unwrap().await.unwrap();
            times.push(start.elapsed());
        }
        times
    });
    times.sort();
    let at = |q: f64| times[(q * (times.len() - 1) as f64) as usize].as_secs_f64() * 1e3;
    println!("empty micro-batch, two flushes: p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms", at(0.5), at(0.9), at(0.99));
}

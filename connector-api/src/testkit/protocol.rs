//! What of a sink's contract shows without a look at its target.

use arrow::array::RecordBatch;

use super::sink::commit;
use crate::{Batch, Commit, ErrorKind, Guarantee, OutputMode, Sink, SinkCapabilities, TaskContext};

/// Checks of a sink what can be checked without seeing the rows in its target: that every call works in the order of the
/// contract, in every output mode that it declares; micro-batches without rows; abort; a commit again by another sink; a
/// sink that is dropped. Of a transactional sink also what `open` answers, and that a run that is over is fenced.
///
/// `make` makes a new sink into the same target each time, and `rows` gives other rows for each seed. The sink really
/// writes. Each mode is a pipeline of its own, named `pipeline` and the mode; it must not have written before.
///
/// # Panics
/// A rule is broken; the message names it.
pub async fn sink_protocol(
    make: &dyn Fn() -> Box<dyn Sink>,
    capabilities: SinkCapabilities,
    rows: &(dyn Fn(u64) -> RecordBatch + Sync),
    pipeline: &str,
) {
    assert!(!capabilities.modes.is_empty(), "a sink must declare an output mode");
    for &mode in capabilities.modes {
        let mut kit = Kit { make, capabilities, rows, pipeline: format!("{pipeline}-{mode}"), mode, epoch: 0 };
        let mut old = kit.the_calls_work().await;
        kit.a_drop_leaves_the_last_commit(&mut old).await;
        if capabilities.guarantee == Guarantee::Transactional {
            kit.a_run_that_is_over_is_fenced(old).await;
        }
    }
}

struct Kit<'a> {
    make: &'a dyn Fn() -> Box<dyn Sink>,
    capabilities: SinkCapabilities,
    rows: &'a (dyn Fn(u64) -> RecordBatch + Sync),
    pipeline: String,
    mode: OutputMode,
    epoch: u64,
}

/// An open sink.
struct Run {
    sink: Box<dyn Sink>,
    epoch: u64,
    last: Option<Commit>,
}

impl Run {
    async fn write(&mut self, batch_id: u64, rows: RecordBatch) {
        self.sink.write(batch_id, Batch::new(rows)).await.unwrap_or_else(|e| panic!("write must work: {e}"));
    }

    async fn commit(&mut self, batch_id: u64) {
        let rejected = self.sink.prepare(batch_id).await.unwrap_or_else(|e| panic!("prepare must work: {e}"));
        assert!(rejected.is_empty(), "a sink must not reject rows where the task does not tolerate it");
        let commit = commit(batch_id, self.epoch);
        self.sink.commit(&commit).await.unwrap_or_else(|e| panic!("commit of batch {batch_id} must work: {e}"));
    }
}

impl Kit<'_> {
    async fn open(&mut self, last: Option<u64>) -> Run {
        self.epoch += 1;
        let context = TaskContext { epoch: self.epoch, ..TaskContext::new(&self.pipeline) };
        let mut sink = (self.make)();
        let schema = (self.rows)(0).schema();
        let answer = sink.open(&context, schema, self.mode).await;
        let run = Run { sink, epoch: self.epoch, last: answer.unwrap_or_else(|e| panic!("open must work: {e}")) };
        let found = run.last.as_ref().map(|last| (last.batch_id, &last.offsets));
        if self.capabilities.guarantee != Guarantee::Transactional {
            assert!(found.is_none(), "only a transactional sink answers open with a commit");
            return run;
        }
        let expected = last.map(|id| commit(id, 0));
        assert_eq!(
            found,
            expected.as_ref().map(|last| (last.batch_id, &last.offsets)),
            "open of a transactional sink must answer with the last commit and its offsets"
        );
        run
    }

    async fn the_calls_work(&mut self) -> Run {
        let mut run = self.open(None).await;
        run.write(0, (self.rows)(0)).await;
        run.write(0, (self.rows)(1)).await;
        run.commit(0).await;
        // One without a write, one with a write of no rows.
        run.commit(1).await;
        run.write(2, (self.rows)(2).slice(0, 0)).await;
        run.commit(2).await;
        run.write(3, (self.rows)(3)).await;
        run.sink.abort(3).await.unwrap_or_else(|e| panic!("abort must work: {e}"));
        run.write(3, (self.rows)(4)).await;
        run.commit(3).await;
        run.sink.close().await.unwrap_or_else(|e| panic!("close must work: {e}"));
        self.open(Some(3)).await
    }

    async fn a_drop_leaves_the_last_commit(&mut self, run: &mut Run) {
        drop((self.make)());
        run.write(4, (self.rows)(5)).await;
        *run = self.open(Some(3)).await;
        run.write(4, (self.rows)(5)).await;
        run.commit(4).await;
        // The runtime had not logged it: the same again.
        *run = self.open(Some(4)).await;
        run.write(4, (self.rows)(5)).await;
        run.commit(4).await;
    }

    async fn a_run_that_is_over_is_fenced(&mut self, mut old: Run) {
        let mut new = self.open(Some(4)).await;
        new.write(5, (self.rows)(6)).await;
        new.commit(5).await;
        let answer = match old.sink.write(5, Batch::new((self.rows)(7))).await {
            Ok(()) => old.sink.commit(&commit(5, old.epoch)).await,
            refused => refused,
        };
        match answer {
            Err(e) => assert_eq!(e.kind(), ErrorKind::Fenced, "a commit of a lower epoch must fail as fenced: {e}"),
            Ok(()) => panic!("a commit of a lower epoch must fail as fenced: it was committed"),
        }
        drop(old);
        new.write(6, (self.rows)(8)).await;
        new.commit(6).await;
    }
}

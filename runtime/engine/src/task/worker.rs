//! The second stage: runs the transforms.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use levada_connector_api::{
    BadRow, Batch, BatchInfo, Emitted, Error, EventTime, Result, Stage, StateImage, StateKind, TaskContext,
};
use levada_storage::Background;
use tokio::sync::{Semaphore, mpsc, watch};

use super::messages::{BatchDone, BatchRead, Read, Work, Worked};
use super::plan::{Port, Step};
use super::watermark::Tracker;
use crate::checkpoint::{StateEntry, Watermarks, encode_image};
use crate::dead_letters::refusal;
use crate::{ErrorTolerance, PipelineSpec};

pub(crate) struct Worker {
    pub(crate) steps: Vec<Step>,
    /// Whose rows go to the sink.
    pub(crate) output: Port,
    /// Whether a moved watermark may close something.
    pub(crate) closes: bool,
    pub(crate) tracker: Tracker,
    /// A batch that is repeated has the watermarks that it had.
    pub(crate) repeats: Option<(u64, Watermarks)>,
    /// The batch that `begin` was called for.
    pub(crate) begun: Option<u64>,
    pub(crate) worked: watch::Sender<Worked>,
    pub(crate) context: TaskContext,
    pub(crate) spec: Arc<PipelineSpec>,
    pub(crate) input: mpsc::Receiver<Read>,
    pub(crate) out: mpsc::Sender<Work>,
    /// For rows that wait for the sink.
    pub(crate) room: Arc<Semaphore>,
    /// Set by the committer when a new segment, and so all of the state, is due.
    pub(crate) snapshot_due: Arc<AtomicBool>,
}

/// How many rows may wait for the sink. More than these wait alone: of a result that is larger, one is being written
/// while the next is made.
pub(crate) const ROWS_WAITING: u32 = 1 << 18;

/// A panic is told with the transform's name. The transform is not used again: the run ends with it.
async fn process(step: &mut Step, input: usize, batch: Batch) -> Result<Emitted> {
    let processed = AssertUnwindSafe(step.transform.process_input(input, batch)).catch_unwind().await;
    processed.unwrap_or_else(|panic| Err(Error::panicked("the transform", panic.as_ref())))
}

impl Worker {
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            let message = tokio::select! {
                message = self.input.recv() => message,
                () = self.out.closed() => return Err(super::stage_ended()),
            };
            let Some(message) = message else { return Ok(()) };
            match message {
                Read::Piece { batch_id, source, batches, rejected } => {
                    self.begin(batch_id)?;
                    self.reject(batch_id, Stage::Source, source, rejected).await?;
                    self.context.faults.at("transform.before")?;
                    self.push(batch_id, Port::Source(source), batches).await?;
                    self.context.faults.at("transform.after")?;
                }
                Read::End(read) => {
                    self.begin(read.batch_id)?;
                    self.finish(read).await?;
                }
            }
        }
    }

    /// Begins a micro-batch, unless that has been done.
    fn begin(&mut self, batch_id: u64) -> Result<()> {
        if self.begun == Some(batch_id) {
            return Ok(());
        }
        self.begun = Some(batch_id);
        if let Some((_, watermarks)) = self.repeats.take_if(|(repeated, _)| *repeated == batch_id) {
            self.tracker.repeat(watermarks);
        }
        let Watermarks { late, used, .. } = self.tracker.current();
        let info = BatchInfo { batch_id, watermark: used, late };
        for step in &mut self.steps {
            step.transform.begin(&info).map_err(|e| in_step(&step.alias, e))?;
        }
        Ok(())
    }

    /// Sends batches that come out of `from` through all steps behind it, and what comes out at the end to the committer.
    async fn push(&mut self, batch_id: u64, from: Port, batches: Vec<Batch>) -> Result<()> {
        let mut waiting = vec![(from, batches)];
        while let Some((port, batches)) = waiting.pop() {
            if port == self.output {
                self.give(batch_id, batches.clone()).await?;
            }
            let behind = waiting.len();
            for at in 0..self.steps.len() {
                for input in 0..self.steps.get(at).map_or(0, |step| step.inputs.len()) {
                    let Some(step) = self.steps.get_mut(at) else { continue };
                    if step.inputs.get(input) != Some(&port) {
                        continue;
                    }
                    let mut next = Vec::with_capacity(batches.len());
                    for batch in &batches {
                        let Some(step) = self.steps.get_mut(at) else { continue };
                        let emitted = process(step, input, batch.clone()).await;
                        let Emitted { batches, rejected } = emitted.map_err(|e| in_step(&step.alias, e))?;
                        self.reject(batch_id, Stage::Transform, 0, rejected).await?;
                        next.extend(batches);
                    }
                    if !next.is_empty() {
                        // Before those that wait already: what came first is handled first.
                        waiting.insert(behind, (Port::Step(at), next));
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands rows to the committer, all at once: they are in memory in any case, and the next micro-batch is worked on
    /// while they are written.
    async fn give(&mut self, batch_id: u64, mut batches: Vec<Batch>) -> Result<()> {
        batches.retain(|batch| batch.num_rows() > 0);
        if batches.is_empty() {
            return Ok(());
        }
        let rows: usize = batches.iter().map(Batch::num_rows).sum();
        let weight = u32::try_from(rows).map_or(ROWS_WAITING, |rows| rows.min(ROWS_WAITING));
        let room = self.room.clone().acquire_many_owned(weight).await.map_err(|_| super::stage_ended())?;
        self.send(Work::Rows { batch_id, batches, room }).await
    }

    async fn finish(&mut self, read: BatchRead) -> Result<()> {
        let batch_id = read.batch_id;
        self.context.faults.at("finish.before")?;
        for at in 0..self.steps.len() {
            let Some(step) = self.steps.get_mut(at) else { continue };
            let emitted = step.transform.finish(batch_id).await.map_err(|e| in_step(&step.alias, e))?;
            self.reject(batch_id, Stage::Transform, 0, emitted.rejected).await?;
            if !emitted.batches.is_empty() {
                self.push(batch_id, Port::Step(at), emitted.batches).await?;
            }
        }
        // Encoded while the rows are written and the next micro-batch is worked on. One that is repeated has its state in
        // the checkpoint.
        let deltas = self.images(StateKind::Delta).await?;
        let deltas = Background::compute(encode(if read.repeated { Vec::new() } else { deltas }));
        let snapshot = match self.snapshot_due.swap(false, Ordering::AcqRel) {
            true => Some(Background::compute(encode(self.images(StateKind::Snapshot).await?))),
            false => None,
        };
        let seen: Vec<EventTime> = self.steps.iter().filter_map(|step| step.transform.event_time()).collect();
        let watermarks = self.tracker.finish(&seen);
        // The root comes first, as in Spark's progress.
        let stats = self.steps.iter().rev().filter_map(|step| step.transform.stats()).collect();
        let metrics = self.steps.iter().map(|step| (step.alias.clone(), step.transform.metrics()));
        let metrics = metrics.filter(|(_, of)| !of.is_empty()).map(|(alias, of)| (alias, of.into())).collect();
        self.context.faults.at("finish.after")?;
        let again = self.closes && watermarks.next > watermarks.used;
        let done = BatchDone { read, deltas, snapshot, stats, metrics, watermarks, seen };
        self.send(Work::End(Box::new(done))).await?;
        // The reader may have ended; then nobody waits for it.
        let _ = self.worked.send(Worked { batch_id: Some(batch_id), again });
        Ok(())
    }

    /// The state of the steps, by alias.
    async fn images(&mut self, kind: StateKind) -> Result<Vec<(String, StateImage)>> {
        let mut images = Vec::new();
        for step in self.steps.iter_mut().filter(|step| step.stateful) {
            let image = step.transform.checkpoint(kind).await.map_err(|e| in_step(&step.alias, e))?;
            images.extend(image.map(|image| (step.alias.clone(), image)));
        }
        Ok(images)
    }

    async fn reject(&mut self, batch_id: u64, stage: Stage, source: usize, rows: Vec<BadRow>) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        self.spec.bad_row_log.log(&self.context, &rows);
        if self.spec.tolerance == ErrorTolerance::None {
            return Err(refusal(first));
        }
        self.send(Work::Rejected { batch_id, stage, source, rows }).await
    }

    async fn send(&mut self, message: Work) -> Result<()> {
        self.out.send(message).await.map_err(|_| super::stage_ended())
    }
}

async fn encode(images: Vec<(String, StateImage)>) -> Result<Vec<StateEntry>> {
    let mut entries = Vec::with_capacity(images.len());
    for (alias, image) in images {
        let entry = encode_image(&alias, image).await;
        entries.push(entry.map_err(|e| in_step(&alias, e))?);
    }
    Ok(entries)
}

fn in_step(alias: &str, error: Error) -> Error {
    error.context(format!("transform '{alias}'"))
}

//! The second stage: runs the transforms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use levada_connector_api::{BadRow, Batch, Emitted, Error, Result, StateKind, TaskContext};
use tokio::sync::mpsc;

use super::messages::{BatchDone, BatchRead, Read, Work};
use super::plan::Step;
use crate::ErrorTolerance;
use crate::checkpoint::{StateEntry, encode_image};

pub(crate) struct Worker {
    pub(crate) steps: Vec<Step>,
    pub(crate) context: TaskContext,
    pub(crate) tolerance: ErrorTolerance,
    pub(crate) input: mpsc::Receiver<Read>,
    pub(crate) out: mpsc::Sender<Work>,
    /// Set by the committer when a new segment, and so all of the state, is due.
    pub(crate) snapshot_due: Arc<AtomicBool>,
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
                Read::Piece { batch_id, batches, rejected } => {
                    self.reject(batch_id, rejected).await?;
                    self.context.faults.at("transform.before")?;
                    self.push(batch_id, 0, batches).await?;
                    self.context.faults.at("transform.after")?;
                }
                Read::End(read) => self.finish(read).await?,
            }
        }
    }

    /// Sends batches through the steps from `from` on, and what comes out to the committer.
    async fn push(&mut self, batch_id: u64, from: usize, batches: Vec<Batch>) -> Result<()> {
        let mut current = batches;
        for at in from..self.steps.len() {
            let mut next = Vec::with_capacity(current.len());
            for batch in current {
                let Some(step) = self.steps.get_mut(at) else { continue };
                let emitted = step.transform.process(batch).await.map_err(|e| in_step(&step.alias, e))?;
                let Emitted { batches, rejected } = emitted;
                self.reject(batch_id, rejected).await?;
                next.extend(batches);
            }
            current = next;
        }
        for batch in current {
            if batch.num_rows() > 0 {
                self.send(Work::Rows { batch_id, batch }).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, read: BatchRead) -> Result<()> {
        let batch_id = read.batch_id;
        self.context.faults.at("finish.before")?;
        for at in 0..self.steps.len() {
            let Some(step) = self.steps.get_mut(at) else { continue };
            let emitted = step.transform.finish(batch_id).await.map_err(|e| in_step(&step.alias, e))?;
            self.reject(batch_id, emitted.rejected).await?;
            self.push(batch_id, at + 1, emitted.batches).await?;
        }
        let deltas = self.images(StateKind::Delta).await?;
        let snapshot = match self.snapshot_due.swap(false, Ordering::AcqRel) {
            true => Some(self.images(StateKind::Snapshot).await?),
            false => None,
        };
        let stats = self.steps.iter().filter_map(|step| step.transform.stats()).collect();
        self.context.faults.at("finish.after")?;
        self.send(Work::End(Box::new(BatchDone { read, deltas, snapshot, stats }))).await
    }

    async fn images(&mut self, kind: StateKind) -> Result<Vec<StateEntry>> {
        let mut entries = Vec::new();
        for step in self.steps.iter_mut().filter(|step| step.stateful) {
            let place = |e| in_step(&step.alias, e);
            if let Some(image) = step.transform.checkpoint(kind).await.map_err(place)? {
                entries.push(encode_image(&step.alias, &image).map_err(place)?);
            }
        }
        Ok(entries)
    }

    async fn reject(&mut self, batch_id: u64, rows: Vec<BadRow>) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        if self.tolerance == ErrorTolerance::None {
            return Err(Error::data(format!("{}: {}: {}", first.stage, first.position, first.reason))
                .hint("mend the input, or set errors.tolerance=all to send such rows to the dead letters"));
        }
        self.send(Work::Rejected { batch_id, rows }).await
    }

    async fn send(&mut self, message: Work) -> Result<()> {
        self.out.send(message).await.map_err(|_| super::stage_ended())
    }
}

fn in_step(alias: &str, error: Error) -> Error {
    error.context(format!("transform '{alias}'"))
}

//! Where bad rows go.

use async_trait::async_trait;

use crate::{BadRow, Result, TaskContext};

/// The part of a pipeline that could not handle a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The source could not decode it.
    Source,
    /// A transform could not work on it.
    Transform,
    /// The sink's target refused it.
    Sink,
}

/// A bad row on its way to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The row.
    pub row: BadRow,
    /// Who could not handle it.
    pub stage: Stage,
    /// The class of that plugin.
    pub class: String,
}

/// A queue for bad rows that lies outside of the pipeline: a topic.
///
/// # Call order
/// 1. [`open`](Self::open), once;
/// 2. for each micro-batch, ids rising: [`write`](Self::write), any number of times, then [`commit`](Self::commit);
///    a micro-batch that is given up is followed by the end of the task;
/// 3. [`close`](Self::close), once. A queue may also be dropped at any moment, as a killed process would.
///
/// # Contract
/// - When `commit` returns, the letters are durable. The runtime calls it before it commits the micro-batch to the sink,
///   and after the micro-batch's range is fixed: what follows a crash in between is the same micro-batch again.
/// - A micro-batch that is committed again with the same letters is there once. If its letters differ, as those of a sink
///   may, none may be lost, and some may be there twice.
#[async_trait]
pub trait DeadLetterQueue: Send {
    /// Opens the queue. `checkpoint` is the id of the task's checkpoint: ids of micro-batches and epochs mean something
    /// only together with it.
    async fn open(&mut self, context: &TaskContext, checkpoint: &str) -> Result<()>;

    /// Stages letters of micro-batch `batch_id`.
    async fn write(&mut self, batch_id: u64, letters: Vec<DeadLetter>) -> Result<()>;

    /// Makes the letters of the micro-batch durable. Called for each micro-batch, also without letters.
    async fn commit(&mut self, batch_id: u64) -> Result<()>;

    /// Releases everything.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

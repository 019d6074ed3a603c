//! Where rows go.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BadRow, Batch, Offsets, OutputMode, Result, TaskContext};

/// A sink: stages the rows of a micro-batch and makes all of them durable at once.
///
/// # Call order
/// 1. [`open`](Self::open), once;
/// 2. for each micro-batch, ids rising by one: [`write`](Self::write) any number of times, also never, then
///    [`prepare`](Self::prepare) and [`commit`](Self::commit), or [`abort`](Self::abort);
/// 3. [`close`](Self::close), once. A sink may also be dropped at any moment, as a killed process would.
///
/// # Contract
/// - Nothing that was written is visible before `commit` is called, unless the sink's guarantee is at least once.
/// - When `commit` returns `Ok`, the micro-batch is durable and survives a power cut. When it returns an error with the
///   verdict `Indeterminate`, it may be durable: the runtime opens a new sink and asks what it holds.
/// - A commit of a batch id that the sink already holds changes nothing, or gives the same result again.
/// - A commit with a lower epoch than one that the sink has seen fails as [`Fenced`](crate::ErrorKind::Fenced), if the
///   sink is transactional.
/// - After a crash between any two calls, a new sink that is opened, written and committed with the same rows leaves
///   the target as if the crash had not been.
#[async_trait]
pub trait Sink: Send {
    /// Opens the sink for rows of `schema`. What earlier runs have staged and not committed is discarded.
    ///
    /// A transactional sink answers with the last commit that it holds for this pipeline and task; others with `None`.
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>>;

    /// Stages rows of micro-batch `batch_id`.
    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()>;

    /// All rows of micro-batch `batch_id` have been written, and it is about to be committed.
    ///
    /// When the task tolerates bad rows ([`TaskContext::tolerant`]), a sink whose target may refuse rows finds out here
    /// which it refuses, leaves them out, and answers with them; the others are committed. What it answers with is made
    /// durable before `commit` is called.
    ///
    /// # Errors
    /// As for `write`: also a row that is refused, when the task does not tolerate it.
    async fn prepare(&mut self, batch_id: u64) -> Result<Vec<BadRow>> {
        let _ = batch_id;
        Ok(Vec::new())
    }

    /// Makes the micro-batch durable. In complete mode its rows replace everything before.
    async fn commit(&mut self, commit: &Commit) -> Result<()>;

    /// Forgets what was staged of `batch_id`.
    async fn abort(&mut self, batch_id: u64) -> Result<()>;

    /// Releases everything.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What is committed with a micro-batch's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The micro-batch.
    pub batch_id: u64,
    /// The run of the task that commits.
    pub epoch: u64,
    /// Where the source stands after the micro-batch: the partitions that it moved.
    pub offsets: Offsets,
}

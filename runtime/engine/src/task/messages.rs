//! What the stages of a task hand to each other.

use std::time::Duration;

use levada_connector_api::{BadRow, Batch, OffsetRanges, Offsets, StateStats};

use crate::checkpoint::StateEntry;

/// From the reader to the worker.
pub(crate) enum Read {
    /// Rows of the current micro-batch.
    Piece { batch_id: u64, batches: Vec<Batch>, rejected: Vec<BadRow> },
    /// The micro-batch is complete.
    End(BatchRead),
}

/// What the reader knows of a micro-batch.
#[derive(Debug)]
pub(crate) struct BatchRead {
    pub(crate) batch_id: u64,
    pub(crate) ranges: OffsetRanges,
    /// Whether the checkpoint has its record already: the batch is being repeated.
    pub(crate) repeated: bool,
    pub(crate) timestamp_ms: i64,
    pub(crate) rows: u64,
    pub(crate) reading: Duration,
    pub(crate) started: std::time::Instant,
}

/// From the worker to the committer.
pub(crate) enum Work {
    /// Rows for the sink.
    Rows { batch_id: u64, batch: Batch },
    /// Rows for the dead letters.
    Rejected { batch_id: u64, rows: Vec<BadRow> },
    /// The micro-batch is complete.
    End(Box<BatchDone>),
}

/// What the worker knows of a micro-batch.
pub(crate) struct BatchDone {
    pub(crate) read: BatchRead,
    /// What the batch changed in the state.
    pub(crate) deltas: Vec<StateEntry>,
    /// All of the state, when a new segment is due.
    pub(crate) snapshot: Option<Vec<StateEntry>>,
    pub(crate) stats: Vec<StateStats>,
}

/// From the committer to the reader: everything before these offsets is durable.
pub(crate) struct Committed {
    pub(crate) offsets: Offsets,
    pub(crate) rows: u64,
    pub(crate) took: Duration,
}

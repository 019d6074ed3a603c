//! The records of a checkpoint log: a line of JSON, then the state's bytes.

use bytes::Bytes;
use levada_connector_api::{Error, OffsetRanges, Offsets, Result, StateKind};
use serde::{Deserialize, Serialize};

use super::frame;

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// Everything up to a batch, at the start of a segment.
    Snapshot(Snapshot),
    /// A run of the task begins.
    Start(Start),
    /// A batch is fixed: which rows it is, and what it changes.
    Prepare(Prepared),
    /// A batch is history.
    Commit {
        /// The micro-batch.
        batch_id: u64,
        /// The run that committed it.
        epoch: u64,
    },
    /// Nothing follows in this segment: the next one is about to be made. Whoever finds it must make that one, and only
    /// one can.
    Seal {
        /// The run that sealed it.
        epoch: u64,
    },
}

/// Everything up to a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The pipeline's id, made when the checkpoint was.
    pub id: String,
    /// The pipeline's name then.
    pub pipeline: String,
    /// The last run that had begun.
    pub epoch: u64,
    /// The last batch that is in it.
    pub batch_id: Option<u64>,
    /// Where the source stood after it.
    pub offsets: Offsets,
    /// Its watermarks.
    #[serde(default)]
    pub watermarks: Watermarks,
    /// How the work was split then.
    #[serde(default)]
    pub layout: Layout,
    /// The state after it.
    pub state: Vec<StateEntry>,
}

/// How a pipeline's partitions are spread over its tasks. Generation 0: they never were, task 0 has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Rises each time the work is split anew.
    pub generation: u64,
    /// Over how many tasks.
    pub tasks: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self { generation: 0, tasks: 1 }
    }
}

/// A run of the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The run's number: higher than every one before.
    pub epoch: u64,
    /// The run's id in progress events.
    pub run_id: String,
    /// When, in milliseconds since the epoch.
    pub timestamp: i64,
}

/// A batch that is fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Whether it is durable before the sink's commit begins. The first field: [`frame`](super::frame) looks for it. Without
    /// it the record outlives the process, but not the machine: enough where a batch may reach the sink twice.
    pub flushed: bool,
    /// The micro-batch.
    pub batch_id: u64,
    /// The run that prepared it.
    pub epoch: u64,
    /// When its reading began, in milliseconds since the epoch.
    pub timestamp: i64,
    /// Rows read.
    pub rows: u64,
    /// Which offsets it covers.
    pub ranges: OffsetRanges,
    /// Its watermarks.
    #[serde(default)]
    pub watermarks: Watermarks,
    /// What it changes in the state.
    pub state: Vec<StateEntry>,
}

/// The watermarks of a batch, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watermarks {
    /// What the batch before closed: rows behind it are late.
    pub late: i64,
    /// What the batch closes.
    pub used: i64,
    /// What the next batch closes.
    pub next: i64,
}

/// The state of one transform, or a change of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The transform's alias.
    pub transform: String,
    /// Whether it is all of the state.
    pub snapshot: bool,
    /// What must be equal for it to fit.
    pub fingerprint: String,
    /// Its state partitions, in the order of their bytes.
    pub sections: Vec<SectionEntry>,
    /// The sections' bytes, one after the other: Arrow IPC streams. Not part of the JSON.
    #[serde(skip)]
    pub data: Bytes,
}

impl StateEntry {
    pub(crate) fn kind(&self) -> StateKind {
        if self.snapshot { StateKind::Snapshot } else { StateKind::Delta }
    }

    fn length(&self) -> usize {
        self.sections.iter().map(|section| section.bytes as usize).sum()
    }
}

/// Where the state of one state partition lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SectionEntry {
    /// The state partition.
    pub partition: u32,
    /// Its rows.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Record {
    fn state(&self) -> &[StateEntry] {
        match self {
            Self::Snapshot(snapshot) => &snapshot.state,
            Self::Prepare(prepared) => &prepared.state,
            Self::Start(_) | Self::Commit { .. } | Self::Seal { .. } => &[],
        }
    }

    fn state_mut(&mut self) -> &mut [StateEntry] {
        match self {
            Self::Snapshot(snapshot) => &mut snapshot.state,
            Self::Prepare(prepared) => &mut prepared.state,
            Self::Start(_) | Self::Commit { .. } | Self::Seal { .. } => &mut [],
        }
    }

    /// The record with its frame, in parts: a line of JSON, then the state's bytes.
    pub(crate) fn encode(&self) -> Result<Vec<Bytes>> {
        let mut line = serde_json::to_vec(self)
            .map_err(|e| Error::internal(format!("a checkpoint record cannot be written: {e}")))?;
        line.push(b'\n');
        frame::encode(&line, self.state().iter().map(|entry| entry.data.clone()).collect())
    }

    /// Reads a record's bytes.
    pub(crate) fn decode(name: &str, payload: &Bytes) -> Result<Self> {
        let damaged = |what: String| Error::corrupt(format!("{name}: {what}"));
        let line = payload
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| damaged("a record without its first line".to_owned()))?;
        let mut record: Self = serde_json::from_slice(payload.get(..line).unwrap_or_default())
            .map_err(|e| damaged(format!("a record that cannot be read: {e}")))?;
        let mut at = line + 1;
        for entry in record.state_mut() {
            let end = at.saturating_add(entry.length());
            if end > payload.len() {
                return Err(damaged(format!("the state of '{}' is cut short", entry.transform)));
            }
            entry.data = payload.slice(at..end);
            at = end;
        }
        Ok(record)
    }
}

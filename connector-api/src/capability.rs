//! What plugins declare about themselves, so that a chain is checked before it runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What of the result a micro-batch hands to the sink (Spark's output modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// New rows only; a row once given never changes.
    Append,
    /// Rows that changed since the last micro-batch.
    Update,
    /// The whole result, every time.
    Complete,
}

impl OutputMode {
    /// All of them, for definitions and messages.
    pub const NAMES: [&'static str; 3] = ["append", "update", "complete"];

    /// The mode's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Update => "update",
            Self::Complete => "complete",
        }
    }
}

impl fmt::Display for OutputMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutputMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "append" => Ok(Self::Append),
            "update" => Ok(Self::Update),
            "complete" => Ok(Self::Complete),
            _ => Err(format!("'{text}' is no output mode: use append, update or complete")),
        }
    }
}

/// What a sink promises about a micro-batch that is committed again after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Batch id, epoch and offsets are stored with the data in one transaction; [`Sink::open`](crate::Sink::open)
    /// answers with them. Exactly once with a replayable source: a micro-batch that the sink does not hold is read again.
    Transactional,
    /// Writing the same micro-batch again gives the same result. Exactly once with a replayable source.
    Idempotent,
    /// A micro-batch may be seen twice after a crash.
    AtLeastOnce,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transactional => "exactly once (transactional)",
            Self::Idempotent => "exactly once (idempotent)",
            Self::AtLeastOnce => "at least once",
        })
    }
}

/// What a source can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceCapabilities {
    /// The same range of offsets gives the same rows in the same order, also in another process.
    pub replayable: bool,
    /// The source ends: it may answer [`PollStatus::End`](crate::PollStatus::End) without an `until`.
    pub bounded: bool,
}

/// What a sink can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkCapabilities {
    /// What it promises.
    pub guarantee: Guarantee,
    /// The output modes that it can show.
    pub modes: &'static [OutputMode],
}

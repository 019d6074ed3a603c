//! Rows on their way through a pipeline, and where they came from.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;

/// Names of the reserved columns: where a record came from, beside the user's own columns.
pub mod columns {
    /// An undecoded payload.
    pub const VALUE: &str = "value";
    /// The record's key.
    pub const KEY: &str = "_key";
    /// The topic, or what is like one.
    pub const TOPIC: &str = "_topic";
    /// The partition of the topic.
    pub const PARTITION: &str = "_partition";
    /// The offset in the partition.
    pub const OFFSET: &str = "_offset";
    /// The record's own time.
    pub const TIMESTAMP: &str = "_timestamp";
    /// What kind of time that is.
    pub const TIMESTAMP_TYPE: &str = "_timestamp_type";
    /// The record's headers.
    pub const HEADERS: &str = "_headers";
    /// In a change stream: insert, update or delete.
    pub const OP: &str = "_op";
}

/// A piece of a micro-batch: columns, and where they came from.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The columns.
    pub rows: RecordBatch,
    /// Where the rows came from, for error messages.
    pub origin: Origin,
}

impl Batch {
    /// Rows whose origin is not known.
    pub fn new(rows: RecordBatch) -> Self {
        Self { rows, origin: Origin::unknown() }
    }

    /// Rows with their origin.
    pub fn with_origin(rows: RecordBatch, origin: Origin) -> Self {
        Self { rows, origin }
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// The memory behind the columns, in bytes.
    pub fn bytes(&self) -> usize {
        self.rows.get_array_memory_size()
    }
}

/// Where the rows of a [`Batch`] came from, at the cost of one shared string a batch.
#[derive(Debug, Clone)]
pub struct Origin {
    label: Option<Arc<str>>,
    unit: &'static str,
    first: Option<u64>,
}

impl Origin {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Self { label: None, unit: "row", first: None }
    }

    /// Row `i` of the batch is `unit` number `first + i` of `label`: `Origin::exact("people.csv", "line", 2)`.
    pub fn exact(label: impl Into<Arc<str>>, unit: &'static str, first: u64) -> Self {
        Self { label: Some(label.into()), unit, first: Some(first) }
    }

    /// The rows are from `label`, but not one by one: after a filter, for example.
    pub fn near(label: impl Into<Arc<str>>) -> Self {
        Self { label: Some(label.into()), unit: "row", first: None }
    }

    /// The same origin for rows that are no longer one to one.
    pub fn blurred(&self) -> Self {
        Self { label: self.label.clone(), unit: "row", first: None }
    }

    /// The same origin for a slice that begins at `offset`.
    pub fn sliced(&self, offset: usize) -> Self {
        Self { first: self.first.map(|first| first + offset as u64), ..self.clone() }
    }

    /// The place of row `row` of the batch, for messages.
    pub fn of(&self, row: usize) -> String {
        match (&self.label, self.first) {
            (Some(label), Some(first)) => format!("{label}, {} {}", self.unit, first + row as u64),
            (Some(label), None) => format!("{label}, row {row} of a batch"),
            (None, _) => format!("row {row} of a batch"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.label, self.first) {
            (Some(label), Some(first)) => write!(f, "{label}, from {} {first}", self.unit),
            (Some(label), None) => f.write_str(label),
            (None, _) => f.write_str("unknown origin"),
        }
    }
}

/// A row that left the pipeline because it could not be decoded, transformed or written.
///
/// What becomes of it is the user's choice (`errors.tolerance`): the task fails with its place, or it goes to the dead
/// letters and the good rows go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Why, in one line.
    pub reason: String,
    /// Where in the pipeline: `source`, a transform's alias, or `sink`.
    pub stage: String,
    /// Where the row came from: `people.csv, line 3`, or topic-partition-offset.
    pub position: String,
    /// The row as it was read; where it is no longer at hand, the row as JSON.
    pub raw: Vec<u8>,
}

//! Rows on their way through a pipeline, and where they came from.

use arrow::array::RecordBatch;

use crate::{Origin, Record, json};

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

    /// Row `row` as one that could not be handled at `stage`.
    pub fn bad_row(&self, row: usize, stage: impl Into<String>, reason: impl Into<String>) -> BadRow {
        BadRow {
            reason: reason.into(),
            stage: stage.into(),
            position: self.origin.of(row),
            raw: self.json(row),
            record: self.origin.record(row).map(Box::new),
        }
    }

    /// A row as JSON; nothing if a column's type has no form in it.
    fn json(&self, row: usize) -> Vec<u8> {
        if row >= self.num_rows() {
            return Vec::new();
        }
        let mut line = Vec::new();
        if json::write_lines(&self.rows.slice(row, 1), &mut line).is_err() {
            return Vec::new();
        }
        line.truncate(line.trim_ascii_end().len());
        line
    }

    /// The memory behind the columns, in bytes.
    pub fn bytes(&self) -> usize {
        self.rows.get_array_memory_size()
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
    /// The record that it came from, byte for byte, where the source keeps it.
    pub record: Option<Box<Record>>,
}

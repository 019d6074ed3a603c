//! Columns of text without a string for each cell.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use levada_connector_api::{Error, Result};

/// A column of text that is being written: the bytes of all cells, and where each ends.
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Text {
    /// A column with room for `rows` cells of `width` bytes.
    pub(super) fn with_capacity(rows: usize, width: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(rows * width), offsets }
    }

    /// The cell ends after what was written to `bytes`.
    pub(super) fn end(&mut self) -> Result<()> {
        let end =
            i32::try_from(self.bytes.len()).map_err(|_| Error::internal("more than 2 GiB of text in a column"))?;
        self.offsets.push(end);
        Ok(())
    }

    /// A whole cell.
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.bytes.extend_from_slice(text.as_bytes());
        self.end()
    }

    /// A cell of a prefix and a number with leading zeros.
    pub(super) fn push_number(&mut self, prefix: &str, number: u64, width: usize) -> Result<()> {
        self.bytes.extend_from_slice(prefix.as_bytes());
        self.digits(number, width);
        self.end()
    }

    /// Appends a number with leading zeros; one that is wider than `width` is written whole.
    pub(super) fn digits(&mut self, mut number: u64, width: usize) {
        let start = self.bytes.len();
        while number > 0 || self.bytes.len() - start < width.max(1) {
            self.bytes.push(b'0' + (number % 10) as u8);
            number /= 10;
        }
        if let Some(digits) = self.bytes.get_mut(start..) {
            digits.reverse();
        }
    }

    /// The number of cells.
    pub(super) fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The column.
    pub(super) fn finish(self) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None)?))
    }
}

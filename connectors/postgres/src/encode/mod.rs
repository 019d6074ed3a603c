//! Columns to binary COPY.
//!
//! Each column is brought into its binary form by a loop of its own, then the forms are dealt out to the rows: two passes
//! over a chunk of rows that fits into the processor's cache, and no call a cell.

mod array;
mod cells;
mod keys;
mod numbers;
mod numeric;
mod text;
mod time;

use arrow::array::{Array as _, ArrayRef};
use bytes::Bytes;

use self::cells::Cells;
pub(crate) use self::keys::Keys;
use crate::types::Wire;

/// What stands before the first row.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands after the last row.
pub(crate) const TRAILER: &[u8] = &(-1i16).to_be_bytes();
/// How many bytes a chunk aims at: enough for one message to be worth its while, little enough for the cache.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNK_ROWS: usize = 4096;

/// A value that its column cannot hold.
#[derive(Debug)]
pub(crate) struct BadCell {
    /// The row, from 0.
    pub(crate) row: usize,
    /// Why not.
    pub(crate) reason: String,
}

/// The same with its column.
#[derive(Debug)]
pub(crate) struct BadValue {
    pub(crate) column: usize,
    pub(crate) row: usize,
    pub(crate) reason: String,
}

/// A column's form.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) wire: Wire,
    /// Null is refused here, where the row is known.
    pub(crate) not_null: bool,
    /// The type's name, for messages.
    pub(crate) type_name: String,
}

/// How many rows of `columns` make a chunk.
pub(crate) fn chunk_rows(columns: &[ArrayRef], rows: usize) -> usize {
    // A slice counts for what it shows, not for the buffers that it shares.
    let shown = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_buffer_memory_size())
    };
    let bytes: usize = columns.iter().map(shown).sum();
    (CHUNK_BYTES / (bytes / rows.max(1)).max(1)).clamp(1, CHUNK_ROWS)
}

/// The rows of `columns`, which are of equal length, one after the other. Their keys are added to `keys`.
///
/// # Errors
/// A value does not fit its column.
pub(crate) fn encode(
    targets: &[Target],
    columns: &[ArrayRef],
    rows: usize,
    mut keys: Option<&mut Keys>,
) -> Result<Bytes, BadValue> {
    let mut cells = Vec::with_capacity(columns.len());
    for (at, (target, column)) in targets.iter().zip(columns).enumerate() {
        let bad = |cell: BadCell| BadValue { column: at, row: cell.row, reason: cell.reason };
        let made = Cells::new(&target.wire, column, &target.type_name).map_err(bad)?;
        if target.not_null
            && let Some(row) = made.first_null()
        {
            return Err(BadValue { column: at, row, reason: "null, and the column is NOT NULL".to_owned() });
        }
        cells.push(made);
    }
    // Each row: the number of its fields, then each field's length and bytes.
    let mut ends = vec![2usize; rows];
    for column in &cells {
        column.add_lengths(&mut ends);
    }
    let mut total = 0;
    for end in &mut ends {
        // From the row's length to its beginning.
        let length = *end;
        *end = total;
        total += length;
    }
    let mut out = vec![0u8; total];
    let fields = (columns.len() as i16).to_be_bytes();
    for at in &mut ends {
        cells::put(&mut out, at, fields);
    }
    let starts = keys.as_ref().map(|_| ends.clone());
    for (at, column) in cells.iter().enumerate() {
        column.deal(&mut ends, &mut out);
        if let (Some(keys), Some(starts)) = (&mut keys, &starts)
            && at + 1 == keys.columns
        {
            for (start, end) in starts.iter().zip(&ends) {
                keys.add(out.get(*start..*end).unwrap_or_default());
            }
        }
    }
    Ok(out.into())
}

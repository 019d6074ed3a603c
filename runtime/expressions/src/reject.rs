//! Rows that could not be evaluated.

use levada_connector_api::{BadRow, Batch};

/// The bad rows of `batch` for the dead letters.
pub fn bad_rows(stage: &str, batch: &Batch, bad: Vec<(usize, String)>) -> Vec<BadRow> {
    bad.into_iter().map(|(row, reason)| batch.bad_row(row, stage, reason)).collect()
}

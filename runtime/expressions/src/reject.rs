//! Rows that could not be evaluated.

use arrow::json::LineDelimitedWriter;
use levada_connector_api::{BadRow, Batch};

/// The bad rows of `batch` for the dead letters.
pub fn bad_rows(stage: &str, batch: &Batch, bad: Vec<(usize, String)>) -> Vec<BadRow> {
    bad.into_iter()
        .map(|(row, reason)| BadRow {
            reason,
            stage: stage.to_owned(),
            position: batch.origin.of(row),
            raw: json(batch, row),
        })
        .collect()
}

/// A row as JSON; nothing if a column's type has no form in it.
fn json(batch: &Batch, row: usize) -> Vec<u8> {
    if row >= batch.num_rows() {
        return Vec::new();
    }
    let mut writer = LineDelimitedWriter::new(Vec::new());
    if writer.write(&batch.rows.slice(row, 1)).and_then(|()| writer.finish()).is_err() {
        return Vec::new();
    }
    let mut json = writer.into_inner();
    json.truncate(json.trim_ascii_end().len());
    json
}

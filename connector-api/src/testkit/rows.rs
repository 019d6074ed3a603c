//! Rows for tests, and rows as text that can be compared.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Ten rows of numbers, texts and nulls, which follow from the seed.
///
/// # Panics
/// Never.
pub fn sample_rows(seed: u64) -> RecordBatch {
    let base = seed as i64 * 100;
    let numbers = Int64Array::from_iter_values(base..base + 10);
    let texts = StringArray::from_iter_values((0..10).map(|i| format!("row {i}, \"{seed}\" é")));
    let shares = Float64Array::from_iter((0..10).map(|i| (i % 3 > 0).then_some(f64::from(i) / 4.0)));
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(numbers) as _, true),
        ("s", Arc::new(texts) as _, true),
        ("x", Arc::new(shares) as _, true),
    ])
    .unwrap()
}

/// The rows, one text each, like JSON: `{"word": "a", "count": 1, "price": null}`.
///
/// Two rows have the same text when their columns have the same names and show the same values; how a string is laid
/// out in memory does not count.
///
/// # Panics
/// A column is of a type that Arrow cannot show.
pub fn canonical_rows(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<_> = rows
        .schema_ref()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)
                .unwrap_or_else(|e| panic!("column '{}' cannot be shown: {e}", field.name()));
            (quoted(field.name()), column.as_ref(), formatter)
        })
        .collect();
    (0..rows.num_rows())
        .map(|row| {
            let cells: Vec<_> = columns
                .iter()
                .map(|(name, column, formatter)| match text(*column, row) {
                    Some(text) => format!("{name}: {}", quoted(text)),
                    None => format!("{name}: {}", formatter.value(row)),
                })
                .collect();
            format!("{{{}}}", cells.join(", "))
        })
        .collect()
}

fn text(column: &dyn Array, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(column.as_string_view().value(row)),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The rows of all batches, in order.
pub(super) fn all_rows<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<String> {
    batches.into_iter().flat_map(canonical_rows).collect()
}

/// Panics with `rule` and the first difference unless both are equal.
pub(super) fn assert_same(rule: &str, expected: &[String], found: &[String]) {
    if expected == found {
        return;
    }
    let at = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let show = |rows: &[String]| rows.get(at).cloned().unwrap_or_else(|| "nothing".to_owned());
    panic!(
        "{rule}: {} rows expected, {} found; at row {at} expected {}, found {}",
        expected.len(),
        found.len(),
        show(expected),
        show(found)
    );
}

//! Event times in columns.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;

/// When rows with an event time are over: at it, or at the end of a window. Never for null. In microseconds.
pub(crate) fn closing_times(column: &ArrayRef) -> Vec<i64> {
    let ends = column.as_struct_opt().and_then(|window| window.columns().get(1));
    let times = ends.unwrap_or(column).as_primitive_opt::<TimestampMicrosecondType>();
    let time = |row: usize| match times {
        Some(times) if column.is_valid(row) && times.is_valid(row) => times.value(row),
        _ => i64::MAX,
    };
    (0..column.len()).map(time).collect()
}

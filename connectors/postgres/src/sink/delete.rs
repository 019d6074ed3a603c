//! Which rows delete.

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use levada_connector_api::Origin;

use super::plan::Plan;
use crate::encode::BadCell;

/// Whether each row deletes: `_op` says so, or it is a tombstone: all values are null. Where the source tells which records
/// had no value, a row of one that had is none: its fields may be null, unknown or of another type.
///
/// # Errors
/// An operation is not known; or it, or a tombstone, deletes while that is not enabled.
pub(crate) fn deletes(
    plan: &Plan,
    op: Option<&ArrayRef>,
    arrays: &[ArrayRef],
    origin: &Origin,
    enabled: bool,
) -> Result<BooleanArray, BadCell> {
    let rows = arrays.first().map_or(0, |array| array.len());
    let nothing_is_null =
        || arrays.iter().zip(&plan.items).any(|(array, item)| !item.key && array.logical_null_count() == 0);
    if op.is_none() && nothing_is_null() {
        return Ok(BooleanArray::from(vec![false; rows]));
    }
    let text = op.map(|op| cast(op, &DataType::Utf8)).transpose();
    let text = text.map_err(|_| BadCell { row: 0, reason: "_op is no text".to_owned() })?;
    let text = text.as_ref().map(|text| text.as_string::<i32>());
    let values: Vec<_> =
        arrays.iter().zip(&plan.items).filter(|(_, item)| !item.key).map(|(array, _)| array.logical_nulls()).collect();
    let is_empty = |row: usize| values.iter().all(|nulls| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)));
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let op = text.filter(|text| text.is_valid(row)).map(|text| text.value(row));
        let delete = match op {
            Some("d" | "D" | "delete" | "DELETE") if !enabled => {
                let reason = "_op is delete, and delete.enabled is false; set it, with insert.mode upsert, or filter such \
                              rows out";
                return Err(BadCell { row, reason: reason.to_owned() });
            }
            Some("d" | "D" | "delete" | "DELETE") => true,
            Some("c" | "r" | "u" | "i" | "C" | "R" | "U" | "I") => false,
            Some(
                "create" | "read" | "update" | "insert" | "upsert" | "CREATE" | "READ" | "UPDATE" | "INSERT" | "UPSERT",
            ) => false,
            Some(other) => {
                let reason = format!("_op '{other}' is not known: use c, r, u or d");
                return Err(BadCell { row, reason });
            }
            None if !enabled && is_empty(row) && origin.is_tombstone(row) == Some(true) => {
                let reason = "the message has no value: it is a tombstone, which deletes its key; set delete.enabled with \
                              insert.mode upsert and pk.mode record_key, or filter such rows out";
                return Err(BadCell { row, reason: reason.to_owned() });
            }
            None => enabled && is_empty(row) && origin.is_tombstone(row).unwrap_or(!values.is_empty()),
        };
        out.push(delete);
    }
    Ok(out.into())
}

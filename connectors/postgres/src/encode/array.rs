//! Arrays of one dimension.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::DataType;

use super::BadCell;
use super::cells::{Cells, Pieces, Values, converted};
use crate::types::{Wire, list_element};

pub(super) fn array(array: &ArrayRef, element: &Wire, oid: u32, type_name: &str) -> Result<Values, BadCell> {
    let lists = match (array.data_type(), list_element(array.data_type())) {
        (DataType::List(_), _) | (_, None) => array.clone(),
        (_, Some(field)) => converted(array, &DataType::List(Arc::new(field.clone())))?,
    };
    let lists = lists.as_list::<i32>();
    let offsets = lists.value_offsets();
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let elements = lists.values().slice(first as usize, (last - first) as usize);
    // A fault in an element is a fault of the list that holds it.
    let holder = |cell: BadCell| {
        let at = first + cell.row as i32;
        let row = offsets.partition_point(|offset| *offset <= at).saturating_sub(1);
        BadCell { row, reason: format!("in its elements: {}", cell.reason) }
    };
    let cells = Cells::new(element, &elements, type_name.trim_end_matches("[]")).map_err(holder)?;
    // All elements, each with its length before it: first where each begins, then their bytes.
    let mut starts = vec![0usize; elements.len()];
    cells.add_lengths(&mut starts);
    let mut total = 0;
    for start in &mut starts {
        total += std::mem::replace(start, total);
    }
    let mut bytes = vec![0u8; total];
    let mut ats = starts.clone();
    cells.deal(&mut ats, &mut bytes);
    starts.push(total);
    let mut pieces = Pieces::with_capacity(array.len(), array.len() * 20 + total);
    for (start, end) in offsets.iter().zip(offsets.iter().skip(1)) {
        let (start, end) = ((start - first) as usize, (end - first) as usize);
        let length = (end - start) as i32;
        let nulls = cells.has_null(start, end);
        let out = &mut pieces.data;
        // The number of dimensions, whether there are nulls, the type, then each dimension's length and first index.
        out.extend_from_slice(&i32::from(length > 0).to_be_bytes());
        out.extend_from_slice(&i32::from(nulls).to_be_bytes());
        out.extend_from_slice(&oid.to_be_bytes());
        if length > 0 {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&1i32.to_be_bytes());
            let (from, to) = (starts.get(start).copied().unwrap_or(total), starts.get(end).copied().unwrap_or(total));
            out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        }
        pieces.end();
    }
    Ok(Values::Owned(pieces))
}

//! Lines in lower case.

use arrow::array::{Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use levada_connector_api::{Error, Result};

/// The lines in lower case, by Unicode's rules.
///
/// What a letter becomes may depend on its neighbours (a final sigma), but not beyond white space: so whole lines may be
/// lowered before they are split.
///
/// # Errors
/// The lines are longer than one array may be: some letters take more bytes in lower case.
pub(super) fn lower_case(lines: &StringArray) -> Result<StringArray> {
    let (first, last) = match lines.value_offsets() {
        [first, .., last] => (*first as usize, *last as usize),
        _ => return Ok(lines.clone()),
    };
    let bytes = lines.value_data().get(first..last).unwrap_or_default();
    if !bytes.is_ascii() {
        return lower_unicode(lines);
    }
    let lowered = bytes.to_ascii_lowercase();
    let lengths = lines.value_offsets().windows(2).map(|pair| match pair {
        [start, end] => (end - start) as usize,
        _ => 0,
    });
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(StringArray::try_new(offsets, Buffer::from_vec(lowered), lines.nulls().cloned())?)
}

fn lower_unicode(lines: &StringArray) -> Result<StringArray> {
    let lowered: Vec<Option<String>> = lines.iter().map(|line| line.map(str::to_lowercase)).collect();
    let bytes: usize = lowered.iter().flatten().map(String::len).sum();
    if i32::try_from(bytes).is_err() {
        return Err(Error::data("lines in lower case take more than 2 GiB").hint("set a lower batch.max.bytes"));
    }
    Ok(StringArray::from(lowered))
}

//! Text, bytes, UUIDs and JSON.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray, LargeBinaryArray};
use arrow::datatypes::{DataType, Field};
use arrow::json::writer::{EncoderOptions, make_encoder};

use super::BadCell;
use super::cells::{Pieces, Values, converted, shown};

/// The array as text: itself, or each value as it is shown, nested ones as JSON.
fn as_text(array: &ArrayRef) -> Result<ArrayRef, BadCell> {
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => Ok(array.clone()),
        _ => converted(array, &DataType::Utf8),
    }
}

fn whole(array: &ArrayRef) -> Values {
    match array.data_type() {
        DataType::LargeUtf8 => Values::Large(LargeBinaryArray::from(array.as_string::<i64>().clone())),
        DataType::Utf8 => Values::Small(BinaryArray::from(array.as_string::<i32>().clone())),
        DataType::LargeBinary => Values::Large(array.as_binary::<i64>().clone()),
        _ => Values::Small(array.as_binary::<i32>().clone()),
    }
}

pub(super) fn text(array: &ArrayRef) -> Result<Values, BadCell> {
    if array.data_type().is_nested() {
        return json(array, None);
    }
    let texts = as_text(array)?;
    let values = whole(&texts);
    // One look over all bytes; what a slice leaves out or a null hides may be among them.
    let data = match &values {
        Values::Small(values) => values.values().as_slice(),
        Values::Large(values) => values.values().as_slice(),
        _ => &[],
    };
    if memchr::memchr(0, data).is_some() {
        for row in 0..texts.len() {
            let value = match texts.data_type() {
                DataType::LargeUtf8 => texts.as_string::<i64>().value(row),
                _ => texts.as_string::<i32>().value(row),
            };
            if texts.is_valid(row) && value.contains('\0') {
                let shown: String = value.chars().take(40).collect();
                let reason = format!(
                    "{shown:?} holds a NUL character, which Postgres's text cannot hold; take it out with a Select, \
                     such as replace(name, char(0), '') AS name, or make the column bytea"
                );
                return Err(BadCell { row, reason });
            }
        }
    }
    Ok(values)
}

pub(super) fn bytes(array: &ArrayRef) -> Result<Values, BadCell> {
    Ok(match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => whole(array),
        _ => whole(&converted(array, &DataType::Binary)?),
    })
}

pub(super) fn uuid(array: &ArrayRef) -> Result<Values, BadCell> {
    let bad = |row| BadCell { row, reason: format!("{} is no UUID", shown(array, row)) };
    let mut out = Vec::with_capacity(array.len());
    if matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let texts = converted(array, &DataType::Utf8)?;
        for (row, text) in texts.as_string::<i32>().iter().enumerate() {
            match text.map(uuid::Uuid::try_parse) {
                Some(Ok(uuid)) => out.push(uuid.into_bytes()),
                Some(Err(_)) => return Err(bad(row)),
                None => out.push([0; 16]),
            }
        }
    } else {
        let raw = converted(array, &DataType::Binary)?;
        for (row, bytes) in raw.as_binary::<i32>().iter().enumerate() {
            match bytes.map(<[u8; 16]>::try_from) {
                Some(Ok(uuid)) => out.push(uuid),
                Some(Err(_)) => return Err(bad(row)),
                None => out.push([0; 16]),
            }
        }
    }
    Ok(Values::Sixteen(out))
}

/// Text is JSON already; anything else becomes it. `version` stands before each value of `jsonb`.
pub(super) fn json(array: &ArrayRef, version: Option<u8>) -> Result<Values, BadCell> {
    if matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let values = text(array)?;
        let Some(version) = version else { return Ok(values) };
        let texts = converted(array, &DataType::LargeUtf8)?;
        let texts = texts.as_string::<i64>();
        let mut pieces = Pieces::with_capacity(texts.len(), texts.value_data().len() + texts.len());
        for value in texts {
            pieces.data.push(version);
            pieces.data.extend_from_slice(value.unwrap_or_default().as_bytes());
            pieces.end();
        }
        return Ok(Values::Owned(pieces));
    }
    let field = Arc::new(Field::new("", array.data_type().clone(), true));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array.as_ref(), &options)
        .map_err(|e| BadCell { row: 0, reason: format!("it cannot be written as JSON: {e}") })?;
    let mut pieces = Pieces::with_capacity(array.len(), array.len() * 32);
    for row in 0..array.len() {
        if array.is_valid(row) {
            pieces.data.extend(version);
            encoder.encode(row, &mut pieces.data);
        }
        pieces.end();
    }
    Ok(Values::Owned(pieces))
}

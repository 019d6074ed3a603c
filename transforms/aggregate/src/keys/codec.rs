//! Rows of key columns as bytes: equal rows, and only they, have equal bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, make_array};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use levada_connector_api::{Error, Result};

use crate::accumulate::canonical;

/// One NaN, and zero without a sign, also inside structs and arrays.
fn normal(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        ty if !has_floats(ty) => values.clone(),
        DataType::Struct(fields) => {
            let own = values.as_struct();
            let columns = own.columns().iter().map(normal).collect();
            match StructArray::try_new_with_length(fields.clone(), columns, own.nulls().cloned(), own.len()) {
                Ok(array) => Arc::new(array),
                Err(_) => values.clone(),
            }
        }
        DataType::List(field) => {
            let own = values.as_list::<i32>();
            let (offsets, nulls) = (own.offsets().clone(), own.nulls().cloned());
            match ListArray::try_new(field.clone(), offsets, normal(own.values()), nulls) {
                Ok(array) => Arc::new(array),
                Err(_) => values.clone(),
            }
        }
        _ => canonical(values),
    }
}

fn has_floats(ty: &DataType) -> bool {
    match ty {
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(item) => has_floats(item.data_type()),
        ty => ty.is_floating(),
    }
}

/// One NaN; zeros keep their signs.
fn one_nan(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let tidy = |v: f32| if v.is_nan() { f32::NAN } else { v };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(tidy))
        }
        DataType::Float64 => {
            let tidy = |v: f64| if v.is_nan() { f64::NAN } else { v };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(tidy))
        }
        _ => values.clone(),
    }
}

/// How many bytes stand before the key of a group in time: its window's start.
pub(crate) const PREFIX: usize = 8;

/// How a column is written.
enum Column {
    /// A null flag and that many bytes.
    Fixed(usize),
    /// One byte.
    Boolean,
    /// A length, 0 for null and one more otherwise, and the bytes: strings and binaries.
    Bytes,
    /// The same with Arrow's row format: everything else.
    Rows(Box<RowConverter>),
}

/// Writes key columns as bytes and reads them back.
pub(crate) struct KeyCodec {
    columns: Vec<(Column, DataType)>,
    prefixed: bool,
    /// Whether zeros with a sign are others than those without.
    signed_zeros: bool,
}

/// The keys of the rows of a batch.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    /// The keys, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let key = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            key
        })
    }
}

fn broken() -> Error {
    Error::internal("a key's bytes are cut short")
}

impl KeyCodec {
    /// For columns of these types, with or without a prefix.
    pub(crate) fn new(types: &[DataType], prefixed: bool) -> Result<Self> {
        let column = |ty: &DataType| {
            let column = match ty {
                DataType::Boolean => Column::Boolean,
                DataType::Utf8 | DataType::Binary => Column::Bytes,
                ty => match ty.primitive_width() {
                    Some(width) => Column::Fixed(width),
                    None => {
                        let fields = vec![SortField::new(ty.clone())];
                        Column::Rows(Box::new(RowConverter::new(fields)?))
                    }
                },
            };
            Ok((column, ty.clone()))
        };
        Ok(Self { columns: types.iter().map(column).collect::<Result<_>>()?, prefixed, signed_zeros: false })
    }

    /// The same, for which -0.0 and 0.0 are two: so Spark compares the keys of deduplications, but not those of groups.
    pub(crate) fn with_signed_zeros(self) -> Self {
        Self { signed_zeros: true, ..self }
    }

    /// Writes rows. `prefix` has a number for each row when there is a prefix.
    pub(crate) fn encode(&self, prefix: &[i64], values: &[ArrayRef], rows: usize) -> Result<Encoded> {
        let normal = |values: &ArrayRef| if self.signed_zeros { one_nan(values) } else { normal(values) };
        let values: Vec<ArrayRef> = values.iter().map(normal).collect();
        let mut fixed = if self.prefixed { PREFIX } else { 0 };
        let mut lengths: Vec<usize> = Vec::new();
        let mut converted = Vec::with_capacity(self.columns.len());
        for ((column, _), array) in self.columns.iter().zip(&values) {
            let mut own = None;
            match column {
                Column::Fixed(width) => fixed += 1 + width,
                Column::Boolean => fixed += 1,
                Column::Bytes => {
                    fixed += 4;
                    lengths.resize(rows, 0);
                    let (offsets, nulls) = (offsets(array), array.nulls().filter(|nulls| nulls.null_count() > 0));
                    for (row, (length, ends)) in lengths.iter_mut().zip(offsets.windows(2)).enumerate() {
                        let valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
                        if let ([start, end], true) = (ends, valid) {
                            *length += (end - start) as usize;
                        }
                    }
                }
                Column::Rows(converter) => {
                    fixed += 4;
                    lengths.resize(rows, 0);
                    let rows = converter.convert_columns(std::slice::from_ref(array))?;
                    lengths.iter_mut().zip(&rows).for_each(|(length, row)| *length += row.as_ref().len());
                    own = Some(rows);
                }
            }
            converted.push(own);
        }
        let mut ends = Vec::with_capacity(rows);
        let mut total = 0;
        for row in 0..rows {
            total += fixed + lengths.get(row).copied().unwrap_or(0);
            ends.push(total);
        }
        let mut bytes = vec![0u8; total];
        let mut cursors: Vec<usize> = std::iter::once(0).chain(ends.iter().copied()).take(rows).collect();
        if self.prefixed {
            for (cursor, prefix) in cursors.iter_mut().zip(prefix) {
                put(&mut bytes, cursor, &prefix.to_le_bytes());
            }
        }
        for (((column, _), array), own) in self.columns.iter().zip(&values).zip(&converted) {
            write(column, array, own.as_ref(), &mut bytes, &mut cursors)?;
        }
        Ok(Encoded { bytes, ends })
    }

    /// Reads keys back as columns, without their prefixes.
    pub(crate) fn decode(&self, keys: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let mut cursors = vec![if self.prefixed { PREFIX } else { 0 }; keys.len()];
        self.columns.iter().map(|(column, ty)| read(column, ty, keys, &mut cursors)).collect()
    }
}

fn offsets(array: &ArrayRef) -> &[i32] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value_offsets(),
        _ => array.as_string::<i32>().value_offsets(),
    }
}

fn contents(array: &ArrayRef) -> &[u8] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value_data(),
        _ => array.as_string::<i32>().value_data(),
    }
}

#[inline]
fn put(bytes: &mut [u8], cursor: &mut usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(*cursor..*cursor + value.len()) {
        place.copy_from_slice(value);
    }
    *cursor += value.len();
}

fn write(
    column: &Column,
    array: &ArrayRef,
    rows: Option<&arrow::row::Rows>,
    bytes: &mut [u8],
    cursors: &mut [usize],
) -> Result<()> {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let valid = |row| nulls.is_none_or(|nulls: &NullBuffer| nulls.is_valid(row));
    match column {
        Column::Fixed(width) => {
            let data = array.to_data();
            let raw = data.buffers().first().map_or(&[][..], Buffer::as_slice);
            let raw = raw.get(data.offset() * width..).ok_or_else(broken)?;
            for (row, (cursor, value)) in cursors.iter_mut().zip(raw.chunks_exact(*width)).enumerate() {
                if valid(row) {
                    put(bytes, cursor, &[1]);
                    put(bytes, cursor, value);
                } else {
                    *cursor += 1 + width;
                }
            }
        }
        Column::Boolean => {
            let values = array.as_boolean();
            for (row, cursor) in cursors.iter_mut().enumerate() {
                put(bytes, cursor, &[if values.is_valid(row) { 1 + u8::from(values.value(row)) } else { 0 }]);
            }
        }
        Column::Bytes => {
            let (offsets, contents) = (offsets(array), contents(array));
            for (row, (cursor, ends)) in cursors.iter_mut().zip(offsets.windows(2)).enumerate() {
                let value = match ends {
                    [start, end] if valid(row) => contents.get(*start as usize..*end as usize),
                    _ => None,
                };
                match value {
                    Some(value) => {
                        put(bytes, cursor, &(value.len() as u32 + 1).to_le_bytes());
                        put(bytes, cursor, value);
                    }
                    None => *cursor += 4,
                }
            }
        }
        Column::Rows(_) => {
            let rows = rows.ok_or_else(|| Error::internal("a key column was not converted"))?;
            for (cursor, row) in cursors.iter_mut().zip(rows) {
                put(bytes, cursor, &(row.as_ref().len() as u32 + 1).to_le_bytes());
                put(bytes, cursor, row.as_ref());
            }
        }
    }
    Ok(())
}

/// The next bytes of a key.
fn take<'a>(key: &'a [u8], cursor: &mut usize, length: usize) -> Result<&'a [u8]> {
    let value = key.get(*cursor..*cursor + length).ok_or_else(broken)?;
    *cursor += length;
    Ok(value)
}

/// The next bytes of a key whose length stands before them; `None` is null.
fn take_counted<'a>(key: &'a [u8], cursor: &mut usize) -> Result<Option<&'a [u8]>> {
    let length = take(key, cursor, 4)?.try_into().map(u32::from_le_bytes).map_err(|_| broken())?;
    match length.checked_sub(1) {
        Some(length) => take(key, cursor, length as usize).map(Some),
        None => Ok(None),
    }
}

fn read(column: &Column, ty: &DataType, keys: &[&[u8]], cursors: &mut [usize]) -> Result<ArrayRef> {
    let places = keys.iter().zip(cursors);
    match column {
        Column::Fixed(width) => {
            let mut values = MutableBuffer::with_capacity(keys.len() * width);
            let mut valid = Vec::with_capacity(keys.len());
            for (key, cursor) in places {
                valid.push(take(key, cursor, 1)? == [1]);
                values.extend_from_slice(take(key, cursor, *width)?);
            }
            let nulls = NullBuffer::from(valid);
            let data = ArrayData::builder(ty.clone())
                .len(keys.len())
                .add_buffer(values.into())
                .nulls((nulls.null_count() > 0).then_some(nulls));
            Ok(make_array(data.build()?))
        }
        Column::Boolean => {
            let mut values = Vec::with_capacity(keys.len());
            for (key, cursor) in places {
                values.push(match take(key, cursor, 1)? {
                    [0] => None,
                    [value] => Some(*value == 2),
                    _ => return Err(broken()),
                });
            }
            Ok(Arc::new(BooleanArray::from(values)))
        }
        Column::Bytes => {
            let mut values: Vec<Option<&[u8]>> = Vec::with_capacity(keys.len());
            for (key, cursor) in places {
                values.push(take_counted(key, cursor)?);
            }
            let binary = arrow::array::BinaryArray::from_iter(values);
            match ty {
                DataType::Binary => Ok(Arc::new(binary)),
                // The bytes were a string's when they were written.
                _ => arrow::compute::cast(&binary, &DataType::Utf8).map_err(Error::from),
            }
        }
        Column::Rows(converter) => {
            let parser = converter.parser();
            let mut rows = Vec::with_capacity(keys.len());
            for (key, cursor) in places {
                rows.push(parser.parse(take_counted(key, cursor)?.unwrap_or_default()));
            }
            let mut columns = converter.convert_rows(rows)?;
            columns.pop().ok_or_else(broken)
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn keys_of_all_kinds_come_back() {
        let lists = vec![Some(vec![Some(1)]), None, Some(vec![])];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![Some(1), None, Some(-3)])),
            Arc::new(StringArray::from(vec![Some("a"), Some(""), None])),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            Arc::new(Decimal128Array::from(vec![Some(12), None, Some(-1)]).with_precision_and_scale(20, 2).unwrap()),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ];
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        for prefixed in [false, true] {
            let codec = KeyCodec::new(&types, prefixed).unwrap();
            // A slice, so that offsets are not 0.
            let sliced: Vec<ArrayRef> = columns.iter().map(|column| column.slice(1, 2)).collect();
            for (columns, rows) in [(&columns, 3), (&sliced, 2)] {
                let encoded = codec.encode(&[7; 3][..rows], columns, rows).unwrap();
                let keys: Vec<&[u8]> = encoded.iter().collect();
                assert_eq!(keys.len(), rows);
                for (read, written) in codec.decode(&keys).unwrap().iter().zip(columns) {
                    assert_eq!(read, written);
                }
            }
        }
    }

    #[test]
    fn what_spark_holds_equal_is_equal() {
        let codec = KeyCodec::new(&[DataType::Float64], false).unwrap();
        let odd = f64::from_bits(f64::NAN.to_bits() | 1);
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, odd, -f64::NAN]));
        let encoded = codec.encode(&[], &[values], 5).unwrap();
        let keys: Vec<&[u8]> = encoded.iter().collect();
        assert!(keys[0] == keys[1] && keys[2] == keys[3] && keys[3] == keys[4] && keys[1] != keys[2]);
    }

    #[test]
    fn null_is_not_the_empty_string() {
        let codec = KeyCodec::new(&[DataType::Utf8, DataType::Utf8], false).unwrap();
        let a: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), Some("ab"), Some("a")]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some(""), Some("b")]));
        let encoded = codec.encode(&[], &[a, b], 4).unwrap();
        let keys: std::collections::BTreeSet<&[u8]> = encoded.iter().collect();
        assert_eq!(keys.len(), 4);
    }
}

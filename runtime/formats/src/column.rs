//! Column builders: one enum instead of a trait object, so that a decoder's inner loop has no dynamic calls, and with
//! truncation, so that a half-written row can be taken back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, ListArray, MapArray, NullArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use levada_connector_api::{Error, Result};

use crate::ddl::type_name;
use crate::json::Record;

/// Which rows are valid. Nothing is stored before the first null.
#[derive(Default)]
pub(crate) struct Nulls {
    bits: Vec<u8>,
}

impl Nulls {
    /// Appends row `index`.
    #[inline(always)]
    pub(crate) fn push(&mut self, index: usize, valid: bool) {
        if !self.bits.is_empty() || !valid {
            self.push_slow(index, valid);
        }
    }

    #[inline(never)]
    fn push_slow(&mut self, index: usize, valid: bool) {
        if self.bits.is_empty() {
            self.bits.resize(index.div_ceil(8), 0xff);
            self.mask_last(index);
        }
        if index.is_multiple_of(8) {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u8::from(valid) << (index % 8);
        }
    }

    fn mask_last(&mut self, len: usize) {
        if let Some(last) = self.bits.last_mut().filter(|_| !len.is_multiple_of(8)) {
            *last &= (1 << (len % 8)) - 1;
        }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if !self.bits.is_empty() {
            self.bits.truncate(len.div_ceil(8));
            self.mask_last(len);
        }
    }

    pub(crate) fn is_null(&self, index: usize) -> bool {
        self.bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 0)
    }

    pub(crate) fn finish(&mut self, len: usize) -> Option<NullBuffer> {
        let bits = std::mem::take(&mut self.bits);
        (!bits.is_empty()).then(|| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, len)))
    }
}

/// Texts or byte strings, one after the other.
pub(crate) struct Bytes {
    offsets: Vec<i32>,
    data: Vec<u8>,
}

impl Bytes {
    fn new() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
        self.close();
    }

    /// Appends a value that is the start of `padded`, if that is known: copying a fixed length is one instruction.
    #[inline(always)]
    pub(crate) fn push_short(&mut self, bytes: &[u8], padded: Option<&[u8; 16]>) {
        match padded {
            Some(padded) if bytes.len() <= padded.len() => {
                let end = self.data.len() + bytes.len();
                self.data.extend_from_slice(padded);
                self.data.truncate(end);
                self.close();
            }
            _ => self.push(bytes),
        }
    }

    /// Ends a value whose bytes were written to [`Self::data`].
    #[inline(always)]
    pub(crate) fn close(&mut self) {
        // `finish` refuses a buffer for which this was cut.
        self.offsets.push(i32::try_from(self.data.len()).unwrap_or(i32::MAX));
    }

    pub(crate) fn data(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.data.truncate(last_offset(&self.offsets));
    }

    fn finish(&mut self) -> Result<(OffsetBuffer<i32>, Buffer)> {
        if i32::try_from(self.data.len()).is_err() {
            return Err(Error::data("a text column of one batch is longer than 2 GiB").hint("poll smaller batches"));
        }
        let data = take(&mut self.data);
        Ok((take_offsets(&mut self.offsets), Buffer::from_vec(data)))
    }
}

fn last_offset(offsets: &[i32]) -> usize {
    offsets.last().map_or(0, |offset| usize::try_from(*offset).unwrap_or(0))
}

/// Takes the values and leaves room for as many, since the next batch is likely of the same size.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn take_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut room = Vec::with_capacity(offsets.len());
    room.push(0);
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, room)))
}

/// The values of a column. A null has some value too.
pub(crate) enum Values {
    Null,
    Boolean(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    TimestampNtz(Vec<i64>),
    Utf8(Bytes),
    Binary(Bytes),
    List { offsets: Vec<i32>, items: Box<Column> },
    Map { offsets: Vec<i32>, keys: Box<Column>, values: Box<Column> },
    Struct(Record),
}

/// A column under construction.
pub(crate) struct Column {
    pub(crate) data_type: DataType,
    pub(crate) values: Values,
    pub(crate) nulls: Nulls,
    pub(crate) len: usize,
}

impl Column {
    /// A builder for `data_type`, or an error that names the type if no text format can fill it.
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        let values = match data_type {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Values::Decimal(Vec::new(), *precision, *scale),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Values::Timestamp(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Values::TimestampNtz(Vec::new()),
            DataType::Utf8 => Values::Utf8(Bytes::new()),
            DataType::Binary => Values::Binary(Bytes::new()),
            DataType::List(item) => Values::List { offsets: vec![0], items: Box::new(Self::new(item.data_type())?) },
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) => match pair.as_ref() {
                    [key, value] if key.data_type() == &DataType::Utf8 => Values::Map {
                        offsets: vec![0],
                        keys: Box::new(Self::new(key.data_type())?),
                        values: Box::new(Self::new(value.data_type())?),
                    },
                    _ => return Err(unsupported(data_type).hint("the keys of a map are STRING")),
                },
                _ => return Err(unsupported(data_type)),
            },
            DataType::Struct(fields) => Values::Struct(Record::new(fields)?),
            _ => return Err(unsupported(data_type)),
        };
        Ok(Self { data_type: data_type.clone(), values, nulls: Nulls::default(), len: 0 })
    }

    /// Counts a value that was just pushed.
    #[inline(always)]
    pub(crate) fn accept(&mut self) {
        self.nulls.push(self.len, true);
        self.len += 1;
    }

    pub(crate) fn append_null(&mut self) {
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(v) => v.push(false),
            Values::Int8(v) => v.push(0),
            Values::Int16(v) => v.push(0),
            Values::Int32(v) | Values::Date(v) => v.push(0),
            Values::Int64(v) | Values::Timestamp(v) | Values::TimestampNtz(v) => v.push(0),
            Values::Float32(v) => v.push(0.0),
            Values::Float64(v) => v.push(0.0),
            Values::Decimal(v, ..) => v.push(0),
            Values::Utf8(v) | Values::Binary(v) => v.push(b""),
            Values::List { offsets, .. } | Values::Map { offsets, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
            }
            Values::Struct(record) => record.columns.iter_mut().for_each(Self::append_null),
        }
        self.nulls.push(self.len, false);
        self.len += 1;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len <= len {
            return;
        }
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(v) => v.truncate(len),
            Values::Int8(v) => v.truncate(len),
            Values::Int16(v) => v.truncate(len),
            Values::Int32(v) | Values::Date(v) => v.truncate(len),
            Values::Int64(v) | Values::Timestamp(v) | Values::TimestampNtz(v) => v.truncate(len),
            Values::Float32(v) => v.truncate(len),
            Values::Float64(v) => v.truncate(len),
            Values::Decimal(v, ..) => v.truncate(len),
            Values::Utf8(v) | Values::Binary(v) => v.truncate(len),
            Values::List { offsets, items } => {
                offsets.truncate(len + 1);
                items.truncate(last_offset(offsets));
            }
            Values::Map { offsets, keys, values } => {
                offsets.truncate(len + 1);
                keys.truncate(last_offset(offsets));
                values.truncate(last_offset(offsets));
            }
            Values::Struct(record) => record.truncate(len),
        }
        self.nulls.truncate(len);
        self.len = len;
    }

    /// Takes back what a row wrote below this column without finishing its value: items without an offset.
    pub(crate) fn trim(&mut self) {
        match &mut self.values {
            Values::List { offsets, items } => {
                items.truncate(last_offset(offsets));
                items.trim();
            }
            Values::Map { offsets, keys, values } => {
                keys.truncate(last_offset(offsets));
                values.truncate(last_offset(offsets));
                values.trim();
            }
            Values::Struct(record) => record.truncate(self.len),
            Values::Utf8(v) | Values::Binary(v) => v.truncate(self.len),
            _ => {}
        }
    }

    /// The array of all values. The column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let len = std::mem::take(&mut self.len);
        let nulls = self.nulls.finish(len);
        Ok(match &mut self.values {
            Values::Null => Arc::new(NullArray::new(len)),
            Values::Boolean(v) => {
                let array = BooleanArray::new(BooleanBuffer::from(v.as_slice()), nulls);
                v.clear();
                Arc::new(array)
            }
            Values::Int8(v) => primitive::<Int8Type>(v, nulls)?,
            Values::Int16(v) => primitive::<Int16Type>(v, nulls)?,
            Values::Int32(v) => primitive::<Int32Type>(v, nulls)?,
            Values::Int64(v) => primitive::<Int64Type>(v, nulls)?,
            Values::Float32(v) => primitive::<Float32Type>(v, nulls)?,
            Values::Float64(v) => primitive::<Float64Type>(v, nulls)?,
            Values::Date(v) => primitive::<Date32Type>(v, nulls)?,
            Values::Timestamp(v) | Values::TimestampNtz(v) => {
                let array = PrimitiveArray::<TimestampMicrosecondType>::try_new(take(v).into(), nulls)?;
                Arc::new(array.with_data_type(self.data_type.clone()))
            }
            Values::Decimal(v, precision, scale) => {
                Arc::new(Decimal128Array::try_new(take(v).into(), nulls)?.with_precision_and_scale(*precision, *scale)?)
            }
            Values::Utf8(v) => {
                let (offsets, data) = v.finish()?;
                Arc::new(StringArray::try_new(offsets, data, nulls)?)
            }
            Values::Binary(v) => {
                let (offsets, data) = v.finish()?;
                Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
            }
            Values::List { offsets, items } => {
                let DataType::List(item) = &self.data_type else { return Err(broken()) };
                Arc::new(ListArray::try_new(item.clone(), take_offsets(offsets), items.finish()?, nulls)?)
            }
            Values::Map { offsets, keys, values } => {
                let DataType::Map(entries, sorted) = &self.data_type else { return Err(broken()) };
                let DataType::Struct(pair) = entries.data_type() else { return Err(broken()) };
                let pairs = StructArray::try_new(pair.clone(), vec![keys.finish()?, values.finish()?], None)?;
                Arc::new(MapArray::try_new(entries.clone(), take_offsets(offsets), pairs, nulls, *sorted)?)
            }
            Values::Struct(record) => {
                let DataType::Struct(fields) = &self.data_type else { return Err(broken()) };
                Arc::new(struct_array(fields.clone(), record.finish()?, nulls, len)?)
            }
        })
    }
}

/// A struct array, also without fields.
pub(crate) fn struct_array(
    fields: Fields,
    columns: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    len: usize,
) -> Result<StructArray> {
    if fields.is_empty() {
        return Ok(StructArray::new_empty_fields(len, nulls));
    }
    Ok(StructArray::try_new(fields, columns, nulls)?)
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(ScalarBuffer::from(take(values)), nulls)?))
}

fn unsupported(data_type: &DataType) -> Error {
    Error::config(format!("the type {} cannot be read from text", type_name(data_type)))
}

fn broken() -> Error {
    Error::internal("a column builder does not match its type")
}

/// `field` with everything in it nullable, as Spark makes the schemas of permissive readers. Map keys stay non-null.
pub(crate) fn nullable(field: &Field) -> Field {
    field.clone().with_nullable(true).with_data_type(nullable_type(field.data_type()))
}

fn nullable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(Arc::new(nullable(item))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| nullable(f)).collect()),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) => {
                let pair: Fields = pair
                    .iter()
                    .enumerate()
                    .map(|(i, f)| if i == 0 { f.as_ref().clone() } else { nullable(f) })
                    .collect();
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(pair));
                DataType::Map(Arc::new(entries), *sorted)
            }
            _ => data_type.clone(),
        },
        _ => data_type.clone(),
    }
}

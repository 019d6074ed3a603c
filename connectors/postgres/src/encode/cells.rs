//! A column in its binary form.

use arrow::array::{Array as _, ArrayRef, BinaryArray, GenericBinaryArray, LargeBinaryArray, OffsetSizeTrait};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::{BadCell, array, numbers, numeric, text, time};
use crate::types::Wire;

const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// The values, and which of them are null.
pub(super) struct Cells {
    pub(super) nulls: Option<NullBuffer>,
    pub(super) values: Values,
    pub(super) rows: usize,
}

/// Values as the server wants them. What stands under a null means nothing.
pub(super) enum Values {
    One(Vec<[u8; 1]>),
    Two(Vec<[u8; 2]>),
    Four(Vec<[u8; 4]>),
    Eight(Vec<[u8; 8]>),
    Sixteen(Vec<[u8; 16]>),
    Small(BinaryArray),
    Large(LargeBinaryArray),
    Owned(Pieces),
    /// All are null.
    Nothing,
}

/// Values of any length, one after the other.
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) data: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    /// What was appended to `data` since the last call is a value.
    pub(super) fn end(&mut self) {
        self.ends.push(self.data.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| self.data.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
    }
}

/// Writes `bytes` at `at` and moves it on. There is room: the lengths were added up before.
pub(super) fn put<const N: usize>(out: &mut [u8], at: &mut usize, bytes: [u8; N]) {
    debug_assert!(*at + N <= out.len());
    if let Some(place) = out.get_mut(*at..*at + N) {
        place.copy_from_slice(&bytes);
    }
    *at += N;
}

fn put_field(out: &mut [u8], at: &mut usize, bytes: &[u8]) {
    put(out, at, (bytes.len() as i32).to_be_bytes());
    debug_assert!(*at + bytes.len() <= out.len());
    if let Some(place) = out.get_mut(*at..*at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    *at += bytes.len();
}

impl Cells {
    /// The values of `array` in the form `wire`; `type_name` is for messages.
    ///
    /// # Errors
    /// The first value that the column cannot hold.
    pub(super) fn new(wire: &Wire, array: &ArrayRef, type_name: &str) -> Result<Self, BadCell> {
        let rows = array.len();
        let array = match array.data_type() {
            DataType::Null => return Ok(Self { nulls: None, values: Values::Nothing, rows }),
            DataType::Dictionary(_, value) => &converted(array, value)?,
            DataType::RunEndEncoded(_, values) => &converted(array, values.data_type())?,
            _ => array,
        };
        let values = match wire {
            Wire::Bool => numbers::bool(array)?,
            Wire::Int2 | Wire::Int4 | Wire::Int8 => numbers::int(wire, array, type_name)?,
            Wire::Float4 | Wire::Float8 => numbers::float(wire, array)?,
            Wire::Numeric => numeric::numeric(array)?,
            Wire::Text | Wire::Cast => text::text(array)?,
            Wire::Bytea => text::bytes(array)?,
            Wire::Date => time::date(array)?,
            Wire::Time => time::time(array)?,
            Wire::Timestamp => time::timestamp(array)?,
            Wire::Interval => time::interval(array)?,
            Wire::Uuid => text::uuid(array)?,
            Wire::Json => text::json(array, None)?,
            Wire::Jsonb => text::json(array, Some(1))?,
            Wire::Array(element, oid) => array::array(array, element, *oid, type_name)?,
        };
        Ok(Self { nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0), values, rows })
    }

    /// The first row that is null.
    pub(super) fn first_null(&self) -> Option<usize> {
        match (&self.values, &self.nulls) {
            (Values::Nothing, _) => (self.rows > 0).then_some(0),
            (_, Some(nulls)) => (0..nulls.len()).find(|row| nulls.is_null(*row)),
            (_, None) => None,
        }
    }

    /// Whether a row from `start` to before `end` is null.
    pub(super) fn has_null(&self, start: usize, end: usize) -> bool {
        match (&self.values, &self.nulls) {
            (Values::Nothing, _) => start < end,
            (_, Some(nulls)) => (start..end).any(|row| nulls.is_null(row)),
            (_, None) => false,
        }
    }

    /// Adds the length of each value, with its header, to its row's.
    pub(super) fn add_lengths(&self, lengths: &mut [usize]) {
        match &self.values {
            Values::One(_) => self.add_fixed(1, lengths),
            Values::Two(_) => self.add_fixed(2, lengths),
            Values::Four(_) => self.add_fixed(4, lengths),
            Values::Eight(_) => self.add_fixed(8, lengths),
            Values::Sixteen(_) => self.add_fixed(16, lengths),
            Values::Nothing => lengths.iter_mut().for_each(|length| *length += 4),
            Values::Small(values) => self.add_each(offset_lengths(values), lengths),
            Values::Large(values) => self.add_each(offset_lengths(values), lengths),
            Values::Owned(pieces) => self.add_each(pieces.iter().map(<[u8]>::len), lengths),
        }
    }

    fn add_fixed(&self, width: usize, lengths: &mut [usize]) {
        match &self.nulls {
            None => lengths.iter_mut().for_each(|length| *length += 4 + width),
            Some(nulls) => {
                lengths.iter_mut().zip(nulls.iter()).for_each(|(length, valid)| {
                    *length += 4 + if valid { width } else { 0 };
                });
            }
        }
    }

    fn add_each(&self, each: impl Iterator<Item = usize>, lengths: &mut [usize]) {
        match &self.nulls {
            None => lengths.iter_mut().zip(each).for_each(|(length, own)| *length += 4 + own),
            Some(nulls) => {
                for ((length, own), valid) in lengths.iter_mut().zip(each).zip(nulls.iter()) {
                    *length += 4 + if valid { own } else { 0 };
                }
            }
        }
    }

    /// Writes each value where its row stands, and moves the row on.
    pub(super) fn deal(&self, ats: &mut [usize], out: &mut [u8]) {
        match &self.values {
            Values::One(values) => self.deal_fixed::<1, 5>(values, ats, out),
            Values::Two(values) => self.deal_fixed::<2, 6>(values, ats, out),
            Values::Four(values) => self.deal_fixed::<4, 8>(values, ats, out),
            Values::Eight(values) => self.deal_fixed::<8, 12>(values, ats, out),
            Values::Sixteen(values) => self.deal_fixed::<16, 20>(values, ats, out),
            Values::Nothing => ats.iter_mut().for_each(|at| put(out, at, NULL)),
            Values::Small(values) => self.deal_each(binary_values(values), ats, out),
            Values::Large(values) => self.deal_each(binary_values(values), ats, out),
            Values::Owned(pieces) => self.deal_each(pieces.iter(), ats, out),
        }
    }

    /// `M` is `N` and the four bytes of the length: one write a value.
    fn deal_fixed<const N: usize, const M: usize>(&self, values: &[[u8; N]], ats: &mut [usize], out: &mut [u8]) {
        let field = |value: &[u8; N]| {
            let mut field = [0u8; M];
            let (length, rest) = field.split_at_mut(4);
            length.copy_from_slice(&(N as i32).to_be_bytes());
            rest.copy_from_slice(value);
            field
        };
        match &self.nulls {
            None => ats.iter_mut().zip(values).for_each(|(at, value)| put(out, at, field(value))),
            Some(nulls) => {
                for ((at, value), valid) in ats.iter_mut().zip(values).zip(nulls.iter()) {
                    if valid { put(out, at, field(value)) } else { put(out, at, NULL) }
                }
            }
        }
    }

    fn deal_each<'a>(&self, values: impl Iterator<Item = &'a [u8]>, ats: &mut [usize], out: &mut [u8]) {
        match &self.nulls {
            None => ats.iter_mut().zip(values).for_each(|(at, value)| put_field(out, at, value)),
            Some(nulls) => {
                for ((at, value), valid) in ats.iter_mut().zip(values).zip(nulls.iter()) {
                    if valid { put_field(out, at, value) } else { put(out, at, NULL) }
                }
            }
        }
    }
}

fn offset_lengths<O: OffsetSizeTrait>(values: &GenericBinaryArray<O>) -> impl Iterator<Item = usize> + '_ {
    values.offsets().lengths()
}

fn binary_values<O: OffsetSizeTrait>(values: &GenericBinaryArray<O>) -> impl Iterator<Item = &[u8]> {
    let data = values.values().as_slice();
    let starts = values.value_offsets();
    starts
        .iter()
        .zip(starts.iter().skip(1))
        .map(move |(start, end)| data.get(start.as_usize()..end.as_usize()).unwrap_or_default())
}

/// The array as `to`, where every value has a counterpart.
///
/// # Errors
/// The first value that has none.
pub(super) fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, BadCell> {
    let new = cast(array, to).map_err(|e| BadCell { row: 0, reason: e.to_string() })?;
    if new.logical_null_count() > array.logical_null_count() {
        let (before, after) = (array.logical_nulls(), new.logical_nulls());
        let null = |nulls: &Option<NullBuffer>, row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let row = (0..array.len()).find(|row| null(&after, *row) && !null(&before, *row)).unwrap_or_default();
        return Err(BadCell { row, reason: format!("{} is out of range", shown(array, row)) });
    }
    Ok(new)
}

/// A value for messages.
pub(super) fn shown(array: &ArrayRef, row: usize) -> String {
    arrow::util::display::array_value_to_string(array, row).unwrap_or_else(|_| "the value".to_owned())
}

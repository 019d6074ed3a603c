//! One value of any type a group: the first, the last, the largest, or the one that goes with the largest.
//!
//! Values are kept in Arrow's row format, whose bytes have the order of the values.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use levada_connector_api::{Error, Result};

use super::{Accumulator, column, counting, same};

/// Which value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    First,
    FirstValid,
    Last,
    LastValid,
    Largest,
    Smallest,
}

/// Values and their bytes.
pub(super) struct Coder {
    converter: RowConverter,
    pub(super) ty: DataType,
    signed: bool,
}

impl Coder {
    pub(super) fn new(ty: &DataType) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(ty.clone())])?;
        Ok(Self { converter, ty: ty.clone(), signed: false })
    }

    /// The same, but zeros with and without a sign are two values.
    pub(super) fn signed(ty: &DataType) -> Result<Self> {
        Ok(Self { signed: true, ..Self::new(ty)? })
    }

    pub(super) fn rows(&self, values: &ArrayRef) -> Result<arrow::row::Rows> {
        let values = if self.signed { without_nans(values) } else { canonical(values) };
        self.converter.convert_columns(&[values]).map_err(Error::from)
    }

    pub(super) fn array<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(values.map(|bytes| parser.parse(bytes)))?;
        columns.pop().ok_or_else(|| Error::internal("a row has no column"))
    }

    /// The bytes of null.
    pub(super) fn null(&self) -> Result<Box<[u8]>> {
        let rows = self.rows(&arrow::array::new_null_array(&self.ty, 1))?;
        Ok(rows.row(0).as_ref().into())
    }
}

/// One NaN, and zero without a sign: what Spark holds to be equal has equal bytes.
pub fn canonical(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let tidy = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(tidy)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let tidy = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(tidy)) as Arc<Float64Array>
        }
        _ => values.clone(),
    }
}

/// One NaN.
fn without_nans(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => {
            let tidy = |v: f32| if v.is_nan() { f32::NAN } else { v };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(tidy)) as Arc<Float32Array>
        }
        DataType::Float64 => {
            let tidy = |v: f64| if v.is_nan() { f64::NAN } else { v };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(tidy)) as Arc<Float64Array>
        }
        _ => values.clone(),
    }
}

/// What is kept of a group: the value, and what it was chosen by.
type Kept = Option<(Box<[u8]>, Option<Box<[u8]>>)>;

/// One value a group.
pub(super) struct Chosen {
    value: Coder,
    by: Option<Coder>,
    choice: Choice,
    null: Box<[u8]>,
    held: Vec<Kept>,
    bytes: usize,
}

impl Chosen {
    pub(super) fn new(value: &DataType, by: Option<&DataType>, choice: Choice) -> Result<Self> {
        let value = Coder::new(value)?;
        let null = value.null()?;
        Ok(Self { value, by: by.map(Coder::new).transpose()?, choice, null, held: Vec::new(), bytes: 0 })
    }

    /// Whether a later value takes the place of the one that is kept.
    fn replaces(&self, kept: &Kept, value: &[u8], by: Option<&[u8]>) -> bool {
        let Some((held, held_by)) = kept else { return true };
        match (self.choice, by, held_by.as_deref()) {
            (Choice::First | Choice::FirstValid, ..) => false,
            (Choice::Last | Choice::LastValid, ..) => true,
            // Of equals the later one, as Spark does.
            (Choice::Largest, Some(by), Some(held)) => by >= held,
            (Choice::Smallest, Some(by), Some(held)) => by <= held,
            (Choice::Largest, ..) => *value > **held,
            (Choice::Smallest, ..) => *value < **held,
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Chosen {
    fn put(&mut self, group: usize, kept: Kept) {
        let size =
            |kept: &Kept| kept.as_ref().map_or(0, |(value, by)| value.len() + by.as_ref().map_or(0, |by| by.len()));
        self.bytes = self.bytes + size(&kept) - size(&self.held[group]);
        self.held[group] = kept;
    }

    fn see(&mut self, group: usize, value: &[u8], by: Option<&[u8]>) {
        if self.replaces(&self.held[group], value, by) {
            self.put(group, Some((value.into(), by.map(Into::into))));
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Chosen {
    fn grow(&mut self, groups: usize) {
        self.held.resize(groups, None);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let first = column(values, 0)?;
        let rows = self.value.rows(first)?;
        let by = match &self.by {
            Some(coder) => Some(coder.rows(column(values, 1)?)?),
            None => None,
        };
        // Which nulls do not count: those of what is compared, and those that are to be ignored.
        let nulls = match (self.choice, values.get(1)) {
            (Choice::First | Choice::Last, _) => None,
            (_, Some(by)) => by.logical_nulls(),
            (_, None) => first.logical_nulls(),
        };
        counting(nulls.as_ref(), groups, filter, |row, group| {
            let by = by.as_ref().map(|by| by.row(row));
            self.see(group, rows.row(row).as_ref(), by.as_ref().map(AsRef::as_ref));
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            if let Some((value, by)) = &other.held[*from as usize] {
                self.see(*to as usize, value, by.as_deref());
            }
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        if let Some((value, by)) = self.held[from as usize].clone() {
            self.see(to as usize, &value, by.as_deref());
        }
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        self.put(group as usize, None);
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let seen = groups.iter().map(|group| Some(self.held[*group as usize].is_some()));
        let mut state = vec![self.evaluate(groups)?, Arc::new(seen.collect::<BooleanArray>()) as ArrayRef];
        if let Some(coder) = &self.by {
            let null = coder.null()?;
            let by = |group: &u32| {
                let kept = self.held[*group as usize].as_ref();
                kept.and_then(|(_, by)| by.as_deref()).unwrap_or(&null)
            };
            state.push(coder.array(groups.iter().map(by))?);
        }
        Ok(state)
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let rows = self.value.rows(column(state, 0)?)?;
        let seen = column(state, 1)?.as_boolean_opt().ok_or_else(super::unfit)?;
        let by = match &self.by {
            Some(coder) => Some(coder.rows(column(state, 2)?)?),
            None => None,
        };
        for (row, group) in groups.iter().enumerate() {
            let kept = || (rows.row(row).as_ref().into(), by.as_ref().map(|by| by.row(row).as_ref().into()));
            self.put(*group as usize, seen.value(row).then(kept));
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| self.held[*group as usize].as_ref().map_or(&*self.null, |(value, _)| value);
        self.value.array(groups.iter().map(value))
    }

    fn state_types(&self) -> Vec<DataType> {
        let by = self.by.iter().map(|coder| coder.ty.clone());
        [self.value.ty.clone(), DataType::Boolean].into_iter().chain(by).collect()
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Kept>() + self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

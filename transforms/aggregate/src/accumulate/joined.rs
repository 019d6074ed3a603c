//! `listagg`: texts one after the other, with what stands between them.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, ListArray, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::row::{RowConverter, Rows, SortField};
use levada_connector_api::{Error, Result};
use levada_expressions::AggregateParams;

use super::value::canonical;
use super::{Accumulator, column, counting, same, unfit};

/// A text or bytes, and the bytes that it is sorted by.
type Part = (Box<[u8]>, Box<[u8]>);

/// What is to be joined, by group, in the order in which it came.
pub(super) struct Joined {
    params: AggregateParams,
    ty: DataType,
    /// What decides the order, if anything does.
    by: Vec<DataType>,
    order: RowConverter,
    held: Vec<Vec<Part>>,
    bytes: usize,
}

impl Joined {
    pub(super) fn new(ty: &DataType, by: Vec<DataType>, params: AggregateParams) -> Result<Self> {
        let options = |i: usize| params.sort.get(i).copied().unwrap_or_default();
        let fields = by.iter().enumerate().map(|(i, ty)| SortField::new_with_options(ty.clone(), options(i)));
        let order = RowConverter::new(fields.collect())?;
        Ok(Self { ty: ty.clone(), order, by, params, held: Vec::new(), bytes: 0 })
    }

    /// What the rows are sorted by.
    fn rows(&self, by: &[ArrayRef]) -> Result<Option<Rows>> {
        if by.is_empty() {
            return Ok(None);
        }
        let by: Vec<ArrayRef> = by.iter().map(canonical).collect();
        Ok(Some(self.order.convert_columns(&by)?))
    }

    fn fields(&self) -> Fields {
        let by = self.by.iter().enumerate().map(|(i, ty)| Field::new(format!("by{i}"), ty.clone(), true));
        std::iter::once(Field::new("value", self.ty.clone(), true)).chain(by).collect()
    }

    /// Texts or bytes as a column.
    fn values<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
        if self.ty == DataType::Binary {
            let mut builder = BinaryBuilder::new();
            values.for_each(|value| builder.append_option(value));
            return Ok(Arc::new(builder.finish()));
        }
        let mut builder = StringBuilder::new();
        for value in values {
            let text = value.map(std::str::from_utf8).transpose();
            builder.append_option(text.map_err(|_| Error::internal("a text is no UTF-8"))?);
        }
        Ok(Arc::new(builder.finish()))
    }
}

fn bytes(values: &ArrayRef, row: usize) -> &[u8] {
    match values.data_type() {
        DataType::Binary => values.as_binary::<i32>().value(row),
        _ => values.as_string::<i32>().value(row).as_bytes(),
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Joined {
    fn see(&mut self, group: usize, (value, by): Part) {
        self.bytes += value.len() + by.len() + size_of::<Part>();
        self.held[group].push((value, by));
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Joined {
    fn grow(&mut self, groups: usize) {
        self.held.resize_with(groups, Vec::new);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let first = column(values, 0)?;
        if *first.data_type() != self.ty {
            return Err(unfit());
        }
        let rows = self.rows(values.get(1..).unwrap_or_default())?;
        counting(first.logical_nulls().as_ref(), groups, filter, |row, group| {
            let by = rows.as_ref().map(|rows| rows.row(row).as_ref().into()).unwrap_or_default();
            self.see(group, (bytes(first, row).into(), by));
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            other.held[*from as usize].iter().for_each(|part| self.see(*to as usize, part.clone()));
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        let moved = self.held[from as usize].clone();
        moved.into_iter().for_each(|part| self.see(to as usize, part));
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        let size = |(value, by): &Part| value.len() + by.len() + size_of::<Part>();
        let freed: usize = self.held[group as usize].iter().map(size).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        self.held[group as usize] = Vec::new();
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let held = groups.iter().map(|group| &self.held[*group as usize]);
        let offsets = OffsetBuffer::from_lengths(held.clone().map(Vec::len));
        let parts = held.flatten();
        let mut columns = vec![self.values(parts.clone().map(|(value, _)| Some(&**value)))?];
        if !self.by.is_empty() {
            let parser = self.order.parser();
            columns.extend(self.order.convert_rows(parts.map(|(_, by)| parser.parse(by)))?);
        }
        let parts = StructArray::try_new(self.fields(), columns, None)?;
        let field = Arc::new(Field::new_list_field(parts.data_type().clone(), false));
        Ok(vec![Arc::new(ListArray::try_new(field, offsets, Arc::new(parts), None)?)])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let lists = column(state, 0)?.as_list_opt::<i32>().ok_or_else(unfit)?;
        let parts = lists.values().as_struct_opt().ok_or_else(unfit)?;
        let values = column(parts.columns(), 0)?;
        if *values.data_type() != self.ty {
            return Err(unfit());
        }
        let rows = self.rows(parts.columns().get(1..).unwrap_or_default())?;
        for (group, ends) in groups.iter().zip(lists.value_offsets().windows(2)) {
            self.reset(*group);
            for row in ends[0] as usize..ends[1] as usize {
                let by = rows.as_ref().map(|rows| rows.row(row).as_ref().into()).unwrap_or_default();
                self.see(*group as usize, (bytes(values, row).into(), by));
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let joined = groups.iter().map(|group| {
            let mut parts: Vec<&Part> = self.held[*group as usize].iter().collect();
            if !self.by.is_empty() {
                parts.sort_by(|(_, a), (_, b)| a.cmp(b));
            }
            let values: Vec<&[u8]> = parts.iter().map(|(value, _)| &**value).collect();
            (!values.is_empty()).then(|| values.join(self.params.between.as_slice()))
        });
        let joined: Vec<Option<Vec<u8>>> = joined.collect();
        self.values(joined.iter().map(Option::as_deref))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::List(Arc::new(Field::new_list_field(DataType::Struct(self.fields()), false)))]
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Vec<Part>>() + self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

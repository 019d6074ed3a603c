//! `collect_list` and `collect_set`.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use levada_connector_api::Result;

use super::value::Coder;
use super::{Accumulator, column, counting, same, unfit};

/// All values of a group that are not null, in the order in which they came.
pub(super) struct Collect {
    value: Coder,
    distinct: bool,
    held: Vec<Vec<Box<[u8]>>>,
    /// The values of each group, when they are to be distinct.
    known: Vec<HashSet<Box<[u8]>>>,
    bytes: usize,
}

impl Collect {
    pub(super) fn new(ty: &DataType, distinct: bool) -> Result<Self> {
        Ok(Self { value: Coder::new(ty)?, distinct, held: Vec::new(), known: Vec::new(), bytes: 0 })
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Collect {
    fn see(&mut self, group: usize, value: &[u8]) {
        if !self.distinct || self.known[group].insert(value.into()) {
            self.bytes += value.len() + size_of::<Box<[u8]>>();
            self.held[group].push(value.into());
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Collect {
    fn grow(&mut self, groups: usize) {
        self.held.resize_with(groups, Vec::new);
        if self.distinct {
            self.known.resize_with(groups, HashSet::new);
        }
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let values = column(values, 0)?;
        let rows = self.value.rows(values)?;
        counting(values.logical_nulls().as_ref(), groups, filter, |row, group| {
            self.see(group, rows.row(row).as_ref());
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            other.held[*from as usize].iter().for_each(|value| self.see(*to as usize, value));
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        for value in std::mem::take(&mut self.held[from as usize]) {
            self.see(to as usize, &value);
        }
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        let freed: usize = self.held[group as usize].iter().map(|value| value.len() + size_of::<Box<[u8]>>()).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        self.held[group as usize] = Vec::new();
        if self.distinct {
            self.known[group as usize] = HashSet::new();
        }
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let lists = column(state, 0)?.as_list_opt::<i32>().ok_or_else(unfit)?;
        let rows = self.value.rows(lists.values())?;
        for (group, ends) in groups.iter().zip(lists.value_offsets().windows(2)) {
            self.reset(*group);
            for row in ends[0] as usize..ends[1] as usize {
                self.see(*group as usize, rows.row(row).as_ref());
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let lists = groups.iter().map(|group| &self.held[*group as usize]);
        let offsets = OffsetBuffer::from_lengths(lists.clone().map(Vec::len));
        let values = self.value.array(lists.flatten().map(|value| &**value))?;
        let field = Arc::new(Field::new_list_field(self.value.ty.clone(), true));
        Ok(Arc::new(ListArray::new(field, offsets, values, None)))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::List(Arc::new(Field::new_list_field(self.value.ty.clone(), true)))]
    }

    fn memory(&self) -> usize {
        let times = if self.distinct { 3 } else { 1 };
        self.held.capacity() * size_of::<Vec<Box<[u8]>>>() + self.bytes * times
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

//! `bit_and`, `bit_or` and `bit_xor`.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use levada_connector_api::{Error, Result};
use levada_expressions::AggregateFunction;

use super::{Accumulator, column, counting, same, unfit};

/// Whole numbers, bit by bit.
pub(super) struct Bits {
    function: AggregateFunction,
    ty: DataType,
    held: Vec<Option<i64>>,
}

impl Bits {
    pub(super) fn new(function: AggregateFunction, ty: &DataType) -> Self {
        Self { function, ty: ty.clone(), held: Vec::new() }
    }

    fn together(&self, a: Option<i64>, b: Option<i64>) -> Option<i64> {
        match (a, b, self.function) {
            (a, None, _) => a,
            (None, b, _) => b,
            (Some(a), Some(b), AggregateFunction::BitAnd) => Some(a & b),
            (Some(a), Some(b), AggregateFunction::BitOr) => Some(a | b),
            (Some(a), Some(b), _) => Some(a ^ b),
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Bits {
    fn grow(&mut self, groups: usize) {
        self.held.resize(groups, None);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let values = cast(column(values, 0)?, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>();
        counting(values.nulls(), groups, filter, |row, group| {
            self.held[group] = self.together(self.held[group], Some(values.values()[row]));
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            self.held[*to as usize] = self.together(self.held[*to as usize], other.held[*from as usize]);
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        self.held[to as usize] = self.together(self.held[to as usize], self.held[from as usize]);
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        self.held[group as usize] = None;
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(groups.iter().map(|group| self.held[*group as usize]).collect::<Int64Array>())])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let values = column(state, 0)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        groups.iter().zip(values.iter()).for_each(|(group, value)| self.held[*group as usize] = value);
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|group| self.held[*group as usize]).collect::<Int64Array>();
        cast(&values, &self.ty).map_err(Error::from)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn memory(&self) -> usize {
        self.held.capacity() * size_of::<Option<i64>>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

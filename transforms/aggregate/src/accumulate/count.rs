//! `count`.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use levada_connector_api::Result;

use super::{Accumulator, column, passes, same, unfit};

/// Rows in which no argument is null.
#[derive(Debug, Default)]
pub(super) struct Count(Vec<i64>);

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Accumulator for Count {
    fn grow(&mut self, groups: usize) {
        self.0.resize(groups, 0);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let nullable: Vec<_> = values.iter().filter_map(|values| values.logical_nulls()).collect();
        if nullable.is_empty() && filter.is_none() {
            groups.iter().for_each(|group| self.0[*group as usize] += 1);
            return Ok(());
        }
        for (row, group) in groups.iter().enumerate() {
            let valid = nullable.iter().all(|nulls| nulls.is_valid(row));
            self.0[*group as usize] += i64::from(valid && filter.is_none_or(|filter| passes(filter, row)));
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        from.iter().zip(to).for_each(|(from, to)| self.0[*to as usize] += other.0[*from as usize]);
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        self.0[to as usize] += self.0[from as usize];
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        self.0[group as usize] = 0;
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let counts = column(state, 0)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.0[*group as usize] = *count);
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| self.0[*group as usize]))))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn memory(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

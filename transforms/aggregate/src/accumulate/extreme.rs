//! `min` and `max`.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use levada_connector_api::Result;

use super::value::{Choice, Chosen};
use super::{Accumulator, column, counting, same, unfit};

pub(super) fn make(ty: &DataType, largest: bool) -> Result<Box<dyn Accumulator>> {
    macro_rules! of {
        ($type:ty) => {
            Ok(Box::new(Extreme::<$type> { ty: ty.clone(), largest, values: Vec::new(), seen: Vec::new() }))
        };
    }
    match ty {
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::Float32 => of!(Float32Type),
        DataType::Float64 => of!(Float64Type),
        DataType::Date32 => of!(Date32Type),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
        DataType::Decimal128(_, _) => of!(Decimal128Type),
        // Everything else by its bytes in Arrow's row format, whose order is the values'.
        other => {
            let choice = if largest { Choice::Largest } else { Choice::Smallest };
            Ok(Box::new(Chosen::new(other, None, choice)?))
        }
    }
}

/// A number with Spark's order: NaN is larger than all others.
trait Ordered: Copy {
    fn exceeds(self, other: Self) -> bool;
}

macro_rules! whole {
    ($($native:ty),*) => {
        $(impl Ordered for $native {
            #[inline]
            fn exceeds(self, other: Self) -> bool {
                self > other
            }
        })*
    };
}

whole!(i8, i16, i32, i64, i128);

macro_rules! floating {
    ($($native:ty),*) => {
        $(impl Ordered for $native {
            #[inline]
            fn exceeds(self, other: Self) -> bool {
                self > other || (self.is_nan() && !other.is_nan())
            }
        })*
    };
}

floating!(f32, f64);

/// The smallest or largest number.
struct Extreme<T: ArrowPrimitiveType> {
    ty: DataType,
    largest: bool,
    values: Vec<T::Native>,
    seen: Vec<bool>,
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl<T: ArrowPrimitiveType> Extreme<T>
where
    T::Native: Ordered,
{
    #[inline]
    fn see(&mut self, group: usize, value: T::Native) {
        let held = self.values[group];
        let better = if self.largest { value.exceeds(held) } else { held.exceeds(value) };
        if better || !self.seen[group] {
            self.values[group] = value;
            self.seen[group] = true;
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl<T: ArrowPrimitiveType> Accumulator for Extreme<T>
where
    T::Native: Ordered,
{
    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, T::Native::default());
        self.seen.resize(groups, false);
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let values = column(values, 0)?.as_primitive_opt::<T>().ok_or_else(unfit)?;
        let numbers = values.values();
        counting(values.nulls(), groups, filter, |row, group| {
            self.see(group, numbers[row]);
            Ok(())
        })
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            if other.seen[*from as usize] {
                self.see(*to as usize, other.values[*from as usize]);
            }
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        if self.seen[from as usize] {
            self.see(to as usize, self.values[from as usize]);
        }
        Ok(())
    }

    fn reset(&mut self, group: u32) {
        self.seen[group as usize] = false;
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let values = column(state, 0)?.as_primitive_opt::<T>().ok_or_else(unfit)?;
        for (group, value) in groups.iter().zip(values.iter()) {
            self.seen[*group as usize] = value.is_some();
            self.values[*group as usize] = value.unwrap_or_default();
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| self.seen[*group as usize].then_some(self.values[*group as usize]);
        let array = groups.iter().map(value).collect::<PrimitiveArray<T>>();
        Ok(Arc::new(array.with_data_type(self.ty.clone())))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.ty.clone()]
    }

    fn memory(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

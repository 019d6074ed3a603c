//! `sum` and `avg`.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int64Type};
use levada_connector_api::{Error, Result};
use levada_expressions::{AggregateCall, AggregateFunction, Overflow};

use super::{Accumulator, column, counting, overflow, same, unfit};

pub(super) fn make(call: &AggregateCall, input: &DataType) -> Result<Box<dyn Accumulator>> {
    let average = call.function == AggregateFunction::Avg;
    let kind = |kind| Ok(kind);
    match (input, &call.ty) {
        (DataType::Int64, DataType::Int64) => {
            kind(Box::new(Sums::<Int64Type>::new(Rule::Whole(call.overflow), DataType::Int64)) as _)
        }
        (DataType::Float64, _) => {
            let rule = if average { Rule::Mean } else { Rule::Plain };
            kind(Box::new(Sums::<Float64Type>::new(rule, DataType::Float64)))
        }
        (DataType::Decimal128(precision, scale), DataType::Decimal128(p, s)) => {
            // The sum has ten digits more than its values, whatever it is for.
            let held = (*precision + 10).min(38);
            let rule = match average {
                true => Rule::DecimalMean {
                    held,
                    from: *scale,
                    precision: *p,
                    scale: *s,
                    checked: call.overflow == Overflow::Error,
                },
                false => Rule::Decimal { precision: held, checked: call.overflow == Overflow::Error },
            };
            kind(Box::new(Sums::<Decimal128Type>::new(rule, DataType::Decimal128(38, *scale))))
        }
        (input, output) => Err(Error::internal(format!("a sum of {input} as {output}"))),
    }
}

/// What becomes of the sum.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// A double.
    Plain,
    /// A double divided by the count.
    Mean,
    /// A bigint.
    Whole(Overflow),
    /// A decimal: too large is an error, or null.
    Decimal { precision: u8, checked: bool },
    /// A decimal divided by the count, half up.
    DecimalMean { held: u8, from: i8, precision: u8, scale: i8, checked: bool },
}

/// A number that can be added.
trait Addend: Copy + Default {
    /// The sum, and whether it is right.
    fn plus(self, other: Self) -> (Self, bool);
}

impl Addend for i64 {
    fn plus(self, other: Self) -> (Self, bool) {
        let (sum, over) = self.overflowing_add(other);
        (sum, !over)
    }
}

impl Addend for f64 {
    fn plus(self, other: Self) -> (Self, bool) {
        (self + other, true)
    }
}

impl Addend for i128 {
    fn plus(self, other: Self) -> (Self, bool) {
        let (sum, over) = self.overflowing_add(other);
        (sum, !over)
    }
}

/// Sums with the count of their values.
struct Sums<T: ArrowPrimitiveType> {
    rule: Rule,
    ty: DataType,
    sums: Vec<Sum<T::Native>>,
}

/// A sum and its count, which are always read together.
#[derive(Debug, Clone, Copy, Default)]
struct Sum<N> {
    sum: N,
    /// How many values were added; negative once the sum left its type's range for good.
    count: i64,
}

impl<T: ArrowPrimitiveType> Sums<T> {
    fn new(rule: Rule, ty: DataType) -> Self {
        Self { rule, ty, sums: Vec::new() }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl<T: ArrowPrimitiveType> Sums<T>
where
    T::Native: Addend,
{
    #[inline]
    fn add(&mut self, group: usize, value: T::Native, count: i64) -> Result<()> {
        let own = &mut self.sums[group];
        let (sum, right) = own.sum.plus(value);
        if right {
            own.sum = sum;
            own.count = if own.count >= 0 && count >= 0 { own.count + count } else { -1 };
            return Ok(());
        }
        match self.rule {
            Rule::Whole(Overflow::Error) => Err(overflow("long overflow in sum")),
            Rule::Whole(Overflow::Wrap) => {
                own.sum = sum;
                own.count += count;
                Ok(())
            }
            _ => {
                own.count = -1;
                Ok(())
            }
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl<T: ArrowPrimitiveType> Accumulator for Sums<T>
where
    T::Native: Addend,
    Sums<T>: Finish,
{
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, Sum::default());
    }

    fn update(&mut self, values: &[ArrayRef], groups: &[u32], filter: Option<&BooleanArray>) -> Result<()> {
        let values = column(values, 0)?.as_primitive_opt::<T>().ok_or_else(unfit)?;
        let numbers = values.values();
        counting(values.nulls(), groups, filter, |row, group| self.add(group, numbers[row], 1))
    }

    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], to: &[u32]) -> Result<()> {
        let other: &Self = same(other)?;
        for (from, to) in from.iter().zip(to) {
            let Sum { sum, count } = other.sums[*from as usize];
            self.add(*to as usize, sum, count)?;
        }
        Ok(())
    }

    fn fuse(&mut self, from: u32, to: u32) -> Result<()> {
        let Sum { sum, count } = self.sums[from as usize];
        self.add(to as usize, sum, count)
    }

    fn reset(&mut self, group: u32) {
        self.sums[group as usize] = Sum::default();
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = PrimitiveArray::<T>::from_iter_values(groups.iter().map(|group| self.sums[*group as usize].sum));
        let counts = Int64Array::from_iter_values(groups.iter().map(|group| self.sums[*group as usize].count));
        Ok(vec![Arc::new(sums.with_data_type(self.ty.clone())), Arc::new(counts)])
    }

    fn load(&mut self, state: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let sums = column(state, 0)?.as_primitive_opt::<T>().ok_or_else(unfit)?;
        let counts = column(state, 1)?.as_primitive_opt::<Int64Type>().ok_or_else(unfit)?;
        for ((group, sum), count) in groups.iter().zip(sums.values()).zip(counts.values()) {
            self.sums[*group as usize] = Sum { sum: *sum, count: *count };
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.finish(groups)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.ty.clone(), DataType::Int64]
    }

    fn memory(&self) -> usize {
        self.sums.capacity() * size_of::<Sum<T::Native>>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How sums become results.
trait Finish {
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef>;
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Finish for Sums<Int64Type> {
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef> {
        let value = |group: &u32| (self.sums[*group as usize].count > 0).then_some(self.sums[*group as usize].sum);
        Ok(Arc::new(groups.iter().map(value).collect::<Int64Array>()))
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Finish for Sums<Float64Type> {
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef> {
        let mean = matches!(self.rule, Rule::Mean);
        let value = |group: &u32| {
            let (sum, count) = (self.sums[*group as usize].sum, self.sums[*group as usize].count);
            (count > 0).then_some(if mean { sum / count as f64 } else { sum })
        };
        Ok(Arc::new(groups.iter().map(value).collect::<Float64Array>()))
    }
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid by contract")]
impl Finish for Sums<Decimal128Type> {
    fn finish(&self, groups: &[u32]) -> Result<ArrayRef> {
        let (precision, scale, checked) = match self.rule {
            Rule::DecimalMean { precision, scale, checked, .. } => (precision, scale, checked),
            Rule::Decimal { precision, checked } => match self.ty {
                DataType::Decimal128(_, scale) => (precision, scale, checked),
                _ => return Err(unfit()),
            },
            _ => return Err(unfit()),
        };
        let mut values = Vec::with_capacity(groups.len());
        for group in groups {
            let (sum, count) = (self.sums[*group as usize].sum, self.sums[*group as usize].count);
            let value = match (self.rule, count) {
                (_, 0) => {
                    values.push(None);
                    continue;
                }
                (_, ..0) => None,
                (Rule::DecimalMean { held, .. }, _) if !fits(sum, held) => None,
                (Rule::DecimalMean { from, .. }, count) => mean(sum, count, scale - from),
                _ => Some(sum),
            };
            let value = value.filter(|value| fits(*value, precision));
            if value.is_none() && checked {
                let what = format!("[NUMERIC_VALUE_OUT_OF_RANGE] the result does not fit DECIMAL({precision},{scale})");
                return Err(overflow(&what));
            }
            values.push(value);
        }
        let array = Decimal128Array::from(values).with_precision_and_scale(precision, scale);
        Ok(Arc::new(array?))
    }
}

/// Whether a decimal has at most `precision` digits.
fn fits(value: i128, precision: u8) -> bool {
    10u128.checked_pow(precision.into()).is_none_or(|limit| value.unsigned_abs() < limit)
}

/// `sum / count` with `more` digits after the point, half up.
fn mean(sum: i128, count: i64, more: i8) -> Option<i128> {
    let factor = 10i128.checked_pow(u32::try_from(more).ok()?)?;
    let count = i128::from(count);
    let (quotient, rest) = (sum / count, sum % count);
    let scaled = rest.checked_mul(factor)?;
    let (digits, left) = (scaled / count, scaled % count);
    let up = if left.unsigned_abs() * 2 >= count.unsigned_abs() { scaled.signum() } else { 0 };
    quotient.checked_mul(factor)?.checked_add(digits)?.checked_add(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_decimals_round_half_up() {
        assert_eq!(mean(100, 3, 4), Some(333_333));
        assert_eq!(mean(200, 3, 4), Some(666_667));
        assert_eq!(mean(-200, 3, 4), Some(-666_667));
        assert_eq!(mean(1, 8, 2), Some(13));
        assert_eq!(mean(i128::MAX, 1, 4), None);
    }

    #[test]
    fn digits_are_counted() {
        assert!(
            fits(99, 2) && fits(-99, 2) && !fits(100, 2) && fits(10i128.pow(38) - 1, 38) && !fits(10i128.pow(38), 38)
        );
    }
}

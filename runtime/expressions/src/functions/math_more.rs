//! Functions of numbers that are hardly needed.

use std::sync::Arc;

use arrow::array::{AsArray, Int8Array, Int64Array};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion_common::{Result, exec_err};

use super::Invocation;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] = &["width_bucket", "getbit", "bit_get"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    if name == "width_bucket" {
        let args = call.exactly::<4>()?;
        let label = call_name(name, &args);
        let [value, low, high, count] = args;
        let double = |arg: Typed| argument(arg, &DataType::Float64, ansi, name);
        let args = [double(value)?, double(low)?, double(high)?, argument(count, &DataType::Int64, ansi, name)?];
        let typed = Typed::call(name, &args, DataType::Int64, span, |args| {
            let arrays = args.arrays()?;
            let [value, low, high, count] = arrays.as_slice() else { return exec_err!("arguments are missing") };
            let numbers = |array: &'_ arrow::array::ArrayRef| array.as_primitive::<Float64Type>().clone();
            let (value, low, high) = (numbers(value), numbers(low), numbers(high));
            let rows = value.iter().zip(&low).zip(&high).zip(count.as_primitive::<Int64Type>());
            let bucket = rows.map(|(((value, low), high), count)| bucket(value?, low?, high?, count?));
            Ok(Arc::new(bucket.collect::<Int64Array>()))
        });
        return Ok(typed.named(label));
    }
    let args = call.exactly::<2>()?;
    let label = call_name(name, &args);
    let [value, place] = args;
    let bits = value.ty.primitive_width().map_or(64, |bytes| (bytes * 8).min(64));
    let args = [argument(value, &DataType::Int64, ansi, name)?, argument(place, &DataType::Int32, ansi, name)?];
    let typed = Typed::call(name, &args, DataType::Int8, span, move |args| {
        let (values, places) = (args.array(0)?, args.array(1)?);
        let rows = values.as_primitive::<Int64Type>().iter().zip(places.as_primitive::<Int32Type>());
        let bit = |(value, place): (Option<i64>, Option<i32>)| -> Result<Option<i8>> {
            let (Some(value), Some(place)) = (value, place) else { return Ok(None) };
            match usize::try_from(place) {
                Ok(at) if at < bits => Ok(Some(((value >> at) & 1) as i8)),
                _ => exec_err!(
                    "[INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE] the place of a bit is from 0 to {}, not {place}",
                    bits - 1
                ),
            }
        };
        Ok(Arc::new(rows.map(bit).collect::<Result<Int8Array>>()?))
    });
    Ok(typed.fallible().named(label))
}

/// The number of the part, of so many of one width between two bounds, that a value is in.
fn bucket(value: f64, low: f64, high: f64, count: i64) -> Option<i64> {
    let out_of_reason = count <= 0 || count == i64::MAX || value.is_nan();
    if out_of_reason || low == high || !low.is_finite() || !high.is_finite() {
        return None;
    }
    let parts = count as f64;
    let (before, after, share) = if low < high {
        (value < low, value >= high, parts * (value - low) / (high - low))
    } else {
        (value > low, value <= high, parts * (low - value) / (low - high))
    };
    Some(match (before, after) {
        (true, _) => 0,
        (_, true) => count + 1,
        _ => share as i64 + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_run_up_and_down() {
        assert_eq!(bucket(5.3, 0.2, 10.6, 5), Some(3));
        assert_eq!(bucket(-2.1, 1.3, 3.4, 3), Some(0));
        assert_eq!(bucket(8.1, 0.0, 5.7, 4), Some(5));
        assert_eq!(bucket(-0.9, 5.2, 0.5, 2), Some(3));
        assert_eq!(bucket(1.0, 1.0, 1.0, 2), None);
    }
}

//! Decimal arithmetic with Spark's precision rules.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, i256};
use datafusion_common::{DataFusionError, Result};

use crate::ast::Binary;

const MAX_PRECISION: i32 = 38;

/// Whether the unscaled value has at most `precision` digits.
pub(crate) fn fits(value: i128, precision: u8) -> bool {
    10u128.checked_pow(precision.into()).is_none_or(|limit| value.unsigned_abs() < limit)
}

/// The same number with another scale, rounded half up.
pub(crate) fn rescale(value: i128, from: i8, to: i8) -> Option<i128> {
    wide_rescale(i256::from_i128(value), i32::from(from), i32::from(to))?.to_i128()
}

fn power(exponent: i32) -> Option<i256> {
    i256::from_i128(10).checked_pow(u32::try_from(exponent).ok()?)
}

fn wide_rescale(value: i256, from: i32, to: i32) -> Option<i256> {
    if to >= from { value.checked_mul(power(to - from)?) } else { divide(value, power(from - to)?) }
}

/// Division, rounded half up (away from zero).
fn divide(value: i256, by: i256) -> Option<i256> {
    let quotient = value.checked_div(by)?;
    let rest = value.checked_rem(by)?.checked_abs()?;
    if rest < by.checked_abs()?.checked_sub(rest)? {
        return Some(quotient);
    }
    let negative = (value < i256::ZERO) != (by < i256::ZERO);
    if negative { quotient.checked_sub(i256::ONE) } else { quotient.checked_add(i256::ONE) }
}

/// The decimal type that holds every value of a whole-number type.
pub(crate) fn of_integer(ty: &DataType) -> Option<(u8, i8)> {
    match ty {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((20, 0)),
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// The type of `left op right`.
pub(crate) fn result_type(op: Binary, left: (u8, i8), right: (u8, i8)) -> (u8, i8) {
    let (p1, s1) = (i32::from(left.0), i32::from(left.1));
    let (p2, s2) = (i32::from(right.0), i32::from(right.1));
    let scale = s1.max(s2);
    let (precision, scale) = match op {
        Binary::Multiply => (p1 + p2 + 1, s1 + s2),
        Binary::Divide => {
            let scale = 6.max(s1 + p2 + 1);
            (p1 - s1 + s2 + scale, scale)
        }
        Binary::Modulo => ((p1 - s1).min(p2 - s2) + scale, scale),
        _ => ((p1 - s1).max(p2 - s2) + scale + 1, scale),
    };
    adjust(precision, scale)
}

/// Fits a type into 38 digits: digits before the point are kept, up to six after it too.
fn adjust(precision: i32, scale: i32) -> (u8, i8) {
    let (precision, scale) = if precision <= MAX_PRECISION {
        (precision, scale)
    } else {
        (MAX_PRECISION, (MAX_PRECISION - (precision - scale)).max(scale.min(6)))
    };
    (u8::try_from(precision).unwrap_or(38), i8::try_from(scale).unwrap_or(0))
}

/// The narrowest type that holds both, cut to 38 digits.
pub(crate) fn wider(left: (u8, i8), right: (u8, i8)) -> (u8, i8) {
    let scale = left.1.max(right.1);
    let whole = (i32::from(left.0) - i32::from(left.1)).max(i32::from(right.0) - i32::from(right.1));
    let precision = (whole + i32::from(scale)).min(MAX_PRECISION);
    (u8::try_from(precision).unwrap_or(38), scale)
}

/// What to do with a result that has too many digits, and with a division by zero.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    /// Errors rather than nulls.
    pub(crate) ansi: bool,
}

/// Computes `left op right`, both decimals, to the type `(precision, scale)`.
pub(crate) fn compute(
    op: Binary,
    left: &ArrayRef,
    right: &ArrayRef,
    (precision, scale): (u8, i8),
    failure: Failure,
) -> Result<PrimitiveArray<Decimal128Type>> {
    let (a, s1) = parts(left);
    let (b, s2) = parts(right);
    let wide = |x: i128, y: i128| -> Option<i256> {
        let (x, y) = (i256::from_i128(x), i256::from_i128(y));
        let common = s1.max(s2);
        let target = i32::from(scale);
        match op {
            Binary::Multiply => wide_rescale(x.checked_mul(y)?, s1 + s2, target),
            Binary::Divide => {
                // x / 10^s1 / (y / 10^s2) with `target` decimals.
                let shift = target - s1 + s2;
                if shift >= 0 {
                    divide(x.checked_mul(power(shift)?)?, y)
                } else {
                    divide(x, y.checked_mul(power(-shift)?)?)
                }
            }
            Binary::Modulo => {
                let rest = wide_rescale(x, s1, common)?.checked_rem(wide_rescale(y, s2, common)?)?;
                wide_rescale(rest, common, target)
            }
            Binary::IntegerDivide => wide_rescale(x, s1, common)?.checked_div(wide_rescale(y, s2, common)?),
            Binary::Subtract => {
                wide_rescale(wide_rescale(x, s1, common)?.checked_sub(wide_rescale(y, s2, common)?)?, common, target)
            }
            _ => wide_rescale(wide_rescale(x, s1, common)?.checked_add(wide_rescale(y, s2, common)?)?, common, target),
        }
    };
    let divides = matches!(op, Binary::Divide | Binary::Modulo | Binary::IntegerDivide);
    let rows = a.len().min(b.len());
    let value = |row: usize| -> Result<Option<i128>> {
        if a.is_null(row) || b.is_null(row) {
            return Ok(None);
        }
        let (x, y) = (a.value(row), b.value(row));
        if divides && y == 0 {
            return if failure.ansi { Err(divide_by_zero(op)) } else { Ok(None) };
        }
        match wide(x, y).and_then(|v| v.to_i128()).filter(|v| fits(*v, precision)) {
            Some(value) => Ok(Some(value)),
            None if failure.ansi => Err(DataFusionError::Execution(format!(
                "[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION] {} {} {} cannot be represented as \
                 decimal({precision}, {scale})",
                levada_formats::scalar::format_decimal(x, s1 as i8),
                op.symbol(),
                levada_formats::scalar::format_decimal(y, s2 as i8),
            ))),
            None => Ok(None),
        }
    };
    let values = (0..rows).map(value).collect::<Result<PrimitiveArray<Decimal128Type>>>()?;
    Ok(values.with_precision_and_scale(precision, scale)?)
}

fn parts(array: &ArrayRef) -> (&PrimitiveArray<Decimal128Type>, i32) {
    let decimals = array.as_primitive::<Decimal128Type>();
    (decimals, decimals.scale().into())
}

/// Spark's error of a division by zero.
pub(crate) fn divide_by_zero(op: Binary) -> DataFusionError {
    let (condition, function) = match op {
        Binary::Modulo => ("REMAINDER_BY_ZERO", "try_mod"),
        _ => ("DIVIDE_BY_ZERO", "try_divide"),
    };
    DataFusionError::Execution(format!("[{condition}] division by zero; use {function} to get NULL instead"))
}

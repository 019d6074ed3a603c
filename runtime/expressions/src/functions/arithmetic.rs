//! `+ - * / % div`, bits and signs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray};
use arrow::compute::kernels::numeric;
use arrow::compute::{binary, try_unary};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow::error::ArrowError;
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};

use super::cast::{Mode, cast};
use super::decimal::{Failure, compute, divide_by_zero, of_integer, result_type};
use super::interval;
use super::types::sql_name;
use crate::ast::{Binary, PlanError, Planned, Span};
use crate::call::Args;
use crate::coerce::numeric as wider;
use crate::typed::Typed;

/// `left op right`.
pub(crate) fn plan(op: Binary, left: Typed, right: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    if let Some(typed) = interval::plan(op, &left, &right, ansi, span) {
        return typed;
    }
    let (left, right) = (from_text(left, &right.ty, ansi, op)?, right);
    let right = from_text(right, &left.ty, ansi, op)?;
    let (left, right) = match (&left.ty, &right.ty) {
        (DataType::Null, DataType::Null) => {
            (cast(left, &DataType::Float64, Mode::Legacy), cast(right, &DataType::Float64, Mode::Legacy))
        }
        (DataType::Null, other) => (cast(left, &other.clone(), Mode::Legacy), right),
        (other, DataType::Null) => {
            let right = cast(right, &other.clone(), Mode::Legacy);
            (left, right)
        }
        _ => (left, right),
    };
    if !left.ty.is_numeric() || !right.ty.is_numeric() {
        let message = format!(
            "[DATATYPE_MISMATCH] {} {} {} is not possible",
            sql_name(&left.ty),
            op.symbol(),
            sql_name(&right.ty)
        );
        return Err(PlanError::new(span, message).hint("cast the operands to numbers"));
    }
    match op {
        Binary::BitAnd | Binary::BitOr | Binary::BitXor => bits(op, left, right, ansi, span),
        Binary::ShiftLeft | Binary::ShiftRight | Binary::ShiftRightUnsigned => shift(op, left, right, ansi, span),
        _ if is_decimal(&left.ty, &right.ty) => decimals(op, left, right, ansi, span),
        Binary::Divide => {
            let (left, right) = both(left, right, &DataType::Float64, ansi);
            Ok(primitive(op, left, right, DataType::Float64, ansi, span))
        }
        Binary::IntegerDivide => {
            let (left, right) = both(left, right, &DataType::Int64, ansi);
            Ok(primitive(op, left, right, DataType::Int64, ansi, span))
        }
        _ => {
            let Some(ty) = wider(&left.ty, &right.ty, ansi) else {
                return Err(PlanError::new(span, "the operands have no common type"));
            };
            let (left, right) = both(left, right, &ty, ansi);
            Ok(primitive(op, left, right, ty, ansi, span))
        }
    }
}

fn both(left: Typed, right: Typed, ty: &DataType, ansi: bool) -> (Typed, Typed) {
    (cast(left, ty, Mode::of(ansi)), cast(right, ty, Mode::of(ansi)))
}

/// Text as an operand: a number of the kind that stands opposite under ANSI, otherwise a double.
fn from_text(value: Typed, opposite: &DataType, ansi: bool, op: Binary) -> Planned<Typed> {
    if value.ty != DataType::Utf8 {
        return Ok(value);
    }
    let ty = match opposite {
        DataType::Utf8 if ansi => {
            let message = format!("[DATATYPE_MISMATCH] STRING {} STRING is not possible", op.symbol());
            return Err(PlanError::new(value.span, message).hint("cast the operands to numbers"));
        }
        other if ansi && other.is_integer() => DataType::Int64,
        _ => DataType::Float64,
    };
    Ok(cast(value, &ty, Mode::of(ansi)))
}

fn is_decimal(left: &DataType, right: &DataType) -> bool {
    let decimal = |ty: &DataType| matches!(ty, DataType::Decimal128(_, _));
    (decimal(left) || decimal(right)) && !left.is_floating() && !right.is_floating()
}

/// A whole number as a decimal: a constant with as many digits as it has, a column with those of its type.
fn as_decimal(value: Typed, ansi: bool) -> Typed {
    let digits = value.literal_long().map(|v| v.unsigned_abs().to_string().len().min(38) as u8);
    match digits.map(|digits| (digits, 0)).or_else(|| of_integer(&value.ty)) {
        Some((precision, scale)) => cast(value, &DataType::Decimal128(precision, scale), Mode::of(ansi)),
        None => value,
    }
}

fn decimals(op: Binary, left: Typed, right: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let (left, right) = (as_decimal(left, ansi), as_decimal(right, ansi));
    let (Some(l), Some(r)) = (of_integer(&left.ty), of_integer(&right.ty)) else {
        return Err(PlanError::new(span, "the operands have no common type"));
    };
    if op == Binary::IntegerDivide {
        let typed = Typed::call("div", &[left, right], DataType::Int64, span, move |args| {
            let quotient = compute(op, &args.array(0)?, &args.array(1)?, (38, 0), Failure { ansi })?;
            Ok(Arc::new(quotient.unary_opt::<_, Int64Type>(|v| Some(v as i64))))
        });
        return Ok(if ansi { typed.fallible() } else { typed });
    }
    let (precision, scale) = result_type(op, l, r);
    let ty = DataType::Decimal128(precision, scale);
    let typed = Typed::call(op.symbol(), &[left, right], ty, span, move |args| {
        Ok(Arc::new(compute(op, &args.array(0)?, &args.array(1)?, (precision, scale), Failure { ansi })?))
    });
    Ok(if ansi { typed.fallible() } else { typed })
}

fn primitive(op: Binary, left: Typed, right: Typed, ty: DataType, ansi: bool, span: Span) -> Typed {
    let adds = matches!(op, Binary::Add | Binary::Subtract | Binary::Multiply);
    let fails = ansi && !(adds && ty.is_floating());
    let typed = Typed::call(op.symbol(), &[left, right], ty.clone(), span, move |args| {
        if adds { add(op, args, ansi) } else { divide(op, args, &ty, ansi) }
    });
    if fails { typed.fallible() } else { typed }
}

fn add(op: Binary, args: &Args<'_>, ansi: bool) -> Result<ArrayRef> {
    let (left, right) = (args.datum(0)?, args.datum(1)?);
    let small = matches!(left.get().0.data_type(), DataType::Int8 | DataType::Int16);
    let (left, right) = (left.as_ref(), right.as_ref());
    let result = match (op, ansi) {
        (Binary::Add, true) => numeric::add(left, right),
        (Binary::Add, false) => numeric::add_wrapping(left, right),
        (Binary::Subtract, true) => numeric::sub(left, right),
        (Binary::Subtract, false) => numeric::sub_wrapping(left, right),
        (_, true) => numeric::mul(left, right),
        (_, false) => numeric::mul_wrapping(left, right),
    };
    // Spark has a condition of its own for its two smallest types.
    let condition = if small { "BINARY_ARITHMETIC_OVERFLOW" } else { "ARITHMETIC_OVERFLOW" };
    result.map_err(|error| out_of_range(error, condition))
}

/// Arrow's overflow as Spark's error.
fn overflow(error: ArrowError) -> DataFusionError {
    out_of_range(error, "ARITHMETIC_OVERFLOW")
}

fn out_of_range(error: ArrowError, condition: &str) -> DataFusionError {
    match error {
        ArrowError::ArithmeticOverflow(text) => {
            let text = text.trim_start_matches("Overflow happened on: ");
            DataFusionError::Execution(format!(
                "[{condition}] {text} is out of range; use try_add, try_subtract or try_multiply to get NULL instead"
            ))
        }
        other => other.into(),
    }
}

fn divide(op: Binary, args: &Args<'_>, ty: &DataType, ansi: bool) -> Result<ArrayRef> {
    let (left, right) = (args.array(0)?, args.datum(1)?);
    let (right, constant) = right.get();
    macro_rules! by_type {
        ($($arrow:pat => $type:ty),*) => {
            match ty {
                $($arrow => quotients::<$type>(op, left.as_primitive(), right.as_primitive(), constant, ansi),)*
                other => exec_err!("no division of {other}"),
            }
        };
    }
    by_type!(
        DataType::Int8 => Int8Type, DataType::Int16 => Int16Type, DataType::Int32 => Int32Type,
        DataType::Int64 => Int64Type, DataType::Float32 => Float32Type, DataType::Float64 => Float64Type
    )
}

fn quotients<T: ArrowPrimitiveType>(
    op: Binary,
    left: &PrimitiveArray<T>,
    right: &PrimitiveArray<T>,
    constant: bool,
    ansi: bool,
) -> Result<ArrayRef> {
    if constant && right.is_valid(0) && !right.value(0).is_zero() {
        let y = right.value(0);
        if op == Binary::Modulo {
            return Ok(Arc::new(left.unary::<_, T>(|x| x.mod_wrapping(y))));
        }
        // Divided by any other number, the lowest whole number does not overflow.
        if !ansi || y != T::Native::ZERO.sub_wrapping(T::Native::ONE) {
            return Ok(Arc::new(left.unary::<_, T>(|x| x.div_wrapping(y))));
        }
    }
    let value = |row: usize| -> Result<Option<T::Native>> {
        let of_right = if constant { 0 } else { row };
        if left.is_null(row) || right.is_null(of_right) {
            return Ok(None);
        }
        let (x, y) = (left.value(row), right.value(of_right));
        if y.is_zero() {
            return if ansi { Err(divide_by_zero(op)) } else { Ok(None) };
        }
        match op {
            Binary::Modulo => Ok(Some(x.mod_wrapping(y))),
            // The one quotient of whole numbers that does not fit.
            _ if ansi => x.div_checked(y).map(Some).map_err(overflow),
            _ => Ok(Some(x.div_wrapping(y))),
        }
    };
    Ok(Arc::new((0..left.len()).map(value).collect::<Result<PrimitiveArray<T>>>()?))
}

fn bits(op: Binary, left: Typed, right: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let ty = wider(&left.ty, &right.ty, ansi).filter(DataType::is_integer);
    let Some(ty) = ty else {
        return Err(PlanError::new(span, format!("[DATATYPE_MISMATCH] {} takes whole numbers", op.symbol())));
    };
    let (left, right) = both(left, right, &ty, ansi);
    Ok(Typed::call(op.symbol(), &[left, right], ty.clone(), span, move |args| {
        let (a, b) = (args.array(0)?, args.array(1)?);
        macro_rules! combine {
            ($type:ty) => {{
                let (a, b) = (a.as_primitive::<$type>(), b.as_primitive::<$type>());
                Arc::new(match op {
                    Binary::BitAnd => binary::<_, _, _, $type>(a, b, |x, y| x & y)?,
                    Binary::BitOr => binary::<_, _, _, $type>(a, b, |x, y| x | y)?,
                    _ => binary::<_, _, _, $type>(a, b, |x, y| x ^ y)?,
                }) as ArrayRef
            }};
        }
        Ok(match ty {
            DataType::Int8 => combine!(Int8Type),
            DataType::Int16 => combine!(Int16Type),
            DataType::Int32 => combine!(Int32Type),
            _ => combine!(Int64Type),
        })
    }))
}

/// Shifts an int or a bigint; the distance is taken modulo its width, as in Java.
pub(crate) fn shift(op: Binary, left: Typed, right: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    if !left.ty.is_integer() || !right.ty.is_integer() {
        return Err(PlanError::new(span, format!("[DATATYPE_MISMATCH] {} takes whole numbers", op.symbol())));
    }
    let ty = if left.ty == DataType::Int64 { DataType::Int64 } else { DataType::Int32 };
    let (left, right) = (cast(left, &ty, Mode::of(ansi)), cast(right, &DataType::Int32, Mode::of(ansi)));
    Ok(Typed::call(op.symbol(), &[left, right], ty, span, move |args| {
        let (values, by) = (args.array(0)?, args.array(1)?);
        let by = by.as_primitive::<Int32Type>();
        Ok(match values.data_type() {
            DataType::Int64 => {
                Arc::new(binary::<_, _, _, Int64Type>(values.as_primitive::<Int64Type>(), by, |v, by| match op {
                    Binary::ShiftLeft => v.wrapping_shl(by as u32),
                    Binary::ShiftRight => v.wrapping_shr(by as u32),
                    _ => (v as u64).wrapping_shr(by as u32) as i64,
                })?) as ArrayRef
            }
            _ => Arc::new(binary::<_, _, _, Int32Type>(values.as_primitive::<Int32Type>(), by, |v, by| match op {
                Binary::ShiftLeft => v.wrapping_shl(by as u32),
                Binary::ShiftRight => v.wrapping_shr(by as u32),
                _ => (v as u32).wrapping_shr(by as u32) as i32,
            })?),
        })
    }))
}

/// A value as the operand of a sign: text becomes a double.
pub(crate) fn number(value: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    match &value.ty {
        DataType::Utf8 | DataType::Null => Ok(cast(value, &DataType::Float64, Mode::of(ansi))),
        ty if ty.is_numeric() || matches!(ty, DataType::Duration(_) | DataType::Interval(_)) => Ok(value),
        ty => {
            let message = format!("[DATATYPE_MISMATCH] a number is needed here, not {}", sql_name(ty));
            Err(PlanError::new(span, message).hint("cast it"))
        }
    }
}

/// `-value`.
pub(crate) fn negate(value: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let name = format!("(- {})", value.name);
    let value = number(value, ansi, span)?;
    let ty = value.ty.clone();
    let typed = Typed::call("negative", &[value], ty.clone(), span, move |args| {
        let array = args.array(0)?;
        if let DataType::Decimal128(_, _) = array.data_type() {
            // A decimal's range is symmetric.
            let negated = array.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(|v| -v);
            return Ok(Arc::new(negated.with_data_type(array.data_type().clone())));
        }
        let result = if ansi { numeric::neg(array.as_ref()) } else { numeric::neg_wrapping(array.as_ref()) };
        result.map_err(overflow)
    });
    let typed = typed.named(name);
    Ok(if ansi && ty.is_integer() { typed.fallible() } else { typed })
}

/// `~value`.
pub(crate) fn bit_not(value: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let name = value.name.clone();
    let ones = Typed::literal(ScalarValue::Int8(Some(-1)), "-1".into(), span);
    Ok(bits(Binary::BitXor, value, ones, ansi, span)?.named(format!("~{name}")))
}

/// The absolute value; the lowest whole number has none.
pub(crate) fn abs(value: Typed, ansi: bool, span: Span) -> Planned<Typed> {
    let value = number(value, ansi, span)?;
    let ty = value.ty.clone();
    let integer = ty.is_integer();
    let typed = Typed::call("abs", &[value], ty, span, move |args| {
        let array = args.array(0)?;
        macro_rules! whole {
            ($type:ty) => {{
                let values = array.as_primitive::<$type>();
                if ansi {
                    let abs = |v: <$type as ArrowPrimitiveType>::Native| {
                        v.checked_abs().ok_or_else(|| ArrowError::ArithmeticOverflow(format!("abs({v})")))
                    };
                    Arc::new(try_unary::<_, _, $type>(values, abs).map_err(overflow)?) as ArrayRef
                } else {
                    Arc::new(values.unary::<_, $type>(|v| v.wrapping_abs()))
                }
            }};
        }
        Ok(match array.data_type() {
            DataType::Int8 => whole!(Int8Type),
            DataType::Int16 => whole!(Int16Type),
            DataType::Int32 => whole!(Int32Type),
            DataType::Int64 => whole!(Int64Type),
            DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs)),
            DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs)),
            DataType::Decimal128(_, _) => {
                let abs = array.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(i128::abs);
                Arc::new(abs.with_data_type(array.data_type().clone()))
            }
            other => return exec_err!("abs does not take {other}"),
        })
    });
    Ok(if ansi && integer { typed.fallible() } else { typed })
}

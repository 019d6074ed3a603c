//! Casts among numbers and booleans.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion_common::{Result, exec_err};

use super::{Mode, display, out_of_precision, overflow};
use crate::functions::decimal::{fits, rescale};

/// Casts a number or boolean to a number or boolean.
pub(crate) fn cast(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Boolean => from_boolean(array.as_boolean(), to, mode),
        DataType::Int8 => from_long(array.as_primitive::<Int8Type>(), array, to, mode),
        DataType::Int16 => from_long(array.as_primitive::<Int16Type>(), array, to, mode),
        DataType::Int32 => from_long(array.as_primitive::<Int32Type>(), array, to, mode),
        DataType::Int64 => from_long(array.as_primitive::<Int64Type>(), array, to, mode),
        DataType::Float32 => from_double(array.as_primitive::<Float32Type>(), array, to, mode),
        DataType::Float64 => from_double(array.as_primitive::<Float64Type>(), array, to, mode),
        DataType::Decimal128(_, scale) => from_decimal(array, *scale, to, mode),
        other => exec_err!("no cast from {other} to {to}"),
    }
}

fn from_boolean(array: &BooleanArray, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let longs: PrimitiveArray<Int64Type> = array.iter().map(|value| value.map(i64::from)).collect();
    cast(&(Arc::new(longs) as ArrayRef), to, mode)
}

/// Runs `op` to make an array of the type `B`; the error names the value as SQL shows it.
fn map<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    array: &PrimitiveArray<A>,
    whole: &ArrayRef,
    to: &DataType,
    mode: Mode,
    op: impl Fn(A::Native) -> Option<B::Native>,
) -> Result<ArrayRef> {
    let failed = |value: A::Native| {
        let one: ArrayRef =
            Arc::new(PrimitiveArray::<A>::from_iter_values([value]).with_data_type(whole.data_type().clone()));
        let text = display(&one, 0).unwrap_or_default();
        overflow(&format!("{text}{}", suffix(whole.data_type())), whole.data_type(), to)
    };
    Ok(Arc::new(super::convert::<A, B>(array, mode, failed, op)?))
}

/// The suffix of a literal of the type, as Spark's messages have it.
fn suffix(ty: &DataType) -> &'static str {
    match ty {
        DataType::Int64 => "L",
        DataType::Int16 => "S",
        DataType::Int8 => "T",
        DataType::Float64 => "D",
        DataType::Decimal128(_, _) => "BD",
        _ => "",
    }
}

fn from_long<A>(array: &PrimitiveArray<A>, whole: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef>
where
    A: ArrowPrimitiveType,
    A::Native: Into<i64>,
{
    let legacy = mode == Mode::Legacy;
    match to {
        DataType::Boolean => Ok(Arc::new(BooleanArray::from_unary(array, |value| value.into() != 0))),
        DataType::Int8 => map::<A, Int8Type>(array, whole, to, mode, |v| {
            let v: i64 = v.into();
            i8::try_from(v).ok().or(legacy.then_some(v as i8))
        }),
        DataType::Int16 => map::<A, Int16Type>(array, whole, to, mode, |v| {
            let v: i64 = v.into();
            i16::try_from(v).ok().or(legacy.then_some(v as i16))
        }),
        DataType::Int32 => map::<A, Int32Type>(array, whole, to, mode, |v| {
            let v: i64 = v.into();
            i32::try_from(v).ok().or(legacy.then_some(v as i32))
        }),
        DataType::Int64 => Ok(Arc::new(array.unary::<_, Int64Type>(Into::into))),
        DataType::Float32 => Ok(Arc::new(array.unary::<_, Float32Type>(|v| v.into() as f32))),
        DataType::Float64 => Ok(Arc::new(array.unary::<_, Float64Type>(|v| v.into() as f64))),
        DataType::Decimal128(precision, scale) => decimals(
            array,
            *precision,
            *scale,
            mode,
            |v| rescale(i128::from(v.into()), 0, *scale),
            |v| v.into().to_string(),
        ),
        other => exec_err!("no cast from {} to {other}", whole.data_type()),
    }
}

fn from_double<A>(array: &PrimitiveArray<A>, whole: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef>
where
    A: ArrowPrimitiveType,
    A::Native: Into<f64> + std::fmt::Display,
{
    let legacy = mode == Mode::Legacy;
    // What has a fraction is cut; the range is that of the cut value.
    let within = |v: f64, low: f64, high: f64| v.floor() <= high && v.ceil() >= low;
    match to {
        DataType::Boolean => Ok(Arc::new(BooleanArray::from_unary(array, |value| value.into() != 0.0))),
        // Java narrows a double to an int first and cuts its upper bits for the smaller types.
        DataType::Int8 => map::<A, Int8Type>(array, whole, to, mode, |v| {
            let v: f64 = v.into();
            (legacy || within(v, -128.0, 127.0)).then_some(v as i32 as i8)
        }),
        DataType::Int16 => map::<A, Int16Type>(array, whole, to, mode, |v| {
            let v: f64 = v.into();
            (legacy || within(v, -32768.0, 32767.0)).then_some(v as i32 as i16)
        }),
        DataType::Int32 => map::<A, Int32Type>(array, whole, to, mode, |v| {
            let v: f64 = v.into();
            (legacy || within(v, f64::from(i32::MIN), f64::from(i32::MAX))).then_some(v as i32)
        }),
        DataType::Int64 => map::<A, Int64Type>(array, whole, to, mode, |v| {
            let v: f64 = v.into();
            (legacy || within(v, i64::MIN as f64, i64::MAX as f64)).then_some(v as i64)
        }),
        DataType::Float32 => Ok(Arc::new(array.unary::<_, Float32Type>(|v| v.into() as f32))),
        DataType::Float64 => Ok(Arc::new(array.unary::<_, Float64Type>(Into::into))),
        DataType::Decimal128(precision, scale) => {
            let read = |v: A::Native| {
                // Spark goes by the shortest text that reads back, and a float is widened first.
                let v: f64 = v.into();
                if v.is_finite() {
                    levada_formats::scalar::parse_decimal(&format!("{v:e}"), *precision, *scale)
                } else {
                    None
                }
            };
            // What is no number at all is null, not an error, under ANSI too.
            let finite = array.unary_opt::<_, A>(|v| v.into().is_finite().then_some(v));
            decimals(&finite, *precision, *scale, mode, read, |v| v.to_string())
        }
        other => exec_err!("no cast from {} to {other}", whole.data_type()),
    }
}

fn from_decimal(whole: &ArrayRef, from_scale: i8, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    let array = whole.as_primitive::<Decimal128Type>();
    let legacy = mode == Mode::Legacy;
    let unit = 10i128.pow(u32::from(from_scale.unsigned_abs()));
    match to {
        DataType::Boolean => Ok(Arc::new(BooleanArray::from_unary(array, |value| value != 0))),
        DataType::Int8 => map::<_, Int8Type>(array, whole, to, mode, |v| {
            i8::try_from(v / unit).ok().or(legacy.then_some((v / unit) as i8))
        }),
        DataType::Int16 => map::<_, Int16Type>(array, whole, to, mode, |v| {
            i16::try_from(v / unit).ok().or(legacy.then_some((v / unit) as i16))
        }),
        DataType::Int32 => map::<_, Int32Type>(array, whole, to, mode, |v| {
            i32::try_from(v / unit).ok().or(legacy.then_some((v / unit) as i32))
        }),
        DataType::Int64 => map::<_, Int64Type>(array, whole, to, mode, |v| {
            i64::try_from(v / unit).ok().or(legacy.then_some((v / unit) as i64))
        }),
        // Through the text, so that the nearest double is found.
        DataType::Float32 => Ok(Arc::new(array.unary::<_, Float32Type>(|v| scientific(v, from_scale) as f32))),
        DataType::Float64 => Ok(Arc::new(array.unary::<_, Float64Type>(|v| scientific(v, from_scale)))),
        DataType::Decimal128(precision, scale) => {
            let text = |v| levada_formats::scalar::format_decimal(v, from_scale);
            decimals(array, *precision, *scale, mode, |v| rescale(v, from_scale, *scale), text)
        }
        other => exec_err!("no cast from {} to {other}", whole.data_type()),
    }
}

fn scientific(value: i128, scale: i8) -> f64 {
    format!("{value}e{}", -i32::from(scale)).parse().unwrap_or(f64::NAN)
}

fn decimals<A: ArrowPrimitiveType>(
    array: &PrimitiveArray<A>,
    precision: u8,
    scale: i8,
    mode: Mode,
    op: impl Fn(A::Native) -> Option<i128>,
    text: impl Fn(A::Native) -> String,
) -> Result<ArrayRef> {
    let failed = |value| out_of_precision(&text(value), precision, scale);
    let read = |value| op(value).filter(|value| fits(*value, precision));
    let decimals = super::convert::<A, Decimal128Type>(array, mode, failed, read)?;
    Ok(Arc::new(decimals.with_precision_and_scale(precision, scale)?))
}

/// A whole number as its bytes, the highest first.
pub(crate) fn to_bytes(array: &ArrayRef) -> Result<ArrayRef> {
    macro_rules! bytes {
        ($type:ty) => {
            array.as_primitive::<$type>().iter().map(|v| v.map(|v| v.to_be_bytes().to_vec())).collect::<BinaryArray>()
        };
    }
    Ok(Arc::new(match array.data_type() {
        DataType::Int8 => bytes!(Int8Type),
        DataType::Int16 => bytes!(Int16Type),
        DataType::Int32 => bytes!(Int32Type),
        DataType::Int64 => bytes!(Int64Type),
        other => return exec_err!("no cast from {other} to binary"),
    }))
}

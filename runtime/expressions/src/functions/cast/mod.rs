//! Spark's casts, in its three modes.

mod nested;
mod number;
mod text;
mod time;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray, new_null_array};
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use datafusion_common::{DataFusionError, Result};

use crate::ast::{PlanError, Planned, Span};
use crate::functions::types::{sql_name, timestamp};
use crate::typed::Typed;

pub(crate) use text::{display, java_decimal};

/// What happens to a value that the target type cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The batch fails.
    Ansi,
    /// It wraps, saturates or becomes null, as in Hive.
    Legacy,
    /// It becomes null.
    Try,
}

impl Mode {
    pub(crate) fn of(ansi: bool) -> Self {
        if ansi { Self::Ansi } else { Self::Legacy }
    }
}

/// An explicit cast. Its name is that of the column, or `CAST(… AS …)`.
pub(crate) fn explicit(value: Typed, to: &DataType, ansi: bool, attempt: bool, span: Span) -> Planned<Typed> {
    let from = value.ty.clone();
    let strict = ansi || attempt;
    if !castable(&from, to, strict) {
        let message = format!("a value of type {} cannot be cast to {}", sql_name(&from), sql_name(to));
        let error = PlanError::new(span, format!("[DATATYPE_MISMATCH] {message}"));
        return Err(match castable(&from, to, false) {
            true => error.hint("set ansi to false to allow it"),
            false => error.hint("choose another type"),
        });
    }
    let mode = if attempt { Mode::Try } else { Mode::of(ansi) };
    Ok(cast(value, to, mode))
}

/// A cast that was checked, or that the coercion rules ask for.
pub(crate) fn cast(value: Typed, to: &DataType, mode: Mode) -> Typed {
    if value.ty == *to {
        return value;
    }
    let name = value.name.clone();
    let span = value.span;
    let fallible = mode == Mode::Ansi && can_fail(&value.ty, to);
    let target = to.clone();
    let typed = Typed::call("cast", &[value], to.clone(), span, move |args| cast_array(&args.array(0)?, &target, mode));
    let typed = typed.named(name);
    if fallible { typed.fallible() } else { typed }
}

/// Whether Spark has a cast between the types: fewer under ANSI than without it.
pub(crate) fn castable(from: &DataType, to: &DataType, ansi: bool) -> bool {
    use DataType::{Binary, Boolean, Date32, Interval, List, Map, Null, Struct, Timestamp, Utf8};
    let zoned = |ty: &DataType| matches!(ty, Timestamp(_, Some(_)));
    match (from, to) {
        (a, b) if a == b => true,
        (Null, _) => true,
        (Interval(_), Utf8) => false,
        (_, Utf8) => true,
        (Utf8, b) => b.is_numeric() || matches!(b, Boolean | Binary | Date32 | Timestamp(_, _)),
        (a, b) if a.is_numeric() && b.is_numeric() => true,
        (Boolean, b) if b.is_numeric() => true,
        (a, Boolean) if a.is_numeric() => true,
        (a, b) if a.is_numeric() && zoned(b) => true,
        (a, b) if zoned(a) && b.is_numeric() => true,
        (Date32, Timestamp(_, _)) | (Timestamp(_, _), Date32) | (Timestamp(_, _), Timestamp(_, _)) => true,
        (a, Binary) if a.is_integer() => !ansi,
        (Boolean, b) | (b, Boolean) if zoned(b) => !ansi,
        (Date32, b) => !ansi && (b.is_numeric() || *b == Boolean),
        (List(a), List(b)) => castable(a.data_type(), b.data_type(), ansi),
        (Map(a, _), Map(b, _)) => castable(a.data_type(), b.data_type(), ansi),
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| castable(a.data_type(), b.data_type(), ansi))
        }
        _ => false,
    }
}

fn can_fail(from: &DataType, to: &DataType) -> bool {
    let widens = match (from, to) {
        (DataType::Null, _) | (_, DataType::Utf8 | DataType::Float32 | DataType::Float64) => *from != DataType::Utf8,
        (a, b) if a.is_integer() && b.is_integer() => a.primitive_width() <= b.primitive_width(),
        (DataType::Boolean, _) | (_, DataType::Boolean) => *from != DataType::Utf8,
        (_, DataType::Binary) => true,
        (DataType::Date32 | DataType::Timestamp(_, _), DataType::Date32 | DataType::Timestamp(_, _)) => true,
        _ => false,
    };
    !widens
}

/// Casts a column.
pub(crate) fn cast_array(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    use DataType::{Binary, Boolean, Date32, List, Map, Null, Struct, Timestamp, Utf8};
    let from = array.data_type();
    match (from, to) {
        (a, b) if a == b => Ok(Arc::clone(array)),
        (Null, _) => Ok(new_null_array(to, array.len())),
        (_, Utf8) => text::to_text(array, mode),
        (Utf8, _) => text::from_text(array, to, mode),
        (a, Binary) if a.is_integer() => number::to_bytes(array),
        (Boolean, Timestamp(_, _)) | (Timestamp(_, _), Boolean) => {
            let long = cast_array(array, &DataType::Int64, mode)?;
            if *to == Boolean { number::cast(&long, to, mode) } else { time::micros_of(&long) }
        }
        (Date32, Timestamp(_, _)) | (Timestamp(_, _), Date32) | (Timestamp(_, _), Timestamp(_, _)) => {
            time::between(array, to)
        }
        (Date32, _) => Ok(new_null_array(to, array.len())),
        (Timestamp(_, _), _) => time::to_number(array, to, mode),
        (_, Timestamp(_, _)) => time::from_number(array, mode),
        (List(_), List(_)) | (Map(_, _), Map(_, _)) | (Struct(_), Struct(_)) => nested::cast(array, to, mode),
        _ => number::cast(array, to, mode),
    }
}

/// The error of a text that is no value of the type.
pub(crate) fn invalid_input(value: &str, from: &DataType, to: &DataType) -> DataFusionError {
    let from = sql_name(from);
    let quote = if from == "STRING" { "'" } else { "" };
    DataFusionError::Execution(format!(
        "[CAST_INVALID_INPUT] the value {quote}{value}{quote} of the type \"{from}\" cannot be cast to \"{}\" because it \
         is malformed; correct the value, or use try_cast to get NULL instead",
        sql_name(to)
    ))
}

/// The error of a value that the type cannot hold.
pub(crate) fn overflow(value: &str, from: &DataType, to: &DataType) -> DataFusionError {
    DataFusionError::Execution(format!(
        "[CAST_OVERFLOW] the value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow; use try_cast \
         to get NULL instead",
        sql_name(from),
        sql_name(to)
    ))
}

/// The error of a number with more digits than the decimal type.
pub(crate) fn out_of_precision(value: &str, precision: u8, scale: i8) -> DataFusionError {
    DataFusionError::Execution(format!(
        "[NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION] {value} cannot be represented as decimal({precision}, {scale}); use \
         try_cast to get NULL instead"
    ))
}

/// Converts each value; `None` is a failure: an error under ANSI, otherwise null.
pub(crate) fn convert<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    array: &PrimitiveArray<A>,
    mode: Mode,
    error: impl Fn(A::Native) -> DataFusionError,
    op: impl Fn(A::Native) -> Option<B::Native>,
) -> Result<PrimitiveArray<B>> {
    if mode != Mode::Ansi {
        return Ok(array.unary_opt(op));
    }
    array.try_unary(|value| op(value).ok_or_else(|| error(value)))
}

/// Whether the type is a timestamp of microseconds, as all of Spark's are.
pub(crate) fn is_timestamp(ty: &DataType) -> bool {
    matches!(ty, DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// The type of timestamps with a time zone.
pub(crate) fn zoned() -> DataType {
    timestamp()
}

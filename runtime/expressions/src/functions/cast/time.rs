//! Casts among dates, timestamps and numbers of seconds.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion_common::{Result, exec_err};

use super::{Mode, cast_array, display, invalid_input, is_timestamp, zoned};
use crate::functions::decimal::rescale;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Casts between dates and timestamps. The session's time zone is UTC, so that no value moves.
pub(crate) fn between(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), to) {
        (DataType::Date32, _) => {
            let micros =
                array.as_primitive::<Date32Type>().unary::<_, TimestampMicrosecondType>(|d| i64::from(d) * DAY);
            Ok(Arc::new(micros.with_data_type(to.clone())))
        }
        (from, DataType::Date32) if is_timestamp(from) => {
            let days = array.as_primitive::<TimestampMicrosecondType>();
            Ok(Arc::new(days.unary::<_, Date32Type>(|micros| micros.div_euclid(DAY) as i32)))
        }
        (from, to) if is_timestamp(from) && is_timestamp(to) => {
            Ok(Arc::new(array.as_primitive::<TimestampMicrosecondType>().clone().with_data_type(to.clone())))
        }
        // Timestamps of other units come from foreign schemas only.
        (_, to) => Ok(arrow::compute::cast(array, to)?),
    }
}

/// Whole microseconds since the epoch, as a timestamp.
pub(crate) fn micros_of(array: &ArrayRef) -> Result<ArrayRef> {
    let micros = array.as_primitive::<Int64Type>().unary::<_, TimestampMicrosecondType>(|micros| micros);
    Ok(Arc::new(micros.with_data_type(zoned())))
}

/// A timestamp as seconds since the epoch.
pub(crate) fn to_number(array: &ArrayRef, to: &DataType, mode: Mode) -> Result<ArrayRef> {
    if !is_timestamp(array.data_type()) {
        return to_number(&arrow::compute::cast(array, &zoned())?, to, mode);
    }
    let micros = array.as_primitive::<TimestampMicrosecondType>();
    match to {
        DataType::Float64 => Ok(Arc::new(micros.unary::<_, Float64Type>(|v| v as f64 / SECOND as f64))),
        DataType::Float32 => Ok(Arc::new(micros.unary::<_, Float32Type>(|v| (v as f64 / SECOND as f64) as f32))),
        DataType::Decimal128(_, _) => {
            let exact = micros.unary::<_, Decimal128Type>(i128::from).with_precision_and_scale(38, 6)?;
            cast_array(&(Arc::new(exact) as ArrayRef), to, mode)
        }
        _ => {
            let seconds: ArrayRef = Arc::new(micros.unary::<_, Int64Type>(|v| v.div_euclid(SECOND)));
            cast_array(&seconds, to, mode)
        }
    }
}

/// Seconds since the epoch, as a timestamp.
pub(crate) fn from_number(array: &ArrayRef, mode: Mode) -> Result<ArrayRef> {
    let micros = match array.data_type() {
        ty if ty.is_integer() => {
            let seconds = cast_array(array, &DataType::Int64, mode)?;
            seconds.as_primitive::<Int64Type>().unary::<_, TimestampMicrosecondType>(|v| v.saturating_mul(SECOND))
        }
        DataType::Float32 | DataType::Float64 => {
            let seconds = cast_array(array, &DataType::Float64, mode)?;
            let failed = |value: f64| {
                let value = levada_formats::scalar::format_double(value);
                invalid_input(&value, array.data_type(), &zoned())
            };
            let failed = |value: f64| match value.is_finite() {
                true => super::overflow(&levada_formats::scalar::format_double(value), array.data_type(), &zoned()),
                false => failed(value),
            };
            super::convert::<Float64Type, TimestampMicrosecondType>(seconds.as_primitive(), mode, failed, |v| {
                let micros = v * SECOND as f64;
                let fits = micros.abs() < i64::MAX as f64 || mode == Mode::Legacy;
                (v.is_finite() && fits).then_some(micros as i64)
            })?
        }
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            let decimals = array.as_primitive::<Decimal128Type>();
            // More than six decimals are cut, not rounded.
            let cut = |v: i128| match u32::try_from(scale - 6) {
                Ok(surplus) if surplus > 0 => Some(v / 10i128.pow(surplus)),
                _ => rescale(v, scale, 6),
            };
            let failed = |_| {
                let value = display(array, 0).unwrap_or_default();
                super::overflow(&value, array.data_type(), &zoned())
            };
            super::convert::<Decimal128Type, TimestampMicrosecondType>(decimals, mode, failed, |v| {
                cut(v).map(|micros| micros as i64)
            })?
        }
        other => return exec_err!("no cast from {other} to timestamp"),
    };
    Ok(Arc::new(micros.with_data_type(zoned())))
}

//! Functions of dates and timestamps that are not often needed.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, TimestampMicrosecondType};
use chrono::{Datelike, NaiveDate};
use datafusion_common::{Result, exec_err};
use levada_formats::scalar::{Pattern, parse_zone};

use super::Invocation;
use super::cast::{Mode, cast};
use super::interval::on_calendar;
use super::types::timestamp;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] =
    &["months_between", "make_timestamp", "dayname", "monthname", "from_utc_timestamp", "to_utc_timestamp"];

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "months_between" => {
            let mut args = call.between(2, 3)?.into_iter();
            let (Some(a), Some(b)) = (args.next(), args.next()) else {
                return Err(call.error("arguments are missing"));
            };
            let exact = match args.next().map(|round| round.literal) {
                None => false,
                Some(Some(datafusion_common::ScalarValue::Boolean(Some(round)))) => !round,
                Some(_) => return Err(call.error("the third argument of months_between has to be true or false")),
            };
            let label = format!("months_between({}, {}, {})", a.name, b.name, !exact);
            let args = [argument(a, &timestamp(), ansi, call.name)?, argument(b, &timestamp(), ansi, call.name)?];
            let typed = Typed::call(call.name, &args, DataType::Float64, span, move |args| {
                let (a, b) = (args.array(0)?, args.array(1)?);
                let (a, b) =
                    (a.as_primitive::<TimestampMicrosecondType>(), b.as_primitive::<TimestampMicrosecondType>());
                let months = a.iter().zip(b).map(|(a, b)| {
                    let months = months_between(a?, b?);
                    Some(if exact { months } else { (months * 1e8 + 0.5).floor() / 1e8 })
                });
                Ok(Arc::new(months.collect::<Float64Array>()))
            });
            Ok(typed.named(label))
        }
        "make_timestamp" => {
            let args = call.between(6, 6)?;
            let label = crate::typed::call_name("make_timestamp", &args);
            let mut cast_args = Vec::with_capacity(6);
            for (at, arg) in args.into_iter().enumerate() {
                let to = if at < 5 { DataType::Int32 } else { DataType::Decimal128(16, 6) };
                let arg = argument(arg, &to, ansi, call.name)?;
                cast_args.push(arg);
            }
            let typed = Typed::call(call.name, &cast_args, timestamp(), span, move |args| {
                let arrays = args.arrays()?;
                let made = |row: usize| -> Result<Option<i64>> {
                    if arrays.iter().any(|array| array.is_null(row)) {
                        return Ok(None);
                    }
                    let part =
                        |at: usize| arrays.get(at).map_or(0, |array| array.as_primitive::<Int32Type>().value(row));
                    let second = arrays.get(5).map_or(0, |array| array.as_primitive::<Decimal128Type>().value(row));
                    match instant([part(0), part(1), part(2), part(3), part(4)], second) {
                        None if ansi => {
                            exec_err!(
                                "[DATETIME_FIELD_OUT_OF_BOUNDS] make_timestamp: there is no such time; use try_make_timestamp"
                            )
                        }
                        made => Ok(made),
                    }
                };
                let micros = (0..args.rows).map(made).collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
                Ok(Arc::new(micros.with_data_type(timestamp())))
            });
            Ok(if ansi { typed.fallible() } else { typed }.named(label))
        }
        "dayname" | "monthname" => {
            let [value] = call.exactly()?;
            let label = format!("{}({})", call.name, value.name);
            let date = argument(value, &DataType::Date32, ansi, call.name)?;
            let pattern = Pattern::new(if call.name == "dayname" { "EEE" } else { "MMM" });
            let pattern = pattern.map_err(|error| call.error(error))?;
            let times = cast(date, &timestamp(), Mode::Legacy);
            let typed = Typed::call(call.name, &[times], DataType::Utf8, span, move |args| {
                let times = args.array(0)?;
                let times = times.as_primitive::<TimestampMicrosecondType>().iter();
                Ok(Arc::new(times.map(|micros| micros.map(|micros| pattern.format(micros))).collect::<StringArray>()))
            });
            Ok(typed.named(label))
        }
        name => {
            let [value, zone] = call.exactly()?;
            let label = format!("{name}({}, {})", value.name, zone.name);
            let args = [argument(value, &timestamp(), ansi, name)?, argument(zone, &DataType::Utf8, ansi, name)?];
            let to_utc = name == "to_utc_timestamp";
            let typed = Typed::call(name, &args, timestamp(), span, move |args| {
                let (times, zones) = (args.array(0)?, args.array(1)?);
                let rows = times.as_primitive::<TimestampMicrosecondType>().iter().zip(zones.as_string::<i32>());
                let moved = rows.map(|(time, zone)| {
                    let (Some(time), Some(zone)) = (time, zone) else { return Ok(None) };
                    let Some(zone) = parse_zone(zone) else {
                        return exec_err!("[INVALID_TIMEZONE] there is no time zone '{zone}'");
                    };
                    Ok(if to_utc { zone.to_utc(time) } else { zone.to_local(time) })
                });
                let moved = moved.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
                Ok(Arc::new(moved.with_data_type(timestamp())))
            });
            Ok(typed.fallible().named(label))
        }
    }
}

/// Whole months where both are the same day of a month, or its last; otherwise days count as parts of 31.
fn months_between(a: i64, b: i64) -> f64 {
    let ((first, year), (second, other)) = (on_calendar(a.div_euclid(DAY)), on_calendar(b.div_euclid(DAY)));
    let months = |date: NaiveDate, year: i64| (year * 12 + i64::from(date.month0())) as f64;
    let difference = months(first, year) - months(second, other);
    let last = |date: NaiveDate| date.succ_opt().is_none_or(|next| next.month() != date.month());
    if first.day() == second.day() || (last(first) && last(second)) {
        return difference;
    }
    let seconds = |micros: i64| micros.rem_euclid(DAY) / SECOND;
    let days = i64::from(first.day()) - i64::from(second.day());
    let rest = days * 86_400 + seconds(a) - seconds(b);
    difference + rest as f64 / (31.0 * 86_400.0)
}

/// Microseconds since 1970 of a date and time; the last part is in millionths of a second.
fn instant([year, month, day, hour, minute]: [i32; 5], second: i128) -> Option<i64> {
    let unsigned = |part: i32| u32::try_from(part).ok();
    let date = NaiveDate::from_ymd_opt(year, unsigned(month)?, unsigned(day)?)?;
    let micros = i64::try_from(second).ok()?;
    // The 60th second is the first of the next minute.
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60 * SECOND).contains(&micros) {
        return None;
    }
    let days = i64::from(super::interval::days_of(date));
    Some(days * DAY + (i64::from(hour) * 3600 + i64::from(minute) * 60) * SECOND + micros)
}

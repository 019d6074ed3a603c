//! Times moved and measured by units that stand as bare words: `timestampadd(MONTH, 1, t)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, Int32Type, Int64Type, IntervalYearMonthType, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::Datelike;
use datafusion_common::{Result, exec_err};
use levada_formats::scalar::parse_zone;

use super::Invocation;
use super::cast::is_timestamp;
use super::interval::{add_months, on_calendar};
use super::types::{duration, timestamp};
use crate::ast::{Ast, Node, PlanError, Planned};
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] =
    &["timestampadd", "timestampdiff", "convert_timezone", "make_interval", "make_dt_interval", "make_ym_interval"];

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A unit: months, or microseconds.
#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Micros(i64),
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name.to_ascii_uppercase().as_str() {
        "MICROSECOND" => Unit::Micros(1),
        "MILLISECOND" => Unit::Micros(1000),
        "SECOND" => Unit::Micros(SECOND),
        "MINUTE" => Unit::Micros(60 * SECOND),
        "HOUR" => Unit::Micros(3600 * SECOND),
        "DAY" | "DAYOFYEAR" => Unit::Micros(DAY),
        "WEEK" => Unit::Micros(7 * DAY),
        "MONTH" => Unit::Months(1),
        "QUARTER" => Unit::Months(3),
        "YEAR" => Unit::Months(12),
        _ => return None,
    })
}

/// Whether the first of three arguments is a unit, which is no column.
pub(crate) fn takes_unit(name: &str, args: &[Ast]) -> bool {
    let known = matches!(name, "timestampadd" | "dateadd" | "date_add" | "timestampdiff" | "datediff" | "date_diff");
    known && args.len() == 3
}

/// A call with a unit: the arguments behind it are planned.
pub(crate) fn apply(call: Invocation<'_>, first: &Ast) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    let (Node::Name(name), add) = (&first.node, matches!(call.name, "timestampadd" | "dateadd" | "date_add")) else {
        let message = format!("[INVALID_PARAMETER_VALUE.DATETIME_UNIT] {} takes a unit such as MONTH first", call.name);
        return Err(PlanError::new(first.span, message).hint("write the unit without quotes"));
    };
    let Some(unit) = unit(name) else {
        let units = "MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR";
        return Err(
            PlanError::new(first.span, format!("'{name}' is no unit of time")).hint(format!("use one of {units}"))
        );
    };
    let Ok([a, b]) = <[Typed; 2]>::try_from(call.args) else {
        return Err(PlanError::new(span, "a value is missing"));
    };
    let title = if add { "timestampadd" } else { "timestampdiff" };
    let label = format!("{title}({}, {}, {})", name.to_uppercase(), a.name, b.name);
    let moment = |value: Typed| match is_timestamp(&value.ty) {
        true => Ok(value),
        false => argument(value, &timestamp(), ansi, title),
    };
    if !add {
        let args = [moment(a)?, moment(b)?];
        let typed = Typed::call(title, &args, DataType::Int64, span, move |args| {
            let (from, to) = (args.array(0)?, args.array(1)?);
            let rows = from
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .zip(to.as_primitive::<TimestampMicrosecondType>());
            Ok(Arc::new(rows.map(|(from, to)| Some(between(unit, from?, to?))).collect::<Int64Array>()))
        });
        return Ok(typed.named(label));
    }
    let args = [argument(a, &DataType::Int64, ansi, title)?, moment(b)?];
    let ty = args[1].ty.clone();
    let typed = Typed::call(title, &args, ty.clone(), span, move |args| {
        let (by, times) = (args.array(0)?, args.array(1)?);
        let rows = by.as_primitive::<Int64Type>().iter().zip(times.as_primitive::<TimestampMicrosecondType>());
        let moved = rows.map(|(by, time)| {
            let (Some(by), Some(time)) = (by, time) else { return Ok(None) };
            match moved(unit, by, time) {
                None => exec_err!("[DATETIME_OVERFLOW] timestampadd: the time is out of range"),
                moved => Ok(moved),
            }
        });
        let moved = moved.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
        Ok(Arc::new(moved.with_data_type(ty.clone())))
    });
    Ok(typed.fallible().named(label))
}

fn moved(unit: Unit, by: i64, time: i64) -> Option<i64> {
    match unit {
        Unit::Micros(micros) => time.checked_add(by.checked_mul(micros)?),
        Unit::Months(months) => {
            let months = i32::try_from(by.checked_mul(months)?).ok()?;
            let day = add_months(i32::try_from(time.div_euclid(DAY)).ok()?, months)?;
            Some(i64::from(day) * DAY + time.rem_euclid(DAY))
        }
    }
}

/// How many whole units lie between two times.
fn between(unit: Unit, from: i64, to: i64) -> i64 {
    match unit {
        Unit::Micros(micros) => to.saturating_sub(from) / micros,
        Unit::Months(per) => {
            let place = |time: i64| {
                let (date, year) = on_calendar(time.div_euclid(DAY));
                (year * 12 + i64::from(date.month0()), i64::from(date.day0()) * DAY + time.rem_euclid(DAY))
            };
            let ((first, early), (second, late)) = (place(from), place(to));
            let months = second - first;
            // A month that has not ended does not count.
            let whole = match months {
                months if months > 0 && late < early => months - 1,
                months if months < 0 && late > early => months + 1,
                months => months,
            };
            whole / per
        }
    }
}

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    match name {
        "convert_timezone" => convert(call),
        "make_interval" => make_interval(call),
        "make_ym_interval" => {
            let args = call.between(0, 2)?;
            let label = call_name(name, &args);
            let int = |value: Typed| argument(value, &DataType::Int32, ansi, name);
            let args = args.into_iter().map(int).collect::<Planned<Vec<_>>>()?;
            Ok(months(name, args, span).named(label))
        }
        "make_dt_interval" => {
            let args = call.between(0, 4)?;
            let label = call_name(name, &args);
            Ok(micros(name, &[DAY, 3600 * SECOND, 60 * SECOND], args, ansi, span)?.named(label))
        }
        _ => {
            let message = format!("[WRONG_NUM_ARGS] {name} takes a unit and two values, not {}", call.args.len());
            Err(PlanError::new(span, message).hint(format!("write {name}(MONTH, a, b)")))
        }
    }
}

/// Years, months, weeks, days, hours, minutes, seconds: intervals are of months or of shorter parts here, not of both.
fn make_interval(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    let args = call.between(0, 7)?;
    let label = call_name(name, &args);
    let zero = |value: &Typed| value.literal_long() == Some(0);
    let mut long = args;
    let short = long.split_off(long.len().min(2));
    let typed = match (long.iter().all(zero), short.iter().all(zero)) {
        (true, _) => {
            const FACTORS: [i64; 4] = [7 * DAY, DAY, 3600 * SECOND, 60 * SECOND];
            micros(name, &FACTORS, short, ansi, span)?
        }
        (false, true) => {
            let int = |value: Typed| argument(value, &DataType::Int32, ansi, name);
            months(name, long.into_iter().map(int).collect::<Planned<Vec<_>>>()?, span)
        }
        (false, false) => {
            let message = "an interval of both months and days is not supported";
            return Err(PlanError::new(span, message).hint("add two intervals one after the other"));
        }
    };
    Ok(typed.named(label))
}

/// Years and months.
fn months(name: &str, args: Vec<Typed>, span: crate::ast::Span) -> Typed {
    let ty = DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth);
    let typed = Typed::call(name, &args, ty, span, |args| {
        let parts = args.arrays()?;
        let total = |row: usize| {
            let mut total = 0i64;
            for (part, factor) in parts.iter().zip([12i64, 1]) {
                let part = part.as_primitive::<Int32Type>();
                if part.is_null(row) {
                    return Ok(None);
                }
                total += i64::from(part.value(row)) * factor;
            }
            match i32::try_from(total) {
                Ok(total) => Ok(Some(total)),
                Err(_) => exec_err!("[INTERVAL_ARITHMETIC_OVERFLOW] an interval has too many months"),
            }
        };
        Ok(Arc::new((0..args.rows).map(total).collect::<Result<PrimitiveArray<IntervalYearMonthType>>>()?) as ArrayRef)
    });
    typed.fallible()
}

/// Whole parts of so many microseconds each, and seconds with a fraction at last.
fn micros(name: &str, factors: &'static [i64], args: Vec<Typed>, ansi: bool, span: crate::ast::Span) -> Planned<Typed> {
    let mut parts = Vec::with_capacity(args.len());
    for (at, arg) in args.into_iter().enumerate() {
        let to = if at < factors.len() { DataType::Int32 } else { DataType::Decimal128(18, 6) };
        parts.push(argument(arg, &to, ansi, name)?);
    }
    let typed = Typed::call(name, &parts, duration(), span, move |args| {
        let parts = args.arrays()?;
        let total = |row: usize| {
            let mut total = Some(0i64);
            for (at, part) in parts.iter().enumerate() {
                if part.is_null(row) {
                    return Ok(None);
                }
                let micros = match factors.get(at) {
                    Some(factor) => i64::from(part.as_primitive::<Int32Type>().value(row)).checked_mul(*factor),
                    None => i64::try_from(part.as_primitive::<Decimal128Type>().value(row)).ok(),
                };
                total = total.zip(micros).and_then(|(total, micros)| total.checked_add(micros));
            }
            match total {
                None => exec_err!("[INTERVAL_ARITHMETIC_OVERFLOW] an interval is too long"),
                total => Ok(total),
            }
        };
        Ok(Arc::new((0..args.rows).map(total).collect::<Result<PrimitiveArray<DurationMicrosecondType>>>()?)
            as ArrayRef)
    });
    Ok(typed.fallible())
}

/// A time on the clocks of one zone as the clocks of another show it.
fn convert(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    let mut args = call.between(2, 3)?;
    if args.len() == 2 {
        let utc = datafusion_common::ScalarValue::Utf8(Some("UTC".into()));
        args.insert(0, Typed::literal(utc, "current_timezone()".into(), span));
    }
    let label = call_name(name, &args);
    let ntz = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut cast_args = Vec::with_capacity(3);
    for (at, arg) in args.into_iter().enumerate() {
        cast_args.push(argument(arg, if at < 2 { &DataType::Utf8 } else { &ntz }, ansi, name)?);
    }
    let typed = Typed::call(name, &cast_args, ntz, span, |args| {
        let (from, to, times) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let zones = from.as_string::<i32>().iter().zip(to.as_string::<i32>());
        let rows = zones.zip(times.as_primitive::<TimestampMicrosecondType>());
        let zone = |name: &str| match parse_zone(name) {
            Some(zone) => Ok(zone),
            None => exec_err!("[INVALID_TIMEZONE] there is no time zone '{name}'"),
        };
        let converted = rows.map(|((from, to), time)| {
            let (Some(from), Some(to), Some(time)) = (from, to, time) else { return Ok(None) };
            let (from, to) = (zone(from)?, zone(to)?);
            Ok(from.to_utc(time).and_then(|utc| to.to_local(utc)))
        });
        Ok(Arc::new(converted.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?) as ArrayRef)
    });
    Ok(typed.fallible().named(label))
}

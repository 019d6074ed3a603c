//! Functions of dates and timestamps. The session's time zone is UTC.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Int32Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use chrono::{Datelike, NaiveDate, Utc};
use datafusion_common::{DataFusionError, Result, exec_err};

use super::Invocation;
use super::cast::{Mode, cast, is_timestamp};
use super::interval::{add_months, days, days_of, moved_on_calendar, on_calendar};
use super::types::timestamp;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "window_time",
    "year",
    "quarter",
    "month",
    "day",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "weekofyear",
    "weekday",
    "hour",
    "minute",
    "second",
    "date_part",
    "datepart",
    "extract",
    "date_trunc",
    "trunc",
    "date_add",
    "dateadd",
    "date_sub",
    "datediff",
    "date_diff",
    "add_months",
    "last_day",
    "next_day",
    "timestamp_seconds",
    "timestamp_millis",
    "timestamp_micros",
    "unix_seconds",
    "unix_millis",
    "unix_micros",
    "unix_date",
    "date_from_unix_date",
    "make_date",
    "current_timestamp",
    "now",
    "current_date",
    "curdate",
];

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "date_part" | "datepart" | "extract" => {
            let [field, value] = call.exactly()?;
            let Some(name) = field.literal_text().map(str::to_lowercase) else {
                return Err(call.error("the field of date_part has to be a constant text"));
            };
            let label = match call.name {
                "extract" => format!("extract({} FROM {})", field.name, value.name),
                _ => format!("{}({}, {})", call.name, field.name, value.name),
            };
            Ok(part(&call, canonical(&name), value)?.named(label))
        }
        "window_time" => {
            let [window] = call.exactly()?;
            let label = format!("window_time({})", window.name);
            let end = super::field::get(window, "end", span)?;
            let micro = datafusion_common::ScalarValue::DurationMicrosecond(Some(1));
            let micro = Typed::literal(micro, "INTERVAL '0.000001' SECOND".to_owned(), span);
            Ok(call.planner.binary(crate::ast::Binary::Subtract, end, micro, span)?.named(label))
        }
        "date_trunc" => truncate(call),
        "trunc" => trunc(call),
        "date_add" | "dateadd" | "date_sub" => {
            let [date, by] = call.exactly()?;
            if ansi && (by.ty.is_numeric() && !matches!(by.ty, DataType::Int8 | DataType::Int16 | DataType::Int32)) {
                let message = format!(
                    "[DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE] {} takes days as INT, SMALLINT or TINYINT, not {}",
                    call.name,
                    super::types::sql_name(&by.ty)
                );
                return Err(crate::ast::PlanError::new(by.span, message).hint("cast it"));
            }
            let (date, by) = (to_date(date, &call)?, argument(by, &DataType::Int32, ansi, call.name)?);
            let name = if call.name == "date_sub" { "date_sub" } else { "date_add" };
            let name = format!("{name}({}, {})", date.name, by.name);
            Ok(days(date, by, call.name == "date_sub", ansi, span)?.named(name))
        }
        "datediff" | "date_diff" => {
            let [end, start] = call.exactly()?;
            let args = [to_date(end, &call)?, to_date(start, &call)?];
            Ok(Typed::call(call.name, &args, DataType::Int32, span, |args| {
                let (a, b) = (args.array(0)?, args.array(1)?);
                let rows = a.as_primitive::<Date32Type>().iter().zip(b.as_primitive::<Date32Type>());
                Ok(Arc::new(rows.map(|(a, b)| Some(a?.wrapping_sub(b?))).collect::<Int32Array>()))
            }))
        }
        "add_months" => {
            let [date, months] = call.exactly()?;
            let args = [to_date(date, &call)?, argument(months, &DataType::Int32, ansi, call.name)?];
            let typed = Typed::call("add_months", &args, DataType::Date32, span, |args| {
                let (dates, by) = (args.array(0)?, args.array(1)?);
                let rows = dates.as_primitive::<Date32Type>().iter().zip(by.as_primitive::<Int32Type>());
                let moved = rows.map(|(date, by)| {
                    let (Some(date), Some(by)) = (date, by) else { return Ok(None) };
                    match add_months(date, by) {
                        // Spark fails whether ANSI is on or off.
                        None => exec_err!("[ARITHMETIC_OVERFLOW] add_months: the date is out of range"),
                        moved => Ok(moved),
                    }
                });
                Ok(Arc::new(moved.collect::<Result<Date32Array>>()?))
            });
            Ok(typed.fallible())
        }
        "last_day" => {
            let [date] = call.exactly()?;
            let date = to_date(date, &call)?;
            convert::<Date32Type, Date32Type>("last_day", date, DataType::Date32, &call, |date| {
                let last = moved_on_calendar(date.into(), |date| {
                    let next = if date.month() == 12 {
                        NaiveDate::from_ymd_opt(date.year() + 1, 1, 1)
                    } else {
                        NaiveDate::from_ymd_opt(date.year(), date.month() + 1, 1)
                    };
                    next?.pred_opt()
                });
                i32::try_from(last?).ok()
            })
        }
        "next_day" => next_day(call),
        "timestamp_seconds" => {
            let [value] = call.exactly()?;
            let name = format!("timestamp_seconds({})", value.name);
            if !value.ty.is_numeric() {
                return Err(call.error("[DATATYPE_MISMATCH] timestamp_seconds takes a number"));
            }
            Ok(cast(value, &timestamp(), Mode::of(ansi)).named(name))
        }
        "timestamp_millis" | "timestamp_micros" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Int64, ansi, call.name)?;
            let factor = if call.name == "timestamp_millis" { 1000 } else { 1 };
            let typed = Typed::call(call.name, &[value], timestamp(), span, move |args| {
                let micros =
                    args.array(0)?.as_primitive::<Int64Type>().try_unary::<_, TimestampMicrosecondType, _>(|v| {
                        v.checked_mul(factor)
                            .ok_or_else(|| DataFusionError::Execution("[ARITHMETIC_OVERFLOW] long overflow".into()))
                    })?;
                Ok(Arc::new(micros.with_data_type(timestamp())))
            });
            Ok(if factor > 1 { typed.fallible() } else { typed })
        }
        "unix_seconds" | "unix_millis" | "unix_micros" => {
            let [value] = call.exactly()?;
            let value = argument(value, &timestamp(), ansi, call.name)?;
            let unit = match call.name {
                "unix_seconds" => SECOND,
                "unix_millis" => 1000,
                _ => 1,
            };
            convert::<TimestampMicrosecondType, Int64Type>(call.name, value, DataType::Int64, &call, move |micros| {
                Some(micros.div_euclid(unit))
            })
        }
        "unix_date" => {
            let [date] = call.exactly()?;
            let date = argument(date, &DataType::Date32, ansi, call.name)?;
            convert::<Date32Type, Int32Type>("unix_date", date, DataType::Int32, &call, Some)
        }
        "date_from_unix_date" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Int32, ansi, call.name)?;
            convert::<Int32Type, Date32Type>(call.name, value, DataType::Date32, &call, Some)
        }
        "make_date" => make_date(call),
        "current_timestamp" | "now" => {
            call.exactly::<0>()?;
            let typed = Typed::call(call.name, &[], timestamp(), span, |args| {
                let now =
                    PrimitiveArray::<TimestampMicrosecondType>::from_value(Utc::now().timestamp_micros(), args.rows);
                Ok(Arc::new(now.with_data_type(timestamp())))
            });
            Ok(Typed { volatile: true, ..typed })
        }
        "current_date" | "curdate" => {
            call.exactly::<0>()?;
            let typed = Typed::call("current_date", &[], DataType::Date32, span, |args| {
                Ok(Arc::new(Date32Array::from_value(days_of(Utc::now().date_naive()), args.rows)))
            });
            Ok(Typed { volatile: true, ..typed })
        }
        name => {
            let [value] = call.exactly()?;
            part(&call, name, value)
        }
    }
}

/// An argument as a date. A text may have a time behind it.
fn to_date(value: Typed, call: &Invocation<'_>) -> Planned<Typed> {
    argument(value, &DataType::Date32, call.ansi(), call.name)
}

fn convert<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    name: &str,
    value: Typed,
    ty: DataType,
    call: &Invocation<'_>,
    op: impl Fn(A::Native) -> Option<B::Native> + Send + Sync + 'static,
) -> Planned<Typed> {
    Ok(Typed::call(name, &[value], ty, call.span, move |args| {
        Ok(Arc::new(args.array(0)?.as_primitive::<A>().unary_opt::<_, B>(&op)) as ArrayRef)
    }))
}

/// The function of a field of `extract`.
fn canonical(field: &str) -> &str {
    match field {
        "y" | "years" | "yr" | "yrs" => "year",
        "qtr" => "quarter",
        "mon" | "mons" | "months" => "month",
        "d" | "days" => "day",
        "dow" => "dayofweek",
        "dow_iso" | "dayofweek_iso" => "dayofweek_iso",
        "doy" => "dayofyear",
        "w" | "week" | "weeks" => "weekofyear",
        "h" | "hours" | "hr" | "hrs" => "hour",
        "m" | "min" | "mins" | "minutes" => "minute",
        "s" | "sec" | "secs" | "seconds" | "second" => "seconds",
        other => other,
    }
}

fn part(call: &Invocation<'_>, name: &str, value: Typed) -> Planned<Typed> {
    let of_time =
        |unit: i64, count: i64| move |micros: i64| i32::try_from(micros.div_euclid(unit).rem_euclid(count)).ok();
    // A day of a year like its own, and that year.
    let op: fn(NaiveDate, i64) -> i64 = match name {
        "year" => |_, year| year,
        "yearofweek" => |d, year| i64::from(d.iso_week().year() - d.year()) + year,
        "quarter" => |d, _| i64::from(d.month0() / 3 + 1),
        "month" => |d, _| d.month().into(),
        "day" | "dayofmonth" => |d, _| d.day().into(),
        "dayofweek" => |d, _| i64::from(d.weekday().num_days_from_sunday() + 1),
        "dayofweek_iso" => |d, _| d.weekday().number_from_monday().into(),
        "weekday" => |d, _| d.weekday().num_days_from_monday().into(),
        "dayofyear" => |d, _| d.ordinal().into(),
        "weekofyear" => |d, _| d.iso_week().week().into(),
        "hour" | "minute" | "second" | "seconds" => {
            let value = match value.ty {
                DataType::Timestamp(_, None) => cast(value, &timestamp(), Mode::Legacy),
                _ => argument(value, &timestamp(), call.ansi(), call.name)?,
            };
            return match name {
                "hour" => convert::<TimestampMicrosecondType, Int32Type>(
                    name,
                    value,
                    DataType::Int32,
                    call,
                    of_time(3600 * SECOND, 24),
                ),
                "minute" => convert::<TimestampMicrosecondType, Int32Type>(
                    name,
                    value,
                    DataType::Int32,
                    call,
                    of_time(60 * SECOND, 60),
                ),
                "second" => convert::<TimestampMicrosecondType, Int32Type>(
                    name,
                    value,
                    DataType::Int32,
                    call,
                    of_time(SECOND, 60),
                ),
                _ => Ok(Typed::call(name, &[value], DataType::Decimal128(8, 6), call.span, |args| {
                    let seconds = |micros: i64| i128::from(micros.rem_euclid(60 * SECOND));
                    let values =
                        args.array(0)?.as_primitive::<TimestampMicrosecondType>().unary::<_, Decimal128Type>(seconds);
                    Ok(Arc::new(values.with_precision_and_scale(8, 6)?))
                })),
            };
        }
        other => return Err(call.error(format!("'{other}' is no field of a date or timestamp"))),
    };
    let date = to_date(value, call)?;
    convert::<Date32Type, Int32Type>(name, date, DataType::Int32, call, move |date| {
        let (day, year) = on_calendar(date.into());
        i32::try_from(op(day, year)).ok()
    })
}

/// The first day of the period that the date lies in.
fn first_day(date: NaiveDate, unit: &str) -> Option<NaiveDate> {
    match unit {
        "year" | "yyyy" | "yy" => NaiveDate::from_ymd_opt(date.year(), 1, 1),
        "quarter" => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1),
        "month" | "mon" | "mm" => NaiveDate::from_ymd_opt(date.year(), date.month(), 1),
        "week" => date.checked_sub_days(chrono::Days::new(date.weekday().num_days_from_monday().into())),
        _ => None,
    }
}

fn truncate(mut call: Invocation<'_>) -> Planned<Typed> {
    let [unit, value] = call.exactly()?;
    let ansi = call.ansi();
    let args = [
        argument(unit, &DataType::Utf8, ansi, call.name)?,
        match value.ty {
            DataType::Timestamp(_, None) => cast(value, &timestamp(), Mode::Legacy),
            _ => argument(value, &timestamp(), ansi, call.name)?,
        },
    ];
    Ok(Typed::call("date_trunc", &args, timestamp(), call.span, |args| {
        let (units, times) = (args.array(0)?, args.array(1)?);
        let truncate = |(unit, micros): (Option<&str>, Option<i64>)| -> Option<i64> {
            let (unit, micros) = (unit?.to_ascii_lowercase(), micros?);
            let width = match unit.as_str() {
                "microsecond" => 1,
                "millisecond" => 1000,
                "second" => SECOND,
                "minute" => 60 * SECOND,
                "hour" => 3600 * SECOND,
                "day" | "dd" => DAY,
                _ => {
                    let first = moved_on_calendar(micros.div_euclid(DAY), |date| first_day(date, &unit))?;
                    return first.checked_mul(DAY);
                }
            };
            Some(micros.div_euclid(width) * width)
        };
        let rows = units.as_string::<i32>().iter().zip(times.as_primitive::<TimestampMicrosecondType>());
        let times = rows.map(truncate).collect::<PrimitiveArray<TimestampMicrosecondType>>();
        Ok(Arc::new(times.with_data_type(timestamp())))
    }))
}

fn trunc(mut call: Invocation<'_>) -> Planned<Typed> {
    let [date, unit] = call.exactly()?;
    let args = [to_date(date, &call)?, argument(unit, &DataType::Utf8, call.ansi(), call.name)?];
    Ok(Typed::call("trunc", &args, DataType::Date32, call.span, |args| {
        let (dates, units) = (args.array(0)?, args.array(1)?);
        let rows = dates.as_primitive::<Date32Type>().iter().zip(units.as_string::<i32>());
        let truncate = |(date, unit): (Option<i32>, Option<&str>)| {
            let unit = unit?.to_ascii_lowercase();
            i32::try_from(moved_on_calendar(date?.into(), |date| first_day(date, &unit))?).ok()
        };
        Ok(Arc::new(rows.map(truncate).collect::<Date32Array>()))
    }))
}

fn next_day(mut call: Invocation<'_>) -> Planned<Typed> {
    let [date, day] = call.exactly()?;
    let args = [to_date(date, &call)?, argument(day, &DataType::Utf8, call.ansi(), call.name)?];
    let ansi = call.ansi();
    let typed = Typed::call("next_day", &args, DataType::Date32, call.span, move |args| {
        let (dates, names) = (args.array(0)?, args.array(1)?);
        let rows = dates.as_primitive::<Date32Type>().iter().zip(names.as_string::<i32>());
        let next = |(date, name): (Option<i32>, Option<&str>)| -> Result<Option<i32>> {
            let (Some(date), Some(name)) = (date, name) else { return Ok(None) };
            let wanted = match name.trim().to_ascii_uppercase().as_str() {
                "SU" | "SUN" | "SUNDAY" => 3,
                "MO" | "MON" | "MONDAY" => 4,
                "TU" | "TUE" | "TUESDAY" => 5,
                "WE" | "WED" | "WEDNESDAY" => 6,
                // The epoch was a Thursday.
                "TH" | "THU" | "THURSDAY" => 0,
                "FR" | "FRI" | "FRIDAY" => 1,
                "SA" | "SAT" | "SATURDAY" => 2,
                _ if ansi => {
                    return Err(DataFusionError::Execution(format!(
                        "[ILLEGAL_DAY_OF_WEEK] '{name}' is no day of the week"
                    )));
                }
                _ => return Ok(None),
            };
            Ok(Some(date + 1 + (wanted - 1 - date).rem_euclid(7)))
        };
        Ok(Arc::new(rows.map(next).collect::<Result<Date32Array>>()?))
    });
    Ok(if ansi { typed.fallible() } else { typed })
}

fn make_date(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.exactly::<3>()?;
    let ansi = call.ansi();
    let args =
        args.into_iter().map(|arg| argument(arg, &DataType::Int32, ansi, "make_date")).collect::<Planned<Vec<_>>>()?;
    let typed = Typed::call("make_date", &args, DataType::Date32, call.span, move |args| {
        let (years, months, days) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let rows = years.as_primitive::<Int32Type>().iter().zip(months.as_primitive::<Int32Type>());
        let make = |((year, month), day): ((Option<i32>, Option<i32>), Option<i32>)| -> Result<Option<i32>> {
            let (Some(year), Some(month), Some(day)) = (year, month, day) else { return Ok(None) };
            let date = u32::try_from(month).ok().zip(u32::try_from(day).ok());
            match date.and_then(|(month, day)| NaiveDate::from_ymd_opt(year, month, day)) {
                Some(date) => Ok(Some(days_of(date))),
                None if ansi => Err(DataFusionError::Execution(format!(
                    "[DATETIME_FIELD_OUT_OF_BOUNDS] {year}-{month}-{day} is no date"
                ))),
                None => Ok(None),
            }
        };
        Ok(Arc::new(rows.zip(days.as_primitive::<Int32Type>()).map(make).collect::<Result<Date32Array>>()?))
    });
    Ok(if ansi { typed.fallible() } else { typed })
}

/// Whether the type is a date or a timestamp.
pub(super) fn is_time(ty: &DataType) -> bool {
    *ty == DataType::Date32 || is_timestamp(ty)
}

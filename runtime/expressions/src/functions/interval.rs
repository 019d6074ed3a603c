//! Dates, timestamps and intervals in arithmetic.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::{binary, try_binary};
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Int32Type, Int64Type, IntervalYearMonthType,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use chrono::{Datelike, Months, NaiveDate};
use datafusion_common::{Result, ScalarValue};
use levada_formats::scalar::CYCLE;
pub(crate) use levada_formats::scalar::on_calendar;

use super::cast::{Mode, cast, is_timestamp};
use super::types::{duration, timestamp};
use crate::ast::{Binary, PlanError, Planned, Span};
use crate::typed::Typed;

const DAY: i64 = 86_400_000_000;

/// `left op right`, if one of them is a time or an interval.
pub(crate) fn plan(op: Binary, left: &Typed, right: &Typed, ansi: bool, span: Span) -> Option<Planned<Typed>> {
    let is_interval = |ty: &DataType| matches!(ty, DataType::Duration(_) | DataType::Interval(_));
    let is_time = |ty: &DataType| is_timestamp(ty) || *ty == DataType::Date32;
    let (l, r) = (&left.ty, &right.ty);
    if ![l, r].into_iter().any(|ty| is_interval(ty) || is_time(ty)) {
        return None;
    }
    let typed = match (op, l, r) {
        (Binary::Add | Binary::Subtract, a, b) if is_time(a) && is_interval(b) => {
            shift(left.clone(), right.clone(), op == Binary::Subtract, ansi, span)
        }
        (Binary::Add | Binary::Subtract, DataType::Utf8, b) if is_interval(b) => {
            let left = cast(left.clone(), &timestamp(), Mode::of(ansi));
            shift(left, right.clone(), op == Binary::Subtract, ansi, span)
        }
        (Binary::Add, a, b) if is_interval(a) && is_time(b) => shift(right.clone(), left.clone(), false, ansi, span),
        (Binary::Add | Binary::Subtract, DataType::Date32, b) if b.is_integer() && *b != DataType::Int64 => {
            days(left.clone(), right.clone(), op == Binary::Subtract, ansi, span)
        }
        (Binary::Add, a, DataType::Date32) if a.is_integer() && *a != DataType::Int64 => {
            days(right.clone(), left.clone(), false, ansi, span)
        }
        (Binary::Subtract, a, b) if is_time(a) && is_time(b) => {
            let (a, b) =
                (cast(left.clone(), &timestamp(), Mode::Legacy), cast(right.clone(), &timestamp(), Mode::Legacy));
            Ok(Typed::call("-", &[a, b], duration(), span, |args| {
                let (a, b) = (args.array(0)?, args.array(1)?);
                let (a, b) = (a.as_primitive::<TimestampMicrosecondType>(), b.as_primitive());
                let difference = |x: i64, y: i64| x.checked_sub(y).ok_or_else(overflow);
                Ok(Arc::new(try_binary::<_, &PrimitiveArray<TimestampMicrosecondType>, _, DurationMicrosecondType>(
                    a, b, difference,
                )?))
            })
            .fallible())
        }
        (Binary::Add | Binary::Subtract, DataType::Duration(_), DataType::Duration(_)) => {
            let subtract = op == Binary::Subtract;
            Ok(Typed::call(op.symbol(), &[left.clone(), right.clone()], duration(), span, move |args| {
                let (a, b) = (args.array(0)?, args.array(1)?);
                let (a, b) = (a.as_primitive::<DurationMicrosecondType>(), b.as_primitive());
                let sum =
                    |x: i64, y: i64| if subtract { x.checked_sub(y) } else { x.checked_add(y) }.ok_or_else(overflow);
                Ok(Arc::new(try_binary::<_, &PrimitiveArray<DurationMicrosecondType>, _, DurationMicrosecondType>(
                    a, b, sum,
                )?))
            })
            .fallible())
        }
        (Binary::Multiply, DataType::Duration(_), b) if b.is_integer() => times(left.clone(), right.clone(), span),
        (Binary::Multiply, a, DataType::Duration(_)) if a.is_integer() => times(right.clone(), left.clone(), span),
        _ => {
            let message = format!(
                "[DATATYPE_MISMATCH] {} {} {} is not possible",
                super::types::sql_name(l),
                op.symbol(),
                super::types::sql_name(r)
            );
            Err(PlanError::new(span, message))
        }
    };
    Some(typed)
}

fn overflow() -> ArrowError {
    ArrowError::ComputeError("[DATETIME_OVERFLOW] the time is out of range".into())
}

fn times(interval: Typed, factor: Typed, span: Span) -> Planned<Typed> {
    let factor = cast(factor, &DataType::Int64, Mode::Legacy);
    Ok(Typed::call("*", &[interval, factor], duration(), span, |args| {
        let (a, b) = (args.array(0)?, args.array(1)?);
        let product = |x: i64, y: i64| x.checked_mul(y).ok_or_else(overflow);
        let (a, b) = (a.as_primitive::<DurationMicrosecondType>(), b.as_primitive::<Int64Type>());
        Ok(Arc::new(try_binary::<_, _, _, DurationMicrosecondType>(a, b, product)?))
    })
    .fallible())
}

/// A date some days later or earlier.
pub(crate) fn days(date: Typed, by: Typed, back: bool, ansi: bool, span: Span) -> Planned<Typed> {
    let by = cast(by, &DataType::Int32, Mode::of(ansi));
    let name = if back { "date_sub" } else { "date_add" };
    Ok(Typed::call(name, &[date, by], DataType::Date32, span, move |args| {
        let (dates, by) = (args.array(0)?, args.array(1)?);
        let (dates, by) = (dates.as_primitive::<Date32Type>(), by.as_primitive::<Int32Type>());
        let moved = |date: i32, by: i32| if back { date.wrapping_sub(by) } else { date.wrapping_add(by) };
        Ok(Arc::new(binary::<_, _, _, Date32Type>(dates, by, moved)?))
    }))
}

/// A time moved by an interval.
fn shift(time: Typed, by: Typed, back: bool, _ansi: bool, span: Span) -> Planned<Typed> {
    let sign = if back { -1 } else { 1 };
    let months = matches!(by.ty, DataType::Interval(_));
    // A date plus whole days is a date, plus hours a timestamp.
    let whole_days = matches!(by.literal, Some(ScalarValue::DurationMicrosecond(Some(micros))) if micros % DAY == 0);
    let time = match time.ty {
        DataType::Date32 if !months && !whole_days => cast(time, &timestamp(), Mode::Legacy),
        _ => time,
    };
    let ty = time.ty.clone();
    let typed = Typed::call(if back { "-" } else { "+" }, &[time, by], ty, span, move |args| {
        let (times, by) = (args.array(0)?, args.array(1)?);
        moved(&times, &by, sign)
    });
    Ok(typed.fallible())
}

fn moved(times: &ArrayRef, by: &ArrayRef, sign: i64) -> Result<ArrayRef> {
    let months = |by: i32| i32::try_from(i64::from(by) * sign).ok();
    Ok(match (times.data_type(), by.data_type()) {
        (DataType::Date32, DataType::Interval(_)) => {
            let by = by.as_primitive::<IntervalYearMonthType>();
            let add = |date: i32, by: i32| months(by).and_then(|by| add_months(date, by)).ok_or_else(overflow);
            Arc::new(try_binary::<_, _, _, Date32Type>(times.as_primitive::<Date32Type>(), by, add)?)
        }
        (DataType::Date32, _) => {
            let by = by.as_primitive::<DurationMicrosecondType>();
            let add = |date: i32, by: i64| {
                i64::from(date).checked_add(by / DAY * sign).and_then(|d| i32::try_from(d).ok()).ok_or_else(overflow)
            };
            Arc::new(try_binary::<_, _, _, Date32Type>(times.as_primitive::<Date32Type>(), by, add)?)
        }
        (ty, DataType::Interval(_)) => {
            let by = by.as_primitive::<IntervalYearMonthType>();
            let add = |micros: i64, by: i32| {
                let day = i32::try_from(micros.div_euclid(DAY)).ok();
                let date = day.zip(months(by)).and_then(|(day, by)| add_months(day, by)).ok_or_else(overflow)?;
                Ok(i64::from(date) * DAY + micros.rem_euclid(DAY))
            };
            let moved = try_binary::<_, _, _, TimestampMicrosecondType>(
                times.as_primitive::<TimestampMicrosecondType>(),
                by,
                add,
            )?;
            Arc::new(moved.with_data_type(ty.clone()))
        }
        (ty, _) => {
            let by = by.as_primitive::<DurationMicrosecondType>();
            let add =
                |micros: i64, by: i64| by.checked_mul(sign).and_then(|by| micros.checked_add(by)).ok_or_else(overflow);
            let moved = try_binary::<_, _, _, TimestampMicrosecondType>(
                times.as_primitive::<TimestampMicrosecondType>(),
                by,
                add,
            )?;
            Arc::new(moved.with_data_type(ty.clone()))
        }
    })
}

/// A date some months later; the last day of a shorter month stands for days that it lacks.
pub(crate) fn add_months(date: i32, months: i32) -> Option<i32> {
    let by = Months::new(months.unsigned_abs());
    moved_on_calendar(
        date.into(),
        |day| if months < 0 { day.checked_sub_months(by) } else { day.checked_add_months(by) },
    )
    .and_then(|days| i32::try_from(days).ok())
}

/// A day since the epoch moved on the calendar.
pub(crate) fn moved_on_calendar(days: i64, by: impl FnOnce(NaiveDate) -> Option<NaiveDate>) -> Option<i64> {
    let to = by(on_calendar(days).0)?;
    Some(i64::from(days_of(to)) + days.div_euclid(CYCLE) * CYCLE)
}

/// A calendar date as days since the epoch.
pub(crate) fn days_of(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - 719_163
}

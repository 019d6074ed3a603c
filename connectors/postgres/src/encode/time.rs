//! Dates, times and spans of time. The server counts from 2000-01-01.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit,
};

use super::BadCell;
use super::cells::{Values, converted, shown};

const EPOCH_DAYS: i32 = 10_957;
const DAY: i64 = 86_400_000_000;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY;
/// What the server takes: from 4713 BC, to the year 5874897 for dates and 294276 for timestamps.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

fn out_of_range(array: &ArrayRef, row: usize, of: &str) -> BadCell {
    BadCell { row, reason: format!("{} is out of range of {of}", shown(array, row)) }
}

/// Days since 1970; milliseconds are rounded down, not to zero as a cast does.
fn days(array: &ArrayRef) -> Result<ArrayRef, BadCell> {
    let Some(millis) = array.as_primitive_opt::<Date64Type>() else { return converted(array, &DataType::Date32) };
    let days: PrimitiveArray<Int64Type> = millis.unary(|millis| millis.div_euclid(86_400_000));
    let days: ArrayRef = Arc::new(days);
    converted(&converted(&days, &DataType::Int32)?, &DataType::Date32)
}

pub(super) fn date(array: &ArrayRef) -> Result<Values, BadCell> {
    let days = days(array)?;
    let days = days.as_primitive::<Date32Type>();
    let mut out = Vec::with_capacity(days.len());
    for (row, days) in days.values().iter().enumerate() {
        match days.checked_sub(EPOCH_DAYS).filter(|days| DATES.contains(days)) {
            Some(days) => out.push(days.to_be_bytes()),
            None if array.is_null(row) => out.push([0; 4]),
            None => return Err(out_of_range(array, row, "date")),
        }
    }
    Ok(Values::Four(out))
}

pub(super) fn time(array: &ArrayRef) -> Result<Values, BadCell> {
    let micros = converted(array, &DataType::Time64(TimeUnit::Microsecond))?;
    let micros = micros.as_primitive::<Time64MicrosecondType>();
    let mut out = Vec::with_capacity(micros.len());
    for (row, micros) in micros.values().iter().enumerate() {
        match micros {
            0..=DAY => out.push(micros.to_be_bytes()),
            _ if array.is_null(row) => out.push([0; 8]),
            _ => return Err(out_of_range(array, row, "time")),
        }
    }
    Ok(Values::Eight(out))
}

pub(super) fn timestamp(array: &ArrayRef) -> Result<Values, BadCell> {
    // Microseconds a unit, or units a microsecond.
    let (times, by) = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => (1_000_000, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => (1000, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (1, 1000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (1, 1),
        // A date is its midnight.
        _ => {
            let days = days(array)?;
            return each(
                array,
                days.as_primitive::<Date32Type>().values().iter().map(|days| Some(i64::from(*days) * DAY)),
            );
        }
    };
    let units = converted(array, &DataType::Int64)?;
    each(
        array,
        units
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .map(|unit| if by == 1 { unit.checked_mul(times) } else { Some(unit.div_euclid(by)) }),
    )
}

fn each(array: &ArrayRef, micros: impl Iterator<Item = Option<i64>>) -> Result<Values, BadCell> {
    let mut out = Vec::with_capacity(array.len());
    for (row, micros) in micros.enumerate() {
        match micros.and_then(|micros| micros.checked_sub(EPOCH_MICROS)).filter(|micros| TIMESTAMPS.contains(micros)) {
            Some(micros) => out.push(micros.to_be_bytes()),
            None if array.is_null(row) => out.push([0; 8]),
            None => return Err(out_of_range(array, row, "timestamp")),
        }
    }
    Ok(Values::Eight(out))
}

pub(super) fn interval(array: &ArrayRef) -> Result<Values, BadCell> {
    let field = |micros: i64, days: i32, months: i32| {
        let value = (u128::from(micros as u64) << 64) | (u128::from(days as u32) << 32) | u128::from(months as u32);
        value.to_be_bytes()
    };
    if let DataType::Duration(_) = array.data_type() {
        let micros = converted(array, &DataType::Duration(TimeUnit::Microsecond))?;
        let micros = micros.as_primitive::<DurationMicrosecondType>().values();
        return Ok(Values::Sixteen(micros.iter().map(|micros| field(*micros, 0, 0)).collect()));
    }
    let parts = converted(array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let parts = parts.as_primitive::<IntervalMonthDayNanoType>().values();
    Ok(Values::Sixteen(
        parts.iter().map(|part| field(part.nanoseconds.div_euclid(1000), part.days, part.months)).collect(),
    ))
}

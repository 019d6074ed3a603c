//! Dates and timestamps of any year. Arrow's own formatting ends 262 thousand years from now, and gives the text of an
//! error beyond it.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Date32Type, DurationMicrosecondType, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::json::writer::Encoder;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Days that Arrow writes itself: well within its range, some 246 thousand years each way.
const NEAR: i64 = 90_000_000;

/// Year, month and day of days since 1970 in the proleptic Gregorian calendar.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year_of_era + era * 400 + next, month, day)
}

/// Appends a date: `2024-01-01`, `+12345-01-01`, `-0001-01-01`.
pub fn write_date(text: &mut String, days: i64) {
    let (year, month, day) = civil_from_days(days);
    let sign = if year < 0 {
        "-"
    } else if year > 9999 {
        "+"
    } else {
        ""
    };
    let _ = write!(text, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs());
}

/// A timestamp as Arrow writes it: `2024-01-01T00:00:00Z`, with three or six digits of a fraction where there is one.
fn write_timestamp(text: &mut String, micros: i64, zoned: bool) {
    write_date(text, micros.div_euclid(MICROS_PER_DAY));
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let _ = write!(text, "T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = match fraction {
        0 => Ok(()),
        fraction if fraction % 1000 == 0 => write!(text, ".{:03}", fraction / 1000),
        fraction => write!(text, ".{fraction:06}"),
    };
    if zoned {
        text.push('Z');
    }
}

/// Appends an interval as Spark writes it: `INTERVAL '30 12:34:56.789' DAY TO SECOND`.
pub fn write_interval(text: &mut String, micros: i64) {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let _ = write!(text, "INTERVAL '{sign}{days} {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    if fraction != 0 {
        let digits = format!(".{fraction:06}");
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push_str("' DAY TO SECOND");
}

/// A column with times that Arrow cannot write, or not as Spark does.
enum Far<'a> {
    Intervals(&'a PrimitiveArray<DurationMicrosecondType>),
    Dates(&'a PrimitiveArray<Date32Type>),
    Timestamps(&'a PrimitiveArray<TimestampMicrosecondType>, bool),
}

impl<'a> Far<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        let far = |days: i64| !(-NEAR..=NEAR).contains(&days);
        match array.data_type() {
            DataType::Date32 => {
                let dates = array.as_primitive::<Date32Type>();
                dates.values().iter().any(|days| far((*days).into())).then_some(Self::Dates(dates))
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let times = array.as_primitive::<TimestampMicrosecondType>();
                let any = times.values().iter().any(|micros| far(micros / MICROS_PER_DAY));
                any.then_some(Self::Timestamps(times, zone.is_some()))
            }
            DataType::Duration(TimeUnit::Microsecond) => Some(Self::Intervals(array.as_primitive())),
            _ => None,
        }
    }

    fn write(&self, index: usize, text: &mut String) {
        match self {
            Self::Intervals(intervals) => write_interval(text, intervals.value(index)),
            Self::Dates(dates) => write_date(text, dates.value(index).into()),
            Self::Timestamps(times, zoned) => write_timestamp(text, times.value(index), *zoned),
        }
    }
}

impl Encoder for Far<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let mut text = String::from("\"");
        self.write(index, &mut text);
        text.push('"');
        out.extend_from_slice(text.as_bytes());
    }
}

/// The encoder of a column that has times which Arrow cannot write.
pub(super) fn encoder(array: &dyn Array) -> Option<Box<dyn Encoder + '_>> {
    Some(Box::new(Far::of(array)?))
}

/// The rows with each column as text that has times which Arrow cannot write: for formats other than JSON.
///
/// # Errors
/// The columns have no schema: never, since each has the length that it had.
pub fn far_times_as_text(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !rows.columns().iter().any(|column| Far::of(column.as_ref()).is_some()) {
        return Ok(rows.clone());
    }
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let Some(far) = Far::of(column.as_ref()) else {
            fields.push(field.clone());
            columns.push(column.clone());
            continue;
        };
        let text = |index| {
            let mut text = String::new();
            far.write(index, &mut text);
            text
        };
        let texts = (0..column.len()).map(|index| column.is_valid(index).then(|| text(index)));
        columns.push(Arc::new(texts.collect::<StringArray>()) as ArrayRef);
        fields.push(Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::super::write_lines;
    use super::*;

    fn rows(micros: Vec<i64>, days: Vec<i32>) -> RecordBatch {
        let times = TimestampMicrosecondArray::from(micros);
        let columns: [(&str, ArrayRef); 3] = [
            ("at", Arc::new(times.clone().with_timezone("UTC"))),
            ("local", Arc::new(times)),
            ("day", Arc::new(Date32Array::from(days))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn lines(rows: &RecordBatch) -> String {
        let mut out = Vec::new();
        write_lines(rows, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_of_any_year_are_digits() {
        let rows = rows(vec![9_161_204_112_000_000_000, i64::MIN, 1], vec![106_030_139, i32::MIN, 0]);
        let expected = [
            r#"{"at":"+292277-01-01T00:00:00Z","local":"+292277-01-01T00:00:00","day":"+292270-08-30"}"#,
            r#"{"at":"-290308-12-21T19:59:05.224192Z","local":"-290308-12-21T19:59:05.224192","day":"-5877641-06-23"}"#,
            r#"{"at":"1970-01-01T00:00:00.000001Z","local":"1970-01-01T00:00:00.000001","day":"1970-01-01"}"#,
        ];
        assert_eq!(lines(&rows).lines().collect::<Vec<_>>(), expected);
        let texts = far_times_as_text(&rows).unwrap();
        assert_eq!(lines(&texts).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn intervals_are_written_as_in_spark() {
        for (micros, text) in [
            (0, "0 00:00:00"),
            (2_637_296_789_000, "30 12:34:56.789"),
            (-1_500_000, "-0 00:00:01.5"),
            (i64::MIN, "-106751991 04:00:54.775808"),
        ] {
            let mut out = String::new();
            write_interval(&mut out, micros);
            assert_eq!(out, format!("INTERVAL '{text}' DAY TO SECOND"));
        }
    }

    proptest! {
        /// Beside a far time, near ones are written as Arrow does.
        #[test]
        fn near_times_are_written_as_arrow_writes_them(
            micros in -200_000i64 * 365 * MICROS_PER_DAY..200_000 * 365 * MICROS_PER_DAY,
            unit in prop::sample::select(vec![1i64, 1000, 1_000_000]),
            days in -70_000_000i32..70_000_000,
        ) {
            let micros = micros / unit * unit;
            let arrow = lines(&rows(vec![micros], vec![days]));
            let ours = lines(&rows(vec![micros, i64::MAX], vec![days, i32::MAX]));
            prop_assert_eq!(ours.lines().next(), arrow.lines().next());
        }
    }
}

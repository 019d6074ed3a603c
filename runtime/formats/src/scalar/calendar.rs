//! Days on the calendar, in any year.

use chrono::{Datelike, Days, NaiveDate};

/// How many days 400 years have: a whole number of weeks, after which the calendar repeats itself.
pub const CYCLE: i64 = 146_097;

/// A day since the epoch on the calendar: a day at the same place of a year like its own, and its year. Years may be any;
/// the calendar's own end soon after 262 thousand.
pub fn on_calendar(days: i64) -> (NaiveDate, i64) {
    let day = NaiveDate::default() + Days::new(days.rem_euclid(CYCLE).unsigned_abs());
    (day, i64::from(day.year()) + 400 * days.div_euclid(CYCLE))
}

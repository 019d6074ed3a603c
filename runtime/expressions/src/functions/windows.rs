//! The windows that a time is in.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, TimestampMicrosecondType};
use datafusion_common::exec_err;

use super::Invocation;
use super::cast::is_timestamp;
use super::types::{list, list_field, timestamp};
use crate::ast::{PlanError, Planned};
use crate::coerce::argument;
use crate::literal::sums;
use crate::typed::Typed;

/// Not to be called by users: `window` in a select list becomes a row for each of them.
pub(super) const NAMES: &[&str] = &["windows"];

/// The most windows that a time may be in.
const MOST: i64 = 10_000;

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    let mut args = call.between(2, 4)?.into_iter();
    let Some(time) = args.next() else { return Err(call.error("a time is missing")) };
    let mut spans = Vec::with_capacity(3);
    for arg in args {
        let micros = match (arg.literal_text(), &arg.literal) {
            (_, Some(datafusion_common::ScalarValue::DurationMicrosecond(Some(micros)))) => Some(*micros),
            (Some(text), _) => match sums(text) {
                Some((None, Some(micros))) => Some(micros),
                _ => None,
            },
            _ => None,
        };
        let Some(micros) = micros else {
            let message = "[CANNOT_PARSE_INTERVAL] sizes of windows are constant intervals without months";
            return Err(PlanError::new(arg.span, message).hint("write it as '10 minutes'"));
        };
        spans.push(micros);
    }
    let size = spans.first().copied().unwrap_or(0);
    let slide = spans.get(1).copied().unwrap_or(size);
    let offset = spans.get(2).copied().unwrap_or(0);
    let message = match () {
        () if size <= 0 || slide <= 0 => Some("a window and its slide are longer than nothing"),
        () if slide > size => Some("a slide is no longer than its window"),
        () if offset.abs() >= slide => Some("a start is shorter than the slide"),
        () if size / slide >= MOST => Some("a time is in too many windows"),
        () => None,
    };
    if let Some(message) = message {
        return Err(PlanError::new(span, format!("[DATATYPE_MISMATCH] {message}")));
    }
    let time = if is_timestamp(&time.ty) { time } else { argument(time, &timestamp(), ansi, "window")? };
    let ends = time.ty.clone();
    let fields = Fields::from(vec![Field::new("start", ends.clone(), true), Field::new("end", ends.clone(), true)]);
    let item = DataType::Struct(fields.clone());
    let typed = Typed::call("windows", &[time], list(item.clone()), span, move |args| {
        let times = args.array(0)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let (mut starts, mut lengths) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
        for time in times {
            let before = starts.len();
            if let Some(time) = time {
                let Some(shifted) = time.checked_sub(offset) else {
                    return exec_err!("[DATETIME_OVERFLOW] a time is too far away for a window");
                };
                let last = time - shifted.rem_euclid(slide);
                // The windows that begin at or before the time and end after it, the latest first.
                let all = (0..).map_while(|number| last.checked_sub(number * slide));
                starts.extend(all.take_while(|start| time - start < size));
            }
            lengths.push(starts.len() - before);
        }
        let ends_at = starts.iter().map(|start: &i64| start.saturating_add(size)).collect::<Vec<_>>();
        let column = |values: Vec<i64>| {
            Arc::new(TimestampMicrosecondArray::from(values).with_data_type(ends.clone())) as ArrayRef
        };
        let windows = StructArray::try_new(fields.clone(), vec![column(starts), column(ends_at)], None)?;
        let lists =
            ListArray::try_new(list_field(item.clone()), OffsetBuffer::from_lengths(lengths), Arc::new(windows), None);
        Ok(Arc::new(lists?) as ArrayRef)
    });
    Ok(typed.fallible())
}

//! Functions between times and text.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result};
use levada_formats::scalar::Pattern;

use super::Invocation;
use super::cast::{Mode, cast, explicit};
use super::time::is_time;
use super::types::timestamp;
use crate::ast::{PlanError, Planned};
use crate::coerce::argument;
use crate::planner::parse_type;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "to_date",
    "to_timestamp",
    "to_timestamp_ltz",
    "to_timestamp_ntz",
    "localtimestamp",
    "try_to_timestamp",
    "try_to_date",
    "unix_timestamp",
    "to_unix_timestamp",
    "from_unixtime",
    "date_format",
    "date",
    "timestamp",
    "int",
    "bigint",
    "smallint",
    "tinyint",
    "double",
    "float",
    "boolean",
    "decimal",
];

/// A time without a zone.
const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "localtimestamp" => {
            let [] = call.exactly()?;
            let now = super::plan(call.planner, "current_timestamp", Vec::new(), span)?;
            Ok(cast(now, &NTZ, Mode::Legacy).named("localtimestamp()"))
        }
        "to_timestamp_ntz" => {
            let mut args = call.between(1, 2)?;
            let label = crate::typed::call_name("to_timestamp_ntz", &args);
            let pattern = if args.len() == 2 { args.pop() } else { None };
            let Some(value) = args.pop() else { return Err(call.error("arguments are missing")) };
            let typed = match pattern {
                // The session's time zone is UTC: both say the same, but for a text with an offset, which Spark ignores.
                Some(pattern) if value.ty == DataType::Utf8 => parsed(&call, value, pattern, Mode::of(ansi))?,
                _ => value,
            };
            Ok(explicit(typed, &NTZ, ansi, false, span)?.named(label))
        }
        "to_date" | "try_to_date" | "to_timestamp" | "to_timestamp_ltz" | "try_to_timestamp" => {
            let mut args = call.between(1, 2)?;
            let to = if call.name.ends_with("date") { DataType::Date32 } else { timestamp() };
            let attempt = call.name.starts_with("try_");
            let pattern = if args.len() == 2 { args.pop() } else { None };
            let Some(value) = args.pop() else { return Err(call.error("arguments are missing")) };
            match pattern {
                Some(pattern) if value.ty == DataType::Utf8 => {
                    let label = format!("{}({}, {})", call.name, value.name, pattern.name);
                    let mode = if attempt { Mode::Try } else { Mode::of(ansi) };
                    let micros = parsed(&call, value, pattern, mode)?;
                    Ok(cast(micros, &to, mode).named(label))
                }
                _ => {
                    let label = format!("{}({})", call.name, value.name);
                    Ok(explicit(value, &to, ansi, attempt, span)?.named(label))
                }
            }
        }
        "unix_timestamp" | "to_unix_timestamp" => {
            let mut args = call.between(usize::from(call.name == "to_unix_timestamp"), 2)?;
            let pattern = if args.len() == 2 { args.pop() } else { None };
            let Some(value) = args.pop() else {
                let now = super::plan(call.planner, "current_timestamp", Vec::new(), span)?;
                return Ok(seconds(&call, now).named("unix_timestamp(current_timestamp(), yyyy-MM-dd HH:mm:ss)"));
            };
            let label = pattern.as_ref().map_or(DEFAULT_PATTERN, |pattern| &pattern.name);
            let label = format!("{}({}, {label})", call.name, value.name);
            let times = if is_time(&value.ty) {
                cast(value, &timestamp(), Mode::Legacy)
            } else {
                let pattern = pattern.unwrap_or_else(|| text(DEFAULT_PATTERN, &call));
                let value = argument(value, &DataType::Utf8, ansi, call.name)?;
                parsed(&call, value, pattern, Mode::of(ansi))?
            };
            Ok(seconds(&call, times).named(label))
        }
        "from_unixtime" => {
            let mut args = call.between(1, 2)?;
            let pattern =
                if args.len() == 2 { args.pop() } else { None }.unwrap_or_else(|| text(DEFAULT_PATTERN, &call));
            let Some(value) = args.pop() else { return Err(call.error("arguments are missing")) };
            let label = format!("from_unixtime({}, {})", value.name, pattern.name);
            let value = argument(value, &DataType::Int64, ansi, call.name)?;
            // Seconds outside the range of microseconds wrap, as in Spark.
            let times = Typed::call("micros", &[value], timestamp(), span, |args| {
                let micros = |seconds: i64| seconds.wrapping_mul(1_000_000);
                let micros = args.array(0)?.as_primitive::<Int64Type>().unary::<_, TimestampMicrosecondType>(micros);
                Ok(Arc::new(micros.with_data_type(timestamp())))
            });
            Ok(formatted(&call, times, pattern)?.named(label))
        }
        "date_format" => {
            let [value, pattern] = call.exactly()?;
            let label = format!("date_format({}, {})", value.name, pattern.name);
            let value = match value.ty {
                DataType::Timestamp(_, None) => cast(value, &timestamp(), Mode::Legacy),
                _ => argument(value, &timestamp(), ansi, call.name)?,
            };
            Ok(formatted(&call, value, pattern)?.named(label))
        }
        name => {
            // A type's name as a function is a cast.
            let to = parse_type(name, span)?;
            let [value] = call.exactly()?;
            let label = value.name.clone();
            Ok(explicit(value, &to, ansi, false, span)?.named(label))
        }
    }
}

fn text(value: &str, call: &Invocation<'_>) -> Typed {
    let scalar = datafusion_common::ScalarValue::Utf8(Some(value.to_owned()));
    Typed::literal(scalar, value.to_owned(), call.span)
}

/// Whole seconds since the epoch, cut towards it.
fn seconds(call: &Invocation<'_>, times: Typed) -> Typed {
    Typed::call("seconds", &[times], DataType::Int64, call.span, |args| {
        let times = args.array(0)?;
        Ok(Arc::new(
            times.as_primitive::<TimestampMicrosecondType>().unary::<_, Int64Type>(|micros| micros / 1_000_000),
        ))
    })
}

fn compile(pattern: &Typed) -> Planned<Pattern> {
    let Some(text) = pattern.literal_text() else {
        return Err(PlanError::new(pattern.span, "the pattern has to be a constant text"));
    };
    Pattern::new(text).map_err(|error| {
        PlanError::new(pattern.span, format!("[INVALID_DATETIME_PATTERN] {error}"))
            .hint("the letters are y M d H h k K m s S a E D Q X x Z z VV; other text stands in single quotes")
    })
}

fn parsed(call: &Invocation<'_>, value: Typed, pattern: Typed, mode: Mode) -> Planned<Typed> {
    let compiled = compile(&pattern)?;
    let shown = pattern.name.clone();
    let typed = Typed::call(call.name, &[value], timestamp(), call.span, move |args| -> Result<ArrayRef> {
        let text = args.array(0)?;
        let parse = |text: Option<&str>| -> Result<Option<i64>> {
            let Some(text) = text else { return Ok(None) };
            match compiled.parse(text) {
                None if mode == Mode::Ansi => Err(DataFusionError::Execution(format!(
                    "[CANNOT_PARSE_TIMESTAMP] the text '{text}' does not fit the pattern '{shown}'; use try_to_timestamp to \
                     get NULL instead"
                ))),
                parsed => Ok(parsed),
            }
        };
        let micros =
            text.as_string::<i32>().iter().map(parse).collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
        Ok(Arc::new(micros.with_data_type(timestamp())))
    });
    Ok(if mode == Mode::Ansi { typed.fallible() } else { typed })
}

fn formatted(call: &Invocation<'_>, times: Typed, pattern: Typed) -> Planned<Typed> {
    let compiled = compile(&pattern)?;
    Ok(Typed::call(call.name, &[times], DataType::Utf8, call.span, move |args| {
        let times = args.array(0)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        Ok(Arc::new(times.iter().map(|micros| micros.map(|micros| compiled.format(micros))).collect::<StringArray>()))
    }))
}

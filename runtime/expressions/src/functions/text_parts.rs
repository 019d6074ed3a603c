//! Functions of strings that look for a part or cut one off.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::Result;

use super::Invocation;
use super::room::Room;
use super::text::{number, text_literal, texts};
use crate::ast::Planned;
use crate::call::Args;
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) fn trim(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(1, 2)?;
    let mut name = call_name(call.name, &args);
    // trim(characters, text), but btrim(text, characters).
    if args.len() == 2 && call.name != "btrim" {
        args.reverse();
        if let [text, set] = args.as_slice() {
            let side = match call.name {
                "ltrim" => "LEADING",
                "rtrim" => "TRAILING",
                _ => "BOTH",
            };
            name = format!("TRIM({side} {} FROM {})", set.name, text.name);
        }
    }
    let (left, right) = (call.name != "rtrim", call.name != "ltrim");
    let trimmed = texts(call, args, move |parts| {
        let (text, set) = match parts {
            [text] => (*text, " "),
            [text, set] => (*text, *set),
            _ => return None,
        };
        let text = if left { text.trim_start_matches(|c| set.contains(c)) } else { text };
        let text = if right { text.trim_end_matches(|c| set.contains(c)) } else { text };
        Some(text.to_owned())
    });
    Ok(trimmed?.named(name))
}

pub(super) fn pad(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(2, 3)?;
    if args.len() == 2 {
        args.push(text_literal(" ", &call));
    }
    let Ok([text, length, fill]) = <[Typed; 3]>::try_from(args) else {
        return Err(call.error("arguments are missing"));
    };
    let ansi = call.ansi();
    let args = [
        argument(text, &DataType::Utf8, ansi, call.name)?,
        argument(length, &DataType::Int32, ansi, call.name)?,
        argument(fill, &DataType::Utf8, ansi, call.name)?,
    ];
    let left = call.name == "lpad";
    let name = call_name(call.name, &args);
    let typed = Typed::call(call.name, &args, DataType::Utf8, call.span, move |args: &Args<'_>| -> Result<ArrayRef> {
        let (text, length, fill) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let mut room = Room::default();
        let value = |((text, length), fill): ((Option<&str>, Option<i32>), Option<&str>)| -> Result<Option<String>> {
            let (Some(text), Some(length), Some(fill)) = (text, length, fill) else { return Ok(None) };
            let length = usize::try_from(length).unwrap_or(0);
            let missing = length.saturating_sub(text.chars().count());
            if missing == 0 || fill.is_empty() {
                return Ok(Some(text.chars().take(length).collect()));
            }
            room.take(missing.saturating_add(text.len()))?;
            let padding: String = fill.chars().cycle().take(missing).collect();
            Ok(Some(if left { padding + text } else { text.to_owned() + &padding }))
        };
        let rows = text.as_string::<i32>().iter().zip(length.as_primitive::<Int32Type>()).zip(fill.as_string::<i32>());
        Ok(Arc::new(rows.map(value).collect::<Result<StringArray>>()?))
    });
    Ok(typed.fallible().named(name))
}

/// Where `part` begins in `text`, counted from 1; 0 if it does not stand there.
pub(super) fn find(call: Invocation<'_>, text: Typed, part: Typed, start: Option<Typed>) -> Planned<Typed> {
    let ansi = call.ansi();
    let start = start.unwrap_or_else(|| number(1, &call));
    let args = [
        argument(text, &DataType::Utf8, ansi, call.name)?,
        argument(part, &DataType::Utf8, ansi, call.name)?,
        argument(start, &DataType::Int32, ansi, call.name)?,
    ];
    Ok(Typed::call(call.name, &args, DataType::Int32, call.span, |args| {
        let (text, part, start) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let value = |((text, part), start): ((Option<&str>, Option<&str>), Option<i32>)| -> Option<i32> {
            let (text, part) = (text?, part?);
            let Some(skip) = start.and_then(|start| usize::try_from(start - 1).ok()) else { return Some(0) };
            let from = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
            if skip > text.chars().count() {
                return Some(0);
            }
            let Some(at) = text.get(from..)?.find(part) else { return Some(0) };
            i32::try_from(text.get(..from + at)?.chars().count() + 1).ok()
        };
        let rows = text.as_string::<i32>().iter().zip(part.as_string::<i32>()).zip(start.as_primitive::<Int32Type>());
        Ok(Arc::new(rows.map(value).collect::<Int32Array>()))
    }))
}

pub(super) fn split_part(call: Invocation<'_>, text: Typed, delimiter: Typed, part: Typed) -> Planned<Typed> {
    let ansi = call.ansi();
    let args = [
        argument(text, &DataType::Utf8, ansi, call.name)?,
        argument(delimiter, &DataType::Utf8, ansi, call.name)?,
        argument(part, &DataType::Int32, ansi, call.name)?,
    ];
    let typed = Typed::call("split_part", &args, DataType::Utf8, call.span, |args| {
        let (text, delimiter, part) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let rows =
            text.as_string::<i32>().iter().zip(delimiter.as_string::<i32>()).zip(part.as_primitive::<Int32Type>());
        let value = |((text, delimiter), part): ((Option<&str>, Option<&str>), Option<i32>)| -> Result<Option<String>> {
            let (Some(text), Some(delimiter), Some(part)) = (text, delimiter, part) else { return Ok(None) };
            if part == 0 {
                let message = "[INVALID_INDEX_OF_ZERO] the index 0 is invalid: the first part has index 1, the last -1";
                return Err(datafusion_common::DataFusionError::Execution(message.into()));
            }
            let parts: Vec<&str> = if delimiter.is_empty() { vec![text] } else { text.split(delimiter).collect() };
            let at = if part > 0 {
                usize::try_from(part - 1).ok()
            } else {
                parts.len().checked_sub(part.unsigned_abs() as usize)
            };
            Ok(Some(at.and_then(|at| parts.get(at)).copied().unwrap_or_default().to_owned()))
        };
        Ok(Arc::new(rows.map(value).collect::<Result<StringArray>>()?))
    });
    Ok(typed.fallible())
}

/// `substring_index`: what stands before or behind the nth delimiter.
pub(super) fn substring_index(mut call: Invocation<'_>) -> Planned<Typed> {
    let [text, delimiter, count] = call.exactly()?;
    let (ansi, span) = (call.ansi(), call.span);
    let args = [
        argument(text, &DataType::Utf8, ansi, call.name)?,
        argument(delimiter, &DataType::Utf8, ansi, call.name)?,
        argument(count, &DataType::Int32, ansi, call.name)?,
    ];
    Ok(Typed::call("substring_index", &args, DataType::Utf8, span, |args| {
        let (text, delimiter, count) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let (text, delimiter) = (text.as_string::<i32>(), delimiter.as_string::<i32>());
        let value = |((text, delimiter), count): ((Option<&str>, Option<&str>), Option<i32>)| {
            Some(until(text?, delimiter?, count?).to_owned())
        };
        let count = count.as_primitive::<Int32Type>();
        Ok(Arc::new(text.iter().zip(delimiter).zip(count).map(value).collect::<StringArray>()))
    }))
}

fn until<'a>(text: &'a str, delimiter: &str, count: i32) -> &'a str {
    if delimiter.is_empty() || count == 0 {
        return "";
    }
    let nth = count.unsigned_abs() as usize - 1;
    if count > 0 {
        text.match_indices(delimiter).nth(nth).map_or(text, |(at, _)| text.get(..at).unwrap_or_default())
    } else {
        let found = text.rmatch_indices(delimiter).nth(nth);
        found.map_or(text, |(at, _)| text.get(at + delimiter.len()..).unwrap_or_default())
    }
}

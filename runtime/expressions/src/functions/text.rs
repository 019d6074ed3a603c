//! Functions of strings.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::{Result, ScalarValue};

use super::cast::{Mode, cast};
use super::room::Room;
use super::{Invocation, collection, text_parts as parts};
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] = &[
    "upper",
    "ucase",
    "lower",
    "lcase",
    "trim",
    "ltrim",
    "rtrim",
    "btrim",
    "length",
    "char_length",
    "character_length",
    "len",
    "octet_length",
    "bit_length",
    "substring",
    "substr",
    "left",
    "right",
    "concat",
    "concat_ws",
    "replace",
    "translate",
    "reverse",
    "repeat",
    "lpad",
    "rpad",
    "initcap",
    "instr",
    "locate",
    "position",
    "startswith",
    "endswith",
    "contains",
    "ascii",
    "char",
    "chr",
    "space",
    "split_part",
    "substring_index",
    "string",
];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    match call.name {
        "upper" | "ucase" => fold(call, <[u8]>::make_ascii_uppercase, |text| text.to_uppercase()),
        "lower" | "lcase" => fold(call, <[u8]>::make_ascii_lowercase, |text| text.to_lowercase()),
        "initcap" => map(call, initcap),
        "trim" | "ltrim" | "rtrim" | "btrim" => parts::trim(call),
        "length" | "char_length" | "character_length" | "len" => measure(call, |text| text.chars().count(), 1),
        "octet_length" => measure(call, str::len, 1),
        "bit_length" => measure(call, str::len, 8),
        "substring" | "substr" => {
            let mut args = call.between(2, 3)?;
            if args.len() == 2 {
                args.push(number(i32::MAX, &call));
            }
            ternary(call, args, i32::MAX, substring)
        }
        "left" => {
            let [text, length] = call.exactly()?;
            let from = number(1, &call);
            ternary(call, vec![text, from, length], 0, |text, _, length| substring(text, 1, length))
        }
        "right" => {
            let [text, length] = call.exactly()?;
            let from = number(1, &call);
            ternary(call, vec![text, from, length], 0, |text, _, length| {
                if length <= 0 { String::new() } else { substring(text, length.saturating_neg(), length) }
            })
        }
        "repeat" => {
            let [text, times] = call.exactly()?;
            repeated(call, text, times)
        }
        "concat" => concat(call),
        "concat_ws" => concat_ws(call),
        "replace" => {
            let mut args = call.between(2, 3)?;
            if args.len() == 2 {
                args.push(text_literal("", &call));
            }
            let name = call_name("replace", &args);
            let replaced = checked_texts(call, args, |parts, room| match parts {
                // An empty pattern replaces nothing.
                [text, "", _] => Ok(Some((*text).to_owned())),
                [text, from, to] => {
                    let more = to.len().saturating_sub(from.len());
                    if more > 0 {
                        room.take(more.saturating_mul(text.matches(from).count()))?;
                    }
                    Ok(Some(text.replace(from, to)))
                }
                _ => Ok(None),
            });
            Ok(replaced?.named(name))
        }
        "translate" => {
            let args = call.between(3, 3)?;
            texts(call, args, |parts| match parts {
                [text, from, to] => Some(translate(text, from, to)),
                _ => None,
            })
        }
        "reverse" => {
            let [value] = call.exactly()?;
            if matches!(value.ty, DataType::List(_)) {
                return collection::reverse(value, call.span);
            }
            texts(call, vec![value], |parts| parts.first().map(|text| text.chars().rev().collect()))
        }
        "lpad" | "rpad" => parts::pad(call),
        "instr" => {
            let [text, part] = call.exactly()?;
            parts::find(call, text, part, None)
        }
        "locate" | "position" => {
            let mut args = call.between(2, 3)?;
            let start = if args.len() == 3 { args.pop() } else { None };
            match <[Typed; 2]>::try_from(args) {
                Ok([part, text]) => {
                    let start = start.unwrap_or_else(|| number(1, &call));
                    let name = format!("locate({}, {}, {})", part.name, text.name, start.name);
                    Ok(parts::find(call, text, part, Some(start))?.named(name))
                }
                Err(_) => Err(call.error("arguments are missing")),
            }
        }
        "startswith" => test(call, |text, part| text.starts_with(part)),
        "endswith" => test(call, |text, part| text.ends_with(part)),
        "contains" => test(call, |text, part| text.contains(part)),
        "ascii" => measure(call, |text| text.chars().next().map_or(0, |c| c as usize), 1),
        "char" | "chr" => {
            let [code] = call.exactly()?;
            let code = cast(argument(code, &DataType::Int64, call.ansi(), "char")?, &DataType::Int32, Mode::Legacy);
            Ok(Typed::call("char", &[code], DataType::Utf8, call.span, |args| {
                let codes = args.array(0)?;
                let char = |code: i32| match code {
                    ..0 => String::new(),
                    _ => char::from(code.to_le_bytes()[0]).to_string(),
                };
                Ok(Arc::new(codes.as_primitive::<Int32Type>().iter().map(|v| v.map(char)).collect::<StringArray>()))
            }))
        }
        "space" => {
            let [length] = call.exactly()?;
            let blank = text_literal(" ", &call);
            repeated(call, blank, length)
        }
        "string" => {
            let [value] = call.exactly()?;
            super::cast::explicit(value, &DataType::Utf8, call.ansi(), false, call.span)
        }
        "split_part" => {
            let [text, delimiter, part] = call.exactly()?;
            parts::split_part(call, text, delimiter, part)
        }
        _ => parts::substring_index(call),
    }
}

pub(super) fn number(value: i32, call: &Invocation<'_>) -> Typed {
    Typed::literal(ScalarValue::Int32(Some(value)), value.to_string(), call.span)
}

pub(super) fn text_literal(text: &str, call: &Invocation<'_>) -> Typed {
    Typed::literal(ScalarValue::Utf8(Some(text.to_owned())), text.to_owned(), call.span)
}

/// A function of one text.
fn map(mut call: Invocation<'_>, op: impl Fn(&str) -> String + Send + Sync + 'static) -> Planned<Typed> {
    let args = Vec::from(call.exactly::<1>()?);
    texts(call, args, move |parts| parts.first().map(|text| op(text)))
}

/// Upper or lower case: of ASCII all texts at once.
fn fold(mut call: Invocation<'_>, ascii: fn(&mut [u8]), any: fn(&str) -> String) -> Planned<Typed> {
    let [text] = call.exactly()?;
    let text = argument(text, &DataType::Utf8, call.ansi(), call.name)?;
    Ok(Typed::call(call.name, &[text], DataType::Utf8, call.span, move |args| {
        let array = args.array(0)?;
        let texts = array.as_string::<i32>();
        let offsets = texts.value_offsets();
        let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
        let bytes = texts.value_data().get(first as usize..last as usize).unwrap_or_default();
        if !bytes.is_ascii() {
            return Ok(Arc::new(texts.iter().map(|text| text.map(any)).collect::<StringArray>()));
        }
        let mut bytes = bytes.to_vec();
        ascii(&mut bytes);
        let offsets = match first {
            0 => texts.offsets().clone(),
            _ => OffsetBuffer::new(offsets.iter().map(|offset| offset - first).collect()),
        };
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(bytes), texts.nulls().cloned())?))
    }))
}

/// A function of several texts: null if one is.
pub(super) fn texts(
    call: Invocation<'_>,
    args: Vec<Typed>,
    op: impl Fn(&[&str]) -> Option<String> + Send + Sync + 'static,
) -> Planned<Typed> {
    checked_texts(call, args, move |parts, _| Ok(op(parts)))
}

/// The same, where a result may become much longer than what it is made of.
fn checked_texts(
    call: Invocation<'_>,
    args: Vec<Typed>,
    op: impl Fn(&[&str], &mut Room) -> Result<Option<String>> + Send + Sync + 'static,
) -> Planned<Typed> {
    let args = args
        .into_iter()
        .map(|arg| argument(arg, &DataType::Utf8, call.ansi(), call.name))
        .collect::<Planned<Vec<_>>>()?;
    Ok(Typed::call(call.name, &args, DataType::Utf8, call.span, move |args| {
        let arrays = args.arrays()?;
        let columns: Vec<_> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
        let mut parts = Vec::with_capacity(columns.len());
        let (mut grown, mut room) = (Room::default(), Room::default());
        let value = |row: usize| -> Result<Option<String>> {
            parts.clear();
            for column in &columns {
                if column.is_null(row) {
                    return Ok(None);
                }
                parts.push(column.value(row));
            }
            let value = op(&parts, &mut grown)?;
            room.take(value.as_ref().map_or(0, String::len))?;
            Ok(value)
        };
        Ok(Arc::new((0..args.rows).map(value).collect::<Result<StringArray>>()?))
    }))
}

/// A text so many times.
fn repeated(call: Invocation<'_>, text: Typed, times: Typed) -> Planned<Typed> {
    let args = [
        argument(text, &DataType::Utf8, call.ansi(), call.name)?,
        argument(times, &DataType::Int32, call.ansi(), call.name)?,
    ];
    let typed = Typed::call(call.name, &args, DataType::Utf8, call.span, |args| {
        let (text, times) = (args.array(0)?, args.array(1)?);
        let mut room = Room::default();
        let value = |(text, times): (Option<&str>, Option<i32>)| -> Result<Option<String>> {
            let (Some(text), Some(times)) = (text, times) else { return Ok(None) };
            let times = usize::try_from(times).unwrap_or(0);
            room.take(text.len().saturating_mul(times))?;
            Ok(Some(text.repeat(times)))
        };
        let rows = text.as_string::<i32>().iter().zip(times.as_primitive::<Int32Type>());
        Ok(Arc::new(rows.map(value).collect::<Result<StringArray>>()?))
    });
    Ok(typed.fallible())
}

/// A number that belongs to a text.
fn measure(mut call: Invocation<'_>, op: fn(&str) -> usize, factor: usize) -> Planned<Typed> {
    let [value] = call.exactly()?;
    let binary = value.ty == DataType::Binary && call.name != "ascii";
    let value = if binary { value } else { argument(value, &DataType::Utf8, call.ansi(), call.name)? };
    Ok(Typed::call(call.name, &[value], DataType::Int32, call.span, move |args| {
        let array = args.array(0)?;
        let long = |length: usize| i32::try_from(length * factor).unwrap_or(i32::MAX);
        Ok(Arc::new(match array.as_binary_opt::<i32>() {
            Some(bytes) => bytes.iter().map(|v| v.map(|v| long(v.len()))).collect::<Int32Array>(),
            None => array.as_string::<i32>().iter().map(|v| v.map(|v| long(op(v)))).collect::<Int32Array>(),
        }))
    }))
}

/// A function of a text and one or two whole numbers.
fn ternary(call: Invocation<'_>, args: Vec<Typed>, missing: i32, op: fn(&str, i32, i32) -> String) -> Planned<Typed> {
    let mut args = args.into_iter();
    let mut typed = Vec::with_capacity(3);
    typed.extend(args.next().map(|text| argument(text, &DataType::Utf8, call.ansi(), call.name)).transpose()?);
    for number in args {
        typed.push(argument(number, &DataType::Int32, call.ansi(), call.name)?);
    }
    while typed.len() < 3 {
        typed.push(number(missing, &call));
    }
    let name = call_name(call.name, &typed);
    let titled = matches!(call.name, "substring" | "substr");
    let typed = Typed::call(call.name, &typed, DataType::Utf8, call.span, move |args| {
        let (text, first, second) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let numbers = first.as_primitive::<Int32Type>().iter().zip(second.as_primitive::<Int32Type>());
        let value =
            |(text, (first, second)): (Option<&str>, (Option<i32>, Option<i32>))| Some(op(text?, first?, second?));
        Ok(Arc::new(text.as_string::<i32>().iter().zip(numbers).map(value).collect::<StringArray>()))
    });
    Ok(if titled { typed.named(name) } else { typed })
}

/// From character `from`, counted from 1, or from the end when negative. What lies outside is not there.
fn substring(text: &str, from: i32, length: i32) -> String {
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let start = match from {
        1.. => i64::from(from) - 1,
        0 => 0,
        _ => count + i64::from(from),
    };
    let end = (start + i64::from(length)).clamp(0, count);
    let start = start.clamp(0, count);
    let take = usize::try_from(end - start).unwrap_or(0);
    text.chars().skip(usize::try_from(start).unwrap_or(0)).take(take).collect()
}

fn initcap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for c in text.chars() {
        if first {
            out.extend(c.to_uppercase())
        } else {
            out.extend(c.to_lowercase())
        }
        first = c == ' ';
    }
    out
}

fn translate(text: &str, from: &str, to: &str) -> String {
    let replacement = |c: char| match from.chars().position(|f| f == c) {
        Some(at) => to.chars().nth(at),
        None => Some(c),
    };
    text.chars().filter_map(replacement).collect()
}

fn concat(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(0, usize::MAX)?;
    if args.iter().any(|arg| matches!(arg.ty, DataType::List(_))) {
        return collection::concat(call, args);
    }
    if args.is_empty() {
        return Ok(text_literal("", &call));
    }
    // Whatever is no text becomes text.
    let as_text = |arg: Typed| argument(arg, &DataType::Utf8, call.ansi(), "concat");
    let args = args.into_iter().map(as_text).collect::<Planned<Vec<_>>>()?;
    Ok(Typed::call(call.name, &args, DataType::Utf8, call.span, |args| {
        let arrays = args.arrays()?;
        let columns: Vec<_> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
        let nulls = columns.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.nulls()));
        let (mut values, mut room) = (Vec::new(), Room::default());
        let mut offsets = Vec::with_capacity(args.rows + 1);
        offsets.push(0);
        for row in 0..args.rows {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                room.take(columns.iter().map(|column| column.value_length(row).unsigned_abs() as usize).sum())?;
                columns.iter().for_each(|column| values.extend_from_slice(column.value(row).as_bytes()));
            }
            // There is no room for more than that holds.
            offsets.push(i32::try_from(values.len()).unwrap_or(i32::MAX));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(values), nulls)?))
    }))
}

fn concat_ws(mut call: Invocation<'_>) -> Planned<Typed> {
    let args = call.between(1, usize::MAX)?;
    let (ansi, span) = (call.ansi(), call.span);
    let list = super::types::list(DataType::Utf8);
    let typed = args
        .into_iter()
        .enumerate()
        .map(|(index, arg)| match arg.ty {
            DataType::List(_) if index > 0 => Ok(cast(arg, &list, Mode::of(ansi))),
            _ => argument(arg, &DataType::Utf8, ansi, "concat_ws"),
        })
        .collect::<Planned<Vec<_>>>()?;
    Ok(Typed::call("concat_ws", &typed, DataType::Utf8, span, |args| {
        let arrays = args.arrays()?;
        let Some((separators, values)) = arrays.split_first() else { return args.array(0) };
        let separators = separators.as_string::<i32>();
        let mut room = Room::default();
        let value = |row: usize| -> Result<Option<String>> {
            if separators.is_null(row) {
                return Ok(None);
            }
            let mut parts: Vec<String> = Vec::new();
            for value in values {
                collect_texts(value, row, &mut parts);
            }
            let separator = separators.value(row);
            let length: usize = parts.iter().map(|part| part.len().saturating_add(separator.len())).sum();
            room.take(length.saturating_sub(separator.len()))?;
            Ok(Some(parts.join(separator)))
        };
        Ok(Arc::new((0..args.rows).map(value).collect::<Result<StringArray>>()?))
    }))
}

/// The texts of a value: nulls are left out.
fn collect_texts(value: &ArrayRef, row: usize, parts: &mut Vec<String>) {
    if value.is_null(row) {
        return;
    }
    match value.as_list_opt::<i32>() {
        Some(list) => parts.extend(list.value(row).as_string::<i32>().iter().flatten().map(str::to_owned)),
        None => parts.push(value.as_string::<i32>().value(row).to_owned()),
    }
}

fn test(mut call: Invocation<'_>, op: fn(&str, &str) -> bool) -> Planned<Typed> {
    let [text, part] = call.exactly()?;
    let args = [
        argument(text, &DataType::Utf8, call.ansi(), call.name)?,
        argument(part, &DataType::Utf8, call.ansi(), call.name)?,
    ];
    Ok(Typed::call(call.name, &args, DataType::Boolean, call.span, move |args| {
        let (text, part) = (args.array(0)?, args.array(1)?);
        let rows = text.as_string::<i32>().iter().zip(part.as_string::<i32>());
        Ok(Arc::new(rows.map(|(text, part)| Some(op(text?, part?))).collect::<BooleanArray>()))
    }))
}

//! Functions with regular expressions. Spark's are Java's; what Rust's engine lacks (looking around, back references) is
//! refused when the pattern is compiled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, BooleanArray, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_functions::regex::compile_and_cache_regex;

use super::Invocation;
use super::types::{list, list_field};
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &[
    "rlike",
    "regexp_like",
    "regexp",
    "split",
    "regexp_extract",
    "regexp_extract_all",
    "regexp_replace",
    "regexp_count",
    "regexp_substr",
    "regexp_instr",
];

/// The groups of a match: where each begins and ends.
type Groups = Vec<Option<(usize, usize)>>;

type Test = dyn Fn(&str) -> bool + Send + Sync;
type Find = dyn Fn(&str) -> Vec<Groups> + Send + Sync;

/// A compiled pattern.
struct Pattern {
    is_match: Box<Test>,
    find_all: Box<Find>,
    groups: usize,
}

impl Pattern {
    fn new(java: &str) -> Result<Self> {
        let translated = translate(java);
        let mut cache = HashMap::new();
        let compiled = compile_and_cache_regex(&translated, None, &mut cache).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            DataFusionError::Execution(format!(
                "[INVALID_PARAMETER_VALUE.PATTERN] the pattern '{java}' is not supported: {reason}"
            ))
        })?;
        let (tester, finder) = (compiled.clone(), compiled.clone());
        Ok(Self {
            groups: compiled.captures_len() - 1,
            is_match: Box::new(move |text| tester.is_match(text)),
            find_all: Box::new(move |text| {
                let groups = finder.captures_iter(text).map(|captures| {
                    captures.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect()
                });
                groups.collect()
            }),
        })
    }
}

/// Patterns by their text: a column of patterns has few different ones.
struct Patterns {
    constant: Option<Arc<Pattern>>,
    cache: Mutex<HashMap<String, Arc<Pattern>>>,
}

impl Patterns {
    fn new(pattern: &Typed, call: &Invocation<'_>) -> Planned<Self> {
        let constant = match pattern.literal_text() {
            Some(text) => Some(Arc::new(Pattern::new(text).map_err(|error| {
                let hint = "looking around and back references do not exist here";
                crate::ast::PlanError::new(call.span, strip(&error)).hint(hint)
            })?)),
            None => None,
        };
        Ok(Self { constant, cache: Mutex::new(HashMap::new()) })
    }

    fn get(&self, text: &str) -> Result<Arc<Pattern>> {
        if let Some(pattern) = &self.constant {
            return Ok(Arc::clone(pattern));
        }
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = cache.get(text) {
            return Ok(Arc::clone(pattern));
        }
        let pattern = Arc::new(Pattern::new(text)?);
        // Patterns from data are unbounded in number.
        if cache.len() >= 256 {
            cache.clear();
        }
        cache.insert(text.to_owned(), Arc::clone(&pattern));
        Ok(pattern)
    }
}

fn strip(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Execution(message) => message.clone(),
        other => other.strip_backtrace(),
    }
}

/// Java's classes are of ASCII, and its dot stops at every line end; Rust's are of Unicode, and its dot stops at `\n`.
fn translate(java: &str) -> String {
    let dot_all = java.contains("(?s") || java.contains("(?is") || java.contains("(?ms");
    let mut out = String::with_capacity(java.len() + 8);
    let mut chars = java.chars().peekable();
    let mut class = 0usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if class > 0 { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if class > 0 { "A-Za-z0-9_" } else { "[A-Za-z0-9_]" }),
                Some('s') => out.push_str(if class > 0 { r" \t\n\x0B\f\r" } else { r"[ \t\n\x0B\f\r]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^A-Za-z0-9_]"),
                Some('S') => out.push_str(r"[^ \t\n\x0B\f\r]"),
                Some('h') => out.push_str(if class > 0 { r" \t\xA0" } else { r"[ \t\xA0]" }),
                Some('Z') => out.push_str(r"(?:\n?\z)"),
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(c) = chars.next() {
                        if c == '\\' && chars.peek() == Some(&'E') {
                            chars.next();
                            break;
                        }
                        quoted.push(c);
                    }
                    for c in quoted.chars() {
                        if c.is_ascii_punctuation() {
                            out.push('\\');
                        }
                        out.push(c);
                    }
                }
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' => {
                class += 1;
                out.push(c);
            }
            ']' => {
                class = class.saturating_sub(1);
                out.push(c);
            }
            '.' if class == 0 && !dot_all => out.push_str(r"[^\n\r\u{85}\u{2028}\u{2029}]"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    match call.name {
        "rlike" | "regexp_like" | "regexp" => {
            let [text, pattern] = call.exactly()?;
            let (text, pattern) = (self::text(text, &call)?, self::text(pattern, &call)?);
            let patterns = Patterns::new(&pattern, &call)?;
            let typed = Typed::call("rlike", &[text, pattern], DataType::Boolean, call.span, move |args| {
                let (text, pattern) = (args.array(0)?, args.array(1)?);
                let rows = text.as_string::<i32>().iter().zip(pattern.as_string::<i32>());
                let test = |(text, pattern): (Option<&str>, Option<&str>)| -> Result<Option<bool>> {
                    let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
                    Ok(Some((patterns.get(pattern)?.is_match)(text)))
                };
                Ok(Arc::new(rows.map(test).collect::<Result<BooleanArray>>()?))
            });
            Ok(typed)
        }
        "split" => split(call),
        "regexp_replace" => replace(call),
        "regexp_count" => {
            let [text, pattern] = call.exactly()?;
            let (text, pattern) = (self::text(text, &call)?, self::text(pattern, &call)?);
            let patterns = Patterns::new(&pattern, &call)?;
            Ok(Typed::call("regexp_count", &[text, pattern], DataType::Int32, call.span, move |args| {
                let (text, pattern) = (args.array(0)?, args.array(1)?);
                let rows = text.as_string::<i32>().iter().zip(pattern.as_string::<i32>());
                let count = |(text, pattern): (Option<&str>, Option<&str>)| -> Result<Option<i32>> {
                    let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
                    Ok(i32::try_from((patterns.get(pattern)?.find_all)(text).len()).ok())
                };
                Ok(Arc::new(rows.map(count).collect::<Result<arrow::array::Int32Array>>()?))
            }))
        }
        "regexp_substr" => {
            let [text, pattern] = call.exactly()?;
            let (text, pattern) = (self::text(text, &call)?, self::text(pattern, &call)?);
            let patterns = Patterns::new(&pattern, &call)?;
            Ok(Typed::call("regexp_substr", &[text, pattern], DataType::Utf8, call.span, move |args| {
                let (text, pattern) = (args.array(0)?, args.array(1)?);
                let rows = text.as_string::<i32>().iter().zip(pattern.as_string::<i32>());
                // As in Spark, a match of nothing is none.
                let found = rows.map(|(text, pattern)| {
                    let found = first(&patterns, text, pattern)?.flatten().map(|(_, found)| found);
                    Ok(found.filter(|found| !found.is_empty()))
                });
                Ok(Arc::new(found.collect::<Result<StringArray>>()?))
            }))
        }
        "regexp_instr" => {
            let mut args = call.between(2, 3)?;
            // The group is looked at by nobody, in Spark either.
            let group = int(args.get(2).cloned(), 0, &call)?;
            args.truncate(2);
            let label = format!("regexp_instr({}, {})", names(&args), group.name);
            let args = args.into_iter().map(|arg| self::text(arg, &call)).collect::<Planned<Vec<_>>>()?;
            let [text, pattern] = <[Typed; 2]>::try_from(args).map_err(|_| call.error("arguments are missing"))?;
            let patterns = Patterns::new(&pattern, &call)?;
            let typed = Typed::call("regexp_instr", &[text, pattern, group], DataType::Int32, call.span, move |args| {
                let (text, pattern, group) = (args.array(0)?, args.array(1)?, args.array(2)?);
                let rows = text.as_string::<i32>().iter().zip(pattern.as_string::<i32>());
                let place = |(row, (text, pattern)): (usize, (Option<&str>, Option<&str>))| -> Result<Option<i32>> {
                    let found = first(&patterns, text, pattern)?.filter(|_| group.is_valid(row));
                    let place = |(at, _): (usize, &str)| i32::try_from(at + 1).unwrap_or(i32::MAX);
                    Ok(found.map(|found| found.map_or(0, place)))
                };
                Ok(Arc::new(rows.enumerate().map(place).collect::<Result<arrow::array::Int32Array>>()?))
            });
            Ok(typed.named(label))
        }
        _ => extract(call),
    }
}

fn names(args: &[Typed]) -> String {
    args.iter().map(|arg| arg.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The first match: how many of Java's characters (UTF-16) stand before it, and its text. The outer `None`: something is null.
fn first<'a>(
    patterns: &Patterns,
    text: Option<&'a str>,
    pattern: Option<&str>,
) -> Result<Option<Option<(usize, &'a str)>>> {
    let (Some(text), Some(pattern)) = (text, pattern) else { return Ok(None) };
    let found = (patterns.get(pattern)?.find_all)(text);
    let range = found.first().and_then(|groups| groups.first().copied().flatten());
    Ok(Some(range.and_then(|(start, end)| Some((text.get(..start)?.encode_utf16().count(), text.get(start..end)?)))))
}

fn text(value: Typed, call: &Invocation<'_>) -> Planned<Typed> {
    argument(value, &DataType::Utf8, call.ansi(), call.name)
}

fn int(value: Option<Typed>, missing: i32, call: &Invocation<'_>) -> Planned<Typed> {
    match value {
        Some(value) => argument(value, &DataType::Int32, call.ansi(), call.name),
        None => Ok(Typed::literal(ScalarValue::Int32(Some(missing)), missing.to_string(), call.span)),
    }
}

fn split(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(2, 3)?.into_iter();
    let (Some(value), Some(pattern)) = (args.next(), args.next()) else {
        return Err(call.error("arguments are missing"));
    };
    let (value, pattern) = (text(value, &call)?, text(pattern, &call)?);
    let explicit = args.next();
    let name =
        format!("split({}, {}, {})", value.name, pattern.name, explicit.as_ref().map_or("-1", |limit| &limit.name));
    let limit = int(explicit, -1, &call)?;
    let patterns = Patterns::new(&pattern, &call)?;
    // Most delimiters are plain characters.
    let plain = pattern.literal_text().and_then(plain_delimiter);
    let typed = Typed::call("split", &[value, pattern, limit], list(DataType::Utf8), call.span, move |args| {
        let (text, pattern, limit) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let (text, pattern, limit) =
            (text.as_string::<i32>(), pattern.as_string::<i32>(), limit.as_primitive::<Int32Type>());
        let mut out = ListBuilder::new(StringBuilder::with_capacity(text.len() * 4, text.value_data().len()))
            .with_field(list_field(DataType::Utf8));
        for row in 0..text.len() {
            if text.is_null(row) || pattern.is_null(row) || limit.is_null(row) {
                out.append(false);
                continue;
            }
            let value = text.value(row);
            let most = usize::try_from(limit.value(row)).ok().filter(|most| *most > 0).unwrap_or(usize::MAX);
            match &plain {
                Some(delimiter) => {
                    value.splitn(most, delimiter.as_str()).for_each(|part| out.values().append_value(part))
                }
                None if pattern.value(row).is_empty() && !value.is_empty() => {
                    let count = value.chars().count();
                    let mut rest = value;
                    for _ in 1..most.min(count) {
                        let (first, tail) = rest.split_at(rest.chars().next().map_or(0, char::len_utf8));
                        out.values().append_value(first);
                        rest = tail;
                    }
                    out.values().append_value(rest);
                }
                None => {
                    let found = (patterns.get(pattern.value(row))?.find_all)(value);
                    let (mut from, mut parts) = (0, 1);
                    for (start, end) in found.iter().filter_map(|groups| groups.first().copied().flatten()) {
                        // As in Java an empty match at the beginning splits nothing.
                        if parts >= most || end == 0 {
                            continue;
                        }
                        out.values().append_value(value.get(from..start).unwrap_or_default());
                        from = end;
                        parts += 1;
                    }
                    out.values().append_value(value.get(from..).unwrap_or_default());
                }
            }
            out.append(true);
        }
        Ok(Arc::new(out.finish()))
    });
    Ok(typed.named(name))
}

/// The text that the pattern matches, if it is one text only.
fn plain_delimiter(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '$' | '|' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '?' | '*' | '+' => return None,
            c => out.push(c),
        }
    }
    Some(out).filter(|out| !out.is_empty())
}

/// A part of a replacement: text or a group.
enum Piece {
    Text(String),
    Group(usize),
}

/// Java's replacements: `$1` and `${1}` are groups, a backslash takes the next character as it is.
fn pieces(replacement: &str, groups: usize) -> Result<Vec<Piece>> {
    let wrong = |what: String| {
        DataFusionError::Execution(format!("[INVALID_REGEXP_REPLACE] the replacement '{replacement}' {what}"))
    };
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().ok_or_else(|| wrong("ends in a backslash".into()))?),
            '$' => {
                let mut group = match chars.next().and_then(|c| c.to_digit(10)) {
                    Some(digit) => digit as usize,
                    None => return Err(wrong("has a $ without a group; write \\$ for a dollar".into())),
                };
                // More digits belong to the group as long as there is such a group.
                while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                    let longer = group * 10 + digit as usize;
                    if longer > groups {
                        break;
                    }
                    group = longer;
                    chars.next();
                }
                if group > groups {
                    return Err(wrong(format!("names group {group}, and the pattern has {groups}")));
                }
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Group(group));
            }
            c => text.push(c),
        }
    }
    pieces.push(Piece::Text(text));
    Ok(pieces)
}

fn replace(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(3, 4)?;
    let position = if args.len() == 4 { args.pop() } else { None };
    if position.as_ref().is_some_and(|position| position.literal_long() != Some(1)) {
        return Err(call.error("regexp_replace is supported from position 1 only"));
    }
    let Ok([value, pattern, replacement]) = <[Typed; 3]>::try_from(args) else {
        return Err(call.error("arguments are missing"));
    };
    let name = format!("regexp_replace({}, {}, {}, 1)", value.name, pattern.name, replacement.name);
    let args = [text(value, &call)?, text(pattern, &call)?, text(replacement, &call)?];
    let patterns = Patterns::new(&args[1], &call)?;
    let typed = Typed::call("regexp_replace", &args, DataType::Utf8, call.span, move |args| {
        let (text, pattern, replacement) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let rows = text.as_string::<i32>().iter().zip(pattern.as_string::<i32>()).zip(replacement.as_string::<i32>());
        let value =
            |((text, pattern), replacement): ((Option<&str>, Option<&str>), Option<&str>)| -> Result<Option<String>> {
                let (Some(text), Some(pattern), Some(replacement)) = (text, pattern, replacement) else {
                    return Ok(None);
                };
                let pattern = patterns.get(pattern)?;
                let pieces = pieces(replacement, pattern.groups)?;
                let mut out = String::with_capacity(text.len());
                let mut from = 0;
                for groups in (pattern.find_all)(text) {
                    let Some((start, end)) = groups.first().copied().flatten() else { continue };
                    out.push_str(text.get(from..start).unwrap_or_default());
                    for piece in &pieces {
                        match piece {
                            Piece::Text(text) => out.push_str(text),
                            Piece::Group(group) => {
                                let range = groups.get(*group).copied().flatten().unwrap_or_default();
                                out.push_str(text.get(range.0..range.1).unwrap_or_default());
                            }
                        }
                    }
                    from = end;
                }
                out.push_str(text.get(from..).unwrap_or_default());
                Ok(Some(out))
            };
        Ok(Arc::new(rows.map(value).collect::<Result<StringArray>>()?))
    });
    Ok(typed.fallible().named(name))
}

fn extract(mut call: Invocation<'_>) -> Planned<Typed> {
    let all = call.name == "regexp_extract_all";
    let mut args = call.between(2, 3)?.into_iter();
    let (Some(value), Some(pattern)) = (args.next(), args.next()) else {
        return Err(call.error("arguments are missing"));
    };
    let (value, pattern) = (text(value, &call)?, text(pattern, &call)?);
    let group = int(args.next(), 1, &call)?;
    let name = format!("{}({}, {}, {})", call.name, value.name, pattern.name, group.name);
    let patterns = Patterns::new(&pattern, &call)?;
    let ty = if all { list(DataType::Utf8) } else { DataType::Utf8 };
    let function = call.name.to_owned();
    let typed = Typed::call(call.name, &[value, pattern, group], ty, call.span, move |args| {
        let (text, pattern, group) = (args.array(0)?, args.array(1)?, args.array(2)?);
        let rows =
            text.as_string::<i32>().iter().zip(pattern.as_string::<i32>()).zip(group.as_primitive::<Int32Type>());
        let found = rows.map(|((text, pattern), group)| -> Result<Option<Vec<String>>> {
            let (Some(text), Some(pattern), Some(group)) = (text, pattern, group) else { return Ok(None) };
            let pattern = patterns.get(pattern)?;
            let Some(index) = usize::try_from(group).ok().filter(|group| *group <= pattern.groups) else {
                return Err(DataFusionError::Execution(format!(
                    "[INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX] {function}: the group {group} is not there; the pattern has {}",
                    pattern.groups
                )));
            };
            let part = |groups: &Groups| {
                let range = groups.get(index).copied().flatten().unwrap_or_default();
                text.get(range.0..range.1).unwrap_or_default().to_owned()
            };
            Ok(Some((pattern.find_all)(text).iter().take(if all { usize::MAX } else { 1 }).map(part).collect()))
        });
        if !all {
            let first = found.map(|parts| Ok(parts?.map(|parts| parts.into_iter().next().unwrap_or_default())));
            return Ok(Arc::new(first.collect::<Result<StringArray>>()?));
        }
        let mut out = ListBuilder::new(StringBuilder::new()).with_field(list_field(DataType::Utf8));
        for parts in found {
            match parts? {
                Some(parts) => {
                    parts.iter().for_each(|part| out.values().append_value(part));
                    out.append(true);
                }
                None => out.append(false),
            }
        }
        Ok(Arc::new(out.finish()))
    });
    Ok(typed.fallible().named(name))
}

//! Functions of text that are not often needed.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int32Type, Int64Type};
use datafusion_common::{DataFusionError, Result, exec_err};

use super::Invocation;
use super::build::map_of_texts;
use super::cast::{Mode, cast, cast_array, display};
use super::room::Room;
use super::text::{number, text_literal, texts};
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] =
    &["overlay", "levenshtein", "conv", "format_number", "format_string", "printf", "str_to_map", "typeof"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "overlay" => {
            let mut args = call.between(3, 4)?;
            if args.len() == 3 {
                args.push(number(-1, &call));
            }
            texts(call, args, |parts| match parts {
                [text, with, from, length] => Some(overlay(text, with, from.parse().ok()?, length.parse().ok()?)),
                _ => None,
            })
        }
        "levenshtein" => {
            let args = call.between(2, 3)?;
            let label = crate::typed::call_name("levenshtein", &args);
            let distance = texts(call, args, |parts| match parts {
                [a, b] => Some(strsim::levenshtein(a, b).to_string()),
                [a, b, most] => {
                    let distance = strsim::levenshtein(a, b) as i64;
                    Some(if distance <= most.parse().ok()? { distance.to_string() } else { "-1".to_owned() })
                }
                _ => None,
            });
            Ok(cast(distance?, &DataType::Int32, Mode::Legacy).named(label))
        }
        "conv" => {
            let [value, from, to] = call.exactly()?;
            let label = format!("conv({}, {}, {})", value.name, from.name, to.name);
            let args = [
                argument(value, &DataType::Utf8, ansi, "conv")?,
                argument(from, &DataType::Int32, ansi, "conv")?,
                argument(to, &DataType::Int32, ansi, "conv")?,
            ];
            let typed = Typed::call("conv", &args, DataType::Utf8, span, move |args| {
                let (text, from, to) = (args.array(0)?, args.array(1)?, args.array(2)?);
                let bases = from.as_primitive::<Int32Type>().iter().zip(to.as_primitive::<Int32Type>());
                let rows = text.as_string::<i32>().iter().zip(bases);
                let converted = rows.map(|(text, (from, to))| match (text, from, to) {
                    (Some(text), Some(from), Some(to)) => conv(text, from, to, ansi),
                    _ => Ok(None),
                });
                Ok(Arc::new(converted.collect::<Result<StringArray>>()?))
            });
            Ok(if ansi { typed.fallible() } else { typed }.named(label))
        }
        "format_number" => {
            let [value, digits] = call.exactly()?;
            let label = format!("format_number({}, {})", value.name, digits.name);
            let digits = argument(digits, &DataType::Int32, ansi, "format_number")?;
            let value = match value.ty {
                DataType::Decimal128(_, _) | DataType::Int64 => value,
                ref ty if ty.is_integer() => cast(value, &DataType::Int64, Mode::Legacy),
                _ => argument(value, &DataType::Float64, ansi, "format_number")?,
            };
            let typed = Typed::call("format_number", &[value, digits], DataType::Utf8, span, |args| {
                let (values, digits) = (args.array(0)?, args.array(1)?);
                let digits = digits.as_primitive::<Int32Type>();
                let mut room = Room::default();
                let text = |row: usize| {
                    let digits = digits.is_valid(row).then(|| usize::try_from(digits.value(row)).ok()).flatten();
                    let Some(digits) = digits.filter(|_| values.is_valid(row)) else { return Ok(None) };
                    room.take(digits)?;
                    Ok(grouped(&values, row, digits))
                };
                Ok(Arc::new((0..args.rows).map(text).collect::<Result<StringArray>>()?))
            });
            Ok(typed.fallible().named(label))
        }
        "format_string" | "printf" => {
            let args = call.between(1, usize::MAX)?;
            let typed = Typed::call(call.name, &args, DataType::Utf8, span, |args| {
                let arrays = args.arrays()?;
                let Some((formats, values)) = arrays.split_first() else { return exec_err!("no format") };
                let Some(formats) = formats.as_string_opt::<i32>() else { return exec_err!("the format is no text") };
                let line = |row: usize| match formats.is_null(row) {
                    true => Ok(None),
                    false => formatted(formats.value(row), values, row).map(Some),
                };
                Ok(Arc::new((0..args.rows).map(line).collect::<Result<StringArray>>()?))
            });
            Ok(typed.fallible())
        }
        "str_to_map" => {
            let mut args = call.between(1, 3)?;
            for default in [",", ":"].get(args.len() - 1..).unwrap_or_default() {
                args.push(text_literal(default, &call));
            }
            map_of_texts(call, args)
        }
        _ => {
            let [value] = call.exactly()?;
            let name = levada_formats::ddl::type_name(&value.ty).to_lowercase();
            let label = format!("typeof({})", value.name);
            Ok(text_literal(&name, &call).named(label))
        }
    }
}

/// `text` with so many characters from `from` on replaced: as many as `with` has, if the number is negative.
fn overlay(text: &str, with: &str, from: i64, length: i64) -> String {
    let characters: Vec<char> = text.chars().collect();
    let length = if length >= 0 { length } else { with.chars().count() as i64 };
    let cut = |at: i64| usize::try_from(at.max(0)).unwrap_or(0).min(characters.len());
    let start = from.saturating_sub(1);
    let (before, after) = (cut(start), cut(start.saturating_add(length)));
    let part = |part: Option<&[char]>| part.unwrap_or_default().iter().collect::<String>();
    format!("{}{with}{}", part(characters.get(..before)), part(characters.get(after..)))
}

/// A number in another base. Of a negative one the result is its two's complement of 64 bits, or signed, if the base is.
fn conv(text: &str, from: i32, to: i32, ansi: bool) -> Result<Option<String>> {
    let text = text.trim_matches(' ');
    let (base, target) = (from.unsigned_abs(), to.unsigned_abs());
    if text.is_empty() || !(2..=36).contains(&base) || from < 0 || !(2..=36).contains(&target) {
        return Ok(None);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut value = 0u64;
    for digit in digits.chars().map_while(|digit| digit.to_digit(base)) {
        let next = value.checked_mul(base.into()).and_then(|value| value.checked_add(digit.into()));
        value = match next {
            Some(next) => next,
            None if ansi => return exec_err!("[ARITHMETIC_OVERFLOW] conv: '{text}' does not fit 64 bits"),
            None => u64::MAX,
        };
        if next.is_none() {
            break;
        }
    }
    if negative && to > 0 {
        value = value.wrapping_neg();
    }
    let mut minus = negative && to < 0;
    if to < 0 && value.cast_signed() < 0 {
        (value, minus) = (value.wrapping_neg(), true);
    }
    let mut written = Vec::new();
    loop {
        let digit = char::from_digit((value % u64::from(target)) as u32, target).unwrap_or('0');
        written.push(digit.to_ascii_uppercase());
        value /= u64::from(target);
        if value == 0 {
            break;
        }
    }
    if minus {
        written.push('-');
    }
    Ok(Some(written.into_iter().rev().collect()))
}

/// A number with commas between thousands and so many decimals, half to even.
fn grouped(values: &ArrayRef, row: usize, digits: usize) -> Option<String> {
    let plain = match values.data_type() {
        DataType::Int64 => {
            let value = values.as_primitive::<Int64Type>().value(row);
            if digits == 0 { value.to_string() } else { format!("{value}.{}", "0".repeat(digits)) }
        }
        DataType::Decimal128(_, scale) => {
            decimal(values.as_primitive::<Decimal128Type>().value(row), usize::try_from(*scale).ok()?, digits)?
        }
        _ => {
            let value = values.as_primitive::<Float64Type>().value(row);
            match value {
                value if value.is_nan() => return Some("NaN".to_owned()),
                value if value.is_infinite() => return Some(if value > 0.0 { "∞" } else { "-∞" }.to_owned()),
                value => {
                    // A double has no more decimals than this; what formats takes no more than 65,535.
                    let exact = digits.min(1100);
                    format!("{value:.exact$}{}", "0".repeat(digits - exact))
                }
            }
        }
    };
    Some(with_commas(&plain))
}

fn with_commas(plain: &str) -> String {
    let (sign, rest) = plain.strip_prefix('-').map_or(("", plain), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

fn decimal(value: i128, scale: usize, digits: usize) -> Option<String> {
    let (mut value, mut places) = (value, scale);
    if digits < scale {
        let unit = 10i128.checked_pow(u32::try_from(scale - digits).ok()?)?;
        let (whole, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
        let up = rest * 2 > unit || (rest * 2 == unit && whole % 2 != 0);
        (value, places) = (whole + i128::from(up), digits);
    }
    let plain = format!("{:0width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = plain.split_at_checked(plain.len() - places)?;
    let sign = if value < 0 { "-" } else { "" };
    let zeros = "0".repeat(digits.saturating_sub(places));
    let point = if digits > 0 { "." } else { "" };
    Some(format!("{sign}{whole}{point}{fraction}{zeros}"))
}

/// Java's `String.format`, for text, numbers and truth values.
fn formatted(format: &str, values: &[ArrayRef], row: usize) -> Result<String> {
    let mut out = String::with_capacity(format.len() + 16);
    let mut rest = format;
    let mut next = 0;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic() || c == '%');
        let Some((spec, kind)) = end.and_then(|end| Some((after.get(..end)?, after.get(end..)?.chars().next()?)))
        else {
            return exec_err!("format_string: the format ends inside a %");
        };
        rest = after.get(spec.len() + 1..).unwrap_or_default();
        match kind {
            '%' => out.push('%'),
            'n' => out.push('\n'),
            _ => {
                let (at, spec) = match spec.split_once('$') {
                    Some((index, spec)) => (index.parse::<usize>().unwrap_or(0).wrapping_sub(1), spec),
                    None => {
                        next += 1;
                        (next - 1, spec)
                    }
                };
                let Some(value) = values.get(at) else {
                    return exec_err!("format_string: there is no argument for '%{spec}{kind}'");
                };
                one(&mut out, spec, kind, value, row)?;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// One value after its flags, width and precision.
fn one(out: &mut String, spec: &str, kind: char, value: &ArrayRef, row: usize) -> Result<()> {
    let wrong = || {
        let ty = super::types::sql_name(value.data_type());
        DataFusionError::Execution(format!("format_string: '%{spec}{kind}' is not for {ty}"))
    };
    let rest = spec.trim_start_matches(['-', '+', ' ', '0', ',', '(', '#']);
    let flags = spec.get(..spec.len() - rest.len()).unwrap_or_default();
    let (width, precision) = rest.split_once('.').map_or((rest, None), |(width, precision)| (width, Some(precision)));
    let width: usize = if width.is_empty() { 0 } else { width.parse().map_err(|_| wrong())? };
    let precision: Option<usize> = precision.map(|text| text.parse().map_err(|_| wrong())).transpose()?;
    if flags.contains(['(', '#']) || width > 1 << 16 || precision.is_some_and(|precision| precision > 1 << 10) {
        return Err(wrong());
    }
    let mut numeric = false;
    let text = if value.is_null(row) {
        let text = if matches!(kind, 'b' | 'B') { "false" } else { "null" };
        text.to_owned()
    } else {
        match kind {
            's' | 'S' => {
                let text = display(value, row)?;
                precision.map_or(text.clone(), |most| text.chars().take(most).collect())
            }
            'b' | 'B' => match value.as_boolean_opt() {
                Some(value) => value.value(row).to_string(),
                None => "true".to_owned(),
            },
            'c' => {
                let text = display(value, row)?;
                let code = text.parse::<u32>().ok().and_then(char::from_u32).ok_or_else(wrong)?;
                code.to_string()
            }
            'd' | 'x' | 'X' | 'o' if value.data_type().is_integer() => {
                numeric = true;
                let long = cast_array(&value.slice(row, 1), &DataType::Int64, Mode::Legacy)?;
                let long = long.as_primitive::<Int64Type>().value(0);
                let narrow = *value.data_type() != DataType::Int64;
                let bits = if narrow { u64::from((long as i32).cast_unsigned()) } else { long.cast_unsigned() };
                match kind {
                    'd' => long.to_string(),
                    'o' => format!("{bits:o}"),
                    _ => format!("{bits:x}"),
                }
            }
            'f' | 'e' | 'E'
                if value.data_type().is_floating() || matches!(value.data_type(), DataType::Decimal128(..)) =>
            {
                let double = cast_array(&value.slice(row, 1), &DataType::Float64, Mode::Legacy)?;
                let double = double.as_primitive::<Float64Type>().value(0);
                numeric = double.is_finite();
                real(value, row, double, kind, precision.unwrap_or(6)).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        }
    };
    let text = if kind.is_ascii_uppercase() { text.to_uppercase() } else { text };
    let text = if numeric { signed(text, flags, width) } else { text };
    let missing = width.saturating_sub(text.chars().count());
    let blanks = " ".repeat(missing);
    let _ = if flags.contains('-') { write!(out, "{text}{blanks}") } else { write!(out, "{blanks}{text}") };
    Ok(())
}

/// Java rounds the shortest digits half up.
fn real(value: &ArrayRef, row: usize, double: f64, kind: char, digits: usize) -> Option<String> {
    if !double.is_finite() {
        return Some(
            if double.is_nan() {
                "NaN"
            } else if double > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }
            .to_owned(),
        );
    }
    if kind != 'f' {
        let text = format!("{double:.digits$e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let sign = if exponent < 0 { '-' } else { '+' };
        return Some(format!("{mantissa}e{sign}{:02}", exponent.abs()));
    }
    let plain = match value.data_type() {
        DataType::Decimal128(_, _) => display(value, row).ok()?,
        _ => format!("{double}"),
    };
    let (sign, plain) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(digits).collect();
    let mut number: Vec<u8> = format!("{whole}{kept}").into_bytes();
    if fraction.as_bytes().get(digits).is_some_and(|digit| *digit >= b'5') {
        let nines = number.iter().rev().take_while(|digit| **digit == b'9').count();
        let end = number.len() - nines;
        number.iter_mut().skip(end).for_each(|digit| *digit = b'0');
        match end.checked_sub(1).and_then(|at| number.get_mut(at)) {
            Some(digit) => *digit += 1,
            None => number.insert(0, b'1'),
        }
    }
    let number = String::from_utf8(number).ok()?;
    let (whole, kept) = number.split_at_checked(number.len() - digits)?;
    Some(if digits == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{kept}") })
}

/// A number with its flags: commas, sign, and zeros up to the width.
fn signed(text: String, flags: &str, width: usize) -> String {
    let text = if flags.contains(',') { with_commas(&text) } else { text };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None if flags.contains('+') => ("+", text.as_str()),
        None if flags.contains(' ') => (" ", text.as_str()),
        None => ("", text.as_str()),
    };
    let zeros = if flags.contains('0') { width.saturating_sub(sign.len() + digits.len()) } else { 0 };
    format!("{sign}{}{digits}", "0".repeat(zeros))
}

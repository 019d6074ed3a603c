//! Functions of text that are hardly needed: what a word sounds like, what is hidden of it, which of several it is.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion_common::{ScalarValue, exec_err};

use super::Invocation;
use super::cast::{Mode, cast};
use super::room::Room;
use super::text::texts;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] = &["soundex", "luhn_check", "mask", "find_in_set", "elt"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    match call.name {
        "soundex" => {
            let args = call.between(1, 1)?;
            texts(call, args, |parts| parts.first().map(|text| soundex(text)))
        }
        "luhn_check" => {
            let args = call.between(1, 1)?;
            let label = call_name("luhn_check", &args);
            let valid = texts(call, args, |parts| parts.first().map(|text| luhn(text).to_string()))?;
            Ok(cast(valid, &DataType::Boolean, Mode::Legacy).named(label))
        }
        "find_in_set" => {
            let args = call.between(2, 2)?;
            let label = call_name("find_in_set", &args);
            let place = texts(call, args, |parts| match parts {
                [word, list] => {
                    let found = list.split(',').position(|item| item == *word);
                    Some(found.map_or(0, |at| at + 1).to_string())
                }
                _ => None,
            })?;
            Ok(cast(place, &DataType::Int32, Mode::Legacy).named(label))
        }
        "mask" => mask(call),
        _ => elt(call),
    }
}

/// The code of American Soundex: the first letter and three digits. A text that begins with no letter stays.
fn soundex(text: &str) -> String {
    // By letter; 7 is not heard, and 0 a vowel.
    const CODES: &[u8; 26] = b"01230127022455012623017202";
    let code = |byte: u8| CODES.get(usize::from(byte.to_ascii_uppercase().wrapping_sub(b'A'))).copied();
    let Some((first, rest)) = text.as_bytes().split_first() else { return String::new() };
    let Some(mut last) = code(*first) else { return text.to_owned() };
    let mut out = String::from(char::from(first.to_ascii_uppercase()));
    for byte in rest {
        match code(*byte) {
            None => last = b'0',
            Some(b'7') => {}
            Some(heard) => {
                if heard != b'0' && heard != last {
                    out.push(char::from(heard));
                    if out.len() == 4 {
                        break;
                    }
                }
                last = heard;
            }
        }
    }
    while out.len() < 4 {
        out.push('0');
    }
    out
}

/// Whether the digits meet Luhn's check.
fn luhn(text: &str) -> bool {
    let digits = text.bytes().rev().map(|byte| byte.is_ascii_digit().then(|| u32::from(byte - b'0')));
    let add = |sum: u32, (at, digit): (usize, Option<u32>)| {
        let digit = digit?;
        let doubled = if at % 2 == 1 { digit * 2 } else { digit };
        Some((sum + doubled / 10 + doubled % 10) % 10)
    };
    !text.is_empty() && digits.enumerate().try_fold(0, add) == Some(0)
}

/// `mask(text, upper, lower, digit, other)`: what stands in the place of such characters; null keeps them.
fn mask(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(1, 5)?;
    let label = mask_label(&args);
    let mut signs = [Some('X'), Some('x'), Some('n'), None];
    for (sign, given) in signs.iter_mut().zip(args.drain(1..)) {
        *sign = match &given.literal {
            Some(literal) if literal.is_null() => None,
            Some(ScalarValue::Utf8(Some(text))) if text.chars().count() == 1 => text.chars().next(),
            _ => {
                let message =
                    "[DATATYPE_MISMATCH.INPUT_SIZE_NOT_ONE] what mask puts is one constant character, or null";
                return Err(crate::ast::PlanError::new(given.span, message));
            }
        };
    }
    let [upper, lower, digit, other] = signs;
    let masked = texts(call, args, move |parts| {
        let sign = |c: char| match c {
            c if c.is_uppercase() => upper,
            c if c.is_lowercase() => lower,
            c if c.is_ascii_digit() => digit,
            _ => other,
        };
        // A character beyond Java's sixteen bits is two of them.
        let masked = |c: char| std::iter::repeat_n(sign(c).unwrap_or(c), sign(c).map_or(1, |_| c.len_utf16()));
        parts.first().map(|text| text.chars().flat_map(masked).collect())
    })?;
    Ok(masked.named(label))
}

/// With the defaults of what was not given.
fn mask_label(args: &[Typed]) -> String {
    let given = args.iter().map(|arg| arg.name.as_str());
    let defaults = ["X", "x", "n", "NULL"].into_iter().skip(args.len().saturating_sub(1));
    format!("mask({})", given.chain(defaults).collect::<Vec<_>>().join(", "))
}

/// `elt(n, first, second, …)`.
fn elt(mut call: Invocation<'_>) -> Planned<Typed> {
    let mut args = call.between(2, usize::MAX)?;
    let (ansi, span, label) = (call.ansi(), call.span, call_name("elt", &args));
    let choices = args.split_off(1);
    let mut args = args.into_iter().map(|n| argument(n, &DataType::Int32, ansi, "elt")).collect::<Planned<Vec<_>>>()?;
    for choice in choices {
        args.push(argument(choice, &DataType::Utf8, ansi, "elt")?);
    }
    let typed = Typed::call("elt", &args, DataType::Utf8, span, move |args| {
        let arrays = args.arrays()?;
        let Some((numbers, choices)) = arrays.split_first() else { return exec_err!("elt without a number") };
        let numbers = numbers.as_primitive::<Int32Type>();
        let mut room = Room::default();
        let chosen = |row: usize| {
            if numbers.is_null(row) {
                return Ok(None);
            }
            let number = numbers.value(row);
            match usize::try_from(number).ok().and_then(|number| choices.get(number.checked_sub(1)?)) {
                Some(choice) => {
                    let choice = choice.as_string::<i32>();
                    let text = choice.is_valid(row).then(|| choice.value(row).to_owned());
                    room.take(text.as_ref().map_or(0, String::len))?;
                    Ok(text)
                }
                None if ansi => exec_err!(
                    "[INVALID_ARRAY_INDEX] the index {number} is out of bounds: elt has {} values to choose from",
                    choices.len()
                ),
                None => Ok(None),
            }
        };
        Ok(Arc::new((0..args.rows).map(chosen).collect::<datafusion_common::Result<StringArray>>()?))
    });
    Ok(if ansi { typed.fallible() } else { typed }.named(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        for (text, code) in [("Robert", "R163"), ("Tymczak", "T522"), ("Honeyman", "H555"), ("1a", "1a"), ("", "")] {
            assert_eq!(soundex(text), code);
        }
        assert!(luhn("79927398713") && !luhn("79927398714") && !luhn("") && !luhn("1a"));
    }
}

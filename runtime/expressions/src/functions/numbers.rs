//! Numbers by patterns: `to_number('1,234', '9,999')` and `to_char(1234, '9,999')`.

use std::sync::Arc;

use arrow::array::{AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion_common::{Result, exec_err};

use super::Invocation;
use super::cast::{Mode, cast, is_timestamp};
use super::decimal::of_integer;
use crate::ast::{PlanError, Planned};
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] = &["to_number", "try_to_number", "to_char", "to_varchar"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    let args = call.exactly::<2>()?;
    let label = call_name(name, &args);
    let [value, format] = args;
    let reading = name.ends_with("to_number");
    if !reading && (value.ty == DataType::Binary || is_timestamp(&value.ty) || value.ty == DataType::Date32) {
        let typed = match value.ty {
            DataType::Binary => binary(&call, value, format)?,
            _ => super::plan(call.planner, "date_format", vec![value, format], span)?,
        };
        return Ok(typed.named(label));
    }
    let Some(text) = format.literal_text() else {
        let message = format!("[DATATYPE_MISMATCH.NON_FOLDABLE_INPUT] the format of {name} is a constant text");
        return Err(PlanError::new(format.span, message).hint("write it as '9,999.99'"));
    };
    let Some(pattern) = Pattern::parse(text) else {
        let message = format!("[INVALID_FORMAT] '{text}' is no format of numbers");
        return Err(PlanError::new(format.span, message)
            .hint("a format is [MI|S] [$] digits as 9 and 0 with , between and a . in them, [MI|S|PR]"));
    };
    if reading {
        let attempt = name == "try_to_number";
        let ty = DataType::Decimal128(pattern.precision(), pattern.scale());
        let value = argument(value, &DataType::Utf8, ansi, name)?;
        let (result, text) = (ty.clone(), text.to_owned());
        let typed = Typed::call(name, &[value], ty, span, move |args| {
            let values = args.array(0)?;
            let read = values.as_string::<i32>().iter().map(|value| match value.map(|value| (value, pattern.read(value))) {
                None => Ok(None),
                Some((_, Some(number))) => Ok(Some(number)),
                Some(_) if attempt => Ok(None),
                Some((value, None)) => exec_err!(
                    "[INVALID_FORMAT.MISMATCH_INPUT] the text '{value}' does not match the format {text}; use try_to_number for NULL"
                ),
            });
            let read = read.collect::<Result<PrimitiveArray<Decimal128Type>>>()?;
            Ok(Arc::new(read.with_data_type(result.clone())))
        });
        return Ok(if attempt { typed } else { typed.fallible() }.named(label));
    }
    let ty = match &value.ty {
        DataType::Decimal128(_, _) => value.ty.clone(),
        ty if ty.is_integer() => {
            let (precision, scale) = of_integer(ty).unwrap_or((20, 0));
            DataType::Decimal128(precision, scale)
        }
        DataType::Utf8 | DataType::Float32 | DataType::Float64 | DataType::Null => DataType::Decimal128(38, 18),
        ty => {
            let message = format!("[DATATYPE_MISMATCH] {name} takes a number, not {}", super::types::sql_name(ty));
            return Err(PlanError::new(value.span, message));
        }
    };
    let value = cast(value, &ty, Mode::of(ansi));
    let typed = Typed::call(name, &[value], DataType::Utf8, span, move |args| {
        let values = args.array(0)?;
        let values = values.as_primitive::<Decimal128Type>();
        let scale = values.scale();
        let written = values.iter().map(|value| value.map(|value| pattern.write(value, scale)));
        Ok(Arc::new(written.collect::<StringArray>()))
    });
    Ok(typed.named(label))
}

/// Bytes as text.
fn binary(call: &Invocation<'_>, value: Typed, format: Typed) -> Planned<Typed> {
    let function = match format.literal_text().map(str::to_ascii_lowercase).as_deref() {
        Some("hex") => "hex",
        Some("base64") => "base64",
        Some("utf-8") => return Ok(cast(value, &DataType::Utf8, Mode::of(call.ansi()))),
        _ => {
            let message = format!("[INVALID_PARAMETER_VALUE.BINARY_FORMAT] {} of bytes takes a format", call.name);
            return Err(PlanError::new(format.span, message).hint("use 'hex', 'base64' or 'utf-8'"));
        }
    };
    super::plan(call.planner, function, vec![value], call.span)
}

/// Where a sign stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// A plus or a minus.
    Plus,
    /// A minus or nothing.
    Minus,
    /// Angle brackets around what is negative.
    Brackets,
}

/// A format of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    before: Option<Sign>,
    currency: bool,
    /// The digits before the point, in groups.
    groups: Vec<Vec<u8>>,
    /// The digits behind the point, if there is one.
    fraction: Option<usize>,
    after: Option<Sign>,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let mut rest = upper.as_str();
        let mut take = |what: &str| match rest.strip_prefix(what) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        };
        let before = match (take("S"), take("MI")) {
            (true, false) => Some(Sign::Plus),
            (false, true) => Some(Sign::Minus),
            (false, false) => None,
            (true, true) => return None,
        };
        let currency = take("$");
        let mut groups = vec![Vec::new()];
        let mut fraction = None;
        let end = rest.find(|c: char| !"09,G.D".contains(c)).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at_checked(end)?;
        for c in digits.bytes() {
            match (c, &mut fraction) {
                (b'0' | b'9', None) => groups.last_mut()?.push(c),
                (b'0' | b'9', Some(count)) => *count += 1,
                (b'.' | b'D', None) => fraction = Some(0usize),
                // A comma has digits on both sides.
                (_, None) if !groups.last()?.is_empty() => groups.push(Vec::new()),
                _ => return None,
            }
        }
        let after = match (tail, before) {
            ("", _) => None,
            ("S", None) => Some(Sign::Plus),
            ("MI", None) => Some(Sign::Minus),
            ("PR", None) => Some(Sign::Brackets),
            _ => return None,
        };
        if groups.len() > 1 && groups.last()?.is_empty() {
            return None;
        }
        let pattern = Self { before, currency, groups, fraction, after };
        (1..=38).contains(&(pattern.whole() + pattern.fraction.unwrap_or(0))).then_some(pattern)
    }

    /// How many digits stand before the point.
    fn whole(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    fn precision(&self) -> u8 {
        u8::try_from(self.whole() + self.fraction.unwrap_or(0)).unwrap_or(38)
    }

    fn scale(&self) -> i8 {
        i8::try_from(self.fraction.unwrap_or(0)).unwrap_or(0)
    }

    /// The number that a text is, in units of the last digit.
    fn read(&self, text: &str) -> Option<i128> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut rest = text.as_str();
        let mut negative = false;
        let mut sign = |rest: &mut &str, sign: Option<Sign>| {
            let found = match (sign, rest.as_bytes().first()) {
                (Some(Sign::Plus), Some(b'+')) => Some(false),
                (Some(Sign::Plus | Sign::Minus), Some(b'-')) => Some(true),
                _ => None,
            };
            if let Some(found) = found {
                negative |= found;
                *rest = rest.get(1..).unwrap_or_default();
            }
        };
        sign(&mut rest, self.before);
        let bracket = self.after == Some(Sign::Brackets) && rest.starts_with('<');
        if bracket {
            rest = rest.strip_prefix('<')?.strip_suffix('>')?;
        }
        if self.currency {
            rest = rest.strip_prefix('$')?;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.').unwrap_or(rest.len());
        let (digits, mut tail) = rest.split_at_checked(end)?;
        sign(&mut tail, self.after);
        if !tail.is_empty() {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // A lone zero stands before the point of a format without digits there.
        let whole = if self.whole() == 0 && digits == "0" { "" } else { whole };
        let fraction = if digits == "0" && self.whole() == 0 { "0" } else { fraction };
        let given: Vec<&str> = if whole.is_empty() { Vec::new() } else { whole.split(',').collect() };
        let places = self.fraction.unwrap_or(0);
        if given.len() > self.groups.len()
            || fraction.len() > places
            || (whole.is_empty() && fraction.is_empty())
            || (self.fraction.is_none() && digits.contains('.'))
        {
            return None;
        }
        // From the right: all groups but the first that is given are full.
        for (at, format) in self.groups.iter().rev().enumerate() {
            let length = given.len().checked_sub(at + 1).and_then(|at| given.get(at)).map(|group| group.len());
            let exact = format.first() == Some(&b'0') || at + 1 < given.len();
            match length {
                Some(length) if length == format.len() || (!exact && length < format.len() && length > 0) => {}
                None if !exact => {}
                _ => return None,
            }
        }
        let mut number = 0i128;
        let zeros = std::iter::repeat_n('0', places - fraction.len());
        for digit in given.concat().chars().chain(fraction.chars()).chain(zeros) {
            number = number.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))?;
        }
        Some(if negative || bracket { -number } else { number })
    }

    /// A number as text; one that does not fit as `#`.
    fn write(&self, value: i128, scale: i8) -> String {
        let text = levada_formats::scalar::format_decimal(value.saturating_abs(), scale);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let fits = whole.len() <= self.whole() && fraction.len() <= self.fraction.unwrap_or(0);
        let mut body = String::new();
        let mut digits = whole.chars();
        let (mut left, mut started) = (self.whole(), !fits);
        for (at, group) in self.groups.iter().enumerate() {
            if at > 0 {
                body.push(if started && fits { ',' } else { ' ' });
            }
            for format in group {
                let last = left == 1 && self.fraction.is_some();
                body.push(match () {
                    () if !fits => '#',
                    () if left <= whole.len() => digits.next().unwrap_or('0'),
                    () if *format == b'0' || started || last => '0',
                    () => ' ',
                });
                started |= !body.ends_with(' ');
                left -= 1;
            }
        }
        if let Some(places) = self.fraction {
            body.push('.');
            match fits {
                true => body.push_str(&format!("{fraction:0<places$}")),
                false => body.extend(std::iter::repeat_n('#', places)),
            }
        }
        let mark = |sign: Sign| match (sign, value < 0) {
            (Sign::Plus, false) => "+",
            (Sign::Brackets, true) => "<",
            (Sign::Brackets, false) => "",
            (_, true) => "-",
            (_, false) => " ",
        };
        let leading = self.before.map_or("", mark);
        let leading = if self.after == Some(Sign::Brackets) { mark(Sign::Brackets) } else { leading };
        let out = match self.currency {
            true => format!("{leading}${body}"),
            // A sign stands before the first digit.
            false => {
                let number = body.trim_start();
                format!("{}{leading}{number}", &" ".repeat(body.len() - number.len()))
            }
        };
        match (self.after, value < 0) {
            (Some(Sign::Brackets), true) => format!("{out}>"),
            (Some(Sign::Brackets), false) => format!("{out}  "),
            (Some(Sign::Plus), _) if out.trim().is_empty() => format!("{}{out}", mark(Sign::Plus)),
            (Some(sign), _) => format!("{out}{}", mark(sign)),
            (None, _) => out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn numbers_as_spark_writes_and_reads_them() {
        for (format, hundredths, text) in [
            ("9,999", 0, "     "),
            ("S999", 100, "  +1"),
            ("$99.99", 5, "$ 0.05"),
            ("99,999.9", 1_245_480, "12,454.8"),
            ("99,999.9", 12_345_600, "## ###.#"),
            ("999PR", -1200, " <12>"),
            ("999PR", 1200, " 12  "),
            ("9MI", -100, "1-"),
            ("0G000", 45_400, "0,454"),
        ] {
            assert_eq!(Pattern::parse(format).unwrap().write(hundredths, 2), text, "{format} {hundredths}");
        }
        for (format, text, number) in [
            ("9,999", "1,234", Some(1234)),
            ("9,999", " 12", Some(12)),
            ("9,999", "1234", None),
            ("0,000", "12", None),
            ("999PR", "<5>", Some(-5)),
            ("9S", "5-", Some(-5)),
            ("0.00", "1.5", Some(150)),
            ("$99.99", "78.12", None),
        ] {
            assert_eq!(Pattern::parse(format).unwrap().read(text), number, "{format} {text}");
        }
        for format in ["", "9,", ",9", "9..9", "S", "SMI9", "x", "9G"] {
            assert_eq!(Pattern::parse(format), None, "{format}");
        }
    }
}

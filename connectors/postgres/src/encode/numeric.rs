//! `numeric`: decimal digits in groups of four.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};

use super::BadCell;
use super::cells::{Pieces, Values, converted};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

pub(super) fn numeric(array: &ArrayRef) -> Result<Values, BadCell> {
    let mut pieces = Pieces::with_capacity(array.len(), array.len() * 16);
    match array.data_type() {
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            let wide = converted(array, &DataType::Decimal128(*precision, *scale))?;
            return numeric(&wide);
        }
        DataType::Decimal128(_, scale) if (0..=35).contains(scale) => {
            for value in array.as_primitive::<Decimal128Type>().values() {
                decimal(*value, scale.unsigned_abs(), &mut pieces.data);
                pieces.end();
            }
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            // A float of 32 bits is shown as such: 0.1 is 0.1, not 0.100000001490116.
            let texts = converted(array, &DataType::Utf8)?;
            let wide = converted(array, &DataType::Float64)?;
            for (row, value) in wide.as_primitive::<Float64Type>().values().iter().enumerate() {
                match value {
                    _ if wide.is_null(row) => {}
                    value if value.is_nan() => special(NAN, &mut pieces.data),
                    value if value.is_infinite() => {
                        special(if *value > 0.0 { INFINITY } else { MINUS_INFINITY }, &mut pieces.data);
                    }
                    _ => from_text(texts.as_string::<i32>().value(row), &mut pieces.data),
                }
                pieces.end();
            }
        }
        data_type if data_type.is_integer() => {
            let wide = converted(array, &DataType::Decimal128(20, 0))?;
            return numeric(&wide);
        }
        _ => {
            let texts = converted(array, &DataType::Utf8)?;
            for text in texts.as_string::<i32>() {
                from_text(text.unwrap_or("0"), &mut pieces.data);
                pieces.end();
            }
        }
    }
    Ok(Values::Owned(pieces))
}

fn special(sign: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
}

/// Groups of four digits, the highest first; `weight` is the power of 10,000 of the first.
fn write(groups: &[u16], weight: i16, negative: bool, scale: u16, out: &mut Vec<u8>) {
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let groups = groups.get(leading..).unwrap_or_default();
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
    let groups = groups.get(..groups.len() - trailing).unwrap_or_default();
    let weight = if groups.is_empty() { 0 } else { weight - leading as i16 };
    let sign = if negative && !groups.is_empty() { NEGATIVE } else { 0 };
    out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// `value` / 10^`scale`, where the scale is 35 at most.
fn decimal(value: i128, scale: u8, out: &mut Vec<u8>) {
    let absolute = value.unsigned_abs();
    let padding = u32::from((4 - scale % 4) % 4);
    let (mut whole, mut fraction) = match u64::try_from(absolute) {
        // Divisions of 128 bits are many times slower.
        Ok(small) if scale <= 16 => {
            let power = 10u64.pow(u32::from(scale));
            (u128::from(small / power), u128::from(small % power * 10u64.pow(padding)))
        }
        _ => {
            let power = 10u128.pow(u32::from(scale));
            (absolute / power, absolute % power * 10u128.pow(padding))
        }
    };
    // Ten groups hold 2^128, nine the 36 digits of the fraction. They are filled from the end.
    let mut groups = [0u16; 20];
    let mut free = groups.iter_mut().rev();
    let mut fill = |number: &mut u128| {
        let group = match u64::try_from(*number) {
            Ok(small) => {
                *number = u128::from(small / 10_000);
                (small % 10_000) as u16
            }
            Err(_) => {
                let group = (*number % 10_000) as u16;
                *number /= 10_000;
                group
            }
        };
        if let Some(place) = free.next() {
            *place = group;
        }
    };
    let fractional = usize::from(scale).div_ceil(4);
    for _ in 0..fractional {
        fill(&mut fraction);
    }
    while whole > 0 {
        fill(&mut whole);
    }
    let weight = (groups.len() - fractional) as i16 - 1;
    write(&groups, weight, value < 0, u16::from(scale), out);
}

/// Decimal digits with a sign and a point, perhaps with an exponent, as Rust and Arrow write numbers.
fn from_text(text: &str, out: &mut Vec<u8>) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit).map(|c| c - b'0').collect();
    // The point stands before this digit.
    let point = whole.len() as i32 + exponent;
    let scale = (digits.len() as i32 - point).max(0);
    // The first group begins at a power of 10,000.
    let weight = (point - 1).div_euclid(4);
    let skip = ((weight + 1) * 4 - point) as usize;
    let padded: Vec<u8> = std::iter::repeat_n(0, skip).chain(digits).collect();
    let group =
        |four: &[u8]| (0..4).fold(0u16, |group, at| group * 10 + u16::from(four.get(at).copied().unwrap_or_default()));
    let groups: Vec<u16> = padded.chunks(4).map(group).collect();
    write(&groups, weight as i16, negative, scale as u16, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(of: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        of(&mut out);
        out
    }

    #[test]
    fn both_ways_give_the_same_groups() {
        for (value, scale) in [
            (0, 0),
            (0, 5),
            (1, 0),
            (-1, 4),
            (12_345_678, 3),
            (10_000, 0),
            (10_000, 8),
            (-99_999_999_999_999_999_999_999_999_999_999_999_999, 2),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 35),
            (i128::from(u64::MAX), 16),
            (i128::from(u64::MAX), 17),
            (5, 35),
        ] {
            let digits = format!("{:0>width$}", i128::unsigned_abs(value), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let text = format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" });
            assert_eq!(bytes(|out| decimal(value, scale as u8, out)), bytes(|out| from_text(&text, out)), "{text}");
        }
    }

    #[test]
    fn groups_as_the_server_has_them() {
        // 12345.678: groups 1, 2345, 6780; weight 1; three digits behind the point.
        let expected = [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c];
        assert_eq!(bytes(|out| decimal(12_345_678, 3, out)), expected);
        assert_eq!(bytes(|out| from_text("1.2345678e4", out)), expected);
    }
}

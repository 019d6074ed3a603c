//! `encode(text, charset)` and `decode(bytes, charset)`, with the charsets that Spark takes.

use std::sync::Arc;

use arrow::array::{AsArray, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};

use super::Invocation;
use super::room::Room;
use crate::ast::{PlanError, Planned};
use crate::coerce::argument;
use crate::typed::Typed;

/// How characters are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    /// `None`: a mark says which byte comes first.
    Utf16 {
        little: Option<bool>,
    },
    Utf32,
}

impl Charset {
    fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" => Self::Ascii,
            "ISO-8859-1" => Self::Latin1,
            "UTF-8" => Self::Utf8,
            "UTF-16" => Self::Utf16 { little: None },
            "UTF-16BE" => Self::Utf16 { little: Some(false) },
            "UTF-16LE" => Self::Utf16 { little: Some(true) },
            "UTF-32" => Self::Utf32,
            _ => return None,
        })
    }

    /// `None`: a character has no bytes there.
    fn encode(self, text: &str) -> Option<Vec<u8>> {
        let below = |limit: u32| text.chars().map(|c| (u32::from(c) < limit).then_some(u32::from(c) as u8)).collect();
        match self {
            Self::Ascii => below(0x80),
            Self::Latin1 => below(0x100),
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Utf16 { little: Some(true) } => Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            Self::Utf16 { little } => {
                let mark = (little.is_none() && !text.is_empty()).then_some(0xfeff);
                Some(mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect())
            }
            Self::Utf32 => Some(text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect()),
        }
    }

    /// `None`: the bytes are no characters.
    fn decode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Ascii => bytes.is_ascii().then(|| bytes.iter().map(|byte| char::from(*byte)).collect()),
            Self::Latin1 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
            Self::Utf8 => String::from_utf8(bytes.to_vec()).ok(),
            Self::Utf16 { little } => {
                let (little, bytes) = match (little, bytes) {
                    (None, [0xff, 0xfe, rest @ ..]) => (true, rest),
                    (None, [0xfe, 0xff, rest @ ..]) => (false, rest),
                    (little, bytes) => (little.unwrap_or(false), bytes),
                };
                let (pairs, []) = bytes.as_chunks::<2>() else { return None };
                let unit = |pair: &[u8; 2]| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
                String::from_utf16(&pairs.iter().map(unit).collect::<Vec<_>>()).ok()
            }
            Self::Utf32 => {
                let (little, bytes) = match bytes {
                    [0xff, 0xfe, 0, 0, rest @ ..] => (true, rest),
                    [0, 0, 0xfe, 0xff, rest @ ..] => (false, rest),
                    bytes => (false, bytes),
                };
                let (units, []) = bytes.as_chunks::<4>() else { return None };
                let unit = |unit: &[u8; 4]| if little { u32::from_le_bytes(*unit) } else { u32::from_be_bytes(*unit) };
                units.iter().map(|bytes| char::from_u32(unit(bytes))).collect()
            }
        }
    }
}

/// Plans `encode` and `decode`.
pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    let [value, charset] = call.exactly()?;
    let label = format!("{name}({}, {})", value.name, charset.name);
    let Some(text) = charset.literal_text().map(str::to_owned) else {
        return Err(PlanError::new(charset.span, format!("the charset of {name} is a constant text")));
    };
    let Some(charset) = Charset::of(&text) else {
        let message = format!("[INVALID_PARAMETER_VALUE.CHARSET] {name} knows no charset '{text}'");
        return Err(PlanError::new(charset.span, message)
            .hint("there are UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE, UTF-16LE and UTF-32"));
    };
    let typed = if name == "encode" {
        let value = argument(value, &DataType::Utf8, ansi, name)?;
        Typed::call(name, &[value], DataType::Binary, span, move |args| {
            let values = args.array(0)?;
            let mut room = Room::default();
            let encoded =
                values.as_string::<i32>().iter().map(|value| match value.map(|value| charset.encode(value)) {
                    None => Ok(None),
                    Some(None) => malformed(&text),
                    Some(Some(bytes)) => room.take(bytes.len()).map(|()| Some(bytes)),
                });
            Ok(Arc::new(encoded.collect::<Result<BinaryArray>>()?))
        })
    } else {
        let value = argument(value, &DataType::Binary, ansi, name)?;
        Typed::call(name, &[value], DataType::Utf8, span, move |args| {
            let values = args.array(0)?;
            let mut room = Room::default();
            let decoded =
                values.as_binary::<i32>().iter().map(|value| match value.map(|value| charset.decode(value)) {
                    None => Ok(None),
                    Some(None) => malformed(&text),
                    Some(Some(text)) => room.take(text.len()).map(|()| Some(text)),
                });
            Ok(Arc::new(decoded.collect::<Result<StringArray>>()?))
        })
    };
    Ok(typed.fallible().named(label))
}

fn malformed<T>(charset: &str) -> Result<T> {
    exec_err!("[MALFORMED_CHARACTER_CODING] there is what is no character in {charset}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for name in ["UTF-8", "utf-16", "UTF-16BE", "UTF-16LE", "UTF-32"] {
            let charset = Charset::of(name).unwrap();
            for text in ["", "a\u{e9}\u{1f600}"] {
                let bytes = charset.encode(text).unwrap();
                assert_eq!(charset.decode(&bytes).as_deref(), Some(text), "{name}");
            }
        }
        assert_eq!(Charset::Latin1.encode("\u{e9}"), Some(vec![0xe9]));
        assert_eq!((Charset::Latin1.encode("\u{20ac}"), Charset::Ascii.encode("\u{e9}")), (None, None));
        assert_eq!(Charset::Utf16 { little: None }.decode(&[0]), None);
        assert!(Charset::of("KOI8-R").is_none());
    }
}

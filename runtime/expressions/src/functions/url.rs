//! Parts of URLs, and text that stands in them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};

use super::Invocation;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::{Typed, call_name};

pub(super) const NAMES: &[&str] = &["parse_url", "try_parse_url", "url_encode", "url_decode", "try_url_decode"];

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span, name) = (call.ansi(), call.span, call.name);
    let text = |value: Typed| argument(value, &DataType::Utf8, ansi, name);
    match name {
        "url_encode" => {
            let [value] = call.exactly()?;
            let label = format!("url_encode({})", value.name);
            let typed = Typed::call(name, &[text(value)?], DataType::Utf8, span, |args| {
                let values = args.array(0)?;
                Ok(Arc::new(values.as_string::<i32>().iter().map(|text| text.map(encode)).collect::<StringArray>()))
            });
            Ok(typed.named(label))
        }
        "url_decode" | "try_url_decode" => {
            let [value] = call.exactly()?;
            let attempt = name == "try_url_decode";
            let label = format!("{name}({})", value.name);
            let typed = Typed::call(name, &[text(value)?], DataType::Utf8, span, move |args| {
                let values = args.array(0)?;
                let decoded = values.as_string::<i32>().iter().map(|text| match text.map(|text| (text, decode(text))) {
                    None => Ok(None),
                    Some((_, Some(decoded))) => Ok(Some(decoded)),
                    Some(_) if attempt => Ok(None),
                    Some((text, None)) => exec_err!(
                        "[CANNOT_DECODE_URL] the text '{text}' is not encoded as in a URL; use try_url_decode for NULL"
                    ),
                });
                Ok(Arc::new(decoded.collect::<Result<StringArray>>()?))
            });
            Ok(if attempt { typed } else { typed.fallible() }.named(label))
        }
        _ => {
            let args = call.between(2, 3)?;
            let label = call_name(name, &args);
            let args = args.into_iter().map(text).collect::<Planned<Vec<_>>>()?;
            let lenient = name == "try_parse_url" || !ansi;
            let typed = Typed::call(name, &args, DataType::Utf8, span, move |args| {
                let arrays = args.arrays()?;
                let columns: Vec<&StringArray> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
                let value = |row: usize, column: usize| {
                    let texts = columns.get(column)?;
                    texts.is_valid(row).then(|| texts.value(row))
                };
                let part = |row: usize| -> Result<Option<String>> {
                    let (Some(url), Some(part)) = (value(row, 0), value(row, 1)) else { return Ok(None) };
                    let key = match columns.len() {
                        3 => match value(row, 2) {
                            Some(key) if part == "QUERY" => Some(key),
                            _ => return Ok(None),
                        },
                        _ => None,
                    };
                    match Url::parse(url) {
                        Some(url) => Ok(url.part(part, key)),
                        None if lenient => Ok(None),
                        None => {
                            exec_err!("[INVALID_URL] the url is invalid: {url}; use try_parse_url to get NULL instead")
                        }
                    }
                };
                Ok(Arc::new((0..args.rows).map(part).collect::<Result<StringArray>>()?))
            });
            Ok(if lenient { typed } else { typed.fallible() }.named(label))
        }
    }
}

/// As HTML forms are sent.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What was encoded; `None` where two digits are missing behind a percent sign.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(match String::from_utf8_lossy(&out) {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => text.to_owned(),
    })
}

/// The parts of a URL, as they are written.
#[derive(Default)]
struct Url<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    /// `None` where what follows the scheme is no path.
    path: Option<&'a str>,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// Splits a URL; `None` where it has characters that stand in none.
    fn parse(text: &'a str) -> Option<Self> {
        let mut url = Self::default();
        let (rest, fragment) = cut(text, '#');
        if fragment.is_some_and(|fragment| fragment.contains('#')) || !allowed(text) {
            return None;
        }
        url.fragment = fragment;
        let mut rest = rest;
        let end = rest.find([':', '/', '?']).unwrap_or(rest.len());
        if let (Some(scheme), Some(after)) = (rest.get(..end), rest.get(end..).and_then(|rest| rest.strip_prefix(':')))
        {
            let mut letters = scheme.chars();
            let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
            if !first || !letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) || after.is_empty() {
                return None;
            }
            url.scheme = Some(scheme);
            rest = after;
            if !rest.starts_with('/') {
                return Some(url);
            }
        }
        let (rest, query) = cut(rest, '?');
        url.query = query;
        match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at_checked(end)?;
                if authority.is_empty() && path.is_empty() {
                    return None;
                }
                url.authority = Some(authority).filter(|authority| !authority.is_empty());
                url.path = Some(path);
            }
            None => url.path = Some(rest),
        }
        Some(url)
    }

    fn user(&self) -> Option<&'a str> {
        self.authority?.rsplit_once('@').map(|(user, _)| user)
    }

    /// The host, where it is one: letters, digits, hyphens and dots, or an address in brackets.
    fn host(&self) -> Option<&'a str> {
        let authority = self.authority?;
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.find(']') {
            Some(end) if place.starts_with('[') => place.split_at_checked(end + 1)?,
            _ => place.find(':').and_then(|at| place.split_at_checked(at)).unwrap_or((place, "")),
        };
        let port = port.strip_prefix(':').unwrap_or(port);
        let plain = host.starts_with('[')
            || host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') && !host.starts_with(['-', '.']);
        (plain && !host.is_empty() && port.chars().all(|c| c.is_ascii_digit())).then_some(host)
    }

    fn part(&self, part: &str, key: Option<&str>) -> Option<String> {
        let found = match part {
            "HOST" => self.host(),
            "PATH" => self.path,
            "QUERY" => match key {
                None => self.query,
                Some(key) => self.query?.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')),
            },
            "REF" => self.fragment,
            "PROTOCOL" => self.scheme,
            "FILE" => {
                return match (self.path?, self.query) {
                    (path, Some(query)) => Some(format!("{path}?{query}")),
                    (path, None) => Some(path.to_owned()),
                };
            }
            "AUTHORITY" => self.authority,
            "USERINFO" => self.user(),
            _ => None,
        };
        found.map(str::to_owned)
    }
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Whether all characters may stand in a URL, and percent signs are followed by two digits.
fn allowed(text: &str) -> bool {
    let plain = |c: char| match c {
        c if c.is_ascii() => c.is_ascii_alphanumeric() || "-_.!~*'();/?:@&=+$,[]#%".contains(c),
        c => !c.is_control() && !c.is_whitespace(),
    };
    let digits = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.chars().all(plain) && text.split('%').skip(1).all(digits)
}

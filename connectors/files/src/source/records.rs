//! Where the records of a file end: at line ends, unless the configuration says otherwise.

use levada_connector_api::config::Config;
use levada_formats::csv::separator;
use levada_formats::text::{LineEnd, line_end};
use memchr::memmem;

use crate::config::{byte, quoting_byte};

/// What ends a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Records {
    /// A line end of any kind.
    #[default]
    Lines,
    /// This text.
    Text(Vec<u8>),
    /// The end of the file.
    File,
    /// A line end outside quotes.
    Quoted(Quoting),
}

/// How CSV encloses values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quoting {
    separator: Vec<u8>,
    quote: u8,
    escape: u8,
    comment: Option<u8>,
    ignore_leading_white_space: bool,
}

impl Records {
    /// By the configuration of the source.
    pub(crate) fn new(config: &Config) -> Self {
        if let Some(text) = config.string_opt("line.separator") {
            return Self::Text(text.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r").into_bytes());
        }
        if !config.bool("multi.line") {
            return Self::Lines;
        }
        let csv = config.string("format").eq_ignore_ascii_case("csv");
        let one = |key: &str| config.string_opt(key).and_then(|text| byte(&text));
        let quoting = |key: &str| config.string_opt(key).and_then(|text| quoting_byte(&text));
        match (csv, quoting("quote"), quoting("escape")) {
            (true, Some(quote), Some(escape)) => Self::Quoted(Quoting {
                separator: separator(&config.string("separator")),
                quote,
                escape,
                comment: one("comment"),
                ignore_leading_white_space: config.bool("ignore.leading.white.space"),
            }),
            (true, ..) => Self::Lines,
            _ => Self::File,
        }
    }

    /// Finds the end of the first record, which begins where the bytes do. `last`: nothing follows the bytes.
    #[inline]
    pub(crate) fn end(&self, bytes: &[u8], last: bool, has_cr: bool) -> LineEnd {
        match self {
            Self::Lines => line_end(bytes, last, has_cr),
            Self::Text(text) => memmem::find(bytes, text)
                .map_or(LineEnd::None, |length| LineEnd::At { length, next: length + text.len() }),
            Self::File => LineEnd::None,
            Self::Quoted(quoting) => quoting.end(bytes, last),
        }
    }

    /// The records of the beginning of a file; the last one only if the file ends there or it has its end.
    pub(crate) fn split<'a>(&self, mut bytes: &'a [u8], whole: bool) -> Vec<&'a [u8]> {
        let mut records = Vec::new();
        while let LineEnd::At { length, next } = self.end(bytes, whole, true) {
            records.push(bytes.get(..length).unwrap_or_default());
            bytes = bytes.get(next..).unwrap_or_default();
        }
        if whole && !bytes.is_empty() {
            records.push(bytes);
        }
        records
    }
}

impl Quoting {
    fn end(&self, bytes: &[u8], last: bool) -> LineEnd {
        if self.comment.is_some() && bytes.first() == self.comment.as_ref() {
            return line_end(bytes, last, true);
        }
        let first = self.separator.first().copied().unwrap_or(b',');
        let separates = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(&self.separator));
        let mut at = 0;
        loop {
            if self.ignore_leading_white_space {
                let blank = |byte: &u8| *byte <= b' ' && !matches!(byte, b'\n' | b'\r') && *byte != first;
                at += bytes.get(at..).unwrap_or_default().iter().take_while(|byte| blank(byte)).count();
            }
            if bytes.get(at) == Some(&self.quote) {
                match self.closing(bytes, at + 1) {
                    Some(after) => at = after,
                    None => return LineEnd::None,
                }
            }
            // What is left of the value is plain.
            loop {
                let rest = bytes.get(at..).unwrap_or_default();
                let Some(stop) = memchr::memchr3(first, b'\n', b'\r', rest) else { return LineEnd::None };
                at += stop;
                if separates(at) || bytes.get(at) != Some(&first) {
                    break;
                }
                at += 1;
            }
            if separates(at) {
                at += self.separator.len();
                continue;
            }
            return match line_end(bytes.get(at..).unwrap_or_default(), last, true) {
                LineEnd::At { next, .. } => LineEnd::At { length: at, next: at + next },
                other => other,
            };
        }
    }

    /// The place after the quote that closes a value, or that turns it into plain text.
    fn closing(&self, bytes: &[u8], mut at: usize) -> Option<usize> {
        loop {
            at += memchr::memchr2(self.quote, self.escape, bytes.get(at..)?)?;
            let escapes = bytes.get(at) == Some(&self.escape);
            let next = bytes.get(at + 1);
            if escapes && (next == Some(&self.quote) || next == Some(&self.escape)) {
                at += 2;
            } else if bytes.get(at) == Some(&self.quote) {
                return Some(at + 1);
            } else {
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted() -> Records {
        let (separator, quote, escape) = (b",".to_vec(), b'"', b'\\');
        Records::Quoted(Quoting { separator, quote, escape, comment: Some(b'#'), ignore_leading_white_space: false })
    }

    #[test]
    fn records_end_where_they_should() {
        let split = |records: &Records, text: &'static str| -> Vec<String> {
            records.split(text.as_bytes(), true).iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect()
        };
        let text = "1,\"a\nb\"\r\n2,c\"\n\"3\\\"\n\",\n#\"\n\"4\" x,y\n";
        assert_eq!(split(&quoted(), text), ["1,\"a\nb\"", "2,c\"", "\"3\\\"\n\",", "#\"", "\"4\" x,y"]);
        assert_eq!(split(&quoted(), "1,\"a\nb"), ["1,\"a\nb"]);
        assert_eq!(split(&Records::Text(b"||".to_vec()), "a\n|b||c"), ["a\n|b", "c"]);
        assert_eq!(split(&Records::File, "a\nb\n"), ["a\nb\n"]);
        assert_eq!(quoted().split(b"1,\"a\nb\"\n2,\"c\nd", false).len(), 1);
        assert_eq!(quoted().split(b"1,\"a\nb\"\r", false).len(), 0, "a line feed may follow");
    }
}

//! A line's values, with the rules of Spark's CSV parser for quotes.
//!
//! A quote that opens a value and is closed before a separator encloses it. A quote inside such a value that is neither
//! escaped nor followed by a separator or blanks turns the whole value, from its opening quote to the next separator,
//! into plain text.

use memchr::{memchr, memchr2};

use super::{CsvOptions, long};

/// Calls `f` with each value's place and bytes; `None` is a value without anything, not even quotes.
#[inline]
pub(crate) fn tokenize(line: &[u8], options: &CsvOptions, scratch: &mut Vec<u8>, f: impl FnMut(usize, Option<&[u8]>)) {
    match options.long_separator.as_deref() {
        None => values(line, options, scratch, f),
        Some(separator) => long::tokenize(line, separator, options, scratch, f),
    }
}

/// As [`tokenize`], with a separator of one byte.
#[inline]
pub(super) fn values(
    line: &[u8],
    options: &CsvOptions,
    scratch: &mut Vec<u8>,
    mut f: impl FnMut(usize, Option<&[u8]>),
) {
    let mut at = 0;
    let mut index = 0;
    loop {
        if options.ignore_leading_white_space {
            while line.get(at).is_some_and(|b| *b <= b' ' && *b != options.separator && *b != options.quote) {
                at += 1;
            }
        }
        if line.get(at) == Some(&options.quote) {
            match simple_quoted(line, at + 1, options) {
                Some((value, after)) => {
                    f(index, Some(if value.is_empty() { options.empty_value.as_bytes() } else { value }));
                    at = after;
                }
                None => {
                    let mut quoted = Quoted { line, at: at + 1, ch: options.quote, prev: 0, options, out: scratch };
                    quoted.read();
                    at = quoted.at;
                    f(index, Some(if scratch.is_empty() { options.empty_value.as_bytes() } else { scratch }));
                }
            }
        } else {
            let end = separator(line, at, options);
            let value = trimmed(line.get(at..end).unwrap_or_default(), options);
            f(index, (!value.is_empty()).then_some(value));
            at = end;
        }
        if at >= line.len() {
            return;
        }
        at += 1;
        index += 1;
    }
}

/// The next separator, or the end of the line.
#[inline]
fn separator(line: &[u8], from: usize, options: &CsvOptions) -> usize {
    let rest = line.get(from..).unwrap_or_default();
    // Most values are short: a loop beats the start-up of a vector search.
    if let Some(found) = rest.iter().take(16).position(|b| *b == options.separator) {
        return from + found;
    }
    let far = rest.get(16..).unwrap_or_default();
    memchr(options.separator, far).map_or(line.len(), |found| from + 16 + found)
}

#[inline]
fn trimmed<'a>(value: &'a [u8], options: &CsvOptions) -> &'a [u8] {
    if options.ignore_trailing_white_space {
        let end = value.iter().rposition(|b| *b > b' ').map_or(0, |last| last + 1);
        return value.get(..end).unwrap_or_default();
    }
    value
}

/// A quoted value without escapes or quotes in it, and the place after its closing quote.
fn simple_quoted<'a>(line: &'a [u8], from: usize, options: &CsvOptions) -> Option<(&'a [u8], usize)> {
    let rest = line.get(from..)?;
    let stop = memchr2(options.quote, options.escape, rest)?;
    let closed = rest.get(stop) == Some(&options.quote) && rest.get(stop + 1).is_none_or(|b| *b == options.separator);
    if closed { Some((rest.get(..stop)?, from + stop + 1)) } else { None }
}

/// A quoted value that needs a closer look.
struct Quoted<'a> {
    line: &'a [u8],
    at: usize,
    /// The current byte, 0 where it belonged to an escape.
    ch: u8,
    /// The byte before it, in the same way.
    prev: u8,
    options: &'a CsvOptions,
    out: &'a mut Vec<u8>,
}

impl Quoted<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.line.get(self.at)?;
        self.at += 1;
        self.ch = byte;
        Some(byte)
    }

    /// Fills `out` and leaves `at` on the separator or at the end of the line.
    fn read(&mut self) {
        self.out.clear();
        if self.value().is_none() && self.ch == self.options.quote && self.prev != self.options.quote {
            // The line ends with a quote that closes nothing.
            self.out.push(self.options.quote);
        }
    }

    /// `None` where the line ended inside the value.
    fn value(&mut self) -> Option<()> {
        let (quote, escape, separator) = (self.options.quote, self.options.escape, self.options.separator);
        self.next()?;
        while self.prev != quote || self.ch > b' ' && self.ch != separator {
            if self.ch != quote && self.ch != escape {
                if self.prev == quote {
                    self.out.extend([quote, self.ch]);
                    return self.plain_to_separator();
                }
                if self.prev == escape {
                    self.out.push(escape);
                }
                let start = self.at - 1;
                let rest = self.line.get(start..).unwrap_or_default();
                let length = memchr2(quote, escape, rest).unwrap_or(rest.len());
                self.out.extend_from_slice(rest.get(..length).unwrap_or_default());
                self.at = start + length;
                self.next()?;
            } else if self.prev == escape && escape != quote && self.ch == escape
                || self.prev == escape && self.ch == quote
            {
                self.out.push(self.ch);
                self.ch = 0;
            } else if self.prev == quote {
                self.out.push(quote);
                if self.ch != quote {
                    self.out.push(self.ch);
                    return self.plain_to_separator();
                }
            }
            self.prev = self.ch;
            self.next()?;
        }
        if self.ch == separator {
            self.at -= 1;
            return Some(());
        }
        // Blanks after the closing quote are dropped, unless more than a separator follows.
        let blanks = self.at - 1;
        while self.ch <= b' ' && self.ch != separator {
            self.next()?;
        }
        self.at -= 1;
        if self.ch == separator {
            return Some(());
        }
        self.out.push(quote);
        self.out.extend_from_slice(self.line.get(blanks..=self.at).unwrap_or_default());
        self.at += 1;
        self.plain_to_separator()
    }

    /// The value was no quoted one: puts its opening quote back and takes the rest as it is.
    fn plain_to_separator(&mut self) -> Option<()> {
        self.out.insert(0, self.options.quote);
        let end = separator(self.line, self.at, self.options);
        let rest = trimmed(self.line.get(self.at..end).unwrap_or_default(), self.options);
        self.out.extend_from_slice(rest);
        self.at = end;
        Some(())
    }
}

//! Separators of several characters.
//!
//! Each is written as one byte that no text has, and the values as they were when they still have it.

use memchr::{memchr, memmem};

use super::CsvOptions;
use super::tokens::values;

/// A byte that UTF-8 does not have.
pub(super) const MARK: u8 = 0xff;

/// Calls `f` as [`tokenize`](super::tokenize) does. The options' separator is [`MARK`], which stands for `separator`.
#[cold]
pub(super) fn tokenize(
    line: &[u8],
    separator: &[u8],
    options: &CsvOptions,
    scratch: &mut Vec<u8>,
    mut f: impl FnMut(usize, Option<&[u8]>),
) {
    // What is no UTF-8 must not be taken for a separator.
    let line = &*String::from_utf8_lossy(line);
    let line = line.as_bytes();
    let mut marked = Vec::with_capacity(line.len());
    let mut from = 0;
    for at in memmem::find_iter(line, separator) {
        marked.extend_from_slice(line.get(from..at).unwrap_or_default());
        marked.push(MARK);
        from = at + separator.len();
    }
    marked.extend_from_slice(line.get(from..).unwrap_or_default());
    values(&marked, options, scratch, |index, token| match token {
        Some(text) if memchr(MARK, text).is_some() => {
            let parts: Vec<&[u8]> = text.split(|byte| *byte == MARK).collect();
            f(index, Some(&parts.join(separator)));
        }
        token => f(index, token),
    });
}

#[cfg(test)]
mod tests {
    use super::super::separator;

    #[test]
    fn an_escaped_backslash_makes_no_tab_of_what_follows() {
        assert_eq!(separator("\\t"), b"\t");
        assert_eq!(separator("\\\\t|"), b"\\t|");
        assert_eq!(separator("|\\\\|"), b"|\\|");
    }
}

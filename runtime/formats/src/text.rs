//! Lines of text.

use memchr::{memchr, memchr_iter, memchr2};

/// The byte-order mark that may start a file. Readers skip it.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where the first line of some bytes ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// It has so many bytes, and the next line begins there.
    At {
        /// The line's bytes, without its end.
        length: usize,
        /// Where the next line begins.
        next: usize,
    },
    /// The bytes end with a `\r` that a `\n` may follow.
    Open,
    /// The bytes hold no line end.
    None,
}

/// Finds the first line end: `\n`, `\r\n` or a lone `\r`. `last`: nothing follows the bytes. Bytes that are known to have no
/// `\r` are searched faster without `has_cr`.
#[inline]
pub fn line_end(bytes: &[u8], last: bool, has_cr: bool) -> LineEnd {
    let found = if has_cr { memchr2(b'\n', b'\r', bytes) } else { memchr(b'\n', bytes) };
    let Some(length) = found else { return LineEnd::None };
    match (bytes.get(length), bytes.get(length + 1)) {
        (Some(b'\r'), Some(b'\n')) => LineEnd::At { length, next: length + 2 },
        (Some(b'\r'), None) if !last => LineEnd::Open,
        _ => LineEnd::At { length, next: length + 1 },
    }
}

/// Splits bytes into lines, each ended by `\n`, `\r\n` or a lone `\r`.
///
/// Bytes may come in pieces: each call gets the bytes that the call before left over, followed by new ones.
#[derive(Debug, Clone, Default)]
pub struct LineSplitter;

impl LineSplitter {
    /// A splitter at the start of a text.
    pub fn new() -> Self {
        Self
    }

    /// Calls `f` with each finished line in `buffer`, without its end, and with the line's place in it. Returns how
    /// many bytes were consumed.
    ///
    /// What follows the last line end is consumed only if this is the `last` of the text, where it is a line unless it
    /// is empty. A `\r` at the end of a buffer that is not the last stays too: a `\n` may follow.
    pub fn split<'a>(&mut self, buffer: &'a [u8], last: bool, mut f: impl FnMut(&'a [u8], usize)) -> usize {
        let mut start = 0;
        if memchr(b'\r', buffer).is_none() {
            for end in memchr_iter(b'\n', buffer) {
                f(buffer.get(start..end).unwrap_or_default(), start);
                start = end + 1;
            }
        } else {
            while let Some(rest) = buffer.get(start..)
                && let LineEnd::At { length, next } = line_end(rest, last, true)
            {
                f(rest.get(..length).unwrap_or_default(), start);
                start += next;
            }
        }
        match buffer.get(start..) {
            Some(rest) if last && !rest.is_empty() => {
                f(rest, start);
                buffer.len()
            }
            _ => start,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let used = LineSplitter::new().split(text, true, |line, at| {
            assert_eq!(&text[at..at + line.len()], line);
            lines.push(line.to_vec());
        });
        assert_eq!(used, text.len());
        lines
    }

    #[test]
    fn three_line_ends() {
        assert_eq!(whole(b"a\nb\r\nc\rd"), [b"a", b"b", b"c", b"d"]);
        assert_eq!(whole(b"\n\r\n\r\r\n"), [b""; 4]);
        assert_eq!(whole(b""), Vec::<Vec<u8>>::new());
        assert_eq!(whole(b"a\r"), [b"a"]);
        let mut seen = 0;
        assert_eq!(LineSplitter::new().split(b"ab\ncd\r", false, |_, _| seen += 1), 3);
        assert_eq!(seen, 1);
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_lines(text in "[ab\r\n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(bytes.len())).chain([bytes.len()]).collect();
            cuts.sort_unstable();
            let (mut lines, mut rest, mut from) = (Vec::new(), Vec::new(), 0);
            let mut splitter = LineSplitter::new();
            for (i, cut) in cuts.iter().enumerate() {
                rest.extend_from_slice(&bytes[from..*cut]);
                from = *cut;
                let used = splitter.split(&rest, i + 1 == cuts.len(), |line, _| lines.push(line.to_vec()));
                rest.drain(..used);
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(lines, whole(bytes));
        }
    }
}

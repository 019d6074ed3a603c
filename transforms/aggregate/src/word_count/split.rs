//! Finds the words of lines.
//!
//! A word is looked for in the sixteen bytes from its beginning, which are loaded as one number: most words end within
//! them, and then the same number, cut off at the word's end, is the key that the word is counted by.

use arrow::array::{Array, StringArray};

use super::config::Split;
use super::delta::Delta;

/// Each byte 0x01.
const ONES: u128 = u128::from_ne_bytes([0x01; 16]);
/// Each byte 0x80.
const HIGHS: u128 = u128::from_ne_bytes([0x80; 16]);

/// A set of bytes that separate words.
trait Separators {
    /// Whether there is a word between two separators that have nothing between them.
    const EMPTY_WORDS: bool;

    /// The high bit of the first byte of `bytes` that is a separator; bits above it mean nothing.
    fn mark(bytes: u128) -> u128;

    /// Where the first separator is.
    fn find(bytes: &[u8]) -> Option<usize>;
}

struct Space;

impl Separators for Space {
    const EMPTY_WORDS: bool = true;

    #[inline]
    fn mark(bytes: u128) -> u128 {
        // A zero byte borrows from its high bit. Only bytes above the first zero byte can be marked wrongly.
        let zero_at_space = bytes ^ (ONES * 0x20);
        zero_at_space.wrapping_sub(ONES) & !zero_at_space & HIGHS
    }

    fn find(bytes: &[u8]) -> Option<usize> {
        memchr::memchr(b' ', bytes)
    }
}

/// White space in ASCII: tab to carriage return, and space.
struct AsciiWhitespace;

impl Separators for AsciiWhitespace {
    const EMPTY_WORDS: bool = false;

    #[inline]
    fn mark(bytes: u128) -> u128 {
        // Seven bits and a sum below 256 for each byte: nothing is carried into its neighbour.
        let low = bytes & !HIGHS;
        let from_tab = low + ONES * (0x80 - 0x09);
        let after_return = low + ONES * (0x80 - 0x0e);
        let not_space = (low ^ (ONES * 0x20)) + ONES * 0x7f;
        ((from_tab & !after_return) | !not_space) & !bytes & HIGHS
    }

    fn find(bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| matches!(byte, b'\t'..=b'\r' | b' '))
    }
}

/// Counts the words of `lines`. A null line has none.
pub(super) fn count_lines(lines: &StringArray, split: Split, delta: &mut Delta) {
    match split {
        Split::Space => count_all::<Space>(lines, delta),
        Split::Whitespace if values(lines).is_ascii() => count_all::<AsciiWhitespace>(lines, delta),
        Split::Whitespace => {
            for line in lines.iter().flatten() {
                // Lines in other scripts have separators of more than one byte.
                line.split_whitespace().for_each(|word| delta.add(word.as_bytes()));
            }
        }
    }
    delta.settle();
}

/// How much work lines are: their bytes, and one more each. It is never less than the number of their words.
pub(super) fn weight(lines: &StringArray) -> usize {
    values(lines).len() + lines.len()
}

/// The bytes of the lines: an array may be a slice of a larger one.
fn values(lines: &StringArray) -> &[u8] {
    let offsets = lines.value_offsets();
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    lines.value_data().get(first as usize..last as usize).unwrap_or_default()
}

fn count_all<S: Separators>(lines: &StringArray, delta: &mut Delta) {
    let buffer = lines.value_data();
    let mut bounds = lines.value_offsets().iter().map(|offset| *offset as usize);
    let mut start = bounds.next().unwrap_or(0);
    match lines.nulls() {
        None => {
            for end in bounds {
                count_line::<S>(buffer, start, end, delta);
                start = end;
            }
        }
        Some(nulls) => {
            for (end, valid) in bounds.zip(nulls.iter()) {
                if valid {
                    count_line::<S>(buffer, start, end, delta);
                }
                start = end;
            }
        }
    }
}

#[inline]
fn count_line<S: Separators>(buffer: &[u8], start: usize, end: usize, delta: &mut Delta) {
    let mut at = start;
    loop {
        let bytes = load(buffer, at);
        // Without a separator in the number there are sixteen.
        let before = (S::mark(bytes).trailing_zeros() / 8) as usize;
        let mut len = before.min(end - at);
        if len < 16 {
            if S::EMPTY_WORDS || len > 0 {
                delta.add_short(bytes, len);
            }
        } else {
            let rest = buffer.get(at + 16..end).unwrap_or_default();
            len += S::find(rest).unwrap_or(rest.len());
            delta.add_long(buffer.get(at..at + len).unwrap_or_default());
        }
        at += len + 1;
        if at > end {
            return;
        }
    }
}

/// Sixteen bytes from `at`, zeros where the buffer has ended.
#[inline]
pub(super) fn load(buffer: &[u8], at: usize) -> u128 {
    match buffer.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => load_end(buffer.get(at..).unwrap_or_default()),
    }
}

#[cold]
fn load_end(end: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(end).for_each(|(to, from)| *to = *from);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first<S: Separators>(bytes: [u8; 16]) -> usize {
        (S::mark(u128::from_le_bytes(bytes)).trailing_zeros() / 8) as usize
    }

    proptest! {
        #[test]
        fn the_first_separator_is_found_among_any_bytes(
            bytes in prop::array::uniform16(prop_oneof![any::<u8>(), 8u8..=15, 31u8..=33, Just(b' ' | 0x80)]),
        ) {
            let space = bytes.iter().position(|b| *b == b' ').unwrap_or(16);
            prop_assert_eq!(first::<Space>(bytes), space);
            let white = bytes.iter().position(|b| b.is_ascii() && char::from(*b).is_whitespace()).unwrap_or(16);
            prop_assert_eq!(first::<AsciiWhitespace>(bytes), white);
            prop_assert_eq!(AsciiWhitespace::find(&bytes).unwrap_or(16), white);
        }
    }
}

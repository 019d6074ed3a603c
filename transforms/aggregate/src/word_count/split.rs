//! Finds the words of lines.
//!
//! No step waits for the one before, and hardly a branch depends on the text: for some hundred bytes at a time, first the
//! places are written down where a separator stands or a line ends, sixty-four bytes compared at once; then the words
//! between them are packed into keys, and the memory of their slots asked for; then they are counted. A word of up to
//! fifteen bytes is loaded as one number of sixteen, which, cut off at its end, is the key that it is counted by.

use arrow::array::{Array, StringArray};

use super::config::Split;
use super::delta::Delta;
use super::marks::{AsciiWhitespace, BLOCK, Separators, Space};
use super::slot::{NARROW, SHORT, Word};

/// Bytes whose words are looked for before they are counted.
const CHUNK: usize = 1024;
/// Words whose bounds are written down at once: about as many as end in a block.
const GROUP: usize = 12;

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
    let (mut found, mut packed) = (Found::new(), Packed::new());
    let mut count = |offsets: &[i32]| count_run::<S>(lines.value_data(), offsets, &mut found, &mut packed, delta);
    match lines.nulls() {
        None => count(lines.value_offsets()),
        Some(nulls) => {
            for (from, to) in nulls.valid_slices() {
                count(lines.value_offsets().get(from..=to).unwrap_or_default());
            }
        }
    }
}

/// Counts the words of lines that follow each other and of which none is null: `offsets` are their bounds in `buffer`.
fn count_run<S: Separators>(buffer: &[u8], offsets: &[i32], found: &mut Found, packed: &mut Packed, delta: &mut Delta) {
    let ([first, ends @ ..], Some(last)) = (offsets, offsets.last()) else { return };
    let (mut chunk, last) = (*first as usize, *last as usize);
    let mut ends = ends.iter().map(|end| *end as usize).peekable();
    found.begin(chunk);
    while chunk < last {
        let until = (chunk + CHUNK).min(last);
        let mut line_ends = [0; CHUNK / BLOCK];
        while let Some(end) = ends.next_if(|end| *end < until) {
            let at = end - chunk;
            if let Some(bits) = line_ends.get_mut(at / BLOCK) {
                let bit = 1 << (at % BLOCK);
                // A line that ends where the one before did has nothing in it.
                found.empty += u64::from(*bits & bit != 0);
                *bits |= bit;
            }
        }
        found.find::<S>(buffer.get(chunk..until).unwrap_or_default(), chunk, &line_ends);
        packed.pack::<S>(buffer, found, delta);
        packed.count(delta);
        chunk = until;
    }
    // The last line, and those behind it that have nothing in them.
    let behind = ends.count() as u64;
    if behind > 0 {
        count_word::<S>(buffer.get(found.start()..last).unwrap_or_default(), delta);
        found.empty += behind - 1;
    }
    if S::EMPTY_WORDS {
        // No more than there are bytes and lines.
        delta.add_empty(found.empty as u32);
    }
}

fn count_word<S: Separators>(word: &[u8], delta: &mut Delta) {
    if S::EMPTY_WORDS || !word.is_empty() {
        delta.add(word);
    }
}

/// Where words begin and end.
struct Found {
    /// How many words there are.
    count: usize,
    /// Where each begins; the last is where the word begins whose end is not yet known.
    starts: [u32; CHUNK + 1 + GROUP],
    ends: [u32; CHUNK + GROUP],
    /// Words of no bytes that have no place here.
    empty: u64,
}

impl Found {
    fn new() -> Self {
        Self { count: 0, starts: [0; CHUNK + 1 + GROUP], ends: [0; CHUNK + GROUP], empty: 0 }
    }

    /// Forgets what was found; the next word begins at `start`.
    fn begin(&mut self, start: usize) {
        (self.count, self.empty, self.starts[0]) = (0, 0, start as u32);
    }

    /// Where the word begins whose end is not yet known.
    fn start(&self) -> usize {
        self.starts.get(self.count).map_or(0, |start| *start as usize)
    }

    /// Writes down the words that end in `bytes`, which begin at `from`. `line_ends` has a bit for each byte that a line
    /// ends before.
    #[inline(always)]
    fn find<S: Separators>(&mut self, bytes: &[u8], from: usize, line_ends: &[u64; CHUNK / BLOCK]) {
        self.starts[0] = self.start() as u32;
        self.count = 0;
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut from = from as u32;
        let mut line_ends = line_ends.iter();
        for (block, line_ends) in blocks.iter().zip(line_ends.by_ref()) {
            self.write_down(S::marks(block), *line_ends, from);
            from += BLOCK as u32;
        }
        if let (false, Some(line_ends)) = (rest.is_empty(), line_ends.next()) {
            let mut block = [0; BLOCK];
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.write_down(S::marks(&block), *line_ends, from);
        }
    }

    /// Writes down the words that end in the block that begins at `from`.
    #[inline(always)]
    fn write_down(&mut self, separators: u64, line_ends: u64, from: u32) {
        // A line that begins with a separator begins with a word of no bytes.
        self.empty += u64::from((separators & line_ends).count_ones());
        let mut marks = separators | line_ends;
        let count = marks.count_ones() as usize;
        let mut at = self.count;
        self.count += count;
        // Whole groups, since where a loop over single ones ends is hard to foresee. The rest of one is overwritten.
        for _ in 0..count.div_ceil(GROUP) {
            let starts = self.starts.get_mut(at + 1..).and_then(<[u32]>::first_chunk_mut::<GROUP>);
            let ends = self.ends.get_mut(at..).and_then(<[u32]>::first_chunk_mut::<GROUP>);
            let (Some(starts), Some(ends)) = (starts, ends) else { return };
            for (start, end) in starts.iter_mut().zip(ends) {
                let bit = marks.trailing_zeros();
                *end = from + bit;
                // What a line ends before is itself part of the next word.
                *start = *end + (separators.wrapping_shr(bit) & 1) as u32;
                marks &= marks.wrapping_sub(1);
            }
            at += GROUP;
        }
    }
}

/// Words that are still to be counted.
struct Packed {
    narrow: [Word; CHUNK],
    narrow_count: usize,
    wide: [Word; CHUNK],
    wide_count: usize,
}

impl Packed {
    fn new() -> Self {
        Self { narrow: [Word::default(); CHUNK], narrow_count: 0, wide: [Word::default(); CHUNK], wide_count: 0 }
    }

    /// Packs the words that were found; those that are too long for it are counted at once.
    #[inline(always)]
    fn pack<S: Separators>(&mut self, buffer: &[u8], found: &Found, delta: &mut Delta) {
        (self.narrow_count, self.wide_count) = (0, 0);
        for (start, end) in found.starts.iter().zip(found.ends.iter()).take(found.count) {
            let (start, end) = (*start as usize, *end as usize);
            let len = end - start;
            if len > SHORT {
                delta.add_long(buffer.get(start..end).unwrap_or_default());
                continue;
            }
            let word = delta.seeds.pack(load(buffer, start), len);
            // Which of the two it is cannot be foreseen in every language: it is written to both.
            if let (Some(narrow), Some(wide)) =
                (self.narrow.get_mut(self.narrow_count), self.wide.get_mut(self.wide_count))
            {
                (*narrow, *wide) = (word, word);
            }
            delta.narrow.fetch(&word);
            self.narrow_count += usize::from(len <= NARROW && (S::EMPTY_WORDS || len > 0));
            self.wide_count += usize::from(len > NARROW);
        }
    }

    fn count(&self, delta: &mut Delta) {
        let wide = self.wide.get(..self.wide_count).unwrap_or_default();
        wide.iter().for_each(|word| delta.wide.fetch(word));
        delta.narrow.count(self.narrow.get(..self.narrow_count).unwrap_or_default(), 1);
        delta.wide.count(wide, 1);
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
    use super::super::state::State;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_those_of_the_standard_library(
            lines in prop::collection::vec(prop::option::of("( |[a-c]{1,3}|\t|[d-f]{14,18}|\n){0,40}"), 0..40),
            from in 0usize..8, repeated in 1usize..12,
        ) {
            let lines: Vec<Option<String>> = lines.into_iter().map(|l| l.map(|l| l.repeat(repeated))).collect();
            let array = StringArray::from(lines.clone());
            let from = from.min(lines.len());
            let array = array.slice(from, lines.len() - from);
            for (split, empty) in [(Split::Space, true), (Split::Whitespace, false)] {
                let mut expected = std::collections::BTreeMap::<&str, i64>::new();
                for line in lines[from..].iter().flatten() {
                    let separator = |c: char| c == ' ' || (!empty && c.is_ascii_whitespace());
                    for word in line.split(separator).filter(|word| empty || !word.is_empty()) {
                        *expected.entry(word).or_default() += 1;
                    }
                }
                let (mut delta, mut state) = (Delta::new(), State::new());
                delta.reserve(weight(&array));
                count_lines(&array, split, &mut delta);
                delta.take_into(&mut state, usize::MAX).unwrap();
                state.end_batch();
                let counted: Vec<_> = state.all().iter().map(|at| (state.word(*at), state.count(*at))).collect();
                let expected: Vec<_> = expected.iter().map(|(word, count)| (word.as_bytes(), *count)).collect();
                prop_assert_eq!(counted, expected);
            }
        }
    }
}

//! Open hash tables of short words and their counts.
//!
//! A word and its count stand in one slot, which lies in one line of the cache: counting a word reads no other. What is
//! needed less often, the words' numbers in the [`State`], stands beside. Most texts' words fit the [`Narrow`] slots, of
//! which four share a line: with tens of thousands of words the table's size decides how fast they are counted.

use levada_connector_api::Result;

use super::state::{State, WordId};

/// The longest word that a slot has room for.
pub(super) const SHORT: usize = 15;
/// The longest word that a [`Narrow`] slot has room for.
pub(super) const NARROW: usize = 11;

/// Slots of a new table.
const FIRST_SLOTS: usize = 1 << 10;

/// The bits of a word's two halves that are its own, by its length.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const KEPT: [(u64, u64); SHORT + 1] = {
    let mut kept = [(0, 0); SHORT + 1];
    let mut len = 0;
    while len <= SHORT {
        let bits = (1u128 << (8 * len)) - 1;
        kept[len] = (bits as u64, (bits >> 64) as u64);
        len += 1;
    }
    kept
};

/// A short word: its bytes, then zeros, then its length plus one in the last byte.
#[derive(Clone, Copy, Default)]
pub(super) struct Word {
    low: u64,
    high: u64,
    hash: u64,
}

/// What makes hashes: two odd numbers, at random, so that no input can be made to collide.
#[derive(Clone, Copy)]
pub(super) struct Seeds(pub(super) [u64; 2]);

impl Seeds {
    /// The word of the first `len` of `bytes`, at most fifteen.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "the length is cut to that of the table, a power of two")]
    pub(super) fn pack(self, bytes: u128, len: usize) -> Word {
        debug_assert!(len <= SHORT);
        let (of_low, of_high) = KEPT[len % KEPT.len()];
        let (low, high) = (bytes as u64 & of_low, (bytes >> 64) as u64 & of_high | (len as u64 + 1) << 56);
        Word { low, high, hash: self.hash(low, high) }
    }

    #[inline(always)]
    fn hash(self, low: u64, high: u64) -> u64 {
        let product = u128::from(low ^ self.0[0]) * u128::from(high ^ self.0[1]);
        product as u64 ^ (product >> 64) as u64
    }
}

/// A word and its count.
pub(super) trait Slot: Copy + Default {
    /// A slot with a word, whose count is 0.
    fn new(word: Word) -> Self;

    /// The two halves of its word; the second of a free slot is 0.
    fn word(&self) -> (u64, u64);

    fn has(&self, word: Word) -> bool;

    fn is_free(&self) -> bool;

    fn count(&mut self) -> &mut u32;
}

/// A slot for up to eleven bytes.
#[derive(Clone, Copy, Default)]
#[repr(C, align(16))]
pub(super) struct Narrow {
    low: u64,
    /// Three bytes, and the length plus one.
    high: u32,
    count: u32,
}

/// The second half of a word in 32 bits.
#[inline(always)]
fn narrow(high: u64) -> u32 {
    high as u32 | (high >> 56 << 24) as u32
}

impl Slot for Narrow {
    #[inline(always)]
    fn new(word: Word) -> Self {
        Self { low: word.low, high: narrow(word.high), count: 0 }
    }

    fn word(&self) -> (u64, u64) {
        let high = u64::from(self.high);
        (self.low, high & 0xff_ffff | high >> 24 << 56)
    }

    #[inline(always)]
    fn has(&self, word: Word) -> bool {
        self.low == word.low && self.high == narrow(word.high)
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        self.high == 0
    }

    #[inline(always)]
    fn count(&mut self) -> &mut u32 {
        &mut self.count
    }
}

/// A slot for up to fifteen bytes.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Wide {
    low: u64,
    high: u64,
    count: u32,
}

impl Slot for Wide {
    #[inline(always)]
    fn new(word: Word) -> Self {
        Self { low: word.low, high: word.high, count: 0 }
    }

    fn word(&self) -> (u64, u64) {
        (self.low, self.high)
    }

    #[inline(always)]
    fn has(&self, word: Word) -> bool {
        self.low == word.low && self.high == word.high
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        self.high == 0
    }

    #[inline(always)]
    fn count(&mut self) -> &mut u32 {
        &mut self.count
    }
}

/// Words and counts.
pub(super) struct Table<S> {
    /// A power of two of them.
    slots: Vec<S>,
    /// The number of each slot's word, if it has been asked for.
    ids: Vec<Option<WordId>>,
    /// How far a hash is shifted to be the number of a slot.
    shift: u32,
    used: usize,
    /// Slots with a count.
    touched: Vec<u32>,
    /// Slots whose words have no number yet.
    new: Vec<u32>,
    seeds: Seeds,
}

#[allow(clippy::indexing_slicing, reason = "slots' numbers are cut to their count, a power of two")]
impl<S: Slot> Table<S> {
    pub(super) fn new(seeds: Seeds) -> Self {
        let mut table = Self {
            slots: Vec::new(),
            ids: Vec::new(),
            shift: 64,
            used: 0,
            touched: Vec::new(),
            new: Vec::new(),
            seeds,
        };
        table.resize(FIRST_SLOTS);
        table
    }

    /// Asks for the memory of a word's slot: it is best counted some words later.
    #[inline(always)]
    pub(super) fn fetch(&self, word: &Word) {
        fetch(&self.slots, (word.hash >> self.shift) as usize);
    }

    /// Adds to the counts of words.
    #[inline(never)]
    pub(super) fn count(&mut self, words: &[Word], times: u32) {
        for word in words {
            self.count_one(*word, times);
        }
    }

    #[inline(always)]
    fn count_one(&mut self, word: Word, times: u32) {
        let mut at = (word.hash >> self.shift) as usize;
        let mask = self.slots.len() - 1;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.has(word) {
                let count = slot.count();
                if *count == 0 {
                    self.touched.push((at & mask) as u32);
                }
                *count += times;
                return;
            }
            if slot.is_free() {
                return self.insert(at & mask, word, times);
            }
            at += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, at: usize, word: Word, times: u32) {
        self.slots[at] = S::new(word);
        *self.slots[at].count() = times;
        self.touched.push(at as u32);
        self.new.push(at as u32);
        self.used += 1;
        // Seven eighths: frequent words are the first to come, and so mostly found where they belong.
        if self.used * 8 > self.slots.len() * 7 {
            self.resize(self.slots.len() * 2);
        }
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![S::default(); slots]);
        let ids = std::mem::replace(&mut self.ids, vec![None; slots]);
        self.shift = 64 - slots.trailing_zeros();
        self.touched.clear();
        self.new.clear();
        for (mut slot, id) in old.into_iter().zip(ids).filter(|(slot, _)| !slot.is_free()) {
            let (low, high) = slot.word();
            let mut at = (self.seeds.hash(low, high) >> self.shift) as usize;
            while !self.slots[at & (slots - 1)].is_free() {
                at += 1;
            }
            let at = at & (slots - 1);
            if *slot.count() > 0 {
                self.touched.push(at as u32);
            }
            if id.is_none() {
                self.new.push(at as u32);
            }
            (self.slots[at], self.ids[at]) = (slot, id);
        }
    }

    /// Asks the state for the numbers of new words.
    ///
    /// # Errors
    /// The state cannot take them.
    pub(super) fn number(&mut self, state: &mut State) -> Result<()> {
        for at in self.new.drain(..) {
            let (low, high) = self.slots[at as usize].word();
            let word = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
            let len = (high >> 56) as usize - 1;
            self.ids[at as usize] = Some(state.intern(&word[..len])?);
        }
        Ok(())
    }

    /// Moves the counts into the state. Empties the table if it has more than `limit` words.
    ///
    /// # Errors
    /// The state cannot take them.
    pub(super) fn take_into(&mut self, state: &mut State, limit: usize) -> Result<()> {
        self.number(state)?;
        for at in self.touched.drain(..) {
            let count = std::mem::take(self.slots[at as usize].count());
            if let Some(id) = self.ids[at as usize] {
                state.add(id, count)?;
            }
        }
        if self.is_over(limit) {
            *self = Self::new(self.seeds);
        }
        Ok(())
    }

    /// Whether there are more words than `limit`.
    pub(super) fn is_over(&self, limit: usize) -> bool {
        self.used > limit
    }

    /// The memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<S>()
            + (self.ids.capacity() + self.touched.capacity() + self.new.capacity()) * size_of::<u32>()
    }
}

/// Asks for a slot's memory before it is needed.
#[inline(always)]
#[allow(unsafe_code, reason = "the processor's prefetch has no safe form")]
fn fetch<S>(slots: &[S], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(slot) = slots.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it reads nothing that the program sees, and the place is that of a live slot.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(slot).cast::<i8>()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slots, at);
}

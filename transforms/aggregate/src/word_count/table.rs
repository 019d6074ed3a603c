//! Open hash tables of short words and their counts.
//!
//! A word and its count stand in one slot, which lies in one line of the cache: counting a word reads no other. What is
//! needed less often, the words' numbers in the [`State`], stands beside. Most texts' words fit the slots called
//! [`Narrow`](super::slot::Narrow), of which four share a line: with tens of thousands of words the table's size decides how
//! fast they are counted.

use levada_connector_api::Result;

use super::slot::{Seeds, Slot, Word};
use super::state::{State, WordId};

/// Slots of a new table.
const FIRST_SLOTS: usize = 1 << 10;

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

//! What one thread has counted since its counts were last taken over into the state.
//!
//! Words of up to fifteen bytes are packed with their length into sixteen, and stand with their count in the slot of an
//! open hash table: counting one reads a single cache line. Longer words are rare; they have a table and bytes of their
//! own. The words stay in the table from one micro-batch to the next, with their numbers in the [`State`]: taking over
//! the counts then needs no look-up. A table that has grown past its limit is emptied when its counts are taken.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use levada_connector_api::Result;

use super::split::load;
use super::state::{State, WordId};

/// The longest word that is packed.
pub(super) const SHORT: usize = 15;

/// Bytes of long words for each word that the table may have.
const LONG_BYTES: usize = 8;

/// Slots of a new table.
const FIRST_SLOTS: usize = 1 << 10;

/// The bits of a word's two halves that are its own, by its length.
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

/// A short word.
#[derive(Clone, Copy, Default)]
pub(super) struct Word {
    low: u64,
    high: u64,
    hash: u64,
}

/// A short word and its count. A slot with `high == 0` is free: a packed word has its length plus one in the top byte.
/// Two share a line of the cache, and none lies on two.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
struct Slot {
    low: u64,
    high: u64,
    count: u32,
    id: Option<WordId>,
}

/// A word that is too long to be packed, and its count.
struct Long {
    start: usize,
    len: usize,
    hash: u64,
    count: u32,
    id: Option<WordId>,
}

/// Counts of one thread.
pub(super) struct Delta {
    slots: Vec<Slot>,
    /// How far a hash is shifted to be the number of a slot.
    shift: u32,
    used: usize,
    /// Slots with a count.
    touched: Vec<u32>,
    seeds: [u64; 2],
    long: Longs,
    /// At most how many words have been counted.
    counted: u64,
}

#[derive(Default)]
struct Longs {
    entries: Vec<Long>,
    index: HashTable<u32>,
    bytes: Vec<u8>,
    touched: Vec<u32>,
    hasher: RandomState,
}

impl Delta {
    pub(super) fn new() -> Self {
        let random = RandomState::default();
        // Seeded at random: no input can be made to collide. Odd, so that none is zero.
        let seeds = [random.hash_one(1_u8) | 1, random.hash_one(2_u8) | 1];
        Self {
            slots: Vec::new(),
            shift: 64,
            used: 0,
            touched: Vec::new(),
            seeds,
            long: Longs::default(),
            counted: 0,
        }
    }

    /// Whether `weight` more words can be counted before the counts have to be taken.
    pub(super) fn has_room_for(&self, weight: usize) -> bool {
        self.counted.saturating_add(weight as u64) <= u64::from(u32::MAX)
    }

    /// Says that at most `weight` words are counted next.
    pub(super) fn reserve(&mut self, weight: usize) {
        self.counted += weight as u64;
        if self.slots.is_empty() {
            self.resize(FIRST_SLOTS);
        }
    }

    /// Counts a word.
    pub(super) fn add(&mut self, word: &[u8]) {
        if word.len() <= SHORT {
            self.count(&[self.pack(load(word, 0), word.len())]);
        } else {
            self.add_long(word);
        }
    }

    /// The word of the first `len` of `bytes`, at most fifteen. The memory of its slot is asked for: it is best counted
    /// some words later.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "the length is cut to that of the table, a power of two")]
    pub(super) fn pack(&self, bytes: u128, len: usize) -> Word {
        debug_assert!(len <= SHORT && !self.slots.is_empty());
        let (of_low, of_high) = KEPT[len % KEPT.len()];
        let (low, high) = (bytes as u64 & of_low, (bytes >> 64) as u64 & of_high | (len as u64 + 1) << 56);
        let hash = self.hash(low, high);
        fetch(&self.slots, (hash >> self.shift) as usize);
        Word { low, high, hash }
    }

    /// Counts words.
    #[inline(never)]
    pub(super) fn count(&mut self, words: &[Word]) {
        words.iter().for_each(|word| self.count_one(*word, 1));
    }

    /// Counts a word of no bytes `count` times.
    pub(super) fn add_empty(&mut self, count: u64) {
        if let (Ok(count @ 1..), false) = (u32::try_from(count), self.slots.is_empty()) {
            self.count_one(self.pack(0, 0), count);
        }
    }

    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "the slot's number is cut to their count, a power of two")]
    fn count_one(&mut self, Word { low, high, hash }: Word, count: u32) {
        let mut at = (hash >> self.shift) as usize;
        let mask = self.slots.len() - 1;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.low == low && slot.high == high {
                if slot.count == 0 {
                    self.touched.push((at & mask) as u32);
                }
                slot.count += count;
                return;
            }
            if slot.high == 0 {
                return self.insert(at & mask, Slot { low, high, count, id: None });
            }
            at += 1;
        }
    }

    #[inline]
    fn hash(&self, low: u64, high: u64) -> u64 {
        let product = u128::from(low ^ self.seeds[0]) * u128::from(high ^ self.seeds[1]);
        product as u64 ^ (product >> 64) as u64
    }

    #[cold]
    #[inline(never)]
    #[allow(clippy::indexing_slicing, reason = "the slot's number is below their count")]
    fn insert(&mut self, at: usize, slot: Slot) {
        self.slots[at] = slot;
        self.touched.push(at as u32);
        self.used += 1;
        // Three quarters: beyond, words are looked for in too many slots.
        if self.used * 4 > self.slots.len() * 3 {
            self.resize(self.slots.len() * 2);
        }
    }

    #[allow(clippy::indexing_slicing, reason = "the slot's number is cut to their count, a power of two")]
    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        self.shift = 64 - slots.trailing_zeros();
        self.touched.clear();
        for slot in old.into_iter().filter(|slot| slot.high != 0) {
            let mut at = (self.hash(slot.low, slot.high) >> self.shift) as usize;
            while self.slots[at & (slots - 1)].high != 0 {
                at += 1;
            }
            if slot.count > 0 {
                self.touched.push((at & (slots - 1)) as u32);
            }
            self.slots[at & (slots - 1)] = slot;
        }
    }

    /// Counts a word of any length in the table of long words.
    #[cold]
    #[inline(never)]
    pub(super) fn add_long(&mut self, word: &[u8]) {
        self.long.add(word);
    }

    /// Moves the counts into the state, and empties what has grown past its limit: the table if it has more than `limit`
    /// words, the long words if they have more than `limit` times [`LONG_BYTES`].
    ///
    /// # Errors
    /// The state cannot take them.
    #[allow(clippy::indexing_slicing, reason = "touched slots are below the slots' count")]
    pub(super) fn take_into(&mut self, state: &mut State, limit: usize) -> Result<()> {
        for at in self.touched.drain(..) {
            let slot = &mut self.slots[at as usize];
            let id = match slot.id {
                Some(id) => id,
                None => {
                    let packed = u128::from(slot.low) | u128::from(slot.high) << 64;
                    let len = (slot.high >> 56) as usize - 1;
                    let id = state.intern(&packed.to_le_bytes()[..len])?;
                    *slot.id.insert(id)
                }
            };
            state.add(id, slot.count)?;
            slot.count = 0;
        }
        self.long.take_into(state)?;
        self.counted = 0;
        if self.used > limit {
            (self.slots, self.touched, self.used) = (Vec::new(), Vec::new(), 0);
        }
        if self.long.is_over(limit) {
            self.long = Longs::default();
        }
        Ok(())
    }

    /// Whether something has grown past its limit.
    pub(super) fn is_over(&self, limit: usize) -> bool {
        self.used > limit || self.long.is_over(limit)
    }

    /// Forgets all words: their numbers are no longer those of the state.
    pub(super) fn clear(&mut self) {
        *self = Self { seeds: self.seeds, ..Self::new() };
    }

    /// The memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.touched.capacity() * size_of::<u32>() + self.long.memory()
    }
}

/// Asks for a slot's memory before it is needed.
#[inline(always)]
#[allow(unsafe_code, reason = "the processor's prefetch has no safe form")]
fn fetch(slots: &[Slot], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(slot) = slots.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it reads nothing that the program sees, and the place is that of a live slot.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(slot).cast::<i8>()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slots, at);
}

impl Longs {
    fn is_over(&self, limit: usize) -> bool {
        self.bytes.len() / LONG_BYTES > limit
    }

    #[allow(clippy::indexing_slicing, reason = "numbers in the index are those of entries")]
    fn add(&mut self, word: &[u8]) {
        let hash = self.hasher.hash_one(word);
        let found = self.index.find(hash, |at| {
            let entry = &self.entries[*at as usize];
            entry.hash == hash && &self.bytes[entry.start..entry.start + entry.len] == word
        });
        let at = match found {
            Some(at) => *at,
            None => {
                let at = self.entries.len() as u32;
                let entry = Long { start: self.bytes.len(), len: word.len(), hash, count: 0, id: None };
                self.bytes.extend_from_slice(word);
                self.entries.push(entry);
                self.index.insert_unique(hash, at, |at| self.entries[*at as usize].hash);
                at
            }
        };
        let entry = &mut self.entries[at as usize];
        if entry.count == 0 {
            self.touched.push(at);
        }
        entry.count += 1;
    }

    #[allow(clippy::indexing_slicing, reason = "touched numbers are those of entries")]
    fn take_into(&mut self, state: &mut State) -> Result<()> {
        for at in self.touched.drain(..) {
            let entry = &mut self.entries[at as usize];
            let id = match entry.id {
                Some(id) => id,
                None => *entry.id.insert(state.intern(&self.bytes[entry.start..entry.start + entry.len])?),
            };
            state.add(id, entry.count)?;
            entry.count = 0;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Long>()
            + self.index.allocation_size()
            + self.bytes.capacity()
            + self.touched.capacity() * size_of::<u32>()
    }
}

//! What one thread has counted since its counts were last taken over into the state.
//!
//! Words of up to fifteen bytes are packed with their length into sixteen, and have [tables](Table) in which they stand
//! with their counts. Longer words are rare; they have a table and bytes of their own. The words stay from one micro-batch
//! to the next, with their numbers in the [`State`]: taking over the counts then needs no look-up. A table that has grown
//! past its limit is emptied when its counts are taken.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use levada_connector_api::Result;

use super::slot::{NARROW, Narrow, SHORT, Seeds, Wide};
use super::split::load;
use super::state::{State, WordId};
use super::table::Table;

/// Bytes of long words for each word that the table may have.
const LONG_BYTES: usize = 8;

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
    pub(super) seeds: Seeds,
    /// Words of up to [`NARROW`] bytes.
    pub(super) narrow: Table<Narrow>,
    /// Words of up to [`SHORT`] bytes.
    pub(super) wide: Table<Wide>,
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
        Self::with_seeds(Seeds([random.hash_one(1_u8) | 1, random.hash_one(2_u8) | 1]))
    }

    fn with_seeds(seeds: Seeds) -> Self {
        let (narrow, wide) = (Table::new(seeds), Table::new(seeds));
        Self { seeds, narrow, wide, long: Longs::default(), counted: 0 }
    }

    /// Whether `weight` more words can be counted before the counts have to be taken.
    pub(super) fn has_room_for(&self, weight: usize) -> bool {
        self.counted.saturating_add(weight as u64) <= u64::from(u32::MAX)
    }

    /// Says that at most `weight` words are counted next.
    pub(super) fn reserve(&mut self, weight: usize) {
        self.counted += weight as u64;
    }

    /// Counts a word.
    pub(super) fn add(&mut self, word: &[u8]) {
        match word.len() {
            len @ 0..=NARROW => self.narrow.count(&[self.seeds.pack(load(word, 0), len)], 1),
            len @ ..=SHORT => self.wide.count(&[self.seeds.pack(load(word, 0), len)], 1),
            _ => self.add_long(word),
        }
    }

    /// Counts a word of no bytes `times` times.
    pub(super) fn add_empty(&mut self, times: u32) {
        if times > 0 {
            self.narrow.count(&[self.seeds.pack(0, 0)], times);
        }
    }

    /// Counts a word of any length in the table of long words.
    #[cold]
    #[inline(never)]
    pub(super) fn add_long(&mut self, word: &[u8]) {
        self.long.add(word);
    }

    /// Asks the state for the numbers of new words: what is asked now is not asked when the counts are taken, while all
    /// other threads wait.
    ///
    /// # Errors
    /// The state cannot take them.
    pub(super) fn number(&mut self, state: &mut State) -> Result<()> {
        self.narrow.number(state)?;
        self.wide.number(state)
    }

    /// Moves the counts into the state, and empties what has grown past its limit: a table if it has more than `limit`
    /// words, the long words if they have more than `limit` times [`LONG_BYTES`].
    ///
    /// # Errors
    /// The state cannot take them.
    pub(super) fn take_into(&mut self, state: &mut State, limit: usize) -> Result<()> {
        self.narrow.take_into(state, limit)?;
        self.wide.take_into(state, limit)?;
        self.long.take_into(state)?;
        self.counted = 0;
        if self.long.is_over(limit) {
            self.long = Longs::default();
        }
        Ok(())
    }

    /// Whether something has grown past its limit.
    pub(super) fn is_over(&self, limit: usize) -> bool {
        self.narrow.is_over(limit) || self.wide.is_over(limit) || self.long.is_over(limit)
    }

    /// Forgets all words: their numbers are no longer those of the state.
    pub(super) fn clear(&mut self) {
        *self = Self::with_seeds(self.seeds);
    }

    /// The memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.narrow.memory() + self.wide.memory() + self.long.memory()
    }
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

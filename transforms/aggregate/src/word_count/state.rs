//! The totals of all words.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use levada_connector_api::{Error, Result};

/// How much of a word stands in the message that its count is too large.
const SHOWN: usize = 100;

/// A word's number in the [`State`]. It holds until the state is [cleared](State::clear).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WordId(NonZeroU32);

impl WordId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A word: 24 bytes beside its own.
struct Entry {
    count: i64,
    start: u64,
    len: u32,
    /// The micro-batch that touched it last.
    batch: u32,
}

/// The totals, with what the current micro-batch has touched and what has changed since the last checkpoint.
pub(super) struct State {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Numbers of entries by their words' hashes.
    index: HashTable<u32>,
    hasher: RandomState,
    /// Numbers of entries in the order of their words' bytes. Entries from its length on are new and not yet in it.
    order: Vec<u32>,
    /// Entries that the current micro-batch has touched.
    touched: Vec<u32>,
    /// Entries that were touched since the last checkpoint.
    changed: Vec<u32>,
    /// The current micro-batch, counted from 1 since the start. Not the pipeline's batch id.
    batch: u32,
    /// The last one that is in a checkpoint: entries that no later one has touched are not in `changed`.
    checkpointed: u32,
    /// How many words the last micro-batch touched.
    updated: usize,
}

// Numbers of entries are made here, and entries are never removed one by one.
#[allow(clippy::indexing_slicing, reason = "all numbers and ranges are those of entries")]
impl State {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            bytes: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            order: Vec::new(),
            touched: Vec::new(),
            changed: Vec::new(),
            batch: 1,
            checkpointed: 0,
            updated: 0,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many words the last micro-batch touched.
    pub(super) fn updated(&self) -> usize {
        self.updated
    }

    /// The memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        let lists = self.order.capacity() + self.touched.capacity() + self.changed.capacity();
        self.entries.capacity() * size_of::<Entry>()
            + self.bytes.capacity()
            + self.index.allocation_size()
            + lists * size_of::<u32>()
    }

    /// The number of `word`, which becomes known with a count of 0 if it was not.
    ///
    /// # Errors
    /// There are too many words to number.
    pub(super) fn intern(&mut self, word: &[u8]) -> Result<WordId> {
        let Self { entries, bytes, index, hasher, .. } = self;
        let text = |entry: &Entry| &bytes[entry.start as usize..entry.start as usize + entry.len as usize];
        let hash = hasher.hash_one(word);
        let at = match index.find(hash, |at| text(&entries[*at as usize]) == word) {
            Some(at) => *at,
            None => {
                let at = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                let len = u32::try_from(word.len()).map_err(|_| Error::data("a word is longer than 4 GiB"))?;
                index.insert_unique(hash, at, |at| hasher.hash_one(text(&entries[*at as usize])));
                entries.push(Entry { count: 0, start: bytes.len() as u64, len, batch: 0 });
                bytes.extend_from_slice(word);
                at
            }
        };
        let number = at.checked_add(1).and_then(NonZeroU32::new);
        number.map(WordId).ok_or_else(|| Error::data("there are more than 4294967294 distinct words"))
    }

    /// Adds to a word's count, and remembers that the current micro-batch has touched it.
    ///
    /// # Errors
    /// The count exceeds 64 bits.
    pub(super) fn add(&mut self, id: WordId, count: u32) -> Result<()> {
        let entry = &mut self.entries[id.index()];
        match entry.count.checked_add(count.into()) {
            Some(total) => entry.count = total,
            None => return Err(self.overflow(id)),
        }
        if entry.batch != self.batch {
            if entry.batch <= self.checkpointed {
                self.changed.push(id.index() as u32);
            }
            self.touched.push(id.index() as u32);
            entry.batch = self.batch;
        }
        Ok(())
    }

    #[cold]
    fn overflow(&self, id: WordId) -> Error {
        let word = String::from_utf8_lossy(self.word(id.index() as u32));
        let shown: String = word.chars().take(SHOWN).collect();
        let dots = if shown.len() < word.len() { "…" } else { "" };
        Error::data(format!("count of word '{shown}{dots}' exceeds 64 bits"))
    }

    /// Sets a word's count, as it was in a checkpoint.
    ///
    /// # Errors
    /// There are too many words to number.
    pub(super) fn set(&mut self, word: &[u8], count: i64) -> Result<()> {
        let id = self.intern(word)?;
        self.entries[id.index()].count = count;
        Ok(())
    }

    /// The word of an entry.
    pub(super) fn word(&self, at: u32) -> &[u8] {
        let entry = &self.entries[at as usize];
        &self.bytes[entry.start as usize..entry.start as usize + entry.len as usize]
    }

    /// The count of an entry.
    pub(super) fn count(&self, at: u32) -> i64 {
        self.entries[at as usize].count
    }

    /// Ends the current micro-batch: brings all words into order, and what it has touched.
    pub(super) fn end_batch(&mut self) -> Vec<u32> {
        self.insert_new_words();
        let mut touched = std::mem::take(&mut self.touched);
        // A scan reads all entries, a sort each touched one as many times as their number has bits.
        if touched.len() * bits(touched.len()) >= self.order.len() {
            touched.clear();
            let is_touched = |at: &&u32| self.entries[**at as usize].batch == self.batch;
            touched.extend(self.order.iter().filter(is_touched));
        } else {
            self.sort(&mut touched);
        }
        self.updated = touched.len();
        self.next_batch();
        touched
    }

    fn next_batch(&mut self) {
        if self.batch == u32::MAX {
            // Once in four billion micro-batches the count begins anew.
            self.entries.iter_mut().for_each(|entry| entry.batch = 0);
            self.changed.iter().for_each(|at| self.entries[*at as usize].batch = 1);
            (self.checkpointed, self.batch) = (0, 1);
        }
        self.batch += 1;
    }

    /// All entries, by their words' bytes, as of the last micro-batch.
    pub(super) fn all(&self) -> &[u32] {
        &self.order
    }

    /// The entries that have changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        self.checkpointed = self.batch - 1;
        std::mem::take(&mut self.changed)
    }

    /// Brings restored words into order.
    pub(super) fn end_restore(&mut self) {
        self.insert_new_words();
    }

    fn insert_new_words(&mut self) {
        let known = self.order.len();
        let mut new: Vec<u32> = (known as u32..self.entries.len() as u32).collect();
        self.sort(&mut new);
        let mut order = std::mem::take(&mut self.order);
        order.resize(self.entries.len(), 0);
        // From the back: what lies behind a new word moves to its place at once, as a block.
        let (mut end, mut free) = (known, order.len());
        for at in new.into_iter().rev() {
            let begin = self.position(&order[..end], at);
            free -= end - begin;
            order.copy_within(begin..end, free);
            end = begin;
            free -= 1;
            order[free] = at;
        }
        self.order = order;
    }

    /// Where in `order` the word of `at` belongs, looked for from the back in steps that double.
    fn position(&self, order: &[u32], at: u32) -> usize {
        let word = self.word(at);
        let (mut end, mut step) = (order.len(), 1);
        while end > 0 {
            let begin = end.saturating_sub(step);
            if self.word(order[begin]) < word {
                return begin + order[begin..end].partition_point(|other| self.word(*other) < word);
            }
            end = begin;
            step *= 2;
        }
        0
    }

    /// Sorts entries by their words' bytes.
    fn sort(&self, entries: &mut [u32]) {
        // The first eight bytes decide most comparisons, without a look at the words.
        let mut keyed: Vec<(u64, u32)> = entries.iter().map(|at| (prefix(self.word(*at)), *at)).collect();
        keyed.sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
            Ordering::Equal => self.word(a.1).cmp(self.word(b.1)),
            unequal => unequal,
        });
        entries.iter_mut().zip(keyed).for_each(|(to, (_, at))| *to = at);
    }
}

/// The first eight bytes of a word as a number that sorts as they do. A shorter word may be equal to a longer one.
fn prefix(word: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(first)
}

fn bits(number: usize) -> usize {
    (usize::BITS - number.leading_zeros()) as usize
}

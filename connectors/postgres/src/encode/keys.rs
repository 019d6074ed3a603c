//! Whether the rows of a micro-batch have different keys.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use foldhash::{fast, quality};

/// What is remembered at most: beyond it the keys count as not different.
const MOST: usize = 2_000_000;

/// The sums of the keys seen so far. Two keys with one sum count as one key: that costs time, never rows.
#[derive(Debug)]
pub(crate) struct Keys {
    /// How many columns, from the first, are the key.
    pub(crate) columns: usize,
    sums: quality::FixedState,
    seen: HashSet<u64, fast::FixedState>,
    differ: bool,
}

impl Keys {
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, sums: quality::FixedState::default(), seen: HashSet::default(), differ: true }
    }

    /// Whether all keys so far were different.
    pub(crate) fn differ(&self) -> bool {
        self.differ
    }

    /// A key as it is sent.
    pub(super) fn add(&mut self, key: &[u8]) {
        if self.differ && (!self.seen.insert(self.sums.hash_one(key)) || self.seen.len() >= MOST) {
            self.differ = false;
            self.seen = HashSet::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_again_is_noticed() {
        let mut keys = Keys::new(1);
        (0..100_000u32).for_each(|key| keys.add(&key.to_be_bytes()));
        assert!(keys.differ());
        keys.add(&77u32.to_be_bytes());
        assert!(!keys.differ());
    }
}

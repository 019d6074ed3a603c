//! A table of keys: each has a number, which is reused when the key is removed.

use hashbrown::HashTable;
use levada_connector_api::{Error, Result};

/// Holes smaller than this are left.
const SMALL: usize = 1 << 20;

/// The length of a key that was removed.
const FREE: u32 = u32::MAX;

/// Keys by number and numbers by key.
#[derive(Default)]
pub(crate) struct Keys {
    index: HashTable<u32>,
    hashes: Vec<u64>,
    starts: Vec<u64>,
    lengths: Vec<u32>,
    bytes: Vec<u8>,
    free: Vec<u32>,
    /// How many of the bytes are of removed keys.
    holes: usize,
}

#[allow(clippy::indexing_slicing, reason = "numbers are those that the table gave out")]
impl Keys {
    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len() - self.free.len()
    }

    /// All numbers are below it.
    pub(crate) fn bound(&self) -> usize {
        self.hashes.len()
    }

    /// The number of a key, and whether it is new.
    #[inline]
    pub(crate) fn intern(&mut self, hash: u64, key: &[u8]) -> Result<(u32, bool)> {
        let Self { index, hashes, starts, lengths, bytes, .. } = self;
        let same = |at: &u32| {
            let at = *at as usize;
            let start = starts[at] as usize;
            hashes[at] == hash && bytes[start..start + lengths[at] as usize] == *key
        };
        if let Some(at) = index.find(hash, same) {
            return Ok((*at, false));
        }
        self.add(hash, key).map(|at| (at, true))
    }

    /// The number of a key that is known.
    #[cfg(test)]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.index.find(hash, |at| self.hashes[*at as usize] == hash && self.get(*at) == key).copied()
    }

    #[cold]
    fn add(&mut self, hash: u64, key: &[u8]) -> Result<u32> {
        let length = u32::try_from(key.len()).ok().filter(|length| *length != FREE);
        let length = length.ok_or_else(|| Error::data("a key is longer than 4 GiB"))?;
        let at = match self.free.pop() {
            Some(at) => {
                self.hashes[at as usize] = hash;
                self.starts[at as usize] = self.bytes.len() as u64;
                self.lengths[at as usize] = length;
                at
            }
            None => {
                let at = u32::try_from(self.hashes.len()).map_err(|_| Error::data("there are too many keys"))?;
                self.hashes.push(hash);
                self.starts.push(self.bytes.len() as u64);
                self.lengths.push(length);
                at
            }
        };
        self.bytes.extend_from_slice(key);
        let hashes = &self.hashes;
        self.index.insert_unique(hash, at, |at| hashes[*at as usize]);
        Ok(at)
    }

    /// The key of a number.
    pub(crate) fn get(&self, at: u32) -> &[u8] {
        let start = self.starts[at as usize] as usize;
        &self.bytes[start..start + self.lengths[at as usize] as usize]
    }

    /// The hash that a key was interned with.
    pub(crate) fn hash_of(&self, at: u32) -> u64 {
        self.hashes[at as usize]
    }

    /// Whether a number stands for a key.
    pub(crate) fn holds(&self, at: u32) -> bool {
        self.lengths.get(at as usize).is_some_and(|length| *length != FREE)
    }

    /// Removes a key. Its number will be given to another.
    pub(crate) fn remove(&mut self, at: u32) {
        let hash = self.hashes[at as usize];
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        self.holes += self.lengths[at as usize] as usize;
        self.lengths[at as usize] = FREE;
        self.free.push(at);
        if self.holes > SMALL && self.holes * 2 > self.bytes.len() {
            self.tidy();
        }
    }

    /// Moves the bytes together.
    fn tidy(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.holes);
        for (start, length) in self.starts.iter_mut().zip(&self.lengths) {
            if *length != FREE {
                let from = *start as usize;
                *start = bytes.len() as u64;
                bytes.extend_from_slice(&self.bytes[from..from + *length as usize]);
            }
        }
        self.bytes = bytes;
        self.holes = 0;
    }

    /// All numbers that stand for keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.lengths.iter().enumerate().filter(|(_, length)| **length != FREE).map(|(at, _)| at as u32)
    }

    /// The memory held, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.index.allocation_size()
            + self.bytes.capacity()
            + self.hashes.capacity() * 8
            + self.starts.capacity() * 8
            + self.lengths.capacity() * 4
            + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::hash;
    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u16..60, any::<bool>()), 0..400)) {
            let (mut keys, mut model) = (Keys::default(), BTreeMap::new());
            for (key, add) in steps {
                let key = format!("{key}").repeat(usize::from(key % 7)).into_bytes();
                if add {
                    let (at, new) = keys.intern(hash(&key), &key).unwrap();
                    prop_assert_eq!(new, model.insert(key.clone(), at).is_none());
                } else if let Some(at) = model.remove(&key) {
                    keys.remove(at);
                    prop_assert!(!keys.holds(at));
                }
                prop_assert_eq!(keys.len(), model.len());
                for (key, at) in &model {
                    prop_assert_eq!(keys.find(hash(key), key), Some(*at));
                    prop_assert_eq!(keys.get(*at), &key[..]);
                }
            }
            let all: Vec<u32> = keys.iter().collect();
            prop_assert_eq!(all.len(), model.len());
        }
    }

    #[test]
    fn the_room_of_removed_keys_is_used_again() {
        let mut keys = Keys::default();
        for round in 0..200u32 {
            for i in 0..1000u32 {
                let key = [round.to_le_bytes(), i.to_le_bytes()].concat().repeat(4);
                keys.intern(hash(&key), &key).unwrap();
            }
            let all: Vec<u32> = keys.iter().collect();
            all.into_iter().for_each(|at| keys.remove(at));
        }
        assert!(keys.memory() < 8 << 20, "{}", keys.memory());
        assert_eq!(keys.bound(), 1000);
    }
}

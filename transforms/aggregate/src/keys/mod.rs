//! Keys of any types as bytes, and tables of them.

mod codec;
mod table;

pub(crate) use codec::{KeyCodec, PREFIX};
pub(crate) use table::Keys;

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// The hash of a key's bytes. It is the same in every thread and state of one process, and nothing more is promised: what
/// is written down is the key, not its hash.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    const STATE: FixedState = FixedState::with_seed(0x006c_6576_6164_6121);
    STATE.hash_one(key)
}

/// The hash of a key with a prefix, from the key's own.
#[inline]
pub(crate) fn with_prefix(hash: u64, prefix: i64) -> u64 {
    let mixed = u128::from(hash ^ (prefix as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0xd6e8_feb8_6659_fd93;
    (mixed as u64) ^ ((mixed >> 64) as u64)
}

//! Short words, and the slots that they are counted in.

/// The longest word that a slot has room for.
pub(super) const SHORT: usize = 15;
/// The longest word that a [`Narrow`] slot has room for.
pub(super) const NARROW: usize = 11;

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
    pub(super) hash: u64,
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

    /// The hash of a word by its two halves.
    #[inline(always)]
    pub(super) fn hash(self, low: u64, high: u64) -> u64 {
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

//! The loops, for whatever the processor can do.

use super::super::compile::Number;
use super::ROWS;
use super::program::Program;
use super::ranks::Ranks;

/// Slots for answers of nodes: a tree of 256 leaves needs at most nine, since larger children come first, and one more
/// is that of leaves.
pub(super) const SLOTS: usize = 16;

/// What the processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every processor of its kind can.
    Any,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with instructions for bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this processor has.
    pub(super) fn best() -> Self {
        Self::all().into_iter().next_back().unwrap_or(Self::Any)
    }

    /// What this processor has, the best last.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Any];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                all.push(Self::Avx512);
            }
        }
        all
    }
}

/// Ranks: small integers.
pub(super) trait Rank: Copy + Default + PartialOrd + Send + Sync + 'static {
    fn of(rank: usize) -> Self;
    /// The bytes, if it is a byte, or the words.
    fn view(block: &[Self]) -> View<'_>;
    /// The low bits of numbers, by whatever the processor has for it.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "instructions that not every processor has")]
    unsafe fn narrow(from: std::arch::x86_64::__m512i, to: &mut [Self; 16]);
}

/// Ranks of one kind or the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'a> {
    Bytes(&'a [u8]),
    Words(&'a [u16]),
}

impl Rank for u8 {
    #[inline(always)]
    fn of(rank: usize) -> Self {
        rank as u8
    }
    fn view(block: &[Self]) -> View<'_> {
        View::Bytes(block)
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[allow(unsafe_code, reason = "instructions that not every processor has")]
    unsafe fn narrow(from: std::arch::x86_64::__m512i, to: &mut [Self; 16]) {
        super::x86::narrow8(from, to);
    }
}

impl Rank for u16 {
    #[inline(always)]
    fn of(rank: usize) -> Self {
        rank as u16
    }
    fn view(block: &[Self]) -> View<'_> {
        View::Words(block)
    }
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[allow(unsafe_code, reason = "instructions that not every processor has")]
    unsafe fn narrow(from: std::arch::x86_64::__m512i, to: &mut [Self; 16]) {
        super::x86::narrow16(from, to);
    }
}

/// Answers of nodes: leaf numbers of a block's rows.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slots(pub(super) [[u8; ROWS]; SLOTS]);

impl Slots {
    pub(super) fn new() -> Self {
        Self([[0; ROWS]; SLOTS])
    }

    /// The leaf that each row leads to.
    pub(super) fn leaves(&self, tree: &Program) -> &[u8; ROWS] {
        let [first, ..] = &self.0;
        self.0.get(tree.root as usize).unwrap_or(first)
    }
}

/// Answers a tree for the block's rows from `sub` times [`ROWS`] on.
#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn run<R: Rank>(level: Level, tree: &Program, block: &[R], sub: usize, slots: &mut Slots) {
    match (level, R::view(block)) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level::best` has seen that the processor can do it.
        (Level::Avx512, View::Bytes(block)) => unsafe { super::x86::run8(tree, block, sub, slots) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Level::Avx512, View::Words(block)) => unsafe { super::x86::run16(tree, block, sub, slots) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Level::Avx2, View::Bytes(block)) => unsafe { super::x86::run8_avx2(tree, block, sub, slots) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Level::Avx2, View::Words(block)) => unsafe { super::x86::run16_avx2(tree, block, sub, slots) },
        (_, View::Bytes(block)) => run_any(tree, block, sub, slots),
        (_, View::Words(block)) => run_any(tree, block, sub, slots),
    }
}

/// The same for every processor; compilers make vectors of it.
#[allow(clippy::indexing_slicing, reason = "a place is below the length: by the remainder, or since it is a byte")]
#[inline(always)]
pub(super) fn run_any<R: Rank>(tree: &Program, block: &[R], sub: usize, slots: &mut Slots) {
    let slots = &mut slots.0;
    for step in &tree.steps {
        let ranks = block.get(step.offset as usize + sub * ROWS..).and_then(<[R]>::first_chunk::<ROWS>);
        let Some(ranks) = ranks else { return };
        let limit = R::of(usize::from(step.limit));
        // Slots are fewer than the mask lets through, and copies let answers go where a child's was.
        let first = slots[step.first as usize % SLOTS];
        let second = slots[step.second as usize % SLOTS];
        let to = &mut slots[step.to as usize % SLOTS];
        for (((to, rank), first), second) in to.iter_mut().zip(ranks).zip(&first).zip(&second) {
            *to = if *rank > limit { second.wrapping_add(step.before) } else { *first };
        }
    }
}

/// Adds the votes of leaves.
#[inline]
#[allow(clippy::indexing_slicing, reason = "a place is below the length: by the remainder, or since it is a byte")]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn add32(level: Level, count: usize, votes: &[f32; 256], leaves: &[u8; ROWS], sums: &mut [f32; ROWS]) {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512 && count <= 64 {
        // SAFETY: `Level::best` has seen that the processor can do it.
        return unsafe { super::x86::add32(count, votes, leaves, sums) };
    }
    let _ = (level, count);
    sums.iter_mut().zip(leaves).for_each(|(sum, leaf)| *sum += votes[usize::from(*leaf)]);
}

/// Adds the votes of leaves.
#[inline]
#[allow(clippy::indexing_slicing, reason = "a place is below the length: by the remainder, or since it is a byte")]
pub(super) fn add64(votes: &[f64; 256], leaves: &[u8; ROWS], sums: &mut [f64; ROWS]) {
    sums.iter_mut().zip(leaves).for_each(|(sum, leaf)| *sum += votes[usize::from(*leaf)]);
}

/// Ranks values; whether one of them may be NaN. NaN gets rank 0.
#[inline]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
pub(super) fn rank<T: Number, R: Rank>(level: Level, ranks: &Ranks<T>, values: &[T], to: &mut [R]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if level != Level::Any {
        if level == Level::Avx512
            && let Some((limits, values)) = T::floats(&ranks.limits).zip(T::floats(values))
        {
            // SAFETY: `Level::best` has seen that the processor can do it.
            return unsafe { super::x86::rank32(limits, values, to) };
        }
        if level == Level::Avx512
            && let Some((limits, values)) = T::doubles(&ranks.limits).zip(T::doubles(values))
        {
            // SAFETY: as above.
            return unsafe { super::x86::rank64(limits, values, to) };
        }
        // SAFETY: as above; AVX-512 includes AVX2.
        return unsafe { super::x86::rank_avx2(&ranks.limits, values, to) };
    }
    let _ = level;
    rank_any(&ranks.limits, values, to)
}

/// Values that are searched for together.
const LANES: usize = 16;

/// The same for every processor.
#[inline(always)]
pub(super) fn rank_any<T: Number, R: Rank>(limits: &[T], values: &[T], to: &mut [R]) -> bool {
    let mut nan = false;
    for (values, to) in values.as_chunks::<LANES>().0.iter().zip(to.as_chunks_mut::<LANES>().0) {
        let mut places = [0usize; LANES];
        let mut step = limits.len() / 2;
        while step > 0 {
            for (place, x) in places.iter_mut().zip(values) {
                let above = limits.get(*place + step - 1).is_some_and(|limit| *x > *limit);
                *place += step * usize::from(above);
            }
            step /= 2;
        }
        for ((to, place), x) in to.iter_mut().zip(places).zip(values) {
            *to = R::of(place);
            nan |= x.is_nan();
        }
    }
    nan
}

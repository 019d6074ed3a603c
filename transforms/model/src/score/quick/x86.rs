//! The loops with the vectors of x86-64.
#![allow(unsafe_code, reason = "loads and stores of vectors; the processor is asked before")]

use std::arch::x86_64::*;

use super::super::compile::Number;
use super::kernel::{Rank, SLOTS, Slots, rank_any, run_any};
use super::program::Program;
use super::{BLOCK, ROWS};

#[target_feature(enable = "avx2")]
pub(super) fn run8_avx2(tree: &Program, block: &[u8], sub: usize, slots: &mut Slots) {
    run_any(tree, block, sub, slots);
}

#[target_feature(enable = "avx2")]
pub(super) fn run16_avx2(tree: &Program, block: &[u16], sub: usize, slots: &mut Slots) {
    run_any(tree, block, sub, slots);
}

#[target_feature(enable = "avx2")]
pub(super) fn rank_avx2<T: Number, R: Rank>(limits: &[T], values: &[T], to: &mut [R]) -> bool {
    rank_any(limits, values, to)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load8(from: &[u8; 64]) -> __m512i {
    // SAFETY: there are 64 bytes to read.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load16(from: &[u16; 32]) -> __m512i {
    // SAFETY: there are 64 bytes to read.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// `first` where `above` is 0, otherwise `second + before`.
#[allow(clippy::indexing_slicing, reason = "a place is below the length by the remainder")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn answer(slots: &mut Slots, at: (usize, usize, usize), part: usize, above: u64, before: __m512i) {
    let (first, second, to) = at;
    let all = &mut slots.0;
    let part = part % (ROWS / 64);
    let first = load8(&all[first % SLOTS].as_chunks::<64>().0[part]);
    let second = load8(&all[second % SLOTS].as_chunks::<64>().0[part]);
    let answer = _mm512_mask_add_epi8(first, above, second, before);
    let to = &mut all[to % SLOTS].as_chunks_mut::<64>().0[part];
    // SAFETY: there are 64 bytes to write.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), answer) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn run8(tree: &Program, block: &[u8], sub: usize, slots: &mut Slots) {
    for step in &tree.steps {
        let ranks = block.get(step.offset as usize + sub * ROWS..).and_then(<[u8]>::first_chunk::<ROWS>);
        let Some(ranks) = ranks else { return };
        let limit = _mm512_set1_epi8(step.limit as i8);
        let before = _mm512_set1_epi8(step.before as i8);
        let at = (step.first as usize, step.second as usize, step.to as usize);
        for (part, ranks) in ranks.as_chunks::<64>().0.iter().enumerate() {
            answer(slots, at, part, _mm512_cmpgt_epu8_mask(load8(ranks), limit), before);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn run16(tree: &Program, block: &[u16], sub: usize, slots: &mut Slots) {
    for step in &tree.steps {
        let ranks = block.get(step.offset as usize + sub * ROWS..).and_then(<[u16]>::first_chunk::<ROWS>);
        let Some(ranks) = ranks else { return };
        let limit = _mm512_set1_epi16(step.limit as i16);
        let before = _mm512_set1_epi8(step.before as i8);
        let at = (step.first as usize, step.second as usize, step.to as usize);
        for (part, ranks) in ranks.as_chunks::<64>().0.iter().enumerate() {
            let [low, high] = ranks.as_chunks::<32>().0 else { return };
            let low = _mm512_cmpgt_epu16_mask(load16(low), limit);
            let high = _mm512_cmpgt_epu16_mask(load16(high), limit);
            answer(slots, at, part, u64::from(low) | u64::from(high) << 32, before);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn floats(from: &[f32], at: usize) -> __m512 {
    let from = from.as_chunks::<16>().0.get(at).unwrap_or(&[f32::INFINITY; 16]);
    // SAFETY: there are 16 numbers to read.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

/// Adds votes of at most 64 leaves, which stay in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn add32(count: usize, votes: &[f32; 256], leaves: &[u8; ROWS], sums: &mut [f32; ROWS]) {
    let tables: [__m512; 4] = [floats(votes, 0), floats(votes, 1), floats(votes, 2), floats(votes, 3)];
    let [a, b, c, d] = tables;
    for (leaves, sums) in leaves.as_chunks::<16>().0.iter().zip(sums.as_chunks_mut::<16>().0) {
        // SAFETY: there are 16 bytes to read.
        let leaves = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(leaves.as_ptr().cast()) });
        let mut vote = _mm512_permutex2var_ps(a, leaves, b);
        if count > 32 {
            let upper = _mm512_permutex2var_ps(c, leaves, d);
            vote = _mm512_mask_mov_ps(vote, _mm512_test_epi32_mask(leaves, _mm512_set1_epi32(32)), upper);
        }
        // SAFETY: there are 16 numbers to read and to write.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_add_ps(_mm512_loadu_ps(sums.as_ptr()), vote)) };
    }
}

/// Asks for the line of memory that the next block has where `values` stand in this one: while this block is scored, it
/// comes.
#[inline(always)]
fn ahead<T>(values: &[T]) {
    let place = values.as_ptr().wrapping_add(BLOCK);
    // SAFETY: a prefetch of any address does no harm.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(place.cast()) };
}

/// Ranks among limits of which there are a power of two, at least 16; the last is infinite. Whether there is NaN, which
/// gets rank 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn rank32<R: Rank>(limits: &[f32], values: &[f32], to: &mut [R]) -> bool {
    // The search begins among every `stride`-th limit, which are in registers.
    let stride = (limits.len() / 64).max(1);
    let pivots: [f32; 64] =
        std::array::from_fn(|at| limits.get((at + 1) * stride - 1).copied().unwrap_or(f32::INFINITY));
    let (a, b, c, d) = (floats(&pivots, 0), floats(&pivots, 1), floats(&pivots, 2), floats(&pivots, 3));
    let first = limits.len().min(64) as i32 / 2;
    let zero = _mm512_setzero_si512();
    let mut nan = 0;
    for (values, to) in values.as_chunks::<16>().0.iter().zip(to.as_chunks_mut::<16>().0) {
        ahead(values);
        let x = floats(values, 0);
        nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let mut place = zero;
        let mut step = first;
        while step > 0 {
            let probe = _mm512_add_epi32(place, _mm512_set1_epi32(step - 1));
            let mut limit =
                if first > 8 { _mm512_permutex2var_ps(a, probe, b) } else { _mm512_permutexvar_ps(probe, a) };
            if first > 16 {
                let upper = _mm512_permutex2var_ps(c, probe, d);
                limit = _mm512_mask_mov_ps(limit, _mm512_test_epi32_mask(probe, _mm512_set1_epi32(32)), upper);
            }
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, limit);
            place = _mm512_mask_add_epi32(place, above, place, _mm512_set1_epi32(step));
            step /= 2;
        }
        if stride > 1 {
            place = _mm512_mullo_epi32(place, _mm512_set1_epi32(stride as i32));
            let mut step = stride / 2;
            while step > 0 {
                let probe = _mm512_add_epi32(place, _mm512_set1_epi32(step as i32 - 1));
                // SAFETY: places are whole numbers of strides below the number of limits (the last pivot is infinite,
                // nothing is above it), and steps add up to less than a stride: a probe is below the number of limits.
                let limit = unsafe { _mm512_i32gather_ps::<4>(probe, limits.as_ptr()) };
                let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, limit);
                place = _mm512_mask_add_epi32(place, above, place, _mm512_set1_epi32(step as i32));
                step /= 2;
            }
        }
        // SAFETY: the processor has what this function has.
        unsafe { R::narrow(place, to) };
    }
    nan != 0
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn narrow8(from: __m512i, to: &mut [u8; 16]) {
    // SAFETY: there is room for 16 bytes.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(from)) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn narrow16(from: __m512i, to: &mut [u16; 16]) {
    // SAFETY: there is room for 16 words.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(from)) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn doubles(from: &[f64], at: usize) -> __m512d {
    let from = from.as_chunks::<8>().0.get(at).unwrap_or(&[f64::INFINITY; 8]);
    // SAFETY: there are 8 numbers to read.
    unsafe { _mm512_loadu_pd(from.as_ptr()) }
}

/// [`rank32`] for doubles.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn rank64<R: Rank>(limits: &[f64], values: &[f64], to: &mut [R]) -> bool {
    let stride = (limits.len() / 32).max(1);
    let pivots: [f64; 32] =
        std::array::from_fn(|at| limits.get((at + 1) * stride - 1).copied().unwrap_or(f64::INFINITY));
    let tables = (doubles(&pivots, 0), doubles(&pivots, 1), doubles(&pivots, 2), doubles(&pivots, 3));
    let first = limits.len().min(32) as i64 / 2;
    let mut nan = 0;
    let mut search = |x: __m512d| {
        nan |= _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(x, x);
        let mut place = _mm512_setzero_si512();
        let mut step = first;
        while step > 0 {
            let probe = _mm512_add_epi64(place, _mm512_set1_epi64(step - 1));
            let mut limit = _mm512_permutex2var_pd(tables.0, probe, tables.1);
            if first > 8 {
                let upper = _mm512_permutex2var_pd(tables.2, probe, tables.3);
                limit = _mm512_mask_mov_pd(limit, _mm512_test_epi64_mask(probe, _mm512_set1_epi64(16)), upper);
            }
            let above = _mm512_cmp_pd_mask::<_CMP_GT_OQ>(x, limit);
            place = _mm512_mask_add_epi64(place, above, place, _mm512_set1_epi64(step));
            step /= 2;
        }
        let mut step = stride as i64 / 2;
        place = _mm512_sll_epi64(place, _mm_set1_epi64x(i64::from(stride.trailing_zeros())));
        while step > 0 {
            let probe = _mm512_add_epi64(place, _mm512_set1_epi64(step - 1));
            // SAFETY: as in `rank32`: a probe is below the number of limits.
            let limit = unsafe { _mm512_i64gather_pd::<8>(probe, limits.as_ptr()) };
            let above = _mm512_cmp_pd_mask::<_CMP_GT_OQ>(x, limit);
            place = _mm512_mask_add_epi64(place, above, place, _mm512_set1_epi64(step));
            step /= 2;
        }
        _mm512_cvtepi64_epi32(place)
    };
    for (values, to) in values.as_chunks::<16>().0.iter().zip(to.as_chunks_mut::<16>().0) {
        ahead(values);
        ahead(values.get(8..).unwrap_or_default());
        let low = search(doubles(values, 0));
        let high = search(doubles(values, 1));
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        // SAFETY: the processor has what this function has.
        unsafe { R::narrow(both, to) };
    }
    nan != 0
}

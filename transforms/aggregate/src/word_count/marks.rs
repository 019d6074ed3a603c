//! Where separators are among bytes: sixty-four are compared at once.

/// Bytes that are compared at once.
pub(super) const BLOCK: usize = 64;

/// A set of bytes that separate words.
pub(super) trait Separators {
    /// Whether there is a word between two separators that have nothing between them.
    const EMPTY_WORDS: bool;

    /// A bit for each byte that is a separator, the lowest for the first.
    fn marks(bytes: &[u8; BLOCK]) -> u64;
}

pub(super) struct Space;

impl Separators for Space {
    const EMPTY_WORDS: bool = true;

    #[inline(always)]
    fn marks(bytes: &[u8; BLOCK]) -> u64 {
        simd::spaces(bytes)
    }
}

/// White space in ASCII: tab to carriage return, and space.
pub(super) struct AsciiWhitespace;

impl Separators for AsciiWhitespace {
    const EMPTY_WORDS: bool = false;

    #[inline(always)]
    fn marks(bytes: &[u8; BLOCK]) -> u64 {
        simd::white_space(bytes)
    }
}

/// Sixteen bytes at once by the instructions that every processor of this architecture has.
#[cfg(target_arch = "x86_64")]
mod simd {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
        _mm_sub_epi8,
    };

    use super::BLOCK;

    #[inline(always)]
    pub(super) fn spaces(bytes: &[u8; BLOCK]) -> u64 {
        marks(bytes, |bytes| {
            // SAFETY: every processor of this architecture has SSE2.
            #[allow(unsafe_code, reason = "the compiler asks for it whatever the processors have")]
            unsafe {
                is_space(bytes)
            }
        })
    }

    #[inline(always)]
    pub(super) fn white_space(bytes: &[u8; BLOCK]) -> u64 {
        marks(bytes, |bytes| {
            // SAFETY: every processor of this architecture has SSE2.
            #[allow(unsafe_code, reason = "the compiler asks for it whatever the processors have")]
            unsafe {
                is_white(bytes)
            }
        })
    }

    #[inline(always)]
    fn marks(bytes: &[u8; BLOCK], of_sixteen: impl Fn(&[u8; 16]) -> u64) -> u64 {
        let (parts, _) = bytes.as_chunks::<16>();
        parts.iter().rev().fold(0, |marks, part| marks << 16 | of_sixteen(part))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn is_space(bytes: &[u8; 16]) -> u64 {
        mask(_mm_cmpeq_epi8(vector(bytes), all(b' ')))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn is_white(bytes: &[u8; 16]) -> u64 {
        let bytes = vector(bytes);
        let from_tab = _mm_sub_epi8(bytes, all(b'\t'));
        let controls = _mm_cmpeq_epi8(_mm_min_epu8(from_tab, all(b'\r' - b'\t')), from_tab);
        mask(_mm_or_si128(controls, _mm_cmpeq_epi8(bytes, all(b' '))))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn vector(bytes: &[u8; 16]) -> __m128i {
        let bytes = u128::from_le_bytes(*bytes);
        _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn all(byte: u8) -> __m128i {
        _mm_set1_epi8(byte.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn mask(found: __m128i) -> u64 {
        u64::from(_mm_movemask_epi8(found).cast_unsigned())
    }
}

/// The same in plain Rust.
#[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "tested on every processor"))]
mod portable {
    use super::BLOCK;

    pub(super) fn spaces(bytes: &[u8; BLOCK]) -> u64 {
        marks(bytes, |byte| byte == b' ')
    }

    pub(super) fn white_space(bytes: &[u8; BLOCK]) -> u64 {
        marks(bytes, |byte| byte == b' ' || byte.wrapping_sub(b'\t') <= b'\r' - b'\t')
    }

    fn marks(bytes: &[u8; BLOCK], is_separator: impl Fn(u8) -> bool) -> u64 {
        bytes.iter().enumerate().fold(0, |marks, (at, byte)| marks | u64::from(is_separator(*byte)) << at)
    }
}

#[cfg(not(target_arch = "x86_64"))]
use portable as simd;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn separators_are_found_among_any_bytes(
            bytes in prop::array::uniform32(prop_oneof![any::<u8>(), 8u8..=15, 31u8..=33, Just(b' ' | 0x80)]),
        ) {
            let mut block = [b'x'; BLOCK];
            block[20..52].copy_from_slice(&bytes);
            let is = |test: fn(u8) -> bool| (0..BLOCK).filter(|at| test(block[*at])).fold(0, |all, at| all | 1 << at);
            let space = is(|byte| byte == b' ');
            prop_assert_eq!((Space::marks(&block), portable::spaces(&block)), (space, space));
            let white = is(|byte| byte.is_ascii() && char::from(byte).is_whitespace());
            prop_assert_eq!((AsciiWhitespace::marks(&block), portable::white_space(&block)), (white, white));
        }
    }
}

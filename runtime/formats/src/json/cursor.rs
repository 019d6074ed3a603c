//! A position in one JSON text, and the tokens found there.

/// The text is no JSON from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) at: usize,
    pub(crate) problem: &'static str,
}

/// Where the bytes of a string are.
#[derive(Clone, Copy)]
pub(crate) enum Text<'a> {
    /// In the input, since nothing was escaped.
    Plain(&'a [u8]),
    /// In the scratch buffer.
    Scratch,
}

impl<'a> Text<'a> {
    #[inline(always)]
    pub(crate) fn bytes(self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Scratch => scratch,
        }
    }
}

/// A number token.
#[derive(Clone, Copy)]
pub(crate) struct Number<'a> {
    pub(crate) text: &'a [u8],
    /// Whether it has a fraction or an exponent.
    pub(crate) float: bool,
    negative: bool,
    mantissa: u64,
    /// How many digits the mantissa has. Beyond 19 it has overflowed.
    digits: usize,
    exponent: i32,
}

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

impl Number<'_> {
    /// The value if this is a whole number of 64 bits.
    #[inline(always)]
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.float || self.digits > 19 {
            return None;
        }
        match i64::try_from(self.mantissa) {
            Ok(value) => Some(if self.negative { -value } else { value }),
            Err(_) => (self.negative && self.mantissa == 1 << 63).then_some(i64::MIN),
        }
    }

    #[inline(always)]
    pub(crate) fn to_f64(self) -> f64 {
        // Mantissa and power are exact, so their quotient or product is rounded once, as it must be.
        if self.digits <= 19 && self.mantissa <= 1 << 53 {
            let power = POWERS.get(usize::try_from(self.exponent.unsigned_abs()).unwrap_or(usize::MAX));
            if let Some(power) = power {
                let mantissa = self.mantissa as f64;
                let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
                // A whole -0 is 0: only the float -0.0 keeps its sign.
                return if self.negative && (self.float || self.mantissa != 0) { -value } else { value };
            }
        }
        self.parse().unwrap_or(f64::NAN)
    }

    pub(crate) fn to_f32(self) -> f32 {
        if !self.float && self.mantissa == 0 {
            return 0.0;
        }
        self.parse().unwrap_or(f32::NAN)
    }

    #[cold]
    fn parse<T: std::str::FromStr>(self) -> Option<T> {
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }
}

/// A number or one of the bare words NaN and Infinity.
pub(crate) enum Numeric<'a> {
    Finite(Number<'a>),
    Special(f64),
}

/// The hot methods are inlined and the cold ones take a copy, so that a decoder's cursor stays in registers.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bits at the bytes that are zero. Above the first one there may be false ones.
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Bits of the bytes that are not plain text of a string: see [`Cursor::plain_end`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn stops(chunk: &[u8; 16], quote: u8) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    #[inline]
    #[target_feature(enable = "sse2")]
    fn sse2(chunk: &[u8; 16], quote: u8) -> u32 {
        let word = u128::from_le_bytes(*chunk);
        let bytes = _mm_set_epi64x((word >> 64) as i64, word as i64);
        let all = |byte: u8| -> __m128i { _mm_set1_epi8(byte.cast_signed()) };
        let quotes = _mm_cmpeq_epi8(bytes, all(quote));
        let escapes = _mm_cmpeq_epi8(bytes, all(b'\\'));
        // Bytes beyond ASCII are negative, and so below the blank, too.
        let others = _mm_cmplt_epi8(bytes, all(b' '));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, escapes), others)).cast_unsigned()
    }
    // SAFETY: every processor of this architecture has SSE2.
    #[allow(unsafe_code, reason = "the compiler asks for it whatever the processors have")]
    unsafe {
        sse2(chunk, quote)
    }
}

const WHOLE_POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The number of eight digits, of which the first is the lowest byte: pairs, then fours, then all.
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

impl<'a> Cursor<'a> {
    /// The byte here; 0, which no token starts with, at the end.
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    pub(crate) fn at_end(self) -> bool {
        self.at >= self.bytes.len()
    }

    #[cold]
    pub(crate) fn fail<T>(self, problem: &'static str) -> Result<T, Syntax> {
        Err(Syntax { at: self.at, problem: if self.at_end() { "the text ends too early" } else { problem } })
    }

    #[inline(always)]
    pub(crate) fn skip_blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    #[inline(always)]
    pub(crate) fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), Syntax> {
        if self.peek() != byte {
            return self.fail(problem);
        }
        self.at += 1;
        Ok(())
    }

    pub(crate) fn word(&mut self, word: &[u8]) -> Result<(), Syntax> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fail("this is no value");
        }
        self.at += word.len();
        Ok(())
    }

    /// The rest of a string after its opening quote, with its closing quote.
    #[inline(always)]
    pub(crate) fn string(&mut self, quote: u8, scratch: &mut Vec<u8>) -> Result<Text<'a>, Syntax> {
        let start = self.at;
        self.at = self.plain_end(start, quote);
        if self.peek() == quote && !self.at_end() {
            let text = self.bytes.get(start..self.at).unwrap_or_default();
            self.at += 1;
            return Ok(Text::Plain(text));
        }
        let (text, at) = self.string_slow(start, quote, scratch)?;
        self.at = at;
        Ok(text)
    }

    /// The first byte that is not plain ASCII text of a string: quote, backslash, control, or beyond ASCII.
    #[inline(always)]
    fn plain_end(self, mut at: usize, quote: u8) -> usize {
        #[cfg(target_arch = "x86_64")]
        while let Some(chunk) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
            let stops = stops(chunk, quote);
            if stops != 0 {
                return at + stops.trailing_zeros() as usize;
            }
            at += 16;
        }
        while let Some(chunk) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let quotes = zeros(word ^ (ONES * u64::from(quote)));
            let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
            let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let stops = quotes | escapes | controls | (word & HIGHS);
            if stops != 0 {
                return at + (stops.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        while let Some(byte) = self.bytes.get(at) {
            if *byte == quote || *byte == b'\\' || *byte < 0x20 || *byte >= 0x80 {
                break;
            }
            at += 1;
        }
        at
    }

    /// A string with escapes or with characters beyond ASCII, of which `self.at` is the first.
    #[cold]
    fn string_slow(mut self, start: usize, quote: u8, scratch: &mut Vec<u8>) -> Result<(Text<'a>, usize), Syntax> {
        let mut segment = start;
        let mut escaped = false;
        scratch.clear();
        loop {
            self.at = self.plain_end(self.at, quote);
            if self.at_end() {
                return self.fail("this string is not closed");
            }
            match self.peek() {
                byte if byte == quote => {
                    let text = self.bytes.get(segment..self.at).unwrap_or_default();
                    if simdutf8::basic::from_utf8(text).is_err() {
                        return self.fail("this string is not UTF-8");
                    }
                    self.at += 1;
                    if !escaped {
                        return Ok((Text::Plain(text), self.at));
                    }
                    scratch.extend_from_slice(text);
                    return Ok((Text::Scratch, self.at));
                }
                b'\\' => {
                    let text = self.bytes.get(segment..self.at).unwrap_or_default();
                    if simdutf8::basic::from_utf8(text).is_err() {
                        return self.fail("this string is not UTF-8");
                    }
                    scratch.extend_from_slice(text);
                    escaped = true;
                    self.at += 1;
                    self.escape(scratch)?;
                    segment = self.at;
                }
                byte if byte < 0x20 => return self.fail("a control character must be escaped"),
                _ => {
                    // Text beyond ASCII tends to come in runs.
                    while self.peek() >= 0x80 {
                        self.at += 1;
                    }
                }
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, scratch: &mut Vec<u8>) -> Result<(), Syntax> {
        let byte = match self.peek() {
            byte @ (b'"' | b'\\' | b'/' | b'\'') => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                let first = self.hex4()?;
                let mut code = first;
                if (0xd800..0xdc00).contains(&first) && self.bytes.get(self.at..).is_some_and(|r| r.starts_with(b"\\u"))
                {
                    let mark = self.at;
                    self.at += 2;
                    let second = self.hex4()?;
                    if (0xdc00..0xe000).contains(&second) {
                        code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    } else {
                        self.at = mark;
                    }
                }
                // Java writes a lone surrogate as a question mark.
                let c = char::from_u32(code).unwrap_or('?');
                scratch.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.fail("there is no such escape"),
        };
        scratch.push(byte);
        self.at += 1;
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, Syntax> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return self.fail("an escape has four hexadecimal digits");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    #[inline(always)]
    fn digits(&mut self, mantissa: &mut u64) -> usize {
        /// Bytes above 9 get their high bit with this.
        const OVER_NINE: u64 = ONES * 0x76;
        let start = self.at;
        // Eight at once: a loop over a few digits ends at a place that no processor foresees.
        while let Some(chunk) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk) ^ (ONES * u64::from(b'0'));
            let others = (word.wrapping_add(OVER_NINE) | word) & HIGHS;
            if others == 0 {
                *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight_digits(word));
                self.at += 8;
                continue;
            }
            let count = others.trailing_zeros() / 8;
            if count > 0 {
                let power = WHOLE_POWERS.get(count as usize).copied().unwrap_or(1);
                *mantissa = mantissa.wrapping_mul(power).wrapping_add(eight_digits(word << (64 - 8 * count)));
                self.at += count as usize;
            }
            return self.at - start;
        }
        loop {
            let digit = self.peek().wrapping_sub(b'0');
            if digit > 9 {
                return self.at - start;
            }
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
    }

    /// A number, or NaN or an infinity as a bare word.
    #[inline(always)]
    pub(crate) fn numeric(&mut self) -> Result<Numeric<'a>, Syntax> {
        let start = self.at;
        let negative = self.peek() == b'-';
        if negative {
            self.at += 1;
        }
        let mut mantissa = 0;
        let first = self.at;
        let mut digits = self.digits(&mut mantissa);
        if digits == 0 {
            self.at = start;
            let (value, at) = self.special()?;
            self.at = at;
            return Ok(Numeric::Special(value));
        }
        if digits > 1 && self.bytes.get(first) == Some(&b'0') {
            return self.fail("a number must not start with 0");
        }
        let mut float = false;
        let mut exponent = 0i32;
        if self.peek() == b'.' {
            self.at += 1;
            float = true;
            let fraction = self.digits(&mut mantissa);
            if fraction == 0 {
                return self.fail("digits must follow the point");
            }
            digits += fraction;
            exponent = i32::try_from(fraction).map_or(i32::MIN / 2, |f| -f);
        }
        if self.peek() | 0x20 == b'e' {
            self.at += 1;
            float = true;
            let sign = self.peek();
            if matches!(sign, b'+' | b'-') {
                self.at += 1;
            }
            let mut value = 0i32;
            let start = self.at;
            while self.peek().is_ascii_digit() {
                value = value.saturating_mul(10).saturating_add(i32::from(self.peek() - b'0'));
                self.at += 1;
            }
            if self.at == start {
                return self.fail("digits must follow the exponent's sign");
            }
            exponent = exponent.saturating_add(if sign == b'-' { -value } else { value });
        }
        let text = self.bytes.get(start..self.at).unwrap_or_default();
        Ok(Numeric::Finite(Number { text, float, negative, mantissa, digits, exponent }))
    }

    #[cold]
    fn special(self) -> Result<(f64, usize), Syntax> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let words: [(&[u8], f64); 6] = [
            (b"NaN", f64::NAN),
            (b"Infinity", f64::INFINITY),
            (b"+Infinity", f64::INFINITY),
            (b"+INF", f64::INFINITY),
            (b"-Infinity", f64::NEG_INFINITY),
            (b"-INF", f64::NEG_INFINITY),
        ];
        match words.iter().find(|(word, _)| rest.starts_with(word)) {
            Some((word, value)) => Ok((*value, self.at + word.len())),
            None => self.fail("this is no value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many digits, and whatever stands behind them, near the end and far from it.
        #[test]
        fn numbers_are_what_their_digits_say(whole in "[1-9][0-9]{0,18}", fraction in "([.][0-9]{1,9})?", behind in "[,} /:a;]{0,9}") {
            let text = format!("{whole}{fraction}{behind}");
            let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
            let Ok(Numeric::Finite(number)) = cursor.numeric() else { return Err(TestCaseError::fail(text)) };
            prop_assert_eq!(cursor.at, whole.len() + fraction.len());
            prop_assert_eq!(number.to_f64(), format!("{whole}{fraction}").parse::<f64>().unwrap_or(f64::NAN));
            if fraction.is_empty() {
                prop_assert_eq!(number.to_i64(), whole.parse().ok());
            }
        }
    }
}

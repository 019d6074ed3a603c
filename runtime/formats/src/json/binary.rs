//! Base64 as Jackson reads it: the standard alphabet with padding, blanks allowed between groups, and what follows the
//! padding left unread. That is why reading is not the crate's.

/// Appends the decoded bytes. `false` if the text is no base64; then `out` is as before.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let (mut bits, mut count, mut padding) = (0u32, 0, 0);
    for byte in text.iter().copied().filter(|b| *b > b' ') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if count >= 2 => {
                padding += 1;
                0
            }
            _ => 0xff,
        };
        if value == 0xff || padding > 0 && byte != b'=' {
            out.truncate(before);
            return false;
        }
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count == 4 {
            let [_, bytes @ ..] = bits.to_be_bytes();
            out.extend(bytes.iter().take(3 - padding));
            (bits, count) = (0, 0);
            if padding > 0 {
                // Jackson ends here and leaves the rest unread.
                return true;
            }
        }
    }
    if count != 0 {
        out.truncate(before);
    }
    count == 0
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::*;

    #[test]
    fn what_the_crate_writes_reads_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&b""[..], b"h", b"hello", &all] {
            let mut back = b"x".to_vec();
            assert!(decode(BASE64_STANDARD.encode(bytes).as_bytes(), &mut back));
            assert_eq!(back, [b"x", bytes].concat());
        }
    }

    #[test]
    fn padding_is_required() {
        let ok = |text: &[u8]| {
            let mut out = Vec::new();
            decode(text, &mut out).then_some(out)
        };
        assert_eq!(ok(b"aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(ok(b"aGVs bG8="), Some(b"hello".to_vec()));
        assert_eq!(ok(b"aA=="), Some(b"h".to_vec()));
        assert_eq!(ok(b""), Some(Vec::new()));
        for text in [&b"aA"[..], b"aA=", b"=aaa", b"a!aa", b"a=aa"] {
            assert_eq!(ok(text), None);
        }
    }
}

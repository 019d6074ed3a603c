//! Files whose text is not UTF-8, read as UTF-8.

use std::io::{Read, Result};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, mem};

/// How much of a file is decoded at once, in bytes.
const CHUNK: usize = 64 << 10;

/// How characters are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Charset {
    /// As they are handed on.
    #[default]
    Utf8,
    /// ISO-8859-1, a byte each. What the web calls so is windows-1252.
    Latin1,
    /// Seven bits each.
    Ascii,
    /// Two bytes or four; the mark at the beginning says in which order, and without one the higher byte comes first.
    Utf16,
    Other(&'static Encoding),
}

impl Charset {
    /// By its name in Java or on the web.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Self::Utf8,
            "iso-8859-1" | "iso8859-1" | "iso8859_1" | "iso_8859-1" | "iso_8859_1" | "iso88591" | "8859_1"
            | "iso_8859-1:1987" | "iso-ir-100" | "latin1" | "l1" | "cp819" | "ibm819" | "ibm-819" | "819"
            | "csisolatin1" => Self::Latin1,
            "us-ascii" | "ascii" | "ascii7" | "ansi_x3.4-1968" | "ansi_x3.4-1986" | "iso646-us"
            | "iso_646.irv:1983" | "iso_646.irv:1991" | "iso-ir-6" | "646" | "us" | "cp367" | "ibm367" | "default"
            | "csascii" => Self::Ascii,
            "utf-16" | "utf16" => Self::Utf16,
            "utf-16le" => Self::Other(UTF_16LE),
            "utf-16be" => Self::Other(UTF_16BE),
            name => match Encoding::for_label(name.as_bytes())? {
                encoding if encoding == UTF_8 => Self::Utf8,
                encoding if encoding == encoding_rs::REPLACEMENT => return None,
                encoding => Self::Other(encoding),
            },
        })
    }

    /// One name for all that mean it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Latin1 => "ISO-8859-1",
            Self::Ascii => "US-ASCII",
            Self::Utf16 => "UTF-16",
            Self::Other(encoding) => encoding.name(),
        }
    }

    /// What `input` says, as UTF-8.
    pub(crate) fn decoded(self, input: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        let units = match self {
            Self::Utf8 => return input,
            Self::Latin1 => Units::Latin1,
            Self::Ascii => Units::Ascii,
            Self::Utf16 => Units::Other(UTF_16BE.new_decoder()),
            Self::Other(encoding) => Units::Other(encoding.new_decoder_with_bom_removal()),
        };
        Box::new(Decoded { input, units, bytes: vec![0; CHUNK], text: Vec::new(), at: 0, ended: false })
    }
}

enum Units {
    Latin1,
    Ascii,
    Other(Decoder),
}

struct Decoded {
    input: Box<dyn Read + Send>,
    units: Units,
    bytes: Vec<u8>,
    /// What was decoded, of which `at` bytes were handed on.
    text: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Decoded {
    /// Decodes the next bytes.
    fn fill(&mut self) -> Result<()> {
        let read = self.input.read(&mut self.bytes)?;
        let mut bytes = self.bytes.get(..read).unwrap_or_default();
        self.ended = read == 0;
        self.at = 0;
        self.text.clear();
        match &mut self.units {
            Units::Latin1 => {
                self.text.resize(bytes.len() * 2, 0);
                let length = mem::convert_latin1_to_utf8(bytes, &mut self.text);
                self.text.truncate(length);
            }
            Units::Ascii => {
                for byte in bytes {
                    let character = if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER };
                    self.text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            Units::Other(decoder) => loop {
                let start = self.text.len();
                let room = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(CHUNK * 4);
                self.text.resize(start + room, 0);
                let out = self.text.get_mut(start..).unwrap_or_default();
                let (result, taken, written, _) = decoder.decode_to_utf8(bytes, out, self.ended);
                self.text.truncate(start + written);
                bytes = bytes.get(taken..).unwrap_or_default();
                if result == CoderResult::InputEmpty {
                    break;
                }
            },
        }
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        // The end may hold half a character.
        while self.at == self.text.len() && !self.ended {
            self.fill()?;
        }
        let left = self.text.get(self.at..).unwrap_or_default();
        let count = left.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives a byte at a time, so that characters are cut everywhere.
    struct Slowly(Vec<u8>, usize);

    impl Read for Slowly {
        fn read(&mut self, out: &mut [u8]) -> Result<usize> {
            let (Some(byte), Some(place)) = (self.0.get(self.1), out.first_mut()) else { return Ok(0) };
            *place = *byte;
            self.1 += 1;
            Ok(1)
        }
    }

    fn decoded(name: &str, bytes: &[u8]) -> String {
        let mut text = String::new();
        let input = Box::new(Slowly(bytes.to_vec(), 0));
        Charset::of(name).unwrap().decoded(input).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn characters_are_what_the_encoding_says() {
        assert_eq!(decoded("ISO-8859-1", b"a\xe9\x85"), "a\u{e9}\u{85}");
        for name in ["ISO8859-1", "ISO88591", "8859_1", "iso-ir-100", "cp819", "IBM819", "l1"] {
            assert_eq!(decoded(name, b"\x80"), "\u{80}", "{name}");
        }
        for name in ["ANSI_X3.4-1968", "ISO646-US", "646", "cp367", "iso-ir-6"] {
            assert_eq!(decoded(name, b"\x80"), "\u{fffd}", "{name}");
        }
        assert_eq!(decoded("windows-1252", b"\x80"), "\u{20ac}");
        assert_eq!(decoded("US-ASCII", b"a\xe9"), "a\u{fffd}");
        assert_eq!(decoded("UTF-16", b"\xff\xfea\0\xe9\0"), "a\u{e9}");
        assert_eq!(decoded("UTF-16", b"\0a\xd8\x3d\xde\0"), "a\u{1f600}");
        assert_eq!(decoded("utf-16le", b"a\0b"), "a\u{fffd}");
        assert_eq!(decoded("UTF-16BE", b""), "");
        assert!(Charset::of("no-such").is_none());
        assert!(Charset::of("hz-gb-2312").is_none(), "what the web replaces is not read");
    }
}

//! UBJSON as XGBoost writes it: big-endian, keys without a mark of their own, typed arrays.

use std::collections::HashMap;

use levada_connector_api::{Error, Result};

use super::document::Document;

/// How deep values may stand in each other.
const DEEPEST: usize = 64;

/// Reads a document.
pub(super) fn parse(bytes: &[u8]) -> Result<Document> {
    let mut reader = Reader { bytes, at: 0 };
    let mark = reader.byte()?;
    reader.value(mark, 0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("{what} at byte {} of the UBJSON document", self.at))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let piece = end.and_then(|end| self.bytes.get(self.at..end));
        let Some(piece) = piece else { return Err(self.damaged("the document ends early")) };
        self.at += length;
        Ok(piece)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn integer(&mut self, mark: u8) -> Result<i64> {
        Ok(match mark {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(self.byte()?),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return Err(self.damaged("a whole number was expected")),
        })
    }

    fn length(&mut self) -> Result<usize> {
        let mark = self.byte()?;
        let length = self.integer(mark)?;
        // No element is smaller than a byte, but marks like T have no payload: what is left bounds both.
        let left = self.bytes.len() - self.at;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= left)
            .ok_or_else(|| self.damaged("the document ends early, or a length is wrong"))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged("text that is no UTF-8"))
    }

    fn value(&mut self, mark: u8, depth: usize) -> Result<Document> {
        if depth > DEEPEST {
            return Err(self.damaged("too many levels"));
        }
        Ok(match mark {
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            b'S' => Document::Text(self.text()?),
            b'C' => Document::Text(char::from(self.byte()?).to_string()),
            b'T' => Document::Flag(true),
            b'F' => Document::Flag(false),
            b'Z' | b'N' => Document::Null,
            b'd' => Document::Number(f64::from(f32::from_be_bytes(self.array()?))),
            b'D' => Document::Number(f64::from_be_bytes(self.array()?)),
            b'H' => {
                let text = self.text()?;
                text.parse().map(Document::Number).map_err(|_| self.damaged("a wrong number"))?
            }
            _ => Document::Number(self.integer(mark)? as f64),
        })
    }

    fn object(&mut self, depth: usize) -> Result<Document> {
        let mut object = HashMap::new();
        let mut left = None;
        if self.peek() == Some(b'#') {
            self.at += 1;
            left = Some(self.length()?);
        }
        loop {
            match left {
                Some(0) => break,
                Some(ref mut left) => *left -= 1,
                None if self.peek() == Some(b'}') => {
                    self.at += 1;
                    break;
                }
                None => {}
            }
            let key = self.text()?;
            let mark = self.byte()?;
            object.insert(key, self.value(mark, depth + 1)?);
        }
        Ok(Document::Object(object))
    }

    fn list(&mut self, depth: usize) -> Result<Document> {
        let mut kind = None;
        if self.peek() == Some(b'$') {
            self.at += 1;
            kind = Some(self.byte()?);
        }
        if self.peek() == Some(b'#') {
            self.at += 1;
            let mut left = self.length()?;
            return Document::list(|| {
                if left == 0 {
                    return Ok(None);
                }
                left -= 1;
                let mark = match kind {
                    Some(kind) => kind,
                    None => self.byte()?,
                };
                self.value(mark, depth + 1).map(Some)
            });
        }
        Document::list(|| match self.byte()? {
            b']' => Ok(None),
            mark => self.value(mark, depth + 1).map(Some),
        })
    }
}

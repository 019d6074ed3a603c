//! Values that no column wants as they are: skipped, or written anew as text.

use super::cursor::{Cursor, Number, Numeric, Syntax};
use crate::scalar::{format_double, write_double};

/// Deeper values are refused, as Spark's parser does.
pub(crate) const MAX_DEPTH: usize = 1000;

/// What becomes of the tokens of a walk.
pub(crate) trait Tokens {
    /// A bracket, comma, colon or bare word.
    fn plain(&mut self, token: &[u8]);
    fn number(&mut self, number: Number<'_>);
    fn special(&mut self, value: f64);
    fn string(&mut self, text: &[u8]);
}

/// Drops all tokens.
pub(crate) struct Skip;

impl Tokens for Skip {
    fn plain(&mut self, _: &[u8]) {}
    fn number(&mut self, _: Number<'_>) {}
    fn special(&mut self, _: f64) {}
    fn string(&mut self, _: &[u8]) {}
}

/// Writes the tokens the way Spark's `from_json` puts values into a string column: no blanks, numbers as Java prints them.
pub(crate) struct Rewrite<'a>(pub(crate) &'a mut Vec<u8>);

impl Tokens for Rewrite<'_> {
    fn plain(&mut self, token: &[u8]) {
        self.0.extend_from_slice(token);
    }

    fn number(&mut self, number: Number<'_>) {
        if !number.float {
            self.0.extend_from_slice(if number.text == b"-0" { b"0" } else { number.text });
            return;
        }
        let value = number.to_f64();
        if value.is_finite() {
            let mut text = String::new();
            write_double(&mut text, value);
            self.0.extend_from_slice(text.as_bytes());
        } else {
            self.special(value);
        }
    }

    fn special(&mut self, value: f64) {
        self.0.push(b'"');
        self.0.extend_from_slice(format_double(value).as_bytes());
        self.0.push(b'"');
    }

    fn string(&mut self, text: &[u8]) {
        self.0.push(b'"');
        for byte in text {
            match byte {
                b'"' => self.0.extend_from_slice(b"\\\""),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                0x08 => self.0.extend_from_slice(b"\\b"),
                0x0c => self.0.extend_from_slice(b"\\f"),
                0..0x20 => self.0.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
                _ => self.0.push(*byte),
            }
        }
        self.0.push(b'"');
    }
}

/// Reads one value with all that is in it. `open` is a buffer for the brackets that are open.
pub(crate) fn walk<T: Tokens>(
    cursor: &mut Cursor<'_>,
    tokens: &mut T,
    open: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
) -> Result<(), Syntax> {
    open.clear();
    loop {
        // One value starts here.
        match cursor.peek() {
            quote @ (b'"' | b'\'') => {
                cursor.at += 1;
                let text = cursor.string(quote, scratch)?;
                tokens.string(text.bytes(scratch));
            }
            bracket @ (b'{' | b'[') => {
                cursor.at += 1;
                tokens.plain(&[bracket]);
                cursor.skip_blanks();
                let close = if bracket == b'{' { b'}' } else { b']' };
                if cursor.peek() != close {
                    if open.len() >= MAX_DEPTH {
                        return cursor.fail("the value is nested too deeply");
                    }
                    open.push(close);
                    if close == b'}' {
                        name(cursor, tokens, scratch)?;
                    }
                    continue;
                }
                cursor.at += 1;
                tokens.plain(&[close]);
            }
            b't' => literal(cursor, tokens, b"true")?,
            b'f' => literal(cursor, tokens, b"false")?,
            b'n' => literal(cursor, tokens, b"null")?,
            _ => match cursor.numeric()? {
                Numeric::Finite(number) => tokens.number(number),
                Numeric::Special(value) => tokens.special(value),
            },
        }
        // It has ended: so may those around it.
        loop {
            let Some(close) = open.last().copied() else { return Ok(()) };
            cursor.skip_blanks();
            match cursor.peek() {
                b',' => {
                    cursor.at += 1;
                    tokens.plain(b",");
                    cursor.skip_blanks();
                    if close == b'}' {
                        name(cursor, tokens, scratch)?;
                    }
                    break;
                }
                byte if byte == close => {
                    cursor.at += 1;
                    tokens.plain(&[close]);
                    open.pop();
                }
                _ => return cursor.fail("expected a comma or the closing bracket"),
            }
        }
    }
}

fn literal<T: Tokens>(cursor: &mut Cursor<'_>, tokens: &mut T, word: &[u8]) -> Result<(), Syntax> {
    cursor.word(word)?;
    tokens.plain(word);
    Ok(())
}

fn name<T: Tokens>(cursor: &mut Cursor<'_>, tokens: &mut T, scratch: &mut Vec<u8>) -> Result<(), Syntax> {
    let quote = cursor.peek();
    if !matches!(quote, b'"' | b'\'') {
        return cursor.fail("expected a name in quotes");
    }
    cursor.at += 1;
    let text = cursor.string(quote, scratch)?;
    tokens.string(text.bytes(scratch));
    cursor.skip_blanks();
    cursor.expect(b':', "expected a colon after the name")?;
    tokens.plain(b":");
    cursor.skip_blanks();
    Ok(())
}

//! Text that is nearly JSON, written as JSON: what Spark's `allow…` options let through.

use std::borrow::Cow;

/// What else than JSON is taken for JSON. The default is Spark's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct JsonSyntax {
    /// Names without quotes: `{a: 1}`.
    pub unquoted_names: bool,
    /// Strings and names in single quotes.
    pub single_quotes: bool,
    /// Numbers with zeros before them: `007`.
    pub leading_zeros: bool,
    /// `NaN`, `Infinity`, `-INF` and the like without quotes.
    pub non_numeric: bool,
    /// A backslash before any character stands for the character.
    pub any_escape: bool,
    /// `/* … */`, and `//` to the end of the line.
    pub comments: bool,
    /// Control characters in strings.
    pub control_characters: bool,
}

impl Default for JsonSyntax {
    fn default() -> Self {
        Self {
            unquoted_names: false,
            single_quotes: true,
            leading_zeros: false,
            non_numeric: true,
            any_escape: false,
            comments: false,
            control_characters: false,
        }
    }
}

impl JsonSyntax {
    /// Whether it is what the decoder does by itself.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// `text` as the JSON that it is taken for; what is not allowed is no JSON then.
    pub fn relaxed(self, text: &[u8]) -> Cow<'_, [u8]> {
        if self.is_default() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        relax(text, self, &mut out);
        Cow::Owned(out)
    }

    /// Sets the option that Spark calls `name`, whatever its case. `false`: there is none of that name.
    pub fn set(&mut self, name: &str, allowed: bool) -> bool {
        let place = match name.to_ascii_lowercase().as_str() {
            "allowunquotedfieldnames" => &mut self.unquoted_names,
            "allowsinglequotes" => &mut self.single_quotes,
            "allownumericleadingzeros" => &mut self.leading_zeros,
            "allownonnumericnumbers" => &mut self.non_numeric,
            "allowbackslashescapinganycharacter" => &mut self.any_escape,
            "allowcomments" => &mut self.comments,
            "allowunquotedcontrolchars" => &mut self.control_characters,
            _ => return false,
        };
        *place = allowed;
        true
    }
}

/// No token begins with it: what stands after it is no JSON.
const REFUSED: u8 = 1;

/// Writes `text` to `out` as what the decoder takes: what is allowed as JSON, what is not as what is none. What is no JSON in
/// any case stays as it is.
pub(crate) fn relax(text: &[u8], syntax: JsonSyntax, out: &mut Vec<u8>) {
    out.clear();
    let mut relaxing = Relaxing { text, at: 0, syntax, out, open: Vec::new(), name: false };
    while relaxing.at < text.len() {
        relaxing.token();
    }
}

struct Relaxing<'a> {
    text: &'a [u8],
    at: usize,
    syntax: JsonSyntax,
    out: &'a mut Vec<u8>,
    /// The brackets that are open.
    open: Vec<u8>,
    /// Whether a name is expected here.
    name: bool,
}

impl Relaxing<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn copy(&mut self, count: usize) {
        let end = self.text.len().min(self.at + count);
        self.out.extend_from_slice(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    fn token(&mut self) {
        match self.peek(0) {
            byte @ (b'{' | b'[') => {
                self.open.push(byte);
                self.name = byte == b'{';
                self.copy(1);
            }
            b'}' | b']' => {
                self.open.pop();
                self.name = false;
                self.copy(1);
            }
            b',' => {
                self.name = self.open.last() == Some(&b'{');
                self.copy(1);
            }
            b':' => {
                self.name = false;
                self.copy(1);
            }
            b'/' if self.syntax.comments && matches!(self.peek(1), b'*' | b'/') => self.comment(),
            b'\'' if !self.syntax.single_quotes => self.refuse(),
            quote @ (b'"' | b'\'') => self.string(quote),
            byte if self.name && self.syntax.unquoted_names && is_name(byte) => {
                let length = self.rest().iter().take_while(|byte| is_name(**byte)).count();
                self.out.push(b'"');
                self.copy(length);
                self.out.push(b'"');
            }
            b'-' if !self.syntax.non_numeric && self.peek(1) == b'I' => self.refuse(),
            b'-' | b'0'..=b'9' if !self.name => self.number(),
            b'N' | b'I' | b'+' if !self.syntax.non_numeric => self.refuse(),
            _ => self.copy(1),
        }
    }

    fn refuse(&mut self) {
        self.out.push(REFUSED);
        self.at = self.text.len();
    }

    fn comment(&mut self) {
        let rest = self.rest();
        let length = match self.peek(1) {
            b'*' => memchr::memmem::find(rest.get(2..).unwrap_or_default(), b"*/").map(|length| length + 4),
            _ => Some(memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())),
        };
        match length {
            Some(length) => {
                self.out.push(b' ');
                self.at += length;
            }
            None => self.refuse(),
        }
    }

    /// A number, without the zeros before it where they are allowed.
    fn number(&mut self) {
        if self.peek(0) == b'-' {
            self.copy(1);
        }
        while self.syntax.leading_zeros && self.peek(0) == b'0' && self.peek(1).is_ascii_digit() {
            self.at += 1;
        }
        let part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        let length = self.rest().iter().take_while(part).count();
        self.copy(length);
    }

    fn string(&mut self, quote: u8) {
        self.copy(1);
        while self.at < self.text.len() {
            match self.peek(0) {
                byte if byte == quote => return self.copy(1),
                b'\\' => {
                    let known =
                        matches!(self.peek(1), b'"' | b'\\' | b'/' | b'\'' | b'b' | b'f' | b'n' | b'r' | b't' | b'u');
                    if self.syntax.any_escape && !known {
                        self.at += 1;
                        self.character();
                    } else {
                        self.copy(2);
                    }
                }
                _ => self.character(),
            }
        }
    }

    fn character(&mut self) {
        match self.peek(0) {
            byte @ 0..0x20 if self.syntax.control_characters => {
                self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                self.at += 1;
            }
            _ => self.copy(1),
        }
    }
}

/// What a name without quotes is of.
fn is_name(byte: u8) -> bool {
    // Of other letters than ASCII's each byte is one of these.
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'$' | b'@' | b'#' | b'*' | b'-' | b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaxed(text: &str, change: impl Fn(&mut JsonSyntax)) -> String {
        let mut syntax = JsonSyntax::default();
        change(&mut syntax);
        let mut out = Vec::new();
        relax(text.as_bytes(), syntax, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn what_is_allowed_becomes_json() {
        let names = |syntax: &mut JsonSyntax| syntax.unquoted_names = true;
        assert_eq!(relaxed("{a:{b-c:[x, 1]}, $e: 'y:z,q'}", names), r#"{"a":{"b-c":[x, 1]}, "$e": 'y:z,q'}"#);
        let comments = |syntax: &mut JsonSyntax| syntax.comments = true;
        assert_eq!(relaxed("/*{*/{\"a//\":/**/1}// x", comments), " {\"a//\": 1} ");
        let zeros = |syntax: &mut JsonSyntax| syntax.leading_zeros = true;
        assert_eq!(relaxed("[007,-00.50,0,1e05,\"00\"]", zeros), "[7,-0.50,0,1e05,\"00\"]");
        let escapes = |syntax: &mut JsonSyntax| syntax.any_escape = true;
        assert_eq!(relaxed(r#"["\q\n\\\é"]"#, escapes), r#"["q\n\\é"]"#);
        let controls = |syntax: &mut JsonSyntax| syntax.control_characters = true;
        assert_eq!(relaxed("[\"a\tb\"]", controls), r#"["a\u0009b"]"#);
    }

    #[test]
    fn what_is_not_allowed_becomes_none() {
        assert_eq!(relaxed("{'a':1}", |syntax| syntax.single_quotes = false), "{\u{1}");
        let numbers = |syntax: &mut JsonSyntax| syntax.non_numeric = false;
        assert_eq!(relaxed("[\"NaN\",-INF]", numbers), "[\"NaN\",\u{1}");
        assert_eq!(
            relaxed("{\"a\":1E+5,\"b\":[-1.5e+3,007],\"c\":+1}", numbers),
            "{\"a\":1E+5,\"b\":[-1.5e+3,007],\"c\":\u{1}"
        );
        assert_eq!(relaxed("{} /* open", |syntax| syntax.comments = true), "{} \u{1}");
    }
}

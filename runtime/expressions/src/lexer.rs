//! Text to tokens, as Spark's grammar has them.

use super::ast::{PlanError, Span};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A word; `quoted` in backticks, which makes it a name whatever it spells.
    Word { text: String, quoted: bool },
    /// A string literal, unescaped.
    Text(String),
    /// `X'1F'`.
    Hex(String),
    /// Digits as written, with the suffix that gives the type.
    Number { digits: String, suffix: String },
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

#[derive(Debug, Clone)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) span: Span,
}

/// Longer symbols first, so that the first match is the right one.
const SYMBOLS: &[&str] = &[
    ">>>", "<=>", "<=", ">=", "<>", "!=", "==", "||", "::", "->", "=>", "<<", ">>", "!<", "!>", "(", ")", "[", "]",
    ",", ".", "+", "-", "*", "/", "%", "=", "<", ">", "!", "~", "&", "|", "^", ":", ";",
];

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// Splits `text` into tokens. The last is always [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Spanned>, PlanError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.at;
        let token = lexer.next()?;
        let end = token == Token::End;
        tokens.push(Spanned { token, span: Span::new(start, lexer.at) });
        if end {
            return Ok(tokens);
        }
    }
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_while(&mut self, test: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| test(*c)) {
            self.at += c.len_utf8();
            taken.push(c);
        }
        taken
    }

    fn error(&self, start: usize, message: &str) -> PlanError {
        PlanError::new(Span::new(start, self.text.len()), message)
    }

    fn skip_blanks(&mut self) -> Result<(), PlanError> {
        loop {
            let start = self.at;
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("--") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                let Some(length) = self.rest().find("*/") else {
                    return Err(self.error(start, "the comment is not closed").hint("add */"));
                };
                self.at += length + 2;
            }
            if self.at == start {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Token, PlanError> {
        let start = self.at;
        let Some(c) = self.peek() else { return Ok(Token::End) };
        match c {
            '\'' | '"' => Ok(Token::Text(self.quoted_text(false)?)),
            '`' => self.quoted_name(),
            'r' | 'R' if matches!(self.peek_second(), Some('\'' | '"')) => {
                self.bump();
                Ok(Token::Text(self.quoted_text(true)?))
            }
            'x' | 'X' if matches!(self.peek_second(), Some('\'' | '"')) => {
                self.bump();
                Ok(Token::Hex(self.quoted_text(true)?))
            }
            _ if c.is_ascii_digit() => Ok(self.number()),
            '.' if self.peek_second().is_some_and(|c| c.is_ascii_digit()) => Ok(self.number()),
            _ if c == '_' || c.is_alphabetic() => {
                let text = self.take_while(|c| c == '_' || c.is_alphanumeric());
                Ok(Token::Word { text, quoted: false })
            }
            _ => match SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Ok(Token::Symbol(symbol))
                }
                None => Err(PlanError::new(
                    Span::new(start, start + c.len_utf8()),
                    format!("the character {c:?} has no meaning here"),
                )),
            },
        }
    }

    fn quoted_name(&mut self) -> Result<Token, PlanError> {
        let start = self.at;
        self.bump();
        let mut name = String::new();
        loop {
            match self.bump() {
                Some('`') if self.peek() == Some('`') => {
                    self.bump();
                    name.push('`');
                }
                Some('`') => return Ok(Token::Word { text: name, quoted: true }),
                Some(c) => name.push(c),
                None => return Err(self.error(start, "the quoted name is not closed").hint("add a backtick")),
            }
        }
    }

    fn quoted_text(&mut self, raw: bool) -> Result<String, PlanError> {
        let start = self.at;
        let quote = self.bump().unwrap_or('\'');
        let mut text = String::new();
        loop {
            match self.bump() {
                Some(c) if c == quote && self.peek() == Some(quote) && !raw => {
                    self.bump();
                    text.push(quote);
                }
                Some(c) if c == quote => return Ok(text),
                Some('\\') if !raw => self.escape(&mut text),
                Some(c) => text.push(c),
                None => {
                    let hint = format!("add {quote}");
                    return Err(self.error(start, "the string literal is not closed").hint(hint));
                }
            }
        }
    }

    /// What stands after a backslash. `\%` and `\_` keep it: they are for LIKE.
    fn escape(&mut self, text: &mut String) {
        if let Some(c) = self.code_point('u', 4, 16).or_else(|| self.code_point('U', 8, 16)) {
            text.push(c);
            return;
        }
        if matches!(self.peek(), Some('0'..='1'))
            && let Some(c) = self.digits(0, 3, 8)
        {
            text.push(c);
            return;
        }
        match self.bump() {
            Some('0') => text.push('\0'),
            Some('b') => text.push('\u{8}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('Z') => text.push('\u{1a}'),
            Some(c @ ('%' | '_')) => text.extend(['\\', c]),
            Some(c) => text.push(c),
            None => {}
        }
    }

    fn code_point(&mut self, letter: char, length: usize, radix: u32) -> Option<char> {
        if self.peek() == Some(letter) { self.digits(1, length, radix) } else { None }
    }

    fn digits(&mut self, skip: usize, length: usize, radix: u32) -> Option<char> {
        let digits = self.rest().get(skip..skip + length)?;
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        let c = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
        self.at += skip + length;
        Some(c)
    }

    fn number(&mut self) -> Token {
        let digit = |c: char| c.is_ascii_digit();
        let mut digits = self.take_while(digit);
        // Spark lets names begin with digits: `2nd` is one.
        let mut fraction = false;
        if self.peek() == Some('.') && !self.peek_second().is_some_and(|c| c == '_' || c.is_alphabetic()) {
            fraction = true;
            self.bump();
            digits.push('.');
            digits.push_str(&self.take_while(digit));
        }
        let mut after = self.rest().chars();
        if matches!(after.next(), Some('e' | 'E')) {
            let second = after.next();
            let signed = matches!(second, Some('+' | '-'));
            if if signed { after.next() } else { second }.is_some_and(digit) {
                digits.push('e');
                self.bump();
                if signed {
                    digits.extend(self.bump());
                }
                digits.push_str(&self.take_while(digit));
            }
        }
        let suffix = self.take_while(|c| c == '_' || c.is_alphanumeric());
        let known = matches!(suffix.to_ascii_uppercase().as_str(), "" | "L" | "S" | "Y" | "D" | "F" | "BD");
        if known || fraction {
            Token::Number { digits, suffix: suffix.to_ascii_uppercase() }
        } else {
            Token::Word { text: digits + &suffix, quoted: false }
        }
    }
}

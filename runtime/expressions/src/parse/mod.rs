//! Tokens to syntax trees: the expression part of Spark's grammar.
//!
//! Spark reserves hardly any word, so columns may be called `date`, `end` or `interval`; a word means something special
//! only where what follows makes it so.

mod operators;
mod order;
mod primary;
mod sets;
mod statement;

pub use order::{OrderBy, OrderKey};
pub use sets::GroupingSets;
pub(crate) use statement::statement;
pub use statement::{From, Statement, WindowCall};

use std::ops::Range;

use super::ast::{Ast, Item, Node, PlanError, Planned, Span};
use super::lexer::{Spanned, Token, tokens};

/// Deeper nesting is refused: the parser is recursive.
const MAX_DEPTH: usize = 64;

/// Higher trees are refused: they are walked by recursion. `a + b + c + …` is as high as it is long.
const MAX_HEIGHT: usize = 150;

/// Parses one expression without an alias.
pub(crate) fn expression(text: &str) -> Planned<Ast> {
    let mut parser = Parser::new(text)?;
    let ast = parser.expr()?;
    parser.expect_end()?;
    Ok(ast)
}

/// Parses an item of a select list: an expression and perhaps names for it.
pub(crate) fn item(text: &str) -> Planned<Item> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expr()?;
    parser.no_over()?;
    let aliases = parser.aliases()?;
    parser.expect_end()?;
    Ok(Item { expr, aliases })
}

/// Parses a select list: items between commas, each with its text.
pub(crate) fn items(text: &str) -> Planned<Vec<String>> {
    let mut parser = Parser::new(text)?;
    let mut items = Vec::new();
    loop {
        let start = parser.span().start;
        parser.expr()?;
        parser.no_over()?;
        parser.aliases()?;
        let end = parser.previous().end;
        items.push(text.get(start..end).unwrap_or_default().to_owned());
        if !parser.symbol(",") {
            break;
        }
    }
    parser.expect_end()?;
    Ok(items)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    /// Whether a whole query is parsed: the words that begin its parts are no names of columns.
    statement: bool,
    /// The tokens of each SELECT, with the names of its table; what is inside another stands before it.
    tables: Vec<(Range<usize>, Vec<String>)>,
    /// The queries that WITH has named.
    named: Vec<(String, Statement)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Planned<Self> {
        Ok(Self {
            text,
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
            statement: false,
            tables: Vec::new(),
            named: Vec::new(),
        })
    }

    pub(super) fn token_at(&self, at: usize) -> &Token {
        self.tokens.get(at).map_or(&Token::End, |spanned| &spanned.token)
    }

    pub(super) fn token(&self) -> &Token {
        self.token_at(self.at)
    }

    pub(super) fn span(&self) -> Span {
        let end = Span::new(self.text.len(), self.text.len());
        self.tokens.get(self.at).map_or(end, |spanned| spanned.span)
    }

    pub(super) fn previous(&self) -> Span {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(Span::new(0, 0), |spanned| spanned.span)
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    pub(super) fn is_symbol_at(&self, at: usize, wanted: &str) -> bool {
        matches!(self.token_at(at), Token::Symbol(symbol) if *symbol == wanted)
    }

    pub(super) fn symbol(&mut self, wanted: &str) -> bool {
        let found = self.is_symbol_at(self.at, wanted);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_word_at(&self, at: usize, wanted: &str) -> bool {
        matches!(self.token_at(at), Token::Word { text, quoted: false } if text.eq_ignore_ascii_case(wanted))
    }

    pub(super) fn word(&mut self, wanted: &str) -> bool {
        let found = self.is_word_at(self.at, wanted);
        self.at += usize::from(found);
        found
    }

    pub(super) fn unexpected(&self, wanted: &str) -> PlanError {
        let span = self.span();
        let before = |back: usize| self.at.checked_sub(back);
        if before(1).is_some_and(|at| self.is_word_at(at, "select"))
            && before(2).is_some_and(|at| self.is_symbol_at(at, "("))
        {
            return PlanError::new(self.previous(), "a query inside an expression is not possible")
                .hint("write its values out, or compute them in a transform before");
        }
        match self.token() {
            Token::End => PlanError::new(span, format!("the expression ends where {wanted} is expected")),
            _ => {
                let found = self.text.get(span.start..span.end).unwrap_or_default();
                PlanError::new(span, format!("unexpected '{found}'; {wanted} is expected"))
            }
        }
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Planned<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Planned<()> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    pub(super) fn expect_end(&self) -> Planned<()> {
        if *self.token() == Token::End { Ok(()) } else { Err(self.unexpected("an operator or the end")) }
    }

    pub(super) fn name(&mut self, wanted: &str) -> Planned<String> {
        match self.token() {
            Token::Word { text, .. } => {
                let text = text.clone();
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// `AS name`, `AS (name, name)` or a bare name.
    pub(super) fn aliases(&mut self) -> Planned<Vec<String>> {
        if self.word("as") {
            if !self.symbol("(") {
                return Ok(vec![self.name("a name")?]);
            }
            let mut names = vec![self.name("a name")?];
            while self.symbol(",") {
                names.push(self.name("a name")?);
            }
            self.expect(")")?;
            return Ok(names);
        }
        Ok(match self.token() {
            _ if self.statement && self.is_clause() => Vec::new(),
            Token::Word { .. } => vec![self.name("a name")?],
            _ => Vec::new(),
        })
    }

    pub(super) fn list(&mut self, close: &str) -> Planned<Vec<Ast>> {
        let mut list = Vec::new();
        if self.symbol(close) {
            return Ok(list);
        }
        loop {
            let value = self.expr()?;
            list.push(if self.word("as") {
                let name = self.name("a name")?;
                let span = value.span.to(self.previous());
                Ast::new(Node::Named(Box::new(value), name), span)
            } else {
                value
            });
            if !self.symbol(",") {
                self.expect(close)?;
                return Ok(list);
            }
        }
    }
}

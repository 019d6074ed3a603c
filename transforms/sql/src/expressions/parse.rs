//! Tokens to syntax trees: the expression part of Spark's grammar.
//!
//! Spark reserves hardly any word, so columns may be called `date`, `end` or `interval`; a word means something special
//! only where what follows makes it so.

use datafusion_common::ScalarValue;

use super::ast::{Ast, Binary, Item, Node, PlanError, Planned, Span, Unary};
use super::lexer::{Spanned, Token, tokens};
use super::literal;

/// Deeper nesting is refused: the tree is walked by recursion.
const MAX_DEPTH: usize = 64;

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
}

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const PREDICATE: u8 = 4;
const UNARY: u8 = 12;

/// Binding powers: a larger number binds tighter. Comparison stands below arithmetic and bits.
fn operator(symbol: &str) -> Option<(Binary, u8)> {
    Some(match symbol {
        "=" | "==" => (Binary::Eq, 5),
        "<>" | "!=" => (Binary::NotEq, 5),
        "<" => (Binary::Less, 5),
        "<=" | "!>" => (Binary::LessEq, 5),
        ">" => (Binary::Greater, 5),
        ">=" | "!<" => (Binary::GreaterEq, 5),
        "<=>" => (Binary::NullSafeEq, 5),
        "|" => (Binary::BitOr, 6),
        "^" => (Binary::BitXor, 7),
        "&" => (Binary::BitAnd, 8),
        "<<" => (Binary::ShiftLeft, 9),
        ">>" => (Binary::ShiftRight, 9),
        ">>>" => (Binary::ShiftRightUnsigned, 9),
        "+" => (Binary::Add, 10),
        "-" => (Binary::Subtract, 10),
        "||" => (Binary::Concat, 10),
        "*" => (Binary::Multiply, 11),
        "/" => (Binary::Divide, 11),
        "%" => (Binary::Modulo, 11),
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Planned<Self> {
        Ok(Self { text, tokens: tokens(text)?, at: 0, depth: 0 })
    }

    fn token_at(&self, at: usize) -> &Token {
        self.tokens.get(at).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn token(&self) -> &Token {
        self.token_at(self.at)
    }

    fn span(&self) -> Span {
        let end = Span::new(self.text.len(), self.text.len());
        self.tokens.get(self.at).map_or(end, |spanned| spanned.span)
    }

    fn previous(&self) -> Span {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(Span::new(0, 0), |spanned| spanned.span)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_symbol_at(&self, at: usize, wanted: &str) -> bool {
        matches!(self.token_at(at), Token::Symbol(symbol) if *symbol == wanted)
    }

    fn symbol(&mut self, wanted: &str) -> bool {
        let found = self.is_symbol_at(self.at, wanted);
        self.at += usize::from(found);
        found
    }

    fn is_word_at(&self, at: usize, wanted: &str) -> bool {
        matches!(self.token_at(at), Token::Word { text, quoted: false } if text.eq_ignore_ascii_case(wanted))
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found = self.is_word_at(self.at, wanted);
        self.at += usize::from(found);
        found
    }

    fn unexpected(&self, wanted: &str) -> PlanError {
        let span = self.span();
        match self.token() {
            Token::End => PlanError::new(span, format!("the expression ends where {wanted} is expected")),
            _ => {
                let found = self.text.get(span.start..span.end).unwrap_or_default();
                PlanError::new(span, format!("unexpected '{found}'; {wanted} is expected"))
            }
        }
    }

    fn expect(&mut self, symbol: &str) -> Planned<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    fn expect_word(&mut self, word: &str) -> Planned<()> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn expect_end(&self) -> Planned<()> {
        if *self.token() == Token::End { Ok(()) } else { Err(self.unexpected("an operator or the end")) }
    }

    fn name(&mut self, wanted: &str) -> Planned<String> {
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
    fn aliases(&mut self) -> Planned<Vec<String>> {
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
            Token::Word { .. } => vec![self.name("a name")?],
            _ => Vec::new(),
        })
    }

    fn expr(&mut self) -> Planned<Ast> {
        self.binding(0)
    }

    fn binding(&mut self, minimum: u8) -> Planned<Ast> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} levels deep");
            return Err(PlanError::new(self.span(), message).hint("split it into several transforms"));
        }
        let mut left = self.prefix()?;
        loop {
            left = match self.infix(left, minimum)? {
                Ok(longer) => longer,
                Err(done) => {
                    self.depth -= 1;
                    return Ok(done);
                }
            };
        }
    }

    /// Extends `left` by one operator; hands it back when the next does not bind tightly enough.
    #[allow(clippy::type_complexity)]
    fn infix(&mut self, left: Ast, minimum: u8) -> Planned<Result<Ast, Ast>> {
        let next = match self.token() {
            Token::Symbol(symbol) => operator(symbol),
            Token::Word { text, quoted: false } => match text.to_ascii_lowercase().as_str() {
                "or" => Some((Binary::Or, OR)),
                "and" => Some((Binary::And, AND)),
                "div" => Some((Binary::IntegerDivide, 11)),
                _ => return self.predicate(left, minimum),
            },
            _ => None,
        };
        let Some((operator, power)) = next.filter(|(_, power)| *power > minimum) else { return Ok(Err(left)) };
        self.advance();
        let right = self.binding(power)?;
        let span = left.span.to(right.span);
        Ok(Ok(Ast { node: Node::Binary(operator, Box::new(left), Box::new(right)), span }))
    }

    fn predicate(&mut self, left: Ast, minimum: u8) -> Planned<Result<Ast, Ast>> {
        if minimum >= PREDICATE {
            return Ok(Err(left));
        }
        let start = self.at;
        let negated = self.word("not");
        let span = left.span;
        let value = Box::new(left.clone());
        let node = if self.word("between") {
            let low = Box::new(self.binding(PREDICATE)?);
            self.expect_word("and")?;
            let high = Box::new(self.binding(PREDICATE)?);
            Node::Between { value, low, high }
        } else if self.word("in") {
            self.expect("(")?;
            let list = self.list(")")?;
            if list.is_empty() {
                return Err(PlanError::new(self.previous(), "the list after IN is empty"));
            }
            Node::In { value, list }
        } else if self.is_word_at(self.at, "like") || self.is_word_at(self.at, "ilike") {
            let fold_case = self.is_word_at(self.at, "ilike");
            self.advance();
            let pattern = Box::new(self.binding(PREDICATE)?);
            let escape = if self.word("escape") { Some(self.escape_char()?) } else { None };
            Node::Like { value, pattern, escape, fold_case }
        } else if self.word("rlike") || self.word("regexp") {
            let pattern = self.binding(PREDICATE)?;
            Node::Call { name: "rlike".into(), args: vec![left, pattern] }
        } else if !negated && self.word("is") {
            return self.is_test(*value).map(Ok);
        } else {
            self.at = start;
            return Ok(Err(left));
        };
        let ast = Ast::new(node, span.to(self.previous()));
        Ok(Ok(if negated { negate(ast) } else { ast }))
    }

    fn escape_char(&mut self) -> Planned<char> {
        if let Token::Text(text) = self.token() {
            let mut chars = text.chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                self.advance();
                return Ok(c);
            }
        }
        Err(self.unexpected("a string of one character"))
    }

    fn is_test(&mut self, left: Ast) -> Planned<Ast> {
        let negated = self.word("not");
        let start = left.span;
        let value = Box::new(left);
        let node = if self.word("null") || self.word("unknown") {
            Node::IsNull(value)
        } else if self.word("true") {
            Node::IsTruth(value, true)
        } else if self.word("false") {
            Node::IsTruth(value, false)
        } else if self.word("distinct") {
            self.expect_word("from")?;
            let right = Box::new(self.binding(PREDICATE)?);
            let same = Ast { node: Node::Binary(Binary::NullSafeEq, value, right), span: start.to(self.previous()) };
            return Ok(if negated { same } else { negate(same) });
        } else {
            return Err(self.unexpected("NULL, TRUE, FALSE or DISTINCT FROM"));
        };
        let ast = Ast::new(node, start.to(self.previous()));
        Ok(if negated { negate(ast) } else { ast })
    }

    fn list(&mut self, close: &str) -> Planned<Vec<Ast>> {
        let mut list = Vec::new();
        if self.symbol(close) {
            return Ok(list);
        }
        loop {
            let value = self.expr()?;
            list.push(if self.word("as") {
                let name = self.name("a name")?;
                let span = value.span.to(self.previous());
                Ast { node: Node::Named(Box::new(value), name), span }
            } else {
                value
            });
            if !self.symbol(",") {
                self.expect(close)?;
                return Ok(list);
            }
        }
    }

    fn prefix(&mut self) -> Planned<Ast> {
        let span = self.span();
        let unary = match self.token() {
            Token::Symbol("-") => {
                if let Token::Number { digits, suffix } = self.token_at(self.at + 1).clone() {
                    self.advance();
                    let value = literal::number(&digits, &suffix, true, span.to(self.span()))?;
                    self.advance();
                    return self.postfix(Ast { node: Node::Literal(value), span: span.to(self.previous()) });
                }
                Some((Unary::Minus, UNARY))
            }
            Token::Symbol("+") => Some((Unary::Plus, UNARY)),
            Token::Symbol("~") => Some((Unary::BitNot, UNARY)),
            Token::Symbol("!") => Some((Unary::Not, NOT)),
            // `not(x)` is the same; a column called `not` needs backticks.
            Token::Word { text, quoted: false } if text.eq_ignore_ascii_case("not") => Some((Unary::Not, NOT)),
            _ => None,
        };
        match unary {
            Some((unary, power)) => {
                self.advance();
                let value = self.binding(power)?;
                let span = span.to(value.span);
                Ok(Ast { node: Node::Unary(unary, Box::new(value)), span })
            }
            None => {
                let primary = self.primary()?;
                self.postfix(primary)
            }
        }
    }

    fn postfix(&mut self, mut value: Ast) -> Planned<Ast> {
        loop {
            let start = value.span;
            let node = if self.symbol(".") {
                if self.symbol("*") {
                    Node::Star(Some(Box::new(value)))
                } else {
                    Node::Field(Box::new(value), self.name("a field name")?)
                }
            } else if self.symbol("[") {
                let index = self.expr()?;
                self.expect("]")?;
                Node::Index(Box::new(value), Box::new(index))
            } else if self.symbol("::") {
                let (to, to_span) = self.type_text()?;
                Node::Cast { value: Box::new(value), to, to_span, attempt: false }
            } else {
                return Ok(value);
            };
            value = Ast::new(node, start.to(self.previous()));
        }
    }

    fn primary(&mut self) -> Planned<Ast> {
        let span = self.span();
        let node = match self.token().clone() {
            Token::Number { digits, suffix } => {
                self.advance();
                Node::Literal(literal::number(&digits, &suffix, false, span)?)
            }
            Token::Text(mut text) => {
                self.advance();
                while let Token::Text(more) = self.token() {
                    text.push_str(more);
                    self.at += 1;
                }
                Node::Literal(ScalarValue::Utf8(Some(text)))
            }
            Token::Hex(digits) => {
                self.advance();
                Node::Literal(literal::hex(&digits, span)?)
            }
            Token::Symbol("(") => return self.parenthesis(),
            Token::Symbol("*") => {
                self.advance();
                Node::Star(None)
            }
            Token::Word { text, quoted: true } => {
                self.advance();
                Node::Name(text)
            }
            Token::Word { text, quoted: false } => self.word_primary(text)?,
            _ => return Err(self.unexpected("an expression")),
        };
        Ok(Ast::new(node, span.to(self.previous())))
    }

    fn parenthesis(&mut self) -> Planned<Ast> {
        let span = self.span();
        if self.is_lambda() {
            return Err(lambda(span));
        }
        self.expect("(")?;
        let inner = self.expr()?;
        if self.symbol(",") {
            let mut args = vec![inner];
            args.extend(self.list(")")?);
            return Ok(Ast { node: Node::Call { name: "struct".into(), args }, span: span.to(self.previous()) });
        }
        self.expect(")")?;
        Ok(Ast { span: span.to(self.previous()), ..inner })
    }

    /// Whether `(x, y) ->` stands here.
    fn is_lambda(&self) -> bool {
        let mut at = self.at + 1;
        while matches!(self.token_at(at), Token::Word { .. }) && self.is_symbol_at(at + 1, ",") {
            at += 2;
        }
        matches!(self.token_at(at), Token::Word { .. })
            && self.is_symbol_at(at + 1, ")")
            && self.is_symbol_at(at + 2, "->")
    }

    fn word_primary(&mut self, text: String) -> Planned<Node> {
        let lower = text.to_ascii_lowercase();
        let next = self.at + 1;
        match (lower.as_str(), self.token_at(next)) {
            ("null", next) if *next != Token::Symbol(".") => {
                self.advance();
                return Ok(Node::Literal(ScalarValue::Null));
            }
            ("true" | "false", next) if *next != Token::Symbol(".") => {
                self.advance();
                return Ok(Node::Literal(ScalarValue::Boolean(Some(lower == "true"))));
            }
            ("case", _) => return self.case(),
            ("cast" | "try_cast", Token::Symbol("(")) => return self.cast(lower == "try_cast"),
            ("date" | "timestamp" | "timestamp_ntz" | "timestamp_ltz", Token::Text(value)) => {
                let value = value.clone();
                let span = self.span().to(self.tokens.get(next).map_or(self.span(), |t| t.span));
                self.at += 2;
                return literal::typed(&lower, &value, span).map(Node::Literal);
            }
            ("interval", Token::Number { .. } | Token::Text(_) | Token::Symbol("-" | "+")) => {
                if let Some(value) = self.interval()? {
                    return Ok(Node::Literal(value));
                }
            }
            ("extract", Token::Symbol("(")) if self.is_word_at(next + 2, "from") => return self.extract(),
            ("trim" | "substring" | "substr" | "position" | "overlay", Token::Symbol("(")) => {
                if let Some(node) = self.keyword_call(&lower)? {
                    return Ok(node);
                }
            }
            ("current_timestamp" | "current_date" | "now", following) if *following != Token::Symbol("(") => {
                self.advance();
                // A column of that name wins; the planner decides.
                return Ok(Node::Name(text));
            }
            _ => {}
        }
        self.advance();
        if self.symbol("->") {
            return Err(lambda(self.previous()));
        }
        if self.symbol("(") {
            if self.word("distinct") {
                let hint = "aggregates stand in the Aggregate transform";
                return Err(PlanError::new(self.previous(), "DISTINCT is not for expressions of a row").hint(hint));
            }
            return Ok(Node::Call { name: lower, args: self.list(")")? });
        }
        Ok(Node::Name(text))
    }

    fn case(&mut self) -> Planned<Node> {
        // A column called `case` is possible in Spark; it can only be told from the keyword by what follows.
        if matches!(self.token_at(self.at + 1), Token::End | Token::Symbol("." | "," | ")" | "=" | "[")) {
            return Ok(Node::Name(self.name("a name")?));
        }
        self.advance();
        let operand = if self.is_word_at(self.at, "when") { None } else { Some(Box::new(self.expr()?)) };
        let mut branches = Vec::new();
        while self.word("when") {
            let when = self.expr()?;
            self.expect_word("then")?;
            branches.push((when, self.expr()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected("WHEN"));
        }
        let otherwise = if self.word("else") { Some(Box::new(self.expr()?)) } else { None };
        self.expect_word("end")?;
        Ok(Node::Case { operand, branches, otherwise })
    }

    fn cast(&mut self, attempt: bool) -> Planned<Node> {
        self.at += 2;
        let value = Box::new(self.expr()?);
        self.expect_word("as")?;
        let (to, to_span) = self.type_text()?;
        self.expect(")")?;
        Ok(Node::Cast { value, to, to_span, attempt })
    }

    /// A type as it is written: a word and what belongs to it in brackets.
    fn type_text(&mut self) -> Planned<(String, Span)> {
        let start = self.span();
        self.name("a type")?;
        let mut depth = 0usize;
        loop {
            match self.token() {
                Token::Symbol("(" | "<") => depth += 1,
                // An empty struct is spelled `struct<>`, which is one symbol.
                Token::Symbol("<>") if depth > 0 || self.is_word_at(self.at.wrapping_sub(1), "struct") => {}
                Token::Symbol(")" | ">") if depth > 0 => depth -= 1,
                Token::Symbol(">>") if depth > 1 => depth -= 2,
                Token::Symbol(">>>") if depth > 2 => depth -= 3,
                Token::End if depth > 0 => return Err(self.unexpected("the rest of the type")),
                _ if depth > 0 => {}
                _ => break,
            }
            self.advance();
        }
        let span = start.to(self.previous());
        Ok((self.text.get(span.start..span.end).unwrap_or_default().to_owned(), span))
    }

    /// `INTERVAL 30 SECONDS`, `INTERVAL '1 day 2 hours'`, `INTERVAL '5' MINUTE`.
    fn interval(&mut self) -> Planned<Option<ScalarValue>> {
        let start = self.at;
        let span = self.span();
        self.advance();
        let mut text = String::new();
        loop {
            let sign = if self.symbol("-") {
                "-"
            } else {
                self.symbol("+");
                ""
            };
            match self.token() {
                Token::Number { digits, .. } => text.push_str(&format!(" {sign}{digits}")),
                Token::Text(value) => text.push_str(&format!(" {sign}{}", value.trim())),
                _ => break,
            }
            self.advance();
            match self.token() {
                Token::Word { text: unit, quoted: false } if literal::is_unit(unit) => {
                    text.push_str(&format!(" {unit}"));
                    self.advance();
                }
                _ => break,
            }
        }
        if self.is_word_at(self.at, "to") {
            let hint = "write it as INTERVAL '1 day 2 hours'";
            return Err(PlanError::new(span, "intervals from one unit TO another are not supported").hint(hint));
        }
        if text.is_empty() {
            self.at = start;
            return Ok(None);
        }
        literal::interval(&text, span.to(self.previous())).map(Some)
    }

    fn extract(&mut self) -> Planned<Node> {
        self.at += 2;
        let span = self.span();
        let field = self.name("a field")?;
        self.expect_word("from")?;
        let value = self.expr()?;
        self.expect(")")?;
        let field = Ast { node: Node::Literal(ScalarValue::Utf8(Some(field))), span };
        Ok(Node::Call { name: "extract".into(), args: vec![field, value] })
    }

    /// `TRIM(BOTH 'x' FROM s)`, `SUBSTRING(s FROM 1 FOR 2)`, `POSITION('a' IN s)`; `None` when it is a plain call.
    fn keyword_call(&mut self, name: &str) -> Planned<Option<Node>> {
        let start = self.at;
        self.at += 2;
        if name == "trim" {
            let side = ["both", "leading", "trailing"].into_iter().find(|side| self.is_word_at(self.at, side));
            self.at += usize::from(side.is_some());
            let function = match side {
                Some("leading") => "ltrim",
                Some("trailing") => "rtrim",
                _ => "trim",
            };
            let first = if self.is_word_at(self.at, "from") { None } else { Some(self.expr()?) };
            if self.word("from") {
                let value = self.expr()?;
                self.expect(")")?;
                // The function's arguments are the characters first, then the text.
                let args = first.into_iter().chain([value]).collect();
                return Ok(Some(Node::Call { name: function.into(), args }));
            }
            self.at = start;
            return Ok(None);
        }
        let Ok(first) = self.binding(PREDICATE) else {
            self.at = start;
            return Ok(None);
        };
        if name == "position" && self.word("in") {
            let second = self.expr()?;
            self.expect(")")?;
            return Ok(Some(Node::Call { name: "locate".into(), args: vec![first, second] }));
        }
        if name.starts_with("substr") && self.word("from") {
            let mut args = vec![first, self.expr()?];
            if self.word("for") {
                args.push(self.expr()?);
            }
            self.expect(")")?;
            return Ok(Some(Node::Call { name: name.into(), args }));
        }
        self.at = start;
        Ok(None)
    }
}

fn lambda(span: Span) -> PlanError {
    PlanError::new(span, "functions with -> are not supported").hint("explode the array and select from its items")
}

fn negate(ast: Ast) -> Ast {
    let span = ast.span;
    Ast { node: Node::Unary(Unary::Not, Box::new(ast)), span }
}

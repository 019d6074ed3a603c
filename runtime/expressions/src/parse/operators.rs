//! Operators and how tightly they bind.

use super::super::ast::{Ast, Binary, Node, PlanError, Planned, Unary};
use super::super::lexer::Token;
use super::super::literal;
use super::{MAX_DEPTH, MAX_HEIGHT, Parser};

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
pub(super) const PREDICATE: u8 = 4;
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

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Planned<Ast> {
        self.binding(0)
    }

    pub(super) fn binding(&mut self, minimum: u8) -> Planned<Ast> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} levels deep");
            return Err(PlanError::new(self.span(), message).hint("split it into several transforms"));
        }
        let mut left = self.prefix()?;
        loop {
            left = match self.infix(left, minimum)? {
                Ok(longer) => checked(longer)?,
                Err(done) => {
                    self.depth -= 1;
                    return Ok(done);
                }
            };
        }
    }

    /// Extends `left` by one operator; hands it back when the next does not bind tightly enough.
    #[allow(clippy::type_complexity)]
    pub(super) fn infix(&mut self, left: Ast, minimum: u8) -> Planned<Result<Ast, Ast>> {
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
        Ok(Ok(Ast::new(Node::Binary(operator, Box::new(left), Box::new(right)), span)))
    }

    pub(super) fn predicate(&mut self, left: Ast, minimum: u8) -> Planned<Result<Ast, Ast>> {
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

    pub(super) fn escape_char(&mut self) -> Planned<char> {
        if let Token::Text(text) = self.token() {
            let mut chars = text.chars();
            if let (Some(c), None) = (chars.next(), chars.next()) {
                self.advance();
                return Ok(c);
            }
        }
        Err(self.unexpected("a string of one character"))
    }

    pub(super) fn is_test(&mut self, left: Ast) -> Planned<Ast> {
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
            let same = Ast::new(Node::Binary(Binary::NullSafeEq, value, right), start.to(self.previous()));
            return Ok(if negated { same } else { negate(same) });
        } else {
            return Err(self.unexpected("NULL, TRUE, FALSE or DISTINCT FROM"));
        };
        let ast = Ast::new(node, start.to(self.previous()));
        Ok(if negated { negate(ast) } else { ast })
    }

    pub(super) fn prefix(&mut self) -> Planned<Ast> {
        let span = self.span();
        let unary = match self.token() {
            Token::Symbol("-") => {
                if let Token::Number { digits, suffix } = self.token_at(self.at + 1).clone() {
                    self.advance();
                    let value = literal::number(&digits, &suffix, true, span.to(self.span()))?;
                    self.advance();
                    return self.postfix(Ast::new(Node::Literal(value), span.to(self.previous())));
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
                Ok(Ast::new(Node::Unary(unary, Box::new(value)), span))
            }
            None => {
                let primary = self.primary()?;
                self.postfix(primary)
            }
        }
    }

    pub(super) fn postfix(&mut self, mut value: Ast) -> Planned<Ast> {
        loop {
            let start = value.span;
            let node = if self.symbol(".") {
                if self.symbol("*") {
                    let star = Node::Star(Some(Box::new(value)));
                    self.star(star, start)?
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
            value = checked(Ast::new(node, start.to(self.previous())))?;
        }
    }
}

fn checked(ast: Ast) -> Planned<Ast> {
    let ast = match ast {
        Ast { node: Node::Binary(op @ (Binary::And | Binary::Or), left, right), span, height }
            if height > MAX_HEIGHT =>
        {
            let mut terms = Vec::new();
            chain(op, *left, &mut terms);
            chain(op, *right, &mut terms);
            balanced(op, terms).unwrap_or(Ast { node: Node::Star(None), span, height })
        }
        ast => ast,
    };
    if ast.height <= MAX_HEIGHT {
        return Ok(ast);
    }
    let message = format!("the expression has more than {MAX_HEIGHT} operations one on the other");
    Err(PlanError::new(ast.span, message).hint("split it into several transforms"))
}

/// The terms of a chain of one operator, in order.
fn chain(op: Binary, ast: Ast, terms: &mut Vec<Ast>) {
    match ast.node {
        Node::Binary(own, left, right) if own == op => {
            chain(op, *left, terms);
            chain(op, *right, terms);
        }
        _ => terms.push(ast),
    }
}

/// A chain of AND or OR as a tree of little height: it means the same, and the terms are evaluated in the same order.
fn balanced(op: Binary, mut terms: Vec<Ast>) -> Option<Ast> {
    if terms.len() < 2 {
        return terms.pop();
    }
    let right = Box::new(balanced(op, terms.split_off(terms.len() / 2))?);
    let left = Box::new(balanced(op, terms)?);
    let span = left.span.to(right.span);
    Some(Ast::new(Node::Binary(op, left, right), span))
}

fn negate(ast: Ast) -> Ast {
    let span = ast.span;
    Ast::new(Node::Unary(Unary::Not, Box::new(ast)), span)
}

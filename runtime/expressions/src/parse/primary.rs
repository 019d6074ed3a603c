//! Literals, names, calls, and the words that mean something special.

use datafusion_common::ScalarValue;

use super::super::ast::{Ast, Node, PlanError, Planned, Sort, Span};
use super::super::lexer::Token;
use super::super::literal;
use super::Parser;
use super::operators::PREDICATE;

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Planned<Ast> {
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
                self.star(Node::Star(None), span)?
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

    pub(super) fn parenthesis(&mut self) -> Planned<Ast> {
        let span = self.span();
        let lambda = self.is_lambda();
        self.expect("(")?;
        if lambda {
            let mut params = vec![self.name("a name")?];
            while self.symbol(",") {
                params.push(self.name("a name")?);
            }
            self.expect(")")?;
            self.expect("->")?;
            let body = Box::new(self.expr()?);
            return Ok(Ast::new(Node::Lambda { params, body }, span.to(self.previous())));
        }
        let inner = self.expr()?;
        if self.symbol(",") {
            let mut args = vec![inner];
            args.extend(self.list(")")?);
            return Ok(Ast::new(Node::Call { name: "struct".into(), args }, span.to(self.previous())));
        }
        self.expect(")")?;
        Ok(Ast { span: span.to(self.previous()), ..inner })
    }

    /// A star, or what it leaves out: `* EXCEPT (a, b)`.
    pub(super) fn star(&mut self, star: Node, span: Span) -> Planned<Node> {
        if !self.is_word_at(self.at, "except") || !self.is_symbol_at(self.at + 1, "(") {
            return Ok(star);
        }
        self.at += 2;
        let mut names = vec![self.name("a column")?];
        while self.symbol(",") {
            names.push(self.name("a column")?);
        }
        self.expect(")")?;
        Ok(Node::Except(Box::new(Ast::new(star, span)), names))
    }

    /// Whether `(x, y) ->` stands here.
    pub(super) fn is_lambda(&self) -> bool {
        let mut at = self.at + 1;
        while matches!(self.token_at(at), Token::Word { .. }) && self.is_symbol_at(at + 1, ",") {
            at += 2;
        }
        matches!(self.token_at(at), Token::Word { .. })
            && self.is_symbol_at(at + 1, ")")
            && self.is_symbol_at(at + 2, "->")
    }

    pub(super) fn word_primary(&mut self, text: String) -> Planned<Node> {
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
            return Ok(Node::Lambda { params: vec![text], body: Box::new(self.expr()?) });
        }
        if self.symbol("(") {
            let start = self.previous();
            let distinct = self.word("distinct");
            let mut args = self.list(")")?;
            // Whether nulls are left out is the second argument, too.
            let ignores = self.is_word_at(self.at, "ignore");
            if (ignores || self.is_word_at(self.at, "respect")) && self.is_word_at(self.at + 1, "nulls") {
                let flag = Node::Literal(ScalarValue::Boolean(Some(ignores)));
                args.push(Ast::new(flag, self.span()));
                self.at += 2;
            }
            let call = plain(lower, args);
            let span = start.to(self.previous());
            let order = self.within_group()?;
            let filter = if self.is_word_at(self.at, "filter") && self.is_symbol_at(self.at + 1, "(") {
                self.at += 2;
                self.expect_word("where")?;
                let condition = self.expr()?;
                self.expect(")")?;
                Some(Box::new(condition))
            } else {
                None
            };
            if distinct || filter.is_some() || !order.is_empty() {
                return Ok(Node::Modified { call: Box::new(Ast::new(call, span)), distinct, order, filter });
            }
            return Ok(call);
        }
        Ok(Node::Name(text))
    }

    /// `WITHIN GROUP (ORDER BY a DESC NULLS LAST, b)`, if it stands here.
    fn within_group(&mut self) -> Planned<Vec<(Ast, Sort)>> {
        let mut order = Vec::new();
        if !self.is_word_at(self.at, "within") || !self.is_word_at(self.at + 1, "group") {
            return Ok(order);
        }
        self.at += 2;
        self.expect("(")?;
        self.expect_word("order")?;
        self.expect_word("by")?;
        loop {
            let ast = self.expr()?;
            order.push((ast, self.direction()?));
            if !self.symbol(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(order)
    }

    pub(super) fn case(&mut self) -> Planned<Node> {
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

    pub(super) fn cast(&mut self, attempt: bool) -> Planned<Node> {
        self.at += 2;
        let value = Box::new(self.expr()?);
        self.expect_word("as")?;
        let (to, to_span) = self.type_text()?;
        self.expect(")")?;
        Ok(Node::Cast { value, to, to_span, attempt })
    }

    /// A type as it is written: a word and what belongs to it in brackets.
    pub(super) fn type_text(&mut self) -> Planned<(String, Span)> {
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
    pub(super) fn interval(&mut self) -> Planned<Option<ScalarValue>> {
        let start = self.at;
        let span = self.span();
        self.advance();
        let mut text = String::new();
        loop {
            let signed = self.is_symbol_at(self.at, "-") || self.is_symbol_at(self.at, "+");
            let amount = self.at + usize::from(signed);
            let value = match self.token_at(amount) {
                Token::Number { digits, .. } => digits.clone(),
                Token::Text(value) => value.trim().to_owned(),
                _ => break,
            };
            let unit = match self.token_at(amount + 1) {
                Token::Word { text: unit, quoted: false } if literal::is_unit(unit) => Some(unit.clone()),
                _ => None,
            };
            // `INTERVAL 1 DAY + 2` is a sum, `INTERVAL 1 DAY 2 HOURS` is one interval.
            if unit.is_none() && !text.is_empty() {
                break;
            }
            let sign = if self.is_symbol_at(self.at, "-") { "-" } else { "" };
            text.push_str(&format!(" {sign}{value} {}", unit.as_deref().unwrap_or_default()));
            self.at = amount + 1 + usize::from(unit.is_some());
            if unit.is_none() {
                break;
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

    pub(super) fn extract(&mut self) -> Planned<Node> {
        self.at += 2;
        let span = self.span();
        let field = self.name("a field")?;
        self.expect_word("from")?;
        let value = self.expr()?;
        self.expect(")")?;
        let field = Ast::new(Node::Literal(ScalarValue::Utf8(Some(field))), span);
        Ok(Node::Call { name: "extract".into(), args: vec![field, value] })
    }

    /// `TRIM(BOTH 'x' FROM s)`, `SUBSTRING(s FROM 1 FOR 2)`, `POSITION('a' IN s)`; `None` when it is a plain call.
    pub(super) fn keyword_call(&mut self, name: &str) -> Planned<Option<Node>> {
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
        if name == "overlay" && self.word("placing") {
            let with = self.expr()?;
            self.expect_word("from")?;
            let mut args = vec![first, with, self.expr()?];
            if self.word("for") {
                args.push(self.expr()?);
            }
            self.expect(")")?;
            return Ok(Some(Node::Call { name: name.into(), args }));
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

/// Names of other databases for what Spark has.
fn plain(name: String, mut args: Vec<Ast>) -> Node {
    if name == "string_to_array"
        && let [_, Ast { node: Node::Literal(ScalarValue::Utf8(Some(separator))), .. }] = args.as_mut_slice()
    {
        // Spark's split takes a regular expression.
        let escape = |c: char| if c.is_alphanumeric() || c == ' ' { c.to_string() } else { format!("\\{c}") };
        *separator = separator.chars().map(escape).collect();
        return Node::Call { name: "split".into(), args };
    }
    Node::Call { name, args }
}

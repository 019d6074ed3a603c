//! ORDER BY and LIMIT.

use std::ops::Range;

use datafusion_common::ScalarValue;

use super::super::ast::{Ast, Node, PlanError, Planned, Sort};
use super::super::lexer::{Spanned, Token};
use super::Parser;
use super::statement::has_aggregate;

/// What rows are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderKey {
    /// The column in this place, from 0. Where a star is selected, there may be none.
    Place(usize),
    /// The item of this name.
    Item(String),
    /// Something that may not be among the items.
    Expression(String),
}

/// A key of ORDER BY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    /// What is sorted by.
    pub key: OrderKey,
    /// Whether the largest value comes first.
    pub descending: bool,
    /// Whether null comes before all values.
    pub nulls_first: bool,
}

impl Parser<'_> {
    /// `DESC NULLS LAST` and the like, all of which may be missing.
    pub(super) fn direction(&mut self) -> Planned<Sort> {
        let descending = self.word("desc");
        if !descending {
            self.word("asc");
        }
        let mut nulls_first = None;
        if self.word("nulls") {
            nulls_first = Some(self.word("first"));
            if nulls_first == Some(false) {
                self.expect_word("last")?;
            }
        }
        Ok(Sort { descending, nulls_first })
    }

    /// What stands after ORDER BY. `items` are what is selected, `meanings` what their names stand for.
    pub(super) fn order_by(
        &mut self,
        items: &[(String, Ast, Vec<String>)],
        meanings: &[(String, String)],
    ) -> Planned<Vec<OrderBy>> {
        let mut order = Vec::new();
        loop {
            let first = self.at;
            let (text, ast) = self.text_of_expr()?;
            let last = self.at;
            let Sort { descending, nulls_first } = self.direction()?;
            let named = |name: &str| {
                items.iter().any(|(_, _, aliases)| aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name)))
            };
            let key = match &ast.node {
                Node::Literal(ScalarValue::Int32(Some(place))) => {
                    let place = usize::try_from(*place).ok().and_then(|place| place.checked_sub(1));
                    // How many columns a star is, is not known here.
                    let star = |(_, ast, _): &(String, Ast, Vec<String>)| matches!(ast.node, Node::Star(_));
                    let known = |place: &usize| *place < items.len() || items.iter().any(star);
                    let Some(place) = place.filter(known) else {
                        let message = format!(
                            "[ORDER_BY_POS_OUT_OF_RANGE] there is no item {text}: the select list has {}",
                            items.len()
                        );
                        return Err(PlanError::new(ast.span, message).hint("write its name"));
                    };
                    OrderKey::Place(place)
                }
                Node::Name(name) if named(name) => OrderKey::Item(name.clone()),
                // Within an aggregate, names are the input's.
                _ if has_aggregate(&ast) => OrderKey::Expression(text),
                _ => OrderKey::Expression(self.spelt_out(first..last, text, meanings)),
            };
            order.push(OrderBy { key, descending, nulls_first: nulls_first.unwrap_or(!descending) });
            if !self.symbol(",") {
                return Ok(order);
            }
        }
    }

    /// The expression of some tokens, with what is selected in the places of the names that it was given.
    fn spelt_out(&self, tokens: Range<usize>, mut text: String, meanings: &[(String, String)]) -> String {
        let Some(start) = self.tokens.get(tokens.start).map(|token| token.span.start) else { return text };
        for at in tokens.rev() {
            let Some(Spanned { token: Token::Word { text: word, .. }, span }) = self.tokens.get(at) else { continue };
            let is_part = self.is_symbol_at(at + 1, "(")
                || self.is_symbol_at(at + 1, ".")
                || at.checked_sub(1).is_some_and(|before| self.is_symbol_at(before, "."));
            let meaning = meanings.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).filter(|_| !is_part);
            if let (Some((_, meaning)), Some(from), Some(to)) =
                (meaning, span.start.checked_sub(start), span.end.checked_sub(start))
                && text.get(from..to).is_some()
            {
                text.replace_range(from..to, &format!("({meaning})"));
            }
        }
        text
    }

    /// What stands after LIMIT; `None`: ALL.
    pub(super) fn limit(&mut self) -> Planned<Option<usize>> {
        if self.word("all") {
            return Ok(None);
        }
        let (text, ast) = self.text_of_expr()?;
        let number = match &ast.node {
            Node::Literal(ScalarValue::Int32(Some(number))) => usize::try_from(*number).ok(),
            _ => None,
        };
        let wrong = || {
            PlanError::new(ast.span, format!("[INVALID_LIMIT_LIKE_EXPRESSION] LIMIT takes a number, not {text}"))
                .hint("write it out, such as LIMIT 10")
        };
        number.map(Some).ok_or_else(wrong)
    }
}

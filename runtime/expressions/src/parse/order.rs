//! ORDER BY and LIMIT.

use datafusion_common::ScalarValue;

use super::super::ast::{Ast, Node, PlanError, Planned, Sort};
use super::Parser;

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

    /// What stands after ORDER BY. `items` are what is selected.
    pub(super) fn order_by(&mut self, items: &[(String, Ast, Vec<String>)]) -> Planned<Vec<OrderBy>> {
        let mut order = Vec::new();
        loop {
            let (text, ast) = self.text_of_expr()?;
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
                _ => OrderKey::Expression(text),
            };
            order.push(OrderBy { key, descending, nulls_first: nulls_first.unwrap_or(!descending) });
            if !self.symbol(",") {
                return Ok(order);
            }
        }
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

//! What operators and conditions are compiled to.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, case, in_list, is_not_null, is_null, like, lit};

use super::ast::{Ast, Binary, PlanError, Planned, Span};
use super::call::Lazy;
use super::coerce::{Purpose, argument, unify};
use super::planner::{Planner, parse_type};
use super::typed::Typed;
use crate::functions::{cast, compare, types};

impl Planner<'_> {
    pub(super) fn cast(&self, value: &Ast, to: (&str, Span), attempt: bool, span: Span) -> Planned<Typed> {
        let value = self.plan(value)?;
        let to = parse_type(to.0, to.1)?;
        let function = if attempt { "TRY_CAST" } else { "CAST" };
        let name = format!("{function}({} AS {})", value.name, types::sql_name(&to));
        Ok(cast::explicit(value, &to, self.ansi, attempt, span)?.named(name))
    }

    pub(super) fn logic(&self, op: Binary, left: &Ast, right: &Ast, span: Span) -> Planned<Typed> {
        Ok(logic(op == Binary::And, self.condition(left)?, self.condition(right)?, span))
    }

    pub(super) fn absent(&self, value: &Ast, span: Span) -> Planned<Typed> {
        let value = self.plan(value)?;
        let name = format!("({} IS NULL)", value.name);
        let expr = is_null(Arc::clone(&value.expr)).map_err(|error| internal(&error, span))?;
        Ok(Typed::node(expr, &[value], DataType::Boolean, name, span))
    }

    /// `value IS NOT NULL`.
    pub(crate) fn present(&self, value: Typed) -> Planned<Typed> {
        let span = value.span;
        let name = format!("({} IS NOT NULL)", value.name);
        let expr = is_not_null(Arc::clone(&value.expr)).map_err(|error| internal(&error, span))?;
        Ok(Typed::node(expr, &[value], DataType::Boolean, name, span))
    }

    /// `value IS TRUE`: never null.
    pub(super) fn is_truth(&self, value: &Ast, truth: bool, span: Span) -> Planned<Typed> {
        let value = self.condition(value)?;
        let name = format!("({} <=> {truth})", value.name);
        let truth = Typed::literal(ScalarValue::Boolean(Some(truth)), String::new(), span);
        Ok(compare::node(Operator::IsNotDistinctFrom, value, truth, span)?.named(name))
    }

    pub(super) fn between(&self, value: &Ast, low: &Ast, high: &Ast, span: Span) -> Planned<Typed> {
        let (value, low, high) = (self.plan(value)?, self.plan(low)?, self.plan(high)?);
        let name = format!("between({}, {}, {})", value.name, low.name, high.name);
        let from = self.binary(Binary::GreaterEq, value.clone(), low, span)?;
        let to = self.binary(Binary::LessEq, value, high, span)?;
        Ok(logic(true, from, to, span).named(name))
    }

    pub(super) fn in_list(&self, value: &Ast, list: &[Ast], span: Span) -> Planned<Typed> {
        let mut values = vec![self.plan(value)?];
        for item in list {
            values.push(self.plan(item)?);
        }
        let names: Vec<_> = values.iter().map(|value| value.name.clone()).collect();
        let (values, ty) = unify(values, self.ansi, Purpose::Unify, span)?;
        let name = match names.split_first() {
            Some((value, list)) => format!("({value} IN ({}))", list.join(", ")),
            None => String::new(),
        };
        let Some((value, list)) = values.split_first() else { return Err(PlanError::new(span, "IN needs values")) };
        // Sets compare floats by their bits and cannot hold nested values; Spark does not and can.
        let simple = !ty.is_floating() && !ty.is_nested() && ty != DataType::Null;
        if simple && list.iter().all(|item| item.literal.is_some()) {
            let exprs = list.iter().map(|item| Arc::clone(&item.expr)).collect();
            let expr =
                in_list(Arc::clone(&value.expr), exprs, &false, self.schema).map_err(|error| internal(&error, span))?;
            return Ok(Typed::node(expr, &values, DataType::Boolean, name, span));
        }
        let mut any: Option<Typed> = None;
        for item in list {
            let equal = self.binary(Binary::Eq, value.clone(), item.clone(), span)?;
            any = Some(match any {
                Some(any) => logic(false, any, equal, span),
                None => equal,
            });
        }
        any.map(|any| any.named(name)).ok_or_else(|| PlanError::new(span, "IN needs values"))
    }

    pub(super) fn like(
        &self,
        value: &Ast,
        pattern: &Ast,
        escape: Option<char>,
        fold_case: bool,
        span: Span,
    ) -> Planned<Typed> {
        let value = argument(self.plan(value)?, &DataType::Utf8, self.ansi, "LIKE")?;
        let pattern = argument(self.plan(pattern)?, &DataType::Utf8, self.ansi, "LIKE")?;
        let mut name = match fold_case {
            true => format!("ilike({}, {})", value.name, pattern.name),
            false => format!("{} LIKE {}", value.name, pattern.name),
        };
        if let Some(escape) = escape {
            name.push_str(&format!(" ESCAPE '{escape}'"));
        }
        let pattern = match escape.filter(|c| *c != '\\') {
            None => pattern,
            Some(escape) => match pattern.literal_text() {
                Some(text) => {
                    let text = backslash_escaped(text, escape);
                    Typed::literal(ScalarValue::Utf8(Some(text)), pattern.name.clone(), pattern.span)
                }
                None => {
                    return Err(PlanError::new(span, "ESCAPE is supported for constant patterns only"));
                }
            },
        };
        let expr = like(false, fold_case, Arc::clone(&value.expr), Arc::clone(&pattern.expr), self.schema)
            .map_err(|error| internal(&error, span))?;
        Ok(Typed::node(expr, &[value, pattern], DataType::Boolean, name, span))
    }

    pub(super) fn case(
        &self,
        operand: Option<&Ast>,
        branches: &[(Ast, Ast)],
        otherwise: Option<&Ast>,
        span: Span,
    ) -> Planned<Typed> {
        let operand = operand.map(|operand| self.plan(operand)).transpose()?;
        let mut conditions = Vec::with_capacity(branches.len());
        let mut values = Vec::with_capacity(branches.len() + 1);
        let mut name = String::from("CASE");
        for (when, then) in branches {
            let condition = match &operand {
                Some(operand) => {
                    let when = self.plan(when)?;
                    self.binary(Binary::Eq, operand.clone(), when, span)?
                }
                None => self.condition(when)?,
            };
            let then = self.plan(then)?;
            name.push_str(&format!(" WHEN {} THEN {}", condition.name, then.name));
            conditions.push(condition);
            values.push(then);
        }
        if let Some(otherwise) = otherwise {
            let otherwise = self.plan(otherwise)?;
            name.push_str(&format!(" ELSE {}", otherwise.name));
            values.push(otherwise);
        }
        name.push_str(" END");
        Ok(choose(conditions, values, self.ansi, span)?.named(name))
    }
}

/// The first value whose condition holds; one value more than conditions is what holds otherwise.
pub(crate) fn choose(conditions: Vec<Typed>, values: Vec<Typed>, ansi: bool, span: Span) -> Planned<Typed> {
    let (values, ty) = unify(values, ansi, Purpose::Unify, span)?;
    if ty == DataType::Null {
        return Ok(Typed::literal(ScalarValue::Null, "NULL".into(), span));
    }
    let when_then: Vec<_> =
        conditions.iter().zip(&values).map(|(when, then)| (Arc::clone(&when.expr), Arc::clone(&then.expr))).collect();
    let otherwise = match values.get(conditions.len()) {
        Some(otherwise) => Some(Arc::clone(&otherwise.expr)),
        None => {
            let null = ScalarValue::try_from(&ty).map_err(|error| internal(&error, span))?;
            Some(lit(null))
        }
    };
    let expr = case(None, when_then, otherwise).map_err(|error| internal(&error, span))?;
    let all: Vec<_> = conditions.into_iter().chain(values).collect();
    Ok(Typed::node(expr, &all, ty, "CASE".into(), span))
}

/// `left AND right` or `left OR right`.
pub(super) fn logic(and: bool, left: Typed, right: Typed, span: Span) -> Typed {
    let op = if and { Operator::And } else { Operator::Or };
    let name = format!("({} {op} {})", left.name, right.name);
    let (l, r) = (Arc::clone(&left.expr), Arc::clone(&right.expr));
    let expr: Arc<dyn PhysicalExpr> =
        if right.fallible { Arc::new(Lazy::new(l, r, and)) } else { Arc::new(BinaryExpr::new(l, op, r)) };
    Typed::node(expr, &[left, right], DataType::Boolean, name, span)
}

/// Whether a value is there.
pub(crate) fn present(value: &Typed, span: Span) -> Planned<Typed> {
    let expr = is_not_null(Arc::clone(&value.expr)).map_err(|error| internal(&error, span))?;
    let name = format!("({} IS NOT NULL)", value.name);
    Ok(Typed::node(expr, std::slice::from_ref(value), DataType::Boolean, name, span))
}

/// DataFusion refused what the planner has checked.
pub(crate) fn internal(error: &datafusion_common::DataFusionError, span: Span) -> PlanError {
    PlanError::new(span, error.strip_backtrace())
}

/// A LIKE pattern with `escape` as its escape character, rewritten for a backslash.
fn backslash_escaped(pattern: &str, escape: char) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == escape {
            out.push('\\');
            out.extend(chars.next());
        } else if c == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(c);
        }
    }
    out
}

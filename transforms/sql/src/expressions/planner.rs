//! Syntax trees to physical expressions, with Spark's types at every node.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, case, in_list, is_not_null, is_null, like, lit, not};

use super::ast::{Ast, Binary, Node, PlanError, Planned, Span, Unary};
use super::call::Lazy;
use super::coerce::{Purpose, argument, unify};
use super::resolve::find;
use super::typed::Typed;
use crate::functions::{self, arithmetic, cast, compare, field, types};

/// Compiles expressions over one schema.
pub(crate) struct Planner<'a> {
    pub(crate) schema: &'a SchemaRef,
    pub(crate) ansi: bool,
}

impl Planner<'_> {
    pub(crate) fn plan(&self, ast: &Ast) -> Planned<Typed> {
        let span = ast.span;
        match &ast.node {
            Node::Literal(value) => Ok(Typed::literal(value.clone(), literal_name(value), span)),
            Node::Name(name) => self.column(name, span),
            Node::Field(base, name) => field::get(self.plan(base)?, name, span),
            Node::Index(base, index) => {
                let (base, index) = (self.plan(base)?, self.plan(index)?);
                field::index(base, index, self.ansi, span)
            }
            Node::Star(_) => {
                let hint = "* stands alone in a select list";
                Err(PlanError::new(span, "* is no value").hint(hint))
            }
            Node::Call { name, args } => self.call(name, args, span),
            Node::Unary(Unary::Not, value) if matches!(value.node, Node::IsNull(_)) => {
                let Node::IsNull(value) = &value.node else { return self.plan(value) };
                present(&self.plan(value)?, span)
            }
            Node::Unary(unary, value) => self.unary(*unary, value, span),
            Node::Binary(op @ (Binary::And | Binary::Or), left, right) => {
                let (left, right) = (self.condition(left)?, self.condition(right)?);
                Ok(logic(*op == Binary::And, left, right, span))
            }
            Node::Binary(op, left, right) => {
                let (left, right) = (self.plan(left)?, self.plan(right)?);
                self.binary(*op, left, right, span)
            }
            Node::Cast { value, to, to_span, attempt } => {
                let value = self.plan(value)?;
                let to = parse_type(to, *to_span)?;
                let name = if value.expr.downcast_ref::<Column>().is_some() {
                    value.name.clone()
                } else {
                    let function = if *attempt { "TRY_CAST" } else { "CAST" };
                    format!("{function}({} AS {})", value.name, types::sql_name(&to))
                };
                Ok(cast::explicit(value, &to, self.ansi, *attempt, span)?.named(name))
            }
            Node::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), span)
            }
            Node::Between { value, low, high } => {
                let (value, low, high) = (self.plan(value)?, self.plan(low)?, self.plan(high)?);
                let name = format!("between({}, {}, {})", value.name, low.name, high.name);
                let from = self.binary(Binary::GreaterEq, value.clone(), low, span)?;
                let to = self.binary(Binary::LessEq, value, high, span)?;
                Ok(logic(true, from, to, span).named(name))
            }
            Node::In { value, list } => {
                let mut values = vec![self.plan(value)?];
                for item in list {
                    values.push(self.plan(item)?);
                }
                self.in_list(values, span)
            }
            Node::Like { value, pattern, escape, fold_case } => {
                let value = argument(self.plan(value)?, &DataType::Utf8, self.ansi, "LIKE")?;
                let pattern = argument(self.plan(pattern)?, &DataType::Utf8, self.ansi, "LIKE")?;
                self.like(value, pattern, *escape, *fold_case, span)
            }
            Node::IsNull(value) => {
                let value = self.plan(value)?;
                let name = format!("({} IS NULL)", value.name);
                let expr = is_null(Arc::clone(&value.expr)).map_err(|error| internal(&error, span))?;
                Ok(Typed::node(expr, &[value], DataType::Boolean, name, span))
            }
            Node::IsTruth(value, truth) => {
                let value = self.condition(value)?;
                let name = format!("({} <=> {truth})", value.name);
                let truth = Typed::literal(ScalarValue::Boolean(Some(*truth)), String::new(), span);
                Ok(compare::node(Operator::IsNotDistinctFrom, value, truth, span)?.named(name))
            }
            Node::Named(value, name) => {
                let value = self.plan(value)?;
                Ok(Typed { source: Some(value.name.clone()), aliased: true, name: name.clone(), ..value })
            }
        }
    }

    /// A value that decides: a boolean, or under ANSI text that reads as one.
    pub(crate) fn condition(&self, ast: &Ast) -> Planned<Typed> {
        let value = self.plan(ast)?;
        match value.ty {
            DataType::Boolean => Ok(value),
            DataType::Null | DataType::Utf8 => argument(value, &DataType::Boolean, self.ansi, "a condition"),
            _ => {
                let message =
                    format!("[DATATYPE_MISMATCH] a condition is needed here, not {}", types::sql_name(&value.ty));
                Err(PlanError::new(value.span, message).hint("compare it with something"))
            }
        }
    }

    fn column(&self, name: &str, span: Span) -> Planned<Typed> {
        match find(self.schema.fields(), name, "column", "", span) {
            Ok(index) => {
                let field = self.schema.field(index);
                // Spark calls the output as the user wrote it.
                Ok(Typed::column(field.name(), index, field.data_type().clone(), span).named(name))
            }
            Err(error) => match functions::without_parentheses(name) {
                Some(function) => functions::plan(self, function, Vec::new(), span),
                None => Err(error),
            },
        }
    }

    fn call(&self, name: &str, args: &[Ast], span: Span) -> Planned<Typed> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            match &arg.node {
                Node::Star(None) => {
                    for (index, field) in self.schema.fields().iter().enumerate() {
                        values.push(Typed::column(field.name(), index, field.data_type().clone(), arg.span));
                    }
                }
                _ => values.push(self.plan(arg)?),
            }
        }
        functions::plan(self, name, values, span)
    }

    fn unary(&self, unary: Unary, value: &Ast, span: Span) -> Planned<Typed> {
        match unary {
            Unary::Not => {
                let value = self.condition(value)?;
                let name = format!("(NOT {})", value.name);
                let expr = not(Arc::clone(&value.expr)).map_err(|error| internal(&error, span))?;
                Ok(Typed::node(expr, &[value], DataType::Boolean, name, span))
            }
            Unary::Minus => arithmetic::negate(self.plan(value)?, self.ansi, span),
            Unary::Plus => {
                let value = self.plan(value)?;
                let name = format!("(+ {})", value.name);
                Ok(arithmetic::number(value, self.ansi, span)?.named(name))
            }
            Unary::BitNot => arithmetic::bit_not(self.plan(value)?, self.ansi, span),
        }
    }

    pub(crate) fn binary(&self, op: Binary, left: Typed, right: Typed, span: Span) -> Planned<Typed> {
        let name = match (op, &left.ty, &right.ty) {
            (Binary::NotEq, _, _) => format!("(NOT ({} = {}))", left.name, right.name),
            (Binary::Add, DataType::Date32, by) if by.is_integer() => {
                format!("date_add({}, {})", left.name, right.name)
            }
            (Binary::Subtract, DataType::Date32, by) if by.is_integer() => {
                format!("date_sub({}, {})", left.name, right.name)
            }
            _ => format!("({} {} {})", left.name, op.symbol(), right.name),
        };
        let typed = match op {
            Binary::And => Ok(logic(true, left, right, span)),
            Binary::Or => Ok(logic(false, left, right, span)),
            Binary::Eq
            | Binary::NotEq
            | Binary::Less
            | Binary::LessEq
            | Binary::Greater
            | Binary::GreaterEq
            | Binary::NullSafeEq => compare::plan(op, left, right, self.ansi, span),
            Binary::Concat => {
                let name = format!("concat({}, {})", left.name, right.name);
                return Ok(functions::plan(self, "concat", vec![left, right], span)?.named(name));
            }
            _ => arithmetic::plan(op, left, right, self.ansi, span),
        };
        Ok(typed?.named(name))
    }

    fn in_list(&self, values: Vec<Typed>, span: Span) -> Planned<Typed> {
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

    fn like(&self, value: Typed, pattern: Typed, escape: Option<char>, fold_case: bool, span: Span) -> Planned<Typed> {
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

    fn case(
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
fn logic(and: bool, left: Typed, right: Typed, span: Span) -> Typed {
    let op = if and { Operator::And } else { Operator::Or };
    let name = format!("({} {op} {})", left.name, right.name);
    let (l, r) = (Arc::clone(&left.expr), Arc::clone(&right.expr));
    let expr: Arc<dyn PhysicalExpr> = if right.fallible {
        Arc::new(Lazy::new(l, r, and))
    } else {
        Arc::new(datafusion_physical_expr::expressions::BinaryExpr::new(l, op, r))
    };
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

/// A type in Spark's SQL.
pub(crate) fn parse_type(text: &str, span: Span) -> Planned<DataType> {
    levada_formats::ddl::parse_type(text).map_err(|error| {
        let error_text = error.message().to_owned();
        let planned = PlanError::new(span, error_text);
        match error.remedy() {
            Some(remedy) => planned.hint(remedy),
            None => planned,
        }
    })
}

/// A constant as Spark names it.
fn literal_name(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Utf8(Some(text)) => text.clone(),
        ScalarValue::Null => "NULL".into(),
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::Binary(Some(bytes)) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("X'{digits}'")
        }
        ScalarValue::Decimal128(Some(value), _, scale) => cast::java_decimal(*value, *scale),
        value => value
            .to_array()
            .ok()
            .and_then(|array| cast::display(&array, 0).ok())
            .map(|text| match value {
                ScalarValue::Date32(_) => format!("DATE '{text}'"),
                ScalarValue::TimestampMicrosecond(_, Some(_)) => format!("TIMESTAMP '{text}'"),
                ScalarValue::TimestampMicrosecond(_, None) => format!("TIMESTAMP_NTZ '{text}'"),
                _ => text,
            })
            .unwrap_or_else(|| value.to_string()),
    }
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

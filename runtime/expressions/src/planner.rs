//! Syntax trees to physical expressions, with Spark's types at every node.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::not;

use super::ast::{Ast, Binary, Node, PlanError, Planned, Span, Unary};
use super::coerce::argument;
use super::operators::{internal, logic, present};
use super::resolve::find;
use super::typed::Typed;
use crate::functions::{self, arithmetic, cast, compare, field, types};

/// Compiles expressions over one schema.
pub(crate) struct Planner<'a> {
    pub(crate) schema: &'a SchemaRef,
    pub(crate) ansi: bool,
}

impl Planner<'_> {
    // Each kind of node has a function of its own: what they need on the stack adds up in deep trees.
    pub(crate) fn plan(&self, ast: &Ast) -> Planned<Typed> {
        let span = ast.span;
        match &ast.node {
            Node::Literal(value) => constant(value, span),
            Node::Name(name) => self.column(name, span),
            Node::Field(base, name) => self.field(base, name, span),
            Node::Index(base, index) => self.index(base, index, span),
            Node::Star(_) | Node::Except(_, _) => misplaced_star(span),
            Node::Lambda { .. } => {
                Err(PlanError::new(span, "a function with -> stands among the arguments of another only"))
            }
            Node::Call { name, args } => self.call(name, args, span),
            Node::Unary(unary, value) => self.unary(*unary, value, span),
            Node::Binary(op @ (Binary::And | Binary::Or), left, right) => self.logic(*op, left, right, span),
            Node::Binary(op, left, right) => self.operation(*op, left, right, span),
            Node::Cast { value, to, to_span, attempt } => self.cast(value, (to, *to_span), *attempt, span),
            Node::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), span)
            }
            Node::Between { value, low, high } => self.between(value, low, high, span),
            Node::In { value, list } => self.in_list(value, list, span),
            Node::Like { value, pattern, escape, fold_case } => self.like(value, pattern, *escape, *fold_case, span),
            Node::IsNull(value) => self.absent(value, span),
            Node::IsTruth(value, truth) => self.is_truth(value, *truth, span),
            Node::Modified { .. } => Err(PlanError::new(
                span,
                "DISTINCT, WITHIN GROUP and FILTER are for aggregates, not for expressions of a row",
            )
            .hint("aggregates stand in a WindowedAggregate or in an Sql query with GROUP BY")),
            Node::Named(value, name) => self.aliased(value, name),
        }
    }

    fn field(&self, base: &Ast, name: &str, span: Span) -> Planned<Typed> {
        field::get(self.plan(base)?, name, span)
    }

    fn index(&self, base: &Ast, index: &Ast, span: Span) -> Planned<Typed> {
        field::index(self.plan(base)?, self.plan(index)?, self.ansi, span)
    }

    fn operation(&self, op: Binary, left: &Ast, right: &Ast, span: Span) -> Planned<Typed> {
        self.binary(op, self.plan(left)?, self.plan(right)?, span)
    }

    fn aliased(&self, value: &Ast, name: &str) -> Planned<Typed> {
        Ok(self.plan(value)?.aliased(name))
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
        if args.iter().any(|arg| matches!(arg.node, Node::Lambda { .. })) {
            return functions::lambda::apply(self, name, args, span);
        }
        // Before its arguments: a name that is wrong explains why a column may not stand there.
        functions::check_name(name, span)?;
        let mut values = Vec::with_capacity(args.len());
        if let [first, rest @ ..] = args
            && functions::units::takes_unit(name, args)
        {
            let args = rest.iter().map(|arg| self.plan(arg)).collect::<Planned<_>>()?;
            return functions::units::apply(functions::Invocation { planner: self, name, args, span }, first);
        }
        for arg in args {
            match &arg.node {
                Node::Star(None) => {
                    for (index, field) in self.schema.fields().iter().enumerate() {
                        values.push(Typed::column(field.name(), index, field.data_type().clone(), arg.span));
                    }
                }
                Node::Star(Some(base)) => {
                    let base = self.plan(base)?;
                    let DataType::Struct(fields) = base.ty.clone() else {
                        let message = format!("'{}' is no struct, so .* has nothing to expand", base.name);
                        return Err(PlanError::new(arg.span, message).hint("leave out the .*"));
                    };
                    for field in &fields {
                        values.push(field::get(base.clone(), field.name(), arg.span)?.aliased(field.name()));
                    }
                }
                _ => values.push(self.plan(arg)?),
            }
        }
        functions::plan(self, name, values, span)
    }

    fn unary(&self, unary: Unary, value: &Ast, span: Span) -> Planned<Typed> {
        match unary {
            Unary::Not if matches!(value.node, Node::IsNull(_)) => {
                let Node::IsNull(value) = &value.node else { return self.plan(value) };
                present(&self.plan(value)?, span)
            }
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
}

fn constant(value: &ScalarValue, span: Span) -> Planned<Typed> {
    Ok(Typed::literal(value.clone(), literal_name(value), span))
}

fn misplaced_star(span: Span) -> Planned<Typed> {
    Err(PlanError::new(span, "* is no value").hint("* stands alone in a select list"))
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

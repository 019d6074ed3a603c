//! Conditions on rows.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use levada_connector_api::{Error, Result};

use super::ast::{Ast, Binary, Node, Span};
use super::isolate::isolate;
use super::planner::Planner;
use super::{Expression, SqlOptions, parse};

fn conjuncts<'a>(ast: &'a Ast, parts: &mut Vec<&'a Ast>) {
    match &ast.node {
        Node::Binary(Binary::And, left, right) => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        _ => parts.push(ast),
    }
}

/// Whether all columns of an expression have origins, and it is the same whenever it is evaluated. Collects where the
/// columns stand, with their origins.
fn replaceable(ast: &Ast, origin: &dyn Fn(&str) -> Option<String>, places: &mut Vec<(Span, String)>) -> bool {
    const VOLATILE: &[&str] = &["rand", "randn", "random", "uuid", "now", "current_timestamp", "current_date"];
    match &ast.node {
        Node::Name(name) if VOLATILE.iter().any(|known| name.eq_ignore_ascii_case(known)) => false,
        Node::Name(name) => match origin(name) {
            Some(expression) => {
                places.push((ast.span, expression));
                true
            }
            None => false,
        },
        Node::Star(_) | Node::Lambda { .. } => false,
        Node::Call { name, .. } if VOLATILE.contains(&name.as_str()) => false,
        node => node.children().all(|child| replaceable(child, origin, places)),
    }
}

/// A condition that was compiled for a schema.
#[derive(Debug, Clone)]
pub struct Predicate {
    condition: Expression,
}

impl Predicate {
    /// Compiles a condition for batches of the schema `input`.
    ///
    /// # Errors
    /// The text is no condition, or it does not fit the schema. The message quotes it and names the place in it.
    pub fn compile(text: &str, input: &SchemaRef, options: &SqlOptions) -> Result<Self> {
        options.check()?;
        let planner = Planner { schema: input, ansi: options.ansi };
        let typed =
            parse::expression(text).and_then(|ast| planner.condition(&ast)).map_err(|error| error.locate(text))?;
        Ok(Self { condition: Expression::new(text, String::new(), typed) })
    }

    pub(crate) fn of(condition: Expression) -> Self {
        Self { condition }
    }

    pub(crate) fn expression(&self) -> &Expression {
        &self.condition
    }

    /// Splits a condition at its ANDs into the parts that must stay and those that read only columns for which `origin`
    /// knows an expression; these have the expressions in the columns' places. What cannot be understood stays.
    pub fn split_by(text: &str, origin: &dyn Fn(&str) -> Option<String>) -> (Vec<String>, Vec<String>) {
        let Ok(ast) = parse::expression(text) else { return (vec![text.to_owned()], Vec::new()) };
        let mut parts = Vec::new();
        conjuncts(&ast, &mut parts);
        let (mut stay, mut moved) = (Vec::new(), Vec::new());
        for part in parts {
            let mut places = Vec::new();
            let source = text.get(part.span.start..part.span.end).unwrap_or(text);
            // A condition that is moved again and again must not get ever more brackets.
            let inner = source.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            let bracketed = inner.is_some_and(|inner| parse::expression(inner).is_ok());
            let wrapped = |text: &str| if bracketed { text.to_owned() } else { format!("({text})") };
            if !replaceable(part, origin, &mut places) {
                stay.push(wrapped(source));
                continue;
            }
            let mut rewritten = source.to_owned();
            // From the back, so that the places before stay where they are.
            places.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
            for (span, expression) in places {
                let (from, to) = (span.start - part.span.start, span.end - part.span.start);
                if rewritten.get(from..to).is_some() {
                    rewritten.replace_range(from..to, &expression);
                }
            }
            moved.push(wrapped(&rewritten));
        }
        (stay, moved)
    }

    /// Whether an expression reads a column. What cannot be understood does.
    pub fn reads(text: &str, column: &str) -> bool {
        fn named(ast: &Ast, column: &str) -> bool {
            match &ast.node {
                Node::Name(name) => name.eq_ignore_ascii_case(column),
                Node::Star(_) => true,
                node => node.children().any(|child| named(child, column)),
            }
        }
        parse::expression(text).map_or(true, |ast| named(&ast, column))
    }

    /// The numbers of the input columns that are read, in order.
    pub fn columns(&self) -> Vec<usize> {
        self.condition.reads()
    }

    /// Which rows of `batch` meet the condition. Rows for which it is unknown (null) do not.
    ///
    /// # Errors
    /// A row cannot be evaluated, under ANSI.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let values = self.condition.evaluate(batch)?;
        let mask = values.as_boolean_opt().ok_or_else(|| Error::internal("a condition gave no booleans"))?;
        Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
    }

    /// The same, going around the rows that cannot be evaluated: they do not meet the condition, and stand in the
    /// second part with their index and the reason.
    ///
    /// # Errors
    /// Only what is a bug.
    pub fn evaluate_isolating(&self, batch: &RecordBatch) -> Result<(BooleanArray, Vec<(usize, String)>)> {
        if let Ok(mask) = self.evaluate(batch) {
            return Ok((mask, Vec::new()));
        }
        let isolated = isolate(batch, &|part| self.evaluate(part));
        let mut good = isolated.good.into_iter();
        let mut parts: Vec<BooleanArray> = Vec::new();
        let mut row = 0;
        // Bad rows stand between the runs of good ones, in order.
        for (bad, _) in &isolated.bad {
            while row < *bad {
                let Some(part) = good.next() else { return Err(Error::internal("rows were lost while isolating")) };
                row += part.len();
                parts.push(part);
            }
            parts.push(BooleanArray::from(vec![false]));
            row += 1;
        }
        parts.extend(good);
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part as &dyn Array).collect();
        let mask = concat(&parts)?;
        Ok((mask.as_boolean().clone(), isolated.bad))
    }
}

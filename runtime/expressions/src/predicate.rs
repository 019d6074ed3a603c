//! Conditions on rows.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use levada_connector_api::{Error, Result};

use super::ast::{Ast, Binary, Node};
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

/// Whether an expression reads a column, or is not the same whenever it is evaluated.
fn reads(ast: &Ast, column: &str) -> bool {
    const VOLATILE: &[&str] = &["rand", "randn", "random", "uuid", "now", "current_timestamp", "current_date"];
    match &ast.node {
        Node::Name(name) => {
            name.eq_ignore_ascii_case(column) || VOLATILE.iter().any(|known| name.eq_ignore_ascii_case(known))
        }
        Node::Star(_) => true,
        Node::Call { name, .. } if VOLATILE.contains(&name.as_str()) => true,
        node => node.children().any(|child| reads(child, column)),
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

    /// Splits a condition at its ANDs into the parts that read the column `column` and those that do not, each again a
    /// condition. What cannot be understood reads the column.
    pub fn split_by(text: &str, column: &str) -> (Vec<String>, Vec<String>) {
        let Ok(ast) = parse::expression(text) else { return (vec![text.to_owned()], Vec::new()) };
        let mut parts = Vec::new();
        conjuncts(&ast, &mut parts);
        let source = |part: &Ast| format!("({})", text.get(part.span.start..part.span.end).unwrap_or(text));
        let (reading, others): (Vec<&Ast>, Vec<&Ast>) = parts.into_iter().partition(|part| reads(part, column));
        (reading.into_iter().map(source).collect(), others.into_iter().map(source).collect())
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
        let mask = concat(&parts).map_err(|error| Error::internal(error.to_string()))?;
        Ok((mask.as_boolean().clone(), isolated.bad))
    }
}

//! Conditions on rows.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use levada_connector_api::{Error, Result};

use super::isolate::isolate;
use super::planner::Planner;
use super::{Expression, SqlOptions, parse};

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

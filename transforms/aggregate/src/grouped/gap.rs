//! The gap that ends a session.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, DurationMicrosecondType, SchemaRef};
use levada_connector_api::{Error, Result};
use levada_expressions::{Expression, SqlOptions, parse_interval};

/// An interval, or one for each row.
#[derive(Debug)]
pub(super) enum Gap {
    Fixed(i64),
    Computed(Expression),
}

impl Gap {
    pub(super) fn compile(text: &str, input: &SchemaRef, options: &SqlOptions) -> Result<Self> {
        if let Ok(gap) = parse_interval(text) {
            if gap <= 0 {
                return Err(Error::config(format!("a session's gap of '{text}' is not longer than nothing"))
                    .hint("use one such as '5 minutes'"));
            }
            return Ok(Self::Fixed(gap));
        }
        let expression = Expression::compile(text, input, options)?;
        match expression.data_type() {
            DataType::Utf8 | DataType::Duration(_) => Ok(Self::Computed(expression)),
            other => Err(Error::config(format!("the session's gap \"{text}\" is {other}, not an interval"))
                .hint("use an interval such as '5 minutes', or an expression that gives one")),
        }
    }

    /// The gaps of the rows of a batch. A row without one, or with none longer than nothing, has 0: it is in no session.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Vec<i64>> {
        let expression = match self {
            Self::Fixed(gap) => return Ok(vec![*gap; batch.num_rows()]),
            Self::Computed(expression) => expression,
        };
        let values = expression.evaluate(batch)?;
        if let Some(values) = values.as_primitive_opt::<DurationMicrosecondType>() {
            return Ok(values.iter().map(|gap| gap.unwrap_or(0).max(0)).collect());
        }
        let texts = values.as_string_opt::<i32>().ok_or_else(|| Error::internal("a gap is no text"))?;
        let mut known: HashMap<&str, i64> = HashMap::new();
        let mut gaps = Vec::with_capacity(texts.len());
        for text in texts {
            let gap = match text {
                None => 0,
                Some(text) => match known.get(text) {
                    Some(gap) => *gap,
                    None => {
                        let gap = parse_interval(text).map_err(|e| e.context("the session's gap".to_owned()))?.max(0);
                        known.insert(text, gap);
                        gap
                    }
                },
            };
            gaps.push(gap);
        }
        Ok(gaps)
    }
}

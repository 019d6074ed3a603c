//! Finding the rows that an expression fails on.

use arrow::array::RecordBatch;
use levada_connector_api::{Error, Result};

/// What could be evaluated of a batch, and what not.
#[derive(Debug)]
pub struct Isolated<T> {
    /// The results, in order: one for each run of good rows.
    pub good: Vec<T>,
    /// The rows that failed, by their index in the batch, with the reason.
    pub bad: Vec<(usize, String)>,
}

/// Evaluates `batch`; when that fails, halves it until the bad rows stand alone.
pub(crate) fn isolate<T>(batch: &RecordBatch, evaluate: &impl Fn(&RecordBatch) -> Result<T>) -> Isolated<T> {
    let mut isolated = Isolated { good: Vec::new(), bad: Vec::new() };
    halve(batch, 0, evaluate, &mut isolated);
    isolated
}

fn halve<T>(
    batch: &RecordBatch,
    first: usize,
    evaluate: &impl Fn(&RecordBatch) -> Result<T>,
    isolated: &mut Isolated<T>,
) {
    match evaluate(batch) {
        Ok(value) => isolated.good.push(value),
        Err(error) if batch.num_rows() <= 1 => isolated.bad.push((first, describe(&error))),
        Err(_) => {
            let middle = batch.num_rows() / 2;
            halve(&batch.slice(0, middle), first, evaluate, isolated);
            halve(&batch.slice(middle, batch.num_rows() - middle), first + middle, evaluate, isolated);
        }
    }
}

fn describe(error: &Error) -> String {
    error.to_string()
}

//! The scorer: columns in, scores out, a block of rows at a time.
//!
//! A block's features lie beside each other, tree after tree walks over them, and within a tree several rows go down at
//! once, without a branch on what they hold. Trees that ask for more than a comparison are walked row by row.

mod block;
mod compile;
mod kernel;
mod quick;

use arrow::array::ArrayRef;
use levada_connector_api::{Error, Result};

use crate::head::Scores;
use crate::model::{Invalid, Model};
use crate::prepare::{Prepared, Row, prepare};
use compile::Compiled;
use quick::Quick;

/// Rows below which a thread of its own is not worth its start, for one tree of a few levels.
const THREAD_ROWS: usize = 1 << 15;

/// What is asked of the scorer beside predictions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// Raw predictions.
    pub raw: bool,
    /// The classes' probabilities.
    pub probability: bool,
    /// The leaf of each tree.
    pub leaves: bool,
    /// The variance at the leaf of the first tree.
    pub variance: bool,
    /// What becomes of rows that the model cannot take, whatever the model says.
    pub invalid: Option<Invalid>,
    /// How many threads may work; 0 and 1 are the caller's alone.
    pub threads: usize,
}

/// Scores, and what became of the rows.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The scores of all rows, also of those that are left out.
    pub scores: Scores,
    /// What became of each row; all are good if there is no list.
    pub rows: Option<Vec<Row>>,
}

/// A model, compiled.
#[derive(Debug)]
pub struct Scorer {
    model: Model,
    compiled: Compiled,
    quick: Option<Quick>,
}

impl Scorer {
    /// Compiles a model.
    pub fn new(model: Model) -> Self {
        let compiled = Compiled::new(&model.forest);
        let quick = Quick::new(&model);
        Self { model, compiled, quick }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Scores rows. `columns` are those of [`Model::inputs`], in order, each of `rows` rows.
    ///
    /// # Errors
    /// A column has another type or length than the model needs.
    pub fn score(&self, columns: &[ArrayRef], rows: usize, ask: &Ask) -> Result<Scored> {
        if let Some(column) = columns.iter().find(|column| column.len() != rows) {
            return Err(Error::internal(format!("a column has {} rows, not {rows}", column.len())));
        }
        let prepared = prepare(&self.model, columns, rows, ask.invalid)?;
        let features = prepared.features.len();
        if features != self.model.forest.features {
            let message = format!("there are {features} features, the model needs {}", self.model.forest.features);
            return Err(Error::config(message));
        }
        let scores = self.spread(&prepared, rows, ask);
        Ok(Scored { scores, rows: prepared.rows })
    }

    fn piece(&self, prepared: &Prepared<'_>, from: usize, to: usize, ask: &Ask) -> Scores {
        match &self.quick {
            Some(quick) if !ask.leaves && !ask.variance => quick.score(&self.model, prepared, (from, to), ask),
            _ => block::score(&self.model, &self.compiled, prepared, from, to, ask),
        }
    }

    fn spread(&self, prepared: &Prepared<'_>, rows: usize, ask: &Ask) -> Scores {
        let weight = self.model.forest.trees.len().max(1);
        let threads = (rows.saturating_mul(weight) / THREAD_ROWS).clamp(1, ask.threads.max(1));
        if threads == 1 {
            return self.piece(prepared, 0, rows, ask);
        }
        let share = rows.div_ceil(threads).next_multiple_of(block::ROWS);
        let pieces: Vec<Scores> = std::thread::scope(|scope| {
            let start = |from: usize| {
                let to = rows.min(from + share);
                scope.spawn(move || self.piece(prepared, from, to, ask))
            };
            let running: Vec<_> = (0..rows).step_by(share).map(start).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Scores>| match thread.join() {
                Ok(scores) => scores,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            running.into_iter().map(join).collect()
        });
        let mut all = Scores::default();
        for (at, piece) in pieces.into_iter().enumerate() {
            if at == 0 {
                all = piece;
            } else {
                all.rows += piece.rows;
                all.prediction.extend(piece.prediction);
                all.probability.extend(piece.probability);
                all.raw.extend(piece.raw);
                all.leaves.extend(piece.leaves);
                all.variance.extend(piece.variance);
            }
        }
        all
    }
}

/// What turns the sums of rows into their scores.
struct Finish<'a> {
    model: &'a Model,
    predictions: usize,
    /// Room for what is not asked for.
    probability: Vec<f64>,
    raw: Vec<f64>,
}

impl<'a> Finish<'a> {
    fn new(model: &'a Model) -> Self {
        let targets = model.forest.targets;
        let room = |count: usize| vec![0.0; count];
        Self {
            model,
            predictions: model.head.predictions(targets),
            probability: room(model.head.classes(targets)),
            raw: room(model.head.raws(targets)),
        }
    }

    /// Scores `row` from its sums. `touched`: which targets had votes.
    fn row(&mut self, row: usize, sums: &mut [f64], touched: &[bool], scores: &mut Scores) {
        let part = |width: usize| row * width..(row + 1) * width;
        let Some(prediction) = scores.prediction.get_mut(part(self.predictions)) else { return };
        let probability = match scores.classes {
            0 => Some(self.probability.as_mut_slice()),
            classes => scores.probability.get_mut(part(classes)),
        };
        let raw = match scores.raws {
            0 => Some(self.raw.as_mut_slice()),
            raws => scores.raw.get_mut(part(raws)),
        };
        if let (Some(probability), Some(raw)) = (probability, raw) {
            self.model.head.finish(sums, touched, prediction, probability, raw);
        }
    }
}

//! Small trees, all their questions at once.
//!
//! A feature of a row becomes its rank: how many of the forest's thresholds of that feature it is above. Whether it is
//! above one of them is then a comparison of small integers, and exactly the one that the format asks for. Of each tree
//! all nodes are answered for a block of rows, from the leaves up: a node's answer is the number of the leaf below it
//! that the row leads to. That is more questions than a walk asks, but each is a few instructions for 64 rows.

mod kernel;
mod program;
mod ranks;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::Ask;
use super::block::plain;
use super::compile::{Compiled, Number};
use crate::forest::{Feature, Fold, Forest};
use crate::head::{Head, Post, Scores};
use crate::model::Model;
use crate::prepare::{Prepared, Values};
use kernel::{Level, Rank, Slots};
use program::{Program, Shared};
use ranks::Ranks;

/// Rows that a program answers at once.
const ROWS: usize = 256;
/// Rows that are ranked at once: all trees go over them while the ranks are in the processor's first caches.
const BLOCK: usize = 4 * ROWS;

/// A forest as programs.
#[derive(Debug)]
pub(super) struct Quick {
    ranks: AnyRanks,
    trees: Vec<Program>,
    /// How many votes a leaf has: one for the tree's target, or one for each target.
    dense: bool,
    /// Ranks need two bytes.
    wide: bool,
    touched: Vec<bool>,
    level: Level,
}

#[derive(Debug)]
enum AnyRanks {
    F32(Vec<Ranks<f32>>),
    F64(Vec<Ranks<f64>>),
}

impl Quick {
    /// Compiles a forest. None: a tree is too large or asks for more than comparisons, or votes are not of the kind.
    pub(super) fn new(forest: &Forest) -> Option<Self> {
        if !matches!(forest.fold, Fold::Sum32 | Fold::Sum64) || forest.trees.is_empty() || forest.targets == 0 {
            return None;
        }
        let (ranks, trees, dense, wide) = match forest.feature {
            Feature::F32 => {
                let Shared { ranks, trees, dense, wide } = program::compile::<f32>(forest)?;
                (AnyRanks::F32(ranks), trees, dense, wide)
            }
            Feature::F64 | Feature::TinyIsZero => {
                let Shared { ranks, trees, dense, wide } = program::compile::<f64>(forest)?;
                (AnyRanks::F64(ranks), trees, dense, wide)
            }
        };
        let mut touched = vec![dense; forest.targets];
        for tree in &trees {
            if let Some(touched) = touched.get_mut(tree.target as usize) {
                *touched = true;
            }
        }
        Some(Self { ranks, trees, dense, wide, touched, level: Level::best() })
    }

    /// Scores the rows from `from` to `to`. Blocks in which NaN asks for more than ranks are walked as `walks` has them.
    pub(super) fn score(
        &self,
        model: &Model,
        walks: &Compiled,
        prepared: &Prepared<'_>,
        (from, to): (usize, usize),
        ask: &Ask,
    ) -> Scores {
        match (&self.ranks, self.wide) {
            (AnyRanks::F32(ranks), false) => self.run::<f32, u8>(ranks, model, walks, prepared, (from, to), ask),
            (AnyRanks::F32(ranks), true) => self.run::<f32, u16>(ranks, model, walks, prepared, (from, to), ask),
            (AnyRanks::F64(ranks), false) => self.run::<f64, u8>(ranks, model, walks, prepared, (from, to), ask),
            (AnyRanks::F64(ranks), true) => self.run::<f64, u16>(ranks, model, walks, prepared, (from, to), ask),
        }
    }

    fn run<T: Number, R: Rank>(
        &self,
        ranks: &[Ranks<T>],
        model: &Model,
        walks: &Compiled,
        prepared: &Prepared<'_>,
        (from, to): (usize, usize),
        ask: &Ask,
    ) -> Scores {
        let forest = &model.forest;
        let mut scores = model.empty(to - from);
        if plain(model) && !ask.raw {
            (scores.raws, scores.raw) = (0, Vec::new());
        }
        let level = self.level;
        let mut block = vec![R::default(); ranks.len().max(1) * BLOCK];
        let mut buffer = vec![T::default(); BLOCK];
        let mut floats = vec![0.0f32; BLOCK];
        let mut slots = Slots::new();
        let mut sums = Sums::new(forest);
        let mut row = vec![0.0; forest.targets];
        let tracks = matches!(model.head, Head::OnnxClassifier { .. } | Head::OnnxRegression { .. });
        let touched = if tracks { self.touched.as_slice() } else { &[] };
        let mut start = from;
        while start < to {
            let rows = BLOCK.min(to - start);
            let at = start - from;
            let mut fits = true;
            for (ranks, block) in ranks.iter().zip(block.chunks_exact_mut(BLOCK)) {
                let Some(values) = prepared.features.get(ranks.feature) else { continue };
                fits &= match (values, &ranks.narrow) {
                    // Floats are above a threshold of doubles if they are above the next float at or below it.
                    (Values::F32(values), Some(narrow)) => {
                        load(forest.feature, &Values::F32(values), start, rows, &mut floats);
                        narrow.rank(level, &floats, rows, block)
                    }
                    _ => {
                        load(forest.feature, values, start, rows, &mut buffer);
                        ranks.rank(level, &buffer, rows, block)
                    }
                };
            }
            if !fits {
                let walked = super::block::score(model, walks, prepared, start, start + rows, ask);
                put(&mut scores.prediction, at * walked.prediction.len() / rows, &walked.prediction);
                put(&mut scores.probability, at * scores.classes, &walked.probability);
                put(&mut scores.raw, at * scores.raws, &walked.raw);
                start += rows;
                continue;
            }
            sums.reset(forest);
            for tree in &self.trees {
                for sub in 0..rows.div_ceil(ROWS) {
                    kernel::run(level, tree, &block, sub, &mut slots);
                    sums.add(level, tree, self.dense, slots.leaves(tree), sub);
                }
            }
            self.finish(model, &mut sums, touched, (at, rows), &mut row, &mut scores);
            start += rows;
        }
        scores
    }

    fn finish(
        &self,
        model: &Model,
        sums: &mut Sums,
        touched: &[bool],
        (at, rows): (usize, usize),
        row: &mut [f64],
        scores: &mut Scores,
    ) {
        let (classes, raws) = (scores.classes, scores.raws);
        let targets = model.forest.targets;
        let predictions = model.head.predictions(targets);
        if plain(model) {
            let predictions = scores.prediction.iter_mut().skip(at).take(rows);
            match sums {
                Sums::F32(sums) => predictions.zip(sums.iter()).for_each(|(to, sum)| *to = f64::from(*sum)),
                Sums::F64(sums) => predictions.zip(sums.iter()).for_each(|(to, sum)| *to = *sum),
            }
            if raws > 0 {
                let from = scores.prediction.iter().skip(at).take(rows);
                scores.raw.iter_mut().skip(at).zip(from).for_each(|(raw, prediction)| *raw = *prediction);
            }
            return;
        }
        if let (Head::OnnxRegression { post, base, divide, .. }, 1) = (&model.head, targets)
            && *post != Post::Probit
            && let Sums::F32(sums) = sums
        {
            let (base, divide) = (base.first().copied().unwrap_or(0.0) as f32, *divide as f32);
            let predictions = scores.prediction.iter_mut().skip(at).take(rows);
            predictions.zip(sums.iter()).for_each(|(to, sum)| *to = f64::from(*sum / divide + base));
            return;
        }
        for number in 0..rows {
            sums.row(number, row);
            let here = at + number;
            let (Some(prediction), Some(probability), Some(raw)) = (
                scores.prediction.get_mut(here * predictions..(here + 1) * predictions),
                scores.probability.get_mut(here * classes..(here + 1) * classes),
                scores.raw.get_mut(here * raws..(here + 1) * raws),
            ) else {
                continue;
            };
            model.head.finish(row, touched, prediction, probability, raw);
        }
    }
}

fn put(to: &mut [f64], at: usize, from: &[f64]) {
    to.iter_mut().skip(at).zip(from).for_each(|(to, from)| *to = *from);
}

/// A feature of a block's rows, as the trees compare it.
fn load<T: Number>(change: Feature, values: &Values<'_>, start: usize, rows: usize, to: &mut [T]) {
    let range = start..start + rows;
    match values {
        Values::F64(values) => copy(to, values.get(range).unwrap_or_default(), T::of),
        Values::Owned(values) => copy(to, values.get(range).unwrap_or_default(), T::of),
        Values::F32(values) => copy(to, values.get(range).unwrap_or_default(), T::of32),
    }
    if change == Feature::TinyIsZero {
        to.iter_mut().for_each(|x| *x = x.tiny_is_zero());
    }
}

#[inline(always)]
fn copy<T, F: Copy>(to: &mut [T], from: &[F], change: impl Fn(F) -> T) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = change(*from));
}

/// The targets' sums of a block: target after target, in the precision that the format adds in.
#[derive(Debug)]
enum Sums {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Sums {
    fn new(forest: &Forest) -> Self {
        match forest.fold {
            Fold::Sum32 => Self::F32(vec![0.0; forest.targets * BLOCK]),
            _ => Self::F64(vec![0.0; forest.targets * BLOCK]),
        }
    }

    fn reset(&mut self, forest: &Forest) {
        match self {
            Self::F32(sums) => {
                sums.chunks_exact_mut(BLOCK).zip(&forest.start).for_each(|(sums, start)| sums.fill(*start as f32));
            }
            Self::F64(sums) => {
                sums.chunks_exact_mut(BLOCK).zip(&forest.start).for_each(|(sums, start)| sums.fill(*start));
            }
        }
    }

    fn row(&self, number: usize, to: &mut [f64]) {
        match self {
            Self::F32(sums) => {
                let sums = sums.iter().skip(number).step_by(BLOCK);
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = f64::from(*sum));
            }
            Self::F64(sums) => {
                to.iter_mut().zip(sums.iter().skip(number).step_by(BLOCK)).for_each(|(to, sum)| *to = *sum);
            }
        }
    }

    fn add(&mut self, level: Level, tree: &Program, dense: bool, leaves: &[u8; ROWS], sub: usize) {
        let first = if dense { 0 } else { tree.target as usize };
        match self {
            Self::F32(sums) => {
                for (votes, sums) in tree.votes32.iter().zip(sums.chunks_exact_mut(BLOCK).skip(first)) {
                    if let Some(sums) = sums.as_chunks_mut().0.get_mut(sub) {
                        kernel::add32(level, tree.leaves, votes, leaves, sums);
                    }
                }
            }
            Self::F64(sums) => {
                for (votes, sums) in tree.votes64.iter().zip(sums.chunks_exact_mut(BLOCK).skip(first)) {
                    if let Some(sums) = sums.as_chunks_mut().0.get_mut(sub) {
                        kernel::add64(votes, leaves, sums);
                    }
                }
            }
        }
    }
}

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

use super::block::plain;
use super::compile::Number;
use super::{Ask, Finish};
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
    /// The scores of each leaf, where there is one tree: what it leads to is all that there is to say.
    single: Option<Scores>,
    level: Level,
}

#[derive(Debug)]
enum AnyRanks {
    F32(Vec<Ranks<f32>>),
    F64(Vec<Ranks<f64>>),
}

impl Quick {
    /// Compiles a forest. None: a tree is too large or asks for more than comparisons, or votes are not of the kind.
    pub(super) fn new(model: &Model) -> Option<Self> {
        let forest = &model.forest;
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
        let mut quick = Self { ranks, trees, dense, wide, touched, single: None, level: Level::best() };
        if let [tree] = &quick.trees[..] {
            quick.single = Some(quick.leaves(model, tree));
        }
        Some(quick)
    }

    /// The scores of each leaf of the only tree.
    fn leaves(&self, model: &Model, tree: &Program) -> Scores {
        let ask = Ask { raw: true, probability: true, ..Ask::default() };
        let mut scores = model.empty(tree.leaves, &ask);
        let mut sums = Sums::new(&model.forest);
        let mut row = vec![0.0; model.forest.targets];
        let mut finish = Finish::new(model);
        sums.reset(&model.forest);
        let leaves = std::array::from_fn(|leaf| leaf as u8);
        sums.add(Level::Any, tree, self.dense, &leaves, 0);
        for leaf in 0..tree.leaves {
            sums.row(leaf, &mut row);
            finish.row(leaf, &mut row, &self.touched, &mut scores);
        }
        scores
    }

    /// Scores the rows from `from` to `to`.
    pub(super) fn score(
        &self,
        model: &Model,
        prepared: &Prepared<'_>,
        (from, to): (usize, usize),
        ask: &Ask,
    ) -> Scores {
        match (&self.ranks, self.wide) {
            (AnyRanks::F32(ranks), false) => self.run::<f32, u8>(ranks, model, prepared, (from, to), ask),
            (AnyRanks::F32(ranks), true) => self.run::<f32, u16>(ranks, model, prepared, (from, to), ask),
            (AnyRanks::F64(ranks), false) => self.run::<f64, u8>(ranks, model, prepared, (from, to), ask),
            (AnyRanks::F64(ranks), true) => self.run::<f64, u16>(ranks, model, prepared, (from, to), ask),
        }
    }

    fn run<T: Number, R: Rank>(
        &self,
        ranks: &[Ranks<T>],
        model: &Model,
        prepared: &Prepared<'_>,
        (from, to): (usize, usize),
        ask: &Ask,
    ) -> Scores {
        let forest = &model.forest;
        let mut scores = model.empty(to - from, ask);
        let level = self.level;
        let columns = ranks.iter().map(Ranks::columns).sum::<usize>();
        let mut block = vec![R::default(); columns.max(1) * BLOCK];
        let mut buffer = vec![T::default(); BLOCK];
        let mut floats = vec![0.0f32; BLOCK];
        let mut slots = Slots::new();
        let mut sums = Sums::new(forest);
        let mut row = vec![0.0; forest.targets];
        let mut finish = Finish::new(model);
        let mut start = from;
        while start < to {
            let rows = BLOCK.min(to - start);
            let at = start - from;
            let mut place = 0;
            for ranks in ranks {
                let columns = ranks.columns() * BLOCK;
                let Some(columns) = block.get_mut(place..place + columns) else { continue };
                place += columns.len();
                let Some(values) = prepared.features.get(ranks.feature) else { continue };
                match (values, &ranks.narrow) {
                    // Floats are above a threshold of doubles if they are above the next float at or below it.
                    (Values::F32(values), Some(narrow)) => {
                        narrow.rank(level, piece(values, start, rows, &mut floats, |x| x), rows, columns);
                    }
                    (Values::F32(values), None) => {
                        ranks.rank(level, piece(values, start, rows, &mut buffer, T::of32), rows, columns);
                    }
                    (Values::F64(values), _) => {
                        ranks.rank(level, piece(values, start, rows, &mut buffer, T::of), rows, columns);
                    }
                    (Values::Made(values), _) => {
                        ranks.rank(level, piece(values, start, rows, &mut buffer, T::of), rows, columns);
                    }
                }
            }
            if let (Some(leaves), [tree]) = (&self.single, &self.trees[..]) {
                for sub in 0..rows.div_ceil(ROWS) {
                    kernel::run(level, tree, &block, sub, &mut slots);
                    let found = slots.leaves(tree);
                    let found = found.get(..ROWS.min(rows - sub * ROWS)).unwrap_or_default();
                    copy_leaves(leaves, found, at + sub * ROWS, &mut scores);
                }
            } else {
                sums.reset(forest);
                for tree in &self.trees {
                    for sub in 0..rows.div_ceil(ROWS) {
                        kernel::run(level, tree, &block, sub, &mut slots);
                        sums.add(level, tree, self.dense, slots.leaves(tree), sub);
                    }
                }
                self.finish(&mut finish, &mut sums, (at, rows), &mut row, &mut scores);
            }
            start += rows;
        }
        scores
    }

    fn finish(
        &self,
        finish: &mut Finish<'_>,
        sums: &mut Sums,
        (at, rows): (usize, usize),
        row: &mut [f64],
        scores: &mut Scores,
    ) {
        let model = finish.model;
        let targets = model.forest.targets;
        if plain(model) {
            let predictions = scores.prediction.iter_mut().skip(at).take(rows);
            match sums {
                Sums::F32(sums) => predictions.zip(sums.iter()).for_each(|(to, sum)| *to = f64::from(*sum)),
                Sums::F64(sums) => predictions.zip(sums.iter()).for_each(|(to, sum)| *to = *sum),
            }
            let from = scores.prediction.iter().skip(at).take(rows);
            scores.raw.iter_mut().skip(at).zip(from).for_each(|(raw, prediction)| *raw = *prediction);
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
            finish.row(at + number, row, &self.touched, scores);
        }
    }
}

/// The scores of `found`, leaves of the only tree, for the rows from `at` on.
fn copy_leaves(leaves: &Scores, found: &[u8], at: usize, scores: &mut Scores) {
    let fill = |from: &[f64], width: usize, to: &mut [f64]| match width {
        0 => {}
        1 => {
            let to = to.iter_mut().skip(at);
            to.zip(found).for_each(|(to, leaf)| *to = from.get(usize::from(*leaf)).copied().unwrap_or(0.0));
        }
        _ => {
            let to = to.chunks_exact_mut(width).skip(at);
            for (to, leaf) in to.zip(found) {
                let from = from.chunks_exact(width).nth(usize::from(*leaf)).unwrap_or_default();
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    };
    let predictions = leaves.prediction.len() / leaves.rows.max(1);
    fill(&leaves.prediction, predictions, &mut scores.prediction);
    fill(&leaves.probability, scores.classes, &mut scores.probability);
    fill(&leaves.raw, scores.raws, &mut scores.raw);
}

/// A feature of a block's rows, as the trees compare it: where it stands, if it is of that type and the block is full.
fn piece<'a, T: Number, F: Number>(
    values: &'a [F],
    start: usize,
    rows: usize,
    room: &'a mut [T],
    change: impl Fn(F) -> T,
) -> &'a [T] {
    let from = values.get(start..start + rows).unwrap_or_default();
    if let Some(same) = T::same(from).filter(|same| same.len() == BLOCK) {
        return same;
    }
    room.iter_mut().zip(from).for_each(|(to, from)| *to = change(*from));
    room
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

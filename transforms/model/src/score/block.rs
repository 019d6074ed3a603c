//! Blocks of rows: features are laid out, trees walk, votes are put together.

use super::compile::{Compiled, Number, Plain, Shape, Single};
use super::{Ask, Finish};
use crate::forest::{Feature, Fold, Forest};
use crate::head::{Head, Lightgbm, Link, Scores};
use crate::model::Model;
use crate::prepare::{Prepared, Values};

/// The rows of a block. A block of a few dozen features stays in the processor's first cache.
pub(super) const ROWS: usize = 256;

/// Scores the rows from `from` to `to`.
pub(super) fn score(
    model: &Model,
    compiled: &Compiled,
    prepared: &Prepared<'_>,
    from: usize,
    to: usize,
    ask: &Ask,
) -> Scores {
    match compiled {
        Compiled::F32(trees, single) => run(model, trees, single.as_ref(), prepared, from, to, ask),
        Compiled::F64(trees, single) => run(model, trees, single.as_ref(), prepared, from, to, ask),
    }
}

fn run<T: Number>(
    model: &Model,
    trees: &[Shape<T>],
    single: Option<&Single>,
    prepared: &Prepared<'_>,
    from: usize,
    to: usize,
    ask: &Ask,
) -> Scores {
    let forest = &model.forest;
    let targets = forest.targets;
    let mut scores = model.empty(to - from, ask);
    if ask.leaves {
        scores.trees = forest.trees.len();
        scores.leaves = vec![0; (to - from) * scores.trees];
    }
    if ask.variance {
        scores.variance = vec![0.0; to - from];
    }
    let tracks = matches!(model.head, Head::OnnxClassifier { .. } | Head::OnnxRegression { .. });
    // One target, one vote a leaf, and nobody asks for leaves.
    let sums = matches!(forest.fold, Fold::Sum32 | Fold::Sum64);
    let direct = sums && targets == 1 && single.is_some() && !tracks && !ask.leaves && !ask.variance;
    let mut state = State {
        block: vec![T::default(); forest.features.max(1) * ROWS],
        ends: [0; ROWS],
        sums: vec![0.0; targets * ROWS],
        touched: vec![false; if tracks { targets * ROWS } else { 0 }],
    };
    let mut finish = Finish::new(model);
    let mut start = from;
    while start < to {
        let rows = ROWS.min(to - start);
        let nan = state.load(forest.feature, prepared, start, rows);
        state.sums.chunks_exact_mut(targets.max(1)).for_each(|sums| sums.copy_from_slice(&forest.start));
        state.touched.fill(false);
        for number in 0..trees.len() {
            if !state.tree(forest, trees, number, nan, rows, direct) {
                state.vote(forest, single, number, rows);
                state.answer(forest, number, start - from, rows, &mut scores);
            }
        }
        state.finish(&mut finish, start - from, rows, &mut scores);
        start += rows;
    }
    scores
}

/// Whether the only sum is the prediction and the raw prediction, as it is.
pub(super) fn plain(model: &Model) -> bool {
    let same = match model.head {
        Head::Xgboost(Link::Identity) => true,
        Head::Lightgbm { link: Lightgbm::Identity, divide } => divide == 1.0,
        _ => false,
    };
    same && model.forest.targets == 1
}

struct State<T> {
    block: Vec<T>,
    /// The leaf of each row, in the tree that walked last.
    ends: [u32; ROWS],
    /// Row after row, the sums of the targets.
    sums: Vec<f64>,
    touched: Vec<bool>,
}

impl<T: Number> State<T> {
    /// Lays out the features of a block; whether one of them is NaN.
    fn load(&mut self, change: Feature, prepared: &Prepared<'_>, start: usize, rows: usize) -> bool {
        let mut nan = false;
        for (to, values) in self.block.chunks_exact_mut(ROWS).zip(&prepared.features) {
            let range = start..start + rows;
            let found = match values {
                Values::F64(values) => copy(to, values.get(range).unwrap_or_default(), T::of),
                Values::Made(values) => copy(to, values.get(range).unwrap_or_default(), T::of),
                Values::F32(values) => copy(to, values.get(range).unwrap_or_default(), T::of32),
            };
            if change == Feature::TinyIsZero {
                to.iter_mut().for_each(|x| *x = T::of(change.apply(x.wide())));
            }
            // Rows beyond the last are of an earlier block: their walks go anywhere and count for nothing.
            nan |= found;
        }
        nan
    }

    /// Walks the rows down a tree. With `direct`, votes are added at once where that is possible; whether they were.
    fn tree(
        &mut self,
        forest: &Forest,
        trees: &[Shape<T>],
        number: usize,
        nan: bool,
        rows: usize,
        direct: bool,
    ) -> bool {
        let Some(shape) = trees.get(number) else { return false };
        match shape {
            Shape::Plain(Plain { nodes, depth, leaves, votes }) => {
                if nan {
                    nodes.walk::<true>(*depth, &self.block, &mut self.ends);
                } else {
                    nodes.walk::<false>(*depth, &self.block, &mut self.ends);
                }
                if direct {
                    let votes = self.ends.iter().map(|end| votes.get(*end as usize).copied().unwrap_or(0.0));
                    if forest.fold == Fold::Sum64 {
                        self.sums.iter_mut().zip(votes).take(rows).for_each(|(sum, vote)| *sum += vote);
                    } else {
                        let add = |sum: f64, vote: f64| f64::from(sum as f32 + vote as f32);
                        self.sums.iter_mut().zip(votes).take(rows).for_each(|(sum, vote)| *sum = add(*sum, vote));
                    }
                    return true;
                }
                self.ends.iter_mut().for_each(|end| *end = leaves.get(*end as usize).copied().unwrap_or(0));
            }
            Shape::Other => {
                let Some(tree) = forest.trees.get(number) else { return false };
                let block = &self.block;
                for (row, end) in self.ends.iter_mut().enumerate().take(rows) {
                    *end = tree.leaf(forest, |feature| block.get(feature * ROWS + row).map_or(f64::NAN, |x| x.wide()));
                }
            }
        }
        false
    }

    fn vote(&mut self, forest: &Forest, single: Option<&Single>, number: usize, rows: usize) {
        let targets = forest.targets;
        if let (Some(single), true) = (single, matches!(forest.fold, Fold::Sum32 | Fold::Sum64)) {
            let target = single.targets.get(number).copied().unwrap_or(0) as usize;
            let sums = self.sums.iter_mut().skip(target).step_by(targets);
            let votes = |end: &u32| single.votes.get(*end as usize).copied().unwrap_or(0.0);
            if forest.fold == Fold::Sum64 {
                sums.zip(&self.ends).take(rows).for_each(|(sum, end)| *sum += votes(end));
            } else {
                let add = |sum: f64, end: &u32| f64::from(sum as f32 + votes(end) as f32);
                sums.zip(&self.ends).take(rows).for_each(|(sum, end)| *sum = add(*sum, end));
            }
            self.touched.iter_mut().skip(target).step_by(targets).for_each(|touched| *touched = true);
            return;
        }
        for (row, end) in self.ends.iter().enumerate().take(rows) {
            let Some(sums) = self.sums.get_mut(row * targets..(row + 1) * targets) else { continue };
            let mut touched = self.touched.get_mut(row * targets..(row + 1) * targets);
            for (target, vote) in forest.votes_of(*end) {
                let target = *target as usize;
                let seen = touched.as_deref_mut().and_then(|touched| touched.get_mut(target));
                if let Some(sum) = sums.get_mut(target) {
                    *sum = forest.fold.add(*sum, *vote, seen.as_deref() == Some(&false));
                }
                if let Some(seen) = seen {
                    *seen = true;
                }
            }
        }
    }

    fn answer(&self, forest: &Forest, number: usize, at: usize, rows: usize, scores: &mut Scores) {
        let trees = scores.trees;
        let ends = self.ends.iter().take(rows);
        if trees > 0 {
            let ids = ends.clone().map(|end| forest.leaf_ids.get(*end as usize).copied().unwrap_or(0));
            let places = scores.leaves.iter_mut().skip(at * trees + number).step_by(trees);
            places.zip(ids).for_each(|(place, id)| *place = id);
        }
        if number == 0 && !scores.variance.is_empty() {
            let variances = ends.map(|end| forest.variances.get(*end as usize).copied().unwrap_or(0.0));
            scores.variance.iter_mut().skip(at).zip(variances).for_each(|(place, variance)| *place = variance);
        }
    }

    fn finish(&mut self, finish: &mut Finish<'_>, at: usize, rows: usize, scores: &mut Scores) {
        let targets = finish.model.forest.targets;
        if plain(finish.model) {
            let sums = self.sums.iter().take(rows);
            scores.prediction.iter_mut().skip(at).zip(sums.clone()).for_each(|(prediction, sum)| *prediction = *sum);
            scores.raw.iter_mut().skip(at).zip(sums).for_each(|(raw, sum)| *raw = *sum);
            return;
        }
        for row in 0..rows {
            let Some(sums) = self.sums.get_mut(row * targets..(row + 1) * targets) else { continue };
            let touched = self.touched.get(row * targets..(row + 1) * targets).unwrap_or_default();
            finish.row(at + row, sums, touched, scores);
        }
    }
}

/// Copies features; whether one of them is NaN.
#[inline(always)]
fn copy<T: Number, F: Copy>(to: &mut [T], from: &[F], change: impl Fn(F) -> T) -> bool {
    let mut nan = false;
    for (to, from) in to.iter_mut().zip(from) {
        let x = change(*from);
        *to = x;
        nan |= x.is_nan();
    }
    nan
}

//! The plain walk from root to leaf, a row at a time: what the scorer is checked against, and the trees that ask more
//! than a comparison.

use crate::forest::{Fold, Forest, Node, Tree};
use crate::head::Scores;
use crate::model::Model;
use crate::score::Ask;

impl Tree {
    /// The leaf that a row leads to. `feature` gives a feature's value, changed as [`Forest::feature`] says.
    pub fn leaf(&self, forest: &Forest, feature: impl Fn(usize) -> f64) -> u32 {
        let mut at = 0u32;
        loop {
            match self.nodes.get(at as usize) {
                Some(Node::Split(split)) => {
                    let passes = split.test.passes(feature(split.feature as usize), &forest.sets);
                    at = if passes { split.yes } else { split.no };
                }
                Some(Node::Leaf(leaf)) => return *leaf,
                // Trees are grown whole: there is no way here.
                None => return 0,
            }
        }
    }
}

impl Fold {
    /// A sum with one vote more. `first`: there was none before.
    pub(crate) fn add(self, sum: f64, vote: f64, first: bool) -> f64 {
        match self {
            Self::Sum64 => sum + vote,
            Self::Sum32 => f64::from(sum as f32 + vote as f32),
            Self::Min if first || vote < sum => vote,
            Self::Max if first || vote > sum => vote,
            Self::Min | Self::Max => sum,
        }
    }
}

impl Model {
    /// Scores one row of features by plain walks. Everything is asked for.
    pub fn walk(&self, row: &[f64]) -> Scores {
        let forest = &self.forest;
        let row: Vec<f64> = row.iter().map(|x| forest.feature.apply(*x)).collect();
        let mut sums = forest.start.clone();
        let mut touched = vec![false; forest.targets];
        let mut scores = self.empty(1, &Ask { raw: true, probability: true, ..Ask::default() });
        for tree in &forest.trees {
            let leaf = tree.leaf(forest, |feature| row.get(feature).copied().unwrap_or(f64::NAN));
            for (target, vote) in forest.votes_of(leaf) {
                let target = *target as usize;
                if let (Some(sum), Some(touched)) = (sums.get_mut(target), touched.get_mut(target)) {
                    *sum = forest.fold.add(*sum, *vote, !*touched);
                    *touched = true;
                }
            }
            scores.leaves.push(forest.leaf_ids.get(leaf as usize).copied().unwrap_or(0));
            scores.variance.push(forest.variances.get(leaf as usize).copied().unwrap_or(0.0));
        }
        scores.trees = forest.trees.len();
        let Scores { prediction, probability, raw, .. } = &mut scores;
        self.head.finish(&mut sums, &touched, prediction, probability, raw);
        scores
    }

    /// Room for the scores of `rows` rows.
    pub(crate) fn empty(&self, rows: usize, ask: &Ask) -> Scores {
        let targets = self.forest.targets;
        let classes = if ask.probability { self.head.classes(targets) } else { 0 };
        let raws = if ask.raw { self.head.raws(targets) } else { 0 };
        Scores {
            rows,
            prediction: vec![0.0; rows * self.head.predictions(targets)],
            classes,
            probability: vec![0.0; rows * classes],
            raws,
            raw: vec![0.0; rows * raws],
            trees: 0,
            leaves: Vec::new(),
            variance: Vec::new(),
        }
    }
}

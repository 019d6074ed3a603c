//! Growing a tree.

use super::bins::Bins;
use super::forest::Chance;
use super::{Aim, Parameters, TrainedNode};

/// What a node's rows become.
struct Best {
    feature: usize,
    /// The last bin that goes left.
    bin: usize,
    threshold: f64,
    gain: f64,
}

pub(super) struct Grower<'a> {
    features: &'a [Bins],
    aim: &'a Aim,
    parameters: &'a Parameters,
    /// How often each row counts; empty: each once.
    times: Vec<u32>,
    /// How many features a node may split by.
    few: usize,
    chance: Chance,
    nodes: Vec<TrainedNode>,
    /// A feature's statistics, bin after bin.
    bins: Vec<f64>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(
        features: &'a [Bins],
        aim: &'a Aim,
        parameters: &'a Parameters,
        times: Vec<u32>,
        few: usize,
        chance: Chance,
    ) -> Self {
        Self { features, aim, parameters, times, few, chance, nodes: Vec::new(), bins: Vec::new() }
    }

    /// Grows the tree: its nodes, in pre-order.
    pub(super) fn grow(mut self) -> Vec<TrainedNode> {
        let sampled = |row: &u32| self.times.is_empty() || self.times.get(*row as usize).is_some_and(|n| *n > 0);
        let rows = (0..self.aim.rows() as u32).filter(sampled).collect();
        self.node(rows, 0);
        self.prune(0);
        compact(&self.nodes)
    }

    fn times(&self, row: u32) -> f64 {
        self.times.get(row as usize).map_or(1.0, |times| f64::from(*times))
    }

    /// Adds the node of `rows` and those below it; levels are few, so this may call itself.
    fn node(&mut self, rows: Vec<u32>, level: u32) -> usize {
        let mut stats = vec![0.0; self.aim.width()];
        rows.iter().for_each(|row| self.aim.add(*row as usize, self.times(*row), &mut stats));
        let measure = self.parameters.impurity;
        let (impurity, prediction, count) = (measure.of(&stats), measure.prediction(&stats), measure.count(&stats));
        let at = self.nodes.len();
        let best = if level < self.parameters.max_depth { self.best(&rows, &stats, impurity) } else { None };
        let gain = best.as_ref().map_or(-1.0, |best| best.gain);
        self.nodes.push(TrainedNode { prediction, impurity, stats, count, gain, split: None });
        if let Some(Best { feature, bin, threshold, .. }) = best {
            let places = self.features.get(feature).map_or(&[][..], |bins| &bins.places);
            let goes_left = |row: &u32| places.get(*row as usize).is_some_and(|place| usize::from(*place) <= bin);
            let (left, right): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(goes_left);
            let left = self.node(left, level + 1);
            let right = self.node(right, level + 1);
            if let Some(node) = self.nodes.get_mut(at) {
                node.split = Some((feature, threshold, left, right));
            }
        }
        at
    }

    /// The split that gains most: of equal ones the first.
    fn best(&mut self, rows: &[u32], stats: &[f64], impurity: f64) -> Option<Best> {
        let mut best: Option<Best> = None;
        let measure = self.parameters.impurity;
        let least = self.parameters.min_instances_per_node.max(1) as f64;
        let total = measure.count(stats);
        let width = self.aim.width();
        let (mut left, mut right) = (vec![0.0; width], vec![0.0; width]);
        let mut bins = std::mem::take(&mut self.bins);
        for feature in self.chance.choose(self.few, self.features.len()) {
            let Some(Bins { thresholds, places }) = self.features.get(feature) else { continue };
            bins.clear();
            bins.resize((thresholds.len() + 1) * width, 0.0);
            for row in rows {
                let place = places.get(*row as usize).map_or(0, |place| usize::from(*place));
                if let Some(bin) = bins.get_mut(place * width..(place + 1) * width) {
                    self.aim.add(*row as usize, self.times(*row), bin);
                }
            }
            left.fill(0.0);
            for (at, (bin, threshold)) in bins.chunks_exact(width).zip(thresholds).enumerate() {
                left.iter_mut().zip(bin).for_each(|(left, bin)| *left += bin);
                right.iter_mut().zip(stats).zip(&left).for_each(|((right, all), left)| *right = all - left);
                let (of_left, of_right) = (measure.count(&left), measure.count(&right));
                if of_left < least || of_right < least {
                    continue;
                }
                let gain = impurity - of_left / total * measure.of(&left) - of_right / total * measure.of(&right);
                let enough = gain > 0.0 && gain >= self.parameters.min_info_gain;
                if enough && best.as_ref().is_none_or(|best| gain > best.gain) {
                    best = Some(Best { feature, bin: at, threshold: *threshold, gain });
                }
            }
        }
        self.bins = bins;
        best
    }

    /// Makes a leaf of every node below which all leaves predict the same, as Spark does; what they predict, if so.
    fn prune(&mut self, at: usize) -> Option<f64> {
        let node = self.nodes.get(at)?;
        let Some((_, _, left, right)) = node.split else { return Some(node.prediction) };
        let (left, right) = (self.prune(left), self.prune(right));
        if left.is_none() || left != right {
            return None;
        }
        let node = self.nodes.get_mut(at)?;
        (node.split, node.gain) = (None, -1.0);
        Some(node.prediction)
    }
}

/// The nodes that can be reached, in pre-order.
fn compact(nodes: &[TrainedNode]) -> Vec<TrainedNode> {
    let mut kept: Vec<TrainedNode> = Vec::new();
    let mut open = vec![(0usize, None::<(usize, bool)>)];
    while let Some((at, parent)) = open.pop() {
        let Some(node) = nodes.get(at) else { continue };
        let here = kept.len();
        if let Some((parent, is_left)) = parent
            && let Some((_, _, left, right)) = kept.get_mut(parent).and_then(|node| node.split.as_mut())
        {
            *(if is_left { left } else { right }) = here;
        }
        if let Some((_, _, left, right)) = node.split {
            open.extend([(right, Some((here, false))), (left, Some((here, true)))]);
        }
        kept.push(node.clone());
    }
    kept
}

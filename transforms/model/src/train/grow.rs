//! Growing the tree.

use super::{Parameters, TrainedNode};

/// What a node's rows become: the split, its gain.
struct Best {
    feature: usize,
    threshold: f64,
    gain: f64,
}

/// Grows the tree's nodes, in pre-order.
pub(super) fn grow(
    columns: &[Vec<f64>],
    targets: &[usize],
    classes: usize,
    parameters: &Parameters,
) -> Vec<TrainedNode> {
    let candidates: Vec<Vec<f64>> = columns.iter().map(|column| thresholds(column, parameters.max_bins - 1)).collect();
    let mut grower = Grower { columns, targets, classes, parameters, candidates, nodes: Vec::new() };
    grower.node((0..targets.len() as u32).collect(), 0);
    grower.prune(0);
    compact(&grower.nodes)
}

/// The candidates for a feature's thresholds: at most `most`, midpoints between neighbouring values.
fn thresholds(column: &[f64], most: usize) -> Vec<f64> {
    let mut sorted = column.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Distinct values with how many rows have them.
    let mut values: Vec<(f64, usize)> = Vec::new();
    for x in sorted {
        match values.last_mut() {
            Some((last, count)) if *last == x => *count += 1,
            _ => values.push((x, 1)),
        }
    }
    let middle = |low: f64, high: f64| (low + high) / 2.0;
    let pairs = values.windows(2).filter_map(|pair| if let [a, b] = pair { Some((*a, *b)) } else { None });
    if values.len() <= most + 1 {
        return pairs.map(|((low, _), (high, _))| middle(low, high)).filter(|at| at.is_finite()).collect();
    }
    // Where a share of the rows is full, and one value more would be further from it, there is a candidate.
    let stride = column.len() as f64 / (most + 1) as f64;
    let mut found = Vec::new();
    let (mut sum, mut target) = (0.0, stride);
    for ((low, count), (high, next)) in pairs {
        sum += count as f64;
        if (sum - target).abs() < (sum + next as f64 - target).abs() {
            found.push(middle(low, high));
            target += stride;
        }
    }
    found.retain(|at| at.is_finite());
    found
}

struct Grower<'a> {
    columns: &'a [Vec<f64>],
    targets: &'a [usize],
    classes: usize,
    parameters: &'a Parameters,
    candidates: Vec<Vec<f64>>,
    nodes: Vec<TrainedNode>,
}

impl Grower<'_> {
    fn counts(&self, rows: &[u32]) -> Vec<f64> {
        let mut counts = vec![0.0; self.classes];
        for row in rows {
            let class = self.targets.get(*row as usize).copied().unwrap_or(0);
            if let Some(count) = counts.get_mut(class) {
                *count += 1.0;
            }
        }
        counts
    }

    /// Adds the node of `rows` and those below it; levels are few, so this may call itself.
    fn node(&mut self, rows: Vec<u32>, level: u32) -> usize {
        let counts = self.counts(&rows);
        let impurity = self.parameters.impurity.of(&counts);
        let mut prediction = 0;
        for (class, count) in counts.iter().enumerate() {
            if *count > counts.get(prediction).copied().unwrap_or(0.0) {
                prediction = class;
            }
        }
        let at = self.nodes.len();
        let best = if level < self.parameters.max_depth { self.best(&rows, &counts, impurity) } else { None };
        let gain = best.as_ref().map_or(-1.0, |best| best.gain);
        self.nodes.push(TrainedNode { prediction, impurity, counts, gain, split: None });
        if let Some(Best { feature, threshold, .. }) = best {
            let column = self.columns.get(feature).map_or(&[][..], Vec::as_slice);
            let goes_left = |row: &u32| column.get(*row as usize).is_some_and(|x| *x <= threshold);
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
    fn best(&self, rows: &[u32], counts: &[f64], impurity: f64) -> Option<Best> {
        let mut best: Option<Best> = None;
        let least = self.parameters.min_instances_per_node.max(1) as f64;
        let total: f64 = counts.iter().sum();
        for (feature, (column, candidates)) in self.columns.iter().zip(&self.candidates).enumerate() {
            // Rows by bin and class; what is at most a candidate is in the bins up to its place.
            let mut bins = vec![0.0; (candidates.len() + 1) * self.classes];
            for row in rows {
                let x = column.get(*row as usize).copied().unwrap_or(0.0);
                let bin = candidates.partition_point(|candidate| x > *candidate);
                let class = self.targets.get(*row as usize).copied().unwrap_or(0);
                if let Some(count) = bins.get_mut(bin * self.classes + class) {
                    *count += 1.0;
                }
            }
            let mut left = vec![0.0; self.classes];
            for (bin, threshold) in bins.chunks_exact(self.classes).zip(candidates) {
                left.iter_mut().zip(bin).for_each(|(left, bin)| *left += bin);
                let right: Vec<f64> = counts.iter().zip(&left).map(|(all, left)| all - left).collect();
                let (of_left, of_right) = (left.iter().sum::<f64>(), right.iter().sum::<f64>());
                if of_left < least || of_right < least {
                    continue;
                }
                let impurity_of = |counts: &[f64]| self.parameters.impurity.of(counts);
                let gain = impurity - of_left / total * impurity_of(&left) - of_right / total * impurity_of(&right);
                let enough = gain > 0.0 && gain >= self.parameters.min_info_gain;
                if enough && best.as_ref().is_none_or(|best| gain > best.gain) {
                    best = Some(Best { feature, threshold: *threshold, gain });
                }
            }
        }
        best
    }

    /// Makes a leaf of every node below which all leaves predict the same, as Spark does; what they predict, if so.
    fn prune(&mut self, at: usize) -> Option<usize> {
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

//! Training of a decision tree classifier, with Spark's parameters by name.

mod grow;
mod save;

use std::collections::HashMap;

use levada_connector_api::{Error, Result};

/// How mixed the classes of a node are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impurity {
    /// `1 - Σp²`.
    Gini,
    /// `-Σ p·log₂ p`.
    Entropy,
}

impl Impurity {
    /// The impurity called `name`.
    ///
    /// # Errors
    /// There is none: the message says which there are.
    pub fn parse(name: &str) -> std::result::Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "gini" => Ok(Self::Gini),
            "entropy" => Ok(Self::Entropy),
            _ => Err("use gini or entropy".into()),
        }
    }

    /// The name, as Spark has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gini => "gini",
            Self::Entropy => "entropy",
        }
    }

    fn of(self, counts: &[f64]) -> f64 {
        let total: f64 = counts.iter().sum();
        if total == 0.0 {
            return 0.0;
        }
        match self {
            Self::Gini => 1.0 - counts.iter().map(|count| (count / total) * (count / total)).sum::<f64>(),
            Self::Entropy => {
                let shares = counts.iter().filter(|count| **count > 0.0).map(|count| count / total);
                shares.map(|share| -share * share.log2()).sum()
            }
        }
    }
}

/// What training may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// The impurity that splits reduce.
    pub impurity: Impurity,
    /// The deepest level; 0 is a leaf alone. At most 30.
    pub max_depth: u32,
    /// One more than the most candidates for a split of a feature; at least 2.
    pub max_bins: usize,
    /// The fewest rows of a node.
    pub min_instances_per_node: usize,
    /// The least gain of a split.
    pub min_info_gain: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { impurity: Impurity::Gini, max_depth: 5, max_bins: 32, min_instances_per_node: 1, min_info_gain: 0.0 }
    }
}

/// A node of a trained tree, in pre-order.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedNode {
    /// The most frequent class.
    pub prediction: usize,
    /// The impurity.
    pub impurity: f64,
    /// The rows of each class.
    pub counts: Vec<f64>,
    /// What the split gains; -1 at a leaf.
    pub gain: f64,
    /// The split: feature, threshold, the node for what is at most the threshold, the node for the rest.
    pub split: Option<(usize, f64, usize, usize)>,
}

/// How well a tree does on the rows that it was trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The share of rows that are predicted right.
    pub accuracy: f64,
    /// Rows by class and by prediction.
    pub confusion: Vec<Vec<usize>>,
    /// For each feature the share of its splits in all gains.
    pub importances: Vec<f64>,
}

/// A trained tree.
#[derive(Debug, Clone)]
pub struct Trained {
    /// What it was trained with.
    pub parameters: Parameters,
    /// The nodes, in pre-order.
    pub nodes: Vec<TrainedNode>,
    /// The classes: the most frequent first, equally frequent ones in alphabetical order.
    pub labels: Vec<String>,
    /// How well it does.
    pub report: Report,
}

impl Trained {
    /// The longest way to a leaf.
    pub fn depth(&self) -> usize {
        let mut open = vec![(0, 0)];
        let mut deepest = 0;
        while let Some((at, depth)) = open.pop() {
            deepest = deepest.max(depth);
            if let Some((_, _, left, right)) = self.nodes.get(at).and_then(|node| node.split) {
                open.extend([(left, depth + 1), (right, depth + 1)]);
            }
        }
        deepest
    }

    /// The class of a row.
    fn predict(&self, feature: impl Fn(usize) -> f64) -> usize {
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            match node.split {
                Some((of, threshold, left, right)) => at = if feature(of) <= threshold { left } else { right },
                None => return node.prediction,
            }
        }
        0
    }
}

/// Trains a tree: `columns` are the features, `labels` the class of each row.
///
/// Candidates for thresholds are chosen as Spark chooses them on data that it sees whole: midpoints between neighbouring
/// values, thinned to equal shares of rows where there are more than `max_bins - 1`.
///
/// # Errors
/// There is no row or no feature, a column has another length than the labels, a value is missing, a parameter is out of
/// range.
pub fn train(columns: &[Vec<f64>], labels: &[&str], parameters: &Parameters) -> Result<Trained> {
    let rows = labels.len();
    if rows == 0 || columns.is_empty() {
        return Err(Error::data("there are no rows or no features to train on"));
    }
    if parameters.max_depth > 30 || parameters.max_bins < 2 || parameters.min_info_gain.is_nan() {
        return Err(Error::config("maxDepth must be at most 30, maxBins at least 2, minInfoGain a number"));
    }
    for (at, column) in columns.iter().enumerate() {
        if column.len() != rows {
            return Err(Error::internal(format!("feature {at} has {} rows of {rows}", column.len())));
        }
        if let Some(row) = column.iter().position(|x| x.is_nan()) {
            return Err(Error::data(format!("row {}: feature {at} is missing", row + 1))
                .hint("training needs every value: leave the row or the column out"));
        }
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    labels.iter().for_each(|label| *counts.entry(label).or_default() += 1);
    let mut classes: Vec<&str> = counts.keys().copied().collect();
    classes.sort_by(|a, b| counts.get(b).cmp(&counts.get(a)).then(a.cmp(b)));
    let numbers: HashMap<&str, usize> = classes.iter().enumerate().map(|(number, class)| (*class, number)).collect();
    let targets: Vec<usize> = labels.iter().map(|label| numbers.get(label).copied().unwrap_or(0)).collect();
    let nodes = grow::grow(columns, &targets, classes.len(), parameters);
    let labels: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
    let report = Report { accuracy: 0.0, confusion: Vec::new(), importances: importances(&nodes, columns.len()) };
    let mut trained = Trained { parameters: *parameters, nodes, labels, report };
    let mut confusion = vec![vec![0usize; classes.len()]; classes.len()];
    let mut right = 0;
    for (row, class) in targets.iter().enumerate() {
        let predicted =
            trained.predict(|feature| columns.get(feature).and_then(|c| c.get(row)).copied().unwrap_or(0.0));
        right += usize::from(predicted == *class);
        if let Some(count) = confusion.get_mut(*class).and_then(|counts| counts.get_mut(predicted)) {
            *count += 1;
        }
    }
    (trained.report.accuracy, trained.report.confusion) = (right as f64 / rows as f64, confusion);
    Ok(trained)
}

/// The gain of a feature's splits, weighted with their rows, as a share of all.
fn importances(nodes: &[TrainedNode], features: usize) -> Vec<f64> {
    let mut importances = vec![0.0; features];
    for node in nodes {
        if let Some((feature, ..)) = node.split
            && let Some(importance) = importances.get_mut(feature)
        {
            *importance += node.gain * node.counts.iter().sum::<f64>();
        }
    }
    let total: f64 = importances.iter().sum();
    if total > 0.0 {
        importances.iter_mut().for_each(|importance| *importance /= total);
    }
    importances
}

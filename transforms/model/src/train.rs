//! Training of decision trees and random forests, with Spark's parameters by name.

mod bins;
mod forest;
mod grow;
mod report;
mod save;

use std::collections::HashMap;

use levada_connector_api::{Error, Result};

use bins::Bins;
pub use forest::Subset;
pub use report::{Quality, Report};

/// How mixed the targets of a node are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impurity {
    /// Of classes: `1 - Σp²`.
    Gini,
    /// Of classes: `-Σ p·log₂ p`.
    Entropy,
    /// Of numbers: the mean square of their distance from their mean.
    Variance,
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
            "variance" => Ok(Self::Variance),
            _ => Err("use gini or entropy for classes, variance for numbers".into()),
        }
    }

    /// The name, as Spark has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gini => "gini",
            Self::Entropy => "entropy",
            Self::Variance => "variance",
        }
    }

    /// The impurity of a node's statistics, as [`TrainedNode::stats`] has them.
    fn of(self, stats: &[f64]) -> f64 {
        let total = self.count(stats);
        if total == 0.0 {
            return 0.0;
        }
        match self {
            Self::Gini => 1.0 - stats.iter().map(|count| (count / total) * (count / total)).sum::<f64>(),
            Self::Entropy => {
                let shares = stats.iter().filter(|count| **count > 0.0).map(|count| count / total);
                shares.map(|share| -share * share.log2()).sum()
            }
            Self::Variance => match stats {
                [_, sum, squares] => (squares - (sum * sum) / total) / total,
                _ => 0.0,
            },
        }
    }

    /// The rows of a node's statistics.
    fn count(self, stats: &[f64]) -> f64 {
        match self {
            Self::Gini | Self::Entropy => stats.iter().sum(),
            Self::Variance => stats.first().copied().unwrap_or(0.0),
        }
    }

    /// What a node with these statistics predicts: the first most frequent class, or the mean.
    fn prediction(self, stats: &[f64]) -> f64 {
        match self {
            Self::Gini | Self::Entropy => most(stats) as f64,
            Self::Variance => match stats {
                [count, sum, _] if *count > 0.0 => sum / count,
                _ => 0.0,
            },
        }
    }
}

/// The place of the first largest number.
fn most(of: &[f64]) -> usize {
    let mut place = 0;
    for (at, x) in of.iter().enumerate() {
        if *x > of.get(place).copied().unwrap_or(0.0) {
            place = at;
        }
    }
    place
}

/// What training may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// The impurity that splits reduce. Variance is for numbers, the others are for classes.
    pub impurity: Impurity,
    /// The deepest level; 0 is a leaf alone. At most 30.
    pub max_depth: u32,
    /// One more than the most candidates for a split of a feature; 2 to 65,536.
    pub max_bins: usize,
    /// The fewest rows of a node.
    pub min_instances_per_node: usize,
    /// The least gain of a split.
    pub min_info_gain: f64,
    /// How many trees there are: 1 is a decision tree, more are a random forest. At most 10,000.
    pub num_trees: usize,
    /// A forest's: which features a node may split by.
    pub feature_subset_strategy: Subset,
    /// A forest's: how many rows a tree sees, as a share of all.
    pub subsampling_rate: f64,
    /// A forest's: whether a tree may see a row several times.
    pub bootstrap: bool,
    /// What a forest's choices begin with: the same seed gives the same forest.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            impurity: Impurity::Gini,
            max_depth: 5,
            max_bins: 32,
            min_instances_per_node: 1,
            min_info_gain: 0.0,
            num_trees: 1,
            feature_subset_strategy: Subset::Auto,
            subsampling_rate: 1.0,
            bootstrap: true,
            seed: 0,
        }
    }
}

impl Parameters {
    fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::config(message));
        match self {
            Self { max_depth: 31.., .. } => wrong("maxDepth must be at most 30"),
            Self { max_bins, .. } if !(2..=1 << 16).contains(max_bins) => wrong("maxBins must be from 2 to 65,536"),
            Self { min_info_gain, .. } if !min_info_gain.is_finite() => wrong("minInfoGain must be a number"),
            Self { num_trees: 0 | 10_001.., .. } => wrong("numTrees must be from 1 to 10,000"),
            Self { subsampling_rate: rate, .. } if !(*rate > 0.0 && *rate <= 1.0) => {
                wrong("subsamplingRate must be above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }
}

/// What is to be predicted, row by row.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Classes, by their labels.
    Classes(&'a [&'a str]),
    /// Numbers.
    Numbers(&'a [f64]),
}

/// A node of a trained tree, in pre-order.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedNode {
    /// The most frequent class, or the mean.
    pub prediction: f64,
    /// The impurity.
    pub impurity: f64,
    /// The rows of each class; for numbers how many there are, their sum, the sum of their squares.
    pub stats: Vec<f64>,
    /// The rows.
    pub count: f64,
    /// What the split gains; -1 at a leaf.
    pub gain: f64,
    /// The split: feature, threshold, the node for what is at most the threshold, the node for the rest.
    pub split: Option<(usize, f64, usize, usize)>,
}

/// A trained tree, or a trained forest.
#[derive(Debug, Clone)]
pub struct Trained {
    /// What it was trained with.
    pub parameters: Parameters,
    /// The trees' nodes, in pre-order.
    pub trees: Vec<Vec<TrainedNode>>,
    /// The classes: the most frequent first, equally frequent ones in alphabetical order. None where it predicts numbers.
    pub labels: Option<Vec<String>>,
    /// How well it does.
    pub report: Report,
}

impl Trained {
    /// The longest way to a leaf.
    pub fn depth(&self) -> usize {
        self.trees.iter().map(|nodes| depth(nodes)).max().unwrap_or(0)
    }

    /// The class, or the number, of a row: what Spark makes of these trees.
    fn predict(&self, feature: impl Fn(usize) -> f64) -> f64 {
        let leaves = self.trees.iter().filter_map(|nodes| leaf(nodes, &feature));
        let Some(labels) = &self.labels else {
            return leaves.map(|leaf| leaf.prediction).sum::<f64>() / self.trees.len() as f64;
        };
        let mut votes = vec![0.0; labels.len()];
        for leaf in leaves {
            votes.iter_mut().zip(&leaf.stats).for_each(|(vote, count)| *vote += count / leaf.count);
        }
        most(&votes) as f64
    }
}

fn depth(nodes: &[TrainedNode]) -> usize {
    let mut open = vec![(0, 0)];
    let mut deepest = 0;
    while let Some((at, depth)) = open.pop() {
        deepest = deepest.max(depth);
        if let Some((_, _, left, right)) = nodes.get(at).and_then(|node| node.split) {
            open.extend([(left, depth + 1), (right, depth + 1)]);
        }
    }
    deepest
}

fn leaf(nodes: &[TrainedNode], feature: impl Fn(usize) -> f64) -> Option<&TrainedNode> {
    let mut at = 0;
    loop {
        let node = nodes.get(at)?;
        let Some((of, threshold, left, right)) = node.split else { return Some(node) };
        at = if feature(of) <= threshold { left } else { right };
    }
}

/// Trains a tree, or a forest: `columns` are the features.
///
/// Candidates for thresholds are chosen as Spark chooses them on data that it sees whole: midpoints between neighbouring
/// values, thinned to equal shares of rows where there are more than `max_bins - 1`. One tree is then the one that Spark
/// trains. A forest's choices by chance are others than Spark's.
///
/// # Errors
/// There is no row or no feature, a column has another length than the target, a value is missing, a parameter is out of
/// range or does not fit the target.
pub fn train(columns: &[Vec<f64>], target: Target<'_>, parameters: &Parameters) -> Result<Trained> {
    let rows = match target {
        Target::Classes(labels) => labels.len(),
        Target::Numbers(numbers) => numbers.len(),
    };
    if rows == 0 || columns.is_empty() {
        return Err(Error::data("there are no rows or no features to train on"));
    }
    if u32::try_from(rows).is_err() {
        return Err(Error::unsupported(format!("{rows} rows: training takes at most {}", u32::MAX)));
    }
    parameters.check()?;
    for (at, column) in columns.iter().enumerate() {
        if column.len() != rows {
            return Err(Error::internal(format!("feature {at} has {} rows of {rows}", column.len())));
        }
        if let Some(row) = column.iter().position(|x| x.is_nan()) {
            return Err(Error::data(format!("row {}: feature {at} is missing", row + 1))
                .hint("training needs every value: leave the row or the column out"));
        }
    }
    let (aim, labels) = aim(target, parameters.impurity)?;
    let bins: Vec<Bins> = columns.iter().map(|column| Bins::new(column, parameters.max_bins - 1)).collect();
    let trees = forest::grow(&bins, &aim, parameters);
    let report = Report::empty(&trees, columns.len());
    let mut trained = Trained { parameters: *parameters, trees, labels, report };
    let value = |feature: usize, row: usize| columns.get(feature).and_then(|c| c.get(row)).copied().unwrap_or(0.0);
    let predicted = |row: usize| trained.predict(|feature| value(feature, row));
    trained.report.quality = report::quality(&aim, predicted);
    Ok(trained)
}

/// What a tree aims at, row by row.
enum Aim {
    /// Classes' numbers, and how many classes there are.
    Classes(Vec<u32>, usize),
    Numbers(Vec<f64>),
}

impl Aim {
    fn rows(&self) -> usize {
        match self {
            Self::Classes(classes, _) => classes.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// How many statistics a node has.
    fn width(&self) -> usize {
        match self {
            Self::Classes(_, count) => *count,
            Self::Numbers(_) => 3,
        }
    }

    /// Adds a row to a node's statistics, `times` times.
    fn add(&self, row: usize, times: f64, stats: &mut [f64]) {
        match self {
            Self::Classes(classes, _) => {
                if let Some(count) = classes.get(row).and_then(|class| stats.get_mut(*class as usize)) {
                    *count += times;
                }
            }
            Self::Numbers(numbers) => {
                if let (Some(x), [count, sum, squares]) = (numbers.get(row), stats) {
                    (*count, *sum, *squares) = (*count + times, *sum + times * x, *squares + times * x * x);
                }
            }
        }
    }
}

fn aim(target: Target<'_>, impurity: Impurity) -> Result<(Aim, Option<Vec<String>>)> {
    match target {
        Target::Classes(_) if impurity == Impurity::Variance => {
            Err(Error::config("the impurity of classes is gini or entropy, variance is that of numbers"))
        }
        Target::Numbers(_) if impurity != Impurity::Variance => {
            let message = format!("the impurity of numbers is variance, {} is that of classes", impurity.as_str());
            Err(Error::config(message))
        }
        Target::Numbers(numbers) => match numbers.iter().position(|x| !x.is_finite()) {
            Some(row) => Err(Error::data(format!("row {}: what is to be predicted is no finite number", row + 1))),
            None => Ok((Aim::Numbers(numbers.to_vec()), None)),
        },
        Target::Classes(labels) => {
            let mut counts: HashMap<&str, usize> = HashMap::new();
            labels.iter().for_each(|label| *counts.entry(label).or_default() += 1);
            let mut classes: Vec<&str> = counts.keys().copied().collect();
            classes.sort_by(|a, b| counts.get(b).cmp(&counts.get(a)).then(a.cmp(b)));
            let numbers: HashMap<&str, u32> =
                classes.iter().enumerate().map(|(number, class)| (*class, number as u32)).collect();
            let targets = labels.iter().map(|label| numbers.get(label).copied().unwrap_or(0)).collect();
            let names = classes.iter().map(|class| (*class).to_owned()).collect();
            Ok((Aim::Classes(targets, classes.len()), Some(names)))
        }
    }
}

//! How well trees do on the rows that they were trained on.

use super::{Aim, TrainedNode};

/// How well predictions fit.
#[derive(Debug, Clone, PartialEq)]
pub enum Quality {
    /// Of classes.
    Classes {
        /// The share of rows that are predicted right.
        accuracy: f64,
        /// Rows by class and by prediction.
        confusion: Vec<Vec<usize>>,
    },
    /// Of numbers.
    Numbers {
        /// The root of the mean square error.
        rmse: f64,
        /// The mean of the errors' absolute values.
        mae: f64,
        /// The share of the variance that is explained: 1 is all. NaN where there is no variance.
        r2: f64,
    },
}

/// What training came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How well predictions fit the rows of the training.
    pub quality: Quality,
    /// For each feature the share of its splits in all gains.
    pub importances: Vec<f64>,
}

impl Report {
    /// A report of the importances alone.
    pub(super) fn empty(trees: &[Vec<TrainedNode>], features: usize) -> Self {
        let quality = Quality::Classes { accuracy: 0.0, confusion: Vec::new() };
        Self { quality, importances: importances(trees, features) }
    }
}

/// The gain of a feature's splits, weighted with their rows: a share of all in each tree, and of all trees' shares.
fn importances(trees: &[Vec<TrainedNode>], features: usize) -> Vec<f64> {
    let mut all = vec![0.0; features];
    for nodes in trees {
        let mut of_tree = vec![0.0; features];
        for node in nodes {
            if let Some((feature, ..)) = node.split
                && let Some(importance) = of_tree.get_mut(feature)
            {
                *importance += node.gain * node.count;
            }
        }
        normalize(&mut of_tree);
        all.iter_mut().zip(of_tree).for_each(|(all, of_tree)| *all += of_tree);
    }
    normalize(&mut all);
    all
}

fn normalize(shares: &mut [f64]) {
    let total: f64 = shares.iter().sum();
    if total > 0.0 {
        shares.iter_mut().for_each(|share| *share /= total);
    }
}

pub(super) fn quality(aim: &Aim, predicted: impl Fn(usize) -> f64) -> Quality {
    let rows = aim.rows() as f64;
    match aim {
        Aim::Classes(targets, classes) => {
            let mut confusion = vec![vec![0usize; *classes]; *classes];
            for (row, class) in targets.iter().enumerate() {
                let counts = confusion.get_mut(*class as usize);
                if let Some(count) = counts.and_then(|counts| counts.get_mut(predicted(row) as usize)) {
                    *count += 1;
                }
            }
            let right = confusion.iter().enumerate().filter_map(|(class, counts)| counts.get(class));
            Quality::Classes { accuracy: right.sum::<usize>() as f64 / rows, confusion }
        }
        Aim::Numbers(numbers) => {
            let mean = numbers.iter().sum::<f64>() / rows;
            let (mut squares, mut absolute, mut spread) = (0.0, 0.0, 0.0);
            for (row, x) in numbers.iter().enumerate() {
                let error = predicted(row) - x;
                squares += error * error;
                absolute += error.abs();
                spread += (x - mean) * (x - mean);
            }
            let r2 = if spread > 0.0 { 1.0 - squares / spread } else { f64::NAN };
            Quality::Numbers { rmse: (squares / rows).sqrt(), mae: absolute / rows, r2 }
        }
    }
}

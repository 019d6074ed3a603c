//! What trees of a forest differ in: rows and features chosen by chance.

use super::bins::Bins;
use super::grow::Grower;
use super::{Aim, Parameters, TrainedNode};

/// Which features a node of a forest's tree may split by (Spark's featureSubsetStrategy).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// All for one tree; of a forest the square root of their number for classes, a third for numbers.
    Auto,
    /// All.
    All,
    /// The square root of their number.
    Sqrt,
    /// The binary logarithm of their number.
    Log2,
    /// A third.
    OneThird,
    /// So many.
    Count(usize),
    /// This share.
    Share(f64),
}

impl Subset {
    /// The strategy called `name`; a whole number above 0, or a share above 0 and at most 1, is one, too.
    ///
    /// # Errors
    /// There is none: the message says which there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        let number = name.parse::<usize>().ok().filter(|count| *count > 0).map(Self::Count);
        let share = || name.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0).map(Self::Share);
        match name.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            "sqrt" => Ok(Self::Sqrt),
            "log2" => Ok(Self::Log2),
            "onethird" => Ok(Self::OneThird),
            _ => number.or_else(share).ok_or_else(|| {
                "use auto, all, sqrt, log2, onethird, a number of features, or a share above 0 and at most 1".into()
            }),
        }
    }

    /// The name, as Spark has it.
    pub fn name(self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::All => "all".into(),
            Self::Sqrt => "sqrt".into(),
            Self::Log2 => "log2".into(),
            Self::OneThird => "onethird".into(),
            Self::Count(count) => count.to_string(),
            Self::Share(share) => format!("{share:?}"),
        }
    }

    /// How many of `features` features.
    fn of(self, features: usize, trees: usize, classes: bool) -> usize {
        let all = features as f64;
        let count = match self {
            Self::Auto if trees == 1 => all,
            Self::Auto if classes => all.sqrt(),
            Self::Auto | Self::OneThird => all / 3.0,
            Self::All => all,
            Self::Sqrt => all.sqrt(),
            Self::Log2 => all.log2(),
            Self::Count(count) => count as f64,
            Self::Share(share) => share * all,
        };
        (count.ceil() as usize).clamp(1, features)
    }
}

/// Chance, the same in every run (splitmix64).
pub(super) struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// From 0 to below 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `count` of the numbers below `all`, in order.
    pub(super) fn choose(&mut self, count: usize, all: usize) -> Vec<usize> {
        let mut left = count;
        // Each is taken with the chance that enough are left to take.
        let take = |at: &usize| {
            let taken = self.share() * ((all - at) as f64) < left as f64;
            left -= usize::from(taken);
            taken
        };
        (0..all).filter(take).collect()
    }

    /// How often a row comes in a sample with replacement: a number of Poisson's distribution, whose mean is at most 1.
    fn poisson(&mut self, mean: f64) -> u32 {
        let limit = (-mean).exp();
        let (mut count, mut product) = (0, self.share());
        while product > limit {
            count += 1;
            product *= self.share();
        }
        count
    }
}

/// How often each row is in a tree's sample; empty: each once.
fn sample(rows: usize, parameters: &Parameters, chance: &mut Chance) -> Vec<u32> {
    let rate = parameters.subsampling_rate;
    let replaced = parameters.bootstrap && parameters.num_trees > 1;
    if !replaced && rate == 1.0 {
        return Vec::new();
    }
    let times = |chance: &mut Chance| {
        if replaced { chance.poisson(rate) } else { u32::from(chance.share() < rate) }
    };
    let sample: Vec<u32> = (0..rows).map(|_| times(chance)).collect();
    // Of few rows none may be chosen: a tree needs one.
    if sample.iter().all(|times| *times == 0) { Vec::new() } else { sample }
}

/// Grows all trees, several at once.
pub(super) fn grow(features: &[Bins], aim: &Aim, parameters: &Parameters) -> Vec<Vec<TrainedNode>> {
    let classes = matches!(aim, Aim::Classes(..));
    let few = parameters.feature_subset_strategy.of(features.len(), parameters.num_trees, classes);
    let tree = |number: usize| {
        let mut chance = Chance(parameters.seed ^ (number as u64).wrapping_mul(0xd134_2543_de82_ef95));
        let times = sample(aim.rows(), parameters, &mut chance);
        Grower::new(features, aim, parameters, times, few, chance).grow()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(parameters.num_trees);
    if threads == 1 {
        return (0..parameters.num_trees).map(tree).collect();
    }
    let mut trees = vec![Vec::new(); parameters.num_trees];
    std::thread::scope(|scope| {
        let share = parameters.num_trees.div_ceil(threads);
        for (part, trees) in trees.chunks_mut(share).enumerate() {
            let tree = &tree;
            scope.spawn(move || {
                trees.iter_mut().enumerate().for_each(|(at, nodes)| *nodes = tree(part * share + at));
            });
        }
    });
    trees
}

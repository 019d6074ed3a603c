//! The one form that every format is read into: trees of tests, and leaves that vote.

use levada_connector_api::{Error, Result};

/// How a feature is compared at a node. Every comparison is made in `f64`; a model of `f32` rounds its features first,
/// and widening an `f32` keeps order and equality.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `x <= at`. NaN passes if `nan`.
    AtMost {
        /// The threshold.
        at: f64,
        /// Whether NaN passes.
        nan: bool,
    },
    /// `x < at`. NaN passes if `nan`.
    Below {
        /// The threshold.
        at: f64,
        /// Whether NaN passes.
        nan: bool,
    },
    /// `x == at`. NaN passes if `nan`.
    Equal {
        /// The value.
        at: f64,
        /// Whether NaN passes.
        nan: bool,
    },
    /// `x <= at`, but zero and NaN pass if `missing`, and only then.
    AtMostZeroMissing {
        /// The threshold.
        at: f64,
        /// Whether zero and NaN pass.
        missing: bool,
    },
    /// `x` is in the set of this number. NaN passes if `nan`.
    Member {
        /// The set's place in [`Forest::sets`].
        set: u32,
        /// Whether NaN passes.
        nan: bool,
    },
}

/// How a number becomes a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Only whole numbers are categories (Spark).
    Exact,
    /// Cut towards zero; what is below zero is none (XGBoost).
    CutPositive,
    /// Cut towards zero, then what is below zero is none (LightGBM).
    Cut,
}

/// A set of numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Set {
    /// Categories from 0, a bit each.
    Bits {
        /// The bits.
        words: Vec<u64>,
        /// How a number becomes a category.
        rounding: Rounding,
    },
    /// Any numbers, in order, without NaN.
    Values(Vec<f64>),
}

impl Set {
    /// A set of categories.
    pub fn bits(categories: impl IntoIterator<Item = u32>, rounding: Rounding) -> Self {
        let mut words = Vec::new();
        for category in categories {
            let word = category as usize / 64;
            if words.len() <= word {
                words.resize(word + 1, 0u64);
            }
            if let Some(word) = words.get_mut(word) {
                *word |= 1 << (category % 64);
            }
        }
        Self::Bits { words, rounding }
    }

    /// Whether `x`, which is not NaN, is in it.
    pub fn holds(&self, x: f64) -> bool {
        match self {
            Self::Bits { words, rounding } => {
                let valid = match rounding {
                    Rounding::Exact => x >= 0.0 && x.trunc() == x,
                    Rounding::CutPositive => x >= 0.0,
                    Rounding::Cut => x > -1.0,
                };
                // What is too large saturates and has no bit.
                let category = x as usize;
                valid && words.get(category / 64).is_some_and(|word| word >> (category % 64) & 1 == 1)
            }
            Self::Values(values) => values.binary_search_by(|value| value.total_cmp(&(x + 0.0))).is_ok(),
        }
    }

    /// Its members, for people.
    pub fn describe(&self) -> String {
        let members: Vec<String> = match self {
            Self::Bits { words, .. } => (0..words.len() * 64)
                .filter(|bit| words.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1))
                .map(|bit| bit.to_string())
                .collect(),
            Self::Values(values) => values.iter().map(f64::to_string).collect(),
        };
        format!("{{{}}}", members.join(", "))
    }
}

impl Test {
    /// Whether `x` passes.
    pub fn passes(&self, x: f64, sets: &[Set]) -> bool {
        match *self {
            Self::AtMost { at, nan } => x <= at || (nan && x.is_nan()),
            Self::Below { at, nan } => x < at || (nan && x.is_nan()),
            Self::Equal { at, nan } => x == at || (nan && x.is_nan()),
            Self::AtMostZeroMissing { at, missing } => {
                if x == 0.0 || x.is_nan() {
                    missing
                } else {
                    x <= at
                }
            }
            Self::Member { set, nan } => {
                if x.is_nan() {
                    nan
                } else {
                    sets.get(set as usize).is_some_and(|set| set.holds(x))
                }
            }
        }
    }
}

/// A node of a tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// The end of a walk.
    Leaf(u32),
    /// A question.
    Split(Split),
}

/// A question about a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The feature's number.
    pub feature: u32,
    /// The question.
    pub test: Test,
    /// The node where what passes goes.
    pub yes: u32,
    /// The node where everything else goes.
    pub no: u32,
}

/// A tree. The first node is its root; children come after their parents.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The nodes, in pre-order.
    pub nodes: Vec<Node>,
    /// The longest way from the root to a leaf, in questions.
    pub depth: u32,
}

/// How leaves' votes become a number a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Their sum in `f64`.
    Sum64,
    /// Their sum in `f32`, tree by tree.
    Sum32,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// How a feature is changed before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Not at all.
    F64,
    /// Rounded to `f32`.
    F32,
    /// Numbers of at most `1e-35` in magnitude become zero.
    TinyIsZero,
}

/// The absolute value up to which LightGBM takes a number for zero: `1e-35f`.
pub const TINY: f64 = 1e-35_f32 as f64;

impl Feature {
    /// The changed feature.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::F64 => x,
            Self::F32 => f64::from(x as f32),
            Self::TinyIsZero if x.abs() <= TINY => 0.0,
            Self::TinyIsZero => x,
        }
    }
}

/// Trees, and what their leaves say.
#[derive(Debug, Clone)]
pub struct Forest {
    /// The trees.
    pub trees: Vec<Tree>,
    /// The sets that tests name.
    pub sets: Vec<Set>,
    /// How many features there are.
    pub features: usize,
    /// How many targets are voted for.
    pub targets: usize,
    /// What each target starts with: as many as there are targets.
    pub start: Vec<f64>,
    /// How votes are put together.
    pub fold: Fold,
    /// How features are changed before they are compared.
    pub feature: Feature,
    /// The number of each leaf in its own format.
    pub leaf_ids: Vec<u32>,
    /// Where each leaf's votes begin in `votes`; one entry more than there are leaves.
    pub vote_starts: Vec<u32>,
    /// Votes: a target and its amount.
    pub votes: Vec<(u32, f64)>,
    /// The variance at each leaf, where the format has it.
    pub variances: Vec<f64>,
}

/// A node as a format has it, before it is checked.
pub(crate) enum Raw {
    /// A leaf: its number in the format (none: as they come, in pre-order), its votes, its variance.
    Leaf { id: Option<u32>, votes: Vec<(u32, f64)>, variance: f64 },
    /// A question, with the format's numbers of the nodes that follow.
    Split { feature: i64, test: Test, yes: i64, no: i64 },
}

/// The most features of a model, and the most targets.
const MOST: usize = 1 << 20;

impl Forest {
    /// A forest without trees.
    ///
    /// # Errors
    /// There are more features or targets than any model has.
    pub(crate) fn new(features: usize, targets: usize, fold: Fold, feature: Feature) -> Result<Self> {
        for (count, what) in [(features, "features"), (targets, "targets")] {
            if count > MOST {
                return Err(Error::unsupported(format!("the model has {count} {what}, {MOST} are the most")));
            }
        }
        Ok(Self {
            trees: Vec::new(),
            sets: Vec::new(),
            features,
            targets,
            start: vec![0.0; targets],
            fold,
            feature,
            leaf_ids: Vec::new(),
            vote_starts: vec![0],
            votes: Vec::new(),
            variances: Vec::new(),
        })
    }

    /// The votes of a leaf.
    pub fn votes_of(&self, leaf: u32) -> &[(u32, f64)] {
        let leaf = leaf as usize;
        let (Some(&from), Some(&to)) = (self.vote_starts.get(leaf), self.vote_starts.get(leaf + 1)) else { return &[] };
        self.votes.get(from as usize..to as usize).unwrap_or_default()
    }

    /// Adds a set and answers with its number.
    pub(crate) fn add_set(&mut self, set: Set) -> u32 {
        self.sets.push(set);
        (self.sets.len() - 1) as u32
    }

    /// Adds a tree whose nodes are those that `node` gives from `root` on, each reached once.
    ///
    /// # Errors
    /// A child is not there (`count` nodes are), a node is reached twice, a feature or target is not there. The error
    /// names tree and node.
    pub(crate) fn grow(
        &mut self,
        root: i64,
        count: usize,
        mut node: impl FnMut(&mut Self, usize) -> Result<Raw>,
    ) -> Result<()> {
        let number = self.trees.len();
        // `count` is what the file says: room is made for what is there.
        let mut nodes: Vec<Node> = Vec::new();
        let mut seen = vec![false; count];
        let mut deepest = 0;
        let mut next_leaf = 0;
        // Node, parent in `nodes`, whether it is the child of the ones that pass, depth.
        let mut open = vec![(root, None::<(usize, bool)>, 0u32)];
        while let Some((id, parent, depth)) = open.pop() {
            let from = || format!("tree {number}, node {id}");
            let place = usize::try_from(id).ok().filter(|id| *id < count);
            let Some(place) = place else {
                let message = format!("there is no such node, the tree has {count}");
                return Err(Error::corrupt(message).context(from()));
            };
            match seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    let message = "two ways lead to it: the nodes form a cycle or share a child";
                    return Err(Error::corrupt(message).context(from()));
                }
            }
            let raw = node(self, place).map_err(|error| error.context(from()))?;
            let here = nodes.len();
            match raw {
                Raw::Leaf { id, votes, variance } => {
                    if let Some((target, _)) = votes.iter().find(|(target, _)| *target as usize >= self.targets) {
                        let message = format!("the leaf votes for target {target}, there are {}", self.targets);
                        return Err(Error::corrupt(message).context(from()));
                    }
                    nodes.push(Node::Leaf(self.leaf_ids.len() as u32));
                    self.leaf_ids.push(id.unwrap_or(next_leaf));
                    next_leaf += 1;
                    self.votes.extend(votes);
                    self.vote_starts.push(self.votes.len() as u32);
                    self.variances.push(variance);
                    deepest = deepest.max(depth);
                }
                Raw::Split { feature, test, yes, no } => {
                    let Some(feature) = u32::try_from(feature).ok().filter(|f| (*f as usize) < self.features) else {
                        let message = format!("it asks for feature {feature}, the model has {}", self.features);
                        return Err(Error::corrupt(message).context(from()));
                    };
                    nodes.push(Node::Split(Split { feature, test, yes: 0, no: 0 }));
                    open.push((no, Some((here, false)), depth + 1));
                    open.push((yes, Some((here, true)), depth + 1));
                }
            }
            if let Some((parent, passes)) = parent
                && let Some(Node::Split(split)) = nodes.get_mut(parent)
            {
                *(if passes { &mut split.yes } else { &mut split.no }) = here as u32;
            }
        }
        self.trees.push(Tree { nodes, depth: deepest });
        Ok(())
    }
}

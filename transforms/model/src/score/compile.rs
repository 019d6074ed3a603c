//! Trees as the kernels walk them.

use super::block::ROWS;
use super::kernel::Nodes;
use crate::forest::{Feature, Forest, Node, Test, Tree};

/// A tree.
#[derive(Debug)]
pub(super) enum Shape<T> {
    /// All its nodes compare.
    Plain(Plain<T>),
    /// It is walked as it is.
    Other,
}

/// A tree whose nodes all compare.
#[derive(Debug)]
pub(super) struct Plain<T> {
    pub(super) nodes: Nodes<T>,
    /// How many steps lead from the root to any leaf.
    pub(super) depth: u32,
    /// A leaf's number; of no meaning at other nodes.
    pub(super) leaves: Vec<u32>,
    /// A leaf's only vote; of no meaning at other nodes, and where leaves have several votes.
    pub(super) votes: Vec<f64>,
}

/// A number that kernels compare.
pub(super) trait Number: Copy + PartialOrd + Default + Send + Sync + 'static {
    const INFINITY: Self;
    fn of(x: f64) -> Self;
    fn of32(x: f32) -> Self;
    fn wide(self) -> f64;
    fn next_down(self) -> Self;
    fn is_nan(self) -> bool;
    /// Numbers of this type, if they are.
    fn same<F: Number>(numbers: &[F]) -> Option<&[Self]>;
    /// The numbers, if they are `f32`.
    fn floats(numbers: &[Self]) -> Option<&[f32]>;
    /// The numbers, if they are `f64`.
    fn doubles(numbers: &[Self]) -> Option<&[f64]>;
}

macro_rules! number {
    ($type:ident, $same:ident, $floats:expr, $doubles:expr) => {
        impl Number for $type {
            const INFINITY: Self = $type::INFINITY;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $type
            }
            #[inline(always)]
            #[allow(clippy::useless_conversion, reason = "one of the types is f32 itself")]
            fn of32(x: f32) -> Self {
                $type::from(x)
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }
            fn next_down(self) -> Self {
                $type::next_down(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
            #[inline(always)]
            fn floats(numbers: &[Self]) -> Option<&[f32]> {
                $floats(numbers)
            }
            #[inline(always)]
            fn doubles(numbers: &[Self]) -> Option<&[f64]> {
                $doubles(numbers)
            }
            #[inline(always)]
            fn same<F: Number>(numbers: &[F]) -> Option<&[Self]> {
                F::$same(numbers)
            }
        }
    };
}
number!(f32, floats, Some, |_| None);
number!(f64, doubles, |_| None, Some);

/// The vote of a leaf, where every leaf of every tree votes once and a tree always for the same target.
#[derive(Debug)]
pub(super) struct Single {
    /// The target of each tree.
    pub(super) targets: Vec<u32>,
    /// The vote of each leaf.
    pub(super) votes: Vec<f64>,
}

/// A forest, compiled.
#[derive(Debug)]
pub(super) enum Compiled {
    F32(Vec<Shape<f32>>, Option<Single>),
    F64(Vec<Shape<f64>>, Option<Single>),
}

impl Compiled {
    pub(super) fn new(forest: &Forest) -> Self {
        let single = single(forest);
        match forest.feature {
            Feature::F32 => Self::F32(shapes(forest, single.as_ref()), single),
            Feature::F64 | Feature::TinyIsZero => Self::F64(shapes(forest, single.as_ref()), single),
        }
    }
}

fn single(forest: &Forest) -> Option<Single> {
    let mut targets = Vec::with_capacity(forest.trees.len());
    let mut votes = vec![0.0; forest.leaf_ids.len()];
    for tree in &forest.trees {
        let mut target = None;
        for node in &tree.nodes {
            let Node::Leaf(leaf) = node else { continue };
            let [(of, vote)] = forest.votes_of(*leaf) else { return None };
            if *target.get_or_insert(*of) != *of {
                return None;
            }
            *votes.get_mut(*leaf as usize)? = *vote;
        }
        targets.push(target?);
    }
    Some(Single { targets, votes })
}

fn shapes<T: Number>(forest: &Forest, single: Option<&Single>) -> Vec<Shape<T>> {
    let shape = |tree| pack(tree, forest.features, single).map_or(Shape::Other, Shape::Plain);
    forest.trees.iter().map(shape).collect()
}

/// Lays a tree out level by level, so that the upper levels, which every row meets, are close together. None: it asks for
/// more than comparisons, or does not fit the kernel's numbers.
fn pack<T: Number>(tree: &Tree, features: usize, single: Option<&Single>) -> Option<Plain<T>> {
    let count = tree.nodes.len();
    let (mut at, mut offset) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut first, mut nan) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut leaves = Vec::with_capacity(count);
    let mut level = vec![0u32];
    while !level.is_empty() {
        let mut next = (at.len() + level.len()) as u32;
        let mut below = Vec::new();
        for node in level {
            match tree.nodes.get(node as usize)? {
                Node::Leaf(leaf) => {
                    first.push(at.len() as u32);
                    at.push(T::INFINITY);
                    offset.push(0);
                    nan.push(0);
                    leaves.push(*leaf);
                }
                Node::Split(split) => {
                    let (limit, nan_first) = match split.test {
                        Test::AtMost { at, nan } if !at.is_nan() => (T::of(at), nan),
                        Test::Below { at, nan } if at > f64::NEG_INFINITY => (T::of(at).next_down(), nan),
                        _ => return None,
                    };
                    at.push(limit);
                    offset.push(u32::try_from((split.feature as usize).checked_mul(ROWS)?).ok()?);
                    first.push(next);
                    nan.push(u32::from(!nan_first));
                    leaves.push(0);
                    next += 2;
                    below.extend([split.yes, split.no]);
                }
            }
        }
        level = below;
    }
    let vote = |leaf: &u32| single.and_then(|single| single.votes.get(*leaf as usize)).copied().unwrap_or(0.0);
    let votes = leaves.iter().map(vote).collect();
    Some(Plain { nodes: Nodes::new(at, offset, first, nan, features)?, depth: tree.depth, leaves, votes })
}

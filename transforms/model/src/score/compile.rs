//! Trees as the kernels walk them.

use crate::forest::{Feature, Forest, Node, Test, Tree};

/// The bit of [`Packed::feature`] that sends NaN to the second child.
pub(super) const NAN_SECOND: u32 = 1 << 31;

/// A node: the second child follows the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<T> {
    /// What is above it goes to the second child. A leaf's is infinite: nothing is above it.
    pub(super) at: T,
    /// The feature, and [`NAN_SECOND`].
    pub(super) feature: u32,
    /// The first child's place in the tree; a leaf's own place.
    pub(super) first: u32,
}

/// A tree.
#[derive(Debug)]
pub(super) enum Shape {
    /// All its nodes compare: its nodes from `from` on, `depth` steps lead from the root to any leaf.
    Plain { from: usize, count: usize, depth: u32 },
    /// It is walked as it is.
    Other,
}

/// A number that kernels compare.
pub(super) trait Number: Copy + PartialOrd + Default + Send + Sync + 'static {
    const INFINITY: Self;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn next_down(self) -> Self;
    fn is_nan(self) -> bool;
}

macro_rules! number {
    ($type:ident) => {
        impl Number for $type {
            const INFINITY: Self = $type::INFINITY;
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $type
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
        }
    };
}
number!(f32);
number!(f64);

/// Trees of one kind of number.
#[derive(Debug)]
pub(super) struct Trees<T> {
    pub(super) shapes: Vec<Shape>,
    pub(super) nodes: Vec<Packed<T>>,
    /// For each of `nodes`, its leaf; of no meaning at others.
    pub(super) leaves: Vec<u32>,
}

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
    F32(Trees<f32>, Option<Single>),
    F64(Trees<f64>, Option<Single>),
}

impl Compiled {
    pub(super) fn new(forest: &Forest) -> Self {
        let single = single(forest);
        match forest.feature {
            Feature::F32 => Self::F32(Trees::new(forest), single),
            Feature::F64 | Feature::TinyIsZero => Self::F64(Trees::new(forest), single),
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

impl<T: Number> Trees<T> {
    fn new(forest: &Forest) -> Self {
        let mut trees = Self { shapes: Vec::new(), nodes: Vec::new(), leaves: Vec::new() };
        for tree in &forest.trees {
            let from = trees.nodes.len();
            let shape = match trees.pack(tree) {
                Some(()) => Shape::Plain { from, count: trees.nodes.len() - from, depth: tree.depth },
                None => {
                    trees.nodes.truncate(from);
                    trees.leaves.truncate(from);
                    Shape::Other
                }
            };
            trees.shapes.push(shape);
        }
        trees
    }

    /// Lays a tree out level by level, so that the upper levels, which every row meets, are close together.
    fn pack(&mut self, tree: &Tree) -> Option<()> {
        let mut level = vec![0u32];
        let mut places = 1u32;
        while !level.is_empty() {
            let mut below = Vec::new();
            for node in level {
                match tree.nodes.get(node as usize)? {
                    Node::Leaf(leaf) => {
                        self.nodes.push(Packed { at: T::INFINITY, feature: 0, first: u32::MAX });
                        self.leaves.push(*leaf);
                    }
                    Node::Split(split) => {
                        let (at, nan) = match split.test {
                            Test::AtMost { at, nan } if !at.is_nan() => (T::of(at), nan),
                            Test::Below { at, nan } if at > f64::NEG_INFINITY => (T::of(at).next_down(), nan),
                            _ => return None,
                        };
                        let feature = split.feature | if nan { 0 } else { NAN_SECOND };
                        self.nodes.push(Packed { at, feature, first: places });
                        self.leaves.push(0);
                        places += 2;
                        below.extend([split.yes, split.no]);
                    }
                }
            }
            level = below;
        }
        let from = self.nodes.len() - places as usize;
        for (place, node) in self.nodes.iter_mut().skip(from).enumerate() {
            if node.first == u32::MAX {
                node.first = place as u32;
            }
        }
        Some(())
    }
}

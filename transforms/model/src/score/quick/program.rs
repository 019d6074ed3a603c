//! Trees as lists of steps.

use super::super::compile::Number;
use super::ranks::{Nan, Ranks};
use super::{BLOCK, kernel::SLOTS};
use crate::forest::{Feature, Fold, Forest, Node, TINY, Test, Tree};

/// The most leaves of a tree: their numbers are bytes.
const LEAVES: usize = 256;

/// A step: the answer of one node, from those of its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Where the feature's ranks begin in the block.
    pub(super) offset: u32,
    /// Ranks above it go to the second child.
    pub(super) limit: u16,
    /// The slot with the first child's answer. Slot 0 is a leaf's: nothing.
    pub(super) first: u8,
    /// The slot with the second child's answer.
    pub(super) second: u8,
    /// The leaves of the first child, which come before those of the second.
    pub(super) before: u8,
    /// The slot of this answer.
    pub(super) to: u8,
}

/// A tree.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    /// The slot of the root's answer.
    pub(super) root: u8,
    pub(super) leaves: usize,
    /// The target that the tree votes for, if it votes for one.
    pub(super) target: u32,
    /// For each target that is voted for, the votes of the leaves, in the precision of the sums.
    pub(super) votes32: Vec<[f32; LEAVES]>,
    pub(super) votes64: Vec<[f64; LEAVES]>,
}

/// A forest.
pub(super) struct Shared<T> {
    pub(super) ranks: Vec<Ranks<T>>,
    pub(super) trees: Vec<Program>,
    pub(super) dense: bool,
    pub(super) wide: bool,
}

/// What a node asks of features that are not changed: above which number they go to the second child, and whether NaN
/// does.
fn limit<T: Number>(test: &Test, change: Feature) -> Option<(T, bool)> {
    match *test {
        // What is tiny is zero: it is on zero's side of the limit.
        Test::AtMost { at, nan } if change == Feature::TinyIsZero && at.abs() <= TINY => {
            Some((T::of(if at < 0.0 { (-TINY).next_down() } else { TINY }), !nan))
        }
        Test::AtMost { at, nan } if !at.is_nan() => Some((T::of(at), !nan)),
        Test::Below { at, nan } if at > f64::NEG_INFINITY => Some((T::of(at).next_down(), !nan)),
        _ => None,
    }
}

pub(super) fn compile<T: Number>(forest: &Forest) -> Option<Shared<T>> {
    let mut limits: Vec<(Vec<T>, Option<Nan>)> = (0..forest.features).map(|_| (Vec::new(), None)).collect();
    for tree in &forest.trees {
        for node in &tree.nodes {
            let Node::Split(split) = node else { continue };
            let (limit, second) = limit::<T>(&split.test, forest.feature)?;
            let (limits, nan) = limits.get_mut(split.feature as usize)?;
            limits.push(limit);
            let wish = if second { Nan::Second } else { Nan::First };
            *nan = Some(if nan.is_none_or(|nan| nan == wish) { wish } else { Nan::Mixed });
        }
    }
    let mut ranks = Vec::new();
    // Where each feature's ranks are in their list, and in the block.
    let mut places = vec![(0, 0); forest.features];
    let mut columns = 0;
    for (feature, (limits, nan)) in limits.into_iter().enumerate() {
        if let Some(nan) = nan {
            *places.get_mut(feature)? = (ranks.len(), columns);
            let of = Ranks::new(feature, limits, nan)?;
            columns += of.columns();
            ranks.push(of);
        }
    }
    let wide = ranks.iter().any(|ranks| ranks.count > usize::from(u8::MAX));
    let dense = dense(forest)?;
    let mut trees = Vec::with_capacity(forest.trees.len());
    for tree in &forest.trees {
        let mut writer = Writer {
            tree,
            change: forest.feature,
            ranks: &ranks,
            places: &places,
            steps: Vec::new(),
            leaves: Vec::new(),
        };
        let (root, count) = writer.node(0, 1)?;
        let (steps, leaves) = (writer.steps, writer.leaves);
        let mut program = Program { steps, root, leaves: count, target: 0, votes32: Vec::new(), votes64: Vec::new() };
        program.vote(forest, &leaves, dense)?;
        trees.push(program);
    }
    Some(Shared { ranks, trees, dense, wide })
}

/// Whether each leaf votes once for each of several targets; none if it neither does that nor votes for the one target
/// of its tree.
fn dense(forest: &Forest) -> Option<bool> {
    let mut dense = None;
    for tree in &forest.trees {
        let mut target = None;
        for node in &tree.nodes {
            let Node::Leaf(leaf) = node else { continue };
            let votes = forest.votes_of(*leaf);
            let all = votes.len() == forest.targets && votes.iter().enumerate().all(|(at, vote)| vote.0 as usize == at);
            let many = votes.len() > 1;
            if (many && !all) || votes.is_empty() || *dense.get_or_insert(many) != many {
                return None;
            }
            let of = votes.first()?.0;
            if *target.get_or_insert(of) != of {
                return None;
            }
        }
    }
    dense
}

struct Writer<'a, T> {
    tree: &'a Tree,
    change: Feature,
    ranks: &'a [Ranks<T>],
    places: &'a [(usize, usize)],
    steps: Vec<Step>,
    /// The forest's numbers of the leaves, from the first to the last.
    leaves: Vec<(usize, u32)>,
}

impl<T: Number> Writer<'_, T> {
    /// How many leaves are below a node; none if there are too many.
    fn count(&self, node: u32) -> Option<usize> {
        let (mut open, mut leaves) = (vec![node], 0);
        while let Some(node) = open.pop() {
            match self.tree.nodes.get(node as usize)? {
                Node::Leaf(_) => leaves += 1,
                Node::Split(split) => open.extend([split.yes, split.no]),
            }
            if leaves > LEAVES {
                return None;
            }
        }
        Some(leaves)
    }

    /// Writes the steps of a node, whose answer goes to the slot `free` or above; its slot and its leaves. Trees have at
    /// most 255 questions, so this may call itself.
    fn node(&mut self, root: u32, free: usize) -> Option<(u8, usize)> {
        self.count(root)?;
        self.below(root, free, 0)
    }

    fn below(&mut self, node: u32, free: usize, place: usize) -> Option<(u8, usize)> {
        let split = match self.tree.nodes.get(node as usize)? {
            Node::Leaf(leaf) => {
                self.leaves.push((place, *leaf));
                return Some((0, 1));
            }
            Node::Split(split) => split,
        };
        let (yes, no) = (self.count(split.yes)?, self.count(split.no)?);
        // The larger one first: it needs more slots.
        let (first, second);
        if yes >= no {
            first = self.below(split.yes, free, place)?.0;
            second = self.below(split.no, free + usize::from(first > 0), place + yes)?.0;
        } else {
            second = self.below(split.no, free, place + yes)?.0;
            first = self.below(split.yes, free + usize::from(second > 0), place)?.0;
        }
        if free >= SLOTS {
            return None;
        }
        let (above, nan_second) = limit::<T>(&split.test, self.change)?;
        let (place, column) = *self.places.get(split.feature as usize)?;
        let ranks = self.ranks.get(place)?;
        let limit = ranks.number(above)?;
        // Of two columns the second one has NaN above all.
        let column = column + usize::from(nan_second && ranks.nan == Nan::Mixed);
        let offset = u32::try_from(column.checked_mul(BLOCK)?).ok()?;
        self.steps.push(Step { offset, limit, first, second, before: u8::try_from(yes).ok()?, to: free as u8 });
        Some((free as u8, yes + no))
    }
}

impl Program {
    fn vote(&mut self, forest: &Forest, leaves: &[(usize, u32)], dense: bool) -> Option<()> {
        let width = if dense { forest.targets } else { 1 };
        if forest.fold == Fold::Sum32 {
            self.votes32 = vec![[0.0; LEAVES]; width];
        } else {
            self.votes64 = vec![[0.0; LEAVES]; width];
        }
        for (place, leaf) in leaves {
            for (at, (target, vote)) in forest.votes_of(*leaf).iter().enumerate() {
                if !dense {
                    self.target = *target;
                }
                if let Some(votes) = self.votes32.get_mut(at) {
                    *votes.get_mut(*place)? = *vote as f32;
                }
                if let Some(votes) = self.votes64.get_mut(at) {
                    *votes.get_mut(*place)? = *vote;
                }
            }
        }
        Some(())
    }
}

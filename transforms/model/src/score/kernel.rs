//! Several rows go down a tree at once.

use super::block::ROWS;
use super::compile::Number;

/// How many rows go down together: enough for the machine to have work while loads are under way, and few enough for
/// its registers.
pub(super) const LANES: usize = 8;

/// From this depth on it pays to see whether all rows have reached their leaves.
const DEEP: u32 = 10;

/// The nodes of one tree. Whoever holds one knows that every child is one of them, and that every feature lies in a block
/// of as many features as it was checked for.
///
/// A list for each property of the nodes, which are laid out level by level.
#[derive(Debug)]
pub(super) struct Nodes<T> {
    /// What is above it goes to the second child. A leaf's is infinite: nothing is above it.
    at: Vec<T>,
    /// Where the feature begins in a block.
    offset: Vec<u32>,
    /// The first child, which the second one follows; a leaf's own place.
    first: Vec<u32>,
    /// 1 where NaN goes to the second child.
    nan: Vec<u32>,
    features: usize,
}

impl<T: Number> Nodes<T> {
    /// Checks nodes. None: a child or feature is out of range, or the lists differ in length.
    pub(super) fn new(at: Vec<T>, offset: Vec<u32>, first: Vec<u32>, nan: Vec<u32>, features: usize) -> Option<Self> {
        let count = at.len();
        let lengths = count > 0 && offset.len() == count && first.len() == count && nan.len() == count;
        // A leaf leads to itself, whatever it is asked; the children of others are two that stand together.
        let children = first.iter().zip(&at).enumerate().all(|(own, (first, at))| {
            let first = *first as usize;
            let leaf = first == own && *at >= T::INFINITY;
            leaf || first + 1 < count
        });
        let offsets =
            offset.iter().all(|offset| (*offset as usize).is_multiple_of(ROWS) && *offset as usize / ROWS < features);
        let flags = nan
            .iter()
            .zip(&first)
            .enumerate()
            .all(|(own, (nan, first))| *nan <= 1 && (*first as usize != own || *nan == 0));
        (lengths && children && offsets && flags).then_some(Self { at, offset, first, nan, features })
    }

    /// Walks the rows of a block down the tree. `block` holds feature after feature, [`ROWS`] numbers each; `ends` gets
    /// the place of each row's leaf. With `NAN`, features may be NaN.
    #[inline(never)]
    pub(super) fn walk<const NAN: bool>(&self, depth: u32, block: &[T], ends: &mut [u32; ROWS]) {
        if block.len() < self.features * ROWS {
            return;
        }
        for (chunk, ends) in ends.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let row = chunk * LANES;
            let mut at = [0u32; LANES];
            if depth < DEEP {
                for _ in 0..depth {
                    self.step::<NAN>(block, row, &mut at);
                }
            } else {
                for round in 0..depth {
                    let before = at;
                    self.step::<NAN>(block, row, &mut at);
                    if round % 2 == 1 && before == at {
                        break;
                    }
                }
            }
            *ends = at;
        }
    }

    #[inline(always)]
    #[allow(
        unsafe_code,
        reason = "bounds checks are half of the time of a walk; what they would check was checked once"
    )]
    fn step<const NAN: bool>(&self, block: &[T], row: usize, at: &mut [u32; LANES]) {
        for (lane, at) in at.iter_mut().enumerate() {
            let node = *at as usize;
            debug_assert!(node < self.at.len() && self.offset.len() == self.at.len());
            // SAFETY: a walk begins at 0, and `new` has seen that there is a node and that the lists are equally long. A
            // step goes to `first` or the node after it; of a leaf it goes to `first`, the leaf itself, since nothing is
            // above infinity and its `nan` is 0. `new` has seen that `first + 1` of all others is a node, and that `nan`
            // is at most 1. So `node` is always a place in all four lists.
            let (limit, offset, first) = unsafe {
                (*self.at.get_unchecked(node), *self.offset.get_unchecked(node), *self.first.get_unchecked(node))
            };
            let place = offset as usize + row + lane;
            debug_assert!(place < block.len());
            // SAFETY: `row + lane` is below ROWS, since `walk` goes over chunks of a list of that length. `new` has seen
            // that `offset` is a multiple of ROWS below `features * ROWS`, and `walk` that the block has so many numbers.
            let x = unsafe { *block.get_unchecked(place) };
            let mut second = u32::from(x > limit);
            if NAN {
                // SAFETY: as above.
                let nan = unsafe { *self.nan.get_unchecked(node) };
                second |= u32::from(x.is_nan()) & nan;
            }
            *at = first + second;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_lead_out_of_the_tree_or_the_block_are_refused() {
        let nodes = |first: &[u32], offset: &[u32], nan: &[u32]| {
            let lists = (offset.to_vec(), first.to_vec(), nan.to_vec());
            Nodes::new(vec![0.5f32, f32::INFINITY, f32::INFINITY], lists.0, lists.1, lists.2, 2).is_some()
        };
        assert!(nodes(&[1, 1, 2], &[256, 0, 0], &[1, 0, 0]));
        assert!(!nodes(&[2, 1, 2], &[0, 0, 0], &[0; 3]), "the second child is beyond the end");
        assert!(!nodes(&[1, 1, 2], &[512, 0, 0], &[0; 3]), "the feature is beyond the block");
        assert!(!nodes(&[1, 1, 2], &[1, 0, 0], &[0; 3]), "the feature is not aligned");
        assert!(!nodes(&[1, 1, 2], &[0, 0, 0], &[2, 0, 0]), "NaN would go beyond the second child");
        assert!(!nodes(&[1, 1, 2], &[0, 0, 0], &[0, 0, 1]), "NaN would leave a leaf");
        assert!(!nodes(&[1, 1], &[0, 0, 0], &[0; 3]), "a list is short");
        assert!(Nodes::new(vec![0.5f64], vec![0], vec![0], vec![0], 1).is_none(), "a leaf that is no leaf");
    }

    #[test]
    fn rows_reach_their_leaves() {
        let at = vec![0.5, f64::INFINITY, f64::INFINITY];
        let nodes = Nodes::new(at, vec![0; 3], vec![1, 1, 2], vec![1, 0, 0], 1).unwrap();
        let mut block = vec![0.5; ROWS];
        (block[1], block[2], block[ROWS - 1]) = (0.5f64.next_up(), f64::NAN, f64::NEG_INFINITY);
        let mut ends = [9; ROWS];
        nodes.walk::<true>(1, &block, &mut ends);
        assert_eq!((&ends[..4], ends[ROWS - 1]), (&[1, 2, 2, 1][..], 1));
        let mut untouched = [9; ROWS];
        nodes.walk::<false>(1, &block[1..], &mut untouched);
        assert_eq!(untouched, [9; ROWS], "a block that is too short is not walked");
    }
}

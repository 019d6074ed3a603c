//! Several rows go down a tree at once.

use super::compile::{NAN_SECOND, Number, Packed};

/// How many rows go down together: enough for the machine to have work while loads are under way.
pub(super) const LANES: usize = 16;

/// From this depth on it pays to see whether all rows have reached their leaves.
const DEEP: u32 = 10;

/// Walks the rows of a block down a tree: `nodes` from its root on. `block` holds feature after feature, `ROWS` numbers
/// each; `ends` gets the place of each row's leaf in `nodes`.
#[inline(never)]
pub(super) fn walk<T: Number, const ROWS: usize, const NAN: bool>(
    nodes: &[Packed<T>],
    depth: u32,
    block: &[T],
    ends: &mut [u32; ROWS],
) {
    for (chunk, ends) in ends.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let row = chunk * LANES;
        let mut at = [0u32; LANES];
        if depth < DEEP {
            for _ in 0..depth {
                step::<T, ROWS, NAN>(nodes, block, row, &mut at);
            }
        } else {
            for round in 0..depth {
                let before = at;
                step::<T, ROWS, NAN>(nodes, block, row, &mut at);
                if round % 2 == 1 && before == at {
                    break;
                }
            }
        }
        *ends = at;
    }
}

#[inline(always)]
fn step<T: Number, const ROWS: usize, const NAN: bool>(
    nodes: &[Packed<T>],
    block: &[T],
    row: usize,
    at: &mut [u32; LANES],
) {
    for (lane, at) in at.iter_mut().enumerate() {
        let Some(node) = nodes.get(*at as usize) else { continue };
        let feature = if NAN { node.feature & !NAN_SECOND } else { node.feature & !NAN_SECOND };
        let Some(&x) = block.get(feature as usize * ROWS + row + lane) else { continue };
        let mut second = u32::from(x > node.at);
        if NAN {
            second |= u32::from(x.is_nan()) & (node.feature >> 31);
        }
        *at = node.first + second;
    }
}

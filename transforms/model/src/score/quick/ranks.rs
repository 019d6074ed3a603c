//! Ranks of a feature's values among the thresholds of a forest.

use std::cmp::Ordering;

use super::super::compile::Number;
use super::BLOCK;
use super::kernel::{Level, Rank};

/// Where NaN goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nan {
    /// To the first child of every node that asks for this feature.
    First,
    /// To the second child of each.
    Second,
    /// To the first of some, the second of others: two columns of ranks, one for either.
    Mixed,
}

/// The thresholds of a feature.
#[derive(Debug)]
pub(super) struct Ranks<T> {
    pub(super) feature: usize,
    /// How many there are.
    pub(super) count: usize,
    /// In order, each once, filled up with infinity to one less than a power of two, and one more to that power.
    pub(super) limits: Vec<T>,
    pub(super) nan: Nan,
    /// The same for features that are floats, where these are doubles.
    pub(super) narrow: Option<Box<Ranks<f32>>>,
}

impl<T: Number> Ranks<T> {
    /// None: there are too many.
    pub(super) fn new(feature: usize, mut limits: Vec<T>, nan: Nan) -> Option<Self> {
        limits.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        limits.dedup_by(|a, b| *a == *b);
        let count = limits.len();
        if count >= usize::from(u16::MAX) {
            return None;
        }
        let narrow = T::doubles(&limits).map(|limits| {
            let mut limits: Vec<f32> = limits.iter().map(|limit| at_most(*limit)).collect();
            limits.resize((count + 1).next_power_of_two().max(8), f32::INFINITY);
            Box::new(Ranks { feature, count, limits, nan, narrow: None })
        });
        limits.resize((count + 1).next_power_of_two().max(8), T::INFINITY);
        Some(Self { feature, count, limits, nan, narrow })
    }

    /// How many columns of ranks there are in a block.
    pub(super) fn columns(&self) -> usize {
        if self.nan == Nan::Mixed { 2 } else { 1 }
    }

    /// The number of a threshold: what is above it has a rank above this.
    pub(super) fn number(&self, limit: T) -> Option<u16> {
        let limits = self.limits.get(..self.count)?;
        u16::try_from(limits.partition_point(|other| *other < limit)).ok()
    }

    /// Ranks values; `to` has as many columns of a block's length as [`columns`](Self::columns) says.
    pub(super) fn rank<R: Rank>(&self, level: Level, values: &[T], rows: usize, to: &mut [R]) {
        let Some((first, second)) = to.split_at_mut_checked(BLOCK) else { return };
        let nan = super::kernel::rank(level, self, values, first);
        second.iter_mut().zip(&*first).for_each(|(second, first)| *second = *first);
        if !nan || self.nan == Nan::First {
            return;
        }
        // Values beyond the last row are of an earlier block.
        let to = if self.nan == Nan::Second { first } else { second };
        let highest = R::of(self.count);
        let missing = values.iter().zip(to).take(rows).filter(|(x, _)| x.is_nan());
        missing.for_each(|(_, to)| *to = highest);
    }
}

/// The greatest float that is not above `x`.
fn at_most(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) > x { near.next_down() } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_above_doubles_where_they_are_above_the_float_at_or_below() {
        let doubles =
            [0.1, -0.1, 0.0, -0.0, 1e-46, -1e-46, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, 3.5, 1e-40];
        for double in doubles {
            let near = double as f32;
            for float in [near, near.next_up(), near.next_down(), 0.0, -0.0, f32::MAX, f32::MIN, f32::INFINITY] {
                assert_eq!(f64::from(float) > double, float > at_most(double), "{float} and {double}");
            }
        }
    }
}

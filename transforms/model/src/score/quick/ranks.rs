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
    /// To the first of some, the second of others.
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
    nan: Nan,
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
        limits.resize((count + 1).next_power_of_two().max(8), T::INFINITY);
        Some(Self { feature, count, limits, nan })
    }

    /// The number of a threshold: what is above it has a rank above this.
    pub(super) fn number(&self, limit: T) -> Option<u16> {
        let limits = self.limits.get(..self.count)?;
        u16::try_from(limits.partition_point(|other| *other < limit)).ok()
    }

    /// Ranks values; whether ranks say all about them.
    pub(super) fn rank<R: Rank>(&self, level: Level, values: &[T], rows: usize, to: &mut [R]) -> bool {
        let nan = super::kernel::rank(level, self, values, to);
        if !nan {
            return true;
        }
        // Values beyond the last row are of an earlier block.
        let highest = R::of(self.count);
        let mut found = false;
        for (x, to) in values.iter().zip(to).take(rows.min(BLOCK)) {
            if x.is_nan() {
                found = true;
                if self.nan == Nan::Second {
                    *to = highest;
                }
            }
        }
        !(found && self.nan == Nan::Mixed)
    }
}

//! The aggregation operator: groups by keys, windows and sessions, with state over micro-batches.
//!
//! Each thread counts the rows that it is given into a fresh [delta](groups::Delta). At the end of a micro-batch the
//! deltas are merged into the state, which is kept in state partitions by the hash of the key, each by one thread.

mod config;
mod gap;
mod groups;
mod image;
mod lanes;
mod pane_delta;
mod panes;
mod plan;
mod sessions;
mod slots;
mod spans;
mod state;
mod transform;
mod windows;

pub use config::WindowedAggregate;
pub use plan::{GroupedSpec, TimeSpec};
pub use transform::Grouped;

/// How many state partitions there are. The state of a key can be found by its hash alone, in any process that knows it.
pub(crate) const PARTITIONS: usize = 16;

/// How many rows are emitted at a time, at most.
const ROWS: usize = 64 * 1024;

/// The state partition of a key.
pub(crate) fn partition_of(hash: u64, count: usize) -> usize {
    // Bits that the tables themselves do not look at first.
    (hash >> 40) as usize % count.max(1)
}

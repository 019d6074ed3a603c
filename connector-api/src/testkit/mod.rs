//! The conformance kit: what every source, transform and sink is tested with.
//!
//! A plugin's own tests call [`source_conformance`], [`transform_conformance`] and [`sink_conformance`] under the runtime of
//! their choice; each panics with the rule of the contract that does not hold. The kit needs no runtime of its own. Where
//! nobody can look into a sink's target, [`sink_protocol`] checks what shows from the calls alone.
//!
//! ```
//! # use std::sync::Arc;
//! # use arrow::array::{Int64Array, RecordBatch};
//! use levada_connector_api::testkit::{MemorySource, source_conformance};
//!
//! # async fn my_tests() {
//! let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)]).unwrap();
//! source_conformance(&|| Box::new(MemorySource::new(vec![rows.clone()])), MemorySource::CAPABILITIES).await;
//! # }
//! ```
//!
//! Beside it are what tests of the runtime need: a [clock](ManualClock) that tests set, a [source](MemorySource) and a
//! transactional [sink](MemorySink) in memory, and a sink that [fails](Unreliable) by a plan; and a check of a README's
//! [option tables](readme_lists_options).
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this is test code that is shipped: it panics when a test fails"
)]

mod clock;
mod docs;
mod memory;
mod protocol;
mod reader;
mod rows;
mod sink;
mod sink_crash;
mod source;
mod transform;
mod unreliable;

#[cfg(test)]
mod tests;

pub use clock::ManualClock;
pub use docs::readme_lists_options;
pub use memory::{MemorySink, MemorySource, MemoryStore};
pub use protocol::sink_protocol;
pub use rows::{canonical_rows, sample_rows};
pub use sink::{SinkTarget, sink_conformance, sink_conformance_share};
pub use source::{source_conformance, source_conformance_within};
pub use transform::transform_conformance;
pub use unreliable::{Call, FailurePlan, Fault, Unreliable};

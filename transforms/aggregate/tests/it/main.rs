//! The tests of the aggregating transforms, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod aggregates;
mod checkpoint;
mod counts;
mod docs;
mod golden;
mod options;
mod support;
mod windowed;

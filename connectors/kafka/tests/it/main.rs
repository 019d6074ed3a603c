//! The Kafka connector against a real broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod anew;
mod bad_input;
mod changed;
mod conformance;
mod deleted;
mod docs;
mod fence;
mod formats;
mod gaps;
mod keys;
mod progress;
mod secure;
mod sink;
mod source;
mod starts;
mod support;
mod topics;

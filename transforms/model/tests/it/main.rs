//! The tests of the tree models, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod damaged;
mod docs;
mod formats;
mod property;
mod spark;
mod spark_format;
mod stream;
mod training;

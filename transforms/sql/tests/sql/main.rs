//! The transforms.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod docs;
mod groupings;
mod queries;
mod transforms;

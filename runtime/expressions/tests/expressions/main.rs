//! The expressions, against Spark's answers and against nonsense.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod arbitrary;
mod canonical;
mod golden;
mod messages;
mod spark;

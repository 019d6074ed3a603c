//! The expressions and the transforms made of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

mod arbitrary;
mod canonical;
mod docs;
mod golden;
mod messages;
mod spark;
mod transforms;

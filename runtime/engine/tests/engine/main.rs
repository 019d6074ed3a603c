//! The engine with plugins made for the purpose: numbers in, numbers out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests stop at the first surprise"
)]

mod numbers;
mod running;
mod split;

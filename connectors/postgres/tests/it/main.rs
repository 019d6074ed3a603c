//! The Postgres sink against a real server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod contract;
mod docs;
mod faults;
mod modes;
mod refused;
mod support;
mod tls;
mod types;

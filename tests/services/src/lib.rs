//! What tests need that is not in the crate that they test: real servers, and plugin libraries.
//!
//! Servers are throwaway instances on free ports of the loopback.
//!
//! A server is started by the first test of a process that asks for it, and ends with the process however that ends: a
//! shell beside it waits for the end of a pipe that only the test process holds, then stops the server by its process id
//! and deletes its folder. A test run may also start a server for all its processes and name it in the environment.
//!
//! Where a server is not installed the tests that need it are skipped, loudly; with `CI=true` they fail.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "this crate is part of the tests: it stops at the first surprise, and says what is skipped"
)]

pub mod kafka;
pub mod libraries;
pub mod postgres;
pub mod proxy;
mod support;

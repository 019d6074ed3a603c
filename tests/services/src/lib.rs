//! Real servers for tests: throwaway instances on free loopback ports, each with a folder of its own.
//!
//! A server is stopped when its handle is dropped, and also when the test process ends in any other way: it hangs on a
//! pipe that the test process holds. Where a server's programs are missing, a test skips itself with a line that says
//! so; with `CI=true` it fails.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "this is test code: it panics when a test cannot run"
)]

pub mod kafka;
mod support;

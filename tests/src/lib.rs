//! End-to-end tests: whole pipelines in processes of their own, killed and broken on purpose.
//!
//! The library holds what the `levada-crash` binary is made of; the tests are in `tests/`.

pub mod points;

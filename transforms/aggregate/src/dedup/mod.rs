//! `Deduplicate`: the first row of each key.

mod config;
mod transform;

pub use config::Deduplicate;

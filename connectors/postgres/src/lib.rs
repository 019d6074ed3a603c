//! Postgres as a sink: rows, progress and epoch in one transaction, so that each micro-batch is there exactly once.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod config;
mod connect;
mod encode;
mod error;
mod name;
mod sink;
mod table;
mod tls;
mod types;

pub use sink::PostgresSinkPlugin;

use levada_connector_api::{Registry, Result};

/// Adds the sink `PostgresSink`.
///
/// # Errors
/// Its name is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_sink(PostgresSinkPlugin)
}

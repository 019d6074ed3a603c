//! Files as source and sink: text, JSON lines, CSV and Parquet in local folders, and where [`levada_storage`] reaches.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod config;
mod sink;
mod source;

pub use sink::FilesSinkPlugin;
pub use source::FilesSourcePlugin;

use levada_connector_api::{Registry, Result};

/// Adds the source and the sink `Files`.
///
/// # Errors
/// A name is taken.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.add_source(FilesSourcePlugin)?;
    registry.add_sink(FilesSinkPlugin)
}

//! End-to-end tests: whole pipelines in processes of their own, killed and broken on purpose.
//!
//! The library holds what the `levada-crash` binary is made of; the tests are in `tests/`.

pub mod points;

use levada_connector_api::{Registry, Result};

/// All plugins that are built in.
///
/// # Errors
/// Two plugins have one name.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::new();
    levada_connector_basic::register(&mut registry)?;
    levada_connector_files::register(&mut registry)?;
    levada_connector_kafka::register(&mut registry)?;
    levada_transform_aggregate::register(&mut registry)?;
    levada_transform_sql::register(&mut registry)?;
    Ok(registry)
}

//! The plugins that the command has: the one place that knows them all.

use levada_connector_api::{Registry, Result};

/// Every plugin that is built in.
///
/// # Errors
/// Two plugins have one name.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::new();
    levada_connector_basic::register(&mut registry)?;
    levada_connector_files::register(&mut registry)?;
    levada_connector_kafka::register(&mut registry)?;
    levada_connector_postgres::register(&mut registry)?;
    levada_transform_aggregate::register(&mut registry)?;
    levada_transform_model::register(&mut registry)?;
    levada_transform_sql::register(&mut registry)?;
    Ok(registry)
}

//! A sink in a library: a table in a SQLite file, exactly once.
//!
//! The rows of a micro-batch and what the runtime needs to go on after it (its number, the run's epoch, the source's
//! offsets) are one transaction. So whenever the process is killed, the table and `levada_commits` beside it agree.

mod sink;
mod table;
#[cfg(test)]
mod tests;

use levada_plugin::api::config::{Config, ConfigDef};
use levada_plugin::api::{Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin};

levada_plugin::plugin_config! {
    /// Where rows go.
    pub(crate) struct Settings {
        /// The database file. It is made if it is missing; its folder is not.
        pub(crate) path: String,
        /// The table. It is made, from the columns of the rows, if it is missing.
        pub(crate) table: String,
    }
}

/// The class.
pub struct Sqlite;

impl Plugin for Sqlite {
    fn name(&self) -> &str {
        "Sqlite"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Writes into a table of a SQLite file, exactly once"
    }

    fn config_def(&self) -> ConfigDef {
        Settings::definition()
    }
}

impl SinkPlugin for Sqlite {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities { guarantee: Guarantee::Transactional, modes: &[OutputMode::Append, OutputMode::Complete] }
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(sink::SqliteSink::new(Settings::read(config))))
    }
}

levada_plugin::export! { sink(Sqlite) }

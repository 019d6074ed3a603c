//! The files connector against real folders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]

mod changes;
mod docs;
mod encodings;
mod infer;
mod round_trip;
mod sink;
mod source;
mod spark;
mod values;

use levada_connector_api::Plugin;
use levada_connector_api::config::{Config, RawConfig};

pub(crate) fn config(plugin: &dyn Plugin, entries: &[(&str, &str)]) -> Config {
    let raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let config = plugin.config_def().parse(&raw, "").unwrap_or_else(|e| panic!("{e:?}"));
    let errors = plugin.validate(&config);
    assert!(errors.is_empty(), "{errors:?}");
    config
}

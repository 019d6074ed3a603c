//! The tests of the basic connectors, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

mod conformance;
mod console;
mod datagen;
mod docs;
mod null;

use levada_connector_api::config::Config;
use levada_connector_api::{Plugin, config::RawConfig};

fn raw(entries: &[(&str, &str)]) -> RawConfig {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn config(plugin: &dyn Plugin, entries: &[(&str, &str)]) -> Config {
    plugin.config_def().parse(&raw(entries), "").unwrap()
}

fn config_errors(plugin: &dyn Plugin, entries: &[(&str, &str)]) -> Vec<String> {
    plugin.config_def().parse(&raw(entries), "").unwrap_err().iter().map(ToString::to_string).collect()
}

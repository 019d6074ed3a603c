//! Configuration, defined once: validation and documentation are made from the definition.
//!
//! A configuration is a flat map of strings, as in Kafka Connect. A [`ConfigDef`] says which keys there are, of which
//! [type](ConfigType), with which default, how important, in which group, with which validators and recommended values,
//! as Connect's `ConfigDef` does. [`ConfigDef::parse`] turns the map into a typed [`Config`] or names every error.

mod def;
mod docs;
mod nearest;
mod value;

pub use def::{ConfigDef, ConfigError, ConfigKey, ConfigType, Default, Importance, Validator};
pub use nearest::nearest;
pub use value::{Config, parse_duration, parse_size};

/// A configuration as it was given: keys and values as text.
pub type RawConfig = std::collections::BTreeMap<String, String>;

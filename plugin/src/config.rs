//! Configuration structs that are their own definition.

use std::time::Duration;

use levada_connector_api::config::{Config, ConfigType};

/// A type that a field of a [`plugin_config!`](crate::plugin_config) struct may have.
pub trait ConfigField: Sized {
    /// The type of its values.
    const TYPE: ConfigType;
    /// Whether it may be left out.
    const OPTIONAL: bool = false;

    /// Reads it from a configuration that has passed its definition.
    fn read(config: &Config, key: &str) -> Self;
}

macro_rules! fields {
    ($($type:ty, $kind:ident, $get:ident, $opt:ident;)*) => {$(
        impl ConfigField for $type {
            const TYPE: ConfigType = ConfigType::$kind;

            fn read(config: &Config, key: &str) -> Self {
                config.$get(key)
            }
        }

        impl ConfigField for Option<$type> {
            const TYPE: ConfigType = ConfigType::$kind;
            const OPTIONAL: bool = true;

            fn read(config: &Config, key: &str) -> Self {
                config.$opt(key)
            }
        }
    )*};
}

fields! {
    bool, Boolean, bool, bool_opt;
    String, String, string, string_opt;
    i64, Long, int, int_opt;
    f64, Double, double, double_opt;
    Vec<String>, List, list, list_opt;
    Duration, Duration, duration, duration_opt;
    u64, Size, size, size_opt;
}

/// Text that is shown nowhere: a password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

impl ConfigField for Secret {
    const TYPE: ConfigType = ConfigType::Password;

    fn read(config: &Config, key: &str) -> Self {
        Self(config.string(key))
    }
}

impl ConfigField for Option<Secret> {
    const TYPE: ConfigType = ConfigType::Password;
    const OPTIONAL: bool = true;

    fn read(config: &Config, key: &str) -> Self {
        config.string_opt(key).map(Secret)
    }
}

/// A configuration struct and its definition in one: the comments are the documentation, `_` in a field's name is `.` in its
/// key, an `Option` may be left out, and a value after `=` is the default as a user would write it.
///
/// ```
/// levada_plugin::plugin_config! {
///     /// Where to read from.
///     pub struct Settings {
///         /// The folder.
///         pub path: String,
///         /// How many files at once.
///         pub max_files: i64 = 10,
///         /// The time between two looks.
///         pub every: Option<std::time::Duration>,
///         /// Who may read it.
///         pub token: Option<levada_plugin::Secret>,
///     }
/// }
/// let raw = [("path", "in"), ("token", "s3cret")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
/// let config = Settings::definition().parse(&raw, "source.").unwrap();
/// let settings = Settings::read(&config);
/// assert_eq!(settings.max_files, 10);
/// assert!(!format!("{settings:?}").contains("s3cret"));
/// ```
#[macro_export]
macro_rules! plugin_config {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])+ $field_vis:vis $field:ident: $type:ty $(= $default:expr)?,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $doc])+ $field_vis $field: $type,)*
        }

        impl $name {
            /// The options.
            $vis fn definition() -> $crate::api::config::ConfigDef {
                use $crate::api::config::{ConfigDef, ConfigKey, Importance};
                ConfigDef::new()$(.key({
                    let doc = [$($doc.trim()),+].join(" ");
                    let name = stringify!($field).trim_start_matches("r#").replace('_', ".");
                    let key = ConfigKey::new(&name, <$type as $crate::ConfigField>::TYPE, Importance::Medium, &doc);
                    let key = if <$type as $crate::ConfigField>::OPTIONAL { key.optional() } else { key };
                    $(let key = key.default($default);)?
                    key
                }))*
            }

            /// Reads the options of a configuration that has passed the definition.
            $vis fn read(config: &$crate::api::config::Config) -> Self {
                Self {
                    $($field: <$type as $crate::ConfigField>::read(
                        config,
                        &stringify!($field).trim_start_matches("r#").replace('_', "."),
                    ),)*
                }
            }
        }
    };
}

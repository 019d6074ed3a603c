//! What keys there are and what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::value::{self, Config, Value};
use super::{RawConfig, nearest};
use crate::Error;

/// The type of a value. The names are those of Connect's `ConfigDef.Type`; `Duration` and `Size` are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// Text separated by commas.
    List,
    /// Text that must not be shown.
    Password,
    /// A span of time: `5 seconds`, `1 minute`, `250 ms`.
    Duration,
    /// A number of bytes: `64 MB`, `1 GiB`, `4096`.
    Size,
}

impl ConfigType {
    /// The type's name in documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Password => "password",
            Self::Duration => "duration",
            Self::Size => "size",
        }
    }
}

/// How much a user should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Importance {
    /// Most users set it.
    High,
    /// Some users set it.
    Medium,
    /// Few users set it.
    Low,
}

impl Importance {
    /// The name in documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// What holds when a key is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Default {
    /// It must be given.
    Required,
    /// Nothing: the plugin sees that it was not given.
    Unset,
    /// This text, parsed like a given one.
    Value(String),
}

type Check = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// A check of one value, with a description for the documentation.
#[derive(Clone)]
pub struct Validator {
    description: String,
    check: Arc<Check>,
}

impl Validator {
    /// A check of the value's text. `description` completes "valid values: …".
    pub fn new(
        description: impl Into<String>,
        check: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { description: description.into(), check: Arc::new(check) }
    }

    /// One of these words, without regard to case.
    pub fn one_of(words: &'static [&'static str]) -> Self {
        Self::new(words.join(", "), move |text| {
            if words.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                return Ok(());
            }
            let near = nearest(text, words.iter().copied());
            Err(match near {
                Some(near) => format!("use one of {}; did you mean '{near}'?", words.join(", ")),
                None => format!("use one of {}", words.join(", ")),
            })
        })
    }

    /// A number that is at least `min`.
    pub fn at_least(min: i64) -> Self {
        Self::new(format!("{min} or more"), move |text| match text.trim().parse::<f64>() {
            Ok(number) if number >= min as f64 => Ok(()),
            // What is no number at all is the type's error, not this check's.
            Err(_) => Ok(()),
            Ok(_) => Err(format!("it must be {min} or more")),
        })
    }

    /// A number from `min` to `max`, both included.
    pub fn between(min: i64, max: i64) -> Self {
        Self::new(format!("{min} to {max}"), move |text| match text.trim().parse::<f64>() {
            Ok(number) if number >= min as f64 && number <= max as f64 => Ok(()),
            Err(_) => Ok(()),
            Ok(_) => Err(format!("it must be from {min} to {max}")),
        })
    }

    /// A size of `min` bytes or more.
    pub fn size_at_least(min: u64) -> Self {
        let plural = if min == 1 { "" } else { "s" };
        Self::new(format!("{min} byte{plural} or more"), move |text| match super::parse_size(text) {
            Ok(size) if size < min => Err(format!("it must be {min} byte{plural} or more")),
            // What is no size at all is the type's error.
            _ => Ok(()),
        })
    }

    /// Text that is not blank.
    pub fn non_empty() -> Self {
        Self::new("not empty", |text| if text.trim().is_empty() { Err("it must not be empty".into()) } else { Ok(()) })
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

/// One key.
#[derive(Debug, Clone)]
pub struct ConfigKey {
    /// The key, without the prefix of the place it is used in (`source.`, `transforms.<alias>.`). A name that ends with
    /// `.*` stands for all keys that begin so: what is handed through to a client library
    /// ([`Config::below`](super::Config::below)).
    pub name: String,
    /// Its type.
    pub kind: ConfigType,
    /// What holds when it is not given.
    pub default: Default,
    /// How much a user should care.
    pub importance: Importance,
    /// What it means, in a sentence or two.
    pub doc: String,
    /// The heading that it stands under.
    pub group: String,
    /// Checks beyond the type.
    pub validators: Vec<Validator>,
    /// Values worth proposing.
    pub recommended: Vec<String>,
    /// Keys whose meaning depends on this one.
    pub dependents: Vec<String>,
}

impl ConfigKey {
    /// A key without a default. It is required unless [`optional`](Self::optional) or [`default`](Self::default) follow.
    pub fn new(name: &str, kind: ConfigType, importance: Importance, doc: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            default: Default::Required,
            importance,
            doc: doc.to_owned(),
            group: "General".to_owned(),
            validators: Vec::new(),
            recommended: Vec::new(),
            dependents: Vec::new(),
        }
    }

    /// It need not be given and has no default.
    pub fn optional(mut self) -> Self {
        self.default = Default::Unset;
        self
    }

    /// It need not be given: this is its default, written as a user would.
    pub fn default(mut self, value: impl fmt::Display) -> Self {
        self.default = Default::Value(value.to_string());
        self
    }

    /// The heading that it stands under.
    pub fn group(mut self, group: &str) -> Self {
        self.group = group.to_owned();
        self
    }

    /// Adds a check.
    pub fn validator(mut self, validator: Validator) -> Self {
        self.validators.push(validator);
        self
    }

    /// Only these words are valid; they are recommended, too.
    pub fn one_of(mut self, words: &'static [&'static str]) -> Self {
        self.recommended = words.iter().map(|word| (*word).to_owned()).collect();
        self.validator(Validator::one_of(words))
    }

    /// Keys whose meaning depends on this one.
    pub fn dependents(mut self, keys: &[&str]) -> Self {
        self.dependents = keys.iter().map(|key| (*key).to_owned()).collect();
        self
    }

    /// Whether it stands for all keys that begin so, and `name` is one of them.
    fn covers(&self, name: &str) -> bool {
        let rest = self.name.strip_suffix('*').and_then(|prefix| name.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.is_empty())
    }

    /// What its validators say of themselves.
    pub fn valid_values(&self) -> Option<String> {
        let all: Vec<_> = self.validators.iter().map(|v| v.description.as_str()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// An error about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, with its prefix.
    pub key: String,
    /// The value, where there is one that may be shown.
    pub value: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl ConfigError {
    /// An error about `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, message: message.into() }
    }

    /// An error about the value of `key`.
    pub fn invalid(key: impl Into<String>, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(value.into()), message: message.into() }
    }

    /// The same error with `prefix` before its key.
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.key.insert_str(0, prefix);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = '{value}': {}", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::config(error.to_string())
    }
}

/// The keys of a plugin, in the order of their documentation.
#[derive(Debug, Clone, std::default::Default)]
pub struct ConfigDef {
    keys: Vec<ConfigKey>,
}

impl ConfigDef {
    /// No keys.
    pub fn new() -> Self {
        Self { keys: Vec::new() }
    }

    /// Adds a key.
    pub fn key(mut self, key: ConfigKey) -> Self {
        debug_assert!(self.find(&key.name).is_none(), "key {} is defined twice", key.name);
        self.keys.push(key);
        self
    }

    /// Adds all keys of another definition: options that several plugins share.
    pub fn extend(mut self, other: ConfigDef) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// The keys.
    pub fn keys(&self) -> &[ConfigKey] {
        &self.keys
    }

    /// The key called `name`.
    pub fn find(&self, name: &str) -> Option<&ConfigKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether `name` is one of its keys, or begins as those do that are handed through.
    pub fn covers(&self, name: &str) -> bool {
        self.keys.iter().any(|key| (key.name == name && !name.ends_with(".*")) || key.covers(name))
    }

    /// Parses and checks `raw`. In messages the keys have `prefix` before them.
    ///
    /// # Errors
    /// Every error at once: unknown keys with the nearest known one, missing keys, values of a wrong type, values that a
    /// validator refuses.
    pub fn parse(&self, raw: &RawConfig, prefix: &str) -> Result<Config, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut values = BTreeMap::new();
        for name in raw.keys() {
            if !self.covers(name) {
                let known = self.keys.iter().map(|key| key.name.as_str());
                let message = match nearest(name, known) {
                    Some(near) => format!("unknown key; did you mean '{prefix}{near}'?"),
                    None if self.keys.is_empty() => "unknown key; there are no options here".to_owned(),
                    None => {
                        let all: Vec<_> = self.keys.iter().map(|key| key.name.as_str()).collect();
                        format!("unknown key; known here: {}", all.join(", "))
                    }
                };
                errors.push(ConfigError::new(format!("{prefix}{name}"), message));
            }
        }
        for key in self.keys.iter().filter(|key| !key.name.ends_with(".*")) {
            let text = match (raw.get(&key.name), &key.default) {
                (Some(text), _) => text,
                (None, Default::Value(text)) => text,
                (None, Default::Unset) => continue,
                (None, Default::Required) => {
                    let message = format!("missing; it is required: {}", key.doc);
                    errors.push(ConfigError::new(format!("{prefix}{}", key.name), message));
                    continue;
                }
            };
            match check(key, text) {
                Ok(value) => {
                    values.insert(key.name.clone(), value);
                }
                Err(message) => errors.push(ConfigError {
                    key: format!("{prefix}{}", key.name),
                    value: (key.kind != ConfigType::Password).then(|| text.clone()),
                    message,
                }),
            }
        }
        if errors.is_empty() { Ok(Config::new(values, raw.clone(), prefix)) } else { Err(errors) }
    }
}

fn check(key: &ConfigKey, text: &str) -> Result<Value, String> {
    let value = value::parse(key.kind, text)?;
    for validator in &key.validators {
        (validator.check)(text)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn def() -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new("path", ConfigType::String, Importance::High, "the folder")
                    .validator(Validator::non_empty()),
            )
            .key(
                ConfigKey::new("format", ConfigType::String, Importance::High, "how")
                    .default("text")
                    .one_of(&["text", "json"]),
            )
            .key(
                ConfigKey::new("max.files", ConfigType::Int, Importance::Low, "limit")
                    .optional()
                    .validator(Validator::at_least(1)),
            )
            .key(
                ConfigKey::new("token", ConfigType::Password, Importance::Low, "secret")
                    .optional()
                    .validator(Validator::non_empty()),
            )
            .key(ConfigKey::new("client.*", ConfigType::String, Importance::Low, "handed through").optional())
    }

    fn raw(entries: &[(&str, &str)]) -> RawConfig {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn defaults_hold_and_unset_keys_are_seen_as_such() {
        let config = def().parse(&raw(&[("path", "in")]), "source.").unwrap();
        assert_eq!(config.string("path"), "in");
        assert_eq!(config.string("format"), "text");
        assert_eq!(config.int_opt("max.files"), None);
    }

    #[test]
    fn keys_can_be_handed_through() {
        let config = def().parse(&raw(&[("path", "in"), ("client.a.b", "1"), ("client.c", "2")]), "source.").unwrap();
        assert_eq!(config.below("client.").collect::<Vec<_>>(), [("a.b", "1"), ("c", "2")]);
        for key in ["client", "client.", "clients.a"] {
            assert!(def().parse(&raw(&[("path", "in"), (key, "1")]), "").is_err(), "{key}");
        }
    }

    #[test]
    fn all_errors_come_at_once_with_their_full_keys() {
        let given = raw(&[("fromat", "text"), ("format", "jsno"), ("max.files", "0"), ("token", " ")]);
        let errors = def().parse(&given, "source.").unwrap_err();
        let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "source.fromat: unknown key; did you mean 'source.format'?",
                "source.path: missing; it is required: the folder",
                "source.format = 'jsno': use one of text, json; did you mean 'json'?",
                "source.max.files = '0': it must be 1 or more",
                "source.token: it must not be empty",
            ]
        );
    }
}

//! The keys of a configuration, sorted by whom they are for.

use std::collections::BTreeMap;

use levada_connector_api::Registry;
use levada_connector_api::config::{ConfigDef, ConfigError, RawConfig, nearest};

/// What the keys of the queue for dead letters begin with.
pub(super) const QUEUE: &str = "errors.deadletterqueue.";

/// The keys of a configuration, sorted by whom they are for.
pub(super) struct Sections {
    pub(super) own: RawConfig,
    /// By alias; the keys of a lone source, `source.`, stand under the empty one.
    pub(super) sources: BTreeMap<String, RawConfig>,
    pub(super) sink: RawConfig,
    pub(super) transforms: BTreeMap<String, RawConfig>,
    /// Of the queue for dead letters, below `errors.deadletterqueue.`.
    pub(super) queue: RawConfig,
    pub(super) unknown: Vec<ConfigError>,
}

impl Sections {
    pub(super) fn split(raw: &RawConfig) -> Self {
        let mut sections = Self {
            own: RawConfig::new(),
            sources: BTreeMap::new(),
            sink: RawConfig::new(),
            transforms: BTreeMap::new(),
            queue: RawConfig::new(),
            unknown: Vec::new(),
        };
        for (key, value) in raw {
            let Sections { own, sources, sink, transforms, queue, unknown } = &mut sections;
            let (target, key) = if let Some(rest) = key.strip_prefix("source.") {
                (sources.entry(String::new()).or_default(), rest)
            } else if let Some(rest) = key.strip_prefix("sink.") {
                (sink, rest)
            } else if let Some(rest) = key.strip_prefix(QUEUE).filter(|rest| *rest != "path") {
                (queue, rest)
            } else if let Some((what, targets, rest)) = [("sources", sources), ("transforms", transforms)]
                .into_iter()
                .find_map(|(what, targets)| Some((what, targets, key.strip_prefix(what)?.strip_prefix('.')?)))
            {
                let Some((alias, rest)) = rest.split_once('.') else {
                    unknown.push(ConfigError::new(key.clone(), format!("write it as '{what}.<alias>.<option>'")));
                    continue;
                };
                (targets.entry(alias.to_owned()).or_default(), rest)
            } else if let Some(meant) = meant(key) {
                unknown.push(ConfigError::new(key.clone(), format!("unknown key; did you mean '{meant}'?")));
                continue;
            } else {
                (own, key.as_str())
            };
            target.insert(key.to_owned(), value.clone());
        }
        sections
    }

    /// Takes out the keys without a prefix that are options of a plugin which the pipeline has: its own keys are others.
    pub(super) fn take_unprefixed(&mut self, registry: &Registry) {
        let mut known: Vec<(String, ConfigDef)> = Vec::new();
        for (alias, keys) in &self.sources {
            let prefix = if alias.is_empty() { "source.".to_owned() } else { format!("sources.{alias}.") };
            let plugin = keys.get("class").and_then(|class| registry.source(class).ok());
            known.extend(plugin.map(|plugin| (prefix, plugin.config_def())));
        }
        let sink = self.sink.get("class").and_then(|class| registry.sink(class).ok());
        known.extend(sink.map(|plugin| ("sink.".to_owned(), plugin.config_def())));
        for (alias, keys) in &self.transforms {
            let plugin = keys.get("type").and_then(|class| registry.transform(class).ok());
            known.extend(plugin.map(|plugin| (format!("transforms.{alias}."), plugin.config_def())));
        }
        let own = super::keys::definition();
        self.own.retain(|key, _| {
            if own.covers(key) {
                return true;
            }
            let meant = known.iter().filter(|(_, options)| options.covers(key));
            let meant: Vec<String> = meant.map(|(prefix, _)| format!("'{prefix}{key}'")).collect();
            if meant.is_empty() {
                return true;
            }
            let message = format!("unknown key; did you mean {}?", meant.join(" or "));
            self.unknown.push(ConfigError::new(key.clone(), message));
            false
        });
    }

    /// Whether a key is given.
    pub(super) fn names(&self, key: &str) -> bool {
        match key.split_once('.') {
            Some(("source", rest)) => self.sources.get("").is_some_and(|keys| keys.contains_key(rest)),
            Some(("sink", rest)) => self.sink.contains_key(rest),
            _ => self.own.contains_key(key),
        }
    }
}

/// A key whose first word is nearly that of a plugin's keys, with that word.
fn meant(key: &str) -> Option<String> {
    let (first, rest) = key.split_once('.')?;
    let own = super::keys::definition();
    let known = |word: &str| own.keys().iter().any(|key| key.name.starts_with(word));
    let near = nearest(first, ["source", "sources", "sink", "transforms"])?;
    (!known(&format!("{first}."))).then(|| format!("{near}.{rest}"))
}

/// The aliases that `key` lists.
pub(super) fn aliases(own: &RawConfig, key: &str, errors: &mut Vec<ConfigError>) -> Vec<String> {
    let list = own.get(key).map(String::as_str).unwrap_or_default();
    let mut aliases = Vec::new();
    for alias in split(list) {
        match aliases.contains(&alias) {
            true => errors.push(ConfigError::invalid(key, list, format!("'{alias}' stands there twice"))),
            false => aliases.push(alias),
        }
    }
    aliases
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|alias| !alias.is_empty()).map(str::to_owned).collect()
}

/// Keys of aliases that nobody lists.
pub(super) fn strangers(
    list: &str,
    left: BTreeMap<String, RawConfig>,
    aliases: &[String],
    errors: &mut Vec<ConfigError>,
) {
    for (alias, keys) in left {
        let key = keys.keys().next().map(String::as_str).unwrap_or_default();
        if alias.is_empty() {
            let message = format!("'{list}' names the sources: write 'sources.<alias>.{key}'");
            errors.push(ConfigError::new(format!("source.{key}"), message));
            continue;
        }
        let message = match nearest(&alias, aliases.iter().map(String::as_str)) {
            Some(near) => format!("'{alias}' is not in '{list}'; did you mean '{list}.{near}.{key}'?"),
            None => format!("'{alias}' is not in '{list}'; add it there or remove its keys"),
        };
        errors.push(ConfigError::new(format!("{list}.{alias}.{key}"), message));
    }
}

/// Takes a transform's `input` or `inputs` out of its keys: sources, or transforms that are listed before it.
pub(super) fn inputs(
    prefix: &str,
    keys: &mut RawConfig,
    sources: &[String],
    before: &[String],
    errors: &mut Vec<ConfigError>,
) -> Vec<String> {
    let mut found = Vec::new();
    for key in ["input", "inputs"] {
        let Some(list) = keys.remove(key) else { continue };
        for name in split(&list) {
            let known = sources.iter().chain(before).map(String::as_str);
            if known.clone().any(|known| known == name) {
                found.push(name);
                continue;
            }
            let message = match nearest(&name, known.clone()) {
                Some(near) => format!("no source or transform before it is called '{name}'; did you mean '{near}'?"),
                None => format!("no source or transform before it is called '{name}'; there are {}", {
                    let names: Vec<&str> = sources.iter().chain(before).map(String::as_str).collect();
                    names.join(", ")
                }),
            };
            errors.push(ConfigError::invalid(format!("{prefix}{key}"), list.clone(), message));
        }
    }
    found
}

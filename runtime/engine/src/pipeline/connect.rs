//! Kafka Connect's connectors: one end is named, the other is Kafka.
//!
//! A connector's keys stand alone, without a prefix: those of the plugin in `connector.class` and those of the topics at
//! its other end. Here they are sorted, so that the rest sees a pipeline with two ends.

use levada_connector_api::config::{ConfigDef, ConfigError, RawConfig, nearest};
use levada_connector_api::{PluginKind, Registry};

use super::keys;
use super::sections::Sections;

/// What a pipeline that names both its ends says it is.
pub(super) const PIPELINE: &str = "Pipeline";
/// The brokers, for every end that takes some and names none.
pub(super) const SERVERS: &str = "bootstrap.servers";
/// Which end a connector is.
const CLASS: &str = "connector.class";

/// How the keys of an end are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    pub(super) prefix: &'a str,
    /// The key of the plugin's name, as the user knows it.
    pub(super) class: &'a str,
}

/// How the keys of both ends are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: Naming<'static>,
    pub(super) sink: Naming<'static>,
}

impl Ends {
    const NAMED: Self = Self {
        source: Naming { prefix: "source.", class: "source.class" },
        sink: Naming { prefix: "sink.", class: "sink.class" },
    };
    const FLAT: Self = Self { source: Naming { prefix: "", class: CLASS }, sink: Naming { prefix: "", class: CLASS } };
}

/// Sorts the keys of a connector to its ends; those of a pipeline stay as they are.
pub(super) fn expand(sections: &mut Sections, registry: &Registry, errors: &mut Vec<ConfigError>) -> Ends {
    let class = match sections.own.get(CLASS).map(|class| class.trim()) {
        Some(class) if !class.eq_ignore_ascii_case(PIPELINE) => class.to_owned(),
        _ => return Ends::NAMED,
    };
    let given = |key: &str| sections.own.contains_key(key);
    let (source, sink) = (registry.source(&class), registry.sink(&class));
    let reads_topics = given("topics") || given("topics.regex");
    let is_sink = match (&source, &sink) {
        (Err(_), Err(_)) => {
            let list = registry.list();
            let ends = list.iter().filter(|(kind, _)| matches!(kind, PluginKind::Source | PluginKind::Sink));
            let names = ends.map(|(_, plugin)| plugin.name()).chain([PIPELINE]);
            let message = match nearest(&class, names) {
                Some(near) => format!("no connector is called so; did you mean '{near}'?"),
                None => "no connector is called so; 'levada plugin list' shows them all".to_owned(),
            };
            errors.push(ConfigError::invalid(CLASS, class, message));
            return Ends::FLAT;
        }
        (Err(_), Ok(_)) => true,
        (Ok(_), Err(_)) => false,
        (Ok(_), Ok(_)) if reads_topics || given("topic") => reads_topics,
        (Ok(_), Ok(_)) => {
            let message = "it is a source and a sink: set 'topics' and it writes what they hold, or 'topic' and what it \
                           reads goes there; or name both ends with connector.class=Pipeline";
            errors.push(ConfigError::invalid(CLASS, class, message));
            return Ends::FLAT;
        }
    };
    if let Some(key) = ["source.class", "sink.class", "sources"].into_iter().find(|key| sections.names(key)) {
        let message = format!("'{CLASS}={class}' has Kafka at its other end; to name both, write {CLASS}=Pipeline");
        errors.push(ConfigError::new(key, message));
        return Ends::FLAT;
    }
    let Some(kafka) = registry.topics() else {
        errors.push(ConfigError::invalid(CLASS, class, "there is no plugin for topics here: name both ends"));
        return Ends::FLAT;
    };
    let def = |plugin: Option<ConfigDef>| plugin.unwrap_or_default();
    let (connector, topics) = match is_sink {
        true => (sink.ok().map(|p| p.config_def()), registry.source(kafka).ok().map(|p| p.config_def())),
        false => (source.ok().map(|p| p.config_def()), registry.sink(kafka).ok().map(|p| p.config_def())),
    };
    sort(sections, is_sink, (&class, &def(connector)), (kafka, &def(topics)), errors);
    Ends::FLAT
}

/// Whether a key is about the topics even if the connector has one of this name, as in Connect: what is in the topics, and
/// how it is read or written.
fn is_of_topics(key: &str) -> bool {
    ["topics", "topics.", "key.converter", "value.converter", "consumer.override.", "producer.override."]
        .into_iter()
        .any(|part| if part.ends_with('.') { key.starts_with(part) } else { key == part })
        || key.starts_with("value.converter.")
        || key.starts_with("key.converter.")
}

fn sort(
    sections: &mut Sections,
    is_sink: bool,
    (class, connector): (&str, &ConfigDef),
    (kafka, topics): (&str, &ConfigDef),
    errors: &mut Vec<ConfigError>,
) {
    let pipeline = keys::definition();
    let (mut own, mut of_connector, mut of_topics) = (RawConfig::new(), RawConfig::new(), RawConfig::new());
    for (key, value) in std::mem::take(&mut sections.own) {
        let target = if pipeline.covers(&key) {
            &mut own
        } else if topics.covers(&key) && (is_of_topics(&key) || !connector.covers(&key)) {
            &mut of_topics
        } else if connector.covers(&key) {
            &mut of_connector
        } else {
            let all = [&pipeline, connector, topics].into_iter().flat_map(ConfigDef::keys).map(|k| k.name.as_str());
            let message = match nearest(&key, all) {
                Some(near) => format!("unknown key; did you mean '{near}'?"),
                None => format!(
                    "unknown key; 'levada plugin describe {class}', '… {kafka}' and '… pipeline' show those that there are"
                ),
            };
            errors.push(ConfigError::new(key, message));
            continue;
        };
        target.insert(key, value);
    }
    own.remove(CLASS);
    of_connector.insert("class".to_owned(), class.to_owned());
    of_topics.insert("class".to_owned(), kafka.to_owned());
    let (of_source, of_sink) = if is_sink { (of_topics, of_connector) } else { (of_connector, of_topics) };
    // Keys with a prefix are allowed, too: where both ends have a key of one name, it tells them apart.
    add(sections.sources.entry(String::new()).or_default(), of_source);
    add(&mut sections.sink, of_sink);
    sections.own = own;
}

fn add(target: &mut RawConfig, keys: RawConfig) {
    for (key, value) in keys {
        target.entry(key).or_insert(value);
    }
}

/// The pipeline's brokers are those of an end that takes some and names none.
pub(super) fn servers(def: &ConfigDef, keys: &mut RawConfig, own: &RawConfig) {
    let named = keys.keys().any(|key| key == SERVERS || key.ends_with(".bootstrap.servers"));
    if let (Some(servers), false, true) = (own.get(SERVERS), named, def.covers(SERVERS)) {
        keys.insert(SERVERS.to_owned(), servers.clone());
    }
}

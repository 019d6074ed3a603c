//! The queue for dead letters.

use levada_connector_api::config::{ConfigError, RawConfig};
use levada_connector_api::{DeadLetterPlugin, Registry, SinkPlugin, SourcePlugin};

use super::sections::QUEUE;
use super::{StageSpec, connect};

/// The queue that `raw`, the keys below `errors.deadletterqueue.`, ask for. As in Kafka Connect, there is none without a
/// topic's name, whatever else is set.
pub(super) fn queue(
    mut raw: RawConfig,
    own: &RawConfig,
    sources: &[StageSpec<dyn SourcePlugin>],
    sink: Option<&StageSpec<dyn SinkPlugin>>,
    registry: &Registry,
    errors: &mut Vec<ConfigError>,
) -> Option<StageSpec<dyn DeadLetterPlugin>> {
    let class = raw.remove("class").filter(|class| !class.trim().is_empty());
    let named = raw.get("topic.name").is_some_and(|name| !name.trim().is_empty());
    if raw.is_empty() && class.is_none() {
        return None;
    }
    let plugin = match registry.dead_letters(class.as_deref()) {
        Ok(plugin) => plugin,
        Err(error) => {
            let key = format!("{QUEUE}{}", if class.is_some() { "class" } else { "topic.name" });
            errors.push(ConfigError::new(key, error.to_string()));
            return None;
        }
    };
    if !named && class.is_none() {
        // They are checked as if there were one.
        raw.insert("topic.name".to_owned(), "none".to_owned());
    }
    let ends = sources.iter().map(|source| (source.plugin.name(), &source.config));
    for (name, config) in ends.chain(sink.map(|sink| (sink.plugin.name(), &sink.config))) {
        if name == plugin.name() {
            plugin.inherit(&mut raw, config);
        }
    }
    connect::servers(&plugin.config_def(), &mut raw, own);
    match plugin.config_def().parse(&raw, QUEUE) {
        Ok(config) => {
            let found = if named || class.is_some() { plugin.validate(&config) } else { Vec::new() };
            if found.is_empty() {
                let spec = StageSpec { alias: "dead letters".to_owned(), plugin, config, inputs: Vec::new() };
                return (named || class.is_some()).then_some(spec);
            }
            errors.extend(found.into_iter().map(|error| error.prefixed(QUEUE)));
        }
        Err(found) => errors.extend(found),
    }
    None
}

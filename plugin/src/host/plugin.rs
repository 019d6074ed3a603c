//! Classes as the plugins that a registry takes.

use std::sync::Arc;

use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{
    Error, Guarantee, OutputMode, Plugin, PluginKind, Registry, Result, Sink, SinkCapabilities, SinkPlugin, Source,
    SourceCapabilities, SourcePlugin, Transform, TransformPlugin,
};
use serde::{Deserialize, Serialize};

use super::{DirectClass, Link, sink, source, transform};
use crate::abi::op;
use crate::wire::{self, CapabilitiesWire, CreateArgs, Described, InvalidWire, TasksArgs};

/// What is known of a class without calling it: a scan's answer, which can be kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClassInfo {
    /// The class's name.
    pub class: String,
    /// Its version.
    pub version: String,
    kind: u32,
    described: Described,
}

impl ClassInfo {
    /// Asks a class.
    ///
    /// # Errors
    /// It does not answer, or its configuration definition is wrong.
    pub fn ask(class: &Arc<DirectClass>) -> Result<Self> {
        let answer = class.query(op::QUERY_DESCRIBE, b"")?;
        let place = || format!("class '{}'", class.name());
        let described: Described = wire::decode(&answer, "its description").map_err(|e| e.context(place()))?;
        described.definition().map_err(|wrong| Error::config(wrong).context(place()))?;
        Ok(Self { class: class.name().to_owned(), version: class.version().to_owned(), kind: class.kind(), described })
    }

    /// What it is.
    pub fn kind(&self) -> PluginKind {
        match self.kind {
            op::SOURCE => PluginKind::Source,
            op::SINK => PluginKind::Sink,
            _ => PluginKind::Transform,
        }
    }

    /// What it does, in a sentence.
    pub fn doc(&self) -> &str {
        &self.described.doc
    }
}

/// Adds a class to a registry.
///
/// # Errors
/// Its name is taken, or its definition is wrong.
pub fn add_to(registry: &mut Registry, info: ClassInfo, link: Box<dyn Link>) -> Result<()> {
    let definition = info.described.definition().map_err(Error::config)?;
    // A registry's plugins live as long as the process, and so do their few names.
    let leak = |text: &String| -> &'static str { Box::leak(text.clone().into_boxed_str()) };
    let aliases = info.described.aliases.iter().map(leak).collect();
    let kind = info.kind;
    let plugin = HostPlugin { info, definition, aliases, link: link.into() };
    match kind {
        op::SOURCE => registry.add_source(plugin),
        op::SINK => registry.add_sink(plugin),
        _ => registry.add_transform(plugin),
    }
}

/// A class of a library as a plugin.
struct HostPlugin {
    info: ClassInfo,
    definition: ConfigDef,
    aliases: Vec<&'static str>,
    link: Arc<dyn Link>,
}

impl HostPlugin {
    fn args(&self, config: &Config) -> Result<Vec<u8>> {
        // The full key of no key is the prefix.
        wire::encode(&CreateArgs { config: config.raw().clone(), prefix: config.full_key("") })
    }

    fn ask_capabilities(&self, config: &Config) -> CapabilitiesWire {
        let answer = self.args(config).and_then(|args| self.link.query(op::QUERY_CAPABILITIES, &args));
        answer.and_then(|answer| wire::decode(&answer, "its capabilities")).unwrap_or_else(|error| {
            // Promising nothing is always right.
            tracing::warn!("{error}");
            CapabilitiesWire::default()
        })
    }

    fn ask_tasks(&self, config: &Config, max: u32) -> u32 {
        let args = wire::encode(&TasksArgs { config: config.raw().clone(), max });
        let answer = args.and_then(|args| self.link.query(op::QUERY_TASKS, &args));
        let tasks = answer.and_then(|answer| wire::decode::<Option<u32>>(&answer, "its number of tasks"));
        tasks.ok().flatten().unwrap_or(1).clamp(1, max.max(1))
    }
}

impl Plugin for HostPlugin {
    fn name(&self) -> &str {
        &self.info.class
    }

    fn aliases(&self) -> &[&str] {
        &self.aliases
    }

    fn version(&self) -> &str {
        &self.info.version
    }

    fn doc(&self) -> &str {
        &self.info.described.doc
    }

    fn config_def(&self) -> ConfigDef {
        self.definition.clone()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        let answer = self.args(config).and_then(|args| self.link.query(op::QUERY_VALIDATE, &args));
        match answer.and_then(|answer| wire::decode::<Option<Vec<InvalidWire>>>(&answer, "its validation")) {
            Ok(errors) => errors.unwrap_or_default().into_iter().map(Into::into).collect(),
            // A class that validates nothing.
            Err(error) if error.kind() == levada_connector_api::ErrorKind::Unsupported => Vec::new(),
            Err(error) => vec![ConfigError::new(config.full_key("class"), error.to_string())],
        }
    }
}

impl SourcePlugin for HostPlugin {
    fn capabilities(&self, config: &Config) -> SourceCapabilities {
        let can = self.ask_capabilities(config);
        SourceCapabilities { replayable: can.replayable, bounded: can.bounded }
    }

    fn tasks(&self, config: &Config, max: u32) -> u32 {
        self.ask_tasks(config, max)
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        Ok(Box::new(source::HostSource(self.link.create(&self.args(config)?)?)))
    }
}

impl TransformPlugin for HostPlugin {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        Ok(Box::new(transform::HostTransform::new(self.link.create(&self.args(config)?)?)))
    }
}

impl SinkPlugin for HostPlugin {
    fn capabilities(&self, config: &Config) -> SinkCapabilities {
        use OutputMode::{Append, Complete, Update};
        const SETS: [&[OutputMode]; 8] = [
            &[],
            &[Append],
            &[Update],
            &[Append, Update],
            &[Complete],
            &[Append, Complete],
            &[Update, Complete],
            &[Append, Update, Complete],
        ];
        let can = self.ask_capabilities(config);
        let bit = |(i, mode): (usize, &OutputMode)| usize::from(can.modes.contains(mode)) << i;
        let set: usize = [Append, Update, Complete].iter().enumerate().map(bit).sum();
        let modes = SETS.get(set).copied().unwrap_or_default();
        SinkCapabilities { guarantee: can.guarantee.unwrap_or(Guarantee::AtLeastOnce), modes }
    }

    fn tasks(&self, config: &Config, max: u32) -> u32 {
        self.ask_tasks(config, max)
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(sink::HostSink(self.link.create(&self.args(config)?)?)))
    }
}

//! The plugins that a process knows, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::nearest;
use crate::{DeadLetterPlugin, Error, Plugin, PluginKind, Result, SinkPlugin, SourcePlugin, TransformPlugin};

/// Plugins by name and alias. Names are found without regard to case.
#[derive(Default, Clone)]
pub struct Registry {
    sources: BTreeMap<String, Arc<dyn SourcePlugin>>,
    transforms: BTreeMap<String, Arc<dyn TransformPlugin>>,
    sinks: BTreeMap<String, Arc<dyn SinkPlugin>>,
    queues: BTreeMap<String, Arc<dyn DeadLetterPlugin>>,
    topics: Option<String>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same registry without its sources, transforms and sinks.
    pub fn without_plugins(&self) -> Self {
        Self { queues: self.queues.clone(), topics: self.topics.clone(), ..Self::default() }
    }

    /// Adds a source.
    ///
    /// # Errors
    /// Its name or one of its aliases is taken by another source.
    pub fn add_source(&mut self, plugin: impl SourcePlugin + 'static) -> Result<()> {
        insert(&mut self.sources, PluginKind::Source, Arc::new(plugin))
    }

    /// Adds a transform.
    ///
    /// # Errors
    /// Its name or one of its aliases is taken by another transform.
    pub fn add_transform(&mut self, plugin: impl TransformPlugin + 'static) -> Result<()> {
        insert(&mut self.transforms, PluginKind::Transform, Arc::new(plugin))
    }

    /// Adds a sink.
    ///
    /// # Errors
    /// Its name or one of its aliases is taken by another sink.
    pub fn add_sink(&mut self, plugin: impl SinkPlugin + 'static) -> Result<()> {
        insert(&mut self.sinks, PluginKind::Sink, Arc::new(plugin))
    }

    /// Says that the source and sink called `name` read and write topics: the other end of a connector that, as in Kafka
    /// Connect, names but one.
    pub fn set_topics(&mut self, name: &str) {
        self.topics = Some(name.to_owned());
    }

    /// The name of the source and sink of topics.
    pub fn topics(&self) -> Option<&str> {
        self.topics.as_deref()
    }

    /// Adds a queue for bad rows.
    ///
    /// # Errors
    /// Its name or one of its aliases is taken by another one.
    pub fn add_dead_letters(&mut self, plugin: impl DeadLetterPlugin + 'static) -> Result<()> {
        insert(&mut self.queues, PluginKind::DeadLetters, Arc::new(plugin))
    }

    /// The source called `name`.
    ///
    /// # Errors
    /// There is none; the message names the nearest.
    pub fn source(&self, name: &str) -> Result<Arc<dyn SourcePlugin>> {
        find(&self.sources, PluginKind::Source, name)
    }

    /// The transform called `name`.
    ///
    /// # Errors
    /// There is none; the message names the nearest.
    pub fn transform(&self, name: &str) -> Result<Arc<dyn TransformPlugin>> {
        find(&self.transforms, PluginKind::Transform, name)
    }

    /// The sink called `name`.
    ///
    /// # Errors
    /// There is none; the message names the nearest.
    pub fn sink(&self, name: &str) -> Result<Arc<dyn SinkPlugin>> {
        find(&self.sinks, PluginKind::Sink, name)
    }

    /// The queue for bad rows called `name`; without a name, the only one that there is.
    ///
    /// # Errors
    /// There is none, or there are several; the message names the nearest.
    pub fn dead_letters(&self, name: Option<&str>) -> Result<Arc<dyn DeadLetterPlugin>> {
        match (name, self.queues.iter().next()) {
            (None, Some((_, first))) if self.queues.values().all(|queue| queue.name() == first.name()) => {
                Ok(first.clone())
            }
            (name, _) => find(&self.queues, PluginKind::DeadLetters, name.unwrap_or_default()),
        }
    }

    /// All plugins, by kind and name, each once.
    pub fn list(&self) -> Vec<(PluginKind, Arc<dyn Plugin>)> {
        let mut all: Vec<(PluginKind, Arc<dyn Plugin>)> = Vec::new();
        for (key, plugin) in &self.sources {
            if *key == plugin.name().to_lowercase() {
                all.push((PluginKind::Source, plugin.clone()));
            }
        }
        for (key, plugin) in &self.transforms {
            if *key == plugin.name().to_lowercase() {
                all.push((PluginKind::Transform, plugin.clone()));
            }
        }
        for (key, plugin) in &self.sinks {
            if *key == plugin.name().to_lowercase() {
                all.push((PluginKind::Sink, plugin.clone()));
            }
        }
        for (key, plugin) in &self.queues {
            if *key == plugin.name().to_lowercase() {
                all.push((PluginKind::DeadLetters, plugin.clone()));
            }
        }
        all
    }
}

fn insert<P: Plugin + ?Sized>(map: &mut BTreeMap<String, Arc<P>>, kind: PluginKind, plugin: Arc<P>) -> Result<()> {
    let mut names = vec![plugin.name().to_lowercase()];
    names.extend(plugin.aliases().iter().map(|alias| alias.to_lowercase()));
    if let Some(taken) = names.iter().find(|name| map.contains_key(*name)) {
        return Err(Error::config(format!("two {} plugins are called '{taken}'", kind.as_str()))
            .hint("remove one of them from the plugin path"));
    }
    for name in names {
        map.insert(name, plugin.clone());
    }
    Ok(())
}

fn find<P: Plugin + ?Sized>(map: &BTreeMap<String, Arc<P>>, kind: PluginKind, name: &str) -> Result<Arc<P>> {
    if let Some(plugin) = map.get(&name.to_lowercase()) {
        return Ok(plugin.clone());
    }
    let error = Error::config(format!("no {} plugin is called '{name}'", kind.as_str()));
    Err(match nearest(name, map.values().map(|plugin| plugin.name())) {
        Some(near) => error.hint(format!("did you mean '{near}'? 'levada plugin list' shows them all")),
        None => error.hint("'levada plugin list' shows them all"),
    })
}

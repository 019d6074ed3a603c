//! What a pipeline is: its flat configuration, checked as a whole.
//!
//! A configuration is Kafka Connect's flat map of strings. Keys of the pipeline itself stand alone; a plugin's keys stand
//! behind a prefix: `source.`, `sink.`, `transforms.<alias>.`; a connector in Kafka Connect's form names one end alone, and
//! its keys have none. [`PipelineSpec::parse`] names every error at once.

mod circles;
mod connect;
mod keys;
mod queue;
mod sections;

use std::sync::Arc;
use std::time::Duration;

use levada_connector_api::config::{Config, ConfigError, RawConfig};
use levada_connector_api::{
    DeadLetterPlugin, Guarantee, OutputMode, Plugin, Registry, SinkPlugin, SourcePlugin, TransformPlugin,
};

use connect::Naming;
pub use keys::definition;
use sections::Sections;

use crate::Trigger;
use crate::dead_letters::BadRowLog;

/// What becomes of rows that cannot be decoded, transformed or written (`errors.tolerance`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorTolerance {
    /// The task fails with the row's place.
    None,
    /// The row goes to the dead letters; the good rows go on.
    All,
}

/// How large a micro-batch may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows at most.
    pub rows: usize,
    /// Bytes of input at most.
    pub bytes: usize,
    /// How long a batch should take: the rows are adapted to it.
    pub target: Option<Duration>,
}

/// How a failed task is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// How often in a row without a batch being committed.
    pub attempts: u32,
    /// The first delay; it doubles each time.
    pub delay: Duration,
    /// The longest delay.
    pub delay_max: Duration,
    /// For how long since the first failure in a row; counts in place of `attempts`.
    pub timeout: Option<RetryTimeout>,
}

/// When what fails again and again is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryTimeout {
    /// That long after the first failure.
    After(Duration),
    /// It never is.
    Never,
}

/// A plugin with its checked configuration.
pub struct StageSpec<P: ?Sized> {
    /// The transform's alias; `source` or `sink` for the ends.
    pub alias: String,
    /// The plugin.
    pub plugin: Arc<P>,
    /// Its configuration.
    pub config: Config,
    /// Where its rows come from: aliases of sources and transforms. Empty: from the one before it.
    pub inputs: Vec<String>,
}

/// How the watermarks of several inputs become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkPolicy {
    /// The slowest counts: no row is late because another input is ahead.
    Min,
    /// The fastest counts: results come early, and rows of slow inputs may be late.
    Max,
}

/// A pipeline whose configuration has been checked.
pub struct PipelineSpec {
    /// Its name.
    pub name: String,
    /// Where rows come from: one or more.
    pub sources: Vec<StageSpec<dyn SourcePlugin>>,
    /// What happens to them.
    pub transforms: Vec<StageSpec<dyn TransformPlugin>>,
    /// Where they go.
    pub sink: StageSpec<dyn SinkPlugin>,
    /// What of the result goes to the sink.
    pub output_mode: OutputMode,
    /// How several watermarks become one.
    pub watermark_policy: WatermarkPolicy,
    /// How many tasks the work may be split over.
    pub tasks_max: u32,
    /// When batches start.
    pub trigger: Trigger,
    /// How large they may become.
    pub limits: Limits,
    /// What becomes of bad rows.
    pub tolerance: ErrorTolerance,
    /// What is logged of bad rows.
    pub bad_row_log: BadRowLog,
    /// The folder for dead letters; `None`: in the data folder.
    pub dead_letters: Option<String>,
    /// The queue for dead letters; `None`: they go into files.
    pub dead_letter_queue: Option<StageSpec<dyn DeadLetterPlugin>>,
    /// The folder or URL of the checkpoint; `None`: in the data folder.
    pub checkpoint: Option<String>,
    /// How long a stop waits for the batch under way.
    pub stop_timeout: Duration,
    /// How a failed task is started again.
    pub restart: RestartPolicy,
}

impl PipelineSpec {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All errors at once: unknown keys with the nearest known one, missing keys, wrong values, unknown plugins.
    pub fn parse(raw: &RawConfig, registry: &Registry) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut sections = Sections::split(raw);
        let ends = connect::expand(&mut sections, registry, &mut errors);
        if sections.sink.is_empty() && !errors.is_empty() {
            // What the connector is, is not known: nothing more can be said.
            return Err(errors);
        }
        sections.take_unprefixed(registry);
        let Sections { own, mut sources, mut sink, mut transforms, queue, unknown } = sections;
        let config = match keys::definition().parse(&own, "") {
            Ok(config) => config,
            Err(found) => {
                errors.extend(found);
                // The plugins' errors are wanted, too: go on with what the defaults say.
                let minimal = RawConfig::from([("name".to_owned(), "pipeline".to_owned())]);
                match keys::definition().parse(&minimal, "") {
                    Ok(config) => config,
                    Err(_) => return Err(errors),
                }
            }
        };
        errors.extend(unknown);

        let names = sections::aliases(&own, "sources", &mut errors);
        let mut from = Vec::new();
        if names.is_empty() {
            let mut keys = sources.remove("").unwrap_or_default();
            let class = keys.remove("class");
            from.extend(stage("source", ends.source, class, &own, keys, |n| registry.source(n), &mut errors));
        }
        for alias in &names {
            let mut keys = sources.remove(alias.as_str()).unwrap_or_default();
            let prefix = format!("sources.{alias}.");
            let (class, naming) = (keys.remove("class"), Naming { prefix: &prefix, class: &format!("{prefix}class") });
            from.extend(stage(alias, naming, class, &own, keys, |n| registry.source(n), &mut errors));
        }
        sections::strangers("sources", sources, &names, &mut errors);
        let names = if names.is_empty() { vec!["source".to_owned()] } else { names };
        let class = sink.remove("class");
        let sink = stage("sink", ends.sink, class, &own, sink, |n| registry.sink(n), &mut errors);
        let aliases = sections::aliases(&own, "transforms", &mut errors);
        let mut stages: Vec<StageSpec<dyn TransformPlugin>> = Vec::new();
        for (i, alias) in aliases.iter().enumerate() {
            let prefix = format!("transforms.{alias}.");
            let mut keys = transforms.remove(alias.as_str()).unwrap_or_default();
            let inputs =
                sections::inputs(&prefix, &mut keys, &names, aliases.get(..i).unwrap_or_default(), &mut errors);
            let (class, naming) = (keys.remove("type"), Naming { prefix: &prefix, class: &format!("{prefix}type") });
            let found = stage(alias, naming, class, &own, keys, |n| registry.transform(n), &mut errors);
            if let Some(mut stage) = found {
                stage.inputs = inputs;
                stages.push(stage);
            }
        }
        sections::strangers("transforms", transforms, &aliases, &mut errors);

        let queue = queue::queue(queue, &own, &from, sink.as_ref(), registry, &mut errors);
        if queue.is_some() && config.is_given("errors.deadletterqueue.path") {
            errors.push(ConfigError::new(
                "errors.deadletterqueue.path",
                "dead letters go to the topic or into files; remove one of the two",
            ));
        }
        let (Some(sink), false) = (sink, from.is_empty()) else { return Err(errors) };
        let output_mode = config.string("output.mode").parse().unwrap_or(OutputMode::Append);
        let capabilities = sink.plugin.capabilities(&sink.config);
        if !capabilities.modes.contains(&output_mode) {
            let can: Vec<_> = capabilities.modes.iter().map(|mode| mode.as_str()).collect();
            errors.push(ConfigError::invalid(
                "output.mode",
                output_mode.as_str(),
                format!("the sink '{}' cannot show it; it can {}", sink.plugin.name(), can.join(", ")),
            ));
        }
        circles::check(&config, &from, &sink, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let unlimited = |value: Option<usize>| value.unwrap_or(usize::MAX);
        Ok(Self {
            name: config.string("name"),
            sources: from,
            transforms: stages,
            sink,
            output_mode,
            watermark_policy: match config.string("watermark.policy").to_ascii_lowercase().as_str() {
                "max" => WatermarkPolicy::Max,
                _ => WatermarkPolicy::Min,
            },
            tasks_max: u32::try_from(config.int("tasks.max")).unwrap_or(u32::MAX),
            trigger: config.string("trigger").parse().unwrap_or(Trigger::Available),
            limits: Limits {
                rows: unlimited(config.int_opt("batch.max.rows").and_then(|rows| usize::try_from(rows).ok())),
                bytes: unlimited(usize::try_from(config.size("batch.max.bytes")).ok()),
                target: config.duration_opt("batch.target.duration"),
            },
            tolerance: match config.string("errors.tolerance").to_ascii_lowercase().as_str() {
                "all" => ErrorTolerance::All,
                _ => ErrorTolerance::None,
            },
            bad_row_log: BadRowLog {
                enabled: config.bool("errors.log.enable"),
                content: config.bool("errors.log.include.messages"),
            },
            dead_letters: config.string_opt("errors.deadletterqueue.path"),
            dead_letter_queue: queue,
            checkpoint: config.string_opt("checkpoint.location"),
            stop_timeout: config.duration("stop.timeout"),
            restart: RestartPolicy {
                attempts: u32::try_from(config.int("restart.attempts")).unwrap_or(u32::MAX),
                delay: config.duration("restart.delay"),
                delay_max: match config.int_opt("errors.retry.delay.max.ms") {
                    Some(ms) => Duration::from_millis(u64::try_from(ms).unwrap_or_default()),
                    None => config.duration("restart.delay.max"),
                },
                timeout: config.int_opt("errors.retry.timeout").map(|ms| match u64::try_from(ms) {
                    Ok(ms) => RetryTimeout::After(Duration::from_millis(ms)),
                    Err(_) => RetryTimeout::Never,
                }),
            },
        })
    }

    /// What the pipeline as a whole promises, given its source and sink.
    pub fn guarantee(&self) -> Guarantee {
        let sink = self.sink.plugin.capabilities(&self.sink.config).guarantee;
        let replayable = self.sources.iter().all(|source| source.plugin.capabilities(&source.config).replayable);
        if replayable { sink } else { Guarantee::AtLeastOnce }
    }
}

fn stage<P: Plugin + ?Sized>(
    alias: &str,
    Naming { prefix, class: key }: Naming<'_>,
    class: Option<String>,
    own: &RawConfig,
    mut raw: RawConfig,
    find: impl Fn(&str) -> levada_connector_api::Result<Arc<P>>,
    errors: &mut Vec<ConfigError>,
) -> Option<StageSpec<P>> {
    let Some(class) = class else {
        errors.push(ConfigError::new(key, "missing; it names the plugin ('levada plugin list' shows them)"));
        return None;
    };
    let plugin = match find(&class) {
        Ok(plugin) => plugin,
        Err(error) => {
            errors.push(ConfigError::invalid(key, class, error.to_string()));
            return None;
        }
    };
    let def = plugin.config_def();
    connect::servers(&def, &mut raw, own);
    match def.parse(&raw, prefix) {
        Ok(config) => {
            let found = plugin.validate(&config);
            if found.is_empty() {
                return Some(StageSpec { alias: alias.to_owned(), plugin, config, inputs: Vec::new() });
            }
            errors.extend(found.into_iter().map(|error| error.prefixed(prefix)));
        }
        Err(found) => errors.extend(found),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_errors_come_at_once() {
        let raw: RawConfig = [
            ("name", "p"),
            ("triger", "5 seconds"),
            ("sorce.path", "in"),
            ("batch.max.bytes", "0"),
            ("output.mode", "compleet"),
            ("source.class", "Nothing"),
            ("transforms", "a, a"),
            ("transforms.b.type", "X"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let errors = PipelineSpec::parse(&raw, &Registry::new()).err().unwrap();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "sorce.path: unknown key; did you mean 'source.path'?",
            "triger: unknown key; did you mean 'trigger'?",
            "output.mode = 'compleet': use one of append, update, complete; did you mean 'complete'?",
            "source.class = 'Nothing': no source plugin is called 'Nothing'",
            "sink.class: missing",
            "batch.max.bytes = '0': it must be 1 byte or more",
            "transforms = 'a, a': 'a' stands there twice",
            "transforms.a.type: missing",
            "transforms.b.type: 'b' is not in 'transforms'; did you mean 'transforms.a.type'?",
        ] {
            assert!(text.contains(part), "{part}\nnot in\n{text}");
        }
    }
}

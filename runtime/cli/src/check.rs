//! Loading and checking pipelines: every error of every file is said before anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{ConfigError, RawConfig};
use levada_connector_api::{BindContext, Registry, SourcePlugin};
use levada_engine::{PipelineSpec, Plan, StageSpec, plan};

use crate::args::Worker;
use crate::load::load;
use crate::{Exit, say};

/// A pipeline that can run.
pub(crate) struct Ready {
    pub(crate) spec: PipelineSpec,
    pub(crate) plan: Plan,
    /// What the user should know although it runs.
    pub(crate) warnings: Vec<String>,
}

/// Loads and checks pipelines. Every error of every file is said.
pub(crate) async fn check(
    files: &[PathBuf],
    set: &[(String, String)],
    worker: &Worker,
    registry: &Registry,
) -> Result<Vec<Ready>, Exit> {
    let mut ready: Vec<Ready> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut errors = 0;
    for file in files {
        let mut found = Vec::new();
        match check_one(file, set, worker, registry, &mut found).await {
            Some(pipeline) if names.contains(&pipeline.spec.name) => found
                .push(format!("name = '{}': two pipelines have this name; state is found by it", pipeline.spec.name)),
            Some(pipeline) => {
                names.push(pipeline.spec.name.clone());
                ready.push(pipeline);
            }
            None => {}
        }
        errors += found.len();
        found.iter().for_each(|error| say(&format!("error: {}: {error}", file.display())));
    }
    if errors == 0 { Ok(ready) } else { Err(Exit::Usage) }
}

async fn check_one(
    file: &Path,
    set: &[(String, String)],
    worker: &Worker,
    registry: &Registry,
    errors: &mut Vec<String>,
) -> Option<Ready> {
    let told = |found: &[ConfigError]| found.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut raw = load(file, set).map_err(|found| errors.extend(found)).ok()?;
    if let Some(servers) = &worker.bootstrap_servers {
        raw.entry("bootstrap.servers".to_owned()).or_insert_with(|| servers.clone());
    }
    let spec = match PipelineSpec::parse(&raw, registry) {
        Ok(spec) => spec,
        Err(found) => {
            errors.extend(told(&found));
            // Unknown columns and missing folders show only when the chain is bound: as far as it is sound, it is.
            if let Some(sound) = without(&raw, &found).and_then(|raw| PipelineSpec::parse(&raw, registry).ok())
                && let Err(error) = plan(&sound).await
            {
                errors.push(error.to_string());
            }
            return None;
        }
    };
    let plan = plan(&spec).await.map_err(|error| errors.push(error.to_string())).ok()?;
    let mut warnings = Vec::new();
    match tasks(&raw, &spec, &plan) {
        Ok(warning) => warnings.extend(warning),
        Err(error) => {
            errors.push(error.to_string());
            return None;
        }
    }
    Some(Ready { spec, plan, warnings })
}

/// The configuration without what is wrong: the chain up to the first transform in error, into nothing if the sink is
/// in error. `None` if the source is in error: then there are no columns to check anything against.
fn without(raw: &RawConfig, errors: &[ConfigError]) -> Option<RawConfig> {
    let wrong = |prefix: &str| errors.iter().any(|error| error.key.starts_with(prefix));
    if wrong("source") {
        return None;
    }
    let mut sound = raw.clone();
    let mut whole = !wrong("output.mode");
    for error in errors {
        sound.remove(&error.key);
    }
    if wrong("sink.") {
        sound.retain(|key, _| !key.starts_with("sink."));
        sound.insert("sink.class".to_owned(), "Null".to_owned());
    }
    let aliases = raw.get("transforms").cloned().unwrap_or_default();
    let mut kept = Vec::new();
    for alias in aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty()) {
        if wrong(&format!("transforms.{alias}.")) || kept.contains(&alias) {
            whole = false;
            break;
        }
        kept.push(alias);
    }
    let is_kept = |key: &str| {
        key.strip_prefix("transforms.").is_none_or(|rest| kept.iter().any(|a| rest.split('.').next() == Some(*a)))
    };
    sound.retain(|key, _| is_kept(key));
    sound.insert("transforms".to_owned(), kept.join(","));
    sound.entry("name".to_owned()).or_insert_with(|| "pipeline".to_owned());
    if !whole
        && raw.keys().any(|key| key.starts_with("transforms.") && (key.ends_with(".inputs") || key.ends_with(".input")))
    {
        // Of a net, what is left has loose ends that the whole has not.
        return None;
    }
    if !whole {
        // What is left of the chain may not give the mode that the whole chain would.
        sound.insert("output.mode".to_owned(), "update".to_owned());
    }
    Some(sound)
}

/// Checks `tasks.max`. Answers with a warning if fewer tasks run than it allows.
///
/// # Errors
/// The pipeline has state, and its source could be split: rows of one key would be in several tasks.
fn tasks(raw: &RawConfig, spec: &PipelineSpec, plan: &Plan) -> Result<Option<String>, ConfigError> {
    let given = raw.get("tasks.max").map(|text| text.trim().to_owned()).unwrap_or_default();
    let max: usize = given.parse().unwrap_or(1);
    if max < 2 {
        return Ok(None);
    }
    let splits = |source: &&StageSpec<dyn SourcePlugin>| {
        source.plugin.split(&source.config, max).is_ok_and(|tasks| tasks.len() > 1)
    };
    if !spec.sources.iter().any(|source| splits(&source)) {
        let sources: Vec<_> = spec.sources.iter().map(|source| format!("'{}'", source.plugin.name())).collect();
        let sources = sources.join(", ");
        return Ok(Some(format!("tasks.max = {max}, but the source {sources} cannot be split: one task runs")));
    }
    if let Some(alias) = stateful(spec, plan) {
        let message = format!(
            "transform '{alias}' has state, and rows of one key could be in several tasks: that takes Kafka between \
             them, which is not built in yet; set it to 1"
        );
        return Err(ConfigError::invalid("tasks.max", given, message));
    }
    Ok(Some(format!("tasks.max = {max}: several tasks in one pipeline are not built in yet: one task runs")))
}

/// The first transform that has state.
fn stateful<'a>(spec: &'a PipelineSpec, plan: &Plan) -> Option<&'a str> {
    let mut yields: BTreeMap<&str, (SchemaRef, bool)> = BTreeMap::new();
    yields.extend(spec.sources.iter().zip(&plan.inputs).map(|(source, s)| (source.alias.as_str(), (s.clone(), false))));
    let mut before = spec.sources.first()?.alias.as_str();
    for stage in &spec.transforms {
        let inputs: Vec<_> = match stage.inputs.is_empty() {
            true => yields.get(before).into_iter().collect(),
            false => stage.inputs.iter().filter_map(|name| yields.get(name.as_str())).collect(),
        };
        let aggregated = inputs.iter().any(|input| input.1);
        let schemas: Vec<SchemaRef> = inputs.into_iter().map(|input| input.0.clone()).collect();
        let context = BindContext { aggregated, ..BindContext::new(stage.alias.as_str(), spec.output_mode) };
        let mut transform = stage.plugin.create(&stage.config).ok()?;
        let bound = transform.bind_all(&schemas, &context).ok()?;
        if bound.stateful {
            return Some(&stage.alias);
        }
        before = &stage.alias;
        yields.insert(before, (bound.schema, aggregated || bound.aggregates));
    }
    None
}

#[cfg(test)]
mod tests {
    use levada_connector_api::config::{Config, ConfigDef};
    use levada_connector_api::{Plugin, Source, SourceCapabilities};

    use super::*;

    #[test]
    fn what_is_sound_is_left() {
        let raw: RawConfig = [
            ("name", "p"),
            ("triger", "once"),
            ("source.class", "Files"),
            ("transforms", "a,b,c"),
            ("transforms.a.type", "Filter"),
            ("transforms.b.typ", "Filter"),
            ("transforms.c.type", "Filter"),
            ("sink.class", "Fils"),
            ("output.mode", "complete"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let error = |key: &str| ConfigError::new(key, "wrong");
        let sound = without(&raw, &[error("triger"), error("transforms.b.type"), error("sink.class")]).unwrap();
        let entries: Vec<String> = sound.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            entries,
            [
                "name=p",
                "output.mode=update",
                "sink.class=Null",
                "source.class=Files",
                "transforms=a",
                "transforms.a.type=Filter"
            ]
        );
        assert!(without(&raw, &[error("source.path")]).is_none());
    }

    /// The files source, as one that can be split.
    struct Splits(levada_connector_files::FilesSourcePlugin);

    impl Plugin for Splits {
        fn name(&self) -> &str {
            "Splits"
        }

        fn version(&self) -> &str {
            "1"
        }

        fn doc(&self) -> &str {
            "Splits."
        }

        fn config_def(&self) -> ConfigDef {
            self.0.config_def()
        }
    }

    impl SourcePlugin for Splits {
        fn capabilities(&self, config: &Config) -> SourceCapabilities {
            self.0.capabilities(config)
        }

        fn split(&self, config: &Config, max_tasks: usize) -> levada_connector_api::Result<Vec<Config>> {
            Ok(vec![config.clone(); max_tasks])
        }

        fn create(&self, config: &Config) -> levada_connector_api::Result<Box<dyn Source>> {
            self.0.create(config)
        }
    }

    #[tokio::test]
    async fn state_in_several_tasks_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.yaml");
        let mut registry = levada_plugins::registry().unwrap();
        registry.add_source(Splits(levada_connector_files::FilesSourcePlugin)).unwrap();
        let checked = async |transforms: &str| {
            let config = format!(
                "source: {{class: Splits, path: \"${{dir}}\"}}\nsink: {{class: \"Null\"}}\ntasks.max: 2\n\
                 transforms: {transforms}\ntransforms.{transforms}.type: WordCount\noutput.mode: update\n"
            );
            let config = if transforms.is_empty() { config.replace("transforms.", "#") } else { config };
            std::fs::write(&file, config).unwrap();
            let mut errors = Vec::new();
            let ready = check_one(&file, &[], &Worker::default(), &registry, &mut errors).await;
            (ready.map(|ready| ready.warnings), errors)
        };
        let (ready, errors) = checked("count").await;
        assert!(ready.is_none() && errors[0].contains("'count' has state"), "{errors:?}");
        let (ready, errors) = checked("").await;
        assert!(ready.unwrap()[0].contains("one task runs") && errors.is_empty(), "{errors:?}");
    }
}

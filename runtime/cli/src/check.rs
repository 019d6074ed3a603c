//! Loading and checking pipelines: every error of every file is said before anything runs.

use std::path::{Path, PathBuf};

use levada_connector_api::Registry;
use levada_connector_api::config::{ConfigError, RawConfig};
use levada_engine::{PipelineSpec, Plan, count_tasks, plan};

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
    match count_tasks(&spec, &plan) {
        Ok(count) => warnings.extend(count.reason),
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

#[cfg(test)]
mod tests {
    use levada_connector_api::config::{Config, ConfigDef};
    use levada_connector_api::{Plugin, Source, SourceCapabilities, SourcePlugin};

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

        fn tasks(&self, _: &Config, max: u32) -> u32 {
            max
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
        assert!(ready.unwrap().is_empty() && errors.is_empty(), "{errors:?}");
    }
}

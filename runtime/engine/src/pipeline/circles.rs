//! Folders that are not what they are taken for: those of pipelines that would read what they write themselves, or whose
//! checkpoint would be a second one.

use std::path::{Path, PathBuf};

use levada_connector_api::config::{Config, ConfigError};
use levada_connector_api::{SinkPlugin, SourcePlugin};

use super::StageSpec;

/// Refuses a sink and dead letters whose files a source would read, and dead letters among the sink's files.
pub(super) fn check(
    own: &Config,
    sources: &[StageSpec<dyn SourcePlugin>],
    sink: &StageSpec<dyn SinkPlugin>,
    errors: &mut Vec<ConfigError>,
) {
    let reads = |file: &Path| sources.iter().find(|source| source.plugin.would_read(&source.config, file));
    let written = sink.plugin.would_write(&sink.config);
    if let Some(file) = &written
        && let Some(source) = reads(file)
    {
        let message = format!(
            "the source '{}' would read what is written there, again and again; write to another folder, or read with a \
             pattern that leaves it out",
            source.plugin.name()
        );
        errors.push(ConfigError::new(sink.config.full_key("path"), message));
    }
    let key = "checkpoint.location";
    if let Some(folder) = own.string_opt(key).and_then(|path| local(&path))
        && folder.join("checkpoint/tasks").is_dir()
    {
        let right = folder.join("checkpoint");
        let message = format!("this is a pipeline's folder; its checkpoint is {}", right.display());
        errors.push(ConfigError::invalid(key, folder.display().to_string(), message));
    }
    let key = "errors.deadletterqueue.path";
    let Some(folder) = own.string_opt(key).and_then(|path| local(&path)) else { return };
    let letters = folder.join("pipeline-checkpoint-task-00000-batch-00000000000000000000.jsonl");
    if let Some(source) = reads(&letters) {
        let message = format!("the source '{}' would read the dead letters; name another folder", source.plugin.name());
        errors.push(ConfigError::new(key, message));
    }
    let data = written.as_deref().and_then(Path::parent);
    let below = data.and_then(|data| folder.strip_prefix(data).ok());
    let hidden = |path: &Path| path.iter().any(|part| part.as_encoded_bytes().starts_with(b"_"));
    if below.is_some_and(|below| !hidden(below)) {
        let message = "who reads the sink's files would take the dead letters for rows; name another folder, or one below \
                       it that begins with '_'";
        errors.push(ConfigError::new(key, message));
    }
}

/// The absolute path of a local folder.
fn local(path: &str) -> Option<PathBuf> {
    let location = levada_storage::resolve(path).ok()?;
    location.local.as_ref()?;
    Some(PathBuf::from(format!("/{}", location.path)))
}

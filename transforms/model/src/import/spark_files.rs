//! The files of a Spark ML folder: metadata in a line of JSON, data in Parquet.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use levada_connector_api::{Error, ErrorKind, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// The part files of a folder, in order of their names.
fn parts(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(folder.display(), error);
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("part-") && name.ends_with(suffix) {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}

/// The metadata of the model or stage in `folder`.
pub(super) fn metadata(folder: &Path) -> Result<Value> {
    let place = folder.join("metadata");
    if !place.is_dir() {
        let message = format!("{}: there is no such folder: this is no model of Spark ML", place.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    for part in parts(&place, "")? {
        let text = String::from_utf8(super::content(&part)?)
            .map_err(|_| Error::corrupt("it is no UTF-8").context(part.display().to_string()))?;
        if let Some(line) = text.lines().find(|line| !line.trim().is_empty()) {
            return serde_json::from_str(line)
                .map_err(|error| Error::corrupt(error.to_string()).context(part.display().to_string()));
        }
    }
    Err(Error::corrupt("there is no metadata").context(place.display().to_string()))
}

/// All rows of the Parquet files in `folder`.
pub(super) fn rows(folder: &Path) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    let mut room = super::LARGEST;
    let parts = parts(folder, ".parquet")?;
    if parts.is_empty() {
        return Err(Error::corrupt("there is no Parquet file").context(folder.display().to_string()));
    }
    for part in parts {
        let file = File::open(&part).map_err(|error| Error::io(part.display(), error))?;
        let damaged = |error: String| Error::corrupt(error).context(part.display().to_string());
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| damaged(error.to_string()))?;
        for batch in reader {
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            let size = batch.get_array_memory_size() as u64;
            room = room.checked_sub(size).ok_or_else(|| {
                Error::unsupported(format!("the nodes need more than {} bytes", super::LARGEST))
                    .context(part.display().to_string())
            })?;
            batches.push(batch);
        }
    }
    Ok(batches)
}

/// A parameter of a stage: given, or its default.
pub(super) fn parameter<'a>(metadata: &'a Value, name: &str) -> Option<&'a Value> {
    let given = metadata.get("paramMap").and_then(|map| map.get(name));
    given.or_else(|| metadata.get("defaultParamMap").and_then(|map| map.get(name)))
}

/// A parameter that is text; empty if it is not there.
pub(super) fn text(metadata: &Value, name: &str) -> String {
    parameter(metadata, name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A parameter that is a list of text, or the one of another name alone.
pub(super) fn texts(metadata: &Value, several: &str, one: &str) -> Vec<String> {
    let given = |name| metadata.get("paramMap").and_then(|map| map.get(name));
    let list = given(several).and_then(Value::as_array);
    match list {
        Some(list) => list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        None => vec![text(metadata, one)],
    }
}

/// The last part of the class: `PipelineModel`.
pub(super) fn class(metadata: &Value) -> &str {
    metadata.get("class").and_then(Value::as_str).and_then(|class| class.rsplit('.').next()).unwrap_or_default()
}

/// A whole number beside the parameters.
pub(super) fn number(metadata: &Value, name: &str) -> Result<usize> {
    let number = metadata.get(name).or_else(|| parameter(metadata, name)).and_then(Value::as_u64);
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Error::corrupt(format!("the metadata has no '{name}'")))
}

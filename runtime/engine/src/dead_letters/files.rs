//! Bad rows in files: one of JSON lines a micro-batch.

use std::fmt::Write as _;

use levada_connector_api::{DeadLetter, Error, Result, Stage, TaskContext};
use levada_storage::to_error;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _};
use serde_json::{Map, Value};

/// What is gathered before it is handed to the store.
const PART_BYTES: usize = 5 << 20;

/// Where the bad rows of a task go. A file becomes visible, under a name that is the batch's, just before the batch is
/// committed: a repeated batch writes the same file again. Another pipeline's or checkpoint's batches have other names.
pub(crate) struct Files {
    pipeline: String,
    /// What names begin with.
    prefix: String,
    location: levada_storage::Location,
    open: Option<Open>,
}

struct Open {
    batch_id: u64,
    path: Path,
    upload: Box<dyn MultipartUpload>,
    buffer: String,
}

impl Files {
    /// Deletes what a killed run has left staged.
    pub(super) async fn open(context: &TaskContext, location: &str) -> Result<Self> {
        let location = levada_storage::resolve(location)?;
        let prefix = format!("{}-{}-task-{:05}-batch-", context.pipeline, context.checkpoint, context.task);
        if let Some(folder) = location.local.clone() {
            let ours = prefix.clone();
            levada_storage::blocking(move || levada_storage::remove_staged(&folder, |name| name.starts_with(&ours)))
                .await?;
        }
        Ok(Self { pipeline: context.pipeline.clone(), prefix, location, open: None })
    }

    /// Stages bad rows of a batch.
    pub(super) async fn stage(&mut self, batch_id: u64, letters: &[DeadLetter]) -> Result<()> {
        if self.open.as_ref().is_none_or(|open| open.batch_id != batch_id) {
            let name = format!("{}{batch_id:020}.jsonl", self.prefix);
            let path = self.location.path.clone().join(name);
            let upload = self.location.store.put_multipart(&path).await.map_err(|e| failed(&path, e))?;
            self.open = Some(Open { batch_id, path, upload, buffer: String::new() });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        for letter in letters {
            let _ = writeln!(open.buffer, "{}", line(&self.pipeline, batch_id, letter));
        }
        if open.buffer.len() >= PART_BYTES {
            let part = std::mem::take(&mut open.buffer).into_bytes();
            open.upload.put_part(part.into()).await.map_err(|e| failed(&open.path, e))?;
        }
        Ok(())
    }

    /// Makes the batch's bad rows durable.
    pub(super) async fn commit(&mut self, batch_id: u64) -> Result<()> {
        let Some(mut open) = self.open.take_if(|open| open.batch_id == batch_id) else { return Ok(()) };
        let failed = |e| failed(&open.path, e);
        open.upload.put_part(open.buffer.into_bytes().into()).await.map_err(failed)?;
        open.upload.complete().await.map_err(failed)?;
        Ok(())
    }
}

/// A letter with everything that the record had, so that it can be sent again as it was.
fn line(pipeline: &str, batch_id: u64, DeadLetter { row, class, stage }: &DeadLetter) -> Value {
    let mut line = Map::new();
    for (name, value) in [
        ("pipeline", Value::from(pipeline)),
        ("batchId", batch_id.into()),
        ("stage", row.stage.as_str().into()),
        ("class", class.as_str().into()),
        ("position", row.position.as_str().into()),
        ("reason", row.reason.as_str().into()),
    ] {
        line.insert(name.to_owned(), value);
    }
    let tombstone = row.record.as_ref().is_some_and(|record| record.value.is_none());
    let raw = (*stage != Stage::Source || !tombstone).then_some(row.raw.as_slice());
    insert(&mut line, "raw", "encoding", raw);
    if let Some(record) = &row.record {
        line.insert("topic".to_owned(), record.topic.as_str().into());
        line.insert("partition".to_owned(), record.partition.into());
        line.insert("offset".to_owned(), record.offset.into());
        line.extend(record.timestamp.map(|time| ("timestamp".to_owned(), time.into())));
        if let Some(key) = &record.key {
            insert(&mut line, "key", "keyEncoding", Some(key));
        }
        let header = |(name, value): &(String, Option<Vec<u8>>)| {
            let mut header = Map::from_iter([("key".to_owned(), Value::from(name.as_str()))]);
            insert(&mut header, "value", "encoding", value.as_deref());
            Value::from(header)
        };
        if !record.headers.is_empty() {
            line.insert("headers".to_owned(), record.headers.iter().map(header).collect());
        }
    }
    line.into()
}

/// Bytes, or null, and beside them how they are written.
fn insert(line: &mut Map<String, Value>, name: &str, encoding_name: &str, bytes: Option<&[u8]>) {
    let Some((shown, encoding)) = bytes.map(text) else {
        line.insert(name.to_owned(), Value::Null);
        return;
    };
    line.insert(encoding_name.to_owned(), encoding.into());
    line.insert(name.to_owned(), shown.into());
}

fn text(bytes: &[u8]) -> (String, &'static str) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (hex(bytes), "hex"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn failed(path: &Path, error: object_store::Error) -> Error {
    to_error(format!("/{path}"), error).context("dead letters")
}

#[cfg(test)]
mod tests {
    use levada_connector_api::{BadRow, Record};

    use super::*;

    #[tokio::test]
    async fn a_letter_has_all_that_the_record_had() {
        let folder = tempfile::tempdir().unwrap();
        let context = TaskContext::new("p");
        let mut files = Files::open(&context, folder.path().to_str().unwrap()).await.unwrap();
        let letter = |value: Option<&[u8]>, stage| {
            let record = Record {
                topic: "t".to_owned(),
                timestamp: Some(5),
                value: value.map(<[u8]>::to_vec),
                headers: vec![
                    ("h".to_owned(), Some(b"v".to_vec())),
                    ("n".to_owned(), None),
                    ("x".to_owned(), Some(vec![255])),
                ],
                ..Record::default()
            };
            let raw = if stage == Stage::Source { value.unwrap_or_default().to_vec() } else { b"{}".to_vec() };
            let (reason, place, position) = ("bad".to_owned(), "source".to_owned(), "t-0".to_owned());
            let row = BadRow { reason, stage: place, position, raw, record: Some(Box::new(record)) };
            DeadLetter { row, class: "Kafka".to_owned(), stage }
        };
        let letters = [letter(None, Stage::Source), letter(Some(b""), Stage::Source), letter(None, Stage::Sink)];
        files.stage(0, &letters).await.unwrap();
        files.commit(0).await.unwrap();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let raw: Vec<&Value> = lines.iter().map(|line| &line["raw"]).collect();
        assert_eq!(raw, [&Value::Null, &Value::from(""), &Value::from("{}")]);
        assert_eq!((&lines[0]["timestamp"], &lines[0]["partition"]), (&Value::from(5), &Value::from(0)));
        let headers = serde_json::json!([
            {"key": "h", "value": "v", "encoding": "utf-8"},
            {"key": "n", "value": null},
            {"key": "x", "value": "ff", "encoding": "hex"},
        ]);
        assert_eq!(lines[0]["headers"], headers);
    }
}

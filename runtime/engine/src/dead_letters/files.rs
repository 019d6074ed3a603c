//! Bad rows in files: one of JSON lines a micro-batch.

use std::fmt::Write as _;

use levada_connector_api::{DeadLetter, Error, Result, TaskContext};
use levada_storage::to_error;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _};

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
        for DeadLetter { row, class, .. } in letters {
            let (raw, encoding) = text(&row.raw);
            let mut line = serde_json::json!({
                "pipeline": self.pipeline, "batchId": batch_id, "stage": row.stage, "class": class,
                "position": row.position, "reason": row.reason, "encoding": encoding, "raw": raw,
            });
            if let (Some(record), Some(line)) = (&row.record, line.as_object_mut()) {
                line.insert("topic".to_owned(), record.topic.as_str().into());
                line.insert("partition".to_owned(), record.partition.into());
                line.insert("offset".to_owned(), record.offset.into());
                if let Some(key) = &record.key {
                    let (key, encoding) = text(key);
                    line.insert("key".to_owned(), key.into());
                    line.insert("keyEncoding".to_owned(), encoding.into());
                }
            }
            let _ = writeln!(open.buffer, "{line}");
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

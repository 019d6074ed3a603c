//! What host and child process say to each other: frames of a length, a JSON head, and Arrow's stream format for batches.

use std::io::{Read, Write};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use levada_connector_api::{Error, ErrorKind, Result, Retry};
use levada_plugin::host::Crossing;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A frame at most: more is no frame.
const MOST: u64 = 1 << 32;

#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    Query { query: u32, args: String },
    Create { args: String },
    Call { op: u32, args: String },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    Done { payload: String },
    Failed { kind: String, retry: String, message: String, hint: Option<String>, places: Vec<String> },
}

#[derive(Serialize, Deserialize)]
struct Head<T> {
    head: T,
    /// For each batch: whether there are rows, and where they came from.
    batches: Vec<(bool, String, u64)>,
}

fn broken(e: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("the plugin's process cannot be reached: {e}"))
}

pub(crate) fn write<T: Serialize>(out: &mut impl Write, head: T, batches: &[Crossing]) -> Result<()> {
    let mut bodies = Vec::new();
    let mut told = Vec::new();
    for batch in batches {
        let before = bodies.len();
        let mut writer = StreamWriter::try_new(&mut bodies, &batch.schema)?;
        if let Some(rows) = &batch.rows {
            writer.write(rows)?;
        }
        writer.finish()?;
        drop(writer);
        let meta = String::from_utf8_lossy(&batch.meta).into_owned();
        told.push((batch.rows.is_some(), meta, (bodies.len() - before) as u64));
    }
    let head = serde_json::to_vec(&Head { head, batches: told }).map_err(broken)?;
    let mut frame = Vec::with_capacity(16 + head.len());
    frame.extend((head.len() as u64).to_le_bytes());
    frame.extend((bodies.len() as u64).to_le_bytes());
    frame.extend(head);
    out.write_all(&frame).and_then(|()| out.write_all(&bodies)).and_then(|()| out.flush()).map_err(broken)
}

/// Reads a frame. `None`: the other side has ended.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<(T, Vec<Crossing>)>> {
    let mut lengths = [0; 16];
    if from.read_exact(&mut lengths).is_err() {
        return Ok(None);
    }
    let (head, bodies) = lengths.split_at(8);
    let length = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let (head, bodies) = (length(head), length(bodies));
    if head.saturating_add(bodies) > MOST {
        return Err(broken("a message is too long"));
    }
    let mut take = |n: u64| -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        from.by_ref().take(n).read_to_end(&mut bytes).map_err(broken)?;
        Ok((bytes.len() as u64 == n).then_some(bytes))
    };
    let (Some(head), Some(bodies)) = (take(head)?, take(bodies)?) else { return Ok(None) };
    let head: Head<T> = serde_json::from_slice(&head).map_err(broken)?;
    let mut rest = bodies.as_slice();
    let mut batches = Vec::with_capacity(head.batches.len());
    for (has_rows, meta, length) in head.batches {
        let (body, after) = rest.split_at_checked(length as usize).ok_or_else(|| broken("a batch is cut off"))?;
        rest = after;
        let reader = StreamReader::try_new(body, None)?;
        let schema = reader.schema();
        let rows: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
        let rows = match has_rows {
            true => Some(arrow::compute::concat_batches(&schema, &rows)?),
            false => None,
        };
        batches.push(Crossing { schema, rows, meta: meta.into_bytes() });
    }
    Ok(Some((head.head, batches)))
}

impl Reply {
    pub(crate) fn failed(error: &Error) -> Self {
        let retry = match error.retry() {
            Retry::Permanent => "permanent",
            Retry::Retriable => "retriable",
            Retry::Indeterminate => "indeterminate",
        };
        Self::Failed {
            kind: error.kind().as_str().to_owned(),
            retry: retry.to_owned(),
            message: error.message().to_owned(),
            hint: error.remedy().map(str::to_owned),
            places: error.places().to_vec(),
        }
    }

    pub(crate) fn into_result(self) -> Result<Vec<u8>> {
        match self {
            Self::Done { payload } => Ok(payload.into_bytes()),
            Self::Failed { kind, retry, message, hint, places } => {
                Err(levada_plugin::host::error_from_parts(&kind, &retry, message, hint, places))
            }
        }
    }
}

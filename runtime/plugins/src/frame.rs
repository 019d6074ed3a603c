//! What host and child process say to each other: frames of a length, a JSON head, and Arrow's stream format for batches.

use std::io::{Read, Write};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use levada_connector_api::{Error, ErrorKind, Result, Retry};
use levada_plugin::host::{Crossing, Said};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A frame at most: more is no frame.
const MOST: u64 = 1 << 32;

#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    Query {
        query: u32,
        args: String,
    },
    /// `operation_ms` and `cancel_ms` are the host's patience with an operation, and with one that was cancelled.
    Create {
        args: String,
        operation_ms: u64,
        cancel_ms: u64,
    },
    Call {
        op: u32,
        args: String,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Not an answer yet: what the plugin logs and measures on the way.
    Said(Said),
    Done {
        payload: String,
    },
    Failed {
        kind: String,
        retry: String,
        message: String,
        hint: Option<String>,
        places: Vec<String>,
    },
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

/// Why a frame could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The other side has ended.
    Ended,
    /// It has said nothing for as long as the stream waits.
    Silent,
    /// It says what nobody understands.
    Broken(Error),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<arrow::error::ArrowError> for Unread {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Broken(error.into())
    }
}

fn exactly(from: &mut impl Read, n: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    match from.take(n).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 == n => Ok(bytes),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            Err(Unread::Silent)
        }
        _ => Err(Unread::Ended),
    }
}

/// Reads a frame.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<(T, Vec<Crossing>), Unread> {
    let lengths = exactly(from, 16)?;
    let length = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let (head, bodies) = lengths.split_at(8);
    let (head, bodies) = (length(head), length(bodies));
    if head.saturating_add(bodies) > MOST {
        return Err(broken("a message is too long").into());
    }
    let (head, bodies) = (exactly(from, head)?, exactly(from, bodies)?);
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
    Ok((head.head, batches))
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

    /// What was answered; `None`: nothing yet.
    pub(crate) fn into_result(self) -> Option<Result<Vec<u8>>> {
        Some(match self {
            Self::Said(said) => {
                said.tell();
                return None;
            }
            Self::Done { payload } => Ok(payload.into_bytes()),
            Self::Failed { kind, retry, message, hint, places } => {
                Err(levada_plugin::host::error_from_parts(&kind, &retry, message, hint, places))
            }
        })
    }
}

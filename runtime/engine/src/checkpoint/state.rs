//! State as bytes: an Arrow IPC stream for each state partition, compressed with lz4.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use levada_connector_api::{Error, Result, StateImage, StateKind, StateSection};
use levada_storage::Background;

use super::record::{SectionEntry, StateEntry};

/// Fewer rows are encoded sooner than another thread could begin to.
const FEW: usize = 4096;

/// Encodes the state of the transform `transform`.
///
/// # Errors
/// Arrow cannot encode the batches: they are not of one schema.
pub async fn encode_image(transform: &str, image: StateImage) -> Result<StateEntry> {
    let rows = |section: &StateSection| -> usize { section.batches.iter().map(RecordBatch::num_rows).sum() };
    let entry =
        |section: &StateSection| SectionEntry { partition: section.partition, rows: rows(section) as u64, bytes: 0 };
    let mut sections: Vec<_> = image.sections.iter().map(entry).collect();
    let all: usize = image.sections.iter().map(rows).sum();
    let (kind, fingerprint) = (image.kind, image.fingerprint);
    let encoded = match all {
        ..FEW => encode_sections(&image.sections)?,
        _ => {
            let encode = |section| Background::compute(async move { encode_section(&section) });
            let work: Vec<_> = image.sections.into_iter().map(encode).collect();
            let mut encoded = Vec::with_capacity(work.len());
            for section in work {
                encoded.push(section.wait().await?);
            }
            encoded
        }
    };
    for (section, bytes) in sections.iter_mut().zip(&encoded) {
        section.bytes = bytes.len() as u64;
    }
    Ok(StateEntry {
        transform: transform.to_owned(),
        snapshot: kind == StateKind::Snapshot,
        fingerprint,
        sections,
        data: encoded.concat().into(),
    })
}

fn encode_sections(sections: &[StateSection]) -> Result<Vec<Vec<u8>>> {
    sections.iter().map(encode_section).collect()
}

fn encode_section(section: &StateSection) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    if let Some(first) = section.batches.first() {
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(&mut data, &first.schema(), options)?;
        for batch in &section.batches {
            writer.write(batch)?;
        }
        writer.finish()?;
    }
    Ok(data)
}

/// Decodes state.
///
/// # Errors
/// The bytes are no Arrow IPC stream: damage that the checksum did not see, or another version's layout.
pub fn decode_image(entry: &StateEntry) -> Result<StateImage> {
    let mut at = 0usize;
    let mut sections = Vec::with_capacity(entry.sections.len());
    for section in &entry.sections {
        let end = at.saturating_add(section.bytes as usize).min(entry.data.len());
        let bytes: Bytes = entry.data.slice(at.min(end)..end);
        at = end;
        let mut batches = Vec::new();
        if !bytes.is_empty() {
            let damaged = |e: arrow::error::ArrowError| {
                Error::corrupt(format!("the state of transform '{}' cannot be read: {e}", entry.transform))
            };
            for batch in StreamReader::try_new(Cursor::new(bytes), None).map_err(damaged)? {
                batches.push(batch.map_err(damaged)?);
            }
        }
        sections.push(StateSection { partition: section.partition, batches });
    }
    Ok(StateImage { kind: entry.kind(), fingerprint: entry.fingerprint.clone(), sections })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{Int64Array, StringArray};

    #[tokio::test]
    async fn state_survives_the_round_trip() {
        let batch = |word: &str, n: i64| {
            RecordBatch::try_from_iter([
                ("word", Arc::new(StringArray::from(vec![word])) as _),
                ("count", Arc::new(Int64Array::from(vec![n])) as _),
            ])
            .unwrap()
        };
        let image = StateImage {
            kind: StateKind::Delta,
            fingerprint: "f".into(),
            sections: vec![
                StateSection { partition: 0, batches: vec![batch("a", 1), batch("b", 2)] },
                StateSection { partition: 1, batches: vec![] },
                StateSection { partition: 2, batches: vec![batch("", -1)] },
            ],
        };
        let entry = encode_image("count", image.clone()).await.unwrap();
        let back = decode_image(&entry).unwrap();
        assert_eq!(back.kind, image.kind);
        assert_eq!(back.sections.len(), 3);
        for (a, b) in back.sections.iter().zip(&image.sections) {
            assert_eq!((a.partition, &a.batches), (b.partition, &b.batches));
        }
    }
}

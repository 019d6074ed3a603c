//! State as bytes: an Arrow IPC stream for each state partition, compressed with lz4.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use levada_connector_api::{Error, Result, StateImage, StateSection};

use super::record::{SectionEntry, StateEntry};

/// State with more rows than these is encoded by several threads.
const MANY: usize = 100_000;

/// Encodes the state of the transform `transform`.
///
/// # Errors
/// Arrow cannot encode the batches: they are not of one schema.
pub fn encode_image(transform: &str, image: &StateImage) -> Result<StateEntry> {
    let rows: usize = image.sections.iter().flat_map(|section| &section.batches).map(RecordBatch::num_rows).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(image.sections.len());
    let threads = if rows < MANY { 1 } else { cores };
    let of_thread = |thread: usize| -> Result<Vec<Vec<u8>>> {
        image.sections.iter().skip(thread).step_by(threads).map(encode_section).collect()
    };
    let encoded = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || of_thread(thread))).collect();
        let mut encoded = vec![of_thread(0)?.into_iter()];
        for other in others {
            let of_other = other.join().map_err(|_| Error::internal("a thread that encoded state panicked"))??;
            encoded.push(of_other.into_iter());
        }
        Ok::<_, Error>(encoded)
    });
    let mut encoded = encoded?;
    let mut data = Vec::new();
    let mut sections = Vec::with_capacity(image.sections.len());
    for (at, section) in image.sections.iter().enumerate() {
        let bytes = encoded.get_mut(at % threads.max(1)).and_then(Iterator::next).unwrap_or_default();
        data.extend_from_slice(&bytes);
        sections.push(SectionEntry {
            partition: section.partition,
            rows: section.batches.iter().map(|batch| batch.num_rows() as u64).sum(),
            bytes: bytes.len() as u64,
        });
    }
    Ok(StateEntry {
        transform: transform.to_owned(),
        snapshot: image.kind == levada_connector_api::StateKind::Snapshot,
        fingerprint: image.fingerprint.clone(),
        sections,
        data: data.into(),
    })
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

    use arrow::array::{Int64Array, StringArray};
    use levada_connector_api::StateKind;

    use super::*;

    #[test]
    fn state_survives_the_round_trip() {
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
        let entry = encode_image("count", &image).unwrap();
        let back = decode_image(&entry).unwrap();
        assert_eq!(back.kind, image.kind);
        assert_eq!(back.sections.len(), 3);
        for (a, b) in back.sections.iter().zip(&image.sections) {
            assert_eq!((a.partition, &a.batches), (b.partition, &b.batches));
        }
    }
}

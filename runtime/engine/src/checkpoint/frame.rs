//! How records lie in a segment: `length (u32) | crc32 (u32) | payload`, little endian, after an eight-byte header.
//!
//! The checksum covers length and payload: a damaged length is noticed as damage, not taken for a torn end.

use bytes::Bytes;
use levada_connector_api::{Error, Result};

/// The first bytes of every segment: a magic word and the format's version.
pub(crate) fn header() -> [u8; 8] {
    let mut header = *b"LVDA\0\0\0\0";
    if let Some(version) = header.get_mut(4..) {
        version.copy_from_slice(&super::FORMAT_VERSION.to_le_bytes());
    }
    header
}

/// A record's bytes with its frame.
pub(crate) fn encode(payload: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).map_err(|_| {
        Error::unsupported(format!("a checkpoint record of {} bytes exceeds 4 GiB", payload.len()))
            .hint("lower batch.max.bytes, or split the work over more keys")
    })?;
    let mut out = Vec::with_capacity(payload.len() + 8);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(length, payload).to_le_bytes());
    out.extend_from_slice(payload);
    Ok(out)
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The records of a segment, and how many bytes of it are whole.
pub(crate) struct Frames {
    pub(crate) payloads: Vec<Bytes>,
    /// Where the last whole record ends. What follows was torn by a crash while it was written.
    pub(crate) whole: usize,
}

/// Reads a segment of which `acknowledged` bytes are known to have been durable. A record that ends beyond the segment's
/// end, and beyond what was acknowledged, was being written when the process died: it is left out. Anything else that does
/// not fit is damage.
///
/// # Errors
/// [`Corrupt`](levada_connector_api::ErrorKind::Corrupt), naming the place.
pub(crate) fn decode(name: &str, content: &Bytes, acknowledged: usize) -> Result<Frames> {
    let damaged = |at: usize, what: &str| {
        Error::corrupt(format!("{name}: damaged at byte {at}: {what}"))
            .hint("restore the file from a backup, or start anew with another checkpoint.location")
    };
    let expected = header();
    match content.get(..8) {
        None => return Err(damaged(content.len(), "the file is too short")),
        Some(found) if found == expected => {}
        Some(found) if found.get(..4) == expected.get(..4) => {
            let version = read_u32(content, 4).unwrap_or(0);
            return Err(Error::corrupt(format!(
                "{name}: format version {version}, but this build reads up to {}",
                super::FORMAT_VERSION
            ))
            .hint("run the newer levada that wrote it"));
        }
        Some(_) => return Err(damaged(0, "not a checkpoint segment")),
    }
    if content.len() < acknowledged {
        return Err(damaged(content.len(), &format!("the file ends here, but {acknowledged} bytes were made durable")));
    }
    let mut payloads = Vec::new();
    let mut at = 8;
    while at < content.len() {
        let (Some(length), Some(crc)) = (read_u32(content, at), read_u32(content, at + 4)) else { break };
        let start = at + 8;
        let end = start.saturating_add(length as usize);
        if end > content.len() {
            break;
        }
        let payload = content.slice(start..end);
        if checksum(length, &payload) != crc {
            // A power cut can leave the last record with its full length and not all of its bytes.
            if end == content.len() && end > acknowledged {
                break;
            }
            return Err(damaged(at, "the checksum does not match"));
        }
        payloads.push(payload);
        at = end;
    }
    if at < acknowledged {
        return Err(damaged(at, "a record is incomplete that was made durable"));
    }
    Ok(Frames { payloads, whole: at })
}

fn read_u32(content: &[u8], at: usize) -> Option<u32> {
    let bytes = content.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = header().to_vec();
        for record in records {
            out.extend(encode(record).unwrap());
        }
        out
    }

    fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(
            prop::collection::vec(1u8.., 1..50).prop_map(|mut r| {
                r.insert(0, b'{');
                r
            }),
            1..8,
        )
    }

    #[test]
    fn a_newer_format_is_refused_by_its_version() {
        let mut content = segment(&[b"{}".to_vec()]);
        content[4] = 9;
        let error = decode("1.log", &content.into(), 0).err().unwrap();
        assert!(error.to_string().contains("format version 9"), "{error}");
    }

    proptest! {
        #[test]
        fn whole_segments_read_back(records in records()) {
            let content = segment(&records);
            let frames = decode("s", &content.clone().into(), content.len()).unwrap();
            prop_assert_eq!(frames.whole, content.len());
            prop_assert_eq!(frames.payloads, records);
        }

        #[test]
        fn a_torn_end_is_left_out(records in records(), cut in 8usize..500) {
            let mut content = segment(&records);
            content.truncate(cut);
            let frames = decode("s", &content.clone().into(), 8).unwrap();
            let n = frames.payloads.len();
            prop_assert_eq!(&frames.payloads[..], &records[..n]);
            prop_assert!(frames.whole <= content.len());
        }

        #[test]
        fn a_cut_into_what_was_durable_is_noticed(records in records(), cut in 0usize..500) {
            let mut content = segment(&records);
            let durable = content.len();
            prop_assume!(cut < durable);
            content.truncate(cut);
            prop_assert!(decode("s", &content.into(), durable).is_err());
        }

        #[test]
        fn a_flipped_bit_in_what_was_durable_is_noticed(records in records(), at in 0usize..500, bit in 0u8..8) {
            let mut content = segment(&records);
            let at = at % content.len();
            content[at] ^= 1 << bit;
            let durable = content.len();
            prop_assert!(decode("s", &content.into(), durable).is_err());
        }
    }
}

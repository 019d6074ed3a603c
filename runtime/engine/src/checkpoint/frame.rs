//! How records lie in a segment: `length (u32) | crc32 (u32) | payload`, little endian, after an eight-byte header.
//!
//! The checksum covers length and payload: a damaged length is noticed as damage, not taken for a torn end.

use bytes::Bytes;
use levada_connector_api::{Error, Result};

const ZEROS: [u8; 4096] = [0; 4096];

/// The first bytes of every segment: a magic word and the format's version.
pub(crate) fn header() -> [u8; 8] {
    let mut header = *b"LVDA\0\0\0\0";
    if let Some(version) = header.get_mut(4..) {
        version.copy_from_slice(&super::FORMAT_VERSION.to_le_bytes());
    }
    header
}

/// A record with its frame, in parts that follow each other: `line` is copied into the first, `data` as large as the state
/// is not copied.
pub(crate) fn encode(line: &[u8], data: Vec<Bytes>) -> Result<Vec<Bytes>> {
    let whole = line.len() + data.iter().map(Bytes::len).sum::<usize>();
    let length = u32::try_from(whole).map_err(|_| {
        Error::unsupported(format!("a checkpoint record of {whole} bytes exceeds 4 GiB"))
            .hint("lower batch.max.bytes, or split the work over more keys")
    })?;
    let crc = checksum(length, std::iter::once(line).chain(data.iter().map(Bytes::as_ref)));
    let mut first = Vec::with_capacity(line.len() + 8);
    first.extend_from_slice(&length.to_le_bytes());
    first.extend_from_slice(&crc.to_le_bytes());
    first.extend_from_slice(line);
    Ok(std::iter::once(first.into()).chain(data).collect())
}

fn checksum<'a>(length: u32, payload: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    payload.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The records of a segment, and how many bytes of it are whole.
pub(crate) struct Frames {
    pub(crate) payloads: Vec<Bytes>,
    /// Where the last whole record ends. What follows was torn by a crash while it was written.
    pub(crate) whole: usize,
}

/// Reads a segment of which `acknowledged` bytes are known to have been durable. What was being written when the process or
/// the machine died is left out. That is the last record; or the commit before it together with it, since a commit is not
/// flushed before the next record is written, and a power cut may leave any part of both; or, where batches are prepared
/// without a flush, any of these and what follows. Zeros behind the records are room for more. Anything else that does not
/// fit is damage.
///
/// # Errors
/// [`Corrupt`](levada_connector_api::ErrorKind::Corrupt), naming the place.
pub(crate) fn decode(name: &str, content: &Bytes, acknowledged: usize) -> Result<Frames> {
    let damaged = |at: usize, what: &str| {
        Error::corrupt(format!("{name}: damaged at byte {at}: {what}"))
            .hint("restore the file from a backup, or start anew with another checkpoint.location and name")
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
        let Some(payload) = frame_at(content, at) else {
            let complete = read_u32(content, at).is_some_and(|length| at + 8 + length as usize <= content.len());
            if at < acknowledged {
                let what = if complete {
                    "the checksum does not match"
                } else {
                    "a record is incomplete that was made durable"
                };
                return Err(damaged(at, what));
            }
            // Zeros are room for what would have come.
            let rest = content.get(at..).unwrap_or_default();
            if !rest.chunks(ZEROS.len()).all(|part| ZEROS.starts_with(part)) && !is_torn(content, at, &payloads) {
                return Err(damaged(at, "the checksum does not match, and whole records follow"));
            }
            break;
        };
        at += 8 + payload.len();
        payloads.push(payload);
    }
    Ok(Frames { payloads, whole: at })
}

/// The whole record that begins at `at`, if there is one.
fn frame_at(content: &Bytes, at: usize) -> Option<Bytes> {
    let (length, crc) = (read_u32(content, at)?, read_u32(content, at + 4)?);
    let end = (at + 8).checked_add(length as usize).filter(|end| *end <= content.len())?;
    let payload = content.slice(at + 8..end);
    (checksum(length, [payload.as_ref()]) == crc).then_some(payload)
}

/// How every record begins, and some of them.
const RECORD: &[u8] = br#"{"type":""#;
const COMMIT: &[u8] = br#"{"type":"commit""#;
const PREPARE: &[u8] = br#"{"type":"prepare""#;
const UNFLUSHED: &[u8] = br#"{"type":"prepare","flushed":false"#;
const SEAL: &[u8] = br#"{"type":"seal""#;

/// Whether what is broken at `at`, behind the whole records `before`, was being written at the end: nothing whole follows
/// that was written later than it was durable.
fn is_torn(content: &Bytes, at: usize, before: &[Bytes]) -> bool {
    let mut behind = Vec::new();
    let mut from = at + 8;
    while let Some(found) = content.get(from..).and_then(|rest| rest.windows(RECORD.len()).position(|w| w == RECORD)) {
        let payload = from + found;
        from = match frame_at(content, payload - 8) {
            Some(whole) => {
                let end = payload + whole.len();
                behind.push(whole);
                end
            }
            None => payload + RECORD.len(),
        };
    }
    let Some((last, others)) = behind.split_last() else { return true };
    let is = |record: &Bytes, kind: &[u8]| record.starts_with(kind);
    // The broken one is then a commit, and the one behind it was flushed together with it.
    if others.is_empty() && (is(last, PREPARE) || is(last, SEAL)) {
        return true;
    }
    let mut prepared = before.iter().chain(&behind).filter(|record| is(record, PREPARE)).peekable();
    let unflushed = prepared.peek().is_none() || prepared.any(|record| is(record, UNFLUSHED));
    unflushed
        && others.iter().all(|record| is(record, COMMIT) || is(record, UNFLUSHED))
        && [COMMIT, PREPARE, SEAL].iter().any(|kind| is(last, kind))
}

fn read_u32(content: &[u8], at: usize) -> Option<u32> {
    let bytes = content.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// In two parts, as with a state.
    fn encode(record: &[u8]) -> Vec<u8> {
        let (line, data) = record.split_at(record.len() / 2);
        super::encode(line, vec![Bytes::copy_from_slice(data)]).unwrap().concat()
    }

    fn segment(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = header().to_vec();
        for record in records {
            out.extend(encode(record));
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

    /// A power cut may leave any pages of what was not flushed: of a commit and of the record behind it.
    #[test]
    fn a_commit_and_the_record_behind_it_may_be_torn_together() {
        let record =
            |kind: &str, more: usize| format!(r#"{{"type":"{kind}","x":"{}"}}"#, "x".repeat(more)).into_bytes();
        let durable = segment(&[record("snapshot", 9), record("prepare", 9)]);
        let torn = |records: &[Vec<u8>], zeroed: std::ops::Range<usize>| {
            let mut content = durable.clone();
            content.extend(records.iter().flat_map(|record| encode(record)));
            content[zeroed].fill(0);
            content
        };
        let from = durable.len();
        for next in ["prepare", "seal"] {
            let records = [record("commit", 0), record(next, 5000)];
            // The commit's page is lost, with or without the beginning of what follows, or only the end is there.
            for zeroed in [from..from + 30, from..from + 200, from + 100..from + 4000, from..from + 5000] {
                let content = torn(&records, zeroed.clone());
                let frames = decode("s", &content.into(), 8).unwrap();
                let whole = if zeroed.start == from { from } else { from + 8 + records[0].len() };
                assert_eq!(frames.whole, whole, "{next} {zeroed:?}");
            }
        }
        // What follows cannot have been written before the broken record was durable: batches are flushed when prepared.
        for records in [
            vec![record("prepare", 0), record("commit", 0)],
            vec![record("commit", 0), record("start", 0)],
            vec![record("commit", 0), record("prepare", 0), record("commit", 0)],
        ] {
            let error = decode("s", &torn(&records, from..from + 10).into(), 8).err().unwrap();
            assert!(error.to_string().contains(&format!("damaged at byte {from}")), "{error}");
        }
    }

    /// Where batches are prepared without a flush, a power cut may leave any pages of many records.
    #[test]
    fn any_of_many_records_that_were_not_flushed_may_be_torn() {
        let commit = br#"{"type":"commit","x":1}"#.to_vec();
        let prepare = |flushed: bool| format!(r#"{{"type":"prepare","flushed":{flushed},"x":1}}"#).into_bytes();
        let start = br#"{"type":"start","x":1}"#.to_vec();
        let torn = |before: &[Vec<u8>], records: &[Vec<u8>]| {
            let durable = segment(before);
            let from = durable.len();
            let mut content = [durable, records.iter().flat_map(|record| encode(record)).collect()].concat();
            content[from..from + 10].fill(0);
            content.extend([0; 5000]);
            decode("s", &content.into(), 8).map(|frames| (frames.whole, from))
        };
        let unflushed =
            [prepare(false), commit.clone(), prepare(false), commit.clone(), prepare(false), commit.clone()];
        for before in [vec![], vec![prepare(false), commit.clone()], vec![prepare(true), commit.clone()]] {
            for count in 1..=unflushed.len() {
                let seen = !before.is_empty() && before[0] == prepare(true) && count < 3;
                match torn(&before, &unflushed[..count]) {
                    Ok((whole, from)) => assert_eq!(whole, from),
                    // Nothing says that the broken one was not flushed.
                    Err(error) => assert!(seen, "{count}: {error}"),
                }
            }
        }
        // A flushed one that is not the last, and what is always flushed, come after what is durable.
        assert!(torn(&[prepare(false)], &[commit.clone(), prepare(true), commit.clone()]).is_err());
        assert!(torn(&[prepare(false)], &[commit.clone(), start]).is_err());
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

//! Positions in sources, as a checked algebra.
//!
//! The shape is Kafka Connect's: a source has *partitions*, each named by a small map (`{"file": "a.txt"}`,
//! `{"topic": "t", "partition": 0}`), and an *offset* in each, a map too. One entry of the offset is the
//! [`Position`], which is ordered; the others are the source's own notes (a file's size, its time).
//!
//! Ranges are half-open: `[start, end)`. An offset is always the first position that has *not* been read.
//!
//! - [`Offsets`] says where a source stands; [`OffsetRanges`] what was read.
//! - [`Offsets::apply`] moves on, and refuses gaps, overlaps and steps back.
//! - [`OffsetRanges::append`] joins what was read in two polls, with the same checks.
//! - [`Offsets::ranges_to`] is the difference: `a.apply(a.ranges_to(b)?) == b`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserializer};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The name of a partition of a source: a map, kept as canonical JSON with its keys sorted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(Arc<str>);

impl Partition {
    /// The partition named by `entries`: `Partition::new([("file", "a.txt".into())])`.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let sorted: BTreeMap<&str, Value> = entries.into_iter().collect();
        Self(Value::from_iter(sorted.into_iter().map(|(k, v)| (k.to_owned(), v))).to_string().into())
    }

    /// The partition with a single entry.
    pub fn named(key: &str, value: impl Into<Value>) -> Self {
        Self::new([(key, value.into())])
    }

    /// The entry `key`.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.to_map().remove(key)
    }

    /// The entry `key` if it is text.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The map.
    pub fn to_map(&self) -> Map<String, Value> {
        // What `new` and `deserialize` wrote is a JSON object.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Partition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_map().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Partition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        Ok(Self::new(map.iter().map(|(k, v)| (k.as_str(), v.clone()))))
    }
}

/// A place in a partition that can be compared with others of the same partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Position {
    /// A number: a byte position, a record number, a Kafka offset, an LSN.
    Number(u64),
    /// Decimal digits that may exceed 64 bits, compared as a number: a Kinesis sequence number.
    Digits(String),
}

impl Position {
    /// Compares two positions. `None` when they are of different types or no digits.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::Digits(a), Self::Digits(b)) => {
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                let digits = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
                (digits(a) && digits(b)).then(|| a.len().cmp(&b.len()).then_with(|| a.cmp(b)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Digits(d) => f.write_str(d),
        }
    }
}

/// Where reading goes on in a partition: the first position not read, and the source's notes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offset {
    /// The first position that has not been read.
    pub position: Position,
    /// What else the source wants to remember of the partition. Not compared by the algebra.
    #[serde(flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, Value>,
}

impl Offset {
    /// An offset at a number.
    pub fn at(position: u64) -> Self {
        Self { position: Position::Number(position), notes: BTreeMap::new() }
    }

    /// The same offset with a note.
    pub fn note(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.notes.insert(key.to_owned(), value.into());
        self
    }

    /// The position if it is a number.
    pub fn number(&self) -> Option<u64> {
        match self.position {
            Position::Number(n) => Some(n),
            Position::Digits(_) => None,
        }
    }

    /// The note `key` if it is a non-negative integer.
    pub fn note_u64(&self, key: &str) -> Option<u64> {
        self.notes.get(key).and_then(Value::as_u64)
    }
}

/// What was read of a partition: `[start, end)`. Without a start the partition was new.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The first position read; `None` when the partition had not been read before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Offset>,
    /// The first position not read.
    pub end: Offset,
}

impl OffsetRange {
    /// A range of a partition.
    ///
    /// # Errors
    /// The end lies before the start, or they cannot be compared.
    pub fn new(start: Option<Offset>, end: Offset) -> Result<Self> {
        if let Some(start) = &start {
            match start.position.compare(&end.position) {
                Some(Ordering::Less | Ordering::Equal) => {}
                Some(Ordering::Greater) => {
                    return Err(Error::internal(format!(
                        "offset range ends at {} before its start {}",
                        end.position, start.position
                    )));
                }
                None => {
                    return Err(Error::internal(format!(
                        "offsets {} and {} cannot be compared",
                        start.position, end.position
                    )));
                }
            }
        }
        Ok(Self { start, end })
    }
}

/// Where a source stands: an offset for each partition that it has read from.
///
/// As JSON: a list of `{"partition": {…}, "offset": {…}}`, as Kafka Connect's REST API gives it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Offsets(BTreeMap<Partition, Offset>);

impl Offsets {
    /// No partition has been read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no partition has been read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of partitions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The offset of a partition.
    pub fn get(&self, partition: &Partition) -> Option<&Offset> {
        self.0.get(partition)
    }

    /// Sets the offset of a partition, without any check: for sources that say what they have, not for moving on.
    pub fn set(&mut self, partition: Partition, offset: Offset) {
        self.0.insert(partition, offset);
    }

    /// The partitions and their offsets, sorted by partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, &Offset)> {
        self.0.iter()
    }

    /// Moves on by what was read. Nothing changes when it fails.
    ///
    /// # Errors
    /// A range does not start where its partition stands: a gap, an overlap, or a partition that should have been new.
    pub fn apply(&mut self, ranges: &OffsetRanges) -> Result<()> {
        for (partition, range) in &ranges.0 {
            check_joint(partition, self.0.get(partition), range.start.as_ref())?;
        }
        for (partition, range) in &ranges.0 {
            self.0.insert(partition.clone(), range.end.clone());
        }
        Ok(())
    }

    /// What lies between these offsets and later ones. Partitions that `later` lacks stay where they are.
    ///
    /// # Errors
    /// A partition stands before where it stood.
    pub fn ranges_to(&self, later: &Offsets) -> Result<OffsetRanges> {
        let mut ranges = OffsetRanges::default();
        for (partition, end) in &later.0 {
            let start = self.0.get(partition);
            if start.is_some_and(|start| start.position == end.position) {
                continue;
            }
            let range = OffsetRange::new(start.cloned(), end.clone())
                .map_err(|e| e.context(format!("partition {partition}")))?;
            ranges.0.insert(partition.clone(), range);
        }
        Ok(ranges)
    }
}

impl fmt::Debug for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

impl FromIterator<(Partition, Offset)> for Offsets {
    fn from_iter<T: IntoIterator<Item = (Partition, Offset)>>(iter: T) -> Self {
        Self(iter.into_iter().collect())
    }
}

#[derive(Serialize, Deserialize)]
struct Entry<P, O> {
    partition: P,
    offset: O,
}

impl Serialize for Offsets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for (partition, offset) in &self.0 {
            seq.serialize_element(&Entry { partition, offset })?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Offsets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<Entry<Partition, Offset>>::deserialize(deserializer)?;
        Ok(entries.into_iter().map(|e| (e.partition, e.offset)).collect())
    }
}

/// What was read: for each partition that moved, a half-open range.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OffsetRanges(BTreeMap<Partition, OffsetRange>);

impl OffsetRanges {
    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of partitions that moved.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The range of a partition.
    pub fn get(&self, partition: &Partition) -> Option<&OffsetRange> {
        self.0.get(partition)
    }

    /// The partitions and their ranges, sorted by partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, &OffsetRange)> {
        self.0.iter()
    }

    /// Adds what was read next of one partition.
    ///
    /// # Errors
    /// It does not start where the partition's range ends.
    pub fn push(&mut self, partition: Partition, range: OffsetRange) -> Result<()> {
        match self.0.get_mut(&partition) {
            Some(before) => {
                check_joint(&partition, Some(&before.end), range.start.as_ref())?;
                before.end = range.end;
            }
            None => {
                self.0.insert(partition, range);
            }
        }
        Ok(())
    }

    /// Adds what was read next. Nothing changes when it fails.
    ///
    /// # Errors
    /// A range does not start where its partition's ended.
    pub fn append(&mut self, next: OffsetRanges) -> Result<()> {
        for (partition, range) in &next.0 {
            if let Some(before) = self.0.get(partition) {
                check_joint(partition, Some(&before.end), range.start.as_ref())?;
            }
        }
        for (partition, range) in next.0 {
            self.push(partition, range)?;
        }
        Ok(())
    }

    /// The ends alone: what a source is polled `until` when the ranges are read again, and what a commit carries.
    pub fn ends(&self) -> Offsets {
        self.0.iter().map(|(partition, range)| (partition.clone(), range.end.clone())).collect()
    }
}

impl fmt::Debug for OffsetRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

#[derive(Serialize, Deserialize)]
struct RangeEntry<P, R> {
    partition: P,
    #[serde(flatten)]
    range: R,
}

impl Serialize for OffsetRanges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for (partition, range) in &self.0 {
            seq.serialize_element(&RangeEntry { partition, range })?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for OffsetRanges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<RangeEntry<Partition, OffsetRange>>::deserialize(deserializer)?;
        let mut ranges = Self::default();
        for entry in entries {
            let range = OffsetRange::new(entry.range.start, entry.range.end).map_err(de::Error::custom)?;
            ranges.push(entry.partition, range).map_err(de::Error::custom)?;
        }
        Ok(ranges)
    }
}

fn check_joint(partition: &Partition, stands: Option<&Offset>, start: Option<&Offset>) -> Result<()> {
    let fits = match (stands, start) {
        (None, _) => true,
        (Some(stands), Some(start)) => stands.position == start.position,
        (Some(_), None) => false,
    };
    if fits {
        return Ok(());
    }
    let show = |offset: Option<&Offset>| offset.map_or("its beginning".to_owned(), |o| o.position.to_string());
    Err(Error::internal(format!(
        "partition {partition} stands at {} but the next range starts at {}",
        show(stands),
        show(start)
    )))
}

#[cfg(test)]
mod tests;

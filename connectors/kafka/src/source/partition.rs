//! A partition, and where reading it stands.

use std::sync::Arc;

use levada_connector_api::{Error, Offset, OffsetRange, Offsets, Partition, Result};

use super::places::Place;

/// The note of an offset that says where reading began, in the micro-batch in which it did.
const START: &str = "start";

/// A partition of a topic.
pub(super) struct Part {
    pub(super) place: Place,
    /// Its name in offsets.
    pub(super) key: Partition,
    /// Its name in messages: `cars-3`.
    pub(super) label: Arc<str>,
    /// The first offset that has not been given.
    pub(super) next: i64,
    /// The offset before which all is known to be read: beyond `next` where a partition ends with what is no message.
    pub(super) seen: i64,
    /// Whether the ranges that were given have it.
    known: bool,
    /// The micro-batch in which it was first in the ranges, and the offset at which it began. A repetition of this batch
    /// must begin there, whatever the configuration says by then.
    began: Option<(u64, i64)>,
}

impl Part {
    /// A partition to be read from `start`, which is not in the offsets yet.
    pub(super) fn new(place: Place, start: i64) -> Self {
        let key = key(&place);
        let label = format!("{}-{}", place.0, place.1).into();
        Self { place, key, label, next: start, seen: start, known: false, began: None }
    }

    /// A partition whose place was kept.
    pub(super) fn resumed(place: Place, offset: &Offset) -> Result<Self> {
        let Some(next) = offset.number().and_then(|n| i64::try_from(n).ok()) else {
            return Err(Error::corrupt(format!("{}-{}: {} is no Kafka offset", place.0, place.1, offset.position))
                .hint("the checkpoint was written for another source: use a new checkpoint.location"));
        };
        Ok(Self { known: true, ..Self::new(place, next) })
    }

    /// Where reading began according to a recorded end, if the range has no start.
    pub(super) fn recorded_start(offset: &Offset) -> Option<i64> {
        offset.note_u64(START).and_then(|start| i64::try_from(start).ok())
    }

    /// Whether the offsets must still learn of it.
    pub(super) fn is_new(&self) -> bool {
        !self.known
    }

    /// Begins elsewhere than the configuration says.
    pub(super) fn restart_at(&mut self, start: i64) {
        (self.next, self.seen) = (start, start);
    }

    /// Moves on to `end`. The range that was read, in micro-batch `batch_id`.
    pub(super) fn advance(&mut self, end: i64, batch_id: u64) -> Result<OffsetRange> {
        let start = self.known.then(|| self.offset(self.next, batch_id));
        if !self.known {
            self.known = true;
            self.began = Some((batch_id, self.next));
        }
        self.next = end;
        self.seen = self.seen.max(end);
        OffsetRange::new(start, self.offset(end, batch_id))
    }

    fn offset(&self, at: i64, batch_id: u64) -> Offset {
        let offset = at_number(at);
        match self.began {
            Some((batch, start)) if batch == batch_id => offset.note(START, start),
            _ => offset,
        }
    }
}

/// An offset as the algebra has it.
pub(super) fn at_number(offset: i64) -> Offset {
    Offset::at(u64::try_from(offset).unwrap_or(0))
}

/// A partition's name in offsets.
pub(super) fn key(place: &Place) -> Partition {
    Partition::new([("partition", place.1.into()), ("topic", place.0.clone().into())])
}

/// The partitions that offsets name.
pub(super) fn places_of(offsets: &Offsets) -> Result<Vec<(Place, &Offset)>> {
    offsets
        .iter()
        .map(|(key, offset)| {
            let id = key.get("partition").and_then(|id| id.as_i64()).and_then(|id| i32::try_from(id).ok());
            match (key.text("topic"), id) {
                (Some(topic), Some(id)) => Ok(((topic, id), offset)),
                _ => Err(Error::corrupt(format!("the checkpoint holds {key}, which is no partition of a topic"))
                    .hint("it was written for another source: use a new checkpoint.location")),
            }
        })
        .collect()
}

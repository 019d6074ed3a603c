//! A partition, and where reading it stands.

use std::sync::Arc;

use levada_connector_api::{Error, ErrorKind, Offset, OffsetRange, Offsets, Partition, Result, Retry};

use super::ids::Ids;
use super::places::Place;

/// The note of an offset that says where reading began, in the micro-batch in which it did.
const START: &str = "start";
/// The note of an offset that says of which topic it is, and what names a partition whose topic was made anew: the topic's id.
const ID: &str = "topic.id";

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
    /// Whether its topic was deleted, and another one has its name: nothing more is read of it.
    pub(super) gone: bool,
    /// Whether it is to be read: not if its topic is no longer named. Its place is kept all the same.
    pub(super) wanted: bool,
    /// The id of its topic; `None`: the brokers do not say.
    id: Option<Arc<str>>,
    /// Whether the ranges that were given have it.
    known: bool,
    /// The micro-batch in which it was first in the ranges, and the offset at which it began. A repetition of this batch
    /// must begin there, whatever the configuration says by then.
    began: Option<(u64, i64)>,
}

impl Part {
    /// A partition to be read from `start`, which is not in the offsets yet.
    pub(super) fn new(place: Place, start: i64, ids: &Ids) -> Self {
        let key = Partition::new([("partition", place.1.into()), ("topic", place.0.clone().into())]);
        Self::called(key, place, start, ids)
    }

    /// The same where the offsets have a partition of this name, of a topic that is gone.
    pub(super) fn anew(place: Place, start: i64, ids: &Ids) -> Self {
        let id = ids.get(&place.0).map(|id| id.to_string()).unwrap_or_default();
        let key = [("partition", place.1.into()), ("topic", place.0.clone().into()), (ID, id.into())];
        Self::called(Partition::new(key), place, start, ids)
    }

    fn called(key: Partition, place: Place, start: i64, ids: &Ids) -> Self {
        let label = format!("{}-{}", place.0, place.1).into();
        let id = ids.get(&place.0).cloned();
        Self { place, key, label, next: start, seen: start, gone: false, wanted: true, id, known: false, began: None }
    }

    /// A partition whose place was kept.
    pub(super) fn resumed(kept: &Kept<'_>, ids: &Ids) -> Result<Self> {
        let Kept { place, key, offset } = kept;
        let Some(next) = offset.number().and_then(|n| i64::try_from(n).ok()) else {
            return Err(Error::corrupt(format!("{}-{}: {} is no Kafka offset", place.0, place.1, offset.position))
                .hint("the checkpoint was written for another source: use a new checkpoint.location"));
        };
        let mut part = Self { known: true, ..Self::called((*key).clone(), place.clone(), next, ids) };
        if let Some(id) = kept.id() {
            part.gone = part.id.as_deref().is_some_and(|now| now != id);
            part.id = Some(id.into());
        }
        Ok(part)
    }

    /// One of a micro-batch that is repeated, in which reading it began.
    pub(super) fn repeated(kept: &Kept<'_>, start: i64, ids: &Ids) -> Self {
        let mut part = Self::called(kept.key.clone(), kept.place.clone(), start, ids);
        part.check(kept.id(), ids);
        part
    }

    /// Whether its topic is another one by now than `id` says, or than it was; such a partition is gone from now on.
    fn check(&mut self, id: Option<&str>, ids: &Ids) -> bool {
        let now = ids.get(&self.place.0);
        let was = id.map(Arc::from).or_else(|| self.id.clone());
        self.gone = self.gone || was.as_ref().zip(now).is_some_and(|(was, now)| was != now);
        self.id = was.or_else(|| now.cloned());
        self.gone
    }

    /// Whether its topic was found to be another one by now.
    pub(super) fn is_replaced(&mut self, ids: &Ids) -> bool {
        !self.gone && self.check(None, ids)
    }

    /// The error for a partition that is gone.
    pub(super) fn replaced(&self, ids: &Ids) -> Error {
        let id = |id: Option<&Arc<str>>| id.map_or("unknown", |id| &**id).to_owned();
        let message = format!(
            "{}: the topic was deleted and made anew since offset {} was read (its id was {}, and is {})",
            self.label,
            self.next,
            id(self.id.as_ref()),
            id(ids.get(&self.place.0))
        );
        Error::new(ErrorKind::Data, message).with_retry(Retry::Permanent).hint(
            "what was not read of it is gone: set fail.on.data.loss=false to go on with the new topic from its first message, or start \
             anew with another checkpoint.location and name",
        )
    }

    /// Where reading began according to a recorded end, if the range has no start.
    pub(super) fn recorded_start(offset: &Offset) -> Option<i64> {
        offset.note_u64(START).and_then(|start| i64::try_from(start).ok())
    }

    /// Whether it is read on.
    pub(super) fn is_read(&self) -> bool {
        self.wanted && !self.gone
    }

    /// Whether the offsets must still learn of it.
    pub(super) fn is_new(&self) -> bool {
        !self.known
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

    /// Where it stands at `at`.
    pub(super) fn offset(&self, at: i64, batch_id: u64) -> Offset {
        let offset = at_number(at);
        let offset = match self.began {
            Some((batch, start)) if batch == batch_id => offset.note(START, start),
            _ => offset,
        };
        match &self.id {
            Some(id) => offset.note(ID, &**id),
            None => offset,
        }
    }
}

/// An offset as the algebra has it.
pub(super) fn at_number(offset: i64) -> Offset {
    Offset::at(u64::try_from(offset).unwrap_or(0))
}

/// A partition in offsets.
pub(super) struct Kept<'a> {
    pub(super) place: Place,
    pub(super) key: &'a Partition,
    pub(super) offset: &'a Offset,
}

impl Kept<'_> {
    fn id(&self) -> Option<&str> {
        self.offset.notes.get(ID).and_then(|id| id.as_str())
    }
}

/// The partitions that offsets name.
pub(super) fn kept_in(offsets: &Offsets) -> Result<Vec<Kept<'_>>> {
    offsets
        .iter()
        .map(|(key, offset)| {
            let id = key.get("partition").and_then(|id| id.as_i64()).and_then(|id| i32::try_from(id).ok());
            match (key.text("topic"), id) {
                (Some(topic), Some(id)) => Ok(Kept { place: (topic, id), key, offset }),
                _ => Err(Error::corrupt(format!("the checkpoint holds {key}, which is no partition of a topic"))
                    .hint("it was written for another source: use a new checkpoint.location")),
            }
        })
        .collect()
}

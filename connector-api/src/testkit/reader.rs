//! Reads a source as the runtime does, and checks every answer.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::rows::canonical_rows;
use crate::{Offsets, PollLimit, PollStatus, Polled, Source, SourceCapabilities, TaskContext};

/// Makes a new source over the same data.
pub(super) type Make<'a> = &'a dyn Fn() -> Box<dyn Source>;

/// Polls without progress before the kit gives up.
const PATIENCE: usize = 100;
/// How long a poll may wait once the source has said that there is nothing.
const WAIT: Duration = Duration::from_millis(20);

/// The limits of each poll.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Limits {
    pub(super) const NONE: Self = Self { rows: usize::MAX, bytes: usize::MAX };

    pub(super) fn rows(rows: usize) -> Self {
        Self { rows, bytes: usize::MAX }
    }

    pub(super) fn bytes(bytes: usize) -> Self {
        Self { rows: usize::MAX, bytes }
    }
}

/// Texts in their order, kept apart where only the order within a partition is promised.
#[derive(Debug, Clone, Default)]
pub(super) struct Ordered(BTreeMap<String, Vec<String>>);

impl Ordered {
    fn push(&mut self, lane: String, text: String) {
        self.0.entry(lane).or_default().push(text);
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `later` has more.
    fn until(&self, later: &Self) -> Self {
        let read = |lane: &String| self.0.get(lane).map_or(0, Vec::len);
        Self(later.0.iter().map(|(lane, texts)| (lane.clone(), texts[read(lane)..].to_vec())).collect())
    }

    /// As much of each partition as `other` has, too.
    pub(super) fn common(&self, other: &Self) -> Self {
        let common = |lane: &String, len: usize| len.min(other.0.get(lane).map_or(0, Vec::len));
        Self(self.0.iter().map(|(lane, texts)| (lane.clone(), texts[..common(lane, texts.len())].to_vec())).collect())
    }

    /// One partition after the other.
    pub(super) fn texts(&self) -> Vec<String> {
        self.0.values().flatten().cloned().collect()
    }
}

/// What was read, in order, and where the source stood then.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    pub(super) rows: Ordered,
    pub(super) rejected: Ordered,
    pub(super) stands: Offsets,
}

impl Read {
    /// What was read after `self` and up to `later`.
    pub(super) fn until(&self, later: &Read) -> Read {
        Read {
            rows: self.rows.until(&later.rows),
            rejected: self.rejected.until(&later.rejected),
            stands: later.stands.clone(),
        }
    }
}

/// An open source and what it has given so far.
pub(super) struct Reader {
    pub(super) source: Box<dyn Source>,
    pub(super) read: Read,
    capabilities: SourceCapabilities,
    schema: SchemaRef,
    batch_id: u64,
    idle: bool,
    /// Where the reader opened the source, for messages.
    from: String,
    /// The columns that name a row's partition, if order is only promised within one.
    lanes: Vec<String>,
}

impl Reader {
    /// A new source, opened at `from` as a checkpoint gives it back.
    pub(super) async fn open(make: Make<'_>, capabilities: SourceCapabilities, lanes: &[&str], from: &Offsets) -> Self {
        let text = serde_json::to_string(from).expect("offsets must be writable as json");
        let from: Offsets = serde_json::from_str(&text).expect("offsets must be readable from their json");
        let mut source = make();
        let schema = source.schema().await.unwrap_or_else(|e| panic!("schema before open must work: {e}"));
        let again = source.schema().await.unwrap_or_else(|e| panic!("schema may be called more than once: {e}"));
        assert_eq!(schema, again, "schema must give the same answer every time");
        let context = TaskContext::new("conformance");
        source.open(&context, &from).await.unwrap_or_else(|e| panic!("open at {text} must work: {e}"));
        let read = Read { stands: from, ..Read::default() };
        let lanes = lanes.iter().map(|lane| (*lane).to_owned()).collect();
        Self { source, read, capabilities, schema, batch_id: 0, idle: false, from: text, lanes }
    }

    /// The partition of each row.
    fn lanes(&self, rows: &RecordBatch) -> Vec<String> {
        let places: Vec<_> =
            self.lanes.iter().map(|name| rows.schema_ref().index_of(name).expect("a lane is a column")).collect();
        canonical_rows(&rows.project(&places).expect("the columns are there"))
    }

    /// One poll, with every check that can be made of a single answer.
    pub(super) async fn poll(&mut self, limits: Limits, until: Option<&Arc<Offsets>>) -> Polled {
        let limit = PollLimit {
            batch_id: self.batch_id,
            rows: limits.rows,
            bytes: limits.bytes,
            wait: if self.idle { WAIT } else { Duration::ZERO },
            until: until.cloned(),
        };
        let polled =
            self.source.poll(&limit).await.unwrap_or_else(|e| panic!("poll must work: {e} ({})", self.place()));
        self.check(&polled, &limit);
        if let Err(e) = self.read.stands.apply(&polled.ranges) {
            panic!("ranges must start exactly where the source stands: {e} ({})", self.place());
        }
        for batch in &polled.batches {
            for (lane, row) in self.lanes(&batch.rows).into_iter().zip(canonical_rows(&batch.rows)) {
                self.read.rows.push(lane, row);
            }
        }
        for bad in &polled.rejected {
            let lane = if self.lanes.is_empty() { "" } else { bad.position.split(',').next().unwrap_or_default() };
            let text = format!("{}: {} [{}]", bad.position, bad.reason, bad.raw.escape_ascii());
            self.read.rejected.push(lane.to_owned(), text);
        }
        // The runtime ends the micro-batch there and begins another.
        self.batch_id += u64::from(polled.status == PollStatus::Boundary);
        self.idle = polled.status == PollStatus::Idle;
        polled
    }

    fn check(&self, polled: &Polled, limit: &PollLimit) {
        let place = self.place();
        for batch in &polled.batches {
            assert_eq!(
                batch.rows.schema_ref().fields(),
                self.schema.fields(),
                "every batch must have the schema that was given before open ({place})"
            );
        }
        let rows = polled.num_rows();
        assert!(
            rows <= limit.rows.max(1),
            "the limit of rows must be kept: {rows} rows for a limit of {} ({place})",
            limit.rows
        );
        assert!(
            polled.bytes <= limit.bytes || rows + polled.rejected.len() <= 1,
            "the limit of bytes must be kept unless one record is larger: {} bytes in {rows} rows for a limit of {} \
             ({place})",
            polled.bytes,
            limit.bytes
        );
        assert!(
            rows + polled.rejected.len() == 0 || !polled.ranges.is_empty(),
            "rows must come with the ranges behind them: {rows} rows without any ({place})"
        );
        if let Some(until) = &limit.until {
            assert!(
                polled.status != PollStatus::Idle || !self.capabilities.replayable,
                "Idle is no answer while there is an until: More until it is reached, then End ({place})"
            );
            for (partition, range) in polled.ranges.iter() {
                let Some(end) = until.get(partition) else {
                    panic!("partitions that are not in until must not be read: {partition} was ({place})");
                };
                let order = range.end.position.compare(&end.position);
                assert!(
                    matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    "until must be honoured exactly: {partition} was read to {} though until is {} ({place})",
                    range.end.position,
                    end.position
                );
            }
        } else {
            assert!(
                polled.status != PollStatus::End || self.capabilities.bounded,
                "only a bounded source ends without until ({place})"
            );
        }
    }

    /// Polls until the source ends, has nothing more, or has given `enough` rows. True when it gave all there is.
    pub(super) async fn read_all(&mut self, limits: Limits, enough: usize) -> bool {
        let mut quiet = 0;
        while self.read.rows.len() < enough {
            let was_idle = self.idle;
            let polled = self.poll(limits, None).await;
            match polled.status {
                PollStatus::End => {
                    self.nothing_after_the_end(limits, None).await;
                    return true;
                }
                PollStatus::Idle if was_idle && polled.ranges.is_empty() => return true,
                _ => self.progress(&mut quiet, &polled),
            }
        }
        false
    }

    /// Polls until `until`, which a replayable source reaches exactly.
    pub(super) async fn read_until(&mut self, limits: Limits, until: Offsets) {
        self.read_to_the_end(limits, until.clone()).await;
        for (partition, end) in until.iter() {
            let stands = self.read.stands.get(partition).map(|offset| &offset.position);
            assert!(
                stands.is_some_and(|stands| stands.compare(&end.position) == Some(Ordering::Equal)),
                "until must be reached before the source says End: {partition} stands at {stands:?}, until is {} ({})",
                end.position,
                self.place()
            );
        }
    }

    /// Polls with `until` until the source says that it is reached. A partition without rows may stay unread.
    pub(super) async fn read_to_the_end(&mut self, limits: Limits, until: Offsets) {
        let until = Arc::new(until);
        let mut quiet = 0;
        loop {
            let polled = self.poll(limits, Some(&until)).await;
            if polled.status == PollStatus::End {
                break;
            }
            self.progress(&mut quiet, &polled);
        }
        self.nothing_after_the_end(limits, Some(&until)).await;
    }

    async fn nothing_after_the_end(&mut self, limits: Limits, until: Option<&Arc<Offsets>>) {
        let polled = self.poll(limits, until).await;
        assert!(
            polled.status == PollStatus::End && polled.ranges.is_empty() && polled.num_rows() == 0,
            "a poll after End must give End and nothing: it gave {:?} and {} rows ({})",
            polled.status,
            polled.num_rows(),
            self.place()
        );
    }

    fn progress(&self, quiet: &mut usize, polled: &Polled) {
        *quiet = if polled.ranges.is_empty() { *quiet + 1 } else { 0 };
        assert!(
            *quiet < PATIENCE,
            "a poll must make progress while there is more: {PATIENCE} did not ({})",
            self.place()
        );
    }

    fn place(&self) -> String {
        format!("opened at {}, {} rows read", self.from, self.read.rows.len())
    }
}

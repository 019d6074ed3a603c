//! The generator as a source.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use levada_connector_api::{
    Batch, Clock, Error, Offset, OffsetRange, OffsetRanges, Offsets, Origin, Partition, PollLimit, PollStatus, Polled,
    Result, Source, TaskContext,
};

use super::cars::Cars;
use super::orders::Orders;
use super::words::Words;
use super::{Generate, Kind, Options};

/// Rows of one answer at most: a piece that stays in the processor's cache.
const CHUNK_ROWS: usize = 8192;
/// Bytes of one answer at most.
const CHUNK_BYTES: usize = 8 << 20;
/// How far ahead of an endless source its latest offset is.
const AHEAD: u64 = CHUNK_ROWS as u64;

/// A replayable source of generated rows: one partition, whose position is the number of the row.
pub struct DatagenSource {
    options: Options,
    generator: Box<dyn Generate>,
    partition: Partition,
    label: Arc<str>,
    position: u64,
    /// Whether the partition is in the offsets already.
    known: bool,
    pace: Option<Pace>,
}

/// How fast rows are given: counted from where and when the source was opened.
struct Pace {
    clock: Arc<dyn Clock>,
    rows_per_second: f64,
    opened_ms: i64,
    opened_at: u64,
}

impl Pace {
    /// The first row that is not due yet.
    fn due(&self) -> u64 {
        let elapsed = self.clock.now_ms().saturating_sub(self.opened_ms).max(0);
        let rows = elapsed as f64 * self.rows_per_second / 1000.0;
        self.opened_at.saturating_add(rows as u64)
    }

    /// How long it is until row `row` is due.
    fn until(&self, row: u64) -> Duration {
        let needed = (row.saturating_sub(self.opened_at) as f64 + 1.0) * 1000.0 / self.rows_per_second;
        let elapsed = self.clock.now_ms().saturating_sub(self.opened_ms).max(0);
        Duration::from_millis((needed.ceil() as u64).saturating_sub(elapsed.unsigned_abs()).max(1))
    }
}

impl DatagenSource {
    /// A source with these options.
    pub fn new(options: Options) -> Self {
        let generator: Box<dyn Generate> = match options.kind {
            Kind::Words => Box::new(Words::new(&options)),
            Kind::Orders => Box::new(Orders::new(&options)),
            Kind::Cars => Box::new(Cars::new(&options)),
        };
        let partition = Partition::named("generator", options.kind.as_str());
        let label = format!("datagen {}", options.kind.as_str()).into();
        Self { options, generator, partition, label, position: 0, known: false, pace: None }
    }

    fn due(&self) -> u64 {
        self.pace.as_ref().map_or(u64::MAX, Pace::due)
    }

    fn number(&self, offsets: &Offsets) -> Result<Option<u64>> {
        let Some(offset) = offsets.get(&self.partition) else { return Ok(None) };
        offset.number().map(Some).ok_or_else(|| {
            Error::corrupt(format!("the offset of partition {} is no row number: {}", self.partition, offset.position))
        })
    }
}

#[async_trait]
impl Source for DatagenSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        Ok(self.generator.schema())
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        if let Some((partition, _)) = from.iter().find(|(partition, _)| partition.text("generator").is_none()) {
            return Err(Error::corrupt(format!("the checkpoint holds {partition}, which is no generator"))
                .hint("it was written for another source: use a new checkpoint.location"));
        }
        let from = self.number(from)?;
        self.known = from.is_some();
        self.position = from.unwrap_or(0);
        self.pace = self.options.rows_per_second.map(|rows_per_second| Pace {
            clock: context.clock.clone(),
            rows_per_second,
            opened_ms: context.clock.now_ms(),
            opened_at: self.position,
        });
        Ok(())
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let rows = self.options.rows.unwrap_or(u64::MAX);
        let stop = match &limit.until {
            // What was recorded, or is said to be there, is given at once.
            Some(until) => self.number(until)?.unwrap_or(0).min(rows),
            None => rows,
        };
        if self.position >= stop {
            return Ok(Polled::nothing(PollStatus::End));
        }
        let mut end = stop;
        if limit.until.is_none()
            && let Some(pace) = &self.pace
        {
            if pace.due() <= self.position && !limit.wait.is_zero() {
                tokio::time::sleep(pace.until(self.position).min(limit.wait)).await;
            }
            end = end.min(pace.due());
            if end <= self.position {
                return Ok(Polled::nothing(PollStatus::Idle));
            }
        }
        let room = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        let count = room.min(limit.rows.max(1)).min(CHUNK_ROWS);
        let (batch, bytes) = self.generator.generate(self.position, count, limit.bytes.min(CHUNK_BYTES))?;
        let start = self.known.then(|| Offset::at(self.position));
        let origin = Origin::exact(self.label.clone(), "row", self.position);
        self.position += batch.num_rows() as u64;
        self.known = true;
        let mut ranges = OffsetRanges::default();
        ranges.push(self.partition.clone(), OffsetRange::new(start, Offset::at(self.position))?)?;
        let status = match self.position {
            at if at >= stop => PollStatus::End,
            at if at >= end => PollStatus::Idle,
            _ => PollStatus::More,
        };
        Ok(Polled { batches: vec![Batch::with_origin(batch, origin)], rejected: Vec::new(), ranges, bytes, status })
    }

    async fn latest(&mut self) -> Result<Offsets> {
        let there = match (&self.pace, self.options.rows) {
            (Some(_), rows) => self.due().min(rows.unwrap_or(u64::MAX)),
            (None, Some(rows)) => rows,
            (None, None) => self.position.saturating_add(AHEAD),
        };
        // What has been read is there, also when it was read faster than it would be due.
        Ok(Offsets::from_iter([(self.partition.clone(), Offset::at(there.max(self.position)))]))
    }
}

/// How many rows of `width` bytes fit both limits, but at least one.
pub(super) fn fitting(rows: usize, bytes: usize, width: usize) -> usize {
    rows.min(bytes / width).max(1)
}

/// The event time of a row.
pub(super) fn event_time(options: &Options, row: u64) -> Result<i64> {
    i64::try_from(row)
        .ok()
        .and_then(|row| row.checked_mul(options.step_micros))
        .and_then(|since| options.start_micros.checked_add(since))
        .ok_or_else(|| {
            Error::data(format!("row {row} has no event time: the time after so many steps is too far from now"))
                .hint("shorten 'step'")
        })
}

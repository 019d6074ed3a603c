//! The first stage: polls the source and cuts micro-batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_connector_api::{
    Error, ErrorKind, OffsetRanges, Offsets, PollLimit, PollStatus, Polled, Result, TaskContext,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::inputs::Inputs;
use super::messages::{BatchRead, Committed, Read, Worked};
use crate::checkpoint::Prepared;
use crate::{Limits, Trigger};

/// How long one poll may wait for data: also how long a stop can go unnoticed.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// How long a source that says that it has nothing is asked again for rows that were recorded.
const REPEAT_WAIT: Duration = Duration::from_secs(60);

pub(crate) struct Reader {
    pub(crate) inputs: Inputs,
    /// How many sources that is.
    pub(crate) sources: usize,
    pub(crate) context: TaskContext,
    pub(crate) trigger: Trigger,
    pub(crate) limits: Limits,
    /// The batch to repeat first.
    pub(crate) pending: Option<Prepared>,
    pub(crate) next_batch: u64,
    pub(crate) out: mpsc::Sender<Read>,
    pub(crate) committed: mpsc::UnboundedReceiver<Committed>,
    pub(crate) worked: watch::Receiver<Worked>,
    /// The last batch that the sink holds.
    pub(crate) decided: watch::Receiver<Option<u64>>,
    pub(crate) stop: CancellationToken,
    pub(crate) target_rows: usize,
    /// Nothing new is read: what was left undecided is decided, and then the run ends.
    pub(crate) settle: Option<Settle>,
}

/// What a run does that only settles what the one before has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settle {
    /// Whether a micro-batch without rows is to fix where each partition begins.
    pub(crate) introduce: bool,
}

/// Why a batch ended.
#[derive(PartialEq, Eq)]
enum Ended {
    /// There is nothing more for now, or the source gives no more of this trigger.
    Cut,
    /// As many rows or bytes as a batch may have: more of this trigger may be there.
    Full,
    /// There will never be more.
    Finished,
}

impl Reader {
    pub(crate) async fn run(mut self) -> Result<()> {
        let result = self.read_all().await;
        // Dropping the channel lets the stages behind finish what they have; their last commits still concern the source.
        let (closed, _) = mpsc::channel(1);
        self.out = closed;
        result?;
        while let Some(committed) = self.committed.recv().await {
            self.acknowledge(committed).await?;
        }
        self.inputs.close().await
    }

    async fn read_all(&mut self) -> Result<()> {
        if let Some(pending) = self.pending.take() {
            self.repeat(pending).await?;
        }
        if let Some(settle) = self.settle {
            return if settle.introduce { self.introduce().await } else { Ok(()) };
        }
        let until = match self.trigger.ends() {
            true => Some(Arc::new(self.inputs.latest().await?)),
            false => None,
        };
        // When the next batch is due: known when the one before begins, so that one that took longer is followed at once.
        let mut due = None;
        loop {
            if let (Some(due), Trigger::Interval(_)) = (due, self.trigger) {
                let delay = i64::saturating_sub(due, self.context.clock.now_ms());
                let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(0));
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = self.out.closed() => return Err(super::stage_ended()),
                    () = self.stop.cancelled() => return Ok(()),
                }
            }
            due = Some(self.trigger.next(self.context.clock.now_ms()));
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let ended = self.read_batch(until.clone()).await?;
            if ended == Ended::Finished || self.trigger == Trigger::Once {
                return self.close_what_is_due().await;
            }
            if ended == Ended::Full {
                // A trigger is for all that is there; only its source may say that some of it waits for the next.
                due = None;
            }
        }
    }

    /// Reads a prepared batch again, exactly.
    async fn repeat(&mut self, pending: Prepared) -> Result<()> {
        tracing::info!(
            pipeline = %self.context.pipeline,
            task = self.context.task,
            batch = pending.batch_id,
            rows = pending.rows,
            "repeating a batch that was prepared and not committed"
        );
        let until = Arc::new(pending.ranges.ends());
        let (started, batch_id) = (Instant::now(), pending.batch_id);
        let mut progressed = started;
        let mut ranges = OffsetRanges::default();
        let mut rows = vec![0; self.sources];
        // A batch without data is repeated without looking at the sources.
        while !pending.ranges.is_empty() {
            let limit = PollLimit { until: Some(until.clone()), wait: POLL_WAIT, ..PollLimit::unlimited(batch_id) };
            let (source, polled) = self.poll(&limit).await?;
            let (status, nothing) = (polled.status, polled.ranges.is_empty());
            if !nothing {
                progressed = Instant::now();
            }
            self.hand_over(batch_id, source, polled, &mut ranges, &mut rows).await?;
            match status {
                PollStatus::End => break,
                // Nothing may follow: the batch is still the next.
                _ if nothing && self.stop.is_cancelled() => {
                    return Err(Error::new(
                        ErrorKind::Cancelled,
                        format!("stopped while batch {batch_id} was repeated"),
                    ));
                }
                // A source may not say so here, see `PollLimit::until`; one that does so all the same gets its time.
                PollStatus::Idle if progressed.elapsed() > REPEAT_WAIT => {
                    return Err(Error::data(format!(
                        "batch {batch_id} cannot be repeated: the source has given nothing more of it for {} s",
                        REPEAT_WAIT.as_secs()
                    ))
                    .hint("bring the missing input back, or start anew with another checkpoint.location and name"));
                }
                _ => {}
            }
        }
        if ranges.ends() != pending.ranges.ends() {
            return Err(Error::internal(format!(
                "batch {batch_id} was to be repeated as {:?} but was read as {ranges:?}",
                pending.ranges
            )));
        }
        self.next_batch = batch_id + 1;
        let read = BatchRead {
            batch_id,
            ranges,
            repeated: true,
            timestamp_ms: pending.timestamp,
            rows,
            reading: started.elapsed(),
            started,
        };
        self.send(Read::End(read)).await
    }

    /// A micro-batch of no rows, with the places at which partitions begin that are not in the offsets yet.
    async fn introduce(&mut self) -> Result<()> {
        let (batch_id, started) = (self.next_batch, Instant::now());
        let limit = PollLimit { rows: 0, ..PollLimit::unlimited(batch_id) };
        let (source, polled) = self.poll(&limit).await?;
        let (mut ranges, mut rows) = (OffsetRanges::default(), vec![0; self.sources]);
        if self.hand_over(batch_id, source, polled, &mut ranges, &mut rows).await? > 0 {
            return Err(Error::internal("the source gave rows where none were asked for"));
        }
        if ranges.is_empty() {
            return Ok(());
        }
        self.next_batch += 1;
        let (timestamp_ms, reading) = (self.context.clock.now_ms(), started.elapsed());
        self.send(Read::End(BatchRead { batch_id, ranges, repeated: false, timestamp_ms, rows, reading, started }))
            .await
    }

    /// Reads one batch, if there is data.
    async fn read_batch(&mut self, until: Option<Arc<Offsets>>) -> Result<Ended> {
        let batch_id = self.next_batch;
        let once = self.trigger == Trigger::Once;
        let mut left_rows = if once { usize::MAX } else { self.limits.rows.min(self.target_rows) };
        let mut left_bytes = if once { usize::MAX } else { self.limits.bytes };
        let mut started = Instant::now();
        let mut timestamp_ms = self.context.clock.now_ms();
        let mut reading = Duration::ZERO;
        let mut ranges = OffsetRanges::default();
        let mut rows = vec![0; self.sources];
        let mut due = false;
        let ended = loop {
            let waits = ranges.is_empty() && self.trigger == Trigger::Available;
            let limit = PollLimit {
                batch_id,
                rows: left_rows,
                bytes: left_bytes,
                wait: if waits { POLL_WAIT } else { Duration::ZERO },
                until: until.clone(),
            };
            let before = Instant::now();
            let (source, polled) = self.poll(&limit).await?;
            if ranges.is_empty() {
                // Waiting for the first row is not part of the batch.
                started = if polled.ranges.is_empty() { Instant::now() } else { before };
                timestamp_ms = self.context.clock.now_ms();
            }
            reading += before.elapsed();
            let status = polled.status;
            left_bytes = left_bytes.saturating_sub(polled.bytes);
            let read = self.hand_over(batch_id, source, polled, &mut ranges, &mut rows).await?;
            left_rows = left_rows.saturating_sub(usize::try_from(read).unwrap_or(usize::MAX));
            match status {
                PollStatus::End => break Ended::Finished,
                PollStatus::Boundary if once => {}
                PollStatus::Boundary => break Ended::Cut,
                PollStatus::Idle if until.is_some() => break Ended::Finished,
                // While the sink is busy with the batch before, rows that come gather in this one: a batch has its price.
                PollStatus::Idle if !ranges.is_empty() && self.is_under_way(batch_id) => self.wait_for_sink().await?,
                PollStatus::Idle if !ranges.is_empty() => break Ended::Cut,
                PollStatus::Idle if self.trigger != Trigger::Available => {
                    due = until.is_none() && self.is_due(batch_id);
                    break Ended::Cut;
                }
                PollStatus::Idle if until.is_none() && self.is_due(batch_id) => {
                    due = true;
                    break Ended::Cut;
                }
                PollStatus::Idle | PollStatus::More => {}
            }
            if left_rows == 0 || left_bytes == 0 {
                break Ended::Full;
            }
            if self.stop.is_cancelled() {
                break Ended::Cut;
            }
        };
        if !ranges.is_empty() || due {
            self.next_batch += 1;
            let read = BatchRead { batch_id, ranges, repeated: false, timestamp_ms, rows, reading, started };
            self.send(Read::End(read)).await?;
        }
        Ok(ended)
    }

    /// Whether the batch before `batch_id` is not in the sink yet, and this one may grow until it is.
    fn is_under_way(&self, batch_id: u64) -> bool {
        self.trigger == Trigger::Available && batch_id > 0 && *self.decided.borrow() != Some(batch_id - 1)
    }

    /// Waits until the sink holds another batch, or for a stop.
    async fn wait_for_sink(&mut self) -> Result<()> {
        tokio::select! {
            changed = self.decided.changed() => changed.map_err(|_| super::stage_ended()),
            () = self.out.closed() => Err(super::stage_ended()),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// Whether batch `batch_id` is wanted even without data: the batch before it moved the watermark.
    fn is_due(&self, batch_id: u64) -> bool {
        let worked = *self.worked.borrow();
        worked.again && worked.batch_id.is_some_and(|last| last + 1 == batch_id)
    }

    /// There is no more data to come: closes what the last batch's watermark lets close.
    async fn close_what_is_due(&mut self) -> Result<()> {
        if self.trigger == Trigger::Once {
            return Ok(());
        }
        while self.next_batch > 0 && !self.stop.is_cancelled() {
            let batch_id = self.next_batch;
            let caught_up = move |worked: &Worked| worked.batch_id.is_some_and(|last| last + 1 == batch_id);
            if self.worked.wait_for(caught_up).await.is_err() {
                return Err(super::stage_ended());
            }
            if !self.is_due(batch_id) {
                return Ok(());
            }
            self.next_batch += 1;
            let (started, timestamp_ms) = (Instant::now(), self.context.clock.now_ms());
            let (ranges, rows) = (OffsetRanges::default(), vec![0; self.sources]);
            let reading = Duration::ZERO;
            self.send(Read::End(BatchRead { batch_id, ranges, repeated: false, timestamp_ms, rows, reading, started }))
                .await?;
        }
        Ok(())
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<(usize, Polled)> {
        while let Ok(committed) = self.committed.try_recv() {
            self.acknowledge(committed).await?;
        }
        if self.out.is_closed() {
            return Err(super::stage_ended());
        }
        self.context.faults.at("read.before")?;
        let polled = self.inputs.poll(limit).await?;
        self.context.faults.at("read.after")?;
        Ok(polled)
    }

    async fn hand_over(
        &mut self,
        batch_id: u64,
        source: usize,
        polled: Polled,
        ranges: &mut OffsetRanges,
        rows: &mut [u64],
    ) -> Result<u64> {
        let read = (polled.num_rows() + polled.rejected.len()) as u64;
        rows.iter_mut().skip(source).take(1).for_each(|rows| *rows += read);
        ranges.append(polled.ranges)?;
        if !polled.batches.is_empty() || !polled.rejected.is_empty() {
            let (batches, rejected) = (polled.batches, polled.rejected);
            self.send(Read::Piece { batch_id, source, batches, rejected }).await?;
        }
        Ok(read)
    }

    async fn acknowledge(&mut self, committed: Committed) -> Result<()> {
        self.adapt(committed.rows, committed.took);
        self.context.faults.at("source.commit.before")?;
        self.inputs.commit(&committed.offsets).await?;
        self.context.faults.at("source.commit.after")
    }

    /// Adapts the rows of a batch to the duration that it should take: at most twice as many, at least half.
    fn adapt(&mut self, rows: u64, took: Duration) {
        let (Some(target), true) = (self.limits.target, rows > 0) else { return };
        let factor = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        let full = self.target_rows == usize::MAX || rows >= self.target_rows as u64 / 2;
        // A batch that was small because there was little to read says nothing about what could be done.
        if factor < 1.0 || full {
            self.target_rows = ((rows as f64 * factor) as usize).clamp(1, self.limits.rows);
        }
    }

    async fn send(&mut self, message: Read) -> Result<()> {
        self.out.send(message).await.map_err(|_| super::stage_ended())
    }
}

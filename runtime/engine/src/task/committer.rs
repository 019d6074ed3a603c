//! The third stage: feeds the sink, and commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use levada_connector_api::{
    BadRow, Batch, Commit, DeadLetter, Error, EventTime, Result, Sink, Stage, StateStats, TaskContext,
};
use tokio::sync::{mpsc, watch};

use super::flushes::Flushes;
use super::inputs::of_source;
use super::messages::{BatchDone, BatchRead, Committed, Work};
use crate::checkpoint::{Checkpoint, Prepared};
use crate::dead_letters::{DeadLetters, refusal};
use crate::progress::{Durations, EventTimeProgress, Progress, SinkProgress, SourceProgress, StateProgress};
use crate::{Observer, PipelineSpec};

pub(crate) struct Committer {
    pub(crate) spec: Arc<PipelineSpec>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) context: TaskContext,
    pub(crate) input: mpsc::Receiver<Work>,
    pub(crate) committed: mpsc::UnboundedSender<Committed>,
    /// The last batch of this run that the sink holds.
    pub(crate) decided: watch::Sender<Option<u64>>,
    /// Whether a batch is durable in the checkpoint before it is committed to the sink: then none is committed twice.
    pub(crate) flushes_first: bool,
    pub(crate) flushes: Flushes,
    pub(crate) snapshot_due: Arc<AtomicBool>,
    pub(crate) observer: Arc<dyn Observer>,
    /// Set once a batch has been committed: the supervisor's back-off starts anew.
    pub(crate) advanced: Arc<AtomicBool>,
}

/// What is counted while a batch is written.
#[derive(Default)]
struct Counts {
    output_rows: u64,
    rejected_rows: u64,
    writing: std::time::Duration,
}

impl Committer {
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut counts = Counts::default();
        let mut last_commit = Instant::now();
        // A batch of which the sink has rows and which is not complete.
        let mut partial = None;
        while let Some(message) = self.next().await? {
            match message {
                Work::Rows { batch_id, batches, room } => {
                    partial = Some(batch_id);
                    let before = Instant::now();
                    for batch in batches {
                        counts.output_rows += batch.num_rows() as u64;
                        self.context.faults.at("sink.write.before")?;
                        self.write(batch_id, batch).await?;
                        self.context.faults.at("sink.write.after")?;
                    }
                    drop(room);
                    counts.writing += before.elapsed();
                }
                Work::Rejected { batch_id, stage, source, rows } => {
                    counts.rejected_rows += rows.len() as u64;
                    self.reject(batch_id, stage, source, rows).await?;
                }
                Work::End(done) => {
                    partial = None;
                    let counts = std::mem::take(&mut counts);
                    let since = last_commit.elapsed();
                    let committed = self.commit(*done, counts, since).await?;
                    self.flushes.add(committed);
                    last_commit = Instant::now();
                }
            }
        }
        self.flushes.finish(&mut self.checkpoint, &self.committed).await?;
        if let Some(batch_id) = partial {
            self.sink.abort(batch_id).await.map_err(|e| self.at_sink(e))?;
        }
        self.dead_letters.close().await?;
        self.sink.close().await.map_err(|e| self.at_sink(e))
    }

    /// What comes next; `None`: nothing will. Meanwhile the log is flushed now and then.
    async fn next(&mut self) -> Result<Option<Work>> {
        loop {
            tokio::select! {
                biased;
                flushed = self.flushes.turn(&mut self.checkpoint, &self.committed), if self.flushes.is_due() => flushed?,
                message = self.input.recv() => return Ok(message),
            }
        }
    }

    /// Hands a batch to the sink; meanwhile the log is flushed, too.
    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        let mut write = self.sink.write(batch_id, batch);
        let written = loop {
            tokio::select! {
                biased;
                flushed = self.flushes.turn(&mut self.checkpoint, &self.committed), if self.flushes.is_due() => flushed?,
                written = &mut write => break written,
            }
        };
        drop(write);
        written.map_err(|e| self.at_sink(e))
    }

    async fn reject(&mut self, batch_id: u64, stage: Stage, source: usize, rows: Vec<BadRow>) -> Result<()> {
        let spec = &self.spec;
        let class = |row: &BadRow| match stage {
            Stage::Source => spec.sources.get(source).map(|source| source.plugin.name()),
            Stage::Sink => Some(spec.sink.plugin.name()),
            Stage::Transform => {
                let found = spec.transforms.iter().find(|transform| transform.alias == row.stage);
                found.map(|transform| transform.plugin.name())
            }
        };
        let letter = |row: BadRow| {
            let class = class(&row).unwrap_or_default().to_owned();
            DeadLetter { row, stage, class }
        };
        self.dead_letters.stage(batch_id, rows.into_iter().map(letter).collect()).await
    }

    fn at_sink(&self, error: Error) -> Error {
        error.context(format!("sink '{}'", self.spec.sink.plugin.name()))
    }

    async fn commit(&mut self, done: BatchDone, counts: Counts, since_last: std::time::Duration) -> Result<Committed> {
        let mut counts = counts;
        let BatchDone { read, deltas, snapshot, stats, metrics, watermarks, seen } = done;
        let batch_id = read.batch_id;
        let faults = self.context.faults.clone();
        let mut durations = Durations { get_batch: millis(read.reading), ..Durations::default() };
        durations.add_batch = millis(counts.writing);

        let before = Instant::now();
        faults.at("sink.prepare.before")?;
        let refused = self.sink.prepare(batch_id).await;
        let refused = refused.map_err(|e| self.at_sink(e).context(format!("batch {batch_id}")))?;
        faults.at("sink.prepare.after")?;
        if let Some(first) = refused.first() {
            self.spec.bad_row_log.log(&self.context, &refused);
            if !self.context.tolerant {
                return Err(refusal(first));
            }
            let count = refused.len() as u64;
            counts.rejected_rows += count;
            counts.output_rows = counts.output_rows.saturating_sub(count);
            self.reject(batch_id, Stage::Sink, 0, refused).await?;
        }
        durations.add_batch += millis(before.elapsed());

        let before = Instant::now();
        if !read.repeated {
            faults.at("prepare.before")?;
            // Dead letters are durable after it, and must be those of this very batch.
            let flushed = self.flushes_first || counts.rejected_rows > 0;
            let prepared = Prepared {
                flushed,
                batch_id,
                epoch: self.context.epoch,
                timestamp: read.timestamp_ms,
                rows: read.num_rows(),
                ranges: read.ranges.clone(),
                watermarks,
                state: deltas.wait().await?,
            };
            if flushed {
                // A flush that fails says so to one of those who wait, and it may be that one.
                self.flushes.wait(&self.committed).await?;
            }
            self.checkpoint.prepare(prepared).await?;
            if flushed {
                // That has flushed the commits before it, too.
                self.flushes.tell(&self.committed);
            }
            faults.at("prepare.after")?;
        }
        durations.wal_commit = millis(before.elapsed());

        faults.at("dead-letters.before")?;
        self.dead_letters.commit(batch_id).await?;
        faults.at("dead-letters.after")?;

        let before = Instant::now();
        let commit = Commit { batch_id, epoch: self.context.epoch, offsets: read.ranges.ends() };
        faults.at("sink.commit.before")?;
        self.sink.commit(&commit).await.map_err(|e| self.at_sink(e).context(format!("batch {batch_id}")))?;
        faults.at("sink.commit.after")?;
        durations.sink_commit = millis(before.elapsed());

        let before = Instant::now();
        faults.at("commit.before")?;
        self.checkpoint.commit(batch_id, &read.ranges).await?;
        let _ = self.decided.send(Some(batch_id));
        faults.at("commit.after")?;
        if let Some(state) = snapshot {
            faults.at("roll.before")?;
            self.checkpoint.roll(state.wait().await?).await?;
            faults.at("roll.after")?;
        } else if self.checkpoint.roll_due() {
            self.snapshot_due.store(true, Ordering::Release);
        }
        durations.commit_offsets = millis(before.elapsed());
        self.advanced.store(true, Ordering::Release);

        let took = read.started.elapsed();
        durations.trigger_execution = millis(took);
        let rows = read.num_rows();
        let per_second = |span: std::time::Duration| rows as f64 / span.as_secs_f64().max(1e-3);
        let progress = Progress {
            id: self.checkpoint.id().to_owned(),
            run_id: self.checkpoint.run_id().to_owned(),
            name: self.spec.name.clone(),
            task: self.context.task,
            timestamp: iso8601(read.timestamp_ms),
            batch_id,
            batch_duration: millis(took),
            num_input_rows: rows,
            input_rows_per_second: per_second(since_last),
            processed_rows_per_second: per_second(took),
            duration_ms: durations,
            state_operators: stats.into_iter().map(state_progress).collect(),
            event_time: event_time(&seen, watermarks.used),
            sources: self.sources(&read)?,
            sink: SinkProgress {
                description: self.spec.sink.plugin.name().to_owned(),
                num_output_rows: counts.output_rows,
                guarantee: self.spec.guarantee().to_string(),
            },
            num_rejected_rows: counts.rejected_rows,
            observed_metrics: metrics,
        };
        self.observer.progress(&progress);
        Ok(Committed { offsets: read.ranges.ends(), rows, took })
    }

    fn sources(&self, read: &BatchRead) -> Result<Vec<SourceProgress>> {
        let rows = |at: usize| read.rows.get(at).copied().unwrap_or_default();
        match self.spec.sources.as_slice() {
            [one] => Ok(vec![SourceProgress::new(one.plugin.name(), &read.ranges, rows(0))]),
            several => several
                .iter()
                .enumerate()
                .map(|(at, source)| {
                    let description = format!("{} ({})", source.alias, source.plugin.name());
                    Ok(SourceProgress::new(&description, &of_source(&read.ranges, &source.alias)?, rows(at)))
                })
                .collect(),
        }
    }
}

/// Spark's event time statistics; none when no transform watches event time.
fn event_time(seen: &[EventTime], watermark: i64) -> Option<EventTimeProgress> {
    if seen.is_empty() {
        return None;
    }
    let some = || seen.iter().filter(|seen| seen.count > 0);
    let count: u64 = some().map(|seen| seen.count).sum();
    let sum: i128 = some().map(|seen| seen.sum).sum();
    let mean = (count > 0).then(|| i64::try_from(sum.div_euclid(i128::from(count))).unwrap_or(i64::MAX));
    Some(EventTimeProgress {
        min: some().map(|seen| seen.min).min().map(iso8601),
        max: some().map(|seen| seen.max).max().map(iso8601),
        avg: mean.map(iso8601),
        watermark: iso8601(watermark),
    })
}

fn state_progress(stats: StateStats) -> StateProgress {
    StateProgress {
        operator_name: stats.operator,
        num_rows_total: stats.rows_total,
        num_rows_updated: stats.rows_updated,
        num_rows_removed: stats.rows_removed,
        memory_used_bytes: stats.memory_bytes,
        num_rows_dropped_by_watermark: stats.rows_dropped,
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn iso8601(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

//! The log of a task: reading it back, and adding to it.

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use levada_connector_api::{Error, OffsetRanges, Offsets, Result};
use tokio_util::sync::CancellationToken;

use super::frame;
use super::record::{Layout, Prepared, Record, Snapshot, Start, StateEntry, Watermarks};
use super::store::{SegmentStore, open_store};

/// Segments smaller than this are not worth a new snapshot, whatever the snapshot's size.
const MIN_SEGMENT_BYTES: usize = 1 << 20;

/// What a checkpoint holds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The pipeline's id; `None` for a new checkpoint.
    pub id: Option<String>,
    /// The name of the pipeline that made the checkpoint.
    pub pipeline: Option<String>,
    /// The last run that began; 0 for a new checkpoint.
    pub epoch: u64,
    /// The last committed batch.
    pub last: Option<u64>,
    /// Where the source stands after it.
    pub offsets: Offsets,
    /// Its watermarks.
    pub watermarks: Watermarks,
    /// A batch after it that was prepared: it may or may not be in the sink.
    pub pending: Option<Prepared>,
    /// The state, to be applied in this order: of each transform a snapshot, if there is one, then deltas.
    pub state: Vec<StateEntry>,
    /// How the work was split when the run before began.
    pub layout: Layout,
    segment: u64,
    whole: usize,
    snapshot_bytes: usize,
    sealed: bool,
    adopts: bool,
}

impl Recovered {
    /// Takes over another split of the work, with the offsets at which it began. The next [`Checkpoint::begin`] makes it
    /// durable, whole or not at all.
    pub fn adopt(&mut self, layout: Layout, offsets: Offsets) {
        self.layout = layout;
        self.offsets = offsets;
        self.adopts = true;
    }

    /// The batch that was pending turned out to be in the sink: it is history.
    ///
    /// # Errors
    /// The checkpoint contradicts itself.
    pub fn settle(&mut self) -> Result<()> {
        if let Some(pending) = self.pending.take() {
            self.apply(pending)?;
        }
        Ok(())
    }

    fn apply(&mut self, prepared: Prepared) -> Result<()> {
        self.offsets.apply(&prepared.ranges)?;
        self.last = Some(prepared.batch_id);
        self.watermarks = prepared.watermarks;
        self.state.extend(prepared.state);
        Ok(())
    }

    fn add(&mut self, name: &str, record: Record) -> Result<()> {
        let contradiction = |what: String| Error::corrupt(format!("{name}: {what}"));
        match record {
            Record::Snapshot(_) => return Err(contradiction("a second snapshot in one segment".to_owned())),
            Record::Start(start) => self.epoch = self.epoch.max(start.epoch),
            Record::Prepare(prepared) => {
                let expected = self.last.map_or(0, |last| last + 1);
                if prepared.batch_id != expected {
                    let found = prepared.batch_id;
                    return Err(contradiction(format!("batch {found} where batch {expected} was expected")));
                }
                self.pending = Some(prepared);
            }
            Record::Commit { batch_id, .. } => match self.pending.take() {
                Some(pending) if pending.batch_id == batch_id => self.apply(pending)?,
                _ => return Err(contradiction(format!("batch {batch_id} was committed but never prepared"))),
            },
            Record::Seal { .. } => self.sealed = true,
        }
        Ok(())
    }
}

/// Reads all records of the last segment at `store`, oldest first, and what they come to.
///
/// # Errors
/// A segment is damaged, of a newer version, or contradicts itself; the message names it.
pub async fn read_log(store: &mut dyn SegmentStore) -> Result<(Recovered, Vec<Record>)> {
    let mut recovered = Recovered::default();
    let Some(segment) = store.segments().await?.last().copied() else {
        return Ok((recovered, Vec::new()));
    };
    let name = store.name(segment);
    let (content, durable) = store.read(segment).await?;
    let frames = frame::decode(&name, &content, durable)?;
    let records: Vec<Record> =
        frames.payloads.iter().map(|payload: &Bytes| Record::decode(&name, payload)).collect::<Result<_>>()?;
    let mut rest = records.iter().cloned();
    match rest.next() {
        Some(Record::Snapshot(snapshot)) => {
            recovered.id = Some(snapshot.id);
            recovered.pipeline = Some(snapshot.pipeline);
            recovered.epoch = snapshot.epoch;
            recovered.last = snapshot.batch_id;
            recovered.offsets = snapshot.offsets;
            recovered.watermarks = snapshot.watermarks;
            recovered.layout = snapshot.layout;
            recovered.state = snapshot.state;
        }
        _ => return Err(Error::corrupt(format!("{name}: the segment does not begin with a snapshot"))),
    }
    for record in rest {
        recovered.add(&name, record)?;
    }
    recovered.segment = segment;
    recovered.whole = frames.whole;
    recovered.snapshot_bytes = frames.payloads.first().map_or(0, Bytes::len);
    Ok((recovered, records))
}

/// The log of a running task.
pub struct Checkpoint {
    store: Box<dyn SegmentStore>,
    id: String,
    pipeline: String,
    run_id: String,
    epoch: u64,
    segment: u64,
    offsets: Offsets,
    last: Option<u64>,
    layout: Layout,
    /// Those of the last batch, and of the one that is prepared.
    watermarks: Watermarks,
    pending: Watermarks,
    snapshot_bytes: usize,
    bytes_since: usize,
    unsynced: bool,
}

impl Checkpoint {
    /// Opens the checkpoint at `location` and reads it. Nothing is written before [`begin`](Self::begin).
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is in use by another run.
    pub async fn open(location: &str, pipeline: &str) -> Result<(Self, Recovered)> {
        let mut store = open_store(location).await?;
        let (recovered, _) = read_log(store.as_mut()).await?;
        if let Some(owner) = recovered.pipeline.as_deref().filter(|owner| *owner != pipeline) {
            return Err(Error::config(format!(
                "checkpoint {location} belongs to pipeline '{owner}', not '{pipeline}'"
            ))
            .hint("give each pipeline a checkpoint.location of its own"));
        }
        let checkpoint = Self {
            store,
            id: recovered.id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            pipeline: pipeline.to_owned(),
            run_id: uuid::Uuid::new_v4().to_string(),
            epoch: recovered.epoch + 1,
            segment: recovered.segment,
            offsets: Offsets::new(),
            last: None,
            layout: Layout::default(),
            watermarks: Watermarks::default(),
            pending: Watermarks::default(),
            snapshot_bytes: recovered.snapshot_bytes,
            bytes_since: 0,
            unsynced: false,
        };
        Ok((checkpoint, recovered))
    }

    /// The pipeline's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// This run's id.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// This run's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// See [`SegmentStore::released`].
    pub(crate) fn released(&self) -> Option<CancellationToken> {
        self.store.released()
    }

    /// Begins the run: after it no older run can add to the log.
    ///
    /// # Errors
    /// The log cannot be written, or another run began at the same time.
    pub async fn begin(&mut self, recovered: &Recovered, timestamp: i64) -> Result<()> {
        self.offsets = recovered.offsets.clone();
        self.last = recovered.last;
        self.layout = recovered.layout;
        self.watermarks = recovered.watermarks;
        self.pending = recovered.pending.as_ref().map_or(recovered.watermarks, |pending| pending.watermarks);
        let start = Record::Start(Start { epoch: self.epoch, run_id: self.run_id.clone(), timestamp });
        if recovered.adopts && recovered.segment != 0 && !recovered.sealed {
            // An older run that does not know of its end yet must not add to what is left behind.
            self.store.resume(recovered.segment, recovered.whole).await?;
            self.append(&Record::Seal { epoch: self.epoch }, true).await?;
        }
        if recovered.segment == 0 || recovered.sealed || recovered.adopts {
            let content = self.snapshot(recovered.state.clone(), Some(&start))?;
            self.create_segment(content).await?;
            if let Some(pending) = &recovered.pending {
                self.append(&Record::Prepare(Prepared { flushed: true, ..pending.clone() }), true).await?;
            }
            return Ok(());
        }
        self.store.resume(recovered.segment, recovered.whole).await?;
        self.bytes_since = recovered.whole.saturating_sub(self.snapshot_bytes);
        self.append(&start, true).await
    }

    /// Fixes a batch, and everything before it; durably if it says so.
    ///
    /// # Errors
    /// The log cannot be written; the batch is then not fixed, or its record is torn and will be left out.
    pub async fn prepare(&mut self, prepared: Prepared) -> Result<()> {
        self.pending = prepared.watermarks;
        let flushed = prepared.flushed;
        self.append(&Record::Prepare(prepared), flushed).await?;
        self.unsynced = !flushed;
        Ok(())
    }

    /// Notes that the sink holds a batch. Not flushed: the next flush takes it along, and if it is lost the batch is
    /// repeated or found in the sink.
    ///
    /// # Errors
    /// The log cannot be written, or `ranges` do not continue it.
    pub async fn commit(&mut self, batch_id: u64, ranges: &OffsetRanges) -> Result<()> {
        self.offsets.apply(ranges)?;
        self.last = Some(batch_id);
        self.watermarks = self.pending;
        self.append(&Record::Commit { batch_id, epoch: self.epoch }, false).await?;
        self.unsynced = true;
        Ok(())
    }

    /// Flushes what was not flushed, while the log may go on growing: what is in it now is durable when the future is done.
    ///
    /// # Errors
    /// The log cannot be written: it must not be written any more.
    pub fn sync(&mut self) -> Result<BoxFuture<'static, Result<()>>> {
        if !std::mem::take(&mut self.unsynced) {
            return Ok(std::future::ready(Ok(())).boxed());
        }
        self.store.sync()
    }

    /// Whether the records outweigh the snapshot that they follow.
    pub fn roll_due(&self) -> bool {
        self.bytes_since > self.snapshot_bytes.max(MIN_SEGMENT_BYTES)
    }

    /// Begins a new segment with the state after the last committed batch. The one before it stays; older ones are deleted.
    ///
    /// # Errors
    /// The log cannot be written.
    pub async fn roll(&mut self, state: Vec<StateEntry>) -> Result<()> {
        // A snapshot that cannot be written must not seal the segment that it would have followed.
        let content = match self.snapshot(state, None) {
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(%error, "no new segment of the checkpoint: the log goes on growing");
                self.snapshot_bytes = self.snapshot_bytes.max(self.bytes_since).saturating_mul(2);
                return Ok(());
            }
        };
        self.append(&Record::Seal { epoch: self.epoch }, true).await?;
        let before = self.segment;
        self.create_segment(content).await?;
        self.unsynced = false;
        for segment in self.store.segments().await? {
            if segment < before {
                self.store.remove(segment).await?;
            }
        }
        Ok(())
    }

    /// The bytes of a new segment, in parts.
    fn snapshot(&mut self, state: Vec<StateEntry>, then: Option<&Record>) -> Result<Vec<Bytes>> {
        let snapshot = Record::Snapshot(Snapshot {
            id: self.id.clone(),
            pipeline: self.pipeline.clone(),
            epoch: self.epoch,
            batch_id: self.last,
            offsets: self.offsets.clone(),
            watermarks: self.watermarks,
            layout: self.layout,
            state,
        });
        let mut content = vec![Bytes::copy_from_slice(&frame::header())];
        content.extend(snapshot.encode()?);
        if let Some(record) = then {
            content.extend(record.encode()?);
        }
        Ok(content)
    }

    async fn create_segment(&mut self, content: Vec<Bytes>) -> Result<()> {
        self.snapshot_bytes = content.iter().map(Bytes::len).sum();
        self.bytes_since = 0;
        self.store.create(self.segment + 1, content).await?;
        self.segment += 1;
        Ok(())
    }

    async fn append(&mut self, record: &Record, sync: bool) -> Result<()> {
        let framed = record.encode()?;
        self.bytes_since += framed.iter().map(Bytes::len).sum::<usize>();
        self.store.append(framed, sync).await
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;

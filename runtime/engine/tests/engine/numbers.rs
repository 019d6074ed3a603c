//! A source of numbers, and a sink that remembers them by batch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance};
use levada_connector_api::*;

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// Gives the numbers from 0 on; every 100th is rejected when `bad` is set.
pub struct Numbers;

impl Plugin for Numbers {
    fn name(&self) -> &str {
        "Numbers"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn doc(&self) -> &str {
        "Numbers."
    }
    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
            .key(ConfigKey::new("count", ConfigType::Long, Importance::High, "How many."))
            .key(ConfigKey::new("boundary", ConfigType::Long, Importance::Low, "Rows a trigger.").optional())
            .key(ConfigKey::new("bad", ConfigType::Boolean, Importance::Low, "Rejects some.").default(false))
            .key(ConfigKey::new("drip", ConfigType::Boolean, Importance::Low, "One at a time.").default(false))
            .key(ConfigKey::new("bounded", ConfigType::Boolean, Importance::Low, "Ends.").default(true))
    }
}

impl SourcePlugin for Numbers {
    fn capabilities(&self, _: &Config) -> SourceCapabilities {
        SourceCapabilities { replayable: true, bounded: true }
    }
    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        Ok(Box::new(NumbersSource {
            count: config.int("count") as u64,
            boundary: config.int_opt("boundary").map_or(u64::MAX, |b| b as u64),
            bad: config.bool("bad"),
            drip: config.bool("drip"),
            bounded: config.bool("bounded"),
            at: 0,
            batch: None,
            in_batch: 0,
        }))
    }
}

struct NumbersSource {
    count: u64,
    boundary: u64,
    bad: bool,
    drip: bool,
    bounded: bool,
    at: u64,
    batch: Option<u64>,
    in_batch: u64,
}

/// Told when a source that gives one number at a time has given the second.
static SECOND: tokio::sync::Notify = tokio::sync::Notify::const_new();

fn partition() -> Partition {
    Partition::named("numbers", 0)
}

#[async_trait]
impl Source for NumbersSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        Ok(schema())
    }
    async fn open(&mut self, _: &TaskContext, from: &Offsets) -> Result<()> {
        self.at = from.get(&partition()).and_then(Offset::number).unwrap_or(0);
        Ok(())
    }
    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        if self.batch.replace(limit.batch_id) != Some(limit.batch_id) {
            self.in_batch = 0;
        }
        let until =
            limit.until.as_ref().map_or(self.count, |u| u.get(&partition()).and_then(Offset::number).unwrap_or(0));
        let most = if self.drip { 1 } else { limit.rows.min(37) };
        let end = (self.at + (most as u64).min(self.boundary - self.in_batch)).min(until).min(self.count);
        if end <= self.at {
            let done = limit.until.is_some() || self.bounded;
            if !done {
                tokio::time::sleep(limit.wait).await;
            }
            return Ok(Polled::nothing(if done { PollStatus::End } else { PollStatus::Idle }));
        }
        let bad = |n: &u64| self.bad && n % 100 == 50;
        let rows: Int64Array = (self.at..end).filter(|n| !bad(n)).map(|n| n as i64).collect();
        let rejected = (self.at..end)
            .filter(bad)
            .map(|n| BadRow {
                reason: "it is bad".into(),
                stage: "source".into(),
                position: format!("number {n}"),
                raw: n.to_string().into(),
                record: None,
            })
            .collect();
        let mut ranges = OffsetRanges::default();
        ranges.push(partition(), OffsetRange::new((self.at > 0).then(|| Offset::at(self.at)), Offset::at(end))?)?;
        self.in_batch += end - self.at;
        self.at = end;
        let status = match self.in_batch == self.boundary {
            true => PollStatus::Boundary,
            false if self.drip => PollStatus::Idle,
            false => PollStatus::More,
        };
        if self.drip && self.at == 2 {
            SECOND.notify_one();
        }
        self.in_batch %= self.boundary;
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(rows)])?;
        Ok(Polled { bytes: rows.num_rows() * 8, batches: vec![Batch::new(rows)], rejected, ranges, status })
    }
    async fn latest(&mut self) -> Result<Offsets> {
        Ok(Offsets::from_iter([(partition(), Offset::at(self.count))]))
    }
}

/// What a [`Memory`] sink holds: the numbers of each batch, and the offsets in transactional mode.
pub type Held = Arc<Mutex<BTreeMap<u64, (Vec<i64>, Commit)>>>;

/// Remembers numbers; transactional if told so.
pub struct Memory {
    pub held: Held,
    pub guarantee: Guarantee,
}

impl Plugin for Memory {
    fn name(&self) -> &str {
        "Memory"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn doc(&self) -> &str {
        "Memory."
    }
    fn config_def(&self) -> ConfigDef {
        ConfigDef::new().key(ConfigKey::new("hold", ConfigType::Boolean, Importance::Low, "Waits.").default(false))
    }
}

impl SinkPlugin for Memory {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities { guarantee: self.guarantee, modes: &[OutputMode::Append, OutputMode::Complete] }
    }
    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        let transactional = self.guarantee == Guarantee::Transactional;
        let hold = config.bool("hold");
        Ok(Box::new(MemorySink { held: self.held.clone(), transactional, hold, staged: Vec::new() }))
    }
}

struct MemorySink {
    held: Held,
    transactional: bool,
    /// Whether the first batch is not committed before the second number was read.
    hold: bool,
    staged: Vec<i64>,
}

#[async_trait]
impl Sink for MemorySink {
    async fn open(&mut self, _: &TaskContext, _: SchemaRef, _: OutputMode) -> Result<Option<Commit>> {
        let held = self.held.lock().unwrap();
        Ok(if self.transactional { held.values().last().map(|(_, commit)| commit.clone()) } else { None })
    }
    async fn write(&mut self, _: u64, batch: Batch) -> Result<()> {
        self.staged.extend(batch.rows.column(0).as_primitive::<Int64Type>().values());
        Ok(())
    }
    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        if self.hold && commit.batch_id == 0 {
            SECOND.notified().await;
        }
        let rows = std::mem::take(&mut self.staged);
        let before = self.held.lock().unwrap().insert(commit.batch_id, (rows.clone(), commit.clone()));
        if let Some((before, _)) = before {
            assert!(!self.transactional, "a transactional sink was given batch {} twice", commit.batch_id);
            assert_eq!(before, rows, "batch {} was repeated with other rows", commit.batch_id);
        }
        Ok(())
    }
    async fn abort(&mut self, _: u64) -> Result<()> {
        self.staged.clear();
        Ok(())
    }
}

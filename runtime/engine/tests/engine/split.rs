//! Pipelines whose work is split, over more tasks or fewer at each start: every row once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance, RawConfig};
use levada_connector_api::*;
use levada_engine::{Environment, PipelineSpec, start};

use crate::numbers::schema;

const PARTS: u64 = 5;

/// Partition `p` of five has the numbers `1000 p` to `1000 p + count`.
struct Parts;

impl Plugin for Parts {
    fn name(&self) -> &str {
        "Parts"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn doc(&self) -> &str {
        "Parts."
    }
    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
            .key(ConfigKey::new("count", ConfigType::Long, Importance::High, "How many."))
            .key(ConfigKey::new("start", ConfigType::Long, Importance::High, "Where new partitions begin.").default(0))
    }
}

impl SourcePlugin for Parts {
    fn capabilities(&self, _: &Config) -> SourceCapabilities {
        SourceCapabilities { replayable: true, bounded: false }
    }
    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }
    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        let (count, start) = (config.int("count") as u64, config.int("start") as u64);
        Ok(Box::new(PartsSource { count, start, at: BTreeMap::new(), turn: 0 }))
    }
}

struct PartsSource {
    count: u64,
    start: u64,
    /// Where each partition of this task stands, and whether the offsets have it.
    at: BTreeMap<u64, (u64, bool)>,
    turn: usize,
}

fn partition(part: u64) -> Partition {
    Partition::named("part", part)
}

#[async_trait]
impl Source for PartsSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        Ok(schema())
    }
    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        for part in (0..PARTS).filter(|part| part % u64::from(context.tasks) == u64::from(context.task)) {
            let known = from.get(&partition(part)).and_then(Offset::number);
            self.at.insert(part, (known.unwrap_or(self.start), known.is_some()));
        }
        Ok(())
    }
    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let mut polled = Polled::nothing(PollStatus::Idle);
        if limit.rows == 0 || limit.until.is_some() {
            for (part, (at, known)) in &mut self.at {
                let wanted = limit.until.as_ref().is_none_or(|until| until.get(&partition(*part)).is_some());
                if wanted && !std::mem::replace(known, true) {
                    polled.ranges.push(partition(*part), OffsetRange::new(None, Offset::at(*at))?)?;
                }
            }
        }
        if limit.rows == 0 {
            return Ok(polled);
        }
        let end = |part: u64| match &limit.until {
            Some(until) => until.get(&partition(part)).and_then(Offset::number).unwrap_or(0),
            None => self.count,
        };
        let open: Vec<u64> =
            self.at.iter().filter(|(part, (at, _))| *at < end(**part)).map(|(part, _)| *part).collect();
        if open.is_empty() {
            polled.status = if limit.until.is_some() { PollStatus::End } else { PollStatus::Idle };
            return Ok(polled);
        }
        self.turn += 1;
        let part = open[self.turn % open.len()];
        let (at, known) = self.at[&part];
        let to = end(part).min(at + (limit.rows.min(7) as u64));
        let rows: Int64Array = (at..to).map(|n| (1000 * part + n) as i64).collect();
        polled.batches.push(Batch::new(RecordBatch::try_new(schema(), vec![Arc::new(rows)])?));
        polled.ranges.push(partition(part), OffsetRange::new(known.then(|| Offset::at(at)), Offset::at(to))?)?;
        self.at.insert(part, (to, true));
        polled.status = PollStatus::More;
        Ok(polled)
    }
    async fn latest(&mut self) -> Result<Offsets> {
        Ok(self.at.keys().map(|part| (partition(*part), Offset::at(self.count))).collect())
    }
}

type Held = Arc<Mutex<BTreeMap<(u32, u64), (Vec<i64>, Commit)>>>;

/// Remembers numbers by task and batch.
struct Shelf {
    held: Held,
    guarantee: Guarantee,
}

impl Plugin for Shelf {
    fn name(&self) -> &str {
        "Shelf"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn doc(&self) -> &str {
        "Shelf."
    }
    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
    }
}

impl SinkPlugin for Shelf {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities { guarantee: self.guarantee, modes: &[OutputMode::Append] }
    }
    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }
    fn create(&self, _: &Config) -> Result<Box<dyn Sink>> {
        let transactional = self.guarantee == Guarantee::Transactional;
        Ok(Box::new(ShelfSink { held: self.held.clone(), transactional, task: 0, staged: Vec::new() }))
    }
}

struct ShelfSink {
    held: Held,
    transactional: bool,
    task: u32,
    staged: Vec<i64>,
}

#[async_trait]
impl Sink for ShelfSink {
    async fn open(&mut self, context: &TaskContext, _: SchemaRef, _: OutputMode) -> Result<Option<Commit>> {
        self.task = context.task;
        let held = self.held.lock().unwrap();
        let mine = held.range((self.task, 0)..=(self.task, u64::MAX)).last();
        Ok(mine.filter(|_| self.transactional).map(|(_, (_, commit))| commit.clone()))
    }
    async fn write(&mut self, _: u64, batch: Batch) -> Result<()> {
        self.staged.extend(batch.rows.column(0).as_primitive::<Int64Type>().values());
        Ok(())
    }
    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let mut rows = std::mem::take(&mut self.staged);
        // Partitions may come in another order when a batch is repeated.
        rows.sort_unstable();
        let key = (self.task, commit.batch_id);
        let before = self.held.lock().unwrap().insert(key, (rows.clone(), commit.clone()));
        if let Some((before, _)) = before {
            assert!(!self.transactional, "a transactional sink was given batch {key:?} twice");
            assert_eq!(before, rows, "batch {key:?} was repeated with other rows");
        }
        Ok(())
    }
    async fn abort(&mut self, _: u64) -> Result<()> {
        self.staged.clear();
        Ok(())
    }
}

struct Run {
    folder: tempfile::TempDir,
    held: Held,
    guarantee: Guarantee,
}

impl Run {
    fn new(guarantee: Guarantee) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), held: Held::default(), guarantee }
    }

    async fn to_end(&self, tasks: u32, count: u64, extra: &[(&str, &str)], faults: Faults) -> Result<()> {
        let mut registry = Registry::new();
        registry.add_source(Parts).unwrap();
        registry.add_sink(Shelf { held: self.held.clone(), guarantee: self.guarantee }).unwrap();
        let (tasks, count) = (tasks.to_string(), count.to_string());
        let base = [
            ("name", "p"),
            ("tasks.max", tasks.as_str()),
            ("source.class", "Parts"),
            ("source.count", count.as_str()),
            ("sink.class", "Shelf"),
            ("trigger", "available-now"),
            ("batch.max.rows", "20"),
            ("restart.delay", "1 ms"),
        ];
        let raw: RawConfig = base.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let spec = PipelineSpec::parse(&raw, &registry).unwrap_or_else(|e| panic!("{e:?}"));
        start(spec, Environment { faults, ..Environment::new(self.folder.path()) }).join().await
    }

    fn numbers(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.held.lock().unwrap().values().flat_map(|(rows, _)| rows.clone()).collect();
        all.sort_unstable();
        all
    }

    fn tasks(&self) -> Vec<u32> {
        let mut tasks: Vec<u32> =
            self.held.lock().unwrap().iter().filter(|(_, (r, _))| !r.is_empty()).map(|((t, _), _)| *t).collect();
        tasks.dedup();
        tasks
    }
}

fn expected(from: u64, count: u64) -> Vec<i64> {
    (0..PARTS).flat_map(|part| (from..count).map(move |n| (1000 * part + n) as i64)).collect()
}

/// Fails for good at the nth passing of a point: what follows is as after a kill.
fn fail_at(point: &str, nth: usize, retry: Retry) -> Faults {
    let (point, left) = (point.to_owned(), AtomicUsize::new(nth));
    Faults::hook(move |name| {
        if name == point && left.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Io, "injected").with_retry(retry));
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_tasks_may_change_between_runs() {
    for guarantee in [Guarantee::Idempotent, Guarantee::Transactional] {
        let run = Run::new(guarantee);
        let mut count = 0;
        for tasks in [1, 2, 3, 1, 7, 2, 2] {
            count += 50;
            run.to_end(tasks, count, &[], Faults::none()).await.unwrap();
            assert_eq!(run.numbers(), expected(0, count), "{tasks}");
        }
        assert_eq!(run.tasks(), [0, 1, 2, 3, 4]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_anywhere_is_gone_on_with_by_any_number_of_tasks() {
    for guarantee in [Guarantee::Idempotent, Guarantee::Transactional] {
        let points = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
        let seen = points.clone();
        let count = Faults::hook(move |name| {
            *seen.lock().unwrap().entry(name.to_owned()).or_default() += 1;
            Ok(())
        });
        Run::new(guarantee).to_end(2, 60, &[], count).await.unwrap();
        let points = points.lock().unwrap().clone();
        assert!(points.contains_key("layout.begin.after"), "{points:?}");
        for (point, passes) in points {
            for nth in [0, passes - 1] {
                for retry in [Retry::Permanent, Retry::Retriable] {
                    let run = Run::new(guarantee);
                    let first = run.to_end(2, 60, &[], fail_at(&point, nth, retry)).await;
                    assert_eq!(first.is_err(), retry == Retry::Permanent, "{point} {nth}: {first:?}");
                    // What the change itself does dies, too.
                    let _ = run.to_end(3, 80, &[], fail_at(&point, nth % 5, Retry::Permanent)).await;
                    run.to_end(1, 90, &[], Faults::none()).await.unwrap_or_else(|e| panic!("{point} {nth}: {e}"));
                    assert_eq!(run.numbers(), expected(0, 90), "{guarantee:?} {point} {nth} {retry:?}");
                }
            }
        }
    }
}

/// Where a partition begins is fixed once, whichever task comes to it when.
#[tokio::test(flavor = "multi_thread")]
async fn where_partitions_begin_is_fixed_before_the_tasks_start() {
    let run = Run::new(Guarantee::Idempotent);
    run.to_end(2, 30, &[("source.start", "30")], Faults::none()).await.unwrap();
    assert_eq!(run.numbers(), expected(30, 30), "there was nothing yet");
    run.to_end(3, 50, &[("source.start", "50")], Faults::none()).await.unwrap();
    assert_eq!(run.numbers(), expected(30, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_pipeline_has_one_process() {
    let run = Arc::new(Run::new(Guarantee::Idempotent));
    let inside = Arc::new(tokio::sync::Notify::new());
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let (told, waits) = (inside.clone(), Mutex::new(waits));
    let faults = Faults::hook(move |name| {
        if name == "sink.commit.before" {
            told.notify_one();
            let _ = waits.lock().unwrap().recv();
        }
        Ok(())
    });
    let first = tokio::spawn({
        let run = run.clone();
        async move { run.to_end(2, 30, &[], faults).await }
    });
    inside.notified().await;
    let error = run.to_end(3, 30, &[], Faults::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    drop(go_on);
    first.await.unwrap().unwrap();
    assert_eq!(run.numbers(), expected(0, 30));
}

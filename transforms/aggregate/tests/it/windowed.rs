//! The aggregation operator and the deduplication against plain models of them, with restores in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, BatchInfo, BindContext, OutputMode, Plugin, StateImage, StateKind, TaskContext, Transform, TransformPlugin,
    WATERMARK,
};
use levada_transform_aggregate::{Deduplicate, WindowedAggregate};
use proptest::prelude::*;
use tokio::runtime::Runtime;

/// An event: its time in seconds, its key, its value.
pub(crate) type Event = (i64, Option<u8>, i64);

fn schema() -> SchemaRef {
    let time = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
        .with_metadata([(WATERMARK.to_owned(), "10000".to_owned())].into());
    Arc::new(Schema::new(vec![
        time,
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

fn rows(events: &[Event]) -> Batch {
    let times =
        TimestampMicrosecondArray::from_iter_values(events.iter().map(|e| e.0 * 1_000_000)).with_timezone("UTC");
    let keys: StringArray = events.iter().map(|e| e.1.map(|key| format!("k{key}"))).collect();
    let values = Int64Array::from_iter_values(events.iter().map(|e| e.2));
    let names = Arc::new(keys.clone());
    Batch::new(RecordBatch::try_new(schema(), vec![Arc::new(times), Arc::new(keys), Arc::new(values), names]).unwrap())
}

/// Start, end, count, sum, minimum.
type Session = (i64, i64, i64, i64, i64);

/// A transform as the runtime drives it.
pub(crate) struct Job {
    transform: Box<dyn Transform>,
    plugin: &'static dyn TransformPlugin,
    config: RawConfig,
    mode: OutputMode,
    images: Vec<StateImage>,
}

impl Job {
    pub(crate) async fn new(plugin: &'static dyn TransformPlugin, config: &[(&str, &str)], mode: OutputMode) -> Self {
        let config: RawConfig = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let transform = Self::make(plugin, &config, mode).await;
        Self { transform, plugin, config, mode, images: Vec::new() }
    }

    async fn make(plugin: &dyn TransformPlugin, config: &RawConfig, mode: OutputMode) -> Box<dyn Transform> {
        let parsed = plugin.config_def().parse(config, "").unwrap();
        assert!(plugin.validate(&parsed).is_empty());
        let mut transform = plugin.create(&parsed).unwrap();
        transform.bind(&schema(), &BindContext::new("t", mode)).unwrap();
        transform.open(&TaskContext::new("test")).await.unwrap();
        transform
    }

    /// Runs a micro-batch with watermarks in seconds, and answers with its rows as sorted text.
    pub(crate) async fn run(
        &mut self,
        id: u64,
        (late, watermark): (i64, i64),
        batches: &[Vec<Event>],
        snapshot: bool,
    ) -> Vec<String> {
        self.transform.begin(&BatchInfo { batch_id: id, watermark: watermark * 1000, late: late * 1000 }).unwrap();
        let mut out = Vec::new();
        for batch in batches {
            out.extend(self.transform.process(rows(batch)).await.unwrap().batches);
        }
        out.extend(self.transform.finish(id).await.unwrap().batches);
        self.images.extend(self.transform.checkpoint(StateKind::Delta).await.unwrap());
        if snapshot {
            self.images = self.transform.checkpoint(StateKind::Snapshot).await.unwrap().into_iter().collect();
        }
        let mut lines: Vec<String> = out.iter().flat_map(|batch| lines(&batch.rows)).collect();
        lines.sort();
        lines
    }

    /// Goes on with what the checkpoint has.
    pub(crate) async fn restart(&mut self) {
        self.transform = Self::make(self.plugin, &self.config, self.mode).await;
        for image in &self.images {
            self.transform.restore(image.clone()).await.unwrap();
        }
    }
}

fn lines(rows: &RecordBatch) -> Vec<String> {
    let seconds =
        |array: &dyn Array, row: usize| array.as_primitive::<TimestampMicrosecondType>().value(row) / 1_000_000;
    let cell = |column: &Arc<dyn Array>, row: usize| match column.data_type() {
        _ if column.is_null(row) => "-".to_owned(),
        DataType::Struct(_) => {
            let window: &StructArray = column.as_struct();
            format!("{}..{}", seconds(window.column(0), row), seconds(window.column(1), row))
        }
        DataType::Timestamp(_, _) => seconds(column, row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        _ => arrow::util::display::array_value_to_string(column, row).unwrap(),
    };
    // A name is the key again.
    let schema = rows.schema();
    let shown = || schema.fields().iter().zip(rows.columns()).filter(|(field, _)| field.name() != "name");
    let line = |row| shown().map(|(_, column)| cell(column, row)).collect::<Vec<_>>().join(" ");
    (0..rows.num_rows()).map(line).collect()
}

/// Micro-batches: events in pieces, how far the watermark moves, whether a snapshot is taken, whether a restart follows.
pub(crate) type Steps = Vec<(Vec<Vec<Event>>, i64, bool, bool)>;

pub(crate) fn steps() -> impl Strategy<Value = Steps> {
    let event = (0i64..100, prop::option::weighted(0.9, 0u8..5), -50i64..50);
    let pieces = prop::collection::vec(prop::collection::vec(event, 0..8), 0..4);
    prop::collection::vec((pieces, 0i64..25, any::<bool>(), any::<bool>()), 1..10)
}

fn name(key: Option<u8>) -> String {
    key.map_or("-".to_owned(), |key| format!("k{key}"))
}

fn block<T>(work: impl Future<Output = T>) -> T {
    // One for all calls: a job's lanes live on between them.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(work)
}

/// Windows by hand: count, sum and first value of each window and key, and how many windows were updated and held.
fn windows_by_hand(steps: &Steps, size: i64, slide: i64, mode: OutputMode) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<(i64, Option<u8>), (i64, i64, i64)> = BTreeMap::new();
    let (mut late, mut watermark, mut out) = (0, 0, Vec::new());
    for (pieces, advance, _, _) in steps {
        let (mut touched, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for (at, key, value) in pieces.iter().flatten() {
            let first = at.div_euclid(slide) * slide;
            for start in (0..).map(|back| first - back * slide).take_while(|start| start + size > *at) {
                if mode != OutputMode::Complete && start + size <= late {
                    dropped.insert((start, *key));
                    continue;
                }
                let group = groups.entry((start, *key)).or_insert((0, 0, *value));
                group.0 += 1;
                group.1 += value;
                touched.insert((start, *key));
            }
        }
        let closed: Vec<_> = groups.keys().filter(|(start, _)| start + size <= watermark).copied().collect();
        let updated = touched.len();
        let wanted: Vec<_> = match mode {
            OutputMode::Append => closed.clone(),
            OutputMode::Update => touched.into_iter().collect(),
            OutputMode::Complete => groups.keys().copied().collect(),
        };
        let line = |group: &(i64, Option<u8>)| {
            let (count, sum, first) = groups[group];
            format!("{}..{} {} {count} {sum} {first}", group.0, group.0 + size, name(group.1))
        };
        let mut lines: Vec<String> = wanted.iter().map(line).collect();
        lines.sort();
        if mode != OutputMode::Complete {
            closed.iter().for_each(|group| _ = groups.remove(group));
        }
        lines.push(format!("{updated} updated, {} held, {} dropped", groups.len(), dropped.len()));
        out.push(lines);
        (late, watermark) = (watermark, watermark + advance);
    }
    out
}

fn run(job: &mut Job, steps: &Steps, restarts: bool) -> Vec<Vec<String>> {
    let (mut late, mut watermark, mut out) = (0, 0, Vec::new());
    for (id, (pieces, advance, snapshot, restart)) in steps.iter().enumerate() {
        let mut lines = block(job.run(id as u64, (late, watermark), pieces, *snapshot && restarts));
        if job.config.contains_key("window") {
            let stats = job.transform.stats().unwrap();
            lines.push(format!(
                "{} updated, {} held, {} dropped",
                stats.rows_updated, stats.rows_total, stats.rows_dropped
            ));
        }
        out.push(lines);
        if *restart && restarts {
            block(job.restart());
        }
        (late, watermark) = (watermark, watermark + advance);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn windows_are_those_counted_by_hand(
        steps in steps(),
        size in 1i64..30,
        slide in 1i64..30,
        mode in prop::sample::select(vec![OutputMode::Append, OutputMode::Update, OutputMode::Complete]),
    ) {
        let slide = slide.min(size);
        let (window, every) = (format!("{size} seconds"), format!("{slide} seconds"));
        let config = [("time", "at"), ("window", &*window), ("slide", &*every), ("group.by", "key"),
            ("aggregates", "count(*) AS n, sum(value) AS s")];
        let mut ordered = config;
        ordered[4].1 = "count(*) AS n, sum(value) AS s, first(value) AS f";
        let mut expected = windows_by_hand(&steps, size, slide, mode);
        for restarts in [false, true] {
            let mut job = block(Job::new(&WindowedAggregate, &ordered, mode));
            prop_assert_eq!(&run(&mut job, &steps, restarts), &expected, "restarts: {}", restarts);
        }
        // Without an aggregate that needs the order of rows, windows are made of panes.
        for line in expected.iter_mut().flatten().filter(|line| line.contains("..")) {
            line.truncate(line.rfind(' ').unwrap());
        }
        for restarts in [false, true] {
            let mut job = block(Job::new(&WindowedAggregate, &config, mode));
            prop_assert_eq!(&run(&mut job, &steps, restarts), &expected, "panes, restarts: {}", restarts);
        }
    }

    #[test]
    fn sessions_survive_restarts_and_hold_every_row(
        steps in steps(),
        gap in 1i64..20,
        mode in prop::sample::select(vec![OutputMode::Append, OutputMode::Complete]),
    ) {
        let gap_text = format!("{gap} seconds");
        let config = [("time", "at"), ("session.gap", &*gap_text), ("group.by", "key"),
            ("aggregates", "count(*) AS n, sum(value) AS s, min(value) AS low")];
        let mut job = block(Job::new(&WindowedAggregate, &config, mode));
        let expected = run(&mut job, &steps, false);
        let mut job = block(Job::new(&WindowedAggregate, &config, mode));
        prop_assert_eq!(run(&mut job, &steps, true), expected.clone());
        if mode == OutputMode::Complete {
            // Nothing is forgotten: the last batch has all sessions of rows that were not late.
            let (mut late, mut watermark, mut events) = (0, 0, Vec::<&Event>::new());
            for (pieces, advance, _, _) in &steps {
                events.extend(pieces.iter().flatten().filter(|(at, _, _)| at + gap > late));
                (late, watermark) = (watermark, watermark + advance);
            }
            events.sort();
            let mut sessions: BTreeMap<Option<u8>, Vec<Session>> = BTreeMap::new();
            for (at, key, value) in events {
                let own = sessions.entry(*key).or_default();
                match own.last_mut() {
                    Some((_, end, n, s, low)) if at <= end => {
                        (*end, *n, *s, *low) = (at + gap, *n + 1, *s + value, (*low).min(*value));
                    }
                    _ => own.push((*at, at + gap, 1, *value, *value)),
                }
            }
            let mut lines: Vec<String> = sessions.iter().flat_map(|(key, own)| own.iter().map(move |(start, end, n, s, low)|
                format!("{start}..{end} {} {n} {s} {low}", name(*key)))).collect();
            lines.sort();
            prop_assert_eq!(expected.last().unwrap(), &lines);
        }
    }

    #[test]
    fn duplicates_are_dropped_as_by_hand(steps in steps(), within in any::<bool>()) {
        let columns = if within { "key,value" } else { "key,at" };
        let flag = within.to_string();
        let config = [("columns", columns), ("within.watermark", &*flag)];
        let mut known: BTreeMap<(Option<u8>, i64), i64> = BTreeMap::new();
        let (mut late, mut watermark, mut expected) = (0, 0, Vec::new());
        for (pieces, advance, _, _) in &steps {
            let mut lines = Vec::new();
            for (at, key, value) in pieces.iter().flatten() {
                let id = (*key, if within { *value } else { *at });
                if *at > late && !known.contains_key(&id) {
                    known.insert(id, if within { at + 10 } else { *at });
                    lines.push(format!("{at} {} {value}", name(*key)));
                }
            }
            known.retain(|_, until| *until > watermark);
            lines.sort();
            expected.push(lines);
            (late, watermark) = (watermark, watermark + advance);
        }
        for restarts in [false, true] {
            let mut job = block(Job::new(&Deduplicate, &config, OutputMode::Append));
            prop_assert_eq!(&run(&mut job, &steps, restarts), &expected, "restarts: {}", restarts);
        }
    }
}

/// Enough rows for the threads: the result is that of one thread.
#[test]
fn threads_count_what_one_counts() {
    let events: Vec<Event> = (0..200_000i64).map(|i| (i * 7919 % 600, Some((i % 200) as u8), i % 1000 - 500)).collect();
    let mut outputs = Vec::new();
    for threads in ["1", "2", "5"] {
        for gap in [None, Some("2 seconds")] {
            let shape = gap.map_or(("window", "30 seconds"), |gap| ("session.gap", gap));
            let config = [
                ("time", "at"),
                shape,
                ("group.by", "key, value % 3"),
                ("threads", threads),
                ("aggregates", "count(*) AS n, sum(value) AS s, max(value) AS m"),
            ];
            let mut job = block(Job::new(&WindowedAggregate, &config, OutputMode::Append));
            let pieces: Vec<Vec<Event>> = events.chunks(50_000).map(<[Event]>::to_vec).collect();
            let first = block(job.run(0, (0, 0), &pieces, false));
            assert!(first.is_empty());
            outputs.push((gap, block(job.run(1, (0, 100_000), &[], false))));
        }
    }
    for (gap, output) in &outputs {
        assert!(output.len() > 1000);
        let (_, wanted) = outputs.iter().find(|(other, _)| other == gap).unwrap();
        assert_eq!(output, wanted);
    }
}

/// Large and small batches, which threads and the task itself would count: the first row, the last and all are told in the
/// order in which they came.
#[test]
fn what_depends_on_the_order_of_rows_follows_it() {
    let config =
        [("group.by", "key"), ("threads", "2"), ("aggregates", "first(value) AS f, last(value) AS l, count(*) AS n")];
    let mut job = block(Job::new(&WindowedAggregate, &config, OutputMode::Update));
    let sizes = [10, 6000, 5000, 7000, 3, 9000];
    let mut next = 0i64..;
    let pieces: Vec<Vec<Event>> =
        sizes.iter().map(|size| next.by_ref().take(*size).map(|i| (1, Some(0), i)).collect()).collect();
    let total: usize = sizes.iter().sum();
    let lines = block(job.run(0, (0, 0), &pieces, false));
    assert_eq!(lines, [format!("k0 0 {} {total}", total - 1)]);
}

#[test]
fn a_changed_query_is_refused_with_both() {
    let windows = [("time", "at"), ("window", "10 seconds"), ("group.by", "key AS k"), ("aggregates", "count(*) AS n")];
    let duplicates = [("columns", "key")];
    let (windowed, deduplicate): (&'static dyn TransformPlugin, &'static dyn TransformPlugin) =
        (&WindowedAggregate, &Deduplicate);
    for (plugin, config, key, value, before, after) in [
        (windowed, &windows[..], "window", "90 seconds", "windows of 10 seconds", "windows of 90 seconds"),
        (windowed, &windows[..], "time", "date_trunc('hour', at)", "by at;", "of at;"),
        (windowed, &windows[..], "group.by", "name AS k", "keys key STRING", "keys name STRING"),
        (windowed, &windows[..], "group.by", "upper(key) AS k", "keys key STRING", "keys upper(key) of key STRING"),
        (windowed, &windows[..], "aggregates", "count(value) AS n", "count(1) BIGINT", "count(value) (value) BIGINT"),
        (deduplicate, &duplicates[..], "columns", "name", "keys key STRING", "keys name STRING"),
    ] {
        let mut job = block(Job::new(plugin, config, OutputMode::Update));
        block(job.run(0, (0, 0), &[vec![(1, None, 1)]], false));
        job.config.insert(key.to_owned(), value.to_owned());
        job.transform = block(Job::make(job.plugin, &job.config, job.mode));
        let error = block(job.transform.restore(job.images[0].clone())).expect_err(value).to_string();
        assert!(error.contains(before) && error.contains(after), "{error}");
    }
    // An alias changes nothing.
    let mut job = block(Job::new(&WindowedAggregate, &windows, OutputMode::Append));
    block(job.run(0, (0, 0), &[vec![(1, None, 1)]], false));
    job.config.insert("group.by".to_owned(), "KEY".to_owned());
    block(job.restart());
}

#[test]
fn it_tells_which_columns_it_reads() {
    for (more, wanted) in [
        (vec![("group.by", "key"), ("aggregates", "count(*) AS n")], vec!["at", "key"]),
        (vec![("aggregates", "sum(value) FILTER (WHERE key > 'k1') AS n")], vec!["at", "key", "value"]),
    ] {
        let mut config = vec![("time", "AT"), ("window", "10 seconds"), ("watermark", "5 seconds")];
        config.extend(more);
        let job = block(Job::new(&WindowedAggregate, &config, OutputMode::Append));
        let mut reads = job.transform.reads(None).unwrap();
        reads.sort();
        reads.dedup();
        assert_eq!(reads, wanted);
    }
}

#[test]
fn bad_options_are_named_with_their_keys() {
    for (entries, mode, part) in [
        (
            vec![("window", "0 seconds"), ("time", "at"), ("aggregates", "count(*)")],
            OutputMode::Append,
            "window: must be longer",
        ),
        (
            vec![("window", "1 second"), ("slide", "-1 second"), ("time", "at"), ("aggregates", "count(*)")],
            OutputMode::Append,
            "slide: must be longer",
        ),
        (
            vec![("window", "1 second"), ("slide", "2 seconds"), ("time", "at"), ("aggregates", "count(*)")],
            OutputMode::Append,
            "rows between windows",
        ),
        (vec![("window", "1 second"), ("aggregates", "count(*)")], OutputMode::Append, "time: missing"),
        (
            vec![("window", "1 day"), ("slide", "500 us"), ("time", "at"), ("aggregates", "count(*)")],
            OutputMode::Append,
            "each row is in 172800000 of them",
        ),
        (
            vec![("window", "1 second"), ("time", "key"), ("aggregates", "count(*)")],
            OutputMode::Append,
            "is STRING, not a TIMESTAMP",
        ),
        (
            vec![("window", "1 second"), ("time", "att"), ("aggregates", "count(*)")],
            OutputMode::Append,
            "did you mean 'at'",
        ),
        (vec![("group.by", "key"), ("aggregates", "sum(vlaue)")], OutputMode::Update, "did you mean 'value'"),
        (vec![("group.by", "key"), ("aggregates", "count(*), summ(value)")], OutputMode::Update, "did you mean 'sum'"),
        (
            vec![("group.by", "key"), ("aggregates", "value + 1")],
            OutputMode::Update,
            "neither grouped by nor aggregated",
        ),
        (vec![("group.by", "key"), ("aggregates", "count(DISTINCT value)")], OutputMode::Update, "Deduplicate"),
        (vec![("group.by", "key"), ("aggregates", "count(*)")], OutputMode::Append, "append needs a watermark"),
        (
            vec![("group.by", "key"), ("time", "at"), ("session.gap", "5 seconds"), ("aggregates", "count(*)")],
            OutputMode::Update,
            "sessions merge",
        ),
    ] {
        let raw: RawConfig = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let parsed = WindowedAggregate.config_def().parse(&raw, "").unwrap();
        let wrong: Vec<String> = WindowedAggregate.validate(&parsed).iter().map(ToString::to_string).collect();
        let said = match wrong.is_empty() {
            false => wrong.join("; "),
            true => {
                let mut transform = WindowedAggregate.create(&parsed).unwrap();
                transform.bind(&schema(), &BindContext::new("t", mode)).err().map(|e| e.to_string()).unwrap_or_default()
            }
        };
        assert!(said.contains(part), "{entries:?}: {said}");
    }
}

#[test]
fn a_state_beyond_its_limit_fails_with_the_numbers() {
    let config = [("group.by", "value"), ("aggregates", "count(*) AS n"), ("state.limit", "100 kB")];
    let mut job = block(Job::new(&WindowedAggregate, &config, OutputMode::Update));
    let events: Vec<Event> = (0..20_000).map(|i| (1, None, i)).collect();
    let error = block(async {
        job.transform.begin(&BatchInfo { batch_id: 0, watermark: 0, late: 0 }).unwrap();
        job.transform.process(rows(&events)).await.unwrap();
        job.transform.finish(0).await.unwrap_err()
    });
    let text = error.to_string();
    assert!(text.contains("20000 groups") && text.contains("state.limit"), "{text}");
}

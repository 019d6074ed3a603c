//! Pipelines from and to a real Kafka, killed: what readers of committed messages find afterwards equals the input.
//!
//! The default form kills at the points around the commits and a few times at random; `LEVADA_CRASH=long` at every point,
//! and at 100 random moments each.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use levada_services::kafka::Kafka;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Kills, Site, for_all, long, topics};

/// Rows of an input, of which some cannot be decoded.
const ROWS: usize = 1000;

/// A pipeline into a topic.
pub(crate) struct Case {
    name: &'static str,
    kafka: &'static Kafka,
    config: BTreeMap<String, String>,
    /// The values that must be in the topic, sorted.
    expected: Vec<String>,
    /// How many dead letters there must be.
    bad: usize,
    _input: Option<TempDir>,
}

/// A place to run it in, with a topic of its own.
struct Place {
    site: Site,
    topic: String,
}

fn rows() -> (Vec<String>, Vec<String>) {
    let value = |i: usize| match i % 50 {
        17 => format!("{{broken {i}"),
        _ => json!({"id": i, "name": format!("row {i} é")}).to_string(),
    };
    let all: Vec<_> = (0..ROWS).map(value).collect();
    let mut good: Vec<_> = all.iter().filter(|row| row.ends_with('}')).cloned().collect();
    good.sort();
    (all, good)
}

impl Case {
    fn new(name: &'static str, kafka: &'static Kafka, entries: &[(&str, &str)], input: Option<TempDir>) -> Self {
        let (all, expected) = rows();
        let mut config: BTreeMap<_, _> = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for (key, value) in [
            ("sink.class", "Kafka"),
            ("sink.bootstrap.servers", kafka.bootstrap()),
            ("sink.topic.creation.partitions", "2"),
            ("sink.key.column", "id"),
            ("errors.tolerance", "all"),
            ("trigger", "available-now"),
            ("restart.delay", "5 ms"),
        ] {
            config.insert(key.to_owned(), value.to_owned());
        }
        let bad = all.len() - expected.len();
        Self { name, kafka, config, expected, bad, _input: input }
    }

    /// JSON lines in five files → topic: ten micro-batches.
    pub(crate) fn files(kafka: &'static Kafka) -> Self {
        let input = TempDir::new().unwrap();
        for (file, lines) in rows().0.chunks(ROWS / 5).enumerate() {
            std::fs::write(input.path().join(format!("{file}.jsonl")), lines.join("\n")).unwrap();
        }
        let path = input.path().display().to_string();
        let entries = [
            ("source.class", "Files"),
            ("source.path", &path),
            ("source.format", "json"),
            ("source.schema", "id BIGINT, name STRING"),
            ("source.max.files.per.trigger", "1"),
            ("batch.max.rows", "100"),
        ];
        Self::new("files to Kafka", kafka, &entries, Some(input))
    }

    /// Topic of three partitions → topic: ten micro-batches.
    pub(crate) fn topic(kafka: &'static Kafka) -> Self {
        let input = topics::unique("input");
        topics::write(kafka, &input, 3, &rows().0);
        let entries = [
            ("source.class", "Kafka"),
            ("source.bootstrap.servers", kafka.bootstrap()),
            ("source.topics", &input),
            ("source.value.converter", "json"),
            ("source.value.converter.schema", "id BIGINT, name STRING"),
            ("source.max.offsets.per.trigger", "100"),
        ];
        Self::new("Kafka to Kafka", kafka, &entries, None)
    }

    fn place(&self) -> Place {
        let root = TempDir::new().unwrap();
        // The name is that of the transactional id and the progress topic, too.
        let topic = topics::unique("output");
        let mut config = self.config.clone();
        config.insert("name".to_owned(), topic.clone());
        config.insert("sink.topic".to_owned(), topic.clone());
        config.insert("errors.deadletterqueue.path".to_owned(), root.path().join("dead").display().to_string());
        Place { site: Site::new(root, &config, None), topic }
    }

    /// Runs to the end, and compares.
    fn finish(&self, place: &Place) -> Result<(), String> {
        let ended = place.site.run(&[]);
        if !ended.status.success() {
            return Err(format!("the restart failed: {}", ended.said));
        }
        self.check(place)
    }

    fn check(&self, place: &Place) -> Result<(), String> {
        let mut found = topics::read(self.kafka, &place.topic);
        found.sort();
        if found != self.expected {
            let first = found.iter().zip(&self.expected).find(|(a, b)| a != b);
            let again = topics::read(self.kafka, &place.topic).len();
            return Err(format!(
                "{} rows, when read again {again}, not {}; the first that differs: {first:?}",
                found.len(),
                self.expected.len()
            ));
        }
        let letters = place.site.output().letters.len();
        if letters == self.bad { Ok(()) } else { Err(format!("{letters} dead letters, not {}", self.bad)) }
    }

    /// The fault points that an uninterrupted run passes.
    pub(crate) fn points(&self) -> BTreeMap<String, u64> {
        let place = self.place();
        let points = place.site.run(&["--list-points"]).succeeded().points();
        self.check(&place).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
        points
    }

    fn report(&self, what: &str) {
        let mut hash = DefaultHasher::new();
        self.expected.hash(&mut hash);
        println!(
            "{}: {what}; {} rows, checksum {:016x}: 0 lost, 0 doubled",
            self.name,
            self.expected.len(),
            hash.finish()
        );
    }

    fn killed_at_points(&self) {
        let around_commits = |point: &str| {
            ["sink.", "kafka.", "prepare.", "commit.", "source.commit."].iter().any(|part| point.starts_with(part))
        };
        let mut moments = Vec::new();
        for (point, count) in self.points() {
            if long() || around_commits(&point) {
                moments.push(format!("{point}:{}", 2.min(count)));
                if long() {
                    moments.extend([format!("{point}:1"), format!("{point}:{count}")]);
                }
            }
        }
        let killed = AtomicU32::new(0);
        let count = moments.len();
        for_all(moments, |moment| {
            let place = self.place();
            let ended = place.site.run(&["--kill-at", moment]);
            killed.fetch_add(u32::from(ended.killed()), Relaxed);
            if !ended.killed() && !ended.status.success() {
                return Err(format!("not killed but {}: {}", ended.status, ended.said));
            }
            self.finish(&place)
        });
        let killed = killed.into_inner();
        assert!(killed as usize * 10 >= count * 9, "only {killed} of {count} moments were reached");
        self.report(&format!("killed at {killed} moments of fault points"));
    }

    fn killed_at_random(&self, seed: u64) {
        let alone = [self.place(), self.place(), self.place()];
        let said = Kills::timed(alone.iter().map(|place| &place.site)).rounds(
            if long() { 100 } else { 6 },
            seed,
            |kills, random| {
                let place = self.place();
                kills.kill(&place.site, random);
                kills.kill(&place.site, random);
                self.finish(&place)
            },
        );
        self.report(&said);
    }

    fn failed_at_points(&self) {
        let points = self
            .points()
            .into_keys()
            .filter(|point| long() || point.starts_with("kafka.") || point.starts_with("sink.commit"));
        let moments: Vec<_> = points.map(|point| format!("{point}:1")).collect();
        let count = moments.len();
        for_all(moments, |moment| {
            let place = self.place();
            let ended = place.site.run(&["--fail-at", moment]);
            if !ended.status.success() {
                return Err(format!("the task did not go on by itself: {}", ended.said));
            }
            self.check(&place)
        });
        self.report(&format!("failed at {count} fault points"));
    }
}

#[test]
fn files_to_kafka_killed_at_fault_points() {
    let Some(kafka) = Kafka::shared() else { return };
    Case::files(kafka).killed_at_points();
}

#[test]
fn kafka_to_kafka_killed_at_fault_points() {
    let Some(kafka) = Kafka::shared() else { return };
    Case::topic(kafka).killed_at_points();
}

#[test]
fn files_to_kafka_killed_at_random_moments() {
    let Some(kafka) = Kafka::shared() else { return };
    Case::files(kafka).killed_at_random(21);
}

#[test]
fn kafka_to_kafka_killed_at_random_moments() {
    let Some(kafka) = Kafka::shared() else { return };
    Case::topic(kafka).killed_at_random(22);
}

#[test]
fn kafka_to_kafka_failing_at_fault_points_goes_on_by_itself() {
    let Some(kafka) = Kafka::shared() else { return };
    Case::topic(kafka).failed_at_points();
}

/// Two processes run one task: one of them is fenced, and nothing is doubled.
#[test]
fn a_zombie_is_fenced() {
    let Some(kafka) = Kafka::shared() else { return };
    let case = Case::topic(kafka);
    let place = case.place();
    // The checkpoint of the zombie is a copy: its lock does not help.
    let zombie = case.place();
    zombie.site.set("name", &place.topic);
    zombie.site.set("sink.topic", &place.topic);
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for one in [&place, &zombie] {
            scope.spawn(|| seen.lock().unwrap().push(one.site.run(&[]).said));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let said = seen.into_inner().unwrap();
    assert!(said.iter().any(|said| said.contains("error fenced") || said.contains("error corrupt")), "{said:?}");
    let mut found = topics::read(kafka, &place.topic);
    let all = found.len();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), all, "rows were doubled");
}

/// Nobody knows then which batch was the last: nothing is written again, and nothing is left out.
#[test]
fn progress_that_was_deleted_is_an_error() {
    let Some(kafka) = Kafka::shared() else { return };
    let case = Case::files(kafka);
    for kill in [None, Some("kafka.sink.committed:1"), Some("kafka.sink.committed:3")] {
        let place = case.place();
        let mut arguments = vec![];
        arguments.extend(kill.map(|moment| ["--kill-at", moment]).into_iter().flatten());
        assert_eq!(place.site.run(&arguments).killed(), kill.is_some());
        let before = topics::read(kafka, &place.topic);
        kafka.delete_topic(&format!("levada-progress-{}", place.topic));
        let ended = place.site.run(&[]);
        let error = ended.error();
        assert!(error.starts_with("corrupt: ") && error.contains("progress"), "{kill:?}: {error}");
        assert_eq!(topics::read(kafka, &place.topic), before, "{kill:?}");
    }
}

/// The broker is killed and comes back while a pipeline runs.
#[test]
fn a_broker_that_is_killed_loses_nothing() {
    let Some(mut own) = Kafka::start() else { return };
    let bootstrap = own.bootstrap().to_owned();
    // The case wants a broker that lives as long as the tests; this one is known by its address alone.
    let kafka: &'static Kafka = Box::leak(Box::new(Kafka::at(&bootstrap)));
    let case = Case::topic(kafka);
    let place = case.place();
    let child = place.site.spawn(&[]);
    std::thread::sleep(Duration::from_millis(700));
    own.kill();
    own.restart();
    let ended = crate::support::wait(child);
    assert!(ended.status.success(), "{}", ended.said);
    case.check(&place).unwrap();
    case.report("broker killed and started again");
}

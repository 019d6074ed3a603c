//! Pipelines whose work is split over several tasks, killed, and gone on with by another number of tasks: what is in the
//! target afterwards equals the input.
//!
//! The default form kills at the points around commits and changes, and a few times at random; `LEVADA_CRASH=long` at
//! every point, and at 100 random moments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use levada_services::kafka::Kafka;
use levada_services::postgres;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Kills, Site, Table, for_all, long, topics};

/// Rows of the input, in four partitions; every 50th cannot be decoded.
const ROWS: usize = 1000;

/// Where the rows go.
#[derive(Clone, Copy)]
enum Target {
    Topic(&'static Kafka),
    Table(&'static str),
}

pub(crate) struct Case {
    name: &'static str,
    config: BTreeMap<String, String>,
    target: Target,
    /// What must be in the target, sorted.
    expected: Vec<String>,
    /// The values that must be in the dead letters, sorted.
    bad: Vec<String>,
}

struct Place {
    site: Site,
    table: Option<Table>,
    topic: String,
}

impl Case {
    fn new(name: &'static str, kafka: &'static Kafka, target: Target) -> Self {
        let value = |i: usize| match i % 50 {
            17 => format!("{{broken {i}"),
            _ => json!({"id": i, "name": format!("row {i} é")}).to_string(),
        };
        let rows: Vec<_> = (0..ROWS).map(value).collect();
        let input = topics::unique("input");
        topics::write(kafka, &input, 4, &rows);
        let (mut expected, mut bad): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.ends_with('}'));
        expected.sort();
        bad.sort();
        let entries = [
            ("source.class", "Kafka"),
            ("source.bootstrap.servers", kafka.bootstrap()),
            ("source.topics", &input),
            ("source.value.converter", "json"),
            ("source.value.converter.schema", "id BIGINT, name STRING"),
            ("source.metadata.columns", ""),
            ("source.max.offsets.per.trigger", "50"),
            ("errors.tolerance", "all"),
            ("trigger", "available-now"),
            ("restart.delay", "5 ms"),
            ("tasks.max", "2"),
        ];
        let mut config: BTreeMap<_, _> = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sink: &[(&str, &str)] = match &target {
            Target::Topic(kafka) => &[
                ("sink.class", "Kafka"),
                ("sink.bootstrap.servers", kafka.bootstrap()),
                ("sink.topic.creation.partitions", "2"),
                ("sink.key.column", "id"),
            ],
            Target::Table(url) => {
                &[("sink.class", "PostgresSink"), ("sink.connection.url", url), ("sink.auto.create", "true")]
            }
        };
        config.extend(sink.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Self { name, config, target, expected, bad }
    }

    fn place(&self) -> Place {
        let root = TempDir::new().unwrap();
        // The name is that of transactional ids and progress, too.
        let topic = topics::unique("output");
        let mut config = self.config.clone();
        config.insert("name".to_owned(), topic.clone());
        config.insert("errors.deadletterqueue.path".to_owned(), root.path().join("dead").display().to_string());
        let table = match self.target {
            Target::Topic(_) => {
                config.insert("sink.topic".to_owned(), topic.clone());
                config.remove("errors.deadletterqueue.path");
                config.insert("errors.deadletterqueue.topic.name".to_owned(), format!("{topic}-dead"));
                config.insert("errors.deadletterqueue.topic.replication.factor".to_owned(), "1".to_owned());
                None
            }
            Target::Table(url) => {
                let table = Table::new(url);
                config.insert("sink.table".to_owned(), table.name());
                Some(table)
            }
        };
        Place { site: Site::new(root, &config, None), table, topic }
    }

    fn check(&self, place: &Place) -> Result<(), String> {
        let mut found = match (&place.table, self.target) {
            (Some(table), _) => table.rows(),
            (None, Target::Topic(kafka)) => topics::read(kafka, &place.topic),
            (None, Target::Table(_)) => Vec::new(),
        };
        found.sort();
        if found != self.expected {
            let first = found.iter().zip(&self.expected).find(|(a, b)| a != b);
            let counts = (found.len(), self.expected.len());
            return Err(format!("{} rows, not {}; the first that differs: {first:?}", counts.0, counts.1));
        }
        let mut letters = match self.target {
            Target::Topic(kafka) => topics::read(kafka, &format!("{}-dead", place.topic)),
            Target::Table(_) => place.site.output().letters.into_iter().map(|letter| letter.raw).collect(),
        };
        letters.sort();
        if letters == self.bad {
            return Ok(());
        }
        Err(format!("{} dead letters, not {}: {letters:?}", letters.len(), self.bad.len()))
    }

    /// Killed, and killed again while another number of tasks takes over; then one task does the rest.
    fn survives(&self, first: &str, second: &str) -> Result<bool, String> {
        let place = self.place();
        let ended = place.site.run(&["--kill-at", first]);
        if !ended.killed() && !ended.status.success() {
            return Err(format!("not killed but {}: {}", ended.status, ended.said));
        }
        let mut killed = ended.killed();
        for (tasks, kill) in [("3", Some(second)), ("1", None)] {
            place.site.set("tasks.max", tasks);
            let args: Vec<_> = kill.iter().flat_map(|kill| ["--kill-at", kill]).collect();
            let ended = place.site.run(&args);
            if !ended.killed() && !ended.status.success() {
                return Err(format!("{tasks} tasks did not go on: {}", ended.said));
            }
            killed |= ended.killed();
        }
        self.check(&place).map(|()| killed)
    }

    /// The fault points of an uninterrupted run of two tasks, and of three that go on where two were killed.
    pub(crate) fn points(&self) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
        let place = self.place();
        let first = place.site.run(&["--list-points"]).succeeded().points();
        self.check(&place).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
        let place = self.place();
        let half = first.get("commit.after").map_or(1, |count| 1.max(count / 2));
        assert!(place.site.run(&["--kill-at", &format!("commit.after:{half}")]).killed());
        place.site.set("tasks.max", "3");
        let second = place.site.run(&["--list-points"]).succeeded().points();
        self.check(&place).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
        (first, second)
    }

    fn killed_at_points(&self) {
        let (points, later) = self.points();
        let around = [
            "layout.settle.before",
            "layout.settle.after",
            "layout.begin.after",
            "begin.after",
            "prepare.after",
            "sink.commit.after",
            "commit.after",
        ];
        let wanted = |point: &String| long() || around.contains(&point.as_str());
        assert!(points.contains_key("layout.begin.after"), "{points:?}");
        assert!(later.contains_key("layout.settle.after"), "{later:?}");
        let points: Vec<_> = points.into_iter().filter(|(point, _)| wanted(point)).collect();
        let later: Vec<_> = later.into_iter().filter(|(point, _)| wanted(point)).collect();
        let mut moments = Vec::new();
        for (i, (second, count)) in later.iter().enumerate() {
            // Each point once as the second moment, and each of the others at least once as the first.
            let (first, before) = &points[(i * 5 + 3) % points.len()];
            moments.push((format!("{first}:{}", 1.max(before / 2)), format!("{second}:{}", 1.max(count / 5))));
        }
        let killed = AtomicU32::new(0);
        for_all(moments.clone(), |(first, second)| {
            killed.fetch_add(u32::from(self.survives(first, second)?), Relaxed);
            Ok(())
        });
        let killed = killed.into_inner();
        assert!(killed as usize * 10 >= moments.len() * 9, "only {killed} of {} were killed", moments.len());
        self.report(&format!("killed at {killed} pairs of fault points"));
    }

    fn killed_at_random(&self, seed: u64) {
        let alone = self.place();
        let said = Kills::timed([&alone.site]).rounds(if long() { 50 } else { 4 }, seed, |kills, random| {
            let place = self.place();
            for tasks in ["2", "3"] {
                place.site.set("tasks.max", tasks);
                kills.kill(&place.site, random);
            }
            place.site.set("tasks.max", "1");
            let ended = place.site.run(&[]);
            if !ended.status.success() {
                return Err(format!("the restart failed: {}", ended.said));
            }
            self.check(&place)
        });
        self.report(&said);
    }

    fn report(&self, what: &str) {
        println!("{}: {what}; {} rows: 0 lost, 0 doubled", self.name, self.expected.len());
    }
}

pub(crate) fn to_kafka() -> Option<Case> {
    let kafka = Kafka::shared()?;
    Some(Case::new("Kafka to Kafka by 2, 3 and 1 tasks", kafka, Target::Topic(kafka)))
}

fn to_postgres() -> Option<Case> {
    static URL: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let kafka = Kafka::shared()?;
    let url = URL.get_or_init(|| postgres::shared().map(|server| server.database("split"))).as_deref()?;
    Some(Case::new("Kafka to Postgres by 2, 3 and 1 tasks", kafka, Target::Table(url)))
}

#[test]
fn kafka_to_kafka_by_changing_numbers_of_tasks_killed_at_fault_points() {
    let Some(case) = to_kafka() else { return };
    case.killed_at_points();
}

#[test]
fn kafka_to_kafka_by_changing_numbers_of_tasks_killed_at_random_moments() {
    let Some(case) = to_kafka() else { return };
    case.killed_at_random(31);
}

#[test]
fn kafka_to_postgres_by_changing_numbers_of_tasks_killed_at_fault_points() {
    let Some(case) = to_postgres() else { return };
    case.killed_at_points();
}

#[test]
fn kafka_to_postgres_by_changing_numbers_of_tasks_killed_at_random_moments() {
    let Some(case) = to_postgres() else { return };
    case.killed_at_random(32);
}

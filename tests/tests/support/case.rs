//! Pipelines with generated inputs and the output that they must have, computed without Levada.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use levada_services::kafka::Kafka;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tempfile::TempDir;

use super::output::{Bad, Output};
use super::process::Site;
use super::table::Table;
use super::topics;

/// A pipeline, its input, and what must come out.
pub(crate) struct Case {
    /// For messages.
    pub(crate) name: &'static str,
    /// The whole output's rows in any order; empty: not known beforehand.
    pub(crate) rows: Vec<String>,
    /// The rows that must become dead letters.
    pub(crate) bad: Vec<Bad>,
    any_order: bool,
    input: TempDir,
    config: Vec<(String, String)>,
    /// A database, when the rows go into a table.
    database: Option<String>,
}

impl Case {
    /// Text files → word count → JSON lines, complete mode: ten micro-batches, two a file.
    pub(crate) fn word_count() -> Self {
        let input = TempDir::new().unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for file in 0..5 {
            let mut text = String::new();
            for _ in 0..200 {
                let words: Vec<String> = (0..random.random_range(1..12)).map(|_| word(&mut random)).collect();
                writeln!(text, "{}", words.join(" ")).unwrap();
                words.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
            }
            fs::write(input.path().join(format!("{file}.txt")), text).unwrap();
        }
        let rows = counts.into_iter().map(|(word, count)| json!({"word": word, "count": count}).to_string()).collect();
        let config = config(&[
            ("name", "word-count"),
            ("source.format", "text"),
            ("transforms", "count"),
            ("transforms.count.type", "WordCount"),
            ("sink.format", "json"),
            ("output.mode", "complete"),
            ("batch.max.rows", "100"),
        ]);
        Self { name: "word count", rows, bad: Vec::new(), any_order: false, input, config, database: None }
    }

    /// JSON lines, some of them bad → filter → Parquet: ten micro-batches, two a file.
    pub(crate) fn filter() -> Self {
        let input = TempDir::new().unwrap();
        let mut random = SmallRng::seed_from_u64(2);
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        for file in 0..5 {
            let mut text = String::new();
            for line in 1..=200 {
                let id = file * 1000 + line;
                let (age, score) = (random.random_range(0..80), f64::from(random.random_range(0..1000)) / 8.0);
                let name = format!("person {id} é");
                let row = json!({"id": id, "name": name, "age": age, "score": score}).to_string();
                let raw = match id % 40 {
                    7 => row[..20].to_owned(),
                    17 => format!("[{id}]"),
                    27 => format!("word{id}"),
                    _ => {
                        if age >= 18 && score < 100.0 {
                            rows.push(row.clone());
                        }
                        row
                    }
                };
                if matches!(id % 40, 7 | 17 | 27) {
                    bad.push(Bad { file: format!("{file}.jsonl"), place: format!("line {line}"), raw: raw.clone() });
                }
                writeln!(text, "{raw}").unwrap();
            }
            fs::write(input.path().join(format!("{file}.jsonl")), text).unwrap();
        }
        let config = config(&[
            ("name", "adults"),
            ("source.format", "json"),
            ("source.schema", "id BIGINT, name STRING, age INT, score DOUBLE"),
            ("transforms", "adults"),
            ("transforms.adults.type", "Filter"),
            ("transforms.adults.condition", "age >= 18 AND score < 100"),
            ("sink.format", "parquet"),
            ("errors.tolerance", "all"),
            ("batch.max.rows", "100"),
        ]);
        Self { name: "filter", rows, bad, any_order: false, input, config, database: None }
    }

    /// A word count whose state outgrows a checkpoint segment, in update mode: the log rolls over.
    pub(crate) fn rolling() -> Self {
        let input = TempDir::new().unwrap();
        let mut random = SmallRng::seed_from_u64(3);
        for file in 0..10 {
            let mut text = String::new();
            for _ in 0..600 {
                let words: Vec<String> =
                    (0..10).map(|_| (0..60).map(|_| random.random_range('a'..='z')).collect()).collect();
                writeln!(text, "{} the", words.join(" ")).unwrap();
            }
            fs::write(input.path().join(format!("{file:02}.txt")), text).unwrap();
        }
        let config = config(&[
            ("name", "rolling"),
            ("source.format", "text"),
            ("transforms", "count"),
            ("transforms.count.type", "WordCount"),
            ("sink.format", "json"),
            ("output.mode", "update"),
        ]);
        Self { name: "rolling", rows: Vec::new(), bad: Vec::new(), any_order: false, input, config, database: None }
    }

    /// JSON lines with event times, mostly in order, some late → `transforms` → JSON lines, append mode.
    fn events(name: &'static str, transforms: &[(&str, &str)]) -> Self {
        let input = TempDir::new().unwrap();
        let mut random = SmallRng::seed_from_u64(4);
        for file in 0..8i64 {
            let mut text = String::new();
            for line in 0..150i64 {
                let late = if random.random_range(0..10) == 0 { random.random_range(0..90) } else { 0 };
                let at = 1_700_000_000 + file * 60 + line * 60 / 150 - late;
                let at = chrono::DateTime::from_timestamp(at, 0).unwrap().to_rfc3339();
                let (key, value) = (format!("k{}", random.random_range(0..25)), random.random_range(0..100));
                writeln!(text, "{}", json!({"at": at, "key": key, "value": value})).unwrap();
            }
            fs::write(input.path().join(format!("{file}.jsonl")), text).unwrap();
        }
        let mut all = config(&[
            ("name", "events"),
            ("source.format", "json"),
            ("source.schema", "at TIMESTAMP, key STRING, value INT"),
            ("sink.format", "json"),
            ("output.mode", "append"),
        ]);
        all.extend(config(transforms));
        Self { name, rows: Vec::new(), bad: Vec::new(), any_order: true, input, config: all, database: None }
    }

    /// Sliding windows, then windows of those windows.
    pub(crate) fn windows() -> Self {
        Self::events(
            "windows of windows",
            &[
                ("transforms", "slide,sum"),
                ("transforms.slide.type", "WindowedAggregate"),
                ("transforms.slide.time", "at"),
                ("transforms.slide.watermark", "30 seconds"),
                ("transforms.slide.window", "20 seconds"),
                ("transforms.slide.slide", "10 seconds"),
                ("transforms.slide.group.by", "key"),
                (
                    "transforms.slide.aggregates",
                    "count(*) AS n, sum(value) AS s, avg(value) AS a, max(value) AS m, collect_list(value) AS l",
                ),
                ("transforms.sum.type", "WindowedAggregate"),
                ("transforms.sum.time", "window"),
                ("transforms.sum.window", "1 minute"),
                ("transforms.sum.aggregates", "sum(n) AS n, count(*) AS groups, stddev(a) AS d"),
            ],
        )
    }

    /// Sessions, by SQL.
    pub(crate) fn sessions() -> Self {
        let query = "SELECT session_window, key, count(*) AS n, min(value) AS low FROM input WHERE value > 3 GROUP BY \
                     session(at, INTERVAL '7 seconds'), key";
        Self::events(
            "sessions",
            &[
                ("transforms", "sessions"),
                ("transforms.sessions.type", "Sql"),
                ("transforms.sessions.query", query),
                ("transforms.sessions.watermark", "20 seconds"),
            ],
        )
    }

    /// Duplicates dropped, those of a key within the watermark's delay.
    pub(crate) fn duplicates() -> Self {
        Self::events(
            "duplicates",
            &[
                ("transforms", "late,once"),
                ("transforms.late.type", "Watermark"),
                ("transforms.late.column", "at"),
                ("transforms.late.delay", "40 seconds"),
                ("transforms.once.type", "Deduplicate"),
                ("transforms.once.columns", "key,value"),
                ("transforms.once.within.watermark", "true"),
            ],
        )
    }

    /// A count without windows, in update mode: every batch gives out what it touched.
    pub(crate) fn updates() -> Self {
        Self::events(
            "updates",
            &[
                ("output.mode", "update"),
                ("transforms", "count"),
                ("transforms.count.type", "WindowedAggregate"),
                ("transforms.count.group.by", "key"),
                ("transforms.count.aggregates", "count(*) AS n, min(value) AS low, max_by(at, value) AS top"),
            ],
        )
    }

    /// Numbers out of a library, into a table of a SQLite file by another: ten micro-batches.
    pub(crate) fn numbers(name: &'static str, source: &[(&str, &str)], row: impl Fn(u32) -> serde_json::Value) -> Self {
        let mut all =
            config(&[("name", "numbers"), ("sink.class", "Sqlite"), ("sink.table", "t"), ("batch.max.rows", "100")]);
        all.extend(config(source));
        let rows = (0..1000).map(|n| row(n).to_string()).collect();
        let input = TempDir::new().unwrap();
        Self { name, rows, bad: Vec::new(), any_order: false, input, config: all, database: None }
    }

    /// The same rows from a topic of three partitions: ten micro-batches, each with rows of all of them.
    pub(crate) fn out_of_topic(mut self, name: &'static str, kafka: &Kafka) -> Self {
        self.name = name;
        let topic = topics::unique("input");
        let mut files: Vec<_> = fs::read_dir(self.input.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let text: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let lines: Vec<_> = text.iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
        topics::write(kafka, &topic, 3, &lines);
        for bad in &mut self.bad {
            let at = lines.iter().position(|line| *line == bad.raw).unwrap();
            (bad.file, bad.place) = (format!("{topic}-{}", at % 3), format!("offset {}", at / 3));
        }
        // How the partitions' rows come in between one another differs from run to run.
        self.any_order = true;
        let schema = self.config.iter().find(|(key, _)| key == "source.schema").map(|(_, schema)| schema.clone());
        self.config.retain(|(key, _)| !key.starts_with("source.") && key != "batch.max.rows");
        self.with("source.class", "Kafka")
            .with("source.bootstrap.servers", kafka.bootstrap())
            .with("source.topics", &topic)
            .with("source.value.converter", "json")
            .with("source.value.converter.schema", &schema.unwrap())
            .with("source.metadata.columns", "")
            .with("source.max.offsets.per.trigger", "100")
    }

    /// The same rows into a table of `database`, which is a schema of its own for each site.
    pub(crate) fn into_postgres(mut self, name: &'static str, database: &str) -> Self {
        self.name = name;
        self.database = Some(database.to_owned());
        // The server shows a float without a fraction as `12`.
        self.rows.iter_mut().for_each(|row| *row = row.replace(".0}", "}"));
        self.with("sink.class", "PostgresSink").with("sink.connection.url", database).with("sink.auto.create", "true")
    }

    /// Sets a key of the pipeline.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.config.retain(|(k, _)| k != key);
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A new place to run the pipeline in: nothing read, nothing written.
    pub(crate) fn site(&self) -> Site {
        self.site_in(TempDir::new().unwrap(), |_| {})
    }

    /// The same in a folder of the caller's, with changes to the configuration.
    pub(crate) fn site_in(&self, root: TempDir, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Site {
        let text = |path: PathBuf| path.display().to_string();
        let mut config: BTreeMap<String, String> = self.config.iter().cloned().collect();
        for (key, value) in [
            ("sink.class", "Files".to_owned()),
            ("errors.deadletterqueue.path", text(root.path().join("dead"))),
            ("trigger", "available-now".to_owned()),
            ("restart.delay", "5 ms".to_owned()),
        ] {
            config.entry(key.to_owned()).or_insert(value);
        }
        if !config.contains_key("source.class") {
            for (key, value) in [
                ("source.class", "Files".to_owned()),
                ("source.path", text(self.input.path().to_owned())),
                ("source.max.files.per.trigger", "1".to_owned()),
            ] {
                config.insert(key.to_owned(), value);
            }
        }
        let table = self.database.as_ref().map(|database| Table::new(database));
        match &table {
            Some(table) => config.insert("sink.table".to_owned(), table.name()),
            None => config.insert("sink.path".to_owned(), text(root.path().join("out"))),
        };
        if table.is_some() {
            config.remove("sink.format");
        }
        change(&mut config);
        Site::new(root, &config, table)
    }

    /// Runs the pipeline without faults and checks its output against what was computed without Levada.
    pub(crate) fn uninterrupted(&self) -> Output {
        let site = self.site();
        site.run(&[]).succeeded();
        let output = Output { any_order: self.any_order, ..site.output() };
        if !self.rows.is_empty() {
            output.same_rows(&self.rows).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
        }
        output.same_bad_rows(&self.bad).unwrap_or_else(|problem| panic!("{}: {problem}", self.name));
        output
    }
}

fn config(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// One of two thousand words, Zipf-distributed: low numbers are frequent.
fn word(random: &mut SmallRng) -> String {
    let x: f64 = random.random();
    format!("w{}", (x * 2000f64.ln()).exp() as u64)
}

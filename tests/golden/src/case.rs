//! A case folder: what is to be run, and what Spark gave.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The name of the file that makes a folder a case.
const CASE_FILE: &str = "case.json";

/// What is to be run: `case.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    /// The streaming sources, by name.
    pub(crate) sources: BTreeMap<String, Source>,
    /// The static tables, by name.
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, Value>,
    /// Named streams between the sources and the query.
    #[serde(default)]
    pub(crate) streams: BTreeMap<String, Query>,
    /// The query of every run that has none of its own.
    pub(crate) query: Query,
    /// Spark's output mode.
    pub(crate) output_mode: String,
    /// Whether overflow, bad casts and the like are errors.
    #[serde(default = "yes")]
    pub(crate) ansi: bool,
    /// The session's time zone.
    #[serde(default = "utc")]
    pub(crate) timezone: String,
    /// How several watermarks become one.
    #[serde(default)]
    pub(crate) watermark_policy: Option<String>,
    /// The starts of the query, one after the other on one checkpoint.
    pub(crate) runs: Vec<Run>,
    /// How often the sink takes a batch and then fails, by batch.
    #[serde(default)]
    pub(crate) sink_failures: BTreeMap<u64, u32>,
    /// Whether only the end is judged.
    #[serde(default)]
    pub(crate) final_only: bool,
}

/// A streaming source.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Source {
    /// json, csv or text.
    pub(crate) format: String,
    /// The input folder, relative to the case.
    pub(crate) path: PathBuf,
    /// Names and Spark types; none for text.
    #[serde(default)]
    pub(crate) schema: Option<Vec<(String, String)>>,
    /// Spark's options.
    #[serde(default)]
    pub(crate) options: Map<String, Value>,
    /// How many files a batch takes.
    #[serde(default)]
    pub(crate) max_files_per_trigger: Option<u64>,
}

/// A stream and what is done with it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Query {
    /// The source or stream.
    pub(crate) from: String,
    /// The operators, in order.
    #[serde(default)]
    pub(crate) ops: Vec<Op>,
}

/// An operator.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Op {
    /// Its name.
    pub(crate) op: String,
    /// Everything else.
    #[serde(flatten)]
    pub(crate) args: Map<String, Value>,
}

/// One start of the query.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Run {
    /// How files come.
    #[serde(flatten)]
    pub(crate) drive: Drive,
    /// A query other than the case's.
    #[serde(default)]
    pub(crate) query: Option<Query>,
}

/// How a run's files come.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "drive", rename_all = "kebab-case")]
pub(crate) enum Drive {
    /// All of them are there before the start; the query ends by itself.
    AvailableNow {
        /// The files, oldest first.
        #[serde(default)]
        files: Vec<PathBuf>,
    },
    /// The query keeps running; the files of a step appear together once it is idle.
    Step {
        /// The files of each step, oldest first.
        #[serde(default)]
        steps: Vec<Vec<PathBuf>>,
    },
}

/// What Spark gave: the folder `expected`.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// What each run did.
    pub(crate) runs: Vec<ExpectedRun>,
    /// The rows of each batch.
    pub(crate) batches: BTreeMap<u64, Vec<String>>,
    /// The rows of failed attempts, by batch and attempt.
    pub(crate) attempts: BTreeMap<(u64, usize), Vec<String>>,
    /// The rows at the end.
    pub(crate) last: Option<Vec<String>>,
    /// Names and Spark types.
    pub(crate) schema: Option<Vec<(String, String)>>,
    /// The counters of each batch.
    pub(crate) progress: BTreeMap<u64, ExpectedProgress>,
}

/// What one run did: a line of `runs.jsonl`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExpectedRun {
    /// The batches that the sink was called with.
    pub(crate) batches: Vec<u64>,
    /// How the run ended, when it did not end well.
    #[serde(default)]
    pub(crate) error: Option<ExpectedError>,
}

/// How a run failed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ExpectedError {
    /// Whether it was refused or failed while it ran.
    pub(crate) phase: Phase,
    /// The failed batch.
    #[serde(default)]
    pub(crate) batch: Option<u64>,
    /// Spark's error condition.
    #[serde(default)]
    pub(crate) condition: Option<String>,
}

/// When a run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Before the first batch.
    Start,
    /// In a batch.
    Run,
}

/// The counters of a batch: a line of `progress.jsonl`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExpectedProgress {
    batch_id: u64,
    /// Rows read.
    pub(crate) num_input_rows: u64,
    /// The watermark that the batch used.
    #[serde(default)]
    pub(crate) watermark_used: Option<String>,
    /// The stateful operators, the root first.
    #[serde(default)]
    pub(crate) state_operators: Vec<ExpectedState>,
}

/// The counters of a stateful operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExpectedState {
    pub(crate) num_rows_total: u64,
    pub(crate) num_rows_updated: u64,
    pub(crate) num_rows_removed: u64,
    pub(crate) num_rows_dropped_by_watermark: u64,
}

fn yes() -> bool {
    true
}

fn utc() -> String {
    "UTC".to_owned()
}

/// The case folders below `folder`, in the order of their paths.
pub(crate) fn find(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    if folder.join(CASE_FILE).is_file() {
        found.push(folder.to_owned());
        return Ok(found);
    }
    for path in entries(folder)? {
        if path.is_dir() {
            found.extend(find(&path)?);
        }
    }
    Ok(found)
}

impl Case {
    /// Reads the `case.json` of `folder`.
    pub(crate) fn load(folder: &Path) -> Result<Self, String> {
        let path = folder.join(CASE_FILE);
        serde_json::from_str(&read(&path)?).map_err(|error| format!("{CASE_FILE}: {error}"))
    }

    /// All operators of the case.
    pub(crate) fn ops(&self) -> impl Iterator<Item = &Op> {
        let own = self.runs.iter().filter_map(|run| run.query.as_ref());
        self.streams.values().chain([&self.query]).chain(own).flat_map(|query| &query.ops)
    }
}

impl Expected {
    /// Reads the folder `expected` of the case in `folder`.
    pub(crate) fn load(folder: &Path) -> Result<Self, String> {
        let folder = folder.join("expected");
        let mut expected = Self { runs: json_lines(&folder.join("runs.jsonl"))?, ..Self::default() };
        for path in entries(&folder)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name {
                "runs.jsonl" => {}
                "final.jsonl" => expected.last = Some(lines(&path)?),
                "schema.json" => {
                    let schema = serde_json::from_str(&read(&path)?);
                    expected.schema = Some(schema.map_err(|error| format!("expected/{name}: {error}"))?);
                }
                "progress.jsonl" => {
                    let lines: Vec<ExpectedProgress> = json_lines(&path)?;
                    expected.progress = lines.into_iter().map(|line| (line.batch_id, line)).collect();
                }
                _ => match numbers(name) {
                    Some((batch, None)) => {
                        expected.batches.insert(batch, lines(&path)?);
                    }
                    Some((batch, Some(attempt))) => {
                        expected.attempts.insert((batch, attempt), lines(&path)?);
                    }
                    None => return Err(format!("expected/{name}: what is it?")),
                },
            }
        }
        Ok(expected)
    }
}

/// The numbers in `batch-N.jsonl` and `batch-N.attempt-K.jsonl`.
fn numbers(name: &str) -> Option<(u64, Option<usize>)> {
    let middle = name.strip_prefix("batch-")?.strip_suffix(".jsonl")?;
    match middle.split_once(".attempt-") {
        Some((batch, attempt)) => Some((batch.parse().ok()?, Some(attempt.parse().ok()?))),
        None => Some((middle.parse().ok()?, None)),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The rows of a file. Only `\n` ends a line: JSON may hold the other line ends of Unicode as they are.
fn lines(path: &Path) -> Result<Vec<String>, String> {
    Ok(read(path)?.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn json_lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>, String> {
    let parse = |line: &String| serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()));
    lines(path)?.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_tell_batch_and_attempt() {
        assert_eq!(numbers("batch-12.jsonl"), Some((12, None)));
        assert_eq!(numbers("batch-3.attempt-0.jsonl"), Some((3, Some(0))));
        assert_eq!(numbers("batch-x.jsonl"), None);
    }

    #[test]
    fn a_case_is_read() {
        let text = r#"{"sources":{"e":{"format":"json","path":"input","schema":[["a","int"]]}},
            "query":{"from":"e","ops":[{"op":"filter","where":"a > 1"}]},"output_mode":"append",
            "runs":[{"drive":"available-now","files":["input/0.json"]},{"drive":"step","steps":[["input/1.json"]]}],
            "sink_failures":{"1":2}}"#;
        let case: Case = serde_json::from_str(text).unwrap();
        assert!(case.ansi && case.timezone == "UTC" && case.sink_failures[&1] == 2);
        assert_eq!(case.ops().map(|op| op.op.as_str()).collect::<Vec<_>>(), ["filter"]);
        assert!(matches!(&case.runs[1].drive, Drive::Step { steps } if steps.len() == 1));
    }
}

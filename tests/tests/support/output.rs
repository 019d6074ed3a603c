//! What a pipeline has written, and how it differs from what it should have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// A row that must become a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct Bad {
    pub(crate) file: String,
    /// Where in the file, or the partition.
    pub(crate) place: String,
    pub(crate) raw: String,
}

/// A dead letter: where, why, what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Letter {
    pub(crate) position: String,
    pub(crate) stage: String,
    pub(crate) reason: String,
    pub(crate) raw: String,
}

/// The output folder's visible files as rows, in the order of the files' names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    /// One JSON object a row. Of JSON files these are the bytes between the line ends.
    pub(crate) rows: Vec<String>,
    /// Dead letters, sorted.
    pub(crate) letters: Vec<Letter>,
    /// Hidden files: what is staged must be gone at the end.
    pub(crate) hidden: BTreeSet<String>,
    /// Rows may come in any order: groups come out in the order in which the state holds them.
    pub(crate) any_order: bool,
}

impl Output {
    /// Reads the output folder and the folder of the dead letters.
    pub(crate) fn read(folder: &Path, dead: &Path) -> Self {
        let mut output = Self::default();
        let mut files = BTreeMap::new();
        walk(folder, folder, &mut files);
        for (name, path) in files {
            let hidden = name.split('/').any(|part| part.starts_with(['.', '_']));
            match path.extension().and_then(|e| e.to_str()) {
                _ if hidden => _ = output.hidden.insert(name),
                Some("parquet") => output.rows.extend(parquet_rows(&path)),
                Some("json" | "jsonl") => {
                    let text = fs::read_to_string(&path).unwrap();
                    assert!(text.is_empty() || text.ends_with('\n'), "{name} does not end with a line end");
                    output.rows.extend(text.lines().map(str::to_owned));
                }
                _ => panic!("unexpected file {name} in the output"),
            }
        }
        let mut files = BTreeMap::new();
        walk(dead, dead, &mut files);
        for path in files.values().filter(|path| path.extension().is_some_and(|e| e == "jsonl")) {
            output.letters.extend(fs::read_to_string(path).unwrap().lines().map(letter));
        }
        output.letters.sort();
        output
    }

    /// Compares with the output of the uninterrupted run: every row in its place, every dead letter once.
    pub(crate) fn same_as(&self, expected: &Self) -> Result<(), String> {
        self.same_rows(&expected.rows)?;
        if self.letters != expected.letters {
            return Err(difference("dead letters", &self.letters, &expected.letters));
        }
        if self.hidden != expected.hidden {
            return Err(format!("hidden files {:?} instead of {:?}", self.hidden, expected.hidden));
        }
        if expected.any_order {
            return Ok(());
        }
        match self.rows.iter().zip(&expected.rows).position(|(found, expected)| found != expected) {
            None => Ok(()),
            Some(at) => Err(format!("row {at} is {} instead of {}", self.rows[at], expected.rows[at])),
        }
    }

    /// Compares the rows without regard to their order.
    pub(crate) fn same_rows(&self, expected: &[String]) -> Result<(), String> {
        let sorted = |rows: &[String]| {
            let mut rows = rows.to_vec();
            rows.sort();
            rows
        };
        if sorted(&self.rows) == sorted(expected) { Ok(()) } else { Err(difference("rows", &self.rows, expected)) }
    }

    /// Compares the dead letters with the rows that were made bad.
    pub(crate) fn same_bad_rows(&self, expected: &[Bad]) -> Result<(), String> {
        if self.letters.len() != expected.len() {
            return Err(format!("{} dead letters instead of {}", self.letters.len(), expected.len()));
        }
        for bad in expected {
            let Some(letter) = self.letters.iter().find(|letter| letter.raw == bad.raw) else {
                return Err(format!("no dead letter for {bad:?}"));
            };
            let placed = letter.position.contains(&bad.file) && letter.position.ends_with(&bad.place);
            if !placed || letter.reason.is_empty() || letter.stage != "source" {
                return Err(format!("{letter:?} does not tell of {bad:?}"));
            }
        }
        Ok(())
    }

    /// A number that differs when a byte differs (FNV-1a).
    pub(crate) fn checksum(&self) -> u64 {
        let bytes = self.rows.iter().flat_map(|row| row.bytes().chain([b'\n']));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// Lost and doubled elements, with the first of each.
fn difference<T: Ord + std::fmt::Debug>(what: &str, found: &[T], expected: &[T]) -> String {
    let mut balance: BTreeMap<&T, i64> = BTreeMap::new();
    expected.iter().for_each(|row| *balance.entry(row).or_default() -= 1);
    found.iter().for_each(|row| *balance.entry(row).or_default() += 1);
    let lost: Vec<_> = balance.iter().filter(|(_, n)| **n < 0).collect();
    let doubled: Vec<_> = balance.iter().filter(|(_, n)| **n > 0).collect();
    format!(
        "{} {what} instead of {}: {} lost, first {:?}; {} doubled or wrong, first {:?}",
        found.len(),
        expected.len(),
        lost.iter().map(|(_, n)| -**n).sum::<i64>(),
        lost.first(),
        doubled.iter().map(|(_, n)| **n).sum::<i64>(),
        doubled.first(),
    )
}

fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().display().to_string(), path);
        }
    }
}

fn parquet_rows(path: &Path) -> Vec<String> {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

fn letter(line: &str) -> Letter {
    let value: Value = serde_json::from_str(line).unwrap();
    let field = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
    // A tombstone has no value.
    let raw = if value["raw"].is_null() { String::new() } else { field("raw") };
    Letter { position: field("position"), stage: field("stage"), reason: field("reason"), raw }
}

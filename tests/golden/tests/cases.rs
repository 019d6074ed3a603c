//! The runner over the recorded cases, and over cases that must fail.

// The helpers of a test may stop it, too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn run(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let runner = env!("CARGO_BIN_EXE_levada-golden");
    let Output { status, stdout, stderr } = Command::new(runner).arg("spark").arg(folder).args(more).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// A case that counts words, in a folder of its own. `change` sees each of its files.
fn word_count(drive: &str, change: impl Fn(&str, String) -> String) -> TempDir {
    let folder = TempDir::new().unwrap();
    let case = format!(
        r#"{{"sources":{{"e":{{"format":"text","path":"input","schema":null,"max_files_per_trigger":1}}}},
        "query":{{"from":"e","ops":[{{"op":"explode","array":"split(value, ' ')","as":"word"}},
            {{"op":"aggregate","keys":["word"],"aggs":["count(*) AS count"]}}]}},
        "output_mode":"update","runs":[{drive}]}}"#
    );
    let row = |word: &str, count: u32| format!("{{\"word\":\"{word}\",\"count\":{count}}}\n");
    for (name, text) in [
        ("case.json", case),
        ("input/0.txt", "a b\n".to_owned()),
        ("input/1.txt", "a\na\n".to_owned()),
        ("input/2.txt", "c\n".to_owned()),
        ("expected/schema.json", r#"[["word","string"],["count","bigint"]]"#.to_owned()),
        ("expected/runs.jsonl", "{\"run\":0,\"batches\":[0,1,2],\"error\":null}\n".to_owned()),
        ("expected/batch-0.jsonl", row("a", 1) + &row("b", 1)),
        ("expected/batch-1.jsonl", row("a", 3)),
        ("expected/batch-2.jsonl", row("c", 1)),
    ] {
        let path = folder.path().join("words").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, change(name, text)).unwrap();
    }
    folder
}

const AVAILABLE_NOW: &str = r#"{"drive":"available-now","files":["input/0.txt","input/1.txt","input/2.txt"]}"#;

#[test]
fn recorded_cases_pass() {
    let (code, output) = run(&recorded(), &[]);
    let last = output.lines().last().unwrap_or_default();
    assert_eq!(code, Some(0), "{output}");
    assert!(last.ends_with(" passed, 0 failed, 0 skipped"), "{output}");
    assert!(output.lines().count() > 15, "{output}");
}

#[test]
fn a_query_that_keeps_running_is_given_its_files_in_steps() {
    let folder =
        word_count(r#"{"drive":"step","steps":[["input/0.txt","input/1.txt"],["input/2.txt"]]}"#, |_, text| text);
    let (code, output) = run(folder.path(), &[]);
    assert_eq!((code, output.as_str()), (Some(0), "pass words\n1 passed, 0 failed, 0 skipped\n"));
}

#[test]
fn a_sink_that_fails_is_given_the_batch_again() {
    let runs = r#"{"drive":"available-now","files":["input/0.txt","input/1.txt"]},
        {"drive":"available-now","files":["input/2.txt"]}"#;
    let folder = word_count(runs, |name, text| match name {
        "case.json" => text.replacen('{', r#"{"sink_failures":{"1":1},"#, 1),
        "expected/runs.jsonl" => {
            "{\"batches\":[0,1],\"error\":{\"phase\":\"run\",\"batch\":1}}\n{\"batches\":[1,2]}\n".to_owned()
        }
        _ => text,
    });
    let attempt = folder.path().join("words/expected/batch-1.attempt-0.jsonl");
    fs::copy(folder.path().join("words/expected/batch-1.jsonl"), attempt).unwrap();
    let (code, output) = run(folder.path(), &[]);
    assert_eq!(code, Some(0), "{output}");
}

#[test]
fn what_differs_is_a_failure() {
    let changes = [
        ("expected/batch-1.jsonl", r#""count":3"#, r#""count":4"#, "batch 1: expected "),
        ("expected/schema.json", "bigint", "int", "schema: expected (word string, count int), got "),
        ("expected/runs.jsonl", "[0,1,2]", "[0,1]", "run 0: expected batches [0, 1], got [0, 1, 2]"),
        ("expected/runs.jsonl", "null", r#"{"phase":"run","batch":2}"#, "run 0: expected a failure in batch 2"),
        ("case.json", "update", "append", "run 0: was refused: "),
    ];
    for (file, from, to, difference) in changes {
        let folder = word_count(AVAILABLE_NOW, |name, text| if name == file { text.replace(from, to) } else { text });
        let (code, output) = run(folder.path(), &[]);
        assert_eq!(code, Some(1), "{file}: {output}");
        assert!(output.starts_with(&format!("fail words: {difference}")), "{file}: {output}");
        assert!(output.ends_with("0 passed, 1 failed, 0 skipped\n"), "{file}: {output}");
    }
}

#[test]
fn what_cannot_be_expressed_is_skipped_with_its_name() {
    let folder = word_count(AVAILABLE_NOW, |_, text| text.replace("explode", "join"));
    let (code, output) = run(folder.path(), &[]);
    assert_eq!((code, output.as_str()), (Some(0), "skip words: operator join\n0 passed, 0 failed, 1 skipped\n"));
}

#[test]
fn nothing_to_run_is_an_error_of_its_own() {
    let empty = TempDir::new().unwrap();
    for (folder, more) in [(empty.path(), vec![]), (&recorded(), vec!["--filter", "no such case"])] {
        let (code, output) = run(folder, &more);
        assert_eq!(code, Some(2), "{output}");
    }
}

//! The runner over recorded tree models, and over cases that must fail.

// The helpers of a test may stop it, too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("trees-cases")
}

fn run(folder: &Path) -> (Option<i32>, String) {
    let runner = env!("CARGO_BIN_EXE_levada-golden");
    let Output { status, stdout, stderr } = Command::new(runner).arg("trees").arg(folder).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn recorded_cases_pass() {
    let (code, output) = run(&recorded());
    assert_eq!(code, Some(0), "{output}");
    assert!(output.ends_with("14 passed, 0 failed, 0 skipped\n"), "{output}");
}

/// The case `name` with one file changed: the runner's verdict.
fn changed(name: &str, file: &str, change: impl Fn(String) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let from = recorded().join(name);
    for entry in fs::read_dir(&from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(file);
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    let (code, output) = run(folder.path());
    assert_eq!(code, Some(1), "{output}");
    output
}

#[test]
fn another_prediction_fails() {
    let flip = |text: String| text.replacen("\n0,0,", "\n0,1,", 1).replacen("\n1,0,", "\n1,1,", 1);
    let output = changed("lgb-binary-zero-as-missing", "expected.csv", flip);
    assert!(output.contains("row 0, prediction: 0, expected 1"), "{output}");
}

#[test]
fn another_number_fails_beyond_the_tolerance_only() {
    let nudge = |by: f64| {
        move |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let mut fields: Vec<String> = lines[1].split(',').map(str::to_owned).collect();
            fields[1] = (fields[1].parse::<f64>().unwrap() * by).to_string();
            lines[1] = fields.join(",");
            lines.join("\n")
        }
    };
    let output = changed("lgb-categorical-regression", "expected.csv", nudge(1.0 + 1e-11));
    assert!(output.contains("row 0, prediction"), "{output}");
}

#[test]
fn a_row_too_many_or_too_few_fails() {
    let less = |text: String| text.lines().take(10).collect::<Vec<_>>().join("\n");
    let output = changed("lgb-categorical-regression", "expected.csv", less);
    assert!(output.contains("expected.csv has 9 rows"), "{output}");
    let output = changed("lgb-categorical-regression", "model.txt", |text| text[..text.len() / 2].to_owned());
    assert!(output.contains("the file is truncated"), "{output}");
}

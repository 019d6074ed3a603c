//! `levada model`, as a person uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn levada(folder: &TempDir, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_levada")).current_dir(folder.path()).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn said(folder: &TempDir, args: &[&str]) -> String {
    let done = levada(folder, args);
    assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
    text(&done.stdout)
}

fn refused(folder: &TempDir, args: &[&str], says: &str) {
    let done = levada(folder, args);
    let error = text(&done.stderr);
    assert!(!done.status.success() && error.contains(says), "{args:?}: {error}");
}

/// The irises, in a folder of their own.
fn flowers() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = ["1.csv", "2.csv"].map(|name| std::fs::read_to_string(input().join(name)).unwrap()).concat();
    std::fs::write(folder.path().join("iris.csv"), text).unwrap();
    folder
}

fn input() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/input")
}

#[test]
fn a_tree_is_trained_shown_and_used() {
    let folder = flowers();
    let report = said(&folder, &["model", "train", "iris.csv", "--label", "_c4", "--out", "iris"]);
    for part in ["saved iris (", "accuracy on the training rows 1.0000", "Iris-setosa", "importances", "_c2"] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    let shown = said(&folder, &["model", "inspect", "iris"]);
    assert!(shown.contains("DecisionTreeClassificationModel") && shown.contains("tree 0"), "{shown}");
    assert!(said(&folder, &["model", "inspect", "iris", "--svg"]).starts_with("<svg"));
    let scored = said(&folder, &["model", "score", "iris", "iris.csv", "--probability"]);
    let mut lines = scored.lines();
    let names = "_c0,_c1,_c2,_c3,_c4,prediction,label,probability_0,probability_1,probability_2";
    assert_eq!(lines.next().unwrap(), names);
    let right = lines.clone().filter(|line| line.split(',').nth(4) == line.split(',').nth(6)).count();
    assert!(lines.count() == 150 && right > 145, "{right} are right");
    refused(&folder, &["model", "train", "iris.csv", "--label", "_c4", "--out", "iris"], "it is there already");
    refused(&folder, &["model", "train", "iris.csv", "--label", "_c9", "--out", "x"], "there is no column '_c9'");
    refused(&folder, &["model", "train", "iris.csv", "--label", "_c3", "--out", "x"], "'Iris-setosa' is no number");
}

#[test]
fn forests_and_regressions_are_trained_with_sparks_parameters_on_parquet() {
    let folder = flowers();
    let pipeline = format!(
        "name: convert\nsource: {{class: Files, path: {}, format: csv, \
         schema: \"a DOUBLE, b DOUBLE, c FLOAT, d DOUBLE, species STRING\"}}\n\
         sink: {{class: Files, path: rows, format: parquet}}\ntrigger: available-now\n",
        input().display()
    );
    std::fs::write(folder.path().join("convert.yaml"), pipeline).unwrap();
    said(&folder, &["run", "convert.yaml"]);
    let train = ["model", "train", "rows", "--label"];
    let forest = ["species", "--out", "forest", "--numTrees", "12", "--maxDepth", "4", "--seed", "3"];
    let report = said(&folder, &[&train[..], &forest].concat());
    assert!(report.contains("saved forest (12 trees, ") && report.contains("accuracy"), "{report}");
    let more =
        ["--impurity", "entropy", "--featureSubsetStrategy", "0.5", "--subsamplingRate", "0.8", "--bootstrap=false"];
    said(&folder, &[&train[..], &["species", "--out", "other", "--numTrees", "3"], &more].concat());
    let numbers = ["d", "--features", "a,b,c", "--out", "width", "--regression", "--minInstancesPerNode", "3"];
    let report = said(&folder, &[&train[..], &numbers].concat());
    assert!(report.contains("RMSE 0.") && report.contains("R² 0.9"), "{report}");
    let scored = said(&folder, &["model", "score", "forest", "rows"]);
    assert!(scored.starts_with("a,b,c,d,species,prediction,label\n") && scored.lines().count() == 151, "{scored}");
    let scored = said(&folder, &["model", "score", "width", "rows"]);
    assert!(scored.starts_with("a,b,c,d,species,prediction\n"), "{scored}");
    let wrong = ["species", "--features", "a", "--out", "x"];
    refused(&folder, &[&train[..], &wrong, &["--maxBins", "1"]].concat(), "maxBins must be");
    refused(&folder, &[&train[..], &wrong, &["--regression"]].concat(), "is no number");
    let mixed = ["d", "--features", "a", "--out", "x", "--regression", "--impurity", "gini"];
    refused(&folder, &[&train[..], &mixed].concat(), "the impurity of numbers is variance");
    assert!(!folder.path().join("x").exists());
}

//! Real Spark loads what we trained, and predicts the same.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use levada_transform_model::train::{Impurity, Parameters, train};
use levada_transform_model::{Ask, Scorer, load};

use crate::training::iris;

/// A Python with PySpark: `LEVADA_PYSPARK`, or the one on the path.
fn python() -> Option<String> {
    let python = std::env::var("LEVADA_PYSPARK").unwrap_or_else(|_| "python3".into());
    let asked = Command::new(&python).args(["-c", "import pyspark.ml"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success()).then_some(python)
}

#[test]
#[allow(clippy::print_stderr, reason = "who runs the tests is told that this one did not")]
fn spark_loads_a_trained_model_and_predicts_the_same() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no PySpark: set LEVADA_PYSPARK to a Python that has it, with numpy");
        return;
    };
    let (columns, labels) = iris();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.csv");
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/input");
    let text = ["1.csv", "2.csv"].map(|name| std::fs::read_to_string(input.join(name)).unwrap()).concat();
    std::fs::write(&rows, text).unwrap();
    let impurity = Impurity::Entropy;
    let trained = train(&columns, &labels, &Parameters { impurity, max_depth: 8, ..Parameters::default() }).unwrap();
    let path = folder.path().join("model");
    trained.save(&path, &(0..4).map(|at| format!("_c{at}")).collect::<Vec<_>>(), "_c4").unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spark.py");
    let spark = Command::new(python).arg(script).arg(&path).arg(&rows).output().unwrap();
    assert!(spark.status.success(), "{}", String::from_utf8_lossy(&spark.stderr));
    let answers: Vec<serde_json::Value> =
        String::from_utf8(spark.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let scorer = Scorer::new(load(&path).unwrap());
    let columns: Vec<ArrayRef> =
        columns.into_iter().map(|column| Arc::new(Float64Array::from(column)) as ArrayRef).collect();
    let scores = scorer.score(&columns, 150, &Ask { raw: true, ..Ask::default() }).unwrap().scores;
    assert_eq!(answers.len(), 150);
    for (row, answer) in answers.iter().enumerate() {
        let prediction = scores.prediction[row];
        assert_eq!(answer["prediction"], prediction);
        assert_eq!(answer["label"], trained.labels[prediction as usize]);
        for class in 0..3 {
            assert_eq!(answer["raw"][class], scores.raw[row * 3 + class]);
            assert_eq!(answer["probability"][class], scores.probability[row * 3 + class]);
        }
    }
}

//! Real Spark loads what we trained, and predicts the same.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use levada_transform_model::{Ask, Scorer, load};

use crate::training::{kinds, trained};

/// A Python with PySpark: `LEVADA_PYSPARK`, or the one on the path.
fn python() -> Option<String> {
    let python = std::env::var("LEVADA_PYSPARK").unwrap_or_else(|_| "python3".into());
    let asked = Command::new(&python).args(["-c", "import pyspark.ml"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success()).then_some(python)
}

/// A number in text.
fn exact(number: &serde_json::Value) -> f64 {
    number.as_str().unwrap().parse().unwrap()
}

#[test]
#[allow(clippy::print_stderr, reason = "who runs the tests is told that this one did not")]
fn spark_loads_trained_models_and_predicts_the_same() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no PySpark: set LEVADA_PYSPARK to a Python that has it, with numpy");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.csv");
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/input");
    let text = ["1.csv", "2.csv"].map(|name| std::fs::read_to_string(input.join(name)).unwrap()).concat();
    std::fs::write(&rows, text).unwrap();
    let models: Vec<_> = kinds().into_iter().map(trained).collect();
    let path = |number: usize| folder.path().join(format!("model-{number}"));
    for (number, (trained, _, names)) in models.iter().enumerate() {
        trained.save(&path(number), names, "_c4").unwrap();
    }

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spark.py");
    let mut spark = Command::new(python);
    spark.arg(script).arg(&rows).args((0..models.len()).map(path));
    let spark = spark.output().unwrap();
    assert!(spark.status.success(), "{}", String::from_utf8_lossy(&spark.stderr));
    let answers: Vec<serde_json::Value> =
        String::from_utf8(spark.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 150 * models.len());

    for (number, (trained, columns, _)) in models.iter().enumerate() {
        let scorer = Scorer::new(load(&path(number)).unwrap());
        let columns: Vec<ArrayRef> =
            columns.iter().map(|column| Arc::new(Float64Array::from(column.clone())) as ArrayRef).collect();
        let ask = Ask { raw: true, probability: true, ..Ask::default() };
        let scores = scorer.score(&columns, 150, &ask).unwrap().scores;
        let of_model = answers.iter().filter(|answer| answer["model"] == number);
        for (row, answer) in of_model.enumerate() {
            let prediction = scores.prediction[row];
            assert_eq!(exact(&answer["prediction"]), prediction, "model {number}, row {row}");
            let Some(labels) = &trained.labels else { continue };
            assert_eq!(answer["label"], labels[prediction as usize]);
            for class in 0..3 {
                assert_eq!(exact(&answer["raw"][class]), scores.raw[row * 3 + class]);
                assert_eq!(exact(&answer["probability"][class]), scores.probability[row * 3 + class]);
            }
        }
    }
}

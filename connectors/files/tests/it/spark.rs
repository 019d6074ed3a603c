//! The options of CSV mean what they mean in Spark: `data/options.jsonl` is recorded from Spark 4.1.4 by `data/record.py`.

use std::path::Path;

use arrow::array::{Array, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use levada_connector_api::*;
use levada_formats::ddl::{parse_schema, to_ddl};
use serde_json::Value;

use crate::source::{make, opened};

/// Spark's option as ours.
fn key(option: &str) -> &str {
    match option {
        "sep" => "separator",
        "nullValue" => "null.value",
        "emptyValue" => "empty.value",
        "nanValue" => "nan.value",
        "positiveInf" => "positive.inf",
        "negativeInf" => "negative.inf",
        "ignoreLeadingWhiteSpace" => "ignore.leading.white.space",
        "ignoreTrailingWhiteSpace" => "ignore.trailing.white.space",
        "columnNameOfCorruptRecord" => "column.name.of.corrupt.record",
        "inferSchema" => "infer.schema",
        same => same,
    }
}

/// A value as Spark's `CAST(… AS STRING)` shows it.
fn text(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    let text = |column: &dyn Array| cast(column, &DataType::Utf8).unwrap().as_string::<i32>().value(row).to_owned();
    match column.data_type() {
        DataType::Float64 => match column.as_primitive::<Float64Type>().value(row) {
            f64::INFINITY => "Infinity".into(),
            f64::NEG_INFINITY => "-Infinity".into(),
            number => format!("{number:?}").into(),
        },
        DataType::Timestamp(..) => text(column).replace('T', " ").trim_end_matches('Z').into(),
        _ => text(column).into(),
    }
}

#[tokio::test]
async fn options_give_the_rows_that_spark_gives() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let cases = std::fs::read_to_string(data.join("options.jsonl")).unwrap();
    let (mut rows_compared, mut schemas_compared) = (0, 0);
    for case in cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let given = case["options"].as_object().unwrap();
        let mut options: Vec<(&str, &str)> = given.iter().map(|(k, v)| (key(k), v.as_str().unwrap())).collect();
        options.push(("format", "csv"));
        if !given.contains_key("mode") {
            options.push(("mode", "permissive"));
        }
        let path = data.join("options.csv");
        if let Some(columns) = case["columns"].as_array() {
            let columns: Vec<&str> = columns.iter().map(|column| column.as_str().unwrap()).collect();
            let quoted = columns.iter().map(|column| column.rsplit_once(' ').unwrap());
            let wanted = quoted.map(|(name, kind)| format!("`{name}` {kind}")).collect::<Vec<_>>().join(", ");
            let found = make(&path, &options).schema().await.unwrap();
            assert_eq!(to_ddl(&found), to_ddl(&parse_schema(&wanted).unwrap()), "{given:?}");
            schemas_compared += 1;
            continue;
        }
        options.push(("schema", case["schema"].as_str().unwrap()));
        let mut source = opened(&path, &options, &Offsets::new()).await;
        let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
        let mut found = Vec::new();
        for batch in &polled.batches {
            for row in 0..batch.num_rows() {
                found.push(Value::from_iter(batch.rows.columns().iter().map(|column| text(column, row))));
            }
        }
        let wanted = case["rows"].as_array().unwrap();
        assert_eq!(&found, wanted, "{given:?}");
        rows_compared += wanted.len();
    }
    assert!(rows_compared > 100 && schemas_compared == 4, "{rows_compared} rows, {schemas_compared} schemas");
}

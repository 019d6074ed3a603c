//! Expressions against Spark's own answers, recorded from Spark 4.1.4 by `data/record.py`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use levada_expressions::{Projection, SqlOptions};
use levada_formats::ddl::parse_schema;
use serde_json::{Value, json};

use crate::canonical::{canonical, rows, same, type_name};

const INPUT: &str = include_str!("../data/spark-input.jsonl");
const ANSWERS: &str = include_str!("../data/spark-expressions.jsonl");
const DEVIATIONS: &str = include_str!("../data/deviations.txt");

const SCHEMA: &str = "id int, s string, i int, l bigint, sh smallint, d double, f float, m decimal(10,2), b boolean, \
    dt date, ts timestamp, arr array<int>, p struct<x:double,tags:array<string>>, mp map<string,int>, \
    sa array<struct<n:int,t:string>>, Name string, js string";

fn schema() -> SchemaRef {
    parse_schema(SCHEMA).unwrap().into()
}

/// What differs from the recorded answer; `None` if nothing does.
fn difference(batch: &RecordBatch, answer: &Value, other_names: &[&str]) -> Option<String> {
    let text = answer["expr"].as_str().unwrap();
    let options = SqlOptions { ansi: answer["ansi"].as_bool().unwrap(), ..SqlOptions::default() };
    let projection = match (Projection::compile(&[text], &batch.schema(), &options), answer.get("refused")) {
        (Ok(projection), None) => projection,
        (Err(_), Some(_)) => return None,
        (Err(error), None) => return Some(format!("refused: {error}")),
        (Ok(_), Some(condition)) => return Some(format!("accepted, but Spark refuses it: {condition}")),
    };
    let schema = projection.schema();
    let field = schema.field(0);
    let mut found = String::new();
    let wanted = answer["type"].as_str().unwrap();
    let ty = type_name(field.data_type());
    if ty != wanted && !(ty == "interval" && wanted.starts_with("interval")) {
        write!(found, "type {ty}, Spark {wanted}; ").unwrap();
    }
    if field.name() != answer["name"].as_str().unwrap() && !other_names.contains(&text) {
        write!(found, "name {}, Spark {}; ", field.name(), answer["name"]).unwrap();
    }
    let (good, bad) = projection.evaluate_isolating(batch).unwrap();
    let bad: BTreeMap<usize, String> = bad.into_iter().collect();
    let errors = answer.get("errors").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut at = 0;
    for (row, wanted) in answer["values"].as_array().unwrap().iter().enumerate() {
        let ours = match bad.get(&row) {
            Some(reason) => Err(reason),
            None => {
                at += 1;
                Ok(canonical(good.column(0), at - 1))
            }
        };
        match (ours, errors.get(&row.to_string()).and_then(Value::as_str)) {
            (Ok(value), None) if same(&value, wanted) => {}
            (Ok(value), None) => write!(found, "row {row}: {value}, Spark {wanted}; ").unwrap(),
            // Python could not hold the value: nothing is known about it.
            (_, Some("OverflowError" | "ValueError" | "Py4JJavaError")) => {}
            (Ok(value), Some(condition)) => {
                write!(found, "row {row}: {value}, Spark fails with {condition}; ").unwrap()
            }
            (Err(reason), None) => write!(found, "row {row}: {reason}, Spark {wanted}; ").unwrap(),
            (Err(reason), Some(condition)) => {
                if !reason.contains(&format!("[{}", condition.split('.').next().unwrap())) {
                    write!(found, "row {row}: {reason}, Spark fails with {condition}; ").unwrap();
                }
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

#[test]
fn answers_are_sparks() {
    let batch = rows(&schema(), INPUT);
    let known: Vec<_> = DEVIATIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let other_names: Vec<_> = known.iter().filter_map(|line| line.strip_prefix("name: ")).collect();
    let mut report = String::new();
    let (mut count, mut failed) = (0, 0);
    for line in ANSWERS.lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        count += 1;
        let expression = answer["expr"].as_str().unwrap();
        let difference = difference(&batch, &answer, &other_names);
        if known.contains(&expression) {
            continue;
        }
        if let Some(difference) = difference {
            failed += 1;
            let mode = if answer["ansi"] == json!(true) { "ansi" } else { "legacy" };
            writeln!(report, "{expression} ({mode}): {difference}").unwrap();
        }
    }
    assert!(failed == 0, "{failed} of {count} answers differ from Spark's:\n{report}");
}

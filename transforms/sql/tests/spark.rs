//! Expressions against Spark's own answers, recorded from Spark 4.1.4 by `data/record.py`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, Fields, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::json::ReaderBuilder;
use levada_transform_sql::{Projection, SqlOptions};
use serde_json::{Value, json};

const INPUT: &str = include_str!("data/spark-input.jsonl");
const ANSWERS: &str = include_str!("data/spark-expressions.jsonl");
const DEVIATIONS: &str = include_str!("data/deviations.txt");

fn schema() -> SchemaRef {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    let structure = |fields: Vec<Field>| DataType::Struct(Fields::from(fields));
    let entries = structure(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int32, true)]);
    let map = DataType::Map(Arc::new(Field::new("entries", entries, false)), false);
    let point = vec![Field::new("x", DataType::Float64, true), Field::new("tags", list(DataType::Utf8), true)];
    let pair = vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)];
    let columns = [
        ("id", DataType::Int32),
        ("s", DataType::Utf8),
        ("i", DataType::Int32),
        ("l", DataType::Int64),
        ("sh", DataType::Int16),
        ("d", DataType::Float64),
        ("f", DataType::Float32),
        ("m", DataType::Decimal128(10, 2)),
        ("b", DataType::Boolean),
        ("dt", DataType::Date32),
        ("ts", timestamp),
        ("arr", list(DataType::Int32)),
        ("p", structure(point)),
        ("mp", map),
        ("sa", list(structure(pair))),
        ("Name", DataType::Utf8),
        ("js", DataType::Utf8),
    ];
    Arc::new(Schema::new(columns.map(|(name, ty)| Field::new(name, ty, true)).to_vec()))
}

fn input() -> RecordBatch {
    let mut reader = ReaderBuilder::new(schema()).build(Cursor::new(INPUT)).unwrap();
    reader.next().unwrap().unwrap()
}

/// The type as Spark's `simpleString`.
fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Null => "void".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        DataType::Utf8 => "string".into(),
        DataType::Binary => "binary".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp".into(),
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Duration(_) | DataType::Interval(_) => "interval".into(),
        DataType::List(item) => format!("array<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}:{}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(f) => format!("map<{},{}>", type_name(f[0].data_type()), type_name(f[1].data_type())),
            other => panic!("entries of {other}"),
        },
        other => panic!("unexpected type {other}"),
    }
}

fn float(value: f64) -> Value {
    match value {
        v if v.is_nan() => json!("NaN"),
        v if v.is_infinite() => json!(if v > 0.0 { "Infinity" } else { "-Infinity" }),
        v => json!(v),
    }
}

fn canonical(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => json!(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            json!(array.as_binary::<i32>().value(row).iter().map(|b| format!("{b:02x}")).collect::<String>())
        }
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value_as_date(row).unwrap().to_string()),
        DataType::Timestamp(_, _) => {
            // Outside the calendar there is only the number.
            let times = array.as_primitive::<TimestampMicrosecondType>();
            match times.value_as_datetime(row) {
                Some(time) => json!(time.format("%Y-%m-%dT%H:%M:%S%.6f").to_string()),
                None => json!(times.value(row)),
            }
        }
        DataType::Duration(_) => json!(array.as_primitive::<DurationMicrosecondType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| canonical(&items, item)).collect())
        }
        DataType::Struct(_) => {
            Value::Array(array.as_struct().columns().iter().map(|column| canonical(column, row)).collect())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let mut pairs: Vec<_> = (0..entries.len())
                .map(|at| json!([canonical(entries.column(0), at), canonical(entries.column(1), at)]))
                .collect();
            pairs.sort_by_key(|pair| pair[0].as_str().map_or_else(|| pair[0].to_string(), str::to_owned));
            Value::Array(pairs)
        }
        other => json!(format!("a value of {other}")),
    }
}

fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        (a, b) => a == b,
    }
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
            (_, Some("OverflowError" | "ValueError")) => {}
            (Ok(value), Some(condition)) => write!(found, "row {row}: {value}, Spark fails with {condition}; ").unwrap(),
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
    let batch = input();
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

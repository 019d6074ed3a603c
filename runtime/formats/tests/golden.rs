//! The decoders against what Spark 4.1.4 made of the same inputs (`tests/data`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use levada_formats::csv::{CsvDecoder, CsvOptions};
use levada_formats::ddl::parse_schema;
use levada_formats::json::{JsonDecoder, JsonMode, JsonOptions};
use levada_formats::scalar::{format_date, format_decimal, format_timestamp};
use levada_formats::text::{BOM, LineSplitter};
use serde_json::{Map, Value, json};

const CARINFO: &str = "dataId string, trsmDy int, trmnId string, trsmUtcTime double, trsmYear string, trsmMt string, \
    trsmTm string, trsmMs string, vhcleLot double, vhcleLat double, vhcleEvt double, trmnTypeCd string, \
    gpsUtcTime double, vhcleDrc double, vhcleSped double, trnsmStatCd string, lcdtRevisnStatCd string, \
    vhcleTypeCd string, rgtrId string, regDt timestamp";

fn data(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(case)
}

fn lines(case: &str, input: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(data(case).join(input)).unwrap();
    let mut lines = Vec::new();
    let bytes = bytes.strip_prefix(BOM).unwrap_or(&bytes);
    LineSplitter::new().split(bytes, true, |line, _| lines.push(line.to_vec()));
    lines
}

fn double(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        // As its shortest text, which is what was recorded.
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            double(if value.is_finite() { value.to_string().parse().unwrap() } else { f64::from(value) })
        }
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            json!(format_decimal(array.as_primitive::<Decimal128Type>().value(row), *scale))
        }
        DataType::Date32 => json!(format_date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Timestamp(..) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let seconds = format_timestamp(micros.div_euclid(1_000_000) * 1_000_000).replace(' ', "T");
            json!(format!("{seconds}.{:06}Z", micros.rem_euclid(1_000_000)))
        }
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|i| cell(&items, i)).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let keys = entries.column(0).as_string::<i32>();
            Value::Object((0..entries.len()).map(|i| (keys.value(i).to_owned(), cell(entries.column(1), i))).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            Value::Object(fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), cell(c, row))).collect())
        }
        other => panic!("{other}"),
    }
}

fn rows(batch: &RecordBatch) -> Vec<Value> {
    let names = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            let cells = names.fields().iter().zip(batch.columns());
            Value::Object(cells.map(|(f, c)| (f.name().clone(), cell(c, row))).collect::<Map<_, _>>())
        })
        .collect()
}

fn expect(case: &str, batch: usize, mut actual: Vec<Value>) {
    let text = std::fs::read_to_string(data(case).join(format!("batch-{batch}.jsonl"))).unwrap();
    let mut expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let key = |v: &Value| v.to_string();
    expected.sort_by_key(key);
    actual.sort_by_key(key);
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_eq!(actual, expected, "{case}, batch {batch}");
    }
    assert_eq!(actual.len(), expected.len(), "{case}, batch {batch}");
}

fn json_source(case: &str, ddl: &str) {
    let schema = Arc::new(parse_schema(ddl).unwrap());
    let mut decoder = JsonDecoder::new(schema, JsonOptions::permissive(JsonMode::Source)).unwrap();
    lines(case, "input-000.json").iter().for_each(|line| decoder.push(line));
    let (batch, rejected) = decoder.finish().unwrap();
    assert!(rejected.is_empty());
    expect(case, 0, rows(&batch));
}

#[test]
fn json_numbers() {
    json_source("json-numbers", "id int, l bigint, f float, m decimal(10,2), b boolean");
}

#[test]
fn json_timestamps() {
    json_source("json-timestamps", "id int, raw string, ts timestamp");
}

#[test]
fn json_nested() {
    let case = "json-nested";
    let ddl = "id int, p struct<x:double,tags:array<string>>, m map<string,int>, arr array<struct<n:int>>";
    let schema = Arc::new(parse_schema(ddl).unwrap());
    let mut decoder = JsonDecoder::new(schema, JsonOptions::permissive(JsonMode::Source)).unwrap();
    lines(case, "input-000.json").iter().for_each(|line| decoder.push(line));
    let (batch, _) = decoder.finish().unwrap();
    let mut rows = rows(&batch);
    let null = Value::Null;
    for row in &mut rows {
        // The columns that the recorded query computed.
        let tags = &row["p"]["tags"];
        let list = |v: &Value, f: &dyn Fn(&Vec<Value>) -> Value| v.as_array().map_or(Value::Null, f);
        let keys = row["m"].as_object().map_or(Value::Null, |m| json!(m.keys().collect::<Vec<_>>()));
        *row = json!({
            "id": row["id"],
            "x": row["p"]["x"],
            "tag0": list(tags, &|t| t.first().unwrap_or(&null).clone()),
            "ntags": tags.as_array().map_or(-1, |t| t.len() as i64),
            "k1": row["m"]["k1"],
            "mk": keys,
            "ns": list(&row["arr"], &|a| a.iter().map(|e| e["n"].clone()).collect()),
            "p": row["p"],
            "m": row["m"],
        });
    }
    expect(case, 0, rows);
}

fn from_json(case: &str, batches: usize, output: impl Fn(&[u8], bool, Value) -> Value) {
    let schema = Arc::new(parse_schema(CARINFO).unwrap());
    let mut decoder = JsonDecoder::new(schema, JsonOptions::permissive(JsonMode::FromJson)).unwrap();
    for number in 0..batches {
        let lines = lines(case, &format!("input-{number:03}.txt"));
        lines.iter().for_each(|line| decoder.push(line));
        let array: ArrayRef = Arc::new(decoder.finish_struct().unwrap());
        assert_eq!(array.len(), lines.len());
        let rows = lines.iter().enumerate().map(|(i, line)| output(line, array.is_null(i), cell(&array, i))).collect();
        expect(case, number, rows);
    }
}

#[test]
fn from_json_of_good_rows() {
    from_json("carinfo", 2, |_, _, value| value);
}

#[test]
fn from_json_of_broken_text() {
    from_json("carinfo-malformed", 2, |line, is_null, value| {
        json!({
            "value": String::from_utf8_lossy(line),
            "is_null": is_null,
            "dataId": value["dataId"],
            "trsmDy": value["trsmDy"],
        })
    });
}

#[test]
fn from_json_of_other_types() {
    from_json("carinfo-types", 4, |_, _, value| {
        let names = ["dataId", "trsmDy", "vhcleSped", "regDt", "rgtrId"];
        Value::Object(names.iter().map(|n| ((*n).to_owned(), value[*n].clone())).collect())
    });
}

fn csv_source(case: &str, ddl: &str, inputs: usize, header: usize) {
    let schema = Arc::new(parse_schema(ddl).unwrap());
    let mut decoder = CsvDecoder::new(schema, CsvOptions::permissive()).unwrap();
    for number in 0..inputs {
        lines(case, &format!("input-{number:03}.csv")).iter().skip(header).for_each(|line| decoder.push(line));
        let (batch, rejected) = decoder.finish().unwrap();
        assert!(rejected.is_empty());
        expect(case, number, rows(&batch));
    }
}

#[test]
fn csv_bad_rows() {
    csv_source("csv-bad-rows", "id int, name string, x double, d date, _corrupt_record string", 1, 0);
}

#[test]
fn csv_header() {
    csv_source("csv-header", "id int, name string, x double, d date", 2, 1);
}

#[test]
fn csv_quotes() {
    csv_source("csv-quotes", "id int, name string, x double, d date", 2, 0);
}

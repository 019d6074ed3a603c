//! Cases recorded from Spark 4.1.4: rows in, rows out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use levada_expressions::{Predicate, Projection, SqlOptions};
use levada_formats::ddl::parse_schema;
use serde_json::{Map, Value};

use crate::canonical::{canonical, rows, same, type_name};

const CARINFO: &str = "dataId string, trsmDy int, trmnId string, trsmUtcTime double, trsmYear string, trsmMt string, \
    trsmTm string, trsmMs string, vhcleLot double, vhcleLat double, vhcleEvt double, trmnTypeCd string, gpsUtcTime double, \
    vhcleDrc double, vhcleSped double, trnsmStatCd string, lcdtRevisnStatCd string, vhcleTypeCd string, rgtrId string, \
    regDt timestamp";

fn select(batch: &RecordBatch, exprs: &[&str], ansi: bool) -> RecordBatch {
    let options = SqlOptions { ansi, ..SqlOptions::default() };
    Projection::compile(exprs, &batch.schema(), &options).unwrap().evaluate(batch).unwrap()
}

fn texts(name: &str, values: impl Iterator<Item = Option<String>>) -> RecordBatch {
    let schema = Schema::new(vec![Field::new(name, DataType::Utf8, true)]);
    let column: ArrayRef = Arc::new(values.collect::<StringArray>());
    RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
}

fn lines(text: &str) -> Vec<Map<String, Value>> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of `batch` are those of `wanted`. Timestamps are recorded with a zone, structs with their names.
fn assert_rows(batch: &RecordBatch, wanted: &[Map<String, Value>]) {
    assert_eq!(batch.num_rows(), wanted.len());
    for (row, wanted) in wanted.iter().enumerate() {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let ours = canonical(column, row);
            let theirs = plain(&wanted[field.name()], field.data_type());
            assert!(same(&ours, &theirs), "row {row}, {}: {ours}, Spark {theirs}", field.name());
        }
    }
}

fn plain(value: &Value, ty: &DataType) -> Value {
    match (value, ty) {
        (Value::Object(entries), DataType::Struct(fields)) => {
            fields.iter().map(|field| plain(&entries[field.name()], field.data_type())).collect()
        }
        (Value::Object(entries), DataType::Map(_, _)) => {
            entries.iter().map(|(key, value)| Value::from(vec![Value::from(key.clone()), value.clone()])).collect()
        }
        (Value::Array(items), DataType::List(item)) => {
            items.iter().map(|value| plain(value, item.data_type())).collect()
        }
        (Value::String(text), DataType::Timestamp(_, _)) => Value::from(text.trim_end_matches('Z')),
        _ => value.clone(),
    }
}

#[test]
fn text_is_cast_as_without_ansi() {
    let wanted = lines(include_str!("../data/golden/cast-legacy.jsonl"));
    let batch = texts("s", wanted.iter().map(|row| row["s"].as_str().map(str::to_owned)));
    let exprs = [
        "CAST(s AS INT) AS i",
        "CAST(s AS BIGINT) AS l",
        "CAST(s AS DOUBLE) AS d",
        "CAST(s AS BOOLEAN) AS b",
        "CAST(s AS DECIMAL(10,2)) AS m",
    ];
    assert_rows(&select(&batch, &exprs, false), &wanted);
}

#[test]
fn malformed_json_gives_nulls() {
    let wanted = lines(include_str!("../data/golden/carinfo-malformed.jsonl"));
    let batch = texts("value", wanted.iter().map(|row| row["value"].as_str().map(str::to_owned)));
    let parsed = select(&batch, &["value", &format!("from_json(value, '{CARINFO}') AS c")], true);
    let flat = select(&parsed, &["value", "c IS NULL AS is_null", "c.dataId", "c.trsmDy"], true);
    assert_rows(&flat, &wanted);
}

#[test]
fn nested_values_are_reached() {
    let schema = "id int, p struct<x:double,tags:array<string>>, m map<string,int>, arr array<struct<n:int>>";
    let batch = rows(&parse_schema(schema).unwrap().into(), include_str!("../data/golden/json-nested-input.jsonl"));
    let exprs = [
        "id",
        "p.x AS x",
        "p.tags[0] AS tag0",
        "size(p.tags) AS ntags",
        "try_element_at(m, 'k1') AS k1",
        "map_keys(m) AS mk",
        "arr.n AS ns",
        "p",
        "m",
    ];
    assert_rows(&select(&batch, &exprs, false), &lines(include_str!("../data/golden/json-nested.jsonl")));
}

#[test]
fn a_pipeline_of_five_steps() {
    let text = include_str!("../data/golden/carinfo-select-rename-input.txt");
    let batch = texts("value", text.lines().map(|line| Some(line.to_owned())));
    let batch = select(&batch, &[&format!("from_json(CAST(value AS STRING), '{CARINFO}') AS car_info")], true);
    let batch = select(&batch, &["car_info.*"], true);
    let renamed = [
        "dataId AS data_id",
        "trmnId AS trmncd",
        "vhcleLot AS detclot",
        "vhcleLat AS detclat",
        "gpsUtcTime AS gpsutctime",
        "vhcleSped AS vhclesped",
        "vhcleTypeCd AS vhcletypecd",
    ];
    let batch = select(&batch, &renamed, true);
    let predicate = Predicate::compile("vhclesped > 0", &batch.schema(), &SqlOptions::default()).unwrap();
    let batch = arrow::compute::filter_record_batch(&batch, &predicate.evaluate(&batch).unwrap()).unwrap();
    let exprs = [
        "*",
        "CAST(vhclesped AS INT) AS speed_int",
        "CAST(gpsutctime AS TIMESTAMP) AS gps_ts",
        "try_cast(vhcletypecd AS INT) AS type_int",
    ];
    let batch = select(&batch, &exprs, true);
    let types: Vec<_> = batch.schema().fields().iter().map(|field| type_name(field.data_type())).collect();
    let wanted = ["string", "string", "double", "double", "double", "double", "string", "int", "timestamp", "int"];
    assert_eq!(types, wanted);
    assert_rows(&batch, &lines(include_str!("../data/golden/carinfo-select-rename.jsonl")));
}

#[test]
fn intervals_are_texts_as_in_spark() {
    let batch = texts("s", ["2024-01-31 12:34:56.789", "2023-12-31"].map(|s| Some(s.to_owned())).into_iter());
    let exprs = ["CAST(to_timestamp(s) - timestamp'2024-01-01 00:00:00' AS STRING) AS span"];
    assert_rows(
        &select(&batch, &exprs, true),
        &lines(concat!(
            r#"{"span":"INTERVAL '30 12:34:56.789' DAY TO SECOND"}"#,
            "\n",
            r#"{"span":"INTERVAL '-1 00:00:00' DAY TO SECOND"}"#
        )),
    );
}

/// The calendar that is used ends soon after the year 262 thousand; timestamps do not.
#[test]
fn times_of_any_year_are_right() {
    let exprs = [
        "to_json(struct(to_timestamp(s) AS t)) AS json",
        "date_format(to_timestamp(s), 'uuuu-MM-dd EEE y yy G yyyy') AS era",
        "date_format(to_timestamp(s), 'yyyy-MM-dd HH:mm:ss.SSSS') AS plain",
        "concat_ws(' ', year(to_date(s)), month(to_date(s)), day(to_date(s)), weekofyear(to_date(s))) AS parts",
        "concat_ws(' ', date_trunc('month', to_timestamp(s)), trunc(to_date(s), 'year')) AS firsts",
        "concat_ws(' ', last_day(to_date(s)), add_months(to_date(s), -13)) AS moved",
    ];
    let batch =
        texts("s", ["+292277-02-05 12:34:56.789", "-0001-02-28 00:00:00"].map(|s| Some(s.to_owned())).into_iter());
    assert_rows(
        &select(&batch, &exprs, true),
        &lines(concat!(
            r#"{"json":"{\"t\":\"+292277-02-05T12:34:56.789Z\"}","era":"+292277-02-05 Mon 292277 77 AD +292277","#,
            r#""plain":"+292277-02-05 12:34:56.7890","parts":"292277 2 5 6","#,
            r#""firsts":"+292277-02-01 00:00:00 +292277-01-01","moved":"+292277-02-28 +292276-01-05"}"#,
            "\n",
            r#"{"json":"{\"t\":\"-0001-02-28T00:00:00.000Z\"}","era":"-0001-02-28 Sun 2 02 BC 0002","#,
            r#""plain":"-0001-02-28 00:00:00.0000","parts":"-1 2 28 8","#,
            r#""firsts":"-0001-02-01 00:00:00 -0001-01-01","moved":"-0001-02-28 -0002-01-28"}"#,
        )),
    );
}

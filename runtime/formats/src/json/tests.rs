use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int8Type, Int32Type};
use arrow::json::LineDelimitedWriter;
use proptest::prelude::*;

use super::*;
use crate::ddl::parse_schema;
use crate::{MalformedFields, MalformedRows, Rejected};

fn decode(ddl: &str, options: JsonOptions, records: &[&str]) -> (RecordBatch, Vec<Rejected>) {
    let mut decoder = JsonDecoder::new(Arc::new(parse_schema(ddl).unwrap()), options).unwrap();
    records.iter().for_each(|r| decoder.push(r.as_bytes()));
    decoder.finish().unwrap()
}

fn text(batch: &RecordBatch) -> String {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    String::from_utf8(writer.into_inner()).unwrap()
}

/// What the permissive source makes of `records`.
fn source(ddl: &str, records: &[&str]) -> String {
    text(&decode(ddl, JsonOptions::permissive(JsonMode::Source), records).0)
}

fn from_json(ddl: &str, records: &[&str]) -> String {
    text(&decode(ddl, JsonOptions::permissive(JsonMode::FromJson), records).0)
}

#[test]
fn a_string_column_keeps_the_text_in_a_source_and_writes_it_anew_in_from_json() {
    let records = [r#"{"s": 1.50 }"#, r#"{"s":{"a": [1, 2.0, "é\n"]} }"#, r#"{"s":NaN}"#, r#"{"s": true}"#];
    let rows = source("s string", &records);
    let expected = r#"{"s":"1.50"}
{"s":"{\"a\": [1, 2.0, \"é\\n\"]}"}
{"s":"NaN"}
{"s":"true"}
"#;
    assert_eq!(rows, expected);
    let rows = from_json("s string", &records);
    let expected = r#"{"s":"1.5"}
{"s":"{\"a\":[1,2.0,\"é\\n\"]}"}
{"s":"\"NaN\""}
{"s":"true"}
"#;
    assert_eq!(rows, expected);
}

#[test]
fn nested_values_keep_what_fits() {
    let ddl = "id int, p struct<x:int,y:string>, a array<int>, m map<string,int>, s array<struct<n:int>>";
    let rows = source(
        ddl,
        &[
            r#"{"p":{"x":"no","y":"yes"},"a":[1,"no",3],"m":{"k":"no"},"s":[{"n":"no"},{"n":2}],"id":1}"#,
            r#"{"p":[{}],"a":{},"m":[1],"s":[5,{"n":1}],"id":2}"#,
            r#"{"id":3,"a":[1,null],"m":{"a":1,"b":null}}"#,
        ],
    );
    // This writer leaves out nulls, those in maps too.
    let expected = r#"{"id":1,"p":{"y":"yes"},"s":[{},{"n":2}]}
{"id":2}
{"id":3,"a":[1,null],"m":{"a":1}}
"#;
    assert_eq!(rows, expected);
}

#[test]
fn of_equal_names_the_last_that_fits_counts() {
    let rows = source(
        "a int, b array<int>",
        &[r#"{"a":1,"a":2,"b":[1],"b":[2,3]}"#, r#"{"a":1,"a":"x","b":[1],"b":["x"]}"#, r#"{"a":1,"a":null}"#],
    );
    assert_eq!(rows, "{\"a\":2,\"b\":[2,3]}\n{\"a\":1,\"b\":[1]}\n{}\n");
}

#[test]
fn a_source_takes_an_array_of_rows() {
    let rows = source("a int", &[r#"[{"a":1},{"a":2}] rest"#, "[]", "", "  ", r#"[{"a":1},5]"#, r#"[{"a":1},{"a":2}"#]);
    assert_eq!(rows, "{\"a\":1}\n{\"a\":2}\n{}\n{}\n");
}

#[test]
fn the_corrupt_column_takes_the_record() {
    let rows = source(
        "a int, _corrupt_record string, b string",
        &[r#"{"a":1,"b":"x"}"#, r#"{"a":"x","b":"y"}"#, "nonsense", r#"{"a":1,"_corrupt_record":"z"}"#],
    );
    let expected = r#"{"a":1,"b":"x"}
{"_corrupt_record":"{\"a\":\"x\",\"b\":\"y\"}","b":"y"}
{"_corrupt_record":"nonsense"}
{"a":1}
"#;
    assert_eq!(rows, expected);
}

#[test]
fn strict_decoding_rejects_with_a_reason() {
    let ddl = "name string not null, age int, p struct<x:int>";
    let records = [
        r#"{"name":"kim","age":17}"#,
        r#"{"name":"lee","age":"old"}"#,
        r#"{"age":1}"#,
        r#"{"name":null}"#,
        r#"{"name":"park",}"#,
        r#"{"name":"cut"#,
        r#"{"name":"choi","p":{"x":1.5}}"#,
        r#"{"name":"han"}"#,
    ];
    let (batch, rejected) = decode(ddl, JsonOptions::default(), &records);
    assert_eq!(text(&batch), "{\"name\":\"kim\",\"age\":17}\n{\"name\":\"han\"}\n");
    assert!(!batch.schema().field(0).is_nullable());
    let reasons: Vec<_> = rejected.iter().map(|r| (r.index, r.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "field 'age': \"old\" is no int"),
            (2, "field 'name' is null or missing but declared NOT NULL"),
            (3, "field 'name' is null or missing but declared NOT NULL"),
            (4, "malformed JSON at byte 16: expected a name in quotes, found }"),
            (5, "malformed JSON: the text ends too early"),
            (6, "field 'p': {\"x\":1.5} is no struct<x:int>"),
        ]
    );
    let options = JsonOptions { rows: MalformedRows::Drop, ..JsonOptions::default() };
    let (batch, rejected) = decode(ddl, options, &records);
    assert_eq!((batch.num_rows(), rejected.len()), (2, 0));
    let options = JsonOptions { fields: MalformedFields::Null, ..JsonOptions::default() };
    let (batch, rejected) = decode(ddl, options, &records);
    assert_eq!((batch.num_rows(), rejected.len()), (6, 2));
}

#[test]
fn other_scalars() {
    let ddl = "b tinyint, d date, x binary, n timestamp_ntz, t timestamp";
    let (batch, _) = decode(
        ddl,
        JsonOptions::permissive(JsonMode::Source),
        &[
            r#"{"b":200,"d":"2024-01-01","x":"aGk=","n":"2024-01-01T00:00:00","t":"2024-01-01 00:00:00 GMT+09:00"}"#,
            r#"{"b":256,"d":"-5","x":"?","n":"2024-01-01T00:00:00Z","t":99999999999999999999}"#,
            r#"{"d":"-10000000"}"#,
        ],
    );
    assert_eq!(batch.column(0).as_primitive::<Int8Type>().value(0), -56);
    assert!(batch.column(0).is_null(1));
    assert_eq!(
        text(&batch),
        "{\"b\":-56,\"d\":\"2024-01-01\",\"x\":\"6869\",\"n\":\"2024-01-01T00:00:00\",\"t\":\"2023-12-31T15:00:00Z\"}\n\
         {\"d\":\"1969-12-27\"}\n{}\n"
    );
}

#[test]
fn names_beyond_the_fast_path() {
    let names: Vec<_> = (0..40).map(|i| format!("`a column with a long name {i}` int")).collect();
    let ddl = format!("{}, `q\"uote` int", names.join(", "));
    let fields: Vec<_> = (0..40).rev().map(|i| format!("\"a column with a long name {i}\":{i}")).collect();
    let record = format!("{{\"x\":0,{},'q\"uote':1}}", fields.join(","));
    let (batch, _) = decode(&ddl, JsonOptions::default(), &[&record, &record.replace("'q\"uote'", r#""q\"uote""#)]);
    for (i, column) in batch.columns().iter().take(40).enumerate() {
        assert_eq!(column.as_primitive::<Int32Type>().values(), &[i as i32; 2]);
    }
    assert_eq!(batch.column(40).as_primitive::<Int32Type>().values(), &[1; 2]);
}

#[test]
fn depth_is_limited() {
    let deep = format!("{{\"other\":{}", "[".repeat(1_000_000));
    let fine = format!("{{\"a\":1,\"other\":{}{}}}", "[".repeat(900), "]".repeat(900));
    assert_eq!(source("a int", &[&deep, &fine]), "{}\n{\"a\":1}\n");
}

#[test]
fn rows_without_columns_and_null_rows() {
    let (batch, _) = decode("a struct<>", JsonOptions::default(), &["{\"a\":{}}", "{\"b\":1}"]);
    assert_eq!(batch.num_rows(), 2);
    let options = JsonOptions::permissive(JsonMode::FromJson);
    let mut decoder = JsonDecoder::new(Arc::new(parse_schema("a int").unwrap()), options).unwrap();
    decoder.push_null();
    decoder.push(b"{\"a\":1}");
    decoder.push(b"broken");
    let array = decoder.finish_struct().unwrap();
    assert_eq!((array.is_null(0), array.is_null(1), array.is_null(2)), (true, false, false));
    assert!(array.column(0).is_null(2));
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("JSON has no NaN", |f| f.is_finite()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_round_trip_through_a_string_column(value in value()) {
        let record = serde_json::json!({ "other": &value, "s": &value, "i": 1 }).to_string();
        let (batch, rejected) = decode("s string, i int", JsonOptions::default(), &[&record]);
        prop_assert_eq!(rejected, vec![]);
        let column = batch.column(0).as_string::<i32>();
        match &value {
            serde_json::Value::Null => prop_assert!(column.is_null(0)),
            serde_json::Value::String(s) => prop_assert_eq!(column.value(0), s),
            other => prop_assert_eq!(column.value(0), other.to_string()),
        }
        prop_assert_eq!(batch.column(1).as_primitive::<Int32Type>().value(0), 1);
    }

    #[test]
    fn doubles_and_longs_round_trip(d in any::<f64>(), l in any::<i64>(), text in any::<String>()) {
        prop_assume!(d.is_finite());
        let record = serde_json::json!({ "d": d, "l": l, "t": { "x": [&text, &text] } }).to_string();
        let ddl = "d double, l bigint, t struct<x: array<string>>";
        let (batch, _) = decode(ddl, JsonOptions::default(), &[&record]);
        let value = batch.column(0).as_primitive::<arrow::datatypes::Float64Type>().value(0);
        prop_assert_eq!(value.to_bits(), d.to_bits());
        prop_assert_eq!(batch.column(1).as_primitive::<arrow::datatypes::Int64Type>().value(0), l);
        let list = batch.column(2).as_struct().column(0).as_list::<i32>().value(0);
        prop_assert_eq!(list.as_string::<i32>().value(1), &text);
    }

    #[test]
    fn any_bytes_are_decoded_or_rejected(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        near in r#"[{}\[\]:,"'\\abu0-9.eE \x00tfnN-]{0,40}"#,
        cut in 0usize..200,
    ) {
        let ddl = "a int, b string, e array<struct<a: int, b: map<string, double>>>, u timestamp, n decimal(5,2)";
        let good = r#"{"a":1,"b":"x\u00e9y","e":[{"a":1,"b":{"k":1.5e3}}],"u":"2024-01-01T00:00:00Z","n":1.25}"#;
        for options in [
            JsonOptions::default(),
            JsonOptions::permissive(JsonMode::Source),
            JsonOptions::permissive(JsonMode::FromJson),
            JsonOptions { rows: MalformedRows::Drop, mode: JsonMode::FromJson, ..JsonOptions::default() },
        ] {
            let mut decoder = JsonDecoder::new(Arc::new(parse_schema(ddl).unwrap()), options).unwrap();
            decoder.push(&bytes);
            decoder.push(near.as_bytes());
            decoder.push(format!("{{\"a\":{near}}}").as_bytes());
            decoder.push(format!("{{\"e\":[{{\"b\":{near}}},{{\"a\":2,\"b\":{{\"k\":{near}").as_bytes());
            decoder.push(good.get(..cut).unwrap_or(good).as_bytes());
            decoder.push(good.as_bytes());
            let rows = decoder.len();
            let (batch, _) = decoder.finish().unwrap();
            prop_assert_eq!(batch.num_rows(), rows);
            prop_assert!(rows >= 1);
            let last = batch.slice(rows - 1, 1);
            prop_assert_eq!(text(&last), "{\"a\":1,\"b\":\"xéy\",\"e\":[{\"a\":1,\"b\":{\"k\":1500.0}}],\
                \"u\":\"2024-01-01T00:00:00Z\",\"n\":1.25}\n");
        }
    }
}

#[test]
fn columns_that_nobody_reads_are_null_and_the_others_as_ever() {
    let ddl = "a INT, b STRING, c STRUCT<x: INT>, d DOUBLE, e ARRAY<INT>";
    let records = [
        r#"{"a": 1, "b": "one", "c": {"x": 1}, "d": 1.5, "e": [1]}"#,
        r#"{"e": [2], "d": 2.5, "a": "bad", "b": 7, "f": [{}], "c": {"x": 2}}"#,
        r#"{"b": "twice", "d": 3.5, "b": "again"}"#,
        "{}",
    ];
    let options = JsonOptions { fields: MalformedFields::Null, mode: JsonMode::Message, ..JsonOptions::default() };
    let mut decoder = JsonDecoder::new(Arc::new(parse_schema(ddl).unwrap()), options).unwrap();
    decoder.only(&["d".to_owned(), "b".to_owned()]);
    for _ in 0..2 {
        records.iter().for_each(|r| decoder.push(r.as_bytes()));
        // What is skipped must be JSON nevertheless.
        decoder.push(br#"{"b": "x", "a": 1.}"#);
        decoder.push_null();
        let (rows, rejected) = decoder.finish().unwrap();
        assert_eq!(rows.schema(), *decoder.schema());
        let expected = r#"{"b":"one","d":1.5}
{"b":"7","d":2.5}
{"b":"again","d":3.5}
{}
{}
"#;
        assert_eq!(text(&rows), expected);
        assert!(rejected.len() == 1 && rejected[0].index == 4, "{rejected:?}");
    }
    // Where a bad field makes a bad row, each is looked at.
    let options = JsonOptions { fields: MalformedFields::Error, mode: JsonMode::Message, ..JsonOptions::default() };
    let mut decoder = JsonDecoder::new(Arc::new(parse_schema("a INT, b INT").unwrap()), options).unwrap();
    decoder.only(&["a".to_owned()]);
    decoder.push(br#"{"a": 1, "b": "bad"}"#);
    assert_eq!(decoder.finish().unwrap().1.len(), 1);
}

#[test]
fn a_field_that_nobody_reads_makes_no_record_malformed() {
    let schema = Arc::new(parse_schema("a INT, _corrupt_record STRING, b INT").unwrap());
    let options = JsonOptions::permissive(JsonMode::Source);
    for (wanted, corrupt) in
        [(["a", "_corrupt_record"], [false, false, true]), (["b", "_corrupt_record"], [false, true, true])]
    {
        let mut decoder = JsonDecoder::new(schema.clone(), options.clone()).unwrap();
        decoder.only(&wanted.map(str::to_owned));
        for record in [r#"{"a": 1, "b": 2}"#, r#"{"a": 3, "b": "bad"}"#, r#"{"a": 5, "b": "#] {
            decoder.push(record.as_bytes());
        }
        let (rows, _) = decoder.finish().unwrap();
        let found: Vec<bool> = (0..3).map(|row| rows.column(1).is_valid(row)).collect();
        assert_eq!(found, corrupt, "{wanted:?}");
        assert_eq!(rows.column(if wanted[0] == "a" { 2 } else { 0 }).null_count(), 3);
    }
}

/// What stands before a value is compared with what stood there in the record before: that must change nothing.
#[test]
fn the_record_before_does_not_change_what_a_record_means() {
    let records = [
        r#"{"a":1,"b":2}"#,
        r#"{,"b":3}"#,
        r#"{"b":4}"#,
        r#"{"a":5}"#,
        r#"{"a":6,,"b":7}"#,
        r#"{"a": 8, "b":  9}"#,
        r#"{"b":10,"a":11}"#,
        r#"{"a":12,"b":13,}"#,
        r#"{"x":0,"a":14,"b":15}"#,
    ];
    let alone: String = records.iter().map(|record| source("a int, b int", &[record])).collect();
    assert_eq!(source("a int, b int", &records), alone);
}

use std::sync::Arc;

use arrow::array::{
    BinaryArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, ListBuilder,
    MapBuilder, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int32Type};

use super::*;

fn one(array: ArrayRef) -> Vec<String> {
    lines(&RecordBatch::try_from_iter_with_nullable([("a", array, true)]).unwrap()).unwrap()
}

#[test]
fn numbers_read_as_python_writes_them() {
    let values = [1.0, 0.1, -0.0, 1e15, 1e16, 1.5e16, 0.0001, 0.00001, 123.456, 1e300, f64::NAN, f64::INFINITY];
    let got = one(Arc::new(Float64Array::from(values.to_vec())));
    let want = [
        "1.0",
        "0.1",
        "-0.0",
        "1000000000000000.0",
        "1e+16",
        "1.5e+16",
        "0.0001",
        "1e-05",
        "123.456",
        "1e+300",
        "\"NaN\"",
        "\"Infinity\"",
    ];
    assert_eq!(got, want.map(|text| format!("{{\"a\":{text}}}")));
    let floats = one(Arc::new(Float32Array::from(vec![0.1, 3.4e38, f32::NEG_INFINITY])));
    assert_eq!(floats, [r#"{"a":0.1}"#, r#"{"a":3.4e+38}"#, r#"{"a":"-Infinity"}"#]);
    let longs = one(Arc::new(Int64Array::from(vec![Some(i64::MIN), None])));
    assert_eq!(longs, [r#"{"a":-9223372036854775808}"#, r#"{"a":null}"#]);
}

#[test]
fn times_decimals_and_bytes() {
    let times = TimestampMicrosecondArray::from(vec![0, -1, 1_704_067_200_123_456]);
    assert_eq!(one(Arc::new(times.clone().with_timezone("UTC")))[1], r#"{"a":"1969-12-31T23:59:59.999999Z"}"#);
    assert_eq!(one(Arc::new(times))[2], r#"{"a":"2024-01-01T00:00:00.123456"}"#);
    assert_eq!(one(Arc::new(Date32Array::from(vec![19_723]))), [r#"{"a":"2024-01-01"}"#]);
    let decimals = Decimal128Array::from(vec![101, -5]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(one(Arc::new(decimals)), [r#"{"a":"1.01"}"#, r#"{"a":"-0.05"}"#]);
    assert_eq!(one(Arc::new(BinaryArray::from(vec![b"\x00\xff".as_slice()]))), [r#"{"a":"00ff"}"#]);
}

#[test]
fn text_is_escaped_as_little_as_json_allows() {
    let text = StringArray::from(vec!["a\"\\\n\u{1}é\u{2028}"]);
    assert_eq!(one(Arc::new(text)), ["{\"a\":\"a\\\"\\\\\\n\\u0001é\u{2028}\"}"]);
}

#[test]
fn nested_values_keep_their_order_and_maps_are_sorted() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("x"), None]);
    lists.append_null();
    let lists = one(Arc::new(lists.finish()));
    assert_eq!(lists, [r#"{"a":["x",null]}"#, r#"{"a":null}"#]);

    let mut maps = MapBuilder::new(None, StringBuilder::new(), arrow::array::PrimitiveBuilder::<Int32Type>::new());
    for key in ["b", "a"] {
        maps.keys().append_value(key);
        maps.values().append_option((key == "b").then_some(1));
    }
    maps.append(true).unwrap();
    assert_eq!(one(Arc::new(maps.finish())), [r#"{"a":{"a":null,"b":1}}"#]);

    let inner: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let field = Arc::new(Field::new("z", DataType::Int32, true));
    assert_eq!(one(Arc::new(StructArray::from(vec![(field, inner)]))), [r#"{"a":{"z":1}}"#]);
}

#[test]
fn slices_are_read_from_their_start() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for word in ["x", "y"] {
        lists.append_value([Some(word)]);
    }
    let array: ArrayRef = Arc::new(lists.finish());
    assert_eq!(one(array.slice(1, 1)), [r#"{"a":["y"]}"#]);
}

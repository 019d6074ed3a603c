use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};

use super::*;
use crate::ddl::parse_schema;

fn strict(schema: &str) -> ConverterOptions {
    ConverterOptions { schema: Some(Arc::new(parse_schema(schema).unwrap())), ..ConverterOptions::default() }
}

fn payloads(values: &[Option<&str>]) -> BinaryArray {
    values.iter().map(|value| value.map(str::as_bytes)).collect()
}

#[test]
fn connects_class_names_are_aliases() {
    for (name, own) in [
        ("org.apache.kafka.connect.json.JsonConverter", "json"),
        ("org.apache.kafka.connect.storage.StringConverter", "string"),
        ("org.apache.kafka.connect.converters.ByteArrayConverter", "bytes"),
        ("org.apache.kafka.connect.converters.LongConverter", "long"),
        ("JSON", "json"),
    ] {
        assert_eq!(canonical(name), Some(own), "{name}");
    }
    assert_eq!(canonical("avro"), None);
}

#[test]
fn bad_json_leaves_and_the_rows_around_it_know_where_they_come_from() {
    let mut json = converter("json", VALUE, strict("id INT NOT NULL, s STRING")).unwrap();
    let given =
        [Some(r#"{"id": 1, "s": 2.50}"#), Some("nope"), None, Some("[{\"id\": 1}]"), Some(r#"{"id": 5}"#), Some(" ")];
    let converted = json.convert(&payloads(&given)).unwrap();
    assert_eq!(converted.rows.column(0).as_primitive::<Int32Type>().values(), &[1, 5]);
    assert_eq!(converted.origins, Some(vec![0, 4]));
    let rejected: Vec<_> = converted.rejected.iter().map(|bad| bad.index).collect();
    assert_eq!(rejected, [1, 2, 3, 5]);
    assert!(converted.rejected[1].reason.contains("null or empty"), "{}", converted.rejected[1].reason);
    // The next column begins anew.
    let converted = json.convert(&payloads(&[Some(r#"{"id": 7}"#)])).unwrap();
    assert_eq!((converted.rows.num_rows(), converted.origins, converted.rejected.len()), (1, None, 0));
}

#[test]
fn a_tombstone_is_a_row_of_nulls_where_nulls_may_be() {
    let options = ConverterOptions { fields: MalformedFields::Null, ..strict("id INT NOT NULL") };
    let converted = converter("json", VALUE, options).unwrap().convert(&payloads(&[None, Some("{\"id\":2}")])).unwrap();
    assert_eq!(converted.origins, None);
    let ids: Vec<_> = converted.rows.column(0).as_primitive::<Int32Type>().iter().collect();
    assert_eq!(ids, [None, Some(2)]);
}

#[test]
fn text_numbers_and_csv() {
    let converted =
        converter("string", "s", ConverterOptions::default()).unwrap().convert(&payloads(&[Some("a"), None]));
    assert_eq!(converted.unwrap().rows.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), None]);
    let bytes = BinaryArray::from_iter([Some(&[0xffu8, b'a'][..])]);
    let converted = converter("string", "s", ConverterOptions::default()).unwrap().convert(&bytes).unwrap();
    assert_eq!(converted.rows.column(0).as_string::<i32>().value(0), "\u{fffd}a");

    let longs = BinaryArray::from_iter([Some(5i64.to_be_bytes().to_vec()), Some(vec![1]), None]);
    let converted = converter("long", "n", ConverterOptions::default()).unwrap().convert(&longs).unwrap();
    let found: Vec<_> = converted.rows.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!((found, converted.origins), (vec![Some(5), None], Some(vec![0, 2])));
    assert_eq!(converted.rejected, [Rejected { index: 1, reason: "a long has 8 bytes, not 1".to_owned() }]);

    let mut csv = converter("csv", VALUE, strict("a INT, b STRING")).unwrap();
    let converted = csv.convert(&payloads(&[Some("1,x\n"), Some("2"), None, Some("3,z")])).unwrap();
    assert_eq!(converted.origins, Some(vec![0, 3]));
    assert_eq!(converted.rejected.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2]);
}

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
    let converted = csv.convert(&payloads(&[Some("1,x\n"), Some("2"), Some("x,y"), Some("3,z")])).unwrap();
    assert_eq!(converted.origins, Some(vec![0, 3]));
    assert_eq!(converted.rejected.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2]);
}

/// A blank message is a row or a bad row; it does not vanish.
#[test]
fn blank_csv_messages_are_rows_of_nulls_or_bad_rows() {
    let given = payloads(&[Some("1,x"), None, Some(" \n"), Some(""), Some("2,y")]);
    let options = ConverterOptions { fields: MalformedFields::Null, ..strict("a INT, b STRING") };
    for options in [options, strict("a INT, b STRING")] {
        let converted = converter("csv", VALUE, options).unwrap().convert(&given).unwrap();
        let found: Vec<_> = converted.rows.column(0).as_primitive::<Int32Type>().iter().collect();
        assert_eq!(found, [Some(1), None, None, None, Some(2)]);
        assert_eq!((converted.origins, converted.rejected.len()), (None, 0));
    }
    let mut csv = converter("csv", VALUE, strict("a INT NOT NULL, b STRING")).unwrap();
    let converted = csv.convert(&given).unwrap();
    assert_eq!(converted.origins, Some(vec![0, 4]));
    assert_eq!(converted.rejected.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(converted.rejected[0].reason.contains("null or empty"), "{}", converted.rejected[0].reason);
}

fn enveloped(schema: &str, values: &[Option<&str>]) -> Converted {
    let options = ConverterOptions { envelope: true, ..strict(schema) };
    converter("json", VALUE, options).unwrap().convert(&payloads(values)).unwrap()
}

const POINT: &str = r#"{"type":"struct","fields":[{"type":"int32","optional":false,"field":"id"},{"type":"string","optional":true,"field":"s"},{"type":"int64","optional":true,"name":"org.apache.kafka.connect.data.Timestamp","version":1,"field":"at"},{"type":"int32","optional":true,"name":"org.apache.kafka.connect.data.Date","version":1,"field":"day"},{"type":"bytes","optional":true,"name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"2"},"field":"price"}],"optional":false,"name":"point"}"#;

#[test]
fn connects_envelope_is_taken_off() {
    let full = |payload: &str| format!("{{\"schema\":{POINT},\"payload\":{payload}}}");
    let first = full(r#"{"id":1,"s":"a","at":1704067200250,"day":19723,"price":"BNI="}"#);
    assert_eq!(
        crate::ddl::to_ddl(&envelope_schema(first.as_bytes()).unwrap()),
        "id INT NOT NULL, s STRING, at TIMESTAMP, day DATE, price DECIMAL(38,2)"
    );
    let messages = [
        first,
        full(r#"{"id":2,"s":null,"at":null,"day":null,"price":"/w=="}"#),
        full(r#"{"id":"x"}"#),
        "{\"id\": 3}".to_owned(),
        r#"{"payload": {"id": 4, "s": "no schema"}, "schema": null}"#.to_owned(),
        full("null"),
        // The same columns, in a message that begins with the payload.
        format!("{{\"payload\": {{\"id\": 5}}, \"schema\": {POINT} }}"),
        full(r#"{"id":6}"#),
        full(r#"{"id":7"#),
    ];
    let values: Vec<_> = messages.iter().map(|text| Some(text.as_str())).chain([None]).collect();
    let found =
        enveloped("id INT NOT NULL, s STRING, at TIMESTAMP, day DATE, price DECIMAL(10,2), more BIGINT", &values);
    let rows = arrow::util::pretty::pretty_format_batches(&[found.rows]).unwrap().to_string();
    let rows: Vec<Vec<&str>> = rows
        .lines()
        .skip(3)
        .map(|line| line.split('|').map(str::trim).collect())
        .filter(|l: &Vec<_>| l.len() > 2)
        .collect();
    assert_eq!(rows[0][1..6], ["1", "a", "2024-01-01T00:00:00.250Z", "2024-01-01", "12.34"]);
    assert_eq!(rows[1][1..6], ["2", "", "", "", "-0.01"]);
    let ids: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    assert_eq!(ids, ["1", "2", "4", "5", "6"]);
    assert_eq!(found.origins.unwrap(), [0, 1, 4, 6, 7]);
    let bad: Vec<_> = found.rejected.iter().map(|bad| bad.index).collect();
    assert_eq!(bad, [2, 3, 5, 8, 9]);
    assert!(found.rejected[1].reason.contains("value.converter.schemas.enable"), "{}", found.rejected[1].reason);
}

const DEFAULTS: &str = r#"{"type":"struct","optional":false,"fields":[{"field":"id","type":"int64","optional":false},{"field":"name","type":"string","optional":false,"default":"dflt"},{"field":"n","type":"int32","optional":true,"default":42},{"field":"day","type":"int32","optional":true,"name":"org.apache.kafka.connect.data.Date","default":1}]}"#;

#[test]
fn connects_defaults_stand_for_what_is_missing_and_wrong_fields_are_null_unless_they_must_not_be() {
    let full = |payload: &str| format!("{{\"schema\":{DEFAULTS},\"payload\":{payload}}}");
    let messages = [full(r#"{"id":1,"name":"a","n":7,"day":0}"#), full(r#"{"id":2,"n":null}"#), full(r#"{"id":"x"}"#)];
    let values: Vec<_> = messages.iter().map(|text| Some(text.as_str())).chain([None]).collect();
    let schema = Arc::new(envelope_schema(messages[0].as_bytes()).unwrap());
    for fields in [MalformedFields::Error, MalformedFields::Null] {
        let options = ConverterOptions { schema: Some(schema.clone()), envelope: true, fields, ..Default::default() };
        let mut converter = converter("json", VALUE, options).unwrap();
        let found = converter.convert(&payloads(&values)).unwrap();
        assert_eq!(found.rows.schema(), converter.schema());
        let rows = arrow::util::pretty::pretty_format_batches(&[found.rows]).unwrap().to_string();
        let rows: Vec<String> = rows
            .lines()
            .skip(3)
            .filter(|line| line.starts_with('|'))
            .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
            .collect();
        let whole = ["1 a 7 1970-01-01", "2 dflt 42 1970-01-02"];
        let bad: Vec<_> = found.rejected.iter().map(|bad| bad.index).collect();
        if fields == MalformedFields::Error {
            assert_eq!((rows.as_slice(), bad.as_slice()), (&whole.map(str::to_owned)[..], &[2, 3][..]));
        } else {
            // The last is a tombstone, and has nothing.
            assert_eq!(rows, [whole[0], whole[1], "dflt 42 1970-01-02", ""]);
            assert!(bad.is_empty() && found.origins.is_none());
        }
    }
    let wrong = DEFAULTS.replace("42", "\"x\"");
    let message = format!("{{\"schema\":{wrong},\"payload\":{{\"id\":1}}}}");
    let found = enveloped("id BIGINT, n INT", &[Some(&message)]);
    assert!(
        found.rejected[0].reason.contains("field 'n' of the schema: its default is no Int32"),
        "{:?}",
        found.rejected
    );
}

#[test]
fn a_value_that_its_column_cannot_hold_is_a_bad_row_of_its_own() {
    let price = |text: &str| format!(r#"{{"schema":{POINT},"payload":{{"id":1,"price":"{text}"}}}}"#);
    // Two bytes, then more than a DECIMAL(4,2) holds, then no number at all.
    let messages = [price("BNI="), price("f////w=="), price("AAAAAAAAAAAAAAAAAAAAAAAAAAAA"), price("/w==")];
    let values: Vec<_> = messages.iter().map(|text| Some(text.as_str())).collect();
    let found = enveloped("price DECIMAL(4,2) NOT NULL", &values);
    assert_eq!((found.rows.num_rows(), found.origins), (2, Some(vec![0, 3])));
    assert_eq!(found.rejected.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 2]);
    assert!(found.rejected[0].reason.contains("field 'price' is no"), "{:?}", found.rejected);
}

/// More schemas than are kept in mind, in one batch: rows that wait in a decoder must not go with it.
#[test]
fn any_number_of_schemas_may_come_in_one_batch() {
    let schema =
        |name: usize| format!(r#"{{"type":"struct","name":"s{name}","fields":[{{"type":"int32","field":"id"}}]}}"#);
    let mut messages = Vec::new();
    for n in 0..200 {
        messages.push(format!(r#"{{"schema":{},"payload":{{"id":{n}}}}}"#, schema(n % 130)));
        // The same schema again, found by the text before its payload; and one that cannot be understood.
        messages.push(format!(r#"{{"schema":{},"payload":{{"id":{n}}}}}"#, schema(n % 130)));
        messages.push(
            r#"{"schema":{"type":"struct","fields":[{"type":"what","field":"id"}]},"payload":{"id":1}}"#.to_owned(),
        );
    }
    let values: Vec<_> = messages.iter().map(|text| Some(text.as_str())).collect();
    let found = enveloped("id INT NOT NULL", &values);
    let expected: Vec<i32> = (0..200).flat_map(|n| [n, n]).collect();
    assert_eq!(found.rows.column(0).as_primitive::<Int32Type>().values(), &expected[..]);
    assert_eq!(found.origins.unwrap(), (0..600).filter(|n| n % 3 < 2).collect::<Vec<u32>>());
    assert_eq!(found.rejected.len(), 200);
}

#[test]
fn columns_have_connects_schema_and_values() {
    let schema =
        parse_schema("id INT NOT NULL, at TIMESTAMP, day DATE, price DECIMAL(10,2), raw BINARY, l ARRAY<INT>").unwrap();
    let told = to_connect_schema(schema.fields(), ConnectTimes::Millis).unwrap().to_string();
    for part in [
        r#"{"type":"int32","optional":false,"field":"id"}"#,
        r#"{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp","version":1,"optional":true,"field":"at"}"#,
        r#""parameters":{"scale":"2","connect.decimal.precision":"10"}"#,
        r#"{"type":"array","items":{"type":"int32","optional":true},"optional":true,"field":"l"}"#,
    ] {
        assert!(told.contains(part), "{part}\nnot in\n{told}");
    }
    assert!(to_connect_schema(parse_schema("a ARRAY<TIMESTAMP>").unwrap().fields(), ConnectTimes::Millis).is_err());
    // What is written is what is read.
    for value in [0, 1, -1, 127, 128, -128, -129, 1234, i128::from(i64::MIN), 10i128.pow(37)] {
        let column: ArrayRef =
            Arc::new(arrow::array::Decimal128Array::from(vec![value]).with_precision_and_scale(38, 2).unwrap());
        let text = to_connect_values(&column, ConnectTimes::Millis).unwrap();
        let message =
            format!(r#"{{"schema":{POINT},"payload":{{"id":1,"price":"{}"}}}}"#, text.as_string::<i32>().value(0));
        let found = enveloped("price DECIMAL(38,2)", &[Some(&message)]);
        assert_eq!(found.rows.column(0).as_ref(), column.as_ref(), "{value}: {message}");
    }
}

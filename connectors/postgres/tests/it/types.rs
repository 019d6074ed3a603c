//! Values through the sink into each type of Postgres, and what the server then shows.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use levada_connector_api::ErrorKind;

use crate::support::{Database, array, refused, rows, write};

/// Writes one column `v` beside a row number, into a column of `sql_type`, and compares what `v::text` shows.
async fn shows(database: &Database, sql_type: &str, values: ArrayRef, expected: &[&str]) {
    database.run(&format!("DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t (i int, v {sql_type})")).await;
    let numbers = array(Int32Array::from_iter_values(0..values.len() as i32));
    let what = format!("{} into {sql_type}", values.data_type());
    write(database.sink(&[]), &[rows(vec![("i", numbers), ("v", values)])])
        .await
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(database.ask("SELECT v::text FROM t ORDER BY i").await, expected, "{what}");
}

/// Writes one value that must be refused, with a message that holds `expected`.
async fn refuses(database: &Database, sql_type: &str, values: ArrayRef, expected: &str) {
    database.run(&format!("DROP TABLE IF EXISTS t, levada_offsets; CREATE TABLE t (v {sql_type})")).await;
    let error = refused(database.sink(&[]), &[rows(vec![("v", values)])]).await;
    let text = error.to_string();
    assert!(text.contains(expected) && text.contains("table t") && text.contains("column 'v'"), "{text}");
    assert!(matches!(error.kind(), ErrorKind::Data | ErrorKind::Config), "{error:?}");
    assert_eq!(database.ask("SELECT count(*) FROM t").await, ["0"]);
}

#[tokio::test]
async fn numbers() {
    let Some(db) = Database::new("numbers").await else { return };
    let db = &db;
    shows(db, "boolean", array(BooleanArray::from(vec![Some(true), None, Some(false)])), &["true", "null", "false"])
        .await;
    shows(db, "smallint", array(Int8Array::from(vec![Some(-128), None, Some(127)])), &["-128", "null", "127"]).await;
    shows(db, "smallint", array(Int16Array::from(vec![i16::MIN, 0, i16::MAX])), &["-32768", "0", "32767"]).await;
    shows(db, "integer", array(UInt16Array::from(vec![0, u16::MAX])), &["0", "65535"]).await;
    shows(db, "integer", array(Int32Array::from(vec![i32::MIN, i32::MAX])), &["-2147483648", "2147483647"]).await;
    shows(db, "integer", array(Int64Array::from(vec![Some(5), None])), &["5", "null"]).await;
    shows(db, "bigint", array(UInt32Array::from(vec![u32::MAX])), &["4294967295"]).await;
    shows(
        db,
        "bigint",
        array(Int64Array::from(vec![i64::MIN, i64::MAX])),
        &["-9223372036854775808", "9223372036854775807"],
    )
    .await;
    shows(db, "numeric(20,0)", array(UInt64Array::from(vec![u64::MAX])), &["18446744073709551615"]).await;
    shows(db, "real", array(Float32Array::from(vec![0.1, f32::NAN, f32::NEG_INFINITY])), &["0.1", "NaN", "-Infinity"])
        .await;
    shows(db, "double precision", array(Float64Array::from(vec![0.1, -0.0, 1e300])), &["0.1", "-0", "1e+300"]).await;
    shows(db, "text", array(Int64Array::from(vec![42])), &["42"]).await;
    refuses(
        db,
        "smallint",
        array(Int32Array::from(vec![Some(1), None, Some(40_000)])),
        "row 2 of a batch: 40000 is out of range of smallint",
    )
    .await;
    refuses(
        db,
        "integer",
        array(Int64Array::from(vec![1, 5_000_000_000])),
        "row 1 of a batch: 5000000000 is out of range of integer",
    )
    .await;
    refuses(db, "bigint", array(UInt64Array::from(vec![u64::MAX])), "18446744073709551615 is out of range of bigint")
        .await;
    refuses(db, "real", array(Float64Array::from(vec![1e300])), "out of range of real").await;
    refuses(db, "integer", array(StringArray::from(vec!["1"])), "is integer, and the rows have STRING; cast it").await;
}

#[tokio::test]
async fn decimals() {
    let Some(db) = Database::new("decimals").await else { return };
    let db = &db;
    let decimal = |values: Vec<Option<i128>>, precision, scale| {
        array(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let values = vec![Some(0), Some(1), Some(-12_345), None, Some(1_000_000), Some(99_999_999)];
    let shown = ["0.000", "0.001", "-12.345", "null", "1000.000", "99999.999"];
    shows(db, "numeric", decimal(values, 38, 3), &shown).await;
    let most = 10i128.pow(38) - 1;
    let nines = "9".repeat(38);
    shows(db, "numeric", decimal(vec![Some(most), Some(-most)], 38, 0), &[&nines, &format!("-{nines}")]).await;
    shows(
        db,
        "numeric",
        decimal(vec![Some(most), Some(1)], 38, 38),
        &[&format!("0.{nines}"), &format!("0.{}1", "0".repeat(37))],
    )
    .await;
    shows(db, "numeric", decimal(vec![Some(12)], 10, -3), &["12000"]).await;
    let wide = Decimal256Array::from(vec![i256::from_i128(most)]).with_precision_and_scale(76, 20).unwrap();
    shows(db, "numeric", array(wide), &[&format!("{}.{}", "9".repeat(18), "9".repeat(20))]).await;
    shows(db, "numeric(6,2)", array(Float64Array::from(vec![1.5, -0.125, 1234.0])), &["1.50", "-0.13", "1234.00"])
        .await;
    shows(
        db,
        "numeric",
        array(Float64Array::from(vec![1e-7, f64::NAN, f64::INFINITY, 1e22])),
        &["0.0000001", "NaN", "Infinity", "10000000000000000000000"],
    )
    .await;
    shows(db, "numeric", array(Float32Array::from(vec![0.1])), &["0.1"]).await;
    shows(db, "bigint", decimal(vec![Some(7)], 10, 0), &["7"]).await;
    shows(db, "double precision", decimal(vec![Some(125)], 10, 2), &["1.25"]).await;
    refuses(db, "numeric(4,2)", decimal(vec![Some(1), Some(123_456)], 10, 2), "numeric field overflow").await;
    refuses(db, "bigint", decimal(vec![Some(7)], 10, 2), "cast it with a Select").await;
}

#[tokio::test]
async fn text_and_bytes() {
    let Some(db) = Database::new("text").await else { return };
    let db = &db;
    let texts = vec![Some("a"), None, Some(""), Some("häß 🦀 \"'\\ \t\n")];
    let shown = ["a", "null", "", "häß 🦀 \"'\\ \t\n"];
    shows(db, "text", array(StringArray::from(texts.clone())), &shown).await;
    shows(db, "varchar(30)", array(LargeStringArray::from(texts.clone())), &shown).await;
    shows(db, "text", array(StringViewArray::from(texts.clone())), &shown).await;
    let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
    shows(db, "text", array(dictionary), &shown).await;
    shows(db, "char(3)", array(StringArray::from(vec!["ab"])), &["ab"]).await;
    shows(db, "bytea", array(BinaryArray::from(vec![Some(&[0u8, 255][..]), None])), &["\\x00ff", "null"]).await;
    shows(db, "bytea", array(StringArray::from(vec!["a\0b"])), &["\\x610062"]).await;
    shows(db, "text", array(NullArray::new(2)), &["null", "null"]).await;
    // A slice: its buffers hold more than it shows, a NUL among it.
    let whole = StringArray::from(vec!["no\0", "yes", "also"]);
    shows(db, "text", array(whole.slice(1, 2)), &["yes", "also"]).await;
    db.run("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN short AS varchar(5)").await;
    shows(db, "mood", array(StringArray::from(vec!["happy"])), &["happy"]).await;
    shows(db, "short", array(StringArray::from(vec!["abc"])), &["abc"]).await;
    refuses(
        db,
        "mood",
        array(StringArray::from(vec!["sad", "angry"])),
        "row 1 of a batch: invalid input value for enum mood: \"angry\"",
    )
    .await;
    refuses(db, "varchar(2)", array(StringArray::from(vec!["ok", "long"])), "row 1 of a batch: value too long").await;
    refuses(
        db,
        "text",
        array(StringArray::from(vec!["ok", "a\0b"])),
        "row 1 of a batch: \"a\\0b\" holds a NUL character",
    )
    .await;
}

#[tokio::test]
async fn times() {
    let Some(db) = Database::new("times").await else { return };
    let db = &db;
    db.run("SET timezone = 'UTC'; SET intervalstyle = 'postgres'").await;
    shows(
        db,
        "date",
        array(Date32Array::from(vec![Some(0), Some(-1), Some(19_723), None])),
        &["1970-01-01", "1969-12-31", "2024-01-01", "null"],
    )
    .await;
    shows(db, "date", array(Date64Array::from(vec![-1])), &["1969-12-31"]).await;
    shows(
        db,
        "time",
        array(Time64MicrosecondArray::from(vec![1, 86_399_999_999])),
        &["00:00:00.000001", "23:59:59.999999"],
    )
    .await;
    shows(db, "time", array(Time32SecondArray::from(vec![3661])), &["01:01:01"]).await;
    let micros = TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_704_067_200_000_001)]);
    shows(
        db,
        "timestamp",
        array(micros.clone()),
        &["1969-12-31 23:59:59.999999", "null", "2024-01-01 00:00:00.000001"],
    )
    .await;
    shows(
        db,
        "timestamptz",
        array(micros.with_timezone("Europe/Paris")),
        &["1969-12-31 23:59:59.999999+00", "null", "2024-01-01 00:00:00.000001+00"],
    )
    .await;
    shows(
        db,
        "timestamp",
        array(TimestampNanosecondArray::from(vec![-1, 1_999])),
        &["1969-12-31 23:59:59.999999", "1970-01-01 00:00:00.000001"],
    )
    .await;
    shows(db, "timestamp", array(TimestampSecondArray::from(vec![253_402_300_799])), &["9999-12-31 23:59:59"]).await;
    shows(db, "timestamp", array(Date32Array::from(vec![1])), &["1970-01-02 00:00:00"]).await;
    let parts = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(14, 3, 4_000_005_000)]);
    shows(db, "interval", array(parts), &["1 year 2 mons 3 days 00:00:04.000005"]).await;
    shows(db, "interval", array(DurationMillisecondArray::from(vec![-1500])), &["-00:00:01.5"]).await;
    refuses(db, "timestamp", array(TimestampSecondArray::from(vec![i64::MAX])), "out of range of timestamp").await;
    refuses(db, "timestamp", array(TimestampMicrosecondArray::from(vec![0, i64::MIN])), "row 1 of a batch").await;
    refuses(db, "date", array(Date32Array::from(vec![i32::MAX])), "out of range of date").await;
    refuses(db, "timestamp", array(Int64Array::from(vec![0])), "cast it with a Select").await;
    // SQL has no literal for these on the way here: the server reads them.
    let texts = |values: [&str; 2]| array(StringArray::from(vec![Some(values[0]), None, Some(values[1])]));
    shows(db, "time", texts(["12:34:56", "1:05"]), &["12:34:56", "null", "01:05:00"]).await;
    shows(db, "timetz", texts(["12:34:56+02", "1:05 UTC"]), &["12:34:56+02", "null", "01:05:00+00"]).await;
    shows(db, "interval", texts(["1 day", "PT1M"]), &["1 day", "null", "00:01:00"]).await;
    db.run("DROP TABLE t, levada_offsets; CREATE TABLE t (v time)").await;
    let error = refused(db.sink(&[]), &[rows(vec![("v", texts(["12:34:56", "noon"]))])]).await;
    assert!(error.to_string().contains("invalid input syntax for type time: \"noon\""), "{error}");
    refuses(db, "interval", array(Int64Array::from(vec![0])), "give it as STRING").await;
    refuses(db, "time", array(Int64Array::from(vec![0])), "give it as STRING").await;
}

#[tokio::test]
async fn uuids_json_arrays_and_others() {
    let Some(db) = Database::new("others").await else { return };
    let db = &db;
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    shows(db, "uuid", array(StringArray::from(vec![Some(id), None])), &[id, "null"]).await;
    let raw = FixedSizeBinaryArray::try_from_iter([[0x67u8; 16]].into_iter()).unwrap();
    shows(db, "uuid", array(raw), &["67676767-6767-6767-6767-676767676767"]).await;
    refuses(db, "uuid", array(StringArray::from(vec![id, "no"])), "row 1 of a batch: no is no UUID").await;
    let texts = StringArray::from(vec![Some("{\"b\": 1,  \"a\": [null]}"), None]);
    shows(db, "json", array(texts.clone()), &["{\"b\": 1,  \"a\": [null]}", "null"]).await;
    shows(db, "jsonb", array(texts), &["{\"a\": [null], \"b\": 1}", "null"]).await;
    refuses(
        db,
        "jsonb",
        array(StringArray::from(vec!["{}", "{"])),
        "row 1 of a batch: invalid input syntax for type json",
    )
    .await;
    let people = StructArray::try_new(
        Fields::from(vec![Field::new("n", DataType::Int32, true), Field::new("s", DataType::Utf8, true)]),
        vec![array(Int32Array::from(vec![Some(1), None, Some(3)])), array(StringArray::from(vec!["x\"y", "z", "w"]))],
        Some(NullBuffer::from(vec![true, true, false])),
    )
    .unwrap();
    shows(
        db,
        "jsonb",
        array(people.clone()),
        &["{\"n\": 1, \"s\": \"x\\\"y\"}", "{\"n\": null, \"s\": \"z\"}", "null"],
    )
    .await;
    shows(db, "text", array(people), &["{\"n\":1,\"s\":\"x\\\"y\"}", "{\"n\":null,\"s\":\"z\"}", "null"]).await;
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(9)]),
        Some(vec![Some(1), None, Some(3)]),
        None,
        Some(vec![]),
    ]);
    shows(db, "integer[]", array(lists.slice(1, 3)), &["{1,NULL,3}", "null", "{}"]).await;
    shows(db, "bigint[]", array(lists.clone()), &["{9}", "{1,NULL,3}", "null", "{}"]).await;
    shows(db, "jsonb", array(lists), &["[9]", "[1, null, 3]", "null", "[]"]).await;
    let words = StringArray::from(vec!["a b", "c,\"d\"", ""]);
    let texts = ListArray::new(
        Arc::new(Field::new("item", DataType::Utf8, true)),
        OffsetBuffer::new(vec![0, 2, 3].into()),
        array(words),
        None,
    );
    shows(db, "text[]", array(texts), &["{\"a b\",\"c,\\\"d\\\"\"}", "{\"\"}"]).await;
    let far = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1)]),
        Some(vec![]),
        Some(vec![Some(2), Some(1 << 40)]),
    ]);
    refuses(db, "integer[]", array(far), "row 2 of a batch: in its elements: 1099511627776 is out of range of integer")
        .await;
    // Types without a binary form here are sent as text and cast by the server.
    shows(db, "inet", array(StringArray::from(vec![Some("10.0.0.1/8"), None])), &["10.0.0.1/8", "null"]).await;
    shows(db, "int4range", array(StringArray::from(vec!["[1,5]"])), &["[1,6)"]).await;
    shows(db, "xml", array(StringArray::from(vec!["<a/>"])), &["<a/>"]).await;
    shows(db, "timetz", array(StringArray::from(vec!["10:00:00+02"])), &["10:00:00+02"]).await;
}

#[tokio::test]
async fn many_rows_in_chunks_come_in_order_and_whole() {
    let Some(db) = Database::new("many").await else { return };
    db.run("CREATE TABLE t (i bigint, s text, d numeric(10,2), f double precision)").await;
    let count = 50_000i64;
    let batch = rows(vec![
        ("i", array(Int64Array::from_iter_values(0..count))),
        ("s", array(StringArray::from_iter((0..count).map(|i| (i % 7 > 0).then(|| "x".repeat((i % 50) as usize)))))),
        (
            "d",
            array(
                Decimal128Array::from_iter((0..count).map(|i| (i % 11 > 0).then_some(i128::from(i * 37))))
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        ("f", array(Float64Array::from_iter_values((0..count).map(|i| i as f64 / 8.0)))),
    ]);
    write(db.sink(&[]), &[batch]).await.unwrap();
    let wrong = "SELECT count(*) FROM t FULL JOIN generate_series(0, 49999) AS g(n) ON t.i = g.n \
        WHERE i IS NULL OR n IS NULL OR s IS DISTINCT FROM CASE WHEN n % 7 > 0 THEN repeat('x', n % 50) END \
        OR d IS DISTINCT FROM CASE WHEN n % 11 > 0 THEN n * 37 / 100.0 END OR f <> n / 8.0";
    assert_eq!(db.ask(wrong).await, ["0"]);
    assert_eq!(db.ask("SELECT count(*) FROM t").await, ["50000"]);
}

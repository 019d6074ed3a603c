//! What the sink writes, the source reads back: every type, with nulls, ends of ranges and text of all sorts.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Int32Type, Schema};
use levada_connector_api::*;
use levada_connector_files::{FilesSinkPlugin, FilesSourcePlugin};
use levada_formats::ddl::parse_schema;

use crate::config;

fn rows(ddl: &str, columns: Vec<ArrayRef>) -> RecordBatch {
    let schema: Schema = parse_schema(ddl).unwrap();
    // Time zones and the names of items are the schema's.
    let columns = columns.into_iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| arrow::compute::cast(&column, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn round_trip(format: &str, ddl: &str, rows: &RecordBatch) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let mut sink = FilesSinkPlugin.create(&config(&FilesSinkPlugin, &[("path", &out), ("format", format)])).unwrap();
    sink.open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, Batch::new(rows.clone())).await.unwrap();
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    let mut options = vec![("path", out.as_str()), ("format", format), ("schema", ddl), ("mode", "failfast")];
    if format == "csv" {
        options.extend([("header", "true"), ("enforce.schema", "false"), ("escape", "\"")]);
    }
    let mut source = FilesSourcePlugin.create(&config(&FilesSourcePlugin, &options)).unwrap();
    source.schema().await.unwrap();
    source.open(&TaskContext::new("p"), &Offsets::new()).await.unwrap();
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    assert!(polled.rejected.is_empty(), "{:?}", polled.rejected);
    let batches: Vec<_> = polled.batches.into_iter().map(|batch| batch.rows).collect();
    arrow::compute::concat_batches(&rows.schema(), &batches).unwrap()
}

const SCALARS: &str = "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f32 FLOAT, f64 DOUBLE, s STRING, d DATE, \
                       t TIMESTAMP, n TIMESTAMP_NTZ, p DECIMAL(20,3)";

fn scalars() -> Vec<ArrayRef> {
    let f64s =
        [Some(1.5), Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(-0.1), Some(5e-324), None];
    let micros = [Some(0), Some(1), Some(-1), Some(1_700_000_000_123_456), Some(-62_135_596_800_000_000), None, None];
    vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None, None, None, None])),
        Arc::new(Int8Array::from(vec![Some(i8::MIN), Some(i8::MAX), None, None, None, None, None])),
        Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), None, None, None, None, None])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None, None, None, None, None])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None, None, None, None, None])),
        Arc::new(Float32Array::from_iter(f64s.iter().map(|v| v.map(|v| v as f32)))),
        Arc::new(Float64Array::from_iter(f64s)),
        Arc::new(StringArray::from(vec![
            Some("plain"),
            Some("with, \"quotes\" and 'more'"),
            Some("back\\slash \\\" and \ttab"),
            Some("\u{e9}\u{1f600} \u{7f}"),
            Some(" blanks "),
            Some("#"),
            None,
        ])),
        Arc::new(Date32Array::from(vec![Some(0), Some(-1), Some(19_000), Some(-719_162), None, None, None])),
        Arc::new(TimestampMicrosecondArray::from_iter(micros)),
        Arc::new(TimestampMicrosecondArray::from_iter(micros)),
        Arc::new(
            Decimal128Array::from(vec![Some(12_345), Some(-1), Some(10i128.pow(20) - 1), Some(0), None, None, None])
                .with_precision_and_scale(20, 3)
                .unwrap(),
        ),
    ]
}

#[tokio::test]
async fn every_scalar_comes_back_from_json_and_csv() {
    let rows = rows(SCALARS, scalars());
    for format in ["json", "csv"] {
        let back = round_trip(format, SCALARS, &rows).await;
        for (i, field) in rows.schema().fields().iter().enumerate() {
            assert_eq!(back.column(i), rows.column(i), "{format}: {field}");
        }
    }
}

#[tokio::test]
async fn binary_and_nested_values_come_back_from_json() {
    let ddl = "x BINARY, l ARRAY<INT>, r STRUCT<a: DOUBLE, b: STRING>, m MAP<STRING, INT>";
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k \"1\"");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let struct_fields = match parse_schema(ddl).unwrap().field(2).data_type() {
        DataType::Struct(fields) => fields.clone(),
        other => panic!("{other}"),
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff\xfe+/"[..]), Some(b""), None])),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None])),
        Arc::new(StructArray::new(
            struct_fields,
            vec![
                Arc::new(Float64Array::from(vec![Some(f64::NAN), None, None])),
                Arc::new(StringArray::from(vec![Some("s"), Some(""), None])),
            ],
            Some(vec![true, true, false].into()),
        )),
        Arc::new(map.finish()),
    ];
    let rows = rows(ddl, columns);
    let back = round_trip("json", ddl, &rows).await;
    for (i, field) in rows.schema().fields().iter().enumerate() {
        assert_eq!(back.column(i), rows.column(i), "{field}");
    }
}

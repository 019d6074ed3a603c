//! What the sink writes of values and columns that few have.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use levada_connector_api::*;
use levada_connector_files::{FilesSinkPlugin, FilesSourcePlugin};

use crate::config;

async fn written(options: &[(&str, &str)], rows: RecordBatch, tolerant: bool) -> Result<(Vec<String>, Vec<BadRow>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let entries: Vec<_> = [("path", path)].into_iter().chain(options.iter().copied()).collect();
    let config = config(&FilesSinkPlugin, &entries);
    FilesSinkPlugin.check(&config, &rows.schema())?;
    let mut sink = FilesSinkPlugin.create(&config)?;
    let context = TaskContext { tolerant, ..TaskContext::new("p") };
    sink.open(&context, rows.schema(), OutputMode::Append).await?;
    sink.write(0, Batch::new(rows)).await?;
    let refused = sink.prepare(0).await?;
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await?;
    let files = crate::sink::files(folder.path());
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    Ok((texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect(), refused))
}

#[tokio::test]
async fn times_of_any_year_are_written_as_they_are() {
    let at = TimestampMicrosecondArray::from(vec![Some(9_161_204_112_000_000_000), None, Some(1)]).with_timezone("UTC");
    let at: ArrayRef = Arc::new(at);
    let day: ArrayRef = Arc::new(Date32Array::from(vec![Some(106_030_139), Some(0), None]));
    let inner = Arc::new(Field::new("at", at.data_type().clone(), true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(inner, at.clone())]));
    let flat = RecordBatch::try_from_iter([("at", at.clone()), ("day", day.clone())]).unwrap();
    let deep = RecordBatch::try_from_iter([("at", at), ("day", day), ("s", nested)]).unwrap();
    let (lines, _) = written(&[("format", "json")], deep, false).await.unwrap();
    let far = "+292277-01-01T00:00:00Z";
    assert_eq!(lines[0], format!(r#"{{"at":"{far}","day":"+292270-08-30","s":{{"at":"{far}"}}}}"#));
    assert_eq!(lines[1], r#"{"day":"1970-01-01","s":{}}"#);
    let near = "1970-01-01T00:00:00.000001Z";
    assert_eq!(lines[2], format!(r#"{{"at":"{near}","s":{{"at":"{near}"}}}}"#));
    let (lines, _) = written(&[("format", "csv")], flat, false).await.unwrap();
    assert_eq!(lines, ["at,day", &format!("{far},+292270-08-30"), ",1970-01-01", &format!("{near},")]);
}

#[tokio::test]
async fn a_row_whose_folder_would_have_too_long_a_name_is_a_bad_row() {
    let long = "k".repeat(254);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", &long, "b"]));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let rows = RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap();
    let by = [("partition.by", "k")];
    let (lines, refused) = written(&by, rows.clone(), true).await.unwrap();
    assert_eq!(lines, [r#"{"v":1}"#, r#"{"v":3}"#]);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].reason.contains("256 bytes by the value of 'k'"), "{}", refused[0].reason);
    let error = written(&by, rows, false).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Permanent);
    assert!(error.to_string().contains("errors.tolerance=all"), "{error}");
}

#[test]
fn what_cannot_be_written_is_known_before_anything_runs() {
    let field = |name: &str, ty: DataType| Field::new(name, ty, true);
    let inner = DataType::Struct(vec![field("x", DataType::Int32)].into());
    let csv = [("format", "csv")];
    for (options, fields, wanted) in [
        (&csv[..], vec![field("b", DataType::Binary)], "column 'b' is BINARY"),
        (&csv[..], vec![field("s", inner)], "column 's' is nested"),
        (&[("partition.by", "zz")][..], vec![field("k", DataType::Utf8)], "no column 'zz'"),
        (&[("partition.by", "k")][..], vec![field("k", DataType::Utf8)], "names every column"),
        (&[][..], vec![field("k", DataType::Utf8), field("k", DataType::Int32)], "two columns are called 'k'"),
    ] {
        let entries: Vec<_> = [("path", "out")].into_iter().chain(options.iter().copied()).collect();
        let config = config(&FilesSinkPlugin, &entries);
        let error = FilesSinkPlugin.check(&config, &Arc::new(Schema::new(fields))).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_source_knows_whether_it_would_read_what_a_sink_writes() {
    for (source, recursive, sink, would) in [
        ("in", "false", "in", true),
        ("./in/", "false", "in", true),
        ("in", "false", "in/out", false),
        ("in", "true", "in/out", true),
        ("in", "true", "in/_out", false),
        ("in/*.csv", "false", "in", false),
        ("in/**/*.json", "false", "in/a/b", true),
        ("in/*.json.gz", "false", "in", false),
        ("in", "true", "out", false),
    ] {
        let source = config(&FilesSourcePlugin, &[("path", source), ("recursive", recursive)]);
        let sink = FilesSinkPlugin.would_write(&config(&FilesSinkPlugin, &[("path", sink)])).unwrap();
        assert_eq!(FilesSourcePlugin.would_read(&source, &sink), would, "{source:?} {sink:?}");
    }
}

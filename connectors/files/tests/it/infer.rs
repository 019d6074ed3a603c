//! Columns that are found in the data, and the options of CSV.

use std::fs;

use levada_connector_api::testkit::{canonical_rows, source_conformance};
use levada_connector_api::*;
use levada_formats::ddl::to_ddl;

use crate::source::{make, opened, write};

async fn columns(folder: &std::path::Path, options: &[(&str, &str)]) -> String {
    make(folder, options).schema().await.map_or_else(|e| e.to_string(), |schema| to_ddl(&schema))
}

#[tokio::test]
async fn the_oldest_file_with_rows_gives_the_columns() {
    let folder = tempfile::tempdir().unwrap();
    let json = [("format", "json")];
    assert!(columns(folder.path(), &json).await.contains("no file with rows"));
    write(folder.path(), "0.json", b"\n \n", 0);
    write(folder.path(), "1.json", b"\xef\xbb\xbf{\"n\":1}\r\n{\"n\":2.5,\"s\":\"x\"}", 1);
    write(folder.path(), "2.json", b"{\"other\":1}\n", 2);
    assert_eq!(columns(folder.path(), &json).await, "n DOUBLE, s STRING");
    // So much holds the first line.
    assert_eq!(columns(folder.path(), &[("format", "json"), ("schema.infer.bytes", "20")]).await, "n BIGINT");
}

#[tokio::test]
async fn bad_lines_do_not_make_the_source_permissive() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.json", b"{\"n\":1}\nbroken\n", 1);
    assert_eq!(columns(folder.path(), &[("format", "json")]).await, "n BIGINT");
    let mut source = opened(folder.path(), &[("format", "json")], &Offsets::new()).await;
    assert_eq!(source.poll(&PollLimit::unlimited(0)).await.unwrap().rejected.len(), 1);
    let permissive = [("format", "json"), ("mode", "PERMISSIVE"), ("column.name.of.corrupt.record", "bad")];
    assert_eq!(columns(folder.path(), &permissive).await, "bad STRING, n BIGINT");
    write(folder.path(), "1.json", b"broken\n", 1);
    assert!(columns(folder.path(), &[("format", "json")]).await.contains("no line of the file is a JSON object"));
}

#[tokio::test]
async fn what_is_taken_for_json_has_columns() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.json", b"{n: 007} // first\n{'s': 'x'}\n", 1);
    let json = [
        ("format", "json"),
        ("allow.comments", "true"),
        ("allow.unquoted.field.names", "true"),
        ("allow.numeric.leading.zeros", "true"),
    ];
    assert_eq!(columns(folder.path(), &json).await, "n BIGINT, s STRING");
}

#[tokio::test]
async fn csv_columns_are_named_by_the_header_and_typed_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.csv", b"# made by hand\n\nid,name\n1,Ana\n2,Bento\n", 1);
    let csv = [("format", "csv"), ("header", "true"), ("comment", "#")];
    assert_eq!(columns(folder.path(), &csv).await, "id STRING, name STRING");
    let typed: Vec<_> = csv.into_iter().chain([("infer.schema", "true")]).collect();
    assert_eq!(columns(folder.path(), &typed).await, "id INT, name STRING");
    let mut source = opened(folder.path(), &typed, &Offsets::new()).await;
    // The limit of one row must not cut the file before its header.
    let polled = source.poll(&PollLimit { rows: 1, ..PollLimit::unlimited(0) }).await.unwrap();
    let mut at = Offsets::new();
    at.apply(&polled.ranges).unwrap();
    let mut rows: Vec<_> = polled.batches.into_iter().map(|batch| batch.rows).collect();
    let mut source = opened(folder.path(), &typed, &at).await;
    rows.extend(source.poll(&PollLimit::unlimited(1)).await.unwrap().batches.into_iter().map(|batch| batch.rows));
    assert_eq!(rows.iter().flat_map(canonical_rows).count(), 2);
}

#[tokio::test]
async fn the_contract_holds_for_columns_that_were_found() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..300).map(|i| format!("{i},row {i}\n")).collect();
    write(folder.path(), "a.csv", format!("# one\nn,s\n{rows}").as_bytes(), 1);
    write(folder.path(), "b.csv", b"# two\n#\n\nN,S\n1\n2,b,c\nx,y\n", 2);
    let csv = [("format", "csv"), ("header", "true"), ("infer.schema", "true"), ("comment", "#")];
    let capabilities = SourceCapabilities { replayable: true, bounded: false };
    source_conformance(&|| make(folder.path(), &csv), capabilities).await;
}

#[tokio::test]
async fn a_restart_uses_the_same_columns_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let json = [("format", "json")];
    write(folder.path(), "1.json", b"{\"n\":1}\n", 1);
    let mut source = opened(folder.path(), &json, &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    let mut at = Offsets::new();
    at.apply(&polled.ranges).unwrap();
    // Later files have no say.
    write(folder.path(), "2.json", b"{\"n\":\"text\",\"more\":1}\n", 2);
    let mut again = opened(folder.path(), &json, &at).await;
    assert_eq!(to_ddl(&again.schema().await.unwrap()), "n BIGINT");
    let polled = again.poll(&PollLimit::unlimited(1)).await.unwrap();
    at.apply(&polled.ranges).unwrap();
    // Without the first one the columns would be others.
    fs::remove_file(folder.path().join("1.json")).unwrap();
    let mut third = make(folder.path(), &json);
    third.schema().await.unwrap();
    let error = third.open(&TaskContext::new("p"), &at).await.unwrap_err();
    assert!(error.to_string().contains("set source.schema to 'n BIGINT'"), "{error}");
    assert_eq!(error.retry(), Retry::Permanent);
    opened(folder.path(), &[("format", "json"), ("schema", "n BIGINT")], &at).await;
}

#[tokio::test]
async fn a_header_with_other_names_is_refused_where_names_count() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.csv", b"id,name,name\n1,a,b\n", 1);
    write(folder.path(), "2.csv", b"name,id,name\na,1,b\n", 2);
    let read = async |options: &[(&str, &str)]| {
        let options: Vec<_> = [("format", "csv"), ("header", "true")].iter().chain(options).copied().collect();
        let mut source = opened(folder.path(), &options, &Offsets::new()).await;
        source.poll(&PollLimit::unlimited(0)).await.map(|polled| polled.num_rows())
    };
    let error = read(&[]).await.unwrap_err().to_string();
    assert!(error.contains("2.csv: the header is 'name, id, name', but the columns are 'id, name1, name2'"), "{error}");
    assert_eq!(read(&[("enforce.schema", "true")]).await.unwrap(), 2);
    assert_eq!(read(&[("schema", "a STRING, b STRING, c STRING")]).await.unwrap(), 2);
    assert!(read(&[("schema", "a STRING, b STRING, c STRING"), ("enforce.schema", "false")]).await.is_err());
}

#[tokio::test]
async fn the_options_of_csv_are_those_of_spark() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.csv", b"'a''b'; x ;NA;\n%c;y;'';-oo\nd;1;2;3;4\n", 1);
    let options = [
        ("format", "csv"),
        ("schema", "a STRING, b STRING, c STRING, d DOUBLE"),
        ("separator", ";"),
        ("quote", "'"),
        ("escape", "'"),
        ("comment", "%"),
        ("null.value", "NA"),
        ("empty.value", "none"),
        ("negative.inf", "-oo"),
        ("ignore.leading.white.space", "true"),
        ("ignore.trailing.white.space", "true"),
        ("mode", "DROPMALFORMED"),
    ];
    let rows = async |options: &[(&str, &str)]| {
        let mut source = opened(folder.path(), options, &Offsets::new()).await;
        let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
        let rows: Vec<String> = polled.batches.iter().flat_map(|batch| canonical_rows(&batch.rows)).collect();
        (rows, polled.rejected.len())
    };
    let (found, rejected) = rows(&options).await;
    assert_eq!((found.len(), rejected), (1, 0), "{found:?}");
    assert!(found[0].contains("a'b") && found[0].contains("\"x\"") && !found[0].contains("NA"), "{found:?}");
    write(folder.path(), "1.csv", b"a;y;'';-oo\n", 1);
    let (found, _) = rows(&options).await;
    assert!(found[0].contains("none") && found[0].to_lowercase().contains("-inf"), "{found:?}");
    write(folder.path(), "1.csv", b"a;y;z;1\nd;1;2\n", 1);
    let strict: Vec<_> = options[..11].iter().copied().chain([("mode", "failfast")]).collect();
    assert_eq!(rows(&strict).await.1, 1);
}

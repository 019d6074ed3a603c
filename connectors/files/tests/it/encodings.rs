//! Files in other encodings and with records of other shapes, also from their middle on.

use std::sync::Arc;

use levada_connector_api::testkit::source_conformance;
use levada_connector_api::*;

use crate::source::{all, make, opened, values, write};

/// All rows of a folder, one a poll, each by a source that begins where the one before stopped.
async fn one_by_one(folder: &std::path::Path, options: &[(&str, &str)]) -> Vec<String> {
    let mut at = Offsets::new();
    let until = Arc::new(opened(folder, options, &at).await.latest().await.unwrap());
    let mut rows = Vec::new();
    loop {
        let mut source = opened(folder, options, &at).await;
        let limit = PollLimit { rows: 1, until: Some(until.clone()), ..PollLimit::unlimited(0) };
        let polled = source.poll(&limit).await.unwrap();
        rows.extend(values(&polled));
        at.apply(&polled.ranges).unwrap();
        if polled.ranges.is_empty() {
            return rows;
        }
    }
}

#[tokio::test]
async fn a_file_is_the_same_read_from_its_middle_on() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"one\n||two||three\n\n||", 1);
    let options = [("line.separator", "||")];
    let whole = all(folder.path(), &options).await.0;
    assert_eq!(whole, ["one\n", "two", "three\n\n"]);
    assert_eq!(one_by_one(folder.path(), &options).await, whole);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.csv", b"\"one\nx\",1\n\"two\ny\",2\nthree,3\n", 1);
    let options = [("format", "csv"), ("schema", "a STRING, b INT"), ("multi.line", "true")];
    let whole = all(folder.path(), &options).await.0;
    assert_eq!(whole, ["one\nx", "two\ny", "three"]);
    assert_eq!(one_by_one(folder.path(), &options).await, whole);
}

#[tokio::test]
async fn text_in_another_encoding_is_text() {
    let text = "a,\u{e9}\n\u{fc},\u{df}\nlast,\u{f1}";
    let utf16 = |bom: &[u8]| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        bom.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    let latin1: Vec<u8> = text.chars().map(|c| c as u8).collect();
    for (encoding, bytes) in
        [("ISO-8859-1", latin1), ("UTF-16", utf16(&[0xff, 0xfe])), ("UTF-16LE", utf16(&[])), ("utf-8", text.into())]
    {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.csv", &bytes, 1);
        let options = [("format", "csv"), ("schema", "a STRING, b STRING"), ("encoding", encoding)];
        assert_eq!(all(folder.path(), &options).await.0, ["a", "\u{fc}", "last"], "{encoding}");
        assert_eq!(one_by_one(folder.path(), &options).await, ["a", "\u{fc}", "last"], "{encoding}");
        let capabilities = SourceCapabilities { replayable: true, bounded: false };
        source_conformance(&|| make(folder.path(), &options), capabilities).await;
    }
}

#[tokio::test]
async fn a_file_is_finished_in_the_encoding_that_it_was_begun_in() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"\xe9\nb\nc\n", 1);
    for (old, new) in [("ISO-8859-1", "UTF-8"), ("utf-8", "windows-1252"), ("latin1", "UTF-16")] {
        let mut source = opened(folder.path(), &[("encoding", old)], &Offsets::new()).await;
        let polled = source.poll(&PollLimit { rows: 1, ..PollLimit::unlimited(0) }).await.unwrap();
        let mut at = Offsets::new();
        at.apply(&polled.ranges).unwrap();
        let rest = opened(folder.path(), &[("encoding", old)], &at).await.poll(&PollLimit::unlimited(0)).await.unwrap();
        assert_eq!(values(&rest), ["b", "c"], "{old}");
        let other = opened(folder.path(), &[("encoding", new)], &at).await.poll(&PollLimit::unlimited(0)).await;
        let error = other.unwrap_err().to_string();
        assert!(error.contains("a.txt") && error.contains("encoding"), "{old}, {new}: {error}");
        // What is to be read again ends where it did.
        let until = PollLimit { until: Some(Arc::new(at)), ..PollLimit::unlimited(0) };
        let again = opened(folder.path(), &[("encoding", new)], &Offsets::new()).await.poll(&until).await;
        assert!(again.unwrap_err().to_string().contains("encoding"), "{old}, {new}");
    }
}

#[tokio::test]
async fn limits_make_bad_rows_even_where_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.csv", b"a,1\nb,2,3,4\nlonger,5\n", 1);
    let options = [
        ("format", "csv"),
        ("schema", "a STRING, b INT"),
        ("mode", "PERMISSIVE"),
        ("max.columns", "3"),
        ("max.chars.per.column", "5"),
    ];
    let (rows, bad) = all(folder.path(), &options).await;
    assert_eq!(rows, ["a"]);
    let reasons: Vec<&str> = bad.iter().map(|bad| bad.reason.as_str()).collect();
    assert!(
        matches!(reasons.as_slice(), [many, long] if many.contains("4 values") && long.contains("value 1")),
        "{reasons:?}"
    );
}

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::AsArray as _;
use levada_connector_api::testkit::source_conformance;
use levada_connector_api::*;
use levada_connector_files::FilesSourcePlugin;

use crate::config;

/// Writes a file whose time is `seconds` after a fixed moment.
pub(crate) fn write(folder: &Path, name: &str, content: &[u8], seconds: u64) {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

pub(crate) fn make(folder: &Path, extra: &[(&str, &str)]) -> Box<dyn Source> {
    let path = folder.to_str().unwrap();
    let entries: Vec<_> =
        [("path", path), ("discovery.interval", "1 ms")].into_iter().chain(extra.iter().copied()).collect();
    FilesSourcePlugin.create(&config(&FilesSourcePlugin, &entries)).unwrap()
}

pub(crate) fn values(polled: &Polled) -> Vec<String> {
    let texts =
        polled.batches.iter().flat_map(|b| b.rows.column(0).as_string::<i32>().iter().map(|v| v.unwrap().to_owned()));
    texts.collect()
}

pub(crate) async fn opened(folder: &Path, extra: &[(&str, &str)], from: &Offsets) -> Box<dyn Source> {
    let mut source = make(folder, extra);
    source.schema().await.unwrap();
    source.open(&TaskContext::new("p"), from).await.unwrap();
    source
}

pub(crate) async fn all(folder: &Path, extra: &[(&str, &str)]) -> (Vec<String>, Vec<BadRow>) {
    let mut source = opened(folder, extra, &Offsets::new()).await;
    let until = Some(Arc::new(source.latest().await.unwrap()));
    let (mut lines, mut rejected) = (Vec::new(), Vec::new());
    loop {
        let polled = source.poll(&PollLimit { until: until.clone(), ..PollLimit::unlimited(0) }).await.unwrap();
        lines.extend(values(&polled));
        rejected.extend(polled.rejected);
        if polled.status == PollStatus::End {
            return (lines, rejected);
        }
    }
}

#[tokio::test]
async fn the_contract_holds_for_text() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "b.txt", b"one\ntwo\n\nfour", 1);
    write(folder.path(), "a.txt", "x\r\ny\rz\n\u{e9}\n".as_bytes(), 2);
    write(folder.path(), "empty.txt", b"", 3);
    write(folder.path(), "c.txt", b"last\n", 4);
    let capabilities = SourceCapabilities { replayable: true, bounded: false };
    source_conformance(&|| make(folder.path(), &[]), capabilities).await;
}

#[tokio::test]
async fn files_come_by_time_and_then_by_name_and_hidden_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "z.txt", b"first\n", 1);
    write(folder.path(), "b.txt", b"third\n", 2);
    write(folder.path(), "a.txt", b"second\n", 2);
    write(folder.path(), "_SUCCESS", b"no\n", 0);
    write(folder.path(), ".hidden", b"no\n", 0);
    assert_eq!(all(folder.path(), &[]).await.0, ["first", "second", "third"]);
}

#[tokio::test]
async fn every_line_end_ends_a_line_wherever_chunks_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than several chunks, with ends of all kinds at every alignment.
    let mut content = String::new();
    let mut expected = Vec::new();
    for i in 0..200_000 {
        let line = "w".repeat(i % 60);
        content += &line;
        content += ["\n", "\r\n", "\r"][i % 3];
        // A lone \r before an empty line that ends with \n would be one end.
        expected.push(line);
        if i % 3 == 2 {
            content += "x\n";
            expected.push("x".into());
        }
    }
    write(folder.path(), "a.txt", content.as_bytes(), 1);
    let (lines, _) = all(folder.path(), &[]).await;
    assert_eq!(lines.len(), expected.len());
    assert!(lines == expected);
}

#[tokio::test]
async fn compressed_files_are_read_and_resumed_in_their_middle() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..5000).map(|i| format!("line {i}")).collect();
    let text = lines.join("\n") + "\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    write(folder.path(), "a.txt.gz", &gzip.finish().unwrap(), 1);
    write(folder.path(), "b.txt.zst", &zstd::encode_all(text.as_bytes(), 1).unwrap(), 2);
    let mut at = Offsets::new();
    let mut read = Vec::new();
    for _ in 0..100 {
        let mut source = opened(folder.path(), &[], &at).await;
        let polled = source.poll(&PollLimit { rows: 777, ..PollLimit::unlimited(0) }).await.unwrap();
        read.extend(values(&polled));
        at.apply(&polled.ranges).unwrap();
        if polled.status == PollStatus::Idle && polled.ranges.is_empty() {
            break;
        }
    }
    assert_eq!(read, [lines.clone(), lines].concat());
}

#[tokio::test]
async fn a_trigger_takes_so_many_files() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..5 {
        write(folder.path(), &format!("{i}.txt"), format!("{i}\n").as_bytes(), i);
    }
    let mut source = opened(folder.path(), &[("max.files.per.trigger", "2")], &Offsets::new()).await;
    let mut batches = Vec::new();
    for batch in 0..3 {
        batches.push(values(&source.poll(&PollLimit::unlimited(batch)).await.unwrap()));
    }
    assert_eq!(batches, [vec!["0", "1"], vec!["2", "3"], vec!["4"]]);
    // What a micro-batch cannot hold of a trigger comes in the next, and counts.
    let mut source = opened(folder.path(), &[("max.files.per.trigger", "2")], &Offsets::new()).await;
    let mut found = Vec::new();
    for batch in 0..4 {
        let polled = source.poll(&PollLimit { rows: 1, ..PollLimit::unlimited(batch) }).await.unwrap();
        found.push((polled.num_rows(), polled.status));
    }
    let (more, boundary) = ((1, PollStatus::More), (1, PollStatus::Boundary));
    assert_eq!(found, [more, boundary, more, boundary]);
}

#[tokio::test]
async fn thousands_of_small_files_come_in_few_polls() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..3000 {
        write(folder.path(), &format!("{i:05}.txt"), format!("{i}\n").as_bytes(), 1);
    }
    let mut source = opened(folder.path(), &[], &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    assert_eq!(values(&polled).len(), 3000);
    assert_eq!(polled.ranges.len(), 3000);
}

#[tokio::test]
async fn lines_that_are_no_text_or_too_long_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = b"good\n\xff\xfe\n".to_vec();
    content.extend(vec![b'x'; 10_000_000]);
    content.extend(b"\nalso good\n");
    write(folder.path(), "a.txt", &content, 1);
    let (lines, rejected) = all(folder.path(), &[("max.line.bytes", "1 MB")]).await;
    assert_eq!(lines, ["good", "also good"]);
    let places: Vec<_> = rejected.iter().map(|r| r.position.rsplit('/').next().unwrap()).collect();
    assert_eq!(places, ["a.txt, line 2", "a.txt, line 3"]);
    assert!(rejected[1].raw.len() <= 1024);
    let (lines, _) = all(folder.path(), &[("max.line.bytes", "1 MB"), ("malformed.rows", "null")]).await;
    assert_eq!(lines[1], "\u{fffd}\u{fffd}");
}

/// The rest of a long line is no row, wherever a micro-batch ends and the next run begins.
#[tokio::test]
async fn a_run_that_begins_behind_a_long_line_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = b"one\ntwo\n".to_vec();
    for next in ["three", "four"] {
        content.extend(vec![b'x'; 9_000_000]);
        content.extend(format!("\n{next}\n").bytes());
    }
    // The file ends within one.
    content.extend(vec![b'y'; 3_000_000]);
    write(folder.path(), "a.txt", &content, 1);
    for (rows, bytes) in [(1, usize::MAX), (2, usize::MAX), (usize::MAX, 1), (usize::MAX, 2_000_000), (3, 5_000_000)] {
        let (mut at, mut lines, mut places) = (Offsets::new(), Vec::new(), Vec::new());
        for batch_id in 0.. {
            // A new source each time, as after a restart.
            let mut source = opened(folder.path(), &[("max.line.bytes", "1 MB")], &at).await;
            let polled = source.poll(&PollLimit { rows, bytes, ..PollLimit::unlimited(batch_id) }).await.unwrap();
            if polled.ranges.is_empty() {
                break;
            }
            at.apply(&polled.ranges).unwrap();
            lines.extend(values(&polled));
            for batch in &polled.batches {
                places.extend((0..batch.num_rows()).map(|row| batch.origin.of(row)));
            }
            places.extend(polled.rejected.into_iter().map(|bad| bad.position));
        }
        assert_eq!(lines, ["one", "two", "three", "four"], "{rows} rows, {bytes} bytes");
        let mut numbers: Vec<_> = places.iter().map(|place| place.rsplit_once("line ").unwrap().1).collect();
        numbers.sort();
        assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7"], "{rows} rows, {bytes} bytes");
    }
}

/// Two rows of one line and none of the next are as many rows as lines.
#[tokio::test]
async fn a_place_that_is_not_known_exactly_is_not_told_exactly() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.json", b"[{\"n\":1},{\"n\":2}]\n\n{\"n\":3}\n", 1);
    let mut source = opened(folder.path(), &[("format", "json"), ("schema", "n INT")], &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    assert_eq!(polled.num_rows(), 3);
    for batch in &polled.batches {
        assert!(!batch.origin.of(1).contains("line"), "{}", batch.origin.of(1));
    }
}

#[tokio::test]
async fn what_was_recorded_must_still_be_there() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.txt", b"one\ntwo\n", 1);
    let mut source = opened(folder.path(), &[], &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    let until = Some(Arc::new(polled.ranges.ends()));
    let repeat = async || {
        let mut source = opened(folder.path(), &[], &Offsets::new()).await;
        source.poll(&PollLimit { until: until.clone(), ..PollLimit::unlimited(0) }).await
    };
    assert_eq!(values(&repeat().await.unwrap()), ["one", "two"]);
    // More came: the recorded part is what is read.
    write(folder.path(), "a.txt", b"one\ntwo\nthree\n", 5);
    assert_eq!(values(&repeat().await.unwrap()), ["one", "two"]);
    write(folder.path(), "a.txt", b"one\n", 5);
    let error = repeat().await.unwrap_err();
    assert!(error.to_string().contains("a.txt") && error.to_string().contains("ends at byte 4"), "{error}");
    fs::remove_file(folder.path().join("a.txt")).unwrap();
    let error = repeat().await.unwrap_err();
    assert!(error.to_string().contains("a.txt"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named_before_anything_runs() {
    let mut source = make(Path::new("/nonexistent/in"), &[]);
    let error = source.schema().await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/in: not found"), "{error}");
}

#[tokio::test]
async fn patterns_name_files_in_folders() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("x/y")).unwrap();
    write(folder.path(), "x/a.txt", b"a\n", 1);
    write(folder.path(), "x/y/b.txt", b"b\n", 2);
    write(folder.path(), "x/y/c.csv", b"c\n", 3);
    assert_eq!(all(&folder.path().join("**/*.txt"), &[]).await.0, ["a", "b"]);
    assert_eq!(all(&folder.path().join("x/*.txt"), &[]).await.0, ["a"]);
    assert_eq!(all(&folder.path().join("x/y/c.csv"), &[]).await.0, ["c"]);
    assert_eq!(all(folder.path(), &[("recursive", "true")]).await.0, ["a", "b", "c"]);
}

#[tokio::test]
async fn the_contract_holds_for_json_and_csv() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..300).map(|i| format!("{{\"n\":{i},\"s\":\"row {i}\"}}\n")).collect();
    write(folder.path(), "a.json", rows.as_bytes(), 1);
    write(folder.path(), "b.json", b"{\"n\":1}\n\n{\"n\":2}\nbroken\n{\"n\":\"x\",\"s\":\"y\"}", 2);
    let capabilities = SourceCapabilities { replayable: true, bounded: false };
    let json = [("format", "json"), ("schema", "n INT, s STRING")];
    source_conformance(&|| make(&folder.path().join("*.json"), &json), capabilities).await;
    let rows: String = (0..300).map(|i| format!("{i},row {i}\n")).collect();
    write(folder.path(), "a.csv", format!("n,s\n{rows}").as_bytes(), 1);
    write(folder.path(), "b.csv", b"n,s\n1\n2,b,c\nx,y\n", 2);
    let csv = [("format", "csv"), ("schema", "n INT, s STRING"), ("header", "true")];
    source_conformance(&|| make(&folder.path().join("*.csv"), &csv), capabilities).await;
}

#[tokio::test]
async fn lines_that_cannot_be_decoded_are_named_by_their_line() {
    let folder = tempfile::tempdir().unwrap();
    // Enough for two threads, with a bad line in each half.
    let mut rows = vec!["{\"n\":1}".to_owned(); 60_000];
    rows[7] = "{\"n\":".to_owned();
    rows[59_000] = "[broken".to_owned();
    write(folder.path(), "a.json", rows.join("\n").as_bytes(), 1);
    let mut source = opened(folder.path(), &[("format", "json"), ("schema", "n INT")], &Offsets::new()).await;
    let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
    assert_eq!(polled.num_rows(), 59_998);
    let places: Vec<_> = polled.rejected.iter().map(|r| r.position.rsplit('/').next().unwrap()).collect();
    assert_eq!(places, ["a.json, line 8", "a.json, line 59001"]);
    assert_eq!(polled.rejected[1].raw, b"[broken");
}

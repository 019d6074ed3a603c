use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use levada_connector_api::testkit::{SinkTarget, canonical_rows, sink_conformance};
use levada_connector_api::*;
use levada_connector_files::FilesSinkPlugin;

use crate::config;

struct Folder {
    folder: tempfile::TempDir,
    options: Vec<(&'static str, &'static str)>,
}

pub(crate) fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.file_name().unwrap().to_str().unwrap().starts_with(['.', '_']) => {}
            false => found.push(path),
        }
    }
    found.sort();
    found
}

#[async_trait]
impl SinkTarget for Folder {
    fn make(&self) -> Box<dyn Sink> {
        let path = self.folder.path().join("out");
        let entries: Vec<_> =
            [("path", path.to_str().unwrap())].into_iter().chain(self.options.iter().copied()).collect();
        FilesSinkPlugin.create(&config(&FilesSinkPlugin, &entries)).unwrap()
    }

    async fn visible(&self) -> Vec<String> {
        let out = self.folder.path().join("out");
        if !out.exists() {
            return Vec::new();
        }
        let mut rows = Vec::new();
        for path in files(&out) {
            let file = File::open(&path).unwrap();
            let batches: Vec<RecordBatch> = match path.extension().unwrap().to_str().unwrap() {
                "parquet" => parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1024)
                    .unwrap()
                    .map(|b| b.unwrap())
                    .collect(),
                "csv" => arrow::csv::ReaderBuilder::new(self.schema())
                    .with_header(true)
                    .build(file)
                    .unwrap()
                    .map(|b| b.unwrap())
                    .collect(),
                "json" => arrow::json::ReaderBuilder::new(self.schema())
                    .build(std::io::BufReader::new(file))
                    .unwrap()
                    .map(|b| b.unwrap())
                    .collect(),
                other => panic!("{other}"),
            };
            rows.extend(batches.iter().flat_map(canonical_rows));
        }
        rows
    }

    async fn clear(&self) {
        let _ = fs::remove_dir_all(self.folder.path().join("out"));
    }

    fn capabilities(&self) -> SinkCapabilities {
        FilesSinkPlugin.capabilities(&config(&FilesSinkPlugin, &[("path", "out")]))
    }
}

#[tokio::test]
async fn the_contract_holds_in_every_format() {
    for format in ["json", "csv", "parquet"] {
        let folder = tempfile::tempdir().unwrap();
        sink_conformance(&Folder { folder, options: vec![("format", format)] }).await;
    }
}

async fn write(target: &Folder, batch_id: u64, rows: RecordBatch) {
    let mut sink = target.make();
    sink.open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap();
    sink.write(batch_id, Batch::new(rows)).await.unwrap();
    sink.commit(&Commit { batch_id, epoch: 1, offsets: Offsets::new() }).await.unwrap();
}

/// What a reader sees at every step: the whole old result or the whole new one.
#[tokio::test]
async fn in_complete_mode_one_rename_replaces_the_result() {
    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("format", "json")] };
    let out = target.folder.path().join("out");
    fs::create_dir(&out).unwrap();
    // Of another mode, and of a run that was killed.
    fs::write(out.join("part-00000-00000000000000000007.csv"), "old\n").unwrap();
    fs::write(out.join(".part-00000.json.1-0.staged"), "half").unwrap();
    // Of another task, and of another program.
    fs::write(out.join("part-00001.json"), "{\"task\":1}\n").unwrap();
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (log, folder) = (seen.clone(), out.clone());
    let look = move |point: &str| {
        let texts: Vec<String> = files(&folder).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        log.lock().unwrap().push((point.to_owned(), texts.concat()));
        Ok(())
    };
    let context = TaskContext { faults: Faults::hook(look), ..TaskContext::new("p") };
    let number = |n: i64| RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![n, n])) as _)]).unwrap();
    let mut sink = target.make();
    sink.open(&context, number(0).schema(), OutputMode::Complete).await.unwrap();
    for batch_id in 8..11 {
        sink.write(batch_id, Batch::new(number(batch_id as i64))).await.unwrap();
        sink.commit(&Commit { batch_id, epoch: 1, offsets: Offsets::new() }).await.unwrap();
        let wanted = [out.join("part-00000.json"), out.join("part-00001.json")];
        assert_eq!(files(&out), wanted, "after batch {batch_id}");
    }
    let staged =
        fs::read_dir(&out).unwrap().filter(|e| e.as_ref().unwrap().path().extension().unwrap_or_default() == "staged");
    assert_eq!(staged.count(), 0, "something is left staged");
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let result = |n: i64| format!("{{\"n\":{n}}}\n{{\"n\":{n}}}\n{{\"task\":1}}\n");
    let at = |point: &str| seen.iter().filter(|(p, _)| p == point).map(|(_, text)| text.clone()).collect::<Vec<_>>();
    // The first batch finds what another mode has left, which it cannot replace by a rename.
    assert_eq!(at("files.sink.complete.before")[1..], [result(8), result(9)]);
    assert_eq!(at("files.sink.complete.after")[1..], [result(9), result(10)]);
    assert_eq!(at("files.sink.replace.after"), [result(8)]);
    // A result without rows.
    sink.commit(&Commit { batch_id: 11, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    assert_eq!(files(&out), [out.join("part-00001.json")]);
}

#[tokio::test]
async fn in_complete_mode_folders_without_rows_go() {
    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("partition.by", "day")] };
    let out = target.folder.path().join("out");
    let rows = |days: &[&str]| {
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(0..days.len() as i64)) as _),
            ("day", Arc::new(StringArray::from(days.to_vec())) as _),
        ])
        .unwrap()
    };
    let mut sink = target.make();
    sink.open(&TaskContext::new("p"), rows(&[]).schema(), OutputMode::Complete).await.unwrap();
    for (batch_id, days) in [["mon", "tue"], ["tue", "a/b"]].into_iter().enumerate() {
        let batch_id = batch_id as u64;
        sink.write(batch_id, Batch::new(rows(&days))).await.unwrap();
        sink.commit(&Commit { batch_id, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    }
    assert_eq!(files(&out), [out.join("day=a%2Fb/part-00000.json"), out.join("day=tue/part-00000.json")]);
}

#[tokio::test]
async fn columns_become_folders() {
    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("partition.by", "day,s")] };
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _, true),
        ("day", Arc::new(StringArray::from(vec!["mon", "tue", "mon"])) as _, true),
        ("s", Arc::new(StringArray::from(vec![Some("a/b"), None, Some("a/b")])) as _, true),
    ])
    .unwrap();
    write(&target, 3, rows).await;
    let out = target.folder.path().join("out");
    let name = "part-00000-00000000000000000003.json";
    assert_eq!(
        files(&out),
        [out.join("day=mon/s=a%2Fb").join(name), out.join("day=tue/s=__HIVE_DEFAULT_PARTITION__").join(name)]
    );
    assert_eq!(fs::read_to_string(&files(&out)[0]).unwrap(), "{\"n\":1}\n{\"n\":3}\n");
}

#[tokio::test]
async fn files_can_be_compressed() {
    for (compression, end) in [("gzip", "json.gz"), ("zstd", "json.zst")] {
        let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("compression", compression)] };
        write(&target, 0, target.rows(1)).await;
        let file = &files(&target.folder.path().join("out"))[0];
        assert!(file.to_str().unwrap().ends_with(end));
        let bytes = fs::read(file).unwrap();
        let text = match compression {
            "gzip" => std::io::read_to_string(flate2::read::GzDecoder::new(&bytes[..])).unwrap(),
            _ => String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap(),
        };
        assert_eq!(text.lines().count(), 10);
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_said_before_the_first_batch() {
    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("partition.by", "dya")] };
    let rows = RecordBatch::try_from_iter([("day", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
    let error = target.make().open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap_err();
    assert!(error.to_string().contains("did you mean 'day'"), "{error}");
    let error = target.make().open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// What is given in capitals is the same as in small letters: once it made Parquet files with a gzip header in them.
#[tokio::test]
async fn format_and_compression_may_be_in_any_case() {
    let raw = |format: &str, compression: &str| {
        let entries = [("path", "out"), ("format", format), ("compression", compression)];
        let raw = entries.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        let config = FilesSinkPlugin.config_def().parse(&raw, "").unwrap();
        FilesSinkPlugin.validate(&config)
    };
    for (format, compression) in [("Parquet", "GZIP"), ("parquet", "Gzip"), ("JSON", "Snappy")] {
        assert_eq!(raw(format, compression).len(), 1, "{format} {compression}");
    }
    for compression in ["SNAPPY", "Zstd", "None"] {
        let options = vec![("format", "PARQUET"), ("compression", compression)];
        let target = Folder { folder: tempfile::tempdir().unwrap(), options };
        write(&target, 0, target.rows(1)).await;
        assert_eq!(target.visible().await, canonical_rows(&target.rows(1)), "{compression}");
    }
}

fn of(checkpoint: &str) -> TaskContext {
    TaskContext { checkpoint: checkpoint.to_owned(), ..TaskContext::new("p") }
}

async fn write_as(target: &Folder, context: &TaskContext, rows: RecordBatch) -> Result<()> {
    let mut sink = target.make();
    sink.open(context, rows.schema(), OutputMode::Append).await?;
    sink.write(0, Batch::new(rows)).await?;
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await
}

/// Two checkpoints both have a batch 0: the second must not overwrite the first one's file.
#[tokio::test]
async fn a_folder_of_another_checkpoint_is_refused_or_shared() {
    let mut target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![] };
    let (first, second) = (target.rows(1), target.rows(2));
    write_as(&target, &of("one"), first.clone()).await.unwrap();
    let out = target.folder.path().join("out");
    fs::write(out.join(".part-00000-00000000000000000001.json.1-0.staged"), "half").unwrap();
    let error = write_as(&target, &of("two"), second.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for part in ["out", "checkpoint one", "checkpoint two", "pipeline 'p'", "sink.shared"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
    assert_eq!(target.visible().await, canonical_rows(&first));
    assert!(out.join(".part-00000-00000000000000000001.json.1-0.staged").exists(), "it is another's");

    // Beside each other, at every start under the same names.
    target.options = vec![("shared", "true")];
    for _ in 0..2 {
        write_as(&target, &of("two"), second.clone()).await.unwrap();
        write_as(&target, &of("one"), first.clone()).await.unwrap();
    }
    let mut both = [canonical_rows(&first), canonical_rows(&second)].concat();
    let mut found = target.visible().await;
    both.sort();
    found.sort();
    assert_eq!(found, both);
    // An emptied folder is nobody's.
    target.options = vec![];
    target.clear().await;
    write_as(&target, &of("three"), second.clone()).await.unwrap();
    assert_eq!(target.visible().await, canonical_rows(&second));
}

#[tokio::test]
async fn in_complete_mode_files_of_other_programs_stay() {
    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("format", "json")] };
    let out = target.folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let spark = out.join("part-00000-8a9f2c1e-3b5d-4c0a-9a56-0d6a5c1f2b77-c000.json");
    fs::write(&spark, "{\"n\":1}\n").unwrap();
    let mut sink = target.make();
    let rows = target.rows(1);
    sink.open(&of("one"), rows.schema(), OutputMode::Complete).await.unwrap();
    sink.write(0, Batch::new(rows)).await.unwrap();
    sink.commit(&Commit { batch_id: 0, epoch: 1, offsets: Offsets::new() }).await.unwrap();
    assert_eq!(files(&out), [spark, out.join("part-00000.json")]);
}

#[tokio::test]
async fn folders_are_named_as_spark_names_them() {
    use arrow::array::{BinaryArray, BooleanArray, Date32Array, TimestampMicrosecondArray};
    let at = TimestampMicrosecondArray::from(vec![1_704_067_200_500_000]).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(vec![-1])) as _),
        ("At", Arc::new(at) as _),
        ("day", Arc::new(Date32Array::from(vec![19723])) as _),
        ("x", Arc::new(Float64Array::from(vec![1e10])) as _),
        ("b", Arc::new(BooleanArray::from(vec![true])) as _),
        ("s", Arc::new(StringArray::from(vec!["rest"])) as _),
    ])
    .unwrap();
    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("partition.by", "n,at,day,x,b")] };
    write(&target, 0, rows).await;
    let out = target.folder.path().join("out");
    let folder = out.join("n=-1/At=2024-01-01 00%3A00%3A00.5/day=2024-01-01/x=1.0E10/b=true");
    assert_eq!(files(&out), [folder.join("part-00000-00000000000000000000.json")]);

    let target = Folder { folder: tempfile::tempdir().unwrap(), options: vec![("partition.by", "raw")] };
    let rows = RecordBatch::try_from_iter([
        ("raw", Arc::new(BinaryArray::from(vec![&b"\xff"[..]])) as _),
        ("n", Arc::new(Int64Array::from(vec![1])) as _),
    ])
    .unwrap();
    let error = target.make().open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap_err();
    assert!(error.to_string().contains("'raw' is Binary"), "{error}");
}

//! What the console prints, letter for letter as Spark 4 does.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray,
    MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::array::{Int32Builder, StringDictionaryBuilder};
use arrow::datatypes::{DataType, Field, Int32Type};
use levada_connector_api::{Batch, Commit, ErrorKind, Offsets, OutputMode, Retry, Sink, TaskContext};
use levada_connector_basic::console::{Console, ConsoleSink, Options};

use super::{config, config_errors};

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn options(entries: &[(&str, &str)]) -> Options {
    Options::read(&config(&Console, entries)).unwrap()
}

fn commit(batch_id: u64) -> Commit {
    Commit { batch_id, epoch: 1, offsets: Offsets::new() }
}

/// What is printed for micro-batches of these pieces.
async fn print(entries: &[(&str, &str)], batches: &[&[RecordBatch]]) -> String {
    let out = Arc::new(Mutex::new(Vec::new()));
    let mut sink = ConsoleSink::with_writer(options(entries), out.clone());
    let schema = batches[0][0].schema();
    assert!(sink.open(&TaskContext::new("p"), schema, OutputMode::Append).await.unwrap().is_none());
    for (id, pieces) in (0..).zip(batches) {
        for piece in *pieces {
            sink.write(id, Batch::new(piece.clone())).await.unwrap();
        }
        sink.commit(&commit(id)).await.unwrap();
    }
    sink.close().await.unwrap();
    String::from_utf8(out.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn the_word_count_of_sparks_guide() {
    let first = table(vec![("value", strings(&["apache", "spark"])), ("count", longs(&[1, 1]))]);
    let second = table(vec![("value", strings(&["apache", "spark", "hadoop"])), ("count", longs(&[2, 1, 1]))]);
    let printed = print(&[], &[&[first], &[second.slice(0, 1), second.slice(1, 2)]]).await;
    assert_eq!(
        printed,
        "\
-------------------------------------------
Batch: 0
-------------------------------------------
+------+-----+
| value|count|
+------+-----+
|apache|    1|
| spark|    1|
+------+-----+

-------------------------------------------
Batch: 1
-------------------------------------------
+------+-----+
| value|count|
+------+-----+
|apache|    2|
| spark|    1|
|hadoop|    1|
+------+-----+

"
    );
}

#[tokio::test]
async fn without_truncation_cells_stand_to_the_left() {
    let rows = table(vec![("word", strings(&["a", "a word of more than twenty letters"])), ("n", longs(&[1, 1000]))]);
    let printed = print(&[("truncate", "false")], &[&[rows]]).await;
    assert_eq!(
        body(&printed),
        "\
+----------------------------------+----+
|word                              |n   |
+----------------------------------+----+
|a                                 |1   |
|a word of more than twenty letters|1000|
+----------------------------------+----+

"
    );
}

#[tokio::test]
async fn the_first_rows_are_shown_and_the_others_counted() {
    let rows = table(vec![("n", longs(&(0..30).collect::<Vec<_>>()))]);
    let printed = print(&[("num.rows", "2")], &[&[rows.slice(0, 1), rows.slice(1, 29)], &[rows.slice(0, 2)]]).await;
    let tables: Vec<_> = printed.split("-------------------------------------------\nBatch: ").collect();
    assert!(tables[1].ends_with("|  0|\n|  1|\n+---+\nonly showing top 2 rows\n\n"), "{printed}");
    assert!(tables[2].ends_with("|  0|\n|  1|\n+---+\n\n"), "{printed}");
    let one = print(&[("num.rows", "1")], &[&[rows]]).await;
    assert!(one.ends_with("only showing top 1 row\n\n"), "{one}");
}

#[tokio::test]
async fn a_batch_without_rows_is_an_empty_table() {
    let rows = table(vec![("word", strings(&[])), ("n", longs(&[]))]);
    let printed = print(&[], &[&[rows]]).await;
    assert_eq!(body(&printed), "+----+---+\n|word|  n|\n+----+---+\n+----+---+\n\n");
}

#[tokio::test]
async fn every_type_is_written_as_spark_writes_it() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.keys().append_value("none");
    map.values().append_null();
    map.append(true).unwrap();
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append_value("word");
    let pair = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int32, true)), Arc::new(Int32Array::from(vec![1])) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Utf8, true)), Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef),
    ]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None, Some(2)])]);
    let price = Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).unwrap();
    let ts = TimestampMicrosecondArray::from(vec![1_704_067_200_500_000]).with_timezone("UTC");
    let rows = table(vec![
        ("null", Arc::new(StringArray::from(vec![None::<&str>]))),
        ("flag", Arc::new(BooleanArray::from(vec![true]))),
        ("double", Arc::new(Float64Array::from(vec![1e10]))),
        ("price", Arc::new(price)),
        ("ts", Arc::new(ts)),
        ("date", Arc::new(Date32Array::from(vec![19_723]))),
        ("bytes", Arc::new(BinaryArray::from(vec![b"ab\xff".as_slice()]))),
        ("struct", Arc::new(pair)),
        ("list", Arc::new(list)),
        ("map", Arc::new(map.finish())),
        ("word", Arc::new(words.finish())),
    ]);
    let printed = print(&[("truncate", "0")], &[&[rows]]).await;
    let cells: Vec<_> = printed.lines().nth(6).unwrap().trim_matches('|').split('|').map(str::trim_end).collect();
    assert_eq!(
        cells,
        [
            "NULL",
            "true",
            "1.0E10",
            "12.50",
            "2024-01-01 00:00:00.5",
            "2024-01-01",
            "[61 62 FF]",
            "{1, NULL}",
            "[1, NULL, 2]",
            "{k -> 1, none -> NULL}",
            "word"
        ]
    );
}

#[tokio::test]
async fn wide_characters_keep_the_columns_straight() {
    let rows = table(vec![("이름", strings(&["서울", "abc", "line\nbreak"]))]);
    assert_eq!(
        body(&print(&[], &[&[rows]]).await),
        "\
+-----------+
|       이름|
+-----------+
|       서울|
|        abc|
|line\\nbreak|
+-----------+

"
    );
}

#[tokio::test]
async fn an_aborted_batch_is_not_printed() {
    let rows = table(vec![("n", longs(&[7]))]);
    let out = Arc::new(Mutex::new(Vec::new()));
    let mut sink = ConsoleSink::with_writer(options(&[]), out.clone());
    sink.open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap();
    sink.write(0, Batch::new(rows)).await.unwrap();
    assert!(out.lock().unwrap().is_empty(), "printed before the commit");
    sink.abort(0).await.unwrap();
    sink.commit(&commit(0)).await.unwrap();
    assert!(!String::from_utf8_lossy(&out.lock().unwrap()).contains('7'));
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_broken_pipe_is_the_end() {
    let rows = table(vec![("n", longs(&[7]))]);
    let mut sink = ConsoleSink::with_writer(options(&[]), Arc::new(Mutex::new(Broken)));
    sink.open(&TaskContext::new("p"), rows.schema(), OutputMode::Append).await.unwrap();
    let error = sink.commit(&commit(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Io, Retry::Permanent), "{error}");
    assert_eq!(error.remedy(), Some("the program that read the output has ended"));
}

#[test]
fn options_are_read_and_checked() {
    for (text, truncate) in [("true", 20), ("False", 0), ("0", 0), ("7", 7)] {
        assert_eq!(options(&[("truncate", text)]).truncate, truncate);
    }
    assert_eq!(options(&[]), Options { truncate: 20, num_rows: 20 });
    assert_eq!(
        config_errors(&Console, &[("truncate", "some"), ("num.rows", "-1")]),
        ["truncate = 'some': use true, false or a number of characters", "num.rows = '-1': it must be 0 or more"]
    );
}

/// The table below the heading.
fn body(printed: &str) -> &str {
    printed.splitn(4, '\n').nth(3).unwrap()
}

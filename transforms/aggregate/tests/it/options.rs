//! Options, and what is refused before the first batch.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema};
use levada_connector_api::{ErrorKind, OutputMode, Plugin, Registry, TransformPlugin};
use levada_transform_aggregate::{WordCount, register};

use crate::support::{Job, bind_context, config, lines_schema, pairs};

fn bind_error(entries: &[(&str, &str)], schema: Schema) -> String {
    let mut transform = WordCount.create(&config(entries)).unwrap();
    let error = transform.bind(&Arc::new(schema), &bind_context(OutputMode::Complete)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn it_is_registered() {
    let mut registry = Registry::new();
    register(&mut registry).unwrap();
    assert_eq!(registry.transform("wordcount").unwrap().name(), "WordCount");
}

#[test]
fn append_mode_is_refused_with_a_remedy() {
    let mut transform = WordCount.create(&config(&[])).unwrap();
    let error = transform.bind(&lines_schema(), &bind_context(OutputMode::Append)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "output.mode = 'append': append needs a watermark on an aggregation, and a word count has none (set output.mode \
         to complete for all words in every batch, or to update for those that changed)"
    );
}

#[test]
fn the_output_is_a_word_and_a_count() {
    let mut transform = WordCount.create(&config(&[("word.column", "w"), ("count.column", "n")])).unwrap();
    let bound = transform.bind(&lines_schema(), &bind_context(OutputMode::Update)).unwrap();
    assert!(bound.stateful && bound.aggregates);
    let expected = vec![Field::new("w", DataType::Utf8, true), Field::new("n", DataType::Int64, false)];
    assert_eq!(*bound.schema, Schema::new(expected));
}

#[test]
fn a_column_that_is_not_there_or_no_string_is_refused() {
    let schema =
        || Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("values", DataType::Utf8, true)]);
    assert_eq!(
        bind_error(&[], schema()),
        "transforms.words.column: there is no column 'value'; there are id, values (did you mean 'values'?)"
    );
    assert_eq!(
        bind_error(&[("column", "something")], schema()),
        "transforms.words.column: there is no column 'something'; there are id, values (name one of them)"
    );
    assert_eq!(
        bind_error(&[("column", "id")], schema()),
        "transforms.words.column = 'id': the column is Int64, not a string (choose another, or cast it before: a Select \
         with 'CAST(id AS STRING) AS id')"
    );
}

#[test]
fn the_output_columns_must_differ() {
    let config = config(&[("word.column", "x"), ("count.column", "x")]);
    let errors = WordCount.validate(&config);
    let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["count.column = 'x': it must differ from transforms.words.word.column"]);
    assert!(WordCount.create(&config).is_err());
}

#[tokio::test]
async fn whitespace_gives_no_empty_words() {
    let mut job = Job::open(&[("split", "whitespace")], OutputMode::Complete).await;
    let counts = job.run_text(&[" a \t b\u{b}a", "", "  ", "a\u{a0}b x\u{3000}y \u{2028}"]).await;
    assert_eq!(counts, pairs(&[("a", 3), ("b", 2), ("x", 1), ("y", 1)]));
}

#[tokio::test]
async fn lower_case_follows_unicode() {
    let mut job = Job::open(&[("lower.case", "true")], OutputMode::Complete).await;
    let counts = job.run_text(&["The THE the", "STRASSE Straße", "ΟΔΟΣ Ὀδός İ", "ÀB àb"]).await;
    let expected =
        pairs(&[("i\u{307}", 1), ("strasse", 1), ("straße", 1), ("the", 3), ("àb", 2), ("οδος", 1), ("ὀδός", 1)]);
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn lines_in_lower_case_may_be_a_slice_with_nulls() {
    let all = StringArray::from(vec![Some("À"), Some("A b"), None, Some("B"), Some("X")]);
    let mut job = Job::open(&[("lower.case", "true")], OutputMode::Complete).await;
    assert_eq!(job.run([all.slice(1, 3)]).await.unwrap(), pairs(&[("a", 1), ("b", 2)]));
}

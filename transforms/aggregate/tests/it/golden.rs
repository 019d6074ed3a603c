//! Spark's answers, recorded from Spark 4.1.4 with `split(value, ' ')`, `explode` and `groupBy("word").count()`.

use levada_connector_api::{OutputMode, StateKind};

use crate::support::{Job, pairs};

const BATCHES: [&[&str]; 3] =
    [&["to be or not to be", "that is the question"], &["be quick", "or be late"], &["the end is not the end"]];

#[tokio::test]
async fn complete_mode_gives_all_words_each_time() {
    let mut job = Job::open(&[], OutputMode::Complete).await;
    let expected: [&[(&str, i64)]; 3] = [
        &[("be", 2), ("is", 1), ("not", 1), ("or", 1), ("question", 1), ("that", 1), ("the", 1), ("to", 2)],
        &[
            ("be", 4),
            ("is", 1),
            ("late", 1),
            ("not", 1),
            ("or", 2),
            ("question", 1),
            ("quick", 1),
            ("that", 1),
            ("the", 1),
            ("to", 2),
        ],
        &[
            ("be", 4),
            ("end", 2),
            ("is", 2),
            ("late", 1),
            ("not", 2),
            ("or", 2),
            ("question", 1),
            ("quick", 1),
            ("that", 1),
            ("the", 3),
            ("to", 2),
        ],
    ];
    // As Spark's progress had them.
    let sizes = [(8, 8), (10, 4), (11, 4)];
    for ((input, expected), (total, updated)) in BATCHES.iter().zip(expected).zip(sizes) {
        assert_eq!(job.run_text(input).await, pairs(expected));
        let stats = job.transform.stats().unwrap();
        assert_eq!((stats.rows_total, stats.rows_updated, stats.rows_removed), (total, updated, 0));
        assert_eq!(stats.operator, "wordCount");
    }
    assert_eq!(job.run_text(&[]).await, pairs(expected[2]), "a batch without lines gives the whole result, too");
    assert_eq!(job.transform.stats().unwrap().rows_updated, 0);
}

#[tokio::test]
async fn update_mode_gives_the_words_of_the_batch() {
    let mut job = Job::open(&[], OutputMode::Update).await;
    let expected: [&[(&str, i64)]; 3] = [
        &[("be", 2), ("is", 1), ("not", 1), ("or", 1), ("question", 1), ("that", 1), ("the", 1), ("to", 2)],
        &[("be", 4), ("late", 1), ("or", 2), ("quick", 1)],
        &[("end", 2), ("is", 2), ("not", 2), ("the", 3)],
    ];
    for (input, expected) in BATCHES.iter().zip(expected) {
        assert_eq!(job.run_text(input).await, pairs(expected));
    }
    assert_eq!(job.run_text(&[]).await, pairs(&[]));
}

#[tokio::test]
async fn spaces_separate_and_nothing_else_does() {
    let mut job = Job::open(&[], OutputMode::Complete).await;
    let first = job.run_text(&["a  b", " a", "a ", "", "   "]).await;
    assert_eq!(first, pairs(&[("", 8), ("a", 3), ("b", 1)]));
    job.run_text(&["tab\there\ta b", "no\u{a0}break x\u{3000}y"]).await;
    job.run_text(&["crlf line", "lone", "cr", "last line without newline a"]).await;
    let last = ["Straße straße STRASSE", "東京 東京 大阪", "naïve nai\u{308}ve", "😀 😀 a", "\u{feff}bom a"];
    let expected = pairs(&[
        ("", 8),
        ("STRASSE", 1),
        ("Straße", 1),
        ("a", 6),
        ("b", 2),
        ("cr", 1),
        ("crlf", 1),
        ("last", 1),
        ("line", 2),
        ("lone", 1),
        ("nai\u{308}ve", 1),
        ("naïve", 1),
        ("newline", 1),
        ("no\u{a0}break", 1),
        ("straße", 1),
        ("tab\there\ta", 1),
        ("without", 1),
        ("x\u{3000}y", 1),
        ("大阪", 1),
        ("東京", 2),
        ("\u{feff}bom", 1),
        ("😀", 2),
    ]);
    assert_eq!(job.run_text(&last).await, expected);
    let stats = job.transform.stats().unwrap();
    assert_eq!((stats.rows_total, stats.rows_updated), (22, 10));
}

#[tokio::test]
async fn a_restart_goes_on_from_the_checkpoint() {
    let files: [&[&str]; 6] = [
        &["a b0", "b0 a"],
        &["a b1", "b1 a"],
        &["a b2", "b0 a"],
        &["a b3", "b1 a"],
        &["a b4", "b0 a"],
        &["a b5", "b1 a"],
    ];
    let mut first = Job::open(&[], OutputMode::Complete).await;
    let mut second = Job::open(&[], OutputMode::Complete).await;
    for file in &files[..3] {
        first.run_text(file).await;
        second.transform.restore(first.checkpoint(StateKind::Delta).await.unwrap()).await.unwrap();
    }
    drop(first);
    let expected: [&[(&str, i64)]; 3] = [
        &[("a", 8), ("b0", 3), ("b1", 3), ("b2", 1), ("b3", 1)],
        &[("a", 10), ("b0", 4), ("b1", 3), ("b2", 1), ("b3", 1), ("b4", 1)],
        &[("a", 12), ("b0", 4), ("b1", 4), ("b2", 1), ("b3", 1), ("b4", 1), ("b5", 1)],
    ];
    for (file, expected) in files[3..].iter().zip(expected) {
        assert_eq!(second.run_text(file).await, pairs(expected));
    }
}

//! Counts of random texts equal those of a plain map, however the work is cut and spread.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, StringArray};
use levada_connector_api::OutputMode;
use proptest::prelude::*;

use crate::support::{Counts, Job};

/// Words of all lengths around those at which the counting changes its way.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-c]{1,3}",
        2 => "[xy]{14,18}",
        1 => "[äß東😀é]{1,6}",
        1 => "[pq]{30,40}",
        1 => "[A-D]{1,20}",
        1 => "[ab]\u{0}{0,3}",
    ]
}

fn separator() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(" "), 1 => Just("  "), 1 => Just("\t"), 1 => Just("\u{a0}"), 1 => Just("\u{3000} ")]
}

fn line() -> impl Strategy<Value = Option<String>> {
    let text = (prop::collection::vec((word(), separator()), 0..12), prop::bool::ANY).prop_map(|(words, trailing)| {
        let mut line: String = words.iter().flat_map(|(word, separator)| [word.as_str(), separator]).collect();
        if !trailing {
            line.pop();
        }
        line
    });
    prop_oneof![10 => text.prop_map(Some), 1 => Just(Some(String::new())), 1 => Just(None)]
}

/// Lines cut into micro-batches, and those into arrays.
fn cut() -> impl Strategy<Value = Vec<Vec<Vec<Option<String>>>>> {
    let array = prop::collection::vec(line(), 0..12);
    prop::collection::vec(prop::collection::vec(array, 0..4), 1..5)
}

fn add_naive(line: &str, split: &str, lower: bool, counts: &mut BTreeMap<String, i64>, touched: &mut BTreeSet<String>) {
    let line = if lower { line.to_lowercase() } else { line.to_owned() };
    let words: Vec<&str> = match split {
        "space" => line.split(' ').collect(),
        _ => line.split_whitespace().collect(),
    };
    for word in words {
        *counts.entry(word.to_owned()).or_default() += 1;
        touched.insert(word.to_owned());
    }
}

/// The array, as a slice of one with other rows around it, and `times` over so that threads have something to do.
fn array(lines: &[Option<String>], sliced: bool, times: usize) -> StringArray {
    let mut all: Vec<Option<&str>> = Vec::new();
    if sliced {
        all.extend([Some("never counted"), None]);
    }
    for _ in 0..times {
        all.extend(lines.iter().map(Option::as_deref));
    }
    let length = lines.len() * times;
    if sliced {
        all.push(Some("nor this"));
    }
    StringArray::from(all).slice(if sliced { 2 } else { 0 }, length)
}

fn check(
    batches: &[Vec<Vec<Option<String>>>],
    split: &str,
    lower: bool,
    mode: OutputMode,
    threads: usize,
    times: usize,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let (threads, lower_case) = (threads.to_string(), lower.to_string());
        let options = [("split", split), ("lower.case", lower_case.as_str()), ("threads", threads.as_str())];
        let mut job = Job::open(&options, mode).await;
        let mut expected = BTreeMap::new();
        for arrays in batches {
            let mut touched = BTreeSet::new();
            for line in arrays.iter().flatten().flatten() {
                for _ in 0..times {
                    add_naive(line, split, lower, &mut expected, &mut touched);
                }
            }
            let input = arrays.iter().enumerate().map(|(i, lines)| array(lines, i % 2 == 0, times));
            let found = job.run(input).await.unwrap();
            let shown: Counts = expected
                .iter()
                .filter(|(word, _)| mode == OutputMode::Complete || touched.contains(*word))
                .map(|(word, count)| (word.clone(), *count))
                .collect();
            prop_assert_eq!(found, shown);
            prop_assert_eq!(job.transform.stats().unwrap().rows_updated, touched.len() as u64);
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn counts_are_those_of_a_map(
        batches in cut(),
        whitespace in prop::bool::ANY,
        lower in prop::bool::ANY,
        update in prop::bool::ANY,
        threads in 1_usize..4,
    ) {
        let split = if whitespace { "whitespace" } else { "space" };
        let mode = if update { OutputMode::Update } else { OutputMode::Complete };
        check(&batches, split, lower, mode, threads, 1)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn threads_count_as_one(
        batches in cut(),
        whitespace in prop::bool::ANY,
        update in prop::bool::ANY,
        threads in 1_usize..5,
        times in 200_usize..2000,
    ) {
        let split = if whitespace { "whitespace" } else { "space" };
        let mode = if update { OutputMode::Update } else { OutputMode::Complete };
        check(&batches, split, false, mode, threads, times)?;
    }
}

/// So many distinct words that tables are emptied and the output has several batches; orders of arrival differ.
#[tokio::test]
async fn many_words_come_out_sorted_and_whole() {
    for (threads, mode) in [("1", OutputMode::Complete), ("64", OutputMode::Complete), ("3", OutputMode::Update)] {
        let mut job = Job::open(&[("threads", threads)], mode).await;
        let words = 150_000_u64;
        for batch in 1..=2 {
            let number = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % words;
            let lines: Vec<String> = (0..words).map(|i| format!("{:x} long-word-{:0>9}", number(i), i)).collect();
            let found = job.run([StringArray::from(lines.clone())]).await.unwrap();
            let mut expected = BTreeMap::new();
            for line in &lines {
                line.split(' ').for_each(|word| *expected.entry(word.to_owned()).or_insert(0) += batch);
            }
            assert!(found == expected.into_iter().collect::<Counts>(), "{threads} threads");
        }
    }
}

#[tokio::test]
async fn a_line_may_be_longer_than_a_piece_of_work() {
    let mut job = Job::open(&[("threads", "2")], OutputMode::Complete).await;
    let word = "w".repeat(3 << 20);
    let line = format!("{word} {} {word}", "a b ".repeat(1 << 20).trim_end());
    let found = job.run([StringArray::from(vec![line.as_str(), "", &line])]).await.unwrap();
    let expected = [(String::new(), 1), ("a".to_owned(), 2 << 20), ("b".to_owned(), 2 << 20), (word, 4)];
    assert!(found == expected);
}

#[tokio::test]
async fn very_many_empty_lines_are_words() {
    let mut job = Job::open(&[("threads", "2")], OutputMode::Complete).await;
    let found = job.run([StringArray::from(vec![""; 300_000])]).await.unwrap();
    assert_eq!(found, [(String::new(), 300_000)]);
    let nulls: StringArray = std::iter::repeat_n(None::<&str>, 100_000).collect();
    assert_eq!(nulls.null_count(), 100_000);
    assert_eq!(job.run([nulls]).await.unwrap(), [(String::new(), 300_000)]);
}

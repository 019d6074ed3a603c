//! The kit tests itself: what is right passes, and each broken rule is found.

mod broken_sinks;
mod broken_sources;
mod broken_transforms;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::*;
use crate::{Batch, Clock, Commit, OutputMode, Retry, Sink, SourceCapabilities, TaskContext};

/// Rows `first..end`, each with a number and a name.
fn rows(first: i64, end: i64) -> RecordBatch {
    let names = StringArray::from_iter_values((first..end).map(|i| format!("row \"{i}\"")));
    let numbers = Int64Array::from_iter_values(first..end);
    RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("name", Arc::new(names))]).unwrap()
}

/// Drives a test of the kit, and answers with what it panics with.
fn verdict(test: impl Future<Output = ()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(test))).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("?".to_owned(), |text| (*text).to_owned()),
    })
}

fn finds(rule: &str, test: impl Future<Output = ()>) {
    match verdict(test) {
        Ok(()) => panic!("the kit does not find that '{rule}' is broken"),
        Err(message) => assert!(message.contains(rule), "the kit finds something else than '{rule}': {message}"),
    }
}

#[tokio::test]
async fn a_right_source_passes() {
    let batches = vec![rows(0, 40), rows(40, 40), rows(40, 41), rows(41, 100)];
    source_conformance(&|| Box::new(MemorySource::new(batches.clone())), MemorySource::CAPABILITIES).await;
    let capabilities = SourceCapabilities { replayable: false, bounded: true };
    source_conformance(&|| Box::new(MemorySource::new(batches.clone())), capabilities).await;
}

#[tokio::test]
async fn a_source_without_rows_passes() {
    source_conformance(&|| Box::new(MemorySource::new(vec![rows(0, 0)])), MemorySource::CAPABILITIES).await;
}

#[test]
fn rows_are_shown_so_that_they_can_be_told_apart() {
    assert_eq!(canonical_rows(&rows(1, 2)), [r#"{"n": 1, "name": "row \"1\""}"#]);
    let nulls = RecordBatch::try_from_iter([
        ("a", Arc::new(StringArray::from(vec![None, Some("null")])) as ArrayRef),
        ("b", Arc::new(Int64Array::from(vec![None, Some(2)]))),
    ]);
    assert_eq!(canonical_rows(&nulls.unwrap()), [r#"{"a": null, "b": null}"#, r#"{"a": "null", "b": 2}"#]);
}

#[test]
fn a_manual_clock_moves_when_it_is_moved() {
    let clock = ManualClock::at(5);
    assert_eq!(clock.now_ms(), 5);
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(clock.now_ms(), 1005);
    clock.set(7);
    assert_eq!(clock.now_ms(), 7);
}

#[tokio::test]
async fn an_unreliable_sink_fails_as_planned() {
    let store = MemoryStore::new();
    let plan = FailurePlan::at([(1, Fault::Before), (3, Fault::After)]);
    let mut sink = Unreliable::new(Box::new(MemorySink::new(store.clone())), plan.clone());
    let commit = Commit { batch_id: 0, epoch: 1, offsets: crate::Offsets::new() };
    sink.open(&TaskContext::new("p"), rows(0, 0).schema(), OutputMode::Append).await.unwrap();
    let refused = sink.write(0, Batch::new(rows(0, 2))).await.unwrap_err();
    assert_eq!(refused.retry(), Retry::Retriable);
    sink.write(0, Batch::new(rows(0, 2))).await.unwrap();
    let timeout = sink.commit(&commit).await.unwrap_err();
    assert_eq!(timeout.retry(), Retry::Indeterminate);
    // It was reported as lost, and yet it is there.
    assert_eq!((store.rows().len(), plan.calls()), (2, 4));
}

#[tokio::test]
async fn a_seeded_plan_repeats_itself() {
    let failed = |seed| async move {
        let plan = FailurePlan::seeded(seed, 0.2, 0.2);
        let mut sink = Unreliable::new(Box::new(MemorySink::new(MemoryStore::new())), plan);
        let mut verdicts = Vec::new();
        for _ in 0..200 {
            verdicts.push(sink.abort(0).await.err().map(|e| e.retry()));
        }
        verdicts
    };
    let first = failed(1).await;
    assert_eq!(first, failed(1).await);
    assert_ne!(first, failed(2).await);
    let count = |verdict| first.iter().filter(|found| **found == verdict).count();
    assert!((20..60).contains(&count(Some(Retry::Retriable))), "{}", count(Some(Retry::Retriable)));
    assert!((20..60).contains(&count(Some(Retry::Indeterminate))), "{}", count(Some(Retry::Indeterminate)));
}

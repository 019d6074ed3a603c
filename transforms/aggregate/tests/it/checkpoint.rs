//! State that is checkpointed comes back.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use levada_connector_api::{ErrorKind, OutputMode, StateImage, StateKind, StateSection};
use proptest::prelude::*;

use crate::support::{Counts, Job, image_counts, pairs};

#[tokio::test]
async fn a_delta_has_the_new_totals_of_what_changed() {
    let mut job = Job::open(&[], OutputMode::Update).await;
    job.run_text(&["a b b"]).await;
    let delta = job.checkpoint(StateKind::Delta).await.unwrap();
    assert_eq!((delta.kind, delta.sections.len(), delta.sections[0].partition), (StateKind::Delta, 1, 0));
    assert_eq!(image_counts(&delta), pairs(&[("a", 1), ("b", 2)]));
    assert_eq!(delta.fingerprint, "word-count/1;split=space;lower=false;column=value");
    assert!(job.checkpoint(StateKind::Delta).await.is_none());

    job.run_text(&["b c"]).await;
    let snapshot = job.checkpoint(StateKind::Snapshot).await.unwrap();
    assert_eq!(snapshot.kind, StateKind::Snapshot);
    assert_eq!(image_counts(&snapshot), pairs(&[("a", 1), ("b", 3), ("c", 1)]));
    let delta = job.checkpoint(StateKind::Delta).await.unwrap();
    assert_eq!(image_counts(&delta), pairs(&[("b", 3), ("c", 1)]), "a snapshot leaves the delta as it is");

    job.run_text(&[]).await;
    assert!(job.checkpoint(StateKind::Delta).await.is_none());
    job.run_text(&["a"]).await;
    job.run_text(&["b a"]).await;
    let delta = job.checkpoint(StateKind::Delta).await.unwrap();
    assert_eq!(image_counts(&delta), pairs(&[("a", 3), ("b", 4)]), "two batches make one delta");
}

#[tokio::test]
async fn without_words_there_is_no_state() {
    let mut job = Job::open(&[], OutputMode::Complete).await;
    job.run_text(&[]).await;
    assert!(job.checkpoint(StateKind::Snapshot).await.is_none());
}

#[tokio::test]
async fn a_snapshot_replaces_and_a_delta_is_applied_any_number_of_times() {
    let mut job = Job::open(&[], OutputMode::Complete).await;
    job.run_text(&["a b"]).await;
    let snapshot = job.checkpoint(StateKind::Snapshot).await.unwrap();
    job.checkpoint(StateKind::Delta).await;
    job.run_text(&["b c"]).await;
    let delta = job.checkpoint(StateKind::Delta).await.unwrap();

    let mut other = Job::open(&[], OutputMode::Complete).await;
    other.run_text(&["x a"]).await;
    other.transform.restore(snapshot).await.unwrap();
    other.transform.restore(delta.clone()).await.unwrap();
    other.transform.restore(delta).await.unwrap();
    assert!(other.checkpoint(StateKind::Delta).await.is_none());
    assert_eq!(other.run_text(&["a"]).await, pairs(&[("a", 2), ("b", 2), ("c", 1)]));
}

fn image(fingerprint: &str, rows: RecordBatch) -> StateImage {
    let sections = vec![StateSection { partition: 0, batches: vec![rows] }];
    StateImage { kind: StateKind::Snapshot, fingerprint: fingerprint.into(), sections }
}

fn rows(words: Vec<Option<&str>>, counts: Vec<i64>) -> RecordBatch {
    let words: Arc<dyn Array> = Arc::new(StringArray::from(words));
    RecordBatch::try_from_iter([("word", words), ("count", Arc::new(Int64Array::from(counts)))]).unwrap()
}

async fn restore_error(image: StateImage) -> String {
    let mut job = Job::open(&[("split", "whitespace")], OutputMode::Complete).await;
    let error = job.transform.restore(image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    error.to_string()
}

const OURS: &str = "word-count/1;split=whitespace;lower=false;column=value";

#[tokio::test]
async fn state_of_other_options_is_refused_with_their_names() {
    let other = image("word-count/1;split=space;lower=true;column=value", rows(vec![Some("a")], vec![1]));
    assert_eq!(
        restore_error(other).await,
        "the checkpoint was written with other options: transforms.words.split was 'space' and is 'whitespace', \
         transforms.words.lower.case was 'true' and is 'false' (use a new checkpoint.location, or change it back: \
         transforms.words.split=space, transforms.words.lower.case=true)"
    );
    let later = image("word-count/2;x", rows(vec![Some("a")], vec![1]));
    assert_eq!(
        restore_error(later).await,
        "the checkpoint has the state 'word-count/2;x' where 'word-count/1;split=whitespace;lower=false;column=value' is \
         needed (use a new checkpoint.location, or run the version that wrote it)"
    );
}

#[tokio::test]
async fn damaged_state_is_refused() {
    let without_word = image(OURS, rows(vec![None], vec![1]));
    let message = "the state of a word count has a row without a word or a count";
    assert_eq!(restore_error(without_word).await, message);
    assert_eq!(restore_error(image(OURS, rows(vec![Some("a")], vec![-1]))).await, message);
    let count: Arc<dyn Array> = Arc::new(Int64Array::from(vec![1]));
    let other = RecordBatch::try_from_iter([("a", count.clone()), ("b", count)]).unwrap();
    assert_eq!(
        restore_error(image(OURS, other)).await,
        "the state of a word count is Utf8 and Int64, but the checkpoint has Int64, Int64"
    );
}

#[tokio::test]
async fn a_count_beyond_64_bits_is_an_error() {
    let mut job = Job::open(&[("split", "whitespace")], OutputMode::Complete).await;
    let full = rows(vec![Some("a")], vec![i64::MAX - 1]);
    job.transform.restore(image(OURS, full)).await.unwrap();
    assert_eq!(job.run_text(&["a"]).await, pairs(&[("a", i64::MAX)]));
    let error = job.run([StringArray::from(vec!["b a"])]).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Data, "count of word 'a' exceeds 64 bits"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn a_snapshot_and_the_deltas_after_it_are_the_live_state(
        batches in prop::collection::vec(prop::collection::vec("([a-d]{1,2}|long word [e-g]{16,17})( [a-c]){0,3}", 0..6), 1..12),
        snapshot_at in 0_usize..12,
        threads in 1_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let threads = threads.to_string();
            let options = [("threads", threads.as_str())];
            let mut live = Job::open(&options, OutputMode::Complete).await;
            let mut images = Vec::new();
            let mut last = Counts::new();
            for (number, batch) in batches.iter().enumerate() {
                last = live.run([StringArray::from(batch.clone())]).await.unwrap();
                images.extend(live.checkpoint(StateKind::Delta).await);
                if number == snapshot_at {
                    // What came before it is not needed any more.
                    images = live.checkpoint(StateKind::Snapshot).await.into_iter().collect();
                }
            }
            let mut restored = Job::open(&options, OutputMode::Complete).await;
            for image in images {
                restored.transform.restore(image).await.unwrap();
            }
            prop_assert_eq!(restored.run_text(&[]).await, last);
            prop_assert_eq!(
                restored.transform.stats().unwrap().rows_total,
                live.transform.stats().unwrap().rows_total
            );
            let (a, b) = (live.run_text(&["a new z"]).await, restored.run_text(&["a new z"]).await);
            prop_assert_eq!(a, b);
            Ok(())
        })?;
    }
}

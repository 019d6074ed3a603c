//! What cannot be seen from outside: failing threads.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{Batch, BindContext, ErrorKind, OutputMode, Plugin, TaskContext, Transform};

use super::WordCount;
use super::config::Options;
use super::pool::Piece;
use super::transform::WordCountTransform;

async fn open(threads: &str) -> WordCountTransform {
    let raw = RawConfig::from([("threads".to_owned(), threads.to_owned())]);
    let config = WordCount.config_def().parse(&raw, "").unwrap();
    let mut transform = WordCountTransform::new(Options::read(&config));
    let context = BindContext::new("words", OutputMode::Complete);
    transform.bind(&batch(1).rows.schema(), &context).unwrap();
    transform.open(&TaskContext::new("test")).await.unwrap();
    transform
}

fn batch(lines: usize) -> Batch {
    let lines: StringArray = std::iter::repeat_n(Some("to be or not to be"), lines).collect();
    Batch::new(RecordBatch::try_from_iter([("value", Arc::new(lines) as _)]).unwrap())
}

#[tokio::test]
async fn a_panic_in_a_thread_is_an_error_and_nobody_waits_for_it() {
    for threads in ["1", "3"] {
        let mut transform = open(threads).await;
        transform.process(batch(100_000)).await.unwrap();
        transform.pool.as_ref().unwrap().send(Piece::Panic).await.unwrap();
        // More than the queue holds: the others must still be taken out of it.
        let mut failed = None;
        for _ in 0..20 {
            if let Err(error) = transform.process(batch(100_000)).await {
                failed = Some(error);
                break;
            }
        }
        let error = match failed {
            Some(error) => error,
            None => transform.finish(0).await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert_eq!(error.to_string(), "a thread of the word count panicked: a test wants it");
        assert!(transform.finish(0).await.is_err());
    }
}

#[tokio::test]
async fn dropping_it_in_the_middle_ends_its_threads() {
    let mut transform = open("2").await;
    transform.process(batch(1_000_000)).await.unwrap();
    let state = Arc::downgrade(transform.state());
    drop(transform);
    assert!(state.upgrade().is_none(), "a thread still holds the state");
}

#[test]
fn the_transform_must_be_bound_first() {
    let config = WordCount.config_def().parse(&RawConfig::new(), "").unwrap();
    let mut transform = WordCountTransform::new(Options::read(&config));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(transform.process(batch(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

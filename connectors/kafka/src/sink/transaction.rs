//! How a transaction ends.

use std::time::Duration;

use levada_connector_api::{Error, ErrorKind, Faults, Result, Retry};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use super::producer::{self, NO_ROW, Producer, Record, transaction_error};
use super::progress::{Note, Track};

/// How long the brokers may take to end a transaction.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long, where nobody needs to know that it has ended.
const SOON: Duration = Duration::from_secs(5);

/// Sends the progress record, waits until everything has arrived, and commits the transaction. Blocks.
pub(crate) fn finish(producer: &Producer, track: &Track, note: &Note, faults: &Faults) -> Result<()> {
    announce(producer, track, note)?;
    producer::flush(producer).map_err(uncertain)?;
    faults.at("kafka.sink.flushed")?;
    end(producer)?;
    producer.context().end();
    faults.at("kafka.sink.committed")
}

/// Sends a progress record. Blocks.
pub(crate) fn announce(producer: &Producer, track: &Track, note: &Note) -> Result<()> {
    let note = note.encode()?;
    producer.context().announces_in(&track.topic);
    let record = Record::with_opaque_to(&track.topic, NO_ROW).key(track.key.as_bytes());
    producer::enqueue(producer, record.payload(&note).partition(0)).map_err(|error| {
        producer::await_reports(producer, &error);
        producer.context().check().err().unwrap_or(error)
    })
}

pub(super) fn abort(producer: &Producer) -> Result<()> {
    let aborted = producer::while_served(producer, || producer.abort_transaction(PATIENCE));
    producer.context().forget();
    aborted.map_err(|e| transaction_error("aborting a transaction", e))
}

/// Aborts a transaction that nobody waits for. Answers whether that is done: brokers that cannot be reached give it up by
/// themselves, or when the next run takes over, and this client when it is asked once more. Blocks for a few seconds at most.
pub(super) fn abandon(producer: &Producer) -> Result<bool> {
    producer::let_arrive(producer);
    let aborted = producer::while_served(producer, || producer.abort_transaction(SOON));
    producer.context().forget();
    let done = match aborted {
        Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() => {
            tracing::warn!(%error, "a transaction could not be aborted: the brokers give it up by themselves");
            false
        }
        aborted => aborted.map(|()| true).map_err(|e| transaction_error("aborting a transaction", e))?,
    };
    producer.context().end();
    Ok(done)
}

/// Commits the transaction.
fn end(producer: &Producer) -> Result<()> {
    for _ in 0..3 {
        match producer.commit_transaction(PATIENCE) {
            Ok(()) => return Ok(()),
            // The answer is not known: asking again is allowed, and gives it.
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.is_fatal() => {
                tracing::warn!(%error, "the commit of a transaction is asked for again");
            }
            Err(error) => {
                let requires_abort = matches!(&error, KafkaError::Transaction(inner) if inner.txn_requires_abort());
                if requires_abort {
                    let _ = abort(producer);
                }
                return Err(producer::with_topic(producer, transaction_error("committing a transaction", error)));
            }
        }
    }
    let error = Error::new(ErrorKind::Unavailable, "committing a transaction: the brokers do not answer");
    Err(producer::with_topic(producer, error).with_retry(Retry::Indeterminate))
}

/// Whatever did not arrive: the transaction is not committed, and the next run begins with an abort.
pub(super) fn uncertain(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Fenced | ErrorKind::Config | ErrorKind::Data | ErrorKind::NotFound => error,
        _ => error.with_retry(Retry::Retriable),
    }
}

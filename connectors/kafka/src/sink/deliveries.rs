//! What became of the messages that were sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use levada_connector_api::{Error, Origin, Result};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use crate::client::{self, Context, Refusal};

/// What a message carries that is made of no row.
pub(crate) const NO_ROW: usize = usize::MAX;

/// Remembers which rows are under way, the first message that did not arrive, and all that the brokers refuse for
/// their own sake. Each message carries the number of its row within the micro-batch.
pub(crate) struct Deliveries {
    log: Context,
    transactional: bool,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    rows: usize,
    /// Where the rows came from, by the number of the first of each piece.
    origins: Vec<(usize, Origin)>,
    failed: Option<Failed>,
    refused: Vec<(Refusal, Failed)>,
    /// The client has thrown messages away: in an abort, or since the transaction has failed.
    purged: bool,
}

struct Failed {
    row: usize,
    topic: String,
    error: KafkaError,
}

impl Book {
    fn explain(&self, failed: Failed) -> Error {
        let Failed { row, topic, error } = failed;
        let error = client::error(format!("topic '{topic}': a message did not arrive"), error);
        let at = self.origins.partition_point(|(first, _)| *first <= row);
        match at.checked_sub(1).and_then(|at| self.origins.get(at)) {
            Some((first, origin)) if row < self.rows => error.context(origin.of(row - first)),
            _ => error,
        }
    }
}

impl Deliveries {
    /// Of a producer with transactions, or without.
    pub(crate) fn new(transactional: bool) -> Self {
        Self { log: Context::default(), transactional, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many rows follow. Answers with the number of the first.
    pub(crate) fn expect(&self, rows: usize, origin: &Origin) -> usize {
        let mut book = self.book();
        let first = book.rows;
        book.origins.push((first, origin.clone()));
        book.rows += rows;
        first
    }

    /// The micro-batch is over: the next one's rows are counted from 0.
    pub(super) fn forget(&self) {
        *self.book() = Book::default();
    }

    /// Whether one message that does not arrive keeps others from being sent.
    pub(super) fn may_spoil(&self) -> bool {
        self.transactional
    }

    /// Whether the transaction can only be aborted, since a message has not arrived: the client takes and sends no more.
    pub(super) fn is_spoilt(&self) -> bool {
        let book = self.book();
        self.transactional && (book.failed.is_some() || !book.refused.is_empty())
    }

    /// Whether the brokers have refused messages.
    pub(super) fn has_refused(&self) -> bool {
        !self.book().refused.is_empty()
    }

    /// The rows that the brokers have refused since this was asked last, and why.
    pub(super) fn take_refused(&self) -> Vec<(usize, Refusal, String)> {
        let mut book = self.book();
        let refused = std::mem::take(&mut book.refused);
        refused.into_iter().map(|(why, failed)| (failed.row, why, book.explain(failed).to_string())).collect()
    }

    /// Whether messages were thrown away since this was asked last, or forgotten.
    pub(super) fn take_purged(&self) -> bool {
        std::mem::take(&mut self.book().purged)
    }

    /// An error if a message has not arrived.
    pub(super) fn check(&self) -> Result<()> {
        let mut book = self.book();
        // What was refused is why others were not taken.
        let culprit = book.refused.iter().position(|(why, _)| *why != Refusal::Neighbour).unwrap_or(0);
        let failed =
            if book.refused.is_empty() { book.failed.take() } else { Some(book.refused.swap_remove(culprit).1) };
        failed.map_or(Ok(()), |failed| Err(book.explain(failed)))
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, row: usize) {
        let Err((error, message)) = result else { return };
        let code = client::code(error);
        // What an abort throws away has not failed.
        if matches!(code, Some(Code::PurgeQueue | Code::PurgeInflight)) {
            self.book().purged = true;
            return;
        }
        let failed = Failed { row, topic: message.topic().to_owned(), error: error.clone() };
        let mut book = self.book();
        match code.and_then(Refusal::of).filter(|_| row != NO_ROW) {
            Some(why) => book.refused.push((why, failed)),
            None => _ = book.failed.get_or_insert(failed),
        }
    }
}

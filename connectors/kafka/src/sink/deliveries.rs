//! What became of the messages that were sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use levada_connector_api::{Error, Origin, Result};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use crate::client::{self, Context, Refusal};

/// What a message carries that is made of no row.
pub(crate) const NO_ROW: usize = usize::MAX;

/// How often partitions are asked for that rows name and a topic does not have.
const SELDOM: Duration = Duration::from_secs(1);

/// Remembers which rows are under way, the first message that did not arrive, and all that the brokers refuse for
/// their own sake. Each message carries the number of its row within the micro-batch.
pub(crate) struct Deliveries {
    log: Context,
    transactional: bool,
    /// The topics that the micro-batch under way writes to.
    topics: Mutex<BTreeSet<String>>,
    /// The topic that progress records go to.
    progress: OnceLock<String>,
    /// When a topic's partitions were last asked for in vain.
    in_vain: Mutex<BTreeMap<String, Instant>>,
    /// Nobody wants what is under way any more.
    unwanted: AtomicBool,
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
        Self {
            log: Context::default(),
            transactional,
            topics: Mutex::default(),
            progress: OnceLock::new(),
            in_vain: Mutex::default(),
            unwanted: AtomicBool::new(false),
            book: Mutex::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says of an error why the brokers cannot be reached.
    pub(super) fn explain(&self, error: Error) -> Error {
        self.log.explain(error)
    }

    /// The micro-batch writes to a topic that is there.
    pub(crate) fn writes_to(&self, topic: &str) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains(topic) {
            topics.insert(topic.to_owned());
        }
    }

    /// The micro-batch writes a progress record to a topic, which is the same for all.
    pub(super) fn announces_in(&self, topic: &str) {
        self.progress.get_or_init(|| topic.to_owned());
        self.writes_to(topic);
    }

    /// Whether progress records go to this topic.
    pub(super) fn is_progress(&self, topic: &str) -> bool {
        self.progress.get().is_some_and(|progress| progress == topic)
    }

    /// The topics that the micro-batch writes to.
    pub(super) fn topics(&self) -> BTreeSet<String> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether to ask for a topic's partitions: not if it was in vain a moment ago, as many rows may name one that is not there.
    pub(super) fn may_ask_for(&self, topic: &str) -> bool {
        let in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        in_vain.get(topic).is_none_or(|at| at.elapsed() >= SELDOM)
    }

    /// It was in vain.
    pub(super) fn asked_in_vain(&self, topic: &str) {
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        in_vain.insert(topic.to_owned(), Instant::now());
    }

    /// So many rows follow. Answers with the number of the first.
    pub(crate) fn expect(&self, rows: usize, origin: &Origin) -> usize {
        let mut book = self.book();
        let first = book.rows;
        book.origins.push((first, origin.clone()));
        book.rows += rows;
        first
    }

    /// The micro-batch is over: whether the topics that it has written to are there does not matter any more.
    pub(super) fn end(&self) {
        self.forget();
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Rows are counted from 0 again.
    pub(super) fn forget(&self) {
        *self.book() = Book::default();
        self.unwanted.store(false, Ordering::Release);
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

    /// What is under way is thrown away: whoever waits for it ends.
    pub(super) fn give_up(&self) {
        self.unwanted.store(true, Ordering::Release);
    }

    /// Whether it is, or the transaction can only be aborted.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_spoilt() || self.unwanted.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_partition_do_not_ask_again_and_again() {
        let deliveries = Deliveries::new(true);
        assert!(deliveries.may_ask_for("a") && deliveries.may_ask_for("a"), "it helps");
        deliveries.asked_in_vain("a");
        assert!(!deliveries.may_ask_for("a") && deliveries.may_ask_for("b"));
        deliveries.in_vain.lock().unwrap().insert("a".to_owned(), Instant::now() - SELDOM);
        assert!(deliveries.may_ask_for("a"));
    }

    #[test]
    fn topics_are_those_of_the_micro_batch_under_way() {
        let deliveries = Deliveries::new(true);
        deliveries.writes_to("events-1");
        // The rows that brokers do not refuse are sent again.
        deliveries.forget();
        assert_eq!(deliveries.topics(), BTreeSet::from(["events-1".to_owned()]));
        deliveries.end();
        deliveries.writes_to("events-2");
        assert_eq!(deliveries.topics(), BTreeSet::from(["events-2".to_owned()]), "who deletes events-1 stops nobody");
    }
}

//! Rows that the brokers refuse, told apart from the others (`errors.tolerance=all`).
//!
//! The brokers' answers come when most of a micro-batch has been sent, and one refusal spoils a transaction. So the rows are
//! kept until the micro-batch is committed; if some are refused, the transaction is aborted and the others are sent again
//! in a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use levada_connector_api::{BadRow, Batch, Error, ErrorKind, Result, Retry};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;

use super::producer::{self, Producer, transaction_error};
use super::rows::{Layout, Messages};
use super::transaction::abort;
use crate::client::{self, Refusal};

/// What is known of the rows of the micro-batch under way, while bad rows are tolerated. Rows have the numbers that their
/// messages carry.
#[derive(Default)]
pub(super) struct Kept {
    /// The rows, in order.
    batches: Vec<Batch>,
    refused: BTreeMap<usize, String>,
    /// The transaction is spoilt: rows wait to be sent.
    pub(super) waiting: bool,
}

impl Kept {
    /// Keeps rows, of which the client has refused some already.
    pub(super) fn add(&mut self, batch: Batch, refused: impl IntoIterator<Item = (usize, String)>) {
        let first = self.batches.iter().map(Batch::num_rows).sum::<usize>();
        self.refused.extend(refused.into_iter().map(|(row, reason)| (first + row, reason)));
        self.batches.push(batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The rows that are refused.
    pub(super) fn bad_rows(self) -> Vec<BadRow> {
        let mut bad = Vec::with_capacity(self.refused.len());
        let mut refused = self.refused.into_iter().peekable();
        let mut first = 0;
        for batch in &self.batches {
            let end = first + batch.num_rows();
            while let Some((row, reason)) = refused.next_if(|(row, _)| *row < end) {
                bad.push(batch.bad_row(row - first, "sink", reason));
            }
            first = end;
        }
        bad
    }
}

/// How often rows are sent again in vain.
const FRUITLESS: u32 = 10;
/// The wait before it, times how often.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a row.
enum Sent {
    Whole,
    Refused(String),
    /// Nothing more is taken in this transaction.
    Spoilt,
}

/// Whether the client takes no messages in the state that the transaction is in: answers to what the last one has sent may
/// come when the next one has begun.
fn is_late(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<KafkaError>());
    cause.and_then(client::code) == Some(Code::State)
}

/// The way of rows into topics.
pub(super) struct Way {
    pub(super) producer: Producer,
    pub(super) layout: Layout,
    pub(super) topic: Option<Arc<str>>,
    pub(super) exactly_once: bool,
    /// Whether no batch of several messages is too large for the brokers: then a message is refused for its own sake.
    pub(super) exact: bool,
}

impl Way {
    /// Waits until all rows have arrived but those that are refused. Blocks.
    pub(super) fn settle(&self, kept: &mut Kept) -> Result<()> {
        // Rows that were refused together with others: each is tried alone.
        let mut alone = BTreeSet::new();
        let mut fruitless = 0;
        loop {
            producer::wait(&self.producer)?;
            let found = self.producer.context().take_refused();
            // After a refusal of content the client has skipped numbers, which the brokers do not take: it throws away what it
            // has, and begins anew after an abort.
            let purged = self.producer.context().take_purged();
            if found.is_empty() && !purged && !kept.waiting {
                return self.producer.context().check();
            }
            fruitless = if found.is_empty() { fruitless + 1 } else { 0 };
            if fruitless > FRUITLESS {
                self.producer.context().check()?;
                let message = "the brokers have refused rows, and the others cannot be sent again";
                return Err(Error::new(ErrorKind::Unavailable, message).with_retry(Retry::Retriable));
            }
            // What comes late must not hit the new transaction again and again.
            std::thread::sleep(PAUSE * fruitless);
            let mut again = BTreeSet::new();
            // Brokers that know neighbours name the message that is wrong; older ones refuse all alike.
            let named = found.iter().any(|(_, why, _)| *why == Refusal::Neighbour);
            for (row, why, reason) in found {
                let is_known = match why {
                    Refusal::Size => self.exact,
                    Refusal::Content => named,
                    Refusal::Neighbour => {
                        again.insert(row);
                        continue;
                    }
                };
                if is_known || !alone.insert(row) {
                    kept.refused.insert(row, reason);
                } else {
                    again.insert(row);
                }
            }
            kept.waiting = false;
            if self.exactly_once {
                abort(&self.producer)?;
                self.producer.begin_transaction().map_err(|e| transaction_error("beginning a transaction", e))?;
            }
            self.producer.context().forget();
            // Without a transaction the others have arrived.
            let wanted = |row: &usize| self.exactly_once || again.contains(row);
            self.send(kept, &alone, wanted)?;
        }
    }

    fn send(&self, kept: &mut Kept, alone: &BTreeSet<usize>, wanted: impl Fn(&usize) -> bool) -> Result<()> {
        for batch in &kept.batches {
            let messages = self.layout.messages(&batch.rows)?;
            let first = self.producer.context().expect(messages.rows, &batch.origin);
            for row in (0..messages.rows).filter(|row| wanted(&(first + row))) {
                if kept.refused.contains_key(&(first + row)) {
                    continue;
                }
                let is_alone = alone.contains(&(first + row));
                if is_alone {
                    producer::wait(&self.producer)?;
                }
                match self.send_one(&messages, row, first, batch)? {
                    Sent::Whole => {}
                    Sent::Refused(reason) => _ = kept.refused.insert(first + row, reason),
                    Sent::Spoilt => {
                        kept.waiting = true;
                        return Ok(());
                    }
                }
                if is_alone {
                    producer::wait(&self.producer)?;
                }
                if self.producer.context().is_spoilt() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sends a row.
    fn send_one(&self, messages: &Messages, row: usize, first: usize, batch: &Batch) -> Result<Sent> {
        let sent = producer::send_one(&self.producer, self.topic.as_deref(), messages, row, first);
        match sent.inspect_err(|error| producer::await_reports(&self.producer, error)) {
            Ok(()) => Ok(Sent::Whole),
            // The transaction is spoilt: by a row before, or by what came late of the one before it.
            Err(error) if self.producer.context().is_spoilt() || (self.exactly_once && is_late(&error)) => {
                tracing::debug!(%error, "the transaction is aborted, and begun again");
                Ok(Sent::Spoilt)
            }
            Err(error) if producer::is_for_the_row(&error) => Ok(Sent::Refused(error.to_string())),
            Err(error) => Err(error.context(batch.origin.of(row))),
        }
    }
}

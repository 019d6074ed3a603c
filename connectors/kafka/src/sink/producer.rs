//! The producer, and what became of what it sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind, Origin, Result, Retry};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::rows::Messages;
use crate::client::{self, Context};

/// How long what is sent may take to arrive before the micro-batch is given up and repeated.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A producer of ours.
pub(crate) type Producer = Arc<BaseProducer<Deliveries>>;

/// Remembers the first message that did not arrive.
#[derive(Default)]
pub(crate) struct Deliveries {
    log: Context,
    failed: Mutex<Option<(String, KafkaError)>>,
}

impl Deliveries {
    fn take(&self) -> Option<(String, KafkaError)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
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
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        // What an abort throws away has not failed.
        if matches!(client::code(error), Some(Code::PurgeQueue | Code::PurgeInflight)) {
            return;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| (message.topic().to_owned(), error.clone()));
    }
}

/// Sends messages; waits while the client's buffer is full. Blocks. When `tolerant`, it leaves out the rows that are no
/// message, or too large for one, and answers with them.
pub(super) fn send(
    producer: &Producer,
    topic: Option<&str>,
    messages: &Messages,
    origin: &Origin,
    tolerant: bool,
) -> Result<Vec<(usize, String)>> {
    if let (Some(topic), true) = (topic, messages.are_plain()) {
        let refused = super::bulk::send(producer, topic, messages, origin, tolerant)?;
        failures(producer)?;
        return Ok(refused);
    }
    let mut refused = Vec::new();
    for row in 0..messages.rows {
        let sent = match topic.or_else(|| messages.topic(row)) {
            None => Err(Error::data("the row names no topic")),
            Some(topic) => {
                let mut record = BaseRecord::<[u8], [u8]>::to(topic);
                record.key = messages.key(row);
                record.payload = messages.value(row);
                record.partition = messages.partition(row);
                record.timestamp = messages.timestamp(row);
                record.headers = messages.headers(row);
                enqueue(producer, record)
            }
        };
        match sent {
            Err(error) if tolerant && error.kind() == ErrorKind::Data => refused.push((row, error.to_string())),
            sent => sent.map_err(|e| e.context(origin.of(row)))?,
        }
        // What has arrived leaves the client's memory.
        if row % 4096 == 4095 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.poll(Duration::ZERO);
    failures(producer)?;
    Ok(refused)
}

/// Sends one message.
pub(crate) fn enqueue(producer: &Producer, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
    let since = Instant::now();
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, back)) if client::code(&error) == Some(Code::QueueFull) => {
                if since.elapsed() > PATIENCE {
                    return Err(client::error(format!("topic '{}'", back.topic), error));
                }
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, back)) => return Err(client::error(format!("topic '{}'", back.topic), error)),
        }
    }
}

/// Waits until everything has arrived. Blocks.
pub(crate) fn flush(producer: &Producer) -> Result<()> {
    let millis = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
    // rust-rdkafka's own flush ends the flush inside of librdkafka at once and then waits in steps of 100 ms: every small
    // micro-batch would take as long.
    // SAFETY: the client is alive: `producer` holds it.
    #[allow(unsafe_code, reason = "there is no safe binding that flushes for longer than a moment")]
    let answer =
        while_served(producer, || unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), millis) });
    match Code::from(answer) {
        Code::NoError => failures(producer),
        code => {
            failures(producer)?;
            Err(client::error("waiting for messages to arrive", KafkaError::Flush(code)))
        }
    }
}

/// Does what waits for messages to arrive, while somebody else asks for what became of them, as librdkafka wants it.
pub(crate) fn while_served<T>(producer: &Producer, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                producer.poll(Duration::from_millis(2));
            }
        });
        let answer = work();
        done.store(true, Ordering::Relaxed);
        answer
    })
}

fn failures(producer: &Producer) -> Result<()> {
    match producer.context().take() {
        Some((topic, error)) => Err(client::error(format!("topic '{topic}': a message did not arrive"), error)),
        None => Ok(()),
    }
}

/// An error of a transaction, with what it means for the micro-batch: after one that is uncertain, the next run asks.
pub(crate) fn transaction_error(what: &str, error: KafkaError) -> Error {
    let (fatal, abort) = match &error {
        KafkaError::Transaction(inner) => (inner.is_fatal(), inner.txn_requires_abort()),
        _ => (false, false),
    };
    let ours = client::error(what, error);
    match ours.kind() {
        ErrorKind::Fenced | ErrorKind::Config | ErrorKind::Data => ours,
        // It was aborted: nothing of it is visible.
        _ if abort => ours.with_retry(Retry::Retriable),
        _ if fatal => ours.with_retry(Retry::Indeterminate),
        _ => ours.with_retry(Retry::Indeterminate),
    }
}

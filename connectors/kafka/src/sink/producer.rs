//! The producer: sends messages, and waits until they have arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind, Origin, Result, Retry};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::bulk::Turns;
pub(crate) use super::deliveries::{Deliveries, NO_ROW};
use super::rows::Messages;
use super::stall::Stall;
use crate::client;

/// How long what is sent may take to arrive before the micro-batch is given up and repeated.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long one wait is: what has failed in the meantime ends it.
const STEP: Duration = Duration::from_millis(200);

/// How often what has become of messages is asked for while it is waited for: at first, and when it takes long.
const SERVED: Duration = Duration::from_micros(50);
const SELDOM: Duration = Duration::from_millis(1);

/// How long brokers may take to say which partitions a topic has.
const ASKED: Duration = Duration::from_secs(5);

/// How long a report may take that explains why a call has failed.
const REPORTS: Duration = Duration::from_millis(500);

/// A producer of ours.
pub(crate) type Producer = Arc<BaseProducer<Deliveries>>;

/// A message with the number of its row.
pub(crate) type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// Sends messages; waits while the client's buffer is full. Blocks. When `tolerant`, it leaves out the rows that are no
/// message, or too large for one, and answers with them.
pub(super) fn send(
    producer: &Producer,
    topic: Option<&str>,
    messages: &Messages,
    origin: &Origin,
    tolerant: bool,
    turns: Option<&Turns>,
) -> Result<Vec<(usize, String)>> {
    let first = producer.context().expect(messages.rows, origin);
    let sent = match topic.zip(turns) {
        Some((topic, turns)) if messages.are_plain() && turns.know_all_of(messages) => {
            super::bulk::send(producer, topic, messages, first, origin, tolerant, turns)
        }
        _ => each(producer, topic, messages, first, origin, tolerant),
    };
    producer.poll(Duration::ZERO);
    let sent = sent.inspect_err(|error| await_reports(producer, error));
    // What the brokers have refused is why nothing more is taken, and what is tolerated is looked after at the end.
    if !tolerant || !producer.context().has_refused() {
        producer.context().check()?;
    }
    sent
}

/// After an error of a call: the client may take no more because of a message whose report has not been served yet.
pub(super) fn await_reports(producer: &Producer, error: &Error) {
    // That of a row explains itself; what was sent before it is not to leave the client meanwhile.
    if is_for_the_row(error) {
        return;
    }
    let since = Instant::now();
    while producer.context().may_spoil() && !producer.context().is_spoilt() && since.elapsed() < REPORTS {
        producer.poll(Duration::from_millis(10));
    }
}

fn each(
    producer: &Producer,
    topic: Option<&str>,
    messages: &Messages,
    first: usize,
    origin: &Origin,
    tolerant: bool,
) -> Result<Vec<(usize, String)>> {
    let mut refused = Vec::new();
    for row in 0..messages.rows {
        match send_one(producer, topic, messages, row, first) {
            Err(error) if tolerant && is_for_the_row(&error) => refused.push((row, error.to_string())),
            sent => sent.map_err(|e| e.context(origin.of(row)))?,
        }
        // What has arrived leaves the client's memory.
        if row % 4096 == 4095 {
            producer.poll(Duration::ZERO);
        }
    }
    Ok(refused)
}

/// Sends the message of a row; `first` is the number of the first row of `messages`.
pub(super) fn send_one(
    producer: &Producer,
    topic: Option<&str>,
    messages: &Messages,
    row: usize,
    first: usize,
) -> Result<()> {
    let topic = topic.or_else(|| messages.topic(row)).ok_or_else(|| Error::data("the row names no topic"))?;
    let mut record = Record::with_opaque_to(topic, first + row);
    record.key = messages.key(row);
    record.payload = messages.value(row);
    record.partition = messages.partition(row);
    record.timestamp = messages.timestamp(row);
    record.headers = messages.headers(row);
    enqueue(producer, record)
}

/// Whether an error is a row's own fault.
pub(super) fn is_for_the_row(error: &Error) -> bool {
    error.kind() == ErrorKind::Data
}

/// Sends one message.
pub(crate) fn enqueue(producer: &Producer, mut record: Record<'_>) -> Result<()> {
    // Most messages find room at once, and need no clock.
    let (mut waits, mut asked) = (None, false);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((error, back)) if client::code(&error) == Some(Code::QueueFull) => {
                let (since, stall) = waits.get_or_insert_with(|| (Instant::now(), Stall::begin()));
                if since.elapsed() > PATIENCE || producer.context().is_given_up() {
                    return Err(client::error(format!("topic '{}'", back.topic), error));
                }
                record = back;
                producer.poll(Duration::from_millis(10));
                stall.go_on(producer)?;
            }
            // A topic may have got partitions since the client has counted them.
            Err((error, back))
                if client::code(&error) == Some(Code::UnknownPartition)
                    && !asked
                    && producer.context().may_ask_for(back.topic) =>
            {
                if producer.context().is_given_up() {
                    // Whether the row is wrong nobody needs to know, nor does this say so.
                    let message = format!("topic '{}': what is sent is not wanted any more", back.topic);
                    return Err(Error::new(ErrorKind::Unavailable, message).source(error));
                }
                asked = true;
                // Without an answer it is not known whether the row is wrong.
                let failed = |e| client::error(format!("topic '{}': asking for its partitions", back.topic), e);
                producer.client().fetch_metadata(Some(back.topic), ASKED).map_err(failed)?;
                record = back;
            }
            Err((error, back)) => {
                let unknown = back.partition.filter(|_| client::code(&error) == Some(Code::UnknownPartition));
                if asked && unknown.is_some() {
                    producer.context().asked_in_vain(back.topic);
                }
                return Err(match unknown {
                    Some(partition) => Error::data(format!("topic '{}' has no partition {partition}", back.topic))
                        .hint("correct the column that partition.column names, or give the topic more partitions")
                        .source(error),
                    None => client::error(format!("topic '{}'", back.topic), error),
                });
            }
        }
    }
}

/// Waits until everything has arrived. Blocks.
///
/// # Errors
/// Something has not.
pub(crate) fn flush(producer: &Producer) -> Result<()> {
    let waited = wait(producer);
    producer.context().check()?;
    waited
}

/// Waits until it is known of everything whether it has arrived, or until it does not matter any more. Blocks.
pub(super) fn wait(producer: &Producer) -> Result<()> {
    let (since, mut stall) = (Instant::now(), Stall::begin());
    loop {
        match flush_for(producer, STEP) {
            Code::NoError => return Ok(()),
            Code::OperationTimedOut if producer.context().is_given_up() => return Ok(()),
            Code::OperationTimedOut if since.elapsed() < PATIENCE => stall.go_on(producer)?,
            code => {
                let error = client::error("waiting for messages to arrive", KafkaError::Flush(code));
                return Err(with_topic(producer, error));
            }
        }
    }
}

/// Flushes for so long. rust-rdkafka's own flush ends the flush inside of librdkafka at once and then waits in steps of
/// 100 ms: every small micro-batch would take as long.
fn flush_for(producer: &Producer, time: Duration) -> Code {
    let ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive: `producer` holds it.
    #[allow(unsafe_code, reason = "there is no safe binding that flushes for longer than a moment")]
    let answer =
        while_served(producer, || unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), ms) });
    Code::from(answer)
}

/// Gives what is on its way a moment to arrive, as long as anything does. The brokers refuse to end a transaction whose first
/// messages they have not seen, and the client takes that for the end of it all. Blocks.
pub(super) fn let_arrive(producer: &Producer) {
    const MOMENT: Duration = Duration::from_secs(5);
    const NOTHING: Duration = Duration::from_secs(1);
    let (begun, mut since, mut left) = (Instant::now(), Instant::now(), producer.in_flight_count());
    loop {
        let answer = flush_for(producer, STEP);
        let now = producer.in_flight_count();
        if now < left {
            (since, left) = (Instant::now(), now);
        }
        if answer != Code::OperationTimedOut || begun.elapsed() >= MOMENT || since.elapsed() >= NOTHING {
            tracing::debug!(?answer, left = now, "before a transaction is aborted");
            return;
        }
    }
}

/// Does what waits for messages to arrive, while somebody else asks for what became of them, as librdkafka wants it.
pub(crate) fn while_served<T>(producer: &Producer, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut pause = SERVED;
            while !done.load(Ordering::Acquire) {
                // A wait inside of it cannot be cut short, and a small micro-batch takes no longer than that.
                producer.poll(Duration::ZERO);
                std::thread::park_timeout(pause);
                pause = (pause + pause / 4).min(SELDOM);
            }
        });
        let answer = work();
        done.store(true, Ordering::Release);
        served.thread().unpark();
        answer
    })
}

/// The brokers do not always say which topic of a transaction they mean: where the rows go to one, it is that, or the one of
/// the progress records.
pub(super) fn with_topic(producer: &Producer, error: Error) -> Error {
    let topics = producer.context().topics();
    let (progress, written): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| producer.context().is_progress(topic));
    match (error.kind(), written.as_slice()) {
        (ErrorKind::Config | ErrorKind::Unavailable | ErrorKind::NotFound, [topic]) => {
            let or: String = progress.iter().map(|progress| format!(", or progress topic '{progress}'")).collect();
            error.context(format!("topic '{topic}'{or}"))
        }
        _ => error,
    }
}

/// An error of a transaction, with what it means for the micro-batch: after one that is uncertain, the next run asks.
pub(crate) fn transaction_error(what: &str, error: KafkaError) -> Error {
    let abort = matches!(&error, KafkaError::Transaction(inner) if inner.txn_requires_abort());
    let ours = client::error(what, error);
    match ours.kind() {
        ErrorKind::Fenced | ErrorKind::Config | ErrorKind::Data => ours,
        // It was aborted: nothing of it is visible.
        _ if abort => ours.with_retry(Retry::Retriable),
        _ => ours.with_retry(Retry::Indeterminate),
    }
}

//! Many messages at once, where they need neither headers nor times: for each one alone librdkafka reads the clock, twice.
#![allow(unsafe_code, reason = "librdkafka's call for many messages has no safe binding")]

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use levada_connector_api::{Error, Origin, Result};
use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::IntoOpaque as _;

use super::producer::{PATIENCE, Producer, is_for_the_row};
use super::rows::Messages;
use super::stall::Stall;
use crate::client;

/// Messages that are handed over together.
const CHUNK: usize = 4096;
/// librdkafka's number for: wherever the partitioner says.
const ANY_PARTITION: i32 = -1;

/// The partitions that rows without a key go to in turn, a run of rows at a time: finding a place for each row alone is a
/// good part of what sending it costs. Java's partitioner does the same.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    partitions: i32,
    next: Arc<AtomicU32>,
}

impl Turns {
    /// Of a topic with so many partitions.
    pub(super) fn new(partitions: i32) -> Self {
        // Not every run of every task is to begin with the first.
        let first = std::process::id().wrapping_mul(0x9e37_79b9) >> 8;
        Self { partitions, next: Arc::new(AtomicU32::new(first)) }
    }

    /// The topic has so many partitions now.
    pub(super) fn set(&mut self, partitions: i32) {
        self.partitions = partitions;
    }

    /// Whether the topic had all partitions that messages name when they were counted last. librdkafka never forgets one of many
    /// for a partition that it does not know: it would wait for that for ever.
    pub(super) fn know_all_of(&self, messages: &Messages) -> bool {
        messages.all_partitions(|partition| (0..self.partitions).contains(&partition))
    }

    fn next(&self) -> i32 {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.partitions.unsigned_abs().max(1);
        i32::try_from(turn).unwrap_or(0)
    }

    /// How many of `rows` rows are a run: each partition gets its share of a micro-batch.
    fn run(&self, rows: usize) -> usize {
        rows.div_ceil(usize::try_from(self.partitions).unwrap_or(1).max(1)).clamp(1, CHUNK)
    }
}

/// A topic of a producer.
struct Topic<'a> {
    handle: *mut sys::rd_kafka_topic_t,
    _producer: &'a Producer,
}

impl<'a> Topic<'a> {
    fn open(producer: &'a Producer, name: &str) -> Result<Self> {
        let text = CString::new(name).map_err(|_| Error::config(format!("'{}' is no topic", name.escape_default())))?;
        // SAFETY: the client is alive: `producer` holds it; the name ends with a null byte, and no configuration is given.
        let handle = unsafe { sys::rd_kafka_topic_new(producer.client().native_ptr(), text.as_ptr(), ptr::null_mut()) };
        if handle.is_null() {
            return Err(client::error(format!("topic '{name}'"), KafkaError::MessageProduction(Code::InvalidTopic)));
        }
        Ok(Self { handle, _producer: producer })
    }
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle was got once and is given back once; the client is alive.
        unsafe { sys::rd_kafka_topic_destroy(self.handle) };
    }
}

/// Sends messages to a topic, the first of which is of row `first`; waits while the client's buffer is full. Blocks. When
/// `tolerant`, it leaves out the rows that are too large for a message, and answers with them.
pub(super) fn send(
    producer: &Producer,
    name: &str,
    messages: &Messages,
    first: usize,
    origin: &Origin,
    tolerant: bool,
    turns: &Turns,
) -> Result<Vec<(usize, String)>> {
    let topic = Topic::open(producer, name)?;
    let mut refused = Vec::new();
    let run = if messages.find_any_place() { turns.run(messages.rows) } else { CHUNK };
    let mut chunk: Vec<sys::rd_kafka_message_t> = Vec::with_capacity(run.min(messages.rows));
    let (mut next, mut since, mut stall) = (0, Instant::now(), Stall::begin());
    while next < messages.rows {
        chunk.clear();
        chunk.extend((next..messages.rows.min(next + run)).map(|row| message(messages, row, first)));
        let (partition, flags) = match messages.find_any_place() {
            true => (turns.next(), sys::RD_KAFKA_MSG_F_COPY),
            false => (ANY_PARTITION, sys::RD_KAFKA_MSG_F_COPY | sys::RD_KAFKA_MSG_F_PARTITION),
        };
        // SAFETY: the topic is alive; the chunk has as many messages as it says, whose keys and values lie in `messages`,
        // which outlives the call, and are copied.
        unsafe {
            sys::rd_kafka_produce_batch(topic.handle, partition, flags, chunk.as_mut_ptr(), chunk.len() as i32);
        }
        // All behind the first that found no room were refused, too.
        let full = |message: &sys::rd_kafka_message_t| message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL;
        let sent = chunk.iter().position(full).unwrap_or(chunk.len());
        for (row, message) in (next..).zip(chunk.iter().take(sent)) {
            if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let error =
                client::error(format!("topic '{name}'"), KafkaError::MessageProduction(Code::from(message.err)));
            if !tolerant || !is_for_the_row(&error) {
                return Err(error.context(origin.of(row)));
            }
            refused.push((row, error.to_string()));
        }
        producer.poll(Duration::from_millis(if sent < chunk.len() { 5 } else { 0 }));
        if sent > 0 {
            (since, stall) = (Instant::now(), Stall::begin());
            next += sent;
            continue;
        }
        stall.go_on(producer)?;
        if since.elapsed() > PATIENCE || producer.context().is_given_up() {
            let error = KafkaError::MessageProduction(Code::QueueFull);
            return Err(client::error(format!("topic '{name}'"), error).context(origin.of(next)));
        }
    }
    Ok(refused)
}

fn message(messages: &Messages, row: usize, first: usize) -> sys::rd_kafka_message_t {
    let part = |bytes: Option<&[u8]>| bytes.map_or((ptr::null_mut(), 0), |b| (b.as_ptr().cast_mut().cast(), b.len()));
    let ((payload, len), (key, key_len)) = (part(messages.value(row)), part(messages.key(row)));
    sys::rd_kafka_message_t {
        err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: messages.partition(row).unwrap_or(ANY_PARTITION),
        payload,
        len,
        key,
        key_len,
        offset: 0,
        // What the report of its delivery comes with.
        _private: (first + row).into_ptr(),
    }
}

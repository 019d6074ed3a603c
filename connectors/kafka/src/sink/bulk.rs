//! Many messages at once, where they need neither headers nor times: for each one alone librdkafka reads the clock, twice.
#![allow(unsafe_code, reason = "librdkafka's call for many messages has no safe binding")]

use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

use levada_connector_api::{Error, Origin, Result};
use rdkafka::bindings as sys;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::IntoOpaque as _;

use super::producer::{PATIENCE, Producer, is_for_the_row};
use super::rows::Messages;
use crate::client;

/// Messages that are handed over together.
const CHUNK: usize = 4096;
/// librdkafka's number for: wherever the partitioner says.
const ANY_PARTITION: i32 = -1;

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
) -> Result<Vec<(usize, String)>> {
    let topic = Topic::open(producer, name)?;
    let mut refused = Vec::new();
    let mut chunk: Vec<sys::rd_kafka_message_t> = Vec::with_capacity(CHUNK.min(messages.rows));
    let (mut next, mut since) = (0, Instant::now());
    while next < messages.rows {
        chunk.clear();
        chunk.extend((next..messages.rows.min(next + CHUNK)).map(|row| message(messages, row, first)));
        let flags = sys::RD_KAFKA_MSG_F_COPY | sys::RD_KAFKA_MSG_F_PARTITION;
        // SAFETY: the topic is alive; the chunk has as many messages as it says, whose keys and values lie in `messages`,
        // which outlives the call, and are copied.
        unsafe {
            sys::rd_kafka_produce_batch(topic.handle, ANY_PARTITION, flags, chunk.as_mut_ptr(), chunk.len() as i32);
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
            since = Instant::now();
        } else if since.elapsed() > PATIENCE || producer.context().is_spoilt() {
            let error = KafkaError::MessageProduction(Code::QueueFull);
            return Err(client::error(format!("topic '{name}'"), error).context(origin.of(next)));
        }
        next += sent;
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

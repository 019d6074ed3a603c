//! The fast way out of the client: a thread that empties the partitions' queues into columns.
//!
//! rust-rdkafka hands out one message at a time, which costs two to three times as much. Partitions are assigned, never
//! subscribed to, and their queues lead into one queue of ours, so that the consumer's own queue, whose events must not
//! be taken this way, is left to rust-rdkafka.
#![allow(unsafe_code, reason = "librdkafka's callback for many messages has no safe binding")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use levada_connector_api::{Error, Result};
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::columns::{Buffer, Messages};
use crate::client::{self, Consumer, Context};

/// Rows and bytes after which a piece is handed over.
const PIECE_ROWS: usize = 16 << 10;
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that may wait to be taken: with the client's own queue, all that is read ahead.
const PIECES: usize = 6;
/// How long the thread waits for messages before it looks whether it should end.
const WAIT_MS: i32 = 100;
/// So many messages are no small piece.
const FEW: usize = 1024;
/// How long it gathers messages while those that came before have not been taken, unless it is asked for them.
const GATHER: Duration = Duration::from_millis(1);
/// How long who asks for them waits at most.
const GATHERED: Duration = Duration::from_millis(2);

/// A partition to read.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// The first offset to read.
    pub(super) start: i64,
    /// The first offset that must not be read.
    pub(super) stop: Option<i64>,
}

/// What the thread says, in order within a partition. Partitions are places in the assignment.
pub(super) enum Event {
    Messages(Box<Messages>),
    /// Everything before this offset was read: the partition's end for now, or its stop.
    Reached(usize, i64),
    /// The partition cannot be read on; `None`: it concerns all.
    Failed(Option<usize>, RDKafkaErrorCode, String),
}

/// Partitions being read, by a consumer of their own: librdkafka takes a queue's destination away some time after the
/// partition was unassigned, and that would hit the next assignment. When it is dropped, the thread ends by itself.
pub(super) struct Drain {
    pub(super) events: mpsc::Receiver<Event>,
    stop: Arc<AtomicBool>,
    /// Whether the thread has messages that it has not handed over.
    gathers: Arc<AtomicBool>,
    thread: Thread,
}

impl Drain {
    /// Starts reading.
    pub(super) fn start(config: &ClientConfig, assigned: Vec<Assigned>, with_headers: bool) -> Result<Self> {
        let consumer: Consumer =
            config.create_with_context(Context::default()).map_err(|e| client::error("making a consumer", e))?;
        let consumer = Arc::new(consumer);
        let queues = Queues::open(consumer.clone(), &assigned)?;
        let mut list = TopicPartitionList::with_capacity(assigned.len());
        for Assigned { topic, partition, start, .. } in &assigned {
            list.add_partition_offset(topic, *partition, Offset::Offset(*start))
                .map_err(|e| client::error(format!("{topic}-{partition}: offset {start}"), e))?;
        }
        consumer.assign(&list).map_err(|e| client::error("assigning partitions", e))?;
        let (sender, events) = mpsc::channel(PIECES);
        let (stop, gathers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut state = State {
            client: consumer.client().native_ptr(),
            sender,
            stop: stop.clone(),
            gathers: gathers.clone(),
            parts: assigned
                .into_iter()
                .map(|assigned| Part { buffer: Buffer::new(with_headers), done: false, assigned })
                .collect(),
            places: HashMap::new(),
            last: None,
        };
        let thread = std::thread::Builder::new()
            .name("kafka-drain".to_owned())
            .spawn(move || {
                // Taken whole: a closure would take the fields one by one, and their pointers may not change threads.
                let (queues, state) = (queues, &mut state);
                let mut wait = WAIT_MS;
                while !state.stopped() {
                    queues.drain(state, wait);
                    // Many small pieces cost more than a few.
                    let gathers = state.sender.capacity() < PIECES && (1..FEW).contains(&state.rows());
                    state.gathers.store(gathers, Ordering::Release);
                    if gathers {
                        std::thread::park_timeout(GATHER);
                    } else {
                        (0..state.parts.len()).for_each(|place| state.flush(place));
                    }
                    wait = if gathers { 0 } else { WAIT_MS };
                }
            })
            .map_err(|e| Error::io("starting a thread", e))?;
        Ok(Self { events, stop, gathers, thread: thread.thread().clone() })
    }

    /// What is there now.
    pub(super) async fn next(&mut self) -> Option<Event> {
        if let Ok(event) = self.events.try_recv() {
            return Some(event);
        }
        if !self.gathers.load(Ordering::Acquire) {
            return None;
        }
        self.thread.unpark();
        tokio::time::timeout(GATHERED, self.events.recv()).await.ok().flatten()
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Our queue, and those of the partitions that lead into it.
struct Queues {
    consumer: Arc<Consumer>,
    own: *mut sys::rd_kafka_queue_t,
    partitions: Vec<*mut sys::rd_kafka_queue_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; the pointers are owned by this value alone, and the client that
// they belong to lives as long as `consumer`.
unsafe impl Send for Queues {}

impl Queues {
    fn open(consumer: Arc<Consumer>, assigned: &[Assigned]) -> Result<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive: `consumer` holds it.
        let own = unsafe { sys::rd_kafka_queue_new(client) };
        let mut queues = Self { consumer, own, partitions: Vec::with_capacity(assigned.len()) };
        for Assigned { topic, partition, .. } in assigned {
            let name = CString::new(topic.as_str())
                .map_err(|_| Error::config(format!("'{}' is no topic", topic.escape_default())))?;
            // SAFETY: the client is alive, and the name ends with a null byte.
            let queue = unsafe { sys::rd_kafka_queue_get_partition(client, name.as_ptr(), *partition) };
            if queue.is_null() {
                return Err(Error::internal(format!("{topic}-{partition} has no queue")));
            }
            queues.partitions.push(queue);
            // SAFETY: both queues are alive: they are destroyed when `queues` is dropped.
            unsafe { sys::rd_kafka_queue_forward(queue, own) };
        }
        Ok(queues)
    }

    /// Takes all messages that are there, waiting so long for the first.
    fn drain(&self, state: &mut State, wait_ms: i32) {
        let opaque: *mut State = state;
        // SAFETY: the queue is alive; the callback is called on this thread before the function returns, with `opaque`,
        // which nothing else uses in the meantime.
        unsafe { sys::rd_kafka_consume_callback_queue(self.own, wait_ms, Some(on_message), opaque.cast()) };
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "unassigning partitions");
        }
        for queue in &self.partitions {
            // SAFETY: each queue was got once and is given back once; after the forward it no longer refers to ours.
            unsafe {
                sys::rd_kafka_queue_forward(*queue, ptr::null_mut());
                sys::rd_kafka_queue_destroy(*queue);
            }
        }
        // SAFETY: nothing leads into it any more.
        unsafe { sys::rd_kafka_queue_destroy(self.own) };
    }
}

struct Part {
    assigned: Assigned,
    buffer: Buffer,
    /// Its stop is reached.
    done: bool,
}

struct State {
    client: *mut sys::rd_kafka_t,
    sender: mpsc::Sender<Event>,
    stop: Arc<AtomicBool>,
    gathers: Arc<AtomicBool>,
    parts: Vec<Part>,
    /// Places by the topic's handle and the partition.
    places: HashMap<(usize, i32), usize>,
    last: Option<((usize, i32), usize)>,
}

// SAFETY: the pointer to the client is only handed back to librdkafka, which may be called from any thread; the client
// lives at least as long as the `Queues` beside which the state is used.
unsafe impl Send for State {}

/// # Safety
/// `message` must be valid during the call, and `opaque` a `State` that nothing else uses.
unsafe extern "C" fn on_message(message: *mut sys::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: what this function is promised.
    let (message, state) = unsafe { (&*message, &mut *opaque.cast::<State>()) };
    if !state.stopped() {
        state.take(message);
    }
}

impl State {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    #[inline]
    fn take(&mut self, message: &sys::rd_kafka_message_t) {
        let place = self.place(message);
        let (Some(place), RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) = (place, message.err) else {
            return self.event(message, place);
        };
        let Some(part) = self.parts.get_mut(place) else { return };
        if message.offset < part.assigned.start || part.done {
            return;
        }
        if part.assigned.stop.is_some_and(|stop| message.offset >= stop) {
            return self.reached(place, message.offset);
        }
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, and `kind` is there to be written to.
        let time = unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) };
        let kind = match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => -1,
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => 0,
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => 1,
        };
        // SAFETY: a valid message's key and payload are null, or point to so many bytes.
        let (key, value) = unsafe { (bytes(message.key, message.key_len), bytes(message.payload, message.len)) };
        part.buffer.push(message.offset, (time, kind), key, value);
        if let Some(headers) = part.buffer.headers() {
            // SAFETY: the message is valid.
            unsafe { each_header(message, |name, value| headers.push(name, value)) };
            headers.close();
        }
        if part.buffer.rows() >= PIECE_ROWS || part.buffer.bytes() >= PIECE_BYTES {
            self.flush(place);
        }
    }

    /// The place of the message's partition in the assignment.
    #[inline]
    fn place(&mut self, message: &sys::rd_kafka_message_t) -> Option<usize> {
        let key = (message.rkt as usize, message.partition);
        if let Some((last, place)) = self.last
            && last == key
        {
            return Some(place);
        }
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None if message.rkt.is_null() => return None,
            None => {
                // SAFETY: a message's topic is alive as long as the message, and so is its name.
                let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) }.to_string_lossy();
                let same = |part: &Part| part.assigned.topic == name && part.assigned.partition == message.partition;
                let place = self.parts.iter().position(same)?;
                self.places.insert(key, place);
                place
            }
        };
        self.last = Some((key, place));
        Some(place)
    }

    #[cold]
    fn event(&mut self, message: &sys::rd_kafka_message_t, place: Option<usize>) {
        if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            if let Some(place) = place {
                self.reached(place, message.offset);
            }
            return;
        }
        if message.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: the message is valid; its error text lives as long as it does.
        let text = unsafe { sys::rd_kafka_message_errstr(message) };
        let text = match text.is_null() {
            true => String::new(),
            // SAFETY: it is a text that ends with a null byte.
            false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
        };
        if let Some(place) = place {
            self.flush(place);
        }
        self.send(Event::Failed(place, message.err.into(), text));
    }

    #[cold]
    fn reached(&mut self, place: usize, offset: i64) {
        let Some(part) = self.parts.get_mut(place) else { return };
        let stop = part.assigned.stop.unwrap_or(i64::MAX);
        if part.done {
            return;
        }
        part.done = offset >= stop;
        self.flush(place);
        self.send(Event::Reached(place, offset.min(stop)));
    }

    /// The rows that are not handed over.
    fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.buffer.rows()).sum()
    }

    fn flush(&mut self, place: usize) {
        if let Some(part) = self.parts.get_mut(place)
            && part.buffer.rows() > 0
        {
            let messages = part.buffer.finish(place);
            self.send(Event::Messages(Box::new(messages)));
        }
    }

    /// Waits while too much is there already.
    fn send(&mut self, event: Event) {
        if self.sender.blocking_send(event).is_err() {
            self.stop.store(true, Ordering::Relaxed);
            // SAFETY: the client is alive. What is left of the callback's messages goes back to the queue.
            unsafe { sys::rd_kafka_yield(self.client) };
        }
    }
}

/// # Safety
/// `data` must be null or point to `len` bytes that outlive the answer.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: what this function is promised.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// # Safety
/// The message must be valid.
unsafe fn each_header(message: &sys::rd_kafka_message_t, mut found: impl FnMut(&str, Option<&[u8]>)) {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is valid, and the answer is only used if there are headers.
    if unsafe { sys::rd_kafka_message_headers(message, &mut headers) } != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return;
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message; there are none beyond the last, which is said by an error.
        let answer = unsafe { sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) };
        if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return;
        }
        // SAFETY: a header's name ends with a null byte, and its value is null or has so many bytes.
        let (name, value) = unsafe { (CStr::from_ptr(name).to_string_lossy(), bytes(value, size)) };
        found(&name, value);
    }
}

//! Topics' ids: a topic that was deleted and made anew has the same name, and is another one.
#![allow(unsafe_code, reason = "librdkafka's description of topics has no safe binding")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::Arc;

use levada_connector_api::{Error, Result};
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;

use crate::client::{self, Consumer, REQUEST};

/// The id of each topic, by name.
pub(crate) type Ids = BTreeMap<String, Arc<str>>;

/// Frees what librdkafka has made.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it is made once, not null, and is freed once, by its own function.
        unsafe { (self.1)(self.0) };
    }
}

/// The ids of those of `topics` that are there. Brokers before 2.8 have none, and are not asked by clients of theirs. Blocks.
///
/// # Errors
/// The brokers do not answer.
pub(crate) fn of<'a>(consumer: &Consumer, topics: impl Iterator<Item = &'a str>) -> Result<Ids> {
    // A name that is no topic's has been told before.
    let names: BTreeSet<CString> = topics.filter_map(|name| CString::new(name).ok()).collect();
    if names.is_empty() {
        return Ok(Ids::new());
    }
    let timeout = i32::try_from(REQUEST.as_millis()).unwrap_or(i32::MAX);
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let failed = |code: RDKafkaRespErr| client::error("asking for the ids of topics", KafkaError::AdminOp(code.into()));
    let client = consumer.client().native_ptr();
    // SAFETY: the client is alive: `consumer` holds it. All names end with a null byte and outlive the call, which copies them.
    // What is made is freed by `Owned`, each before what it belongs to. What the answer points to lives as long as the event.
    unsafe {
        let queue = Owned(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy);
        let options =
            sys::rd_kafka_AdminOptions_new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let options = Owned(options, sys::rd_kafka_AdminOptions_destroy);
        sys::rd_kafka_AdminOptions_set_request_timeout(options.0, timeout, ptr::null_mut(), 0);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics = Owned(topics, sys::rd_kafka_TopicCollection_destroy);
        sys::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.0);
        let event = sys::rd_kafka_queue_poll(queue.0, timeout);
        if event.is_null() {
            return Err(failed(RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT));
        }
        let event = Owned(event, sys::rd_kafka_event_destroy);
        match Code::from(sys::rd_kafka_event_error(event.0)) {
            Code::NoError => {}
            Code::UnsupportedFeature | Code::UnsupportedVersion => return Ok(Ids::new()),
            _ => return Err(failed(sys::rd_kafka_event_error(event.0))),
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(Error::internal("the ids of topics were asked for, and something else was answered"));
        }
        let mut count = 0;
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = Ids::new();
        for at in 0..count {
            let topic = *found.add(at);
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let is_none = |id| {
                sys::rd_kafka_Uuid_most_significant_bits(id) == 0 && sys::rd_kafka_Uuid_least_significant_bits(id) == 0
            };
            let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || id.is_null() || is_none(id) {
                continue;
            }
            let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
            let id = CStr::from_ptr(sys::rd_kafka_Uuid_base64str(id)).to_string_lossy();
            ids.insert(name.into_owned(), id.as_ref().into());
        }
        Ok(ids)
    }
}

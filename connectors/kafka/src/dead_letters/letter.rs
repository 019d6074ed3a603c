//! A bad row as a message.

use levada_connector_api::{DeadLetter, Stage, TaskContext};
use rdkafka::message::{Header, OwnedHeaders};

use crate::source::decode::KEY;

/// The headers of a letter: those of the record that it was, and with `context` what Kafka Connect adds.
pub(super) fn headers(letter: &DeadLetter, context: Option<&TaskContext>) -> OwnedHeaders {
    let record = letter.row.record.as_deref();
    let mut headers = OwnedHeaders::new();
    for (name, value) in record.iter().flat_map(|record| &record.headers) {
        headers = headers.insert(Header { key: name, value: value.as_deref() });
    }
    let Some(context) = context else { return headers };
    let mut add = |name: &str, value: &str| {
        let taken = std::mem::replace(&mut headers, OwnedHeaders::new_with_capacity(0));
        headers = taken.insert(Header { key: &format!("__connect.errors.{name}"), value: Some(value) });
    };
    if let Some(record) = record {
        add("topic", &record.topic);
        add("partition", &record.partition.to_string());
        add("offset", &record.offset.to_string());
    }
    add("connector.name", &context.pipeline);
    add("task.id", &context.task.to_string());
    let stage = match letter.stage {
        Stage::Source if letter.row.reason.starts_with(KEY) => "KEY_CONVERTER",
        Stage::Source if record.is_some() => "VALUE_CONVERTER",
        Stage::Source => "TASK_POLL",
        Stage::Transform => "TRANSFORMATION",
        Stage::Sink => "TASK_PUT",
    };
    add("stage", stage);
    add("class.name", &letter.class);
    // What tools tell apart by it is a record that is wrong and a service that fails.
    add("exception.class.name", "org.apache.kafka.connect.errors.DataException");
    add("exception.message", &letter.row.reason);
    add("exception.stacktrace", &format!("{}: {}: {}", letter.row.stage, letter.row.position, letter.row.reason));
    headers
}

/// A number that differs when a letter does (FNV-1a): the same in every build.
pub(super) fn digest(letter: &DeadLetter) -> u64 {
    let row = &letter.row;
    let parts = [row.stage.as_bytes(), row.position.as_bytes(), row.reason.as_bytes(), &row.raw];
    let bytes = parts.iter().flat_map(|part| part.iter().chain([&0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

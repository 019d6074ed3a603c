//! Messages that do not arrive because their topic is gone: the client would wait for it as long as for brokers.

use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind, Result, Retry};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;

use super::producer::Producer;

/// How long messages may be under way before it is asked whether their topics are there, and how often then.
const PATIENCE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(500);
/// How long a topic must be unknown: brokers learn of topics, and of leaders, one after the other.
const UNKNOWN: Duration = Duration::from_secs(2);

/// A wait for messages to arrive.
pub(super) struct Stall {
    asked: Instant,
    /// Since when a topic is unknown.
    unknown: Option<(String, Instant)>,
}

impl Stall {
    /// It begins.
    pub(super) fn begin() -> Self {
        Self { asked: Instant::now() + PATIENCE - AGAIN, unknown: None }
    }

    /// It goes on. Blocks for a moment now and then.
    ///
    /// # Errors
    /// A topic that is written to has been unknown to the brokers for a while.
    pub(super) fn go_on(&mut self, producer: &Producer) -> Result<()> {
        if Instant::now().saturating_duration_since(self.asked) < AGAIN {
            return Ok(());
        }
        let unknown = unknown(producer);
        self.asked = Instant::now();
        self.unknown = unknown.map(|topic| match self.unknown.take() {
            Some((before, since)) if before == topic => (before, since),
            _ => (topic, Instant::now()),
        });
        match &self.unknown {
            Some((topic, since)) if since.elapsed() >= UNKNOWN => Err(gone(producer, topic)),
            _ => Ok(()),
        }
    }
}

/// A topic that is written to, and that the brokers do not know for a while. Blocks, if there is one.
pub(super) fn is_gone(producer: &Producer) -> Option<String> {
    let since = Instant::now();
    loop {
        let unknown = unknown(producer)?;
        if since.elapsed() >= UNKNOWN {
            return Some(unknown);
        }
        std::thread::sleep(AGAIN);
    }
}

/// A topic that is written to, and that the brokers do not know; of brokers that do not answer none. Blocks.
fn unknown(producer: &Producer) -> Option<String> {
    for topic in producer.context().topics() {
        let metadata = producer.client().fetch_metadata(Some(&topic), PATIENCE).ok()?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let error = found.and_then(|found| found.error()).map(Code::from);
        if error == Some(Code::UnknownTopicOrPartition) {
            return Some(topic);
        }
    }
    None
}

/// The error for a topic that was there.
pub(super) fn gone(producer: &Producer, topic: &str) -> Error {
    let (what, hint) = match producer.context().is_progress(topic) {
        true => (
            "progress topic",
            "find out who deletes it. Which micro-batch a sink has committed last is not known without it, so the next start refuses: \
             look into the target which rows are there, then start anew with another checkpoint.location and name, and with starting.offsets \
             behind or before them. The records of dead letters are made anew, and letters may be written twice",
        ),
        false => (
            "topic",
            "find out who deletes it; then start the pipeline again: it writes the micro-batch as a whole, and creates the topic where \
             topic.creation.enable says so. What was in the topic before is not written again",
        ),
    };
    let message = format!("{what} '{topic}' is gone: it was deleted while it was written to");
    Error::new(ErrorKind::NotFound, message).with_retry(Retry::Permanent).hint(hint)
}

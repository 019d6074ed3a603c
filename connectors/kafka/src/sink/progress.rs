//! Progress records: which micro-batch a task has committed last, in the same transaction as its rows.

use std::time::{Duration, Instant};

use levada_connector_api::{Commit, Error, ErrorKind, Result};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::client::{self, Closing, Context, REQUEST};

/// How long another task's transaction may keep the end of the topic from being read.
const PATIENCE: Duration = Duration::from_secs(75);

/// The last progress record with this key, of those that are committed. Blocks.
///
/// With `to_the_end` it waits until nothing is undecided: no record of ours can come after it, if no other producer with
/// our transactional id is left.
pub(super) fn read(config: &ClientConfig, topic: &str, key: &str, to_the_end: bool) -> Result<Option<Commit>> {
    let failed = |e| client::error(format!("reading the progress in '{topic}'"), e);
    let consumer = |isolation: &str| -> Result<Closing> {
        let mut own = ClientConfig::new();
        for (key, value) in config.config_map() {
            // What is a producer's alone would be warned of.
            if client::is_for_all(key) {
                own.set(key, value);
            }
        }
        own.set("group.id", "levada-progress").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        own.set("auto.offset.reset", "earliest").set("isolation.level", isolation).set("fetch.wait.max.ms", "10");
        own.create_with_context(Context).map(Closing::new).map_err(failed)
    };
    let committed = consumer("read_committed")?;
    let bounds = |consumer: &Closing| consumer.fetch_watermarks(topic, 0, REQUEST).map_err(failed);
    if to_the_end {
        let written = bounds(&consumer("read_uncommitted")?)?.1;
        let since = Instant::now();
        while bounds(&committed)?.1 < written {
            if since.elapsed() > PATIENCE {
                return Err(Error::new(ErrorKind::Unavailable, format!("a transaction in '{topic}' does not end")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let (low, high) = bounds(&committed)?;
    if low == high {
        return Ok(None);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    committed.assign(&list).map_err(failed)?;
    let (mut last, since) = (None, Instant::now());
    loop {
        match committed.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if message.key() == Some(key.as_bytes())
                    && let Some(payload) = message.payload()
                {
                    let place = format!("{topic}-0, offset {}", message.offset());
                    let commit: Commit = serde_json::from_slice(payload)
                        .map_err(|e| Error::corrupt(format!("{place}: this is no progress record: {e}")))?;
                    last = Some(commit);
                }
                if message.offset() + 1 >= high {
                    return Ok(last);
                }
            }
            // The end is only reached when all that could be read was read.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(error)) => tracing::warn!(%error, "reading the progress stalls"),
            None => {}
        }
        if since.elapsed() > PATIENCE {
            return Err(Error::new(ErrorKind::Unavailable, format!("the end of '{topic}' was not reached")));
        }
    }
}

//! What the configuration says.

use std::time::Duration;

use levada_connector_api::config::Config;
use levada_connector_api::{Error, Result};
use rdkafka::ClientConfig;

use crate::client;
use crate::config::{SOURCE_FIXED, SOURCE_PREFIXES};
use crate::source::places::{self, Start, Wanted};

/// What the configuration says.
pub(super) struct Options {
    pub(super) client: ClientConfig,
    pub(super) group: Option<String>,
    pub(super) wanted: Wanted,
    pub(super) start: Start,
    pub(super) fail_on_loss: bool,
    pub(super) max_offsets: Option<usize>,
    pub(super) min_offsets: Option<u64>,
    pub(super) max_delay: Duration,
    pub(super) undecided: Duration,
    pub(super) discovery: Duration,
}

impl Options {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let wanted = match (config.list_opt("topics"), config.string_opt("topics.regex"), config.string_opt("assign")) {
            (Some(topics), ..) => Wanted::Topics(topics),
            (None, Some(text), _) => Wanted::Pattern(places::pattern(&text)?),
            (None, None, Some(text)) => Wanted::Partitions(places::assignment(&text).map_err(Error::config)?),
            (None, None, None) => return Err(Error::config("topics, topics.regex or assign must be set")),
        };
        let start = match config.string_opt("starting.timestamp") {
            Some(text) => Start::parse_times(&text),
            None => Start::parse(&config.string("starting.offsets")),
        };
        let isolation = config.string("isolation.level").to_ascii_lowercase();
        let defaults = [
            ("isolation.level", isolation.as_str()),
            // A full queue is looked at again soon, not after a second; and it is small: pieces wait outside of it, too.
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", "32768"),
            // Twice librdkafka's own: the broker and the client spend a tenth to a quarter less on the same messages.
            ("fetch.message.max.bytes", "2097152"),
        ];
        Ok(Self {
            client: client::client(config, &SOURCE_PREFIXES, &defaults, &SOURCE_FIXED),
            group: config.string_opt("group.id"),
            wanted,
            start: start.map_err(Error::config)?,
            fail_on_loss: config.bool("fail.on.data.loss"),
            max_offsets: config.int_opt("max.offsets.per.trigger").and_then(|n| usize::try_from(n).ok()),
            min_offsets: config.int_opt("min.offsets.per.trigger").and_then(|n| u64::try_from(n).ok()),
            max_delay: config.duration("max.trigger.delay"),
            undecided: config.duration("transaction.wait"),
            discovery: config.duration("partition.discovery.interval"),
        })
    }
}

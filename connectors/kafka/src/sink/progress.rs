//! Progress records: which micro-batch a task has committed last, in the same transaction as its rows.

use std::time::{Duration, Instant};

use levada_connector_api::{Commit, Error, ErrorKind, Faults, Result};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::producer::Producer;
use super::topics::{self, Creation, Topics};
use crate::client::{self, Closing, Context, blocking};
use crate::source::places;

/// How long taking over a transactional id may take.
const INIT: Duration = Duration::from_secs(60);

/// How long another task's transaction may keep the end of the topic from being read.
const PATIENCE: Duration = Duration::from_secs(75);

/// A progress record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) commit: Commit,
    /// What tells the content of the micro-batch apart from another, where that may differ.
    pub(crate) digest: Option<u64>,
}

impl Note {
    fn decode(payload: &[u8]) -> serde_json::Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(payload)?;
        let digest = value.get("digest").and_then(serde_json::Value::as_u64);
        Ok(Self { commit: serde_json::from_value(value)?, digest })
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let failed = |e| Error::internal(format!("a progress record cannot be written: {e}"));
        let mut value = serde_json::to_value(&self.commit).map_err(failed)?;
        if let (Some(digest), Some(map)) = (self.digest, value.as_object_mut()) {
            map.insert("digest".to_owned(), digest.into());
        }
        serde_json::to_vec(&value).map_err(failed)
    }
}

/// The progress of a task: where its records are, and which.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub(crate) topic: String,
    pub(crate) key: String,
    /// The run that asks.
    pub(crate) epoch: u64,
    /// A micro-batch that is in the topic or not, which only its record can tell.
    pub(crate) pending: Option<u64>,
}

impl Track {
    /// Takes over the producers' transactional ids, and asks what is committed. Whoever had them before is fenced.
    pub(crate) async fn take_over(
        &self,
        client: &ClientConfig,
        producers: &[Producer],
        topics: &Topics,
        creation: &Creation,
        faults: &Faults,
    ) -> Result<Option<Note>> {
        if let Some(batch) = self.pending
            && topics.partitions(&self.topic).await?.is_none()
        {
            // Not made anew: the next start is to say the same.
            return Err(self.lost(batch, "the topic was deleted"));
        }
        let created = topics.ensure_compacted(&self.topic, creation).await?;
        for producer in producers {
            topics::show(producer, &self.topic).await?;
        }
        let (config, producers, faults, this) = (client.clone(), producers.to_vec(), faults.clone(), self.clone());
        blocking(move || {
            // Before anybody is fenced: it must not be us who are too old.
            this.check(read(&config, &this.topic, &this.key, false)?)?;
            // All of them: what is read after that is the last. One after the other: of two runs that do this at a time, the
            // one that comes second to the last of them must have fenced the other at all.
            for producer in &producers {
                producer.init_transactions(INIT).map_err(|e| client::error("taking over a transactional id", e))?;
            }
            faults.at("kafka.sink.fenced")?;
            let found = read(&config, &this.topic, &this.key, true)?;
            this.is_there(&found, created)?;
            this.check(found)
        })
        .await
    }

    /// Where a record may have been, none must have been taken away.
    fn is_there(&self, found: &Found, created: bool) -> Result<()> {
        let (Some(batch), None) = (self.pending, &found.note) else { return Ok(()) };
        let why = match found {
            _ if created => "the topic was deleted",
            Found { cut: true, .. } => "records were deleted from the topic, or have expired",
            _ => return Ok(()),
        };
        Err(self.lost(batch, why))
    }

    fn lost(&self, batch: u64, why: &str) -> Error {
        let message = format!(
            "whether batch {batch} of task '{}' was committed is not known any more: its progress record would be in '{}', but {why}",
            self.key, self.topic
        );
        Error::corrupt(message).hint(
            "look into the target whether the rows of this batch are there; then start anew with another checkpoint.location, and with \
             starting.offsets behind or before them",
        )
    }

    fn check(&self, found: Found) -> Result<Option<Note>> {
        let found = found.note;
        match &found {
            Some(Note { commit, .. }) if commit.epoch > self.epoch => Err(Error::new(
                ErrorKind::Fenced,
                format!("run {} of task '{}' has committed; this is run {}", commit.epoch, self.key, self.epoch),
            )
            .hint("another run of this task has taken over")),
            _ => Ok(found),
        }
    }
}

/// What the topic has of a task.
pub(crate) struct Found {
    note: Option<Note>,
    /// Whether records are missing that compaction has not removed.
    cut: bool,
}

/// The last progress record with this key, of those that are committed. Blocks.
///
/// With `to_the_end` it waits until nothing is undecided: no record of ours can come after it, if no other producer with
/// our transactional id is left.
pub(crate) fn read(config: &ClientConfig, topic: &str, key: &str, to_the_end: bool) -> Result<Found> {
    let failed = |e| client::error(format!("reading the progress in '{topic}'"), e);
    let consumer = |isolation: &str| -> Result<Closing> {
        let mut own = client::access(config);
        own.set("group.id", "levada-progress").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        own.set("auto.offset.reset", "earliest").set("isolation.level", isolation).set("fetch.wait.max.ms", "10");
        own.create_with_context(Context::default()).map(Closing::new).map_err(failed)
    };
    let committed = consumer("read_committed")?;
    let place = (topic.to_owned(), 0);
    let bounds = |consumer: &Closing| places::bounds(consumer, &place);
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
    let mut found = Found { note: None, cut: low > 0 };
    if low == high {
        return Ok(found);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    committed.assign(&list).map_err(failed)?;
    let since = Instant::now();
    loop {
        match committed.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if message.key() == Some(key.as_bytes()) {
                    let place = format!("{topic}-0, offset {}", message.offset());
                    let read = |payload| {
                        Note::decode(payload)
                            .map_err(|e| Error::corrupt(format!("{place}: this is no progress record: {e}")))
                    };
                    // A tombstone has deleted what was before it, compacted or not.
                    found.note = message.payload().map(read).transpose()?;
                    found.cut = found.cut || found.note.is_none();
                }
                if message.offset() + 1 >= high {
                    return Ok(found);
                }
            }
            // The end is only reached when all that could be read was read.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => tracing::warn!(%error, "reading the progress stalls"),
            None => {}
        }
        if since.elapsed() > PATIENCE {
            return Err(Error::new(ErrorKind::Unavailable, format!("the end of '{topic}' was not reached")));
        }
    }
}

//! Progress records: which micro-batch a task has committed last, in the same transaction as its rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_connector_api::{Commit, Error, ErrorKind, Faults, Result};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::producer::{Producer, transaction_error};
use super::topics::{self, Creation, Topics};
use super::transaction::finish;
use crate::client::{self, Closing, Context, blocking};
use crate::source::places;

/// How long taking over a transactional id may take.
const INIT: Duration = Duration::from_secs(60);

/// How long another task's transaction may keep the end of the topic from being read.
const PATIENCE: Duration = Duration::from_secs(75);

/// A progress record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The run that has written it. 0: whichever; it says that the task has begun, and may be followed by one of any run.
    pub(crate) epoch: u64,
    /// The last micro-batch; `None`: none is committed so far.
    pub(crate) commit: Option<Commit>,
    /// What tells the content of the micro-batch apart from another, where that may differ.
    pub(crate) digest: Option<u64>,
}

impl Note {
    fn decode(payload: &[u8]) -> serde_json::Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(payload)?;
        let number = |key: &str| value.get(key).and_then(serde_json::Value::as_u64);
        let (digest, begun) = (number("digest"), number("begun"));
        if let Some(epoch) = begun {
            return Ok(Self { epoch, commit: None, digest });
        }
        let commit: Commit = serde_json::from_value(value)?;
        Ok(Self { epoch: commit.epoch, commit: Some(commit), digest })
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let failed = |e| Error::internal(format!("a progress record cannot be written: {e}"));
        let mut value = match &self.commit {
            Some(commit) => serde_json::to_value(Commit { epoch: self.epoch, ..commit.clone() }).map_err(failed)?,
            None => serde_json::json!({ "begun": self.epoch }),
        };
        if let (Some(digest), Some(map)) = (self.digest, value.as_object_mut()) {
            map.insert("digest".to_owned(), digest.into());
        }
        serde_json::to_vec(&value).map_err(failed)
    }
}

/// The progress of a task: where its records are, and which.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    /// How the brokers are reached.
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) topic: String,
    pub(crate) key: String,
    /// The run that asks.
    pub(crate) epoch: u64,
    /// A micro-batch that is in the topic or not, which only its record can tell.
    pub(crate) pending: Option<u64>,
    /// Whether a record says from the first run on that the task has begun: that there is none means later that it is gone.
    pub(crate) begins: bool,
}

impl Track {
    /// Takes over the producers' transactional ids, and asks what is committed. Whoever had them before is fenced.
    pub(crate) async fn take_over(
        &self,
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
        let (producers, faults, this) = (producers.to_vec(), faults.clone(), self.clone());
        blocking(move || {
            // Before anybody is fenced: it must not be us who are too old.
            this.check(this.read(Until::Now)?)?;
            // All of them: what is read after that is the last. One after the other: of two runs that do this at a time, the
            // one that comes second to the last of them must have fenced the other at all.
            for producer in &producers {
                producer.init_transactions(INIT).map_err(|e| client::error("taking over a transactional id", e))?;
            }
            faults.at("kafka.sink.fenced")?;
            let found = this.read(Until::TheEnd)?;
            this.is_there(&found, created)?;
            let note = this.check(found)?;
            if let (None, true, Some(producer)) = (&note, this.begins, producers.last()) {
                faults.at("kafka.sink.begun.before")?;
                producer.begin_transaction().map_err(|e| transaction_error("beginning a transaction", e))?;
                let note = Note { epoch: 0, commit: None, digest: None };
                finish(producer, &this, &note, &Faults::none())?;
                faults.at("kafka.sink.begun.after")?;
            }
            Ok(note)
        })
        .await
    }

    /// Whether a later run has written a record, committed or not. Blocks.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub(crate) fn is_overtaken(&self) -> Result<bool> {
        Ok(self.read(Until::Undecided)?.latest > self.epoch)
    }

    fn read(&self, until: Until) -> Result<Found> {
        read(&self.client, &self.topic, &self.key, until)
    }

    /// Where a record may have been, none must have been taken away.
    fn is_there(&self, found: &Found, created: bool) -> Result<()> {
        let (Some(batch), None) = (self.pending, &found.note) else { return Ok(()) };
        let why = match found {
            _ if created => "the topic was deleted",
            Found { cut: true, .. } => "records were deleted from the topic, or have expired",
            _ if !self.begins => return Ok(()),
            // Who has prepared a batch had a record before.
            _ => {
                "it has none of this task: either the topic was deleted and made anew, or it is another one than when the batch was \
                 prepared (progress.topic, bootstrap.servers)"
            }
        };
        Err(self.lost(batch, why))
    }

    fn lost(&self, batch: u64, why: &str) -> Error {
        let message = format!(
            "whether batch {batch} of task '{}' was committed is not known any more: its progress record would be in '{}', but {why}",
            self.key, self.topic
        );
        Error::corrupt(message).hint(
            "look into the target whether the rows of this batch are there; then start anew with another checkpoint.location and name, and with \
             starting.offsets behind or before them",
        )
    }

    fn check(&self, found: Found) -> Result<Option<Note>> {
        let found = found.note;
        match &found {
            Some(Note { epoch, .. }) if *epoch > self.epoch => Err(Error::new(
                ErrorKind::Fenced,
                format!("run {epoch} of task '{}' has committed; this is run {}", self.key, self.epoch),
            )
            .hint("another run of this task has taken over")),
            _ => Ok(found),
        }
    }
}

/// What the topic has of a task.
pub(crate) struct Found {
    note: Option<Note>,
    /// The latest run that has written one.
    latest: u64,
    /// Whether records are missing that compaction has not removed.
    cut: bool,
}

/// Which records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Those that are committed now.
    Now,
    /// Those that are committed once nothing is undecided: no record of ours can come after it, if no other producer with our
    /// transactional id is left.
    TheEnd,
    /// All that there are, of whatever transaction.
    Undecided,
}

/// The last progress record with this key. Blocks.
fn read(config: &ClientConfig, topic: &str, key: &str, until: Until) -> Result<Found> {
    let failed = |e| client::error(format!("reading the progress in '{topic}'"), e);
    let consumer = |isolation: &str| -> Result<Closing> {
        let mut own = client::access(config);
        own.set("group.id", "levada-progress").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        own.set("auto.offset.reset", "earliest").set("isolation.level", isolation).set("fetch.wait.max.ms", "10");
        own.create_with_context(Context::default()).map(Closing::new).map_err(failed)
    };
    let committed = consumer(if until == Until::Undecided { "read_uncommitted" } else { "read_committed" })?;
    let place = (topic.to_owned(), 0);
    let bounds = |consumer: &Closing| places::bounds(consumer, &place);
    if until == Until::TheEnd {
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
    let mut found = Found { note: None, latest: 0, cut: low > 0 };
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
                    found.latest = found.latest.max(found.note.as_ref().map_or(0, |note| note.epoch));
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

//! The queue: a transaction for each micro-batch that has bad rows.
//!
//! The progress record in it names the micro-batch and a sum of its letters. A micro-batch that is repeated after a crash
//! finds itself there, and is not written again; if its letters are others now, since the sink refused other rows, all of
//! them are written: rather twice than never.

use std::sync::Arc;
use std::time::Instant;

use levada_connector_api::config::Config;
use levada_connector_api::{
    Commit, DeadLetter, DeadLetterQueue, Error, ErrorKind, Faults, Offsets, Origin, Records, Result, TaskContext,
    async_trait,
};
use rdkafka::ClientConfig;
use rdkafka::producer::Producer as _;

use super::config::PREFIXES;
use super::letter::{digest, headers};
use crate::client::{self, blocking};
use crate::config::SINK_FIXED;
use crate::sink::fence::{self, Judge};
use crate::sink::producer::{self, Deliveries, Producer, Record, transaction_error};
use crate::sink::progress::{Note, Track};
use crate::sink::topics::{self, Creation, Topics};
use crate::sink::transaction::{announce, finish};

pub(super) struct Queue {
    client: ClientConfig,
    topic: Arc<str>,
    replication: i32,
    with_context: bool,
    progress_topic: Option<String>,
    transactional_id: Option<String>,
    open: Option<Open>,
}

struct Open {
    producer: Producer,
    track: Track,
    context: TaskContext,
    /// The last micro-batch that is there, with the sum of its letters.
    held: Option<(u64, Option<u64>)>,
    /// Since when there is a transaction.
    begun: Option<Instant>,
    /// The sum of the micro-batch's letters.
    digest: u64,
    /// Letters of a micro-batch that is there already, until it is known whether they are the same.
    waiting: Vec<DeadLetter>,
}

impl Queue {
    pub(super) fn new(config: &Config) -> Self {
        // The brokers say what is too large.
        let defaults = [
            ("partitioner", "murmur2_random"),
            ("linger.ms", "50"),
            ("message.max.bytes", "1000000000"),
            ("allow.auto.create.topics", "false"),
        ];
        Self {
            client: client::client(config, &PREFIXES, &defaults, &SINK_FIXED),
            topic: config.string("topic.name").into(),
            replication: i32::try_from(config.int("topic.replication.factor")).unwrap_or(-1),
            with_context: config.bool("context.headers.enable"),
            progress_topic: config.string_opt("progress.topic"),
            transactional_id: config.string_opt("transactional.id"),
            open: None,
        }
    }

    async fn send(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        let (topic, with_context) = (self.topic.clone(), self.with_context);
        let open = self.open.as_mut().ok_or_else(|| Error::internal("the queue is not open"))?;
        let (producer, context) = (open.producer.clone(), open.context.clone());
        let begin = open.begun.is_none();
        let begun = *open.begun.get_or_insert_with(Instant::now);
        let lasts = fence::transaction_timeout(&self.client);
        let judge = Judge { producer: producer.clone(), track: open.track.clone(), transaction: Some((begun, lasts)) };
        let epoch = open.context.epoch;
        let commit = |batch_id| Commit { batch_id, epoch, offsets: Offsets::new() };
        let digest = open.held.and_then(|(_, digest)| digest);
        let note = Note { epoch, commit: open.held.map(|(batch_id, _)| commit(batch_id)), digest };
        let track = open.track.clone();
        let sending = judge.blocking(move || {
            if begin {
                producer.begin_transaction().map_err(|e| transaction_error("beginning a transaction", e))?;
                // Again what is known: a run before learns by it that this one has taken over.
                announce(&producer, &track, &note)?;
            }
            producer.context().writes_to(&topic);
            // A letter that the brokers refuse is told by its place.
            let places = letters.iter().map(|letter| letter.row.position.clone()).collect();
            let origin = Origin::unknown().with_records(Arc::new(Places(places)));
            let first = producer.context().expect(letters.len(), &origin);
            for (at, letter) in letters.iter().enumerate() {
                let record = letter.row.record.as_deref();
                let mut message = Record::with_opaque_to(&topic, first + at);
                message.key = record.and_then(|record| record.key.as_deref());
                message.payload = match record {
                    Some(record) => record.value.as_deref(),
                    None => Some(&letter.row.raw),
                };
                message.timestamp = record.and_then(|record| record.timestamp);
                message.headers = Some(headers(letter, with_context.then_some(&context)));
                producer::enqueue(&producer, message).map_err(|e| e.context(letter.row.position.clone()))?;
            }
            Ok(())
        });
        sending.await
    }
}

#[async_trait]
impl DeadLetterQueue for Queue {
    async fn open(&mut self, context: &TaskContext, checkpoint: &str) -> Result<()> {
        let name = format!("levada-{}", context.pipeline);
        let prefix = self.transactional_id.clone().unwrap_or_else(|| name.clone());
        self.client.set("client.id", format!("{name}-{}-dead-letters", context.task));
        self.client.set("transactional.id", format!("{prefix}-{}-dead-letters", context.task));
        let topics = Topics::new(&self.client).await?;
        let creation = Creation { enabled: true, partitions: 1, replication: self.replication };
        topics.ensure(&self.topic, &creation).await.map_err(|e| match e.kind() {
            ErrorKind::Config => e.hint("a single broker takes errors.deadletterqueue.topic.replication.factor=1"),
            _ => e,
        })?;
        // Only a letter that is too large itself is refused then.
        topics.fit_batches(&mut self.client, &self.topic).await;
        let config = self.client.clone();
        let producer: Producer = blocking(move || {
            let producer = config.create_with_context(Deliveries::new(true));
            Ok(Arc::new(producer.map_err(|e| client::error("making a producer", e))?))
        })
        .await?;
        topics::show(&producer, &self.topic).await?;
        let topic = self.progress_topic.clone().unwrap_or_else(|| format!("levada-progress-{}", context.pipeline));
        let key = format!("{}/{}/dead-letters/{checkpoint}", context.pipeline, context.task);
        // What is not known to be there is written: rather twice than never.
        let client = Arc::new(self.client.clone());
        let track = Track { client, topic, key, epoch: context.epoch, pending: None, begins: false };
        let creation = Creation { replication: -1, ..creation };
        let held = track.take_over(std::slice::from_ref(&producer), &topics, &creation, &Faults::none()).await?;
        self.open = Some(Open {
            producer,
            track,
            context: context.clone(),
            held: held.and_then(|note| Some((note.commit?.batch_id, note.digest))),
            begun: None,
            digest: 0,
            waiting: Vec::new(),
        });
        Ok(())
    }

    async fn write(&mut self, batch_id: u64, letters: Vec<DeadLetter>) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| Error::internal("the queue is not open"))?;
        // In whatever order they come.
        open.digest = letters.iter().map(digest).fold(open.digest, u64::wrapping_add);
        if open.held.is_some_and(|(held, _)| held == batch_id) {
            open.waiting.extend(letters);
            return Ok(());
        }
        self.send(letters).await
    }

    async fn commit(&mut self, batch_id: u64) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| Error::internal("the queue is not open"))?;
        let digest = std::mem::take(&mut open.digest);
        let waiting = std::mem::take(&mut open.waiting);
        if !waiting.is_empty() && open.held != Some((batch_id, Some(digest))) {
            tracing::warn!(
                batch = batch_id,
                "the bad rows of a repeated batch are others than before: all of them are written, some perhaps again"
            );
            self.send(waiting).await?;
        }
        let open = self.open.as_mut().ok_or_else(|| Error::internal("the queue is not open"))?;
        let Some(begun) = open.begun.take() else { return Ok(()) };
        let lasts = fence::transaction_timeout(&self.client);
        let commit = Commit { batch_id, epoch: open.context.epoch, offsets: Offsets::new() };
        let note = Note { epoch: commit.epoch, commit: Some(commit), digest: Some(digest) };
        let (producer, track, faults) = (open.producer.clone(), open.track.clone(), Faults::none());
        open.held = Some((batch_id, Some(digest)));
        let topic = self.topic.clone();
        let judge = Judge { producer: producer.clone(), track: open.track.clone(), transaction: Some((begun, lasts)) };
        let finishing = judge.blocking(move || finish(&producer, &track, &note, &faults));
        finishing.await.map_err(|error| match error.kind() {
            ErrorKind::Data => error.hint(format!("raise max.message.bytes of the topic '{topic}'")),
            _ => error,
        })
    }

    async fn close(&mut self) -> Result<()> {
        self.open = None;
        Ok(())
    }
}

/// Where letters came from.
struct Places(Vec<String>);

impl Records for Places {
    fn place(&self, row: usize) -> Option<String> {
        self.0.get(row).cloned()
    }

    fn record(&self, _: usize) -> Option<levada_connector_api::Record> {
        None
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // A client's threads take a moment to end; nobody has to wait for them.
        let producer = self.producer.clone();
        let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(producer));
    }
}

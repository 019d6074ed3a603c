//! The sink: a transaction a micro-batch.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::Config;
use levada_connector_api::{BadRow, Batch, Commit, Error, Faults, OutputMode, Result, Sink, TaskContext, async_trait};
use rdkafka::ClientConfig;
use rdkafka::producer::Producer as _;
use tokio::task::JoinHandle;

use super::bulk::Turns;
use super::exactly_once;
use super::fence::{self, Judge};
use super::producer::{self, Deliveries, Producer, transaction_error};
use super::progress::{Note, Track};
use super::rows::Layout;
use super::settle::{Kept, Way};
use super::topics::{self, Creation, Topics};
use super::transaction::{abandon, abort, announce, finish, uncertain};
use crate::client::{self, blocking};
use crate::config::{SINK_FIXED, SINK_PREFIXES};

/// How often a topic's partitions are counted: the client learns of new ones as often.
const COUNTED: Duration = Duration::from_secs(300);

pub(super) struct KafkaSink {
    config: Config,
    client: ClientConfig,
    topic: Option<Arc<str>>,
    creation: Creation,
    exactly_once: bool,
    open: Option<Open>,
    faults: Faults,
    /// Whether rows that cannot be sent are left out.
    tolerant: bool,
    /// The rows of the micro-batch under way, where that is so.
    kept: Kept,
}

/// What is there once the sink is open.
struct Open {
    /// One, or two that take turns: the coordinator takes a producer's next transaction only when all partitions of the one
    /// before know of its end, and librdkafka asks again 20 ms later.
    producers: Vec<Producer>,
    turn: usize,
    /// Sends what was written, until all of it has arrived.
    sending: Option<JoinHandle<Result<()>>>,
    layout: Layout,
    track: Track,
    /// What is committed.
    last: Option<Commit>,
    /// Since when there is a transaction.
    in_transaction: Option<Instant>,
    /// Whether one before it could not be aborted: that is to be done first.
    unfinished: bool,
    /// How long the brokers let it be.
    lasts: Duration,
    /// Whether no batch of several messages is too large for the brokers.
    exact: bool,
    /// Where rows without a key go in the one topic that is written, and when its partitions were counted last.
    turns: Option<(Turns, Instant)>,
    topics: Topics,
    /// Topics that are known to be there.
    known: HashSet<Arc<str>>,
}

impl Open {
    /// That of the micro-batch under way.
    fn producer(&self) -> Result<Producer> {
        self.producers.get(self.turn).cloned().ok_or_else(|| Error::internal("the sink has no producer"))
    }

    fn judge(&self) -> Result<Judge> {
        let transaction = self.in_transaction.map(|begun| (begun, self.lasts));
        Ok(Judge { producer: self.producer()?, track: self.track.clone(), transaction })
    }

    /// Waits until nobody else uses the producer. Answers whether what was written is known to have arrived or not.
    async fn sent(&mut self) -> Result<()> {
        match self.sending.take() {
            Some(sending) => {
                sending.await.map_err(|error| Error::internal(format!("waiting for messages: {error}")))?
            }
            None => Ok(()),
        }
    }

    /// Ends what still waits for messages that are thrown away.
    async fn give_up(&mut self) -> Result<()> {
        self.producer()?.context().give_up();
        let _ = self.sent().await;
        Ok(())
    }
}

impl KafkaSink {
    pub(super) fn new(config: &Config) -> Self {
        let exactly_once = exactly_once(config);
        let compression = config.string("compression").to_ascii_lowercase();
        let defaults = [
            ("compression.codec", compression.as_str()),
            // A topic that is deleted while it is written to must not come back by itself, without what it had of the micro-batch.
            ("allow.auto.create.topics", "false"),
            // Java's partitioner: equal keys go where Java's clients send them.
            ("partitioner", "murmur2_random"),
            // A transaction is flushed at its end, so waiting for fuller batches costs nothing.
            ("linger.ms", if exactly_once { "50" } else { "1" }),
            ("batch.size", "1000000"),
            ("batch.num.messages", "100000"),
            // More than is on its way at once would only be pushed out of the caches.
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "65536"),
        ];
        let number = |key: &str| i32::try_from(config.int(key)).unwrap_or(-1);
        Self {
            client: client::client(config, &SINK_PREFIXES, &defaults, &SINK_FIXED),
            topic: config.string_opt("topic").map(Arc::from),
            creation: Creation {
                enabled: config.bool("topic.creation.enable"),
                partitions: number("topic.creation.partitions"),
                replication: number("topic.creation.replication.factor"),
            },
            exactly_once,
            open: None,
            faults: Faults::none(),
            tolerant: false,
            kept: Kept::default(),
            config: config.clone(),
        }
    }

    async fn producers(&self) -> Result<Vec<Producer>> {
        let mut configs = vec![self.client.clone()];
        if let Some(id) = self.client.get("transactional.id") {
            let mut second = self.client.clone();
            second.set("transactional.id", format!("{id}-second"));
            configs.push(second);
        }
        let exactly_once = self.exactly_once;
        blocking(move || {
            let made = configs.into_iter().map(|config| {
                client::check_access(&config)?;
                let producer = config.create_with_context(Deliveries::new(exactly_once));
                Ok(Arc::new(producer.map_err(|e| client::error("making a producer", e))?))
            });
            made.collect()
        })
        .await
    }

    fn opened(&mut self) -> Result<&mut Open> {
        self.open.as_mut().ok_or_else(|| Error::internal("the sink is not open"))
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, _: OutputMode) -> Result<Option<Commit>> {
        self.faults = context.faults.clone();
        self.tolerant = context.tolerant;
        let layout = Layout::new(&self.config, &schema)?;
        let name = format!("levada-{}", context.pipeline);
        if self.client.get("client.id").is_none() {
            self.client.set("client.id", format!("{name}-{}", context.task));
        }
        if self.exactly_once {
            let prefix = self.config.string_opt("transactional.id").unwrap_or_else(|| name.clone());
            self.client.set("transactional.id", format!("{prefix}-{}", context.task));
        }
        let mut producers = self.producers().await?;
        let topics = Topics::new(&self.client).await?;
        let mut known = HashSet::new();
        let (mut exact, mut turns) = (false, None);
        if let Some(topic) = &self.topic {
            let partitions = topics.ensure(topic, &self.creation).await?;
            turns = Some((Turns::new(partitions), Instant::now()));
            known.insert(topic.clone());
            let fitted = topics.fit_batches(&mut self.client, topic).await;
            if fitted == Some(true) {
                producers = self.producers().await?;
            }
            exact = fitted.is_some();
            show(&producers, topic).await?;
        }
        let progress_topic =
            self.config.string_opt("progress.topic").unwrap_or_else(|| format!("levada-progress-{}", context.pipeline));
        let key = format!("{}/{}", context.pipeline, context.task);
        let track = Track {
            client: Arc::new(self.client.clone()),
            topic: progress_topic,
            key,
            epoch: context.epoch,
            pending: context.pending,
            begins: true,
        };
        let last = match self.exactly_once {
            true => {
                let held = track.take_over(&producers, &topics, &self.creation, &self.faults).await?;
                held.and_then(|note| note.commit)
            }
            false => None,
        };
        let (in_transaction, lasts) = (None, fence::transaction_timeout(&self.client));
        let (turn, sending) = (0, None);
        self.open = Some(Open {
            producers,
            turn,
            sending,
            layout,
            track,
            last: last.clone(),
            in_transaction,
            unfinished: false,
            lasts,
            exact,
            topics,
            known,
            turns,
        });
        Ok(last)
    }

    async fn write(&mut self, _: u64, batch: Batch) -> Result<()> {
        let (topic, creation, exactly_once) = (self.topic.clone(), self.creation.clone(), self.exactly_once);
        let (tolerant, spoilt) = (self.tolerant, self.kept.waiting);
        let open = self.opened()?;
        let layout = open.layout.clone();
        let (messages, batch) = blocking(move || Ok((layout.messages(&batch.rows)?, batch))).await?;
        let producer = open.producer()?;
        for topic in messages.topics() {
            if !open.known.contains(&topic) {
                open.topics.ensure(&topic, &creation).await?;
                show(&open.producers, &topic).await?;
                open.known.insert(topic.clone());
            }
            producer.context().writes_to(&topic);
        }
        if let Some(topic) = &topic {
            producer.context().writes_to(topic);
        }
        if let (Some((turns, counted)), Some(topic)) = (&mut open.turns, &topic)
            && counted.elapsed() > COUNTED
        {
            *counted = Instant::now();
            if let Some(count) = open.topics.partitions(topic).await? {
                // The producers must know of all that rows go to.
                show(&open.producers, topic).await?;
                turns.set(count);
            }
        }
        if spoilt {
            self.kept.add(batch, []);
            return Ok(());
        }
        let turns = open.turns.as_ref().map(|(turns, _)| turns.clone());
        let begin = exactly_once && open.in_transaction.is_none();
        if begin {
            open.in_transaction = Some(Instant::now());
        }
        let (track, last) = (open.track.clone(), begin.then(|| open.last.clone()).flatten());
        let unfinished = std::mem::take(&mut open.unfinished);
        let sending = open.judge()?.blocking(move || {
            if unfinished {
                abort(&producer)?;
            }
            if begin {
                producer.begin_transaction().map_err(|e| transaction_error("beginning a transaction", e))?;
                // Again what is known, ahead of what will be: the coordinator learns of this partition together with those of the
                // rows, and not only when the rows have arrived; and a run before learns of this one.
                announce(&producer, &track, &Note { epoch: track.epoch, commit: last, digest: None })?;
            }
            let sent = producer::send(&producer, topic.as_deref(), &messages, &batch.origin, tolerant, turns.as_ref());
            match sent {
                Ok(refused) => Ok((refused, false, batch)),
                Err(_) if tolerant && producer.context().is_spoilt() && producer.context().has_refused() => {
                    Ok((Vec::new(), true, batch))
                }
                Err(error) => Err(error),
            }
        });
        let (refused, spoilt, batch) = sending.await?;
        if tolerant {
            self.kept.add(batch, refused);
            self.kept.waiting = spoilt;
        }
        Ok(())
    }

    async fn prepare(&mut self, _: u64) -> Result<Vec<BadRow>> {
        let (mut kept, exactly_once, topic) = (std::mem::take(&mut self.kept), self.exactly_once, self.topic.clone());
        let open = self.opened()?;
        let producer = open.producer()?;
        if kept.is_empty() {
            // Beside the checkpoint's flush.
            open.sending = Some(tokio::task::spawn_blocking(move || producer::wait(&producer)));
            return Ok(Vec::new());
        }
        let (layout, exact) = (open.layout.clone(), open.exact);
        let settling = open.judge()?.blocking(move || {
            Way { producer, layout, topic, exactly_once, exact }.settle(&mut kept)?;
            Ok(kept.bad_rows())
        });
        settling.await
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        let (exactly_once, faults) = (self.exactly_once, self.faults.clone());
        let open = self.opened()?;
        let sent = open.sent().await;
        let producer = open.producer()?;
        if !exactly_once {
            return blocking(move || {
                let flushed = sent.and_then(|()| producer::flush(&producer));
                flushed.map_err(|error| producer.context().explain(error))?;
                producer.context().end();
                Ok(())
            })
            .await;
        }
        let judge = open.judge()?;
        let begun = open.in_transaction.take().is_some();
        let unfinished = std::mem::take(&mut open.unfinished);
        let held = open.last.as_ref().is_some_and(|last| commit.batch_id <= last.batch_id);
        let (track, note) =
            (open.track.clone(), Note { epoch: commit.epoch, commit: Some(commit.clone()), digest: None });
        let committing = judge.blocking(move || {
            if unfinished {
                abort(&producer)?;
            }
            if held {
                // The brokers say whether we are still the one to know.
                let aborted = if begun { abort(&producer) } else { Ok(()) };
                return aborted.map(|()| producer.context().end());
            }
            if !begun {
                producer.begin_transaction().map_err(|e| transaction_error("beginning a transaction", e))?;
            }
            sent.map_err(uncertain)?;
            finish(&producer, &track, &note, &faults)
        });
        committing.await?;
        let open = self.opened()?;
        if !held {
            open.last = Some(commit.clone());
        }
        open.turn = (open.turn + 1) % open.producers.len().max(1);
        Ok(())
    }

    async fn abort(&mut self, _: u64) -> Result<()> {
        self.kept = Kept::default();
        let open = self.opened()?;
        open.give_up().await?;
        let (judge, producer) = (open.judge()?, open.producer()?);
        if open.in_transaction.take().is_none() {
            producer.context().end();
            return Ok(());
        }
        open.unfinished = !judge.blocking(move || abandon(&producer)).await?;
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        open.give_up().await?;
        blocking(move || {
            if open.in_transaction.is_some() {
                // The next run would abort it, too; readers need not wait for that.
                let _ = abandon(&open.producer()?);
            }
            drop(open);
            Ok(())
        })
        .await
    }
}

async fn show(producers: &[Producer], topic: &str) -> Result<()> {
    for producer in producers {
        topics::show(producer, topic).await?;
    }
    Ok(())
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        // A client's threads take a moment to end; nobody has to wait for them.
        if let Some(open) = self.open.take() {
            open.producers.iter().for_each(|producer| producer.context().give_up());
            let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(open));
        }
    }
}

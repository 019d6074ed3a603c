//! The source: what is read, in which order of steps.

mod anew;
mod ends;
mod events;
mod options;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::Config;
use levada_connector_api::{
    Error, ErrorKind, Offsets, PollLimit, PollStatus, Polled, Result, Source, TaskContext, async_trait,
};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use self::options::Options;
use crate::client::{self, Closing, Consumer, Context, blocking};
use crate::source::decode::Decoder;
use crate::source::drain::{Assigned, Drain, Event};
use crate::source::ids::Ids;
use crate::source::infer;
use crate::source::partition::{Part, kept_in};
use crate::source::places::{self, Place, Share, Start};

/// Input that is given at once.
const PIECE: usize = 1 << 20;
/// How long a poll waits for what must come, before the runtime may look whether it should stop.
const STEP: Duration = Duration::from_millis(50);

pub(crate) struct KafkaSource {
    options: Options,
    config: Config,
    decoder: Option<Decoder>,
    /// `None` until the columns are found.
    schema: Option<SchemaRef>,
    consumer: Option<Arc<Closing>>,
    share: Share,
    tolerant: bool,
    /// The columns that somebody looks at.
    only: Option<Vec<String>>,
    parts: Vec<Part>,
    /// The ids of topics, as the brokers have told them last.
    ids: Ids,
    drain: Option<Drain>,
    /// What is read is not what should be: the drain must be started anew.
    stale: bool,
    /// The parts that the drain reads, by its places.
    reading: Vec<usize>,
    pending: VecDeque<Event>,
    until: Option<Arc<Offsets>>,
    /// What there was when the trigger fired: the batch ends there.
    goal: Option<Vec<(usize, i64)>>,
    /// Where reading begins depends on when that is: the offsets must learn of it at once, not with the first rows.
    begins_now: bool,
    /// When something came last.
    progressed: Instant,
    batch: Option<u64>,
    /// Messages of this micro-batch, and of those before it that could not hold all of the trigger.
    taken: usize,
    taken_before: usize,
    /// Whether there was more of the trigger when it was asked last.
    goes_on: bool,
    waiting_since: Instant,
    counted: Option<Instant>,
    discovered: Instant,
    committed: Offsets,
}

impl KafkaSource {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let decoder = if Decoder::needs_schema(config) { None } else { Some(Decoder::new(config, None)?) };
        Ok(Self {
            options: Options::new(config)?,
            schema: decoder.as_ref().map(Decoder::schema),
            config: config.clone(),
            decoder,
            consumer: None,
            share: Share { task: 0, tasks: 1 },
            tolerant: false,
            only: None,
            parts: Vec::new(),
            ids: Ids::new(),
            drain: None,
            stale: true,
            reading: Vec::new(),
            pending: VecDeque::new(),
            until: None,
            goal: None,
            begins_now: false,
            progressed: Instant::now(),
            batch: None,
            taken: 0,
            taken_before: 0,
            goes_on: false,
            waiting_since: Instant::now(),
            counted: None,
            discovered: Instant::now(),
            committed: Offsets::new(),
        })
    }

    fn consumer(&self) -> Result<Arc<Closing>> {
        self.consumer.clone().ok_or_else(|| Error::internal("the source is not open"))
    }

    /// Reads the partitions from where they stand: those of `until`, or all. What was read ahead is forgotten.
    async fn restart(&mut self) -> Result<()> {
        self.drain = None;
        self.stale = false;
        self.pending.clear();
        self.reading.clear();
        let mut assigned = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let stop = match &self.until {
                None => None,
                Some(until) => match until.get(&part.key).and_then(|end| end.number()) {
                    Some(stop) => Some(i64::try_from(stop).unwrap_or(i64::MAX)),
                    None => continue,
                },
            };
            // What is no longer named is read where a batch is repeated that has it.
            let is_left = if stop.is_some() { part.gone } else { !part.is_read() };
            if is_left || stop.is_some_and(|stop| part.next >= stop) {
                continue;
            }
            let (topic, partition) = part.place.clone();
            assigned.push(Assigned { topic, partition, start: part.next, stop });
            self.reading.push(index);
        }
        // What becomes a dead letter keeps its headers.
        let with_headers = self.tolerant || self.decoder.as_ref().is_some_and(Decoder::with_headers);
        if !assigned.is_empty() {
            let config = self.options.client.clone();
            self.drain = Some(blocking(move || Drain::start(&config, assigned, with_headers)).await?);
        }
        Ok(())
    }

    /// Takes over where to stop.
    async fn set_until(&mut self, until: Option<&Arc<Offsets>>) -> Result<()> {
        let same = match (&self.until, until) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        if same {
            return Ok(());
        }
        self.until = until.cloned();
        self.goal = None;
        if let Some(until) = until {
            for kept in kept_in(until)? {
                let recorded = Part::recorded_start(kept.offset);
                let start = match self.parts.iter().find(|part| part.key == *kept.key) {
                    // The batch is being repeated in which reading it began.
                    Some(part) if part.is_new() => recorded.unwrap_or(part.next),
                    Some(_) => continue,
                    None => match recorded {
                        Some(start) => start,
                        None => self.first_offset(kept.place.clone()).await?,
                    },
                };
                self.begin_again(&kept, start).await?;
            }
            if self.begins_now {
                self.begin_at_first(until).await?;
            }
        }
        self.stale = true;
        self.progressed = Instant::now();
        Ok(())
    }

    pub(super) async fn first_offset(&self, place: Place) -> Result<i64> {
        let consumer = self.consumer()?;
        Ok(blocking(move || places::bounds(&consumer, &place)).await?.0)
    }

    /// Looks for new partitions, which are read from their first message. Answers whether there are any.
    async fn discover(&mut self) -> Result<bool> {
        self.discovered = Instant::now();
        let (consumer, wanted) = (self.consumer()?, self.options.wanted.clone());
        let may_be_gone = !self.options.fail_on_loss;
        let found = blocking(move || places::find(&consumer, &wanted, may_be_gone)).await;
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.hint(places::WAS_THERE),
            _ => error,
        })?;
        let replaced = self.compare(&found).await?;
        let is_read = |place: &Place| self.parts.iter().any(|part| part.place == *place && !part.gone);
        let places: Vec<Place> = found.into_iter().filter(|place| self.share.has(place) && !is_read(place)).collect();
        let mut new = Vec::new();
        if !places.is_empty() {
            let consumer = self.consumer()?;
            let begun = blocking(move || {
                let starts = places::begin(&consumer, &places, &Start::Earliest)?;
                Ok(places.into_iter().zip(starts).collect::<Vec<_>>())
            });
            new.extend(begun.await?.into_iter().map(|(place, start)| self.new_part(place, start)));
        }
        for part in &new {
            tracing::info!(partition = %part.label, "a new partition is read, too");
        }
        let any = replaced || !new.is_empty();
        self.parts.extend(new);
        Ok(any)
    }

    fn all_reached(&self) -> bool {
        self.until.as_ref().is_some_and(|until| {
            let reached =
                |part: &Part, end: u64| !part.is_new() && u64::try_from(part.next).is_ok_and(|next| next >= end);
            let of = |key: &levada_connector_api::Partition| self.parts.iter().find(|part| part.key == *key);
            until.iter().all(|(key, end)| end.number().zip(of(key)).is_some_and(|(end, part)| reached(part, end)))
        })
    }

    fn goal_is_reached(&self) -> bool {
        let read = |index: &usize, end: i64| self.parts.get(*index).is_none_or(|part| part.gone || part.seen >= end);
        self.goal.as_ref().is_none_or(|goal| goal.iter().all(|(index, end)| read(index, *end)))
    }

    /// How many messages the trigger may still have.
    fn left(&self) -> usize {
        self.options.max_offsets.map_or(usize::MAX, |max| max.saturating_sub(self.taken_before + self.taken))
    }

    /// Whether fewer messages have come than a micro-batch waits for.
    async fn too_few(&mut self) -> Result<bool> {
        let Some(min) = self.options.min_offsets else { return Ok(false) };
        // Rows before `until` are there: there is nothing to wait for.
        if self.until.is_some()
            || self.taken + self.taken_before > 0
            || self.waiting_since.elapsed() >= self.options.max_delay
        {
            return Ok(false);
        }
        if self.counted.is_some_and(|at| at.elapsed() < STEP * 2) {
            return Ok(true);
        }
        self.counted = Some(Instant::now());
        let ends = self.ends().await?;
        let behind = |(index, end): &(usize, i64)| {
            let next = self.parts.get(*index).map_or(*end, |part| part.next);
            u64::try_from(end - next).unwrap_or(0)
        };
        Ok(ends.iter().map(behind).sum::<u64>() < min)
    }

    /// New partitions come into the offsets with the first rows: from then on, their place is kept.
    fn introduce(&mut self, batch_id: u64, polled: &mut Polled) -> Result<()> {
        let until = self.until.clone();
        for part in self.parts.iter_mut().filter(|part| part.is_new()) {
            if until.as_ref().is_none_or(|until| until.get(&part.key).is_some()) {
                let range = part.advance(part.next, batch_id)?;
                polled.ranges.push(part.key.clone(), range)?;
            }
        }
        Ok(())
    }

    /// Offsets for the consumer group.
    fn to_list(&self, offsets: &Offsets) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for kept in kept_in(offsets)? {
            if self.parts.iter().any(|part| part.gone && part.key == *kept.key) {
                continue;
            }
            let (topic, partition) = &kept.place;
            let at = kept.offset.number().and_then(|n| i64::try_from(n).ok()).unwrap_or(0);
            list.add_partition_offset(topic, *partition, KafkaOffset::Offset(at))
                .map_err(|e| client::error(format!("{topic}-{partition}: offset {at}"), e))?;
        }
        Ok(list)
    }

    async fn read(&mut self, limit: &PollLimit, polled: &mut Polled) -> Result<PollStatus> {
        let deadline = Instant::now() + limit.wait;
        loop {
            if self.stale {
                self.restart().await?;
            }
            if !self.take(limit, polled).await? {
                return Ok(if self.left() == 0 { PollStatus::Boundary } else { PollStatus::More });
            }
            if self.all_reached() {
                return Ok(PollStatus::End);
            }
            let Some(drain) = &mut self.drain else {
                if self.until.is_some() {
                    let message = "there is an end to read to that is no Kafka offset";
                    return Err(Error::corrupt(message).hint("the checkpoint was written for another source"));
                }
                // Nothing is assigned: no topic matches the pattern so far.
                tokio::time::sleep(deadline.saturating_duration_since(Instant::now()).min(STEP)).await;
                return Ok(PollStatus::Idle);
            };
            let event = match drain.next().await {
                Some(event) => Some(event),
                None if !polled.ranges.is_empty() => None,
                None => {
                    let must_come = self.until.is_some() || self.goal.is_some();
                    let wait = if must_come { STEP } else { deadline.saturating_duration_since(Instant::now()) };
                    match tokio::time::timeout(wait, drain.events.recv()).await {
                        Ok(Some(event)) => Some(event),
                        Ok(None) => {
                            return Err(Error::new(ErrorKind::Panic, "the thread that reads from Kafka has ended"));
                        }
                        Err(_) => None,
                    }
                }
            };
            match event {
                Some(event) => {
                    self.progressed = Instant::now();
                    self.pending.push_back(event);
                }
                None if self.until.is_some() => {
                    self.check_the_rest_is_there().await?;
                    return Ok(PollStatus::More);
                }
                None if self.goal.is_some() && !self.goal_is_reached() => return Ok(PollStatus::More),
                None => {
                    self.goal = None;
                    return Ok(PollStatus::Idle);
                }
            }
            if self.until.is_none() && self.goal.is_some() && self.pending.is_empty() && self.goal_is_reached() {
                self.goal = None;
                return Ok(PollStatus::Idle);
            }
        }
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        if let Some(schema) = &self.schema {
            return Ok(schema.clone());
        }
        let (client, wanted) = (self.options.client.clone(), self.options.wanted.clone());
        let envelope = self.config.bool("value.converter.schemas.enable");
        let found = blocking(move || infer::columns(&client, &wanted, envelope)).await?;
        let decoder = Decoder::new(&self.config, Some(found))?;
        let schema = decoder.schema();
        self.decoder = Some(decoder);
        self.schema = Some(schema.clone());
        Ok(schema)
    }

    fn only(&mut self, columns: &[String]) {
        self.only = Some(columns.to_vec());
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        let mut config = self.options.client.clone();
        let group = self.options.group.clone().unwrap_or_else(|| format!("levada-{}", context.pipeline));
        config.set("group.id", group);
        if config.get("client.id").is_none() {
            config.set("client.id", format!("levada-{}-{}", context.pipeline, context.task));
        }
        let (wanted, start) = (self.options.wanted.clone(), self.options.start.clone());
        let kept = from.clone();
        let own = config.clone();
        self.begins_now = kept.is_empty() && start != Start::Earliest;
        let is_repeated = kept.is_empty() && context.pending.is_some();
        let share = Share { task: context.task, tasks: context.tasks };
        let may_be_gone = !self.options.fail_on_loss;
        let (consumer, parts, ids) = blocking(move || {
            client::check_access(&own)?;
            let consumer: Consumer =
                own.create_with_context(Context::default()).map_err(|e| client::error("making a consumer", e))?;
            let found = places::find(&consumer, &wanted, may_be_gone && !kept.is_empty())?;
            // What is not in the checkpoint has appeared since, and is read from its first message.
            let start = if kept.is_empty() { start } else { Start::Earliest };
            start.check(&found)?;
            let start = if is_repeated { start.with_new(&found) } else { start };
            let (parts, ids) = anew::parts(&consumer, &kept, found, share, (&wanted, &start), !may_be_gone)?;
            Ok((Arc::new(Closing::new(consumer)), parts, ids))
        })
        .await?;
        self.options.client = config;
        self.consumer = Some(consumer);
        // What a trigger may have, and should have, is meant of all tasks together.
        let tasks = usize::try_from(context.tasks).unwrap_or(1).max(1);
        self.options.max_offsets = self.options.max_offsets.map(|max| max.div_ceil(tasks));
        self.options.min_offsets = self.options.min_offsets.map(|min| min.div_ceil(tasks as u64));
        self.share = share;
        self.tolerant = context.tolerant;
        match (&mut self.decoder, &self.only) {
            // What becomes a dead letter is shown as a whole.
            (Some(decoder), _) if context.tolerant => decoder.keep(),
            (Some(decoder), Some(columns)) => decoder.only(columns),
            _ => {}
        }
        (self.parts, self.ids) = (parts, ids);
        Ok(())
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        if self.batch.replace(limit.batch_id) != Some(limit.batch_id) {
            self.taken_before = if self.goes_on { self.taken_before + self.taken } else { 0 };
            self.taken = 0;
            self.waiting_since = Instant::now();
        }
        self.set_until(limit.until.as_ref()).await?;
        if self.until.is_none() && self.discovered.elapsed() >= self.options.discovery && self.discover().await? {
            self.stale = true;
        }
        let until = self.until.is_some();
        let mut polled = Polled::nothing(if until { PollStatus::More } else { PollStatus::Idle });
        if limit.rows == 0 {
            self.introduce(limit.batch_id, &mut polled)?;
            if self.all_reached() {
                polled.status = PollStatus::End;
            }
            return Ok(polled);
        }
        if std::mem::take(&mut self.begins_now) {
            self.introduce(limit.batch_id, &mut polled)?;
        }
        if self.too_few().await? {
            tokio::time::sleep(limit.wait.min(STEP)).await;
            return Ok(polled);
        }
        if self.until.is_none() && limit.wait.is_zero() && self.goal.is_none() && self.taken == 0 {
            // The trigger has fired: the batch has what there is now, which is known to the brokers alone.
            self.goal = Some(self.ends().await?);
        }
        if self.left() == 0 {
            // After a boundary the count begins anew.
            (self.taken, self.taken_before) = (0, 0);
        }
        if until {
            self.introduce(limit.batch_id, &mut polled)?;
            self.pass_over(limit.batch_id, &mut polled)?;
        }
        polled.status = self.read(limit, &mut polled).await?;
        self.goes_on = polled.status == PollStatus::More;
        if !self.goes_on {
            self.taken_before = 0;
        }
        if !polled.ranges.is_empty() {
            self.introduce(limit.batch_id, &mut polled)?;
        }
        Ok(polled)
    }

    async fn latest(&mut self) -> Result<Offsets> {
        if self.discover().await? && self.until.is_none() {
            self.stale = true;
        }
        let ends = self.settled_ends().await?;
        self.check_none_is_shorter(&ends).await?;
        let end = |(index, end): (usize, i64)| {
            let part = self.parts.get(index)?;
            Some((part.key.clone(), part.offset(end.max(part.next), u64::MAX)))
        };
        Ok(ends.into_iter().filter_map(end).collect())
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<()> {
        let list = self.to_list(offsets)?;
        for (key, offset) in offsets.iter() {
            self.committed.set(key.clone(), offset.clone());
        }
        let consumer = self.consumer()?;
        consumer
            .commit(&list, CommitMode::Async)
            .map_err(|e| client::error("committing the consumer group's offsets", e))
    }

    async fn close(&mut self) -> Result<()> {
        self.drain = None;
        let Some(consumer) = self.consumer.take() else { return Ok(()) };
        let list = self.to_list(&self.committed)?;
        let closing = blocking(move || {
            if list.count() > 0
                && let Err(error) = consumer.commit(&list, CommitMode::Sync)
            {
                tracing::warn!(%error, "the consumer group's last offsets could not be committed");
            }
            Ok(())
        });
        // What lag tools see is a courtesy: it must not hold up a stop.
        match tokio::time::timeout(Duration::from_secs(5), closing).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
    }
}

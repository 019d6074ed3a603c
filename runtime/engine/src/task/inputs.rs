//! The sources of a task, read as one.
//!
//! The offsets of several sources stand in one map: each partition carries its source's alias.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use levada_connector_api::{
    Error, OffsetRanges, Offsets, Partition, PollLimit, PollStatus, Polled, Result, Retry, Source, TaskContext,
};

use crate::PipelineSpec;

/// The entry of a partition that names its source.
const SOURCE: &str = "source";

/// How long to wait when none of several sources has anything.
const PAUSE: Duration = Duration::from_millis(10);

/// One of the sources.
struct Input {
    alias: String,
    name: String,
    source: Box<dyn Source>,
    /// What it said when it had no more for the current micro-batch.
    done: Option<PollStatus>,
    /// The last end that was asked for, of all sources and of this one: a source may know an end by its address.
    until: Option<(Arc<Offsets>, Arc<Offsets>)>,
}

impl Input {
    fn at_source(&self, error: Error, several: bool) -> Error {
        match several {
            true => error.context(format!("source '{}' ({})", self.alias, self.name)),
            false => error.context(format!("source '{}'", self.name)),
        }
    }
}

/// All of them.
pub(crate) struct Inputs {
    list: Vec<Input>,
    batch_id: Option<u64>,
    next: usize,
}

impl Inputs {
    pub(crate) fn make(spec: &PipelineSpec) -> Result<Self> {
        let several = spec.sources.len() > 1;
        let make = |stage: &crate::StageSpec<dyn levada_connector_api::SourcePlugin>| {
            let name = stage.plugin.name();
            let place = match several {
                true => format!("source '{}' ({name})", stage.alias),
                false => format!("source '{name}'"),
            };
            let source = stage.plugin.create(&stage.config).map_err(|e| e.context(place))?;
            Ok(Input { alias: stage.alias.clone(), name: name.to_owned(), source, done: None, until: None })
        };
        Ok(Self { list: spec.sources.iter().map(make).collect::<Result<_>>()?, batch_id: None, next: 0 })
    }

    fn several(&self) -> bool {
        self.list.len() > 1
    }

    pub(crate) async fn schemas(&mut self) -> Result<Vec<SchemaRef>> {
        let several = self.several();
        let mut schemas = Vec::new();
        for input in &mut self.list {
            let schema = input.source.schema().await;
            schemas.push(schema.map_err(|e| input.at_source(e, several))?);
        }
        Ok(schemas)
    }

    /// Of the source at `at` only these columns are looked at.
    pub(crate) fn only(&mut self, at: usize, columns: &[String]) {
        if let Some(input) = self.list.get_mut(at) {
            input.source.only(columns);
        }
    }

    pub(crate) async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        let several = self.several();
        self.check(from)?;
        for input in &mut self.list {
            let own = if several { &untag(from, &input.alias)? } else { from };
            input.source.open(context, own).await.map_err(|e| input.at_source(e, several))?;
        }
        Ok(())
    }

    /// Refuses offsets of other sources than these.
    fn check(&self, from: &Offsets) -> Result<()> {
        for (partition, _) in from.iter() {
            let alias = partition.text(SOURCE);
            let known = match (&alias, self.several()) {
                (Some(alias), true) => self.list.iter().any(|input| input.alias == *alias),
                (alias, several) => alias.is_some() == several,
            };
            if !known {
                let had = alias.map_or("one source".to_owned(), |alias| format!("a source '{alias}'"));
                return Err(Error::corrupt(format!(
                    "the checkpoint is of a pipeline with {had}; the sources have changed"
                ))
                .hint("bring the old sources back, or start anew with another checkpoint.location and name"));
            }
        }
        Ok(())
    }

    /// Polls the next source. Answers with its number, what it gave, and what comes next of all sources.
    pub(crate) async fn poll(&mut self, limit: &PollLimit) -> Result<(usize, Polled)> {
        if !self.several() {
            let Some(input) = self.list.first_mut() else { return Ok((0, Polled::nothing(PollStatus::End))) };
            let polled = input.source.poll(limit).await;
            return polled.map(|polled| (0, polled)).map_err(|e| input.at_source(e, false));
        }
        if self.batch_id != Some(limit.batch_id) || self.list.iter().all(|input| input.done.is_some()) {
            self.batch_id = Some(limit.batch_id);
            self.list.iter_mut().for_each(|input| input.done = None);
        }
        let count = self.list.len();
        let ring = (self.next..count).chain(0..self.next.min(count));
        let at = ring.into_iter().find(|at| self.list.get(*at).is_some_and(|input| input.done.is_none())).unwrap_or(0);
        self.next = (at + 1) % count;
        let Some(input) = self.list.get_mut(at) else { return Ok((0, Polled::nothing(PollStatus::End))) };
        let until = match &limit.until {
            None => None,
            Some(all) => match &input.until {
                Some((known, own)) if Arc::ptr_eq(known, all) => Some(own.clone()),
                _ => {
                    let own = Arc::new(untag(all, &input.alias)?);
                    input.until = Some((all.clone(), own.clone()));
                    Some(own)
                }
            },
        };
        let own = PollLimit { until, wait: Duration::ZERO, ..limit.clone() };
        let mut polled = input.source.poll(&own).await.map_err(|e| input.at_source(e, true))?;
        polled.ranges = tag(polled.ranges, &input.alias)?;
        if polled.status != PollStatus::More {
            input.done = Some(polled.status);
            polled.status = self.status();
        }
        if polled.status == PollStatus::Idle && polled.ranges.is_empty() && !limit.wait.is_zero() {
            tokio::time::sleep(limit.wait.min(PAUSE)).await;
        }
        Ok((at, polled))
    }

    /// What comes next of all sources in this micro-batch.
    fn status(&self) -> PollStatus {
        let done: Option<Vec<PollStatus>> = self.list.iter().map(|input| input.done).collect();
        match done {
            None => PollStatus::More,
            Some(done) if done.contains(&PollStatus::Boundary) => PollStatus::Boundary,
            Some(done) if done.contains(&PollStatus::Idle) => PollStatus::Idle,
            Some(_) => PollStatus::End,
        }
    }

    pub(crate) async fn latest(&mut self) -> Result<Offsets> {
        let several = self.several();
        let mut all = Offsets::new();
        for input in &mut self.list {
            let latest = input.source.latest().await.map_err(|e| input.at_source(e, several))?;
            if !several {
                return Ok(latest);
            }
            for (partition, offset) in latest.iter() {
                all.set(tagged(partition, &input.alias), offset.clone());
            }
        }
        Ok(all)
    }

    /// What a source is told is a courtesy: the place is kept in the checkpoint. A failure that may pass is worth a line,
    /// no restart.
    pub(crate) async fn commit(&mut self, offsets: &Offsets) -> Result<()> {
        let several = self.several();
        for input in &mut self.list {
            let own = if several { &untag(offsets, &input.alias)? } else { offsets };
            match input.source.commit(own).await {
                Err(error) if error.retry() == Retry::Permanent => return Err(input.at_source(error, several)),
                Err(error) => tracing::warn!(%error, "the source could not be told of a commit"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    pub(crate) async fn close(&mut self) -> Result<()> {
        let several = self.several();
        for input in &mut self.list {
            input.source.close().await.map_err(|e| input.at_source(e, several))?;
        }
        Ok(())
    }
}

fn tagged(partition: &Partition, alias: &str) -> Partition {
    let mut map = partition.to_map();
    map.insert(SOURCE.to_owned(), alias.into());
    Partition::new(map.iter().map(|(key, value)| (key.as_str(), value.clone())))
}

fn tag(ranges: OffsetRanges, alias: &str) -> Result<OffsetRanges> {
    let mut out = OffsetRanges::default();
    for (partition, range) in ranges.iter() {
        out.push(tagged(partition, alias), range.clone())?;
    }
    Ok(out)
}

fn untag(offsets: &Offsets, alias: &str) -> Result<Offsets> {
    let mut out = Offsets::new();
    for (partition, offset) in offsets.iter() {
        let mut map = partition.to_map();
        match map.remove(SOURCE).as_ref().and_then(|source| source.as_str()) {
            Some(source) if source == alias => {
                let own = Partition::new(map.iter().map(|(key, value)| (key.as_str(), value.clone())));
                out.set(own, offset.clone());
            }
            Some(_) => {}
            None => {
                return Err(Error::corrupt(format!("the checkpoint's offset of {partition} names no source")).hint(
                    "it was made when the pipeline had one source: start anew with another checkpoint.location and name",
                ));
            }
        }
    }
    Ok(out)
}

/// The rows of each source among `ranges`.
pub(crate) fn of_source(ranges: &OffsetRanges, alias: &str) -> Result<OffsetRanges> {
    let mut out = OffsetRanges::default();
    for (partition, range) in ranges.iter() {
        if partition.text(SOURCE).as_deref() == Some(alias) {
            out.push(partition.clone(), range.clone())?;
        }
    }
    Ok(out)
}

//! Sessions: what a thread counts, and the state of a state partition.

mod ordered;

use std::collections::{BTreeMap, HashSet};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use levada_connector_api::{OutputMode, Result};

use super::groups::update;
use super::plan::{Plan, Shape};
use super::spans::{Span, Spans, join};
use crate::accumulate::Accumulator;
use crate::keys::{KeyCodec, Keys, hash};

/// Groups that became parts of others while spans were joined, in order.
#[derive(Default)]
struct Fused {
    steps: Vec<(u32, u32)>,
    parents: std::collections::HashMap<u32, u32>,
}

impl Fused {
    fn add(&mut self, from: u32, to: u32) {
        self.steps.push((from, to));
        self.parents.insert(from, to);
    }

    /// The group that `group` is now a part of.
    fn root(&self, mut group: u32) -> u32 {
        while let Some(parent) = self.parents.get(&group) {
            group = *parent;
        }
        group
    }
}

/// Keys, their sessions, and what is counted of each.
struct Table {
    codec: KeyCodec,
    keys: Keys,
    spans: Vec<Spans>,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// All numbers of groups are below it.
    bound: u32,
    free: Vec<u32>,
}

#[allow(clippy::indexing_slicing, reason = "numbers of keys and groups are those that the table gave out")]
impl Table {
    fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            codec: plan.codec()?,
            keys: Keys::default(),
            spans: Vec::new(),
            accumulators: plan.accumulators()?,
            bound: 0,
            free: Vec::new(),
        })
    }

    fn key(&mut self, hash: u64, key: &[u8]) -> Result<u32> {
        let (number, _) = self.keys.intern(hash, key)?;
        self.spans.resize_with(self.keys.bound(), Spans::new);
        Ok(number)
    }

    fn new_group(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.bound += 1;
            self.bound - 1
        })
    }

    /// Adds a span to a key's sessions and answers with its group.
    fn join(&mut self, key: u32, start: i64, end: i64, fused: &mut Fused) -> Span {
        // The common case first: it extends or falls into the last session.
        let group = self.new_group();
        let spans = &mut self.spans[key as usize];
        let add = |from, to| {
            fused.add(from, to);
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok((at, new)) = join(spans, Span { start, end, group }, add);
        let joined = spans[at];
        if !new {
            self.free.push(group);
        }
        joined
    }

    /// Puts together what belongs together, before anything is counted. The groups that are left can be used again.
    fn fuse(&mut self, fused: &Fused) -> Result<()> {
        for accumulator in &mut self.accumulators {
            accumulator.grow(self.bound as usize);
            for (from, to) in &fused.steps {
                accumulator.fuse(*from, *to)?;
                accumulator.reset(*from);
            }
        }
        Ok(())
    }

    fn release(&mut self, fused: &Fused) {
        self.free.extend(fused.steps.iter().map(|(from, _)| *from));
    }

    fn memory(&self) -> usize {
        let held: usize = self.accumulators.iter().map(|accumulator| accumulator.memory()).sum();
        let spans: usize = self.spans.iter().map(|spans| spans.capacity() * size_of::<Span>()).sum();
        self.keys.memory() + spans + self.spans.capacity() * size_of::<Spans>() + held
    }
}

/// What one thread counts of a micro-batch.
pub(super) struct Delta {
    table: Table,
    late: HashSet<(Vec<u8>, i64, i64)>,
}

#[allow(clippy::indexing_slicing, reason = "numbers of keys and groups are those that the table gave out")]
impl Delta {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self { table: Table::new(plan)?, late: HashSet::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.table.keys.len() + self.late.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.table.memory()
    }

    /// Counts rows, each at a time. One whose own session ended at or before `late` is dropped.
    pub(super) fn add(&mut self, plan: &Plan, batch: &RecordBatch, times: &[i64], late: i64) -> Result<()> {
        let Shape::Sessions(gap) = &plan.shape else { return Ok(()) };
        let gaps = gap.of(batch)?;
        let values: Vec<ArrayRef> =
            plan.grouping.keys().iter().map(|key| key.evaluate(batch)).collect::<Result<_>>()?;
        let encoded = self.table.codec.encode(&[], &values, batch.num_rows())?;
        // In complete mode, too: Spark's sessions keep what was closed, and take no late rows.
        let late = if plan.watermarked { late } else { i64::MIN };
        let mut fused = Fused::default();
        let mut groups = Vec::with_capacity(batch.num_rows());
        let mut kept = Vec::with_capacity(batch.num_rows());
        let mut too_late = Vec::new();
        for ((row, (key, start)), gap) in encoded.iter().zip(times).enumerate().zip(&gaps) {
            let end = start.saturating_add(*gap);
            let counts = *gap > 0 && end > late;
            kept.push(counts);
            if counts {
                let number = self.table.key(hash(key), key)?;
                groups.push(match plan.ordered {
                    true => self.table.atom(number, *start, end),
                    false => self.table.join(number, *start, end, &mut fused).group,
                });
            } else if *gap > 0 {
                too_late.push(row as u32);
                self.late.insert((key.to_vec(), *start, end));
            }
        }
        test(plan, batch, too_late)?;
        self.table.fuse(&fused)?;
        if !fused.steps.is_empty() {
            groups.iter_mut().for_each(|group| *group = fused.root(*group));
        }
        let some = groups.len() < batch.num_rows();
        let filtered = some.then(|| arrow::compute::filter_record_batch(batch, &kept.into())).transpose()?;
        let (bound, batch) = (self.table.bound as usize, filtered.as_ref().unwrap_or(batch));
        update(plan, &mut self.table.accumulators, batch, &groups, bound)?;
        self.table.release(&fused);
        Ok(())
    }

    /// The keys by state partition.
    pub(super) fn partitions(&self, count: usize) -> Vec<Vec<u32>> {
        let mut partitions = vec![Vec::new(); count];
        for number in 0..self.table.keys.bound() as u32 {
            partitions[super::partition_of(self.table.keys.hash_of(number), count)].push(number);
        }
        partitions
    }
}

/// Fails where rows cannot be aggregated: Spark drops late rows only after that.
fn test(plan: &Plan, batch: &RecordBatch, rows: Vec<u32>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = arrow::compute::take_record_batch(batch, &UInt32Array::from(rows))?;
    let mut read = plan.grouping.calls().iter().flat_map(|call| call.args.iter().chain(&call.filter));
    read.try_for_each(|expression| expression.evaluate(&rows).map(|_| ()))
}

/// How many late groups threads saw, each counted once.
pub(super) fn late_groups(deltas: &[&Delta]) -> u64 {
    match deltas {
        [] => 0,
        [one] => one.late.len() as u64,
        several => several.iter().flat_map(|delta| &delta.late).collect::<HashSet<_>>().len() as u64,
    }
}

/// The sessions of one state partition.
pub(super) struct Shard {
    table: Table,
    /// Sessions by a time before which they do not end: a key and a group, once for each session.
    closing: BTreeMap<i64, Vec<(u32, u32)>>,
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    sessions: usize,
    pub(super) updated: u64,
    pub(super) removed: u64,
}

#[allow(clippy::indexing_slicing, reason = "numbers of keys and groups are those that the table gave out")]
impl Shard {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            table: Table::new(plan)?,
            closing: BTreeMap::new(),
            changed: Vec::new(),
            is_changed: Vec::new(),
            sessions: 0,
            updated: 0,
            removed: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.sessions
    }

    pub(super) fn memory(&self) -> usize {
        let closing: usize = self.closing.values().map(|sessions| sessions.capacity() * 8 + 64).sum();
        self.table.memory() + closing + self.changed.capacity() * 4
    }

    fn change(&mut self, key: u32) {
        self.is_changed.resize(self.table.keys.bound(), false);
        if !std::mem::replace(&mut self.is_changed[key as usize], true) {
            self.changed.push(key);
        }
    }

    fn place(&mut self, plan: &Plan, key: u32, start: i64, end: i64, fused: &mut Fused) -> u32 {
        let before = self.table.spans[key as usize].len();
        let span = self.table.join(key, start, end, fused);
        let after = self.table.spans[key as usize].len();
        self.sessions = self.sessions + after - before;
        // A session that grows is found under its old end, and put off to its new one then.
        if plan.expires && after > before {
            self.closing.entry(span.end).or_default().push((key, span.group));
        }
        span.group
    }

    /// Takes over what a thread counted of the keys `keys`.
    pub(super) fn merge(&mut self, plan: &Plan, delta: &Delta, keys: &[u32]) -> Result<()> {
        if plan.ordered {
            return self.merge_in_order(plan, delta, keys);
        }
        let mut fused = Fused::default();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for number in keys {
            let own = self.table.key(delta.table.keys.hash_of(*number), delta.table.keys.get(*number))?;
            self.change(own);
            for span in &delta.table.spans[*number as usize] {
                to.push(self.place(plan, own, span.start, span.end, &mut fused));
                from.push(span.group);
            }
        }
        self.updated += from.len() as u64;
        self.table.fuse(&fused)?;
        to.iter_mut().for_each(|group| *group = fused.root(*group));
        for (accumulator, counted) in self.table.accumulators.iter_mut().zip(&delta.table.accumulators) {
            accumulator.merge(counted.as_ref(), &from, &to)?;
        }
        self.table.release(&fused);
        Ok(())
    }

    /// Ends the micro-batch: gives out what the mode wants, and removes the sessions that ended at or before `watermark`.
    pub(super) fn finish(&mut self, plan: &Plan, watermark: i64) -> Result<Vec<RecordBatch>> {
        let closed = if plan.expires { self.close(watermark) } else { Vec::new() };
        let emitted = match plan.mode {
            OutputMode::Append => self.rows(plan, &closed)?,
            _ => self.rows(plan, &self.all_sessions())?,
        };
        self.removed = closed.len() as u64;
        self.remove(&closed);
        Ok(emitted)
    }

    fn all_sessions(&self) -> Vec<(u32, Span)> {
        let of = |key: u32| self.table.spans[key as usize].iter().map(move |span| (key, *span));
        self.table.keys.iter().flat_map(of).collect()
    }

    /// The sessions that ended at or before `watermark`.
    fn close(&mut self, watermark: i64) -> Vec<(u32, Span)> {
        let (mut closed, mut later) = (Vec::new(), Vec::new());
        while let Some(entry) = self.closing.first_entry() {
            if *entry.key() > watermark {
                break;
            }
            for (key, group) in entry.remove() {
                let spans = &mut self.table.spans[key as usize];
                let Some(at) = spans.iter().position(|span| span.group == group) else { continue };
                if spans[at].end <= watermark {
                    closed.push((key, spans.remove(at)));
                } else {
                    later.push((spans[at].end, (key, group)));
                }
            }
        }
        for (end, session) in later {
            self.closing.entry(end).or_default().push(session);
        }
        closed
    }

    fn remove(&mut self, closed: &[(u32, Span)]) {
        self.sessions -= closed.len();
        for (key, span) in closed {
            self.table.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(span.group));
            self.table.free.push(span.group);
            if self.table.spans[*key as usize].is_empty() && self.table.keys.holds(*key) {
                self.table.keys.remove(*key);
            }
        }
    }

    fn rows(&self, plan: &Plan, sessions: &[(u32, Span)]) -> Result<Vec<RecordBatch>> {
        sessions.chunks(super::ROWS).map(|sessions| self.results(plan, sessions)).collect()
    }

    fn results(&self, plan: &Plan, sessions: &[(u32, Span)]) -> Result<RecordBatch> {
        let keys: Vec<&[u8]> = sessions.iter().map(|(key, _)| self.table.keys.get(*key)).collect();
        let groups: Vec<u32> = sessions.iter().map(|(_, span)| span.group).collect();
        let starts = sessions.iter().map(|(_, span)| span.start).collect();
        let ends = sessions.iter().map(|(_, span)| span.end).collect();
        let mut columns = vec![plan.window_column(starts, ends)];
        columns.extend(self.table.codec.decode(&keys)?);
        for accumulator in &self.table.accumulators {
            columns.push(accumulator.evaluate(&groups)?);
        }
        plan.grouping.finish(columns, sessions.len())
    }

    /// The keys whose sessions changed since the last call and that still have some.
    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().for_each(|key| self.is_changed[*key as usize] = false);
        changed.into_iter().filter(|key| self.table.keys.holds(*key)).collect()
    }

    /// All keys.
    pub(super) fn all(&self) -> Vec<u32> {
        self.table.keys.iter().collect()
    }

    /// The columns of the state of keys, a row for each session: start, end, keys, aggregates.
    pub(super) fn state(&self, keys: &[u32]) -> Result<(Vec<i64>, Vec<i64>, Vec<ArrayRef>)> {
        let of = |key: &u32| {
            let key = *key;
            self.table.spans[key as usize].iter().map(move |span| (key, *span))
        };
        let sessions: Vec<(u32, Span)> = keys.iter().flat_map(of).collect();
        let bytes: Vec<&[u8]> = sessions.iter().map(|(key, _)| self.table.keys.get(*key)).collect();
        let groups: Vec<u32> = sessions.iter().map(|(_, span)| span.group).collect();
        let mut columns = self.table.codec.decode(&bytes)?;
        for accumulator in &self.table.accumulators {
            columns.extend(accumulator.state(&groups)?);
        }
        let (starts, ends) = sessions.iter().map(|(_, span)| (span.start, span.end)).unzip();
        Ok((starts, ends, columns))
    }

    /// Takes state back: the sessions of a key in it replace those that it has.
    pub(super) fn load(
        &mut self,
        plan: &Plan,
        keys: &[(u64, Vec<u8>)],
        spans: &[(i64, i64)],
        states: &[ArrayRef],
    ) -> Result<()> {
        let mut numbers = Vec::with_capacity(keys.len());
        let mut fresh = HashSet::new();
        for (hash, key) in keys {
            let number = self.table.key(*hash, key)?;
            if fresh.insert(number) {
                let old = std::mem::take(&mut self.table.spans[number as usize]);
                self.sessions -= old.len();
                for span in old {
                    self.table.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(span.group));
                    self.table.free.push(span.group);
                }
            }
            numbers.push(number);
        }
        let mut fused = Fused::default();
        let mut groups = Vec::with_capacity(keys.len());
        for (number, (start, end)) in numbers.into_iter().zip(spans) {
            groups.push(self.place(plan, number, *start, *end, &mut fused));
        }
        let mut states = states;
        for accumulator in &mut self.table.accumulators {
            let (own, rest) = states.split_at(accumulator.state_types().len().min(states.len()));
            accumulator.grow(self.table.bound as usize);
            accumulator.load(own, &groups)?;
            states = rest;
        }
        Ok(())
    }

    /// Removes what ended at or before `watermark`, without a word.
    pub(super) fn expire(&mut self, watermark: i64) {
        let closed = self.close(watermark);
        self.remove(&closed);
    }
}

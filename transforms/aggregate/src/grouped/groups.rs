//! Groups of rows with equal keys, not in windows: what a thread counts, and the state of a state partition.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use levada_connector_api::{OutputMode, Result};

use super::plan::{Plan, Shape};
use crate::accumulate::Accumulator;
use crate::keys::{KeyCodec, Keys, PREFIX, hash, with_prefix};
use crate::times::closing_times;

/// What one thread counts of a micro-batch.
pub(super) struct Delta {
    codec: KeyCodec,
    keys: Keys,
    /// The hash of each key without its prefix: it decides the state partition.
    bare: Vec<u64>,
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    numbers: Vec<u32>,
}

/// A key's part before its columns.
fn prefix_of(key: &[u8]) -> i64 {
    key.first_chunk::<PREFIX>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

impl Delta {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            codec: plan.codec()?,
            keys: Keys::default(),
            bare: Vec::new(),
            accumulators: plan.accumulators()?,
            numbers: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn memory(&self) -> usize {
        let held: usize = self.accumulators.iter().map(|accumulator| accumulator.memory()).sum();
        self.keys.memory() + self.bare.capacity() * 8 + self.numbers.capacity() * 4 + held
    }

    /// Counts rows.
    pub(super) fn add(&mut self, plan: &Plan, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let values: Vec<ArrayRef> =
            plan.grouping.keys().iter().map(|key| key.evaluate(batch)).collect::<Result<_>>()?;
        let prefix = match &plan.shape {
            Shape::Timed(at) => values.get(*at).map(closing_times).unwrap_or_default(),
            _ => Vec::new(),
        };
        let encoded = self.codec.encode(&prefix, &values, rows)?;
        let start = if plan.prefixed() { PREFIX } else { 0 };
        self.numbers.clear();
        self.numbers.reserve(rows);
        for key in encoded.iter() {
            let bare = hash(key.get(start..).unwrap_or_default());
            let full = if start == 0 { bare } else { with_prefix(bare, prefix_of(key)) };
            let (number, new) = self.keys.intern(full, key)?;
            if new {
                self.bare.push(bare);
            }
            self.numbers.push(number);
        }
        update(plan, &mut self.accumulators, batch, &self.numbers, self.keys.bound())
    }

    /// The groups by state partition.
    pub(super) fn partitions(&self, count: usize) -> Vec<Vec<u32>> {
        let mut partitions = vec![Vec::new(); count];
        for (number, hash) in self.bare.iter().enumerate() {
            if let Some(partition) = partitions.get_mut(super::partition_of(*hash, count)) {
                partition.push(number as u32);
            }
        }
        partitions
    }
}

/// Lets all accumulators see rows.
pub(super) fn update(
    plan: &Plan,
    accumulators: &mut [Box<dyn Accumulator>],
    batch: &RecordBatch,
    numbers: &[u32],
    bound: usize,
) -> Result<()> {
    for (call, accumulator) in plan.grouping.calls().iter().zip(accumulators) {
        accumulator.grow(bound);
        let values: Vec<ArrayRef> = call.args.iter().map(|arg| arg.evaluate(batch)).collect::<Result<_>>()?;
        let filter = call.filter.as_ref().map(|filter| filter.evaluate(batch)).transpose()?;
        let filter = filter.as_ref().and_then(|filter| filter.as_boolean_opt());
        accumulator.update(&values, numbers, filter).map_err(|e| e.context(format!("aggregate \"{}\"", call.name)))?;
    }
    Ok(())
}

/// The groups of one state partition.
pub(super) struct Shard {
    codec: KeyCodec,
    keys: Keys,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// Groups by the time at which they close.
    closing: BTreeMap<i64, Vec<u32>>,
    /// The micro-batch that touched a group last, counted from 1.
    touched_in: Vec<u32>,
    batch: u32,
    touched: Vec<u32>,
    /// Groups that changed since the last checkpoint, and which these are.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    /// Those that were closed by the micro-batch, in append mode: emitted, then removed.
    pub(super) dropped: u64,
    pub(super) updated: u64,
    pub(super) removed: u64,
}

#[allow(clippy::indexing_slicing, reason = "numbers of groups are valid below the bound")]
impl Shard {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            codec: plan.codec()?,
            keys: Keys::default(),
            accumulators: plan.accumulators()?,
            closing: BTreeMap::new(),
            touched_in: Vec::new(),
            batch: 1,
            touched: Vec::new(),
            changed: Vec::new(),
            is_changed: Vec::new(),
            dropped: 0,
            updated: 0,
            removed: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn memory(&self) -> usize {
        let held: usize = self.accumulators.iter().map(|accumulator| accumulator.memory()).sum();
        let lists = self.touched_in.capacity() + self.touched.capacity() + self.changed.capacity();
        let closing: usize = self.closing.values().map(|numbers| numbers.capacity() * 4 + 64).sum();
        self.keys.memory() + held + lists * 4 + self.is_changed.capacity() + closing
    }

    /// The group of a key, made if it is not there.
    fn group(&mut self, plan: &Plan, hash: u64, key: &[u8]) -> Result<u32> {
        let (number, new) = self.keys.intern(hash, key)?;
        if new {
            let bound = self.keys.bound();
            self.touched_in.resize(bound, 0);
            self.is_changed.resize(bound, false);
            self.touched_in[number as usize] = 0;
            if plan.expires {
                self.closing.entry(prefix_of(key)).or_default().push(number);
            }
        }
        if self.touched_in[number as usize] != self.batch {
            self.touched_in[number as usize] = self.batch;
            self.touched.push(number);
            if !self.is_changed[number as usize] {
                self.is_changed[number as usize] = true;
                self.changed.push(number);
            }
        }
        Ok(number)
    }

    /// Takes over what a thread counted in this partition. Groups that closed at or before `late`, in microseconds, are
    /// dropped.
    pub(super) fn merge(&mut self, plan: &Plan, delta: &Delta, groups: &[u32], late: i64) -> Result<()> {
        let (mut from, mut to) = (Vec::with_capacity(groups.len()), Vec::with_capacity(groups.len()));
        for number in groups {
            let key = delta.keys.get(*number);
            if plan.expires && prefix_of(key) <= late {
                self.dropped += 1;
                continue;
            }
            to.push(self.group(plan, delta.keys.hash_of(*number), key)?);
            from.push(*number);
        }
        let bound = self.keys.bound();
        for ((accumulator, counted), call) in
            self.accumulators.iter_mut().zip(&delta.accumulators).zip(plan.grouping.calls())
        {
            accumulator.grow(bound);
            let merged = accumulator.merge(counted.as_ref(), &from, &to);
            merged.map_err(|e| e.context(format!("aggregate \"{}\"", call.name)))?;
        }
        Ok(())
    }

    /// There is a group even when no row came: an aggregation without keys.
    pub(super) fn ensure(&mut self, plan: &Plan) -> Result<()> {
        let number = self.group(plan, hash(&[]), &[])?;
        let bound = self.keys.bound().max(number as usize + 1);
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.grow(bound));
        Ok(())
    }

    /// Ends the micro-batch: gives out what the mode wants, and removes what closed at or before `watermark`, in
    /// microseconds.
    pub(super) fn finish(&mut self, plan: &Plan, watermark: i64) -> Result<Vec<RecordBatch>> {
        let touched = std::mem::take(&mut self.touched);
        self.updated = touched.len() as u64;
        self.batch = self.batch.checked_add(1).unwrap_or_else(|| {
            // Once in four billion micro-batches.
            self.touched_in.iter_mut().for_each(|batch| *batch = 0);
            1
        });
        let mut closed = Vec::new();
        if plan.expires {
            while let Some(entry) = self.closing.first_entry() {
                if *entry.key() > watermark {
                    break;
                }
                closed.extend(entry.remove());
            }
        }
        let emitted = match plan.mode {
            OutputMode::Append => self.rows(plan, &closed)?,
            OutputMode::Update => self.rows(plan, &touched)?,
            OutputMode::Complete => self.rows(plan, &self.keys.iter().collect::<Vec<_>>())?,
        };
        self.removed = closed.len() as u64;
        for number in closed {
            self.keys.remove(number);
            self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(number));
        }
        Ok(emitted)
    }

    /// The results of groups.
    fn rows(&self, plan: &Plan, numbers: &[u32]) -> Result<Vec<RecordBatch>> {
        numbers.chunks(super::ROWS).map(|numbers| self.results(plan, numbers)).collect()
    }

    fn results(&self, plan: &Plan, numbers: &[u32]) -> Result<RecordBatch> {
        let keys: Vec<&[u8]> = numbers.iter().map(|number| self.keys.get(*number)).collect();
        let mut columns = self.codec.decode(&keys)?;
        for (accumulator, call) in self.accumulators.iter().zip(plan.grouping.calls()) {
            let values = accumulator.evaluate(numbers);
            columns.push(values.map_err(|e| e.context(format!("aggregate \"{}\"", call.name)))?);
        }
        plan.grouping.finish(columns, numbers.len())
    }

    /// The groups that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().for_each(|number| self.is_changed[*number as usize] = false);
        changed.into_iter().filter(|number| self.keys.holds(*number)).collect()
    }

    /// All groups.
    pub(super) fn all(&self) -> Vec<u32> {
        self.keys.iter().collect()
    }

    /// The columns of the state of groups: prefix, keys, aggregates.
    pub(super) fn state(&self, numbers: &[u32]) -> Result<(Vec<i64>, Vec<ArrayRef>)> {
        let keys: Vec<&[u8]> = numbers.iter().map(|number| self.keys.get(*number)).collect();
        let prefixes = keys.iter().map(|key| prefix_of(key)).collect();
        let mut columns = self.codec.decode(&keys)?;
        for accumulator in &self.accumulators {
            columns.extend(accumulator.state(numbers)?);
        }
        Ok((prefixes, columns))
    }

    /// Takes state back: one row of `columns` for each of the keys in `keys`, which are of this partition.
    pub(super) fn load(&mut self, plan: &Plan, keys: &[(u64, Vec<u8>)], states: &[ArrayRef]) -> Result<()> {
        let mut numbers = Vec::with_capacity(keys.len());
        for (hash, key) in keys {
            numbers.push(self.group(plan, *hash, key)?);
        }
        let bound = self.keys.bound();
        let mut states = states;
        for accumulator in &mut self.accumulators {
            let (own, rest) = states.split_at(accumulator.state_types().len().min(states.len()));
            accumulator.grow(bound);
            numbers.iter().for_each(|number| accumulator.reset(*number));
            accumulator.load(own, &numbers)?;
            states = rest;
        }
        self.settle();
        Ok(())
    }

    /// Removes what closed at or before `watermark`, without a word.
    pub(super) fn expire(&mut self, watermark: i64) {
        while let Some(entry) = self.closing.first_entry() {
            if *entry.key() > watermark {
                break;
            }
            for number in entry.remove() {
                self.keys.remove(number);
                self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(number));
            }
        }
    }

    /// What was loaded is neither touched nor changed.
    fn settle(&mut self) {
        for number in self.touched.drain(..) {
            self.touched_in[number as usize] = 0;
        }
        for number in self.changed.drain(..) {
            self.is_changed[number as usize] = false;
        }
    }
}

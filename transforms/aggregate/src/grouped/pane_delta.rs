//! What one thread counts of a micro-batch in panes.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use levada_connector_api::{Error, Result};

use super::groups::update;
use super::plan::Plan;
use super::slots::Slots;
use super::windows::Windows;
use crate::accumulate::Accumulator;
use crate::keys::{KeyCodec, Keys, hash};

/// What one thread counts of a micro-batch.
pub(super) struct Delta {
    codec: KeyCodec,
    pub(super) keys: Keys,
    /// The panes of each key, and the one that was found last.
    pub(super) slots: Vec<(Slots, i64, u32)>,
    groups: u32,
    pub(super) accumulators: Vec<Box<dyn Accumulator>>,
    numbers: Vec<u32>,
}

impl Delta {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            codec: plan.codec()?,
            keys: Keys::default(),
            slots: Vec::new(),
            groups: 0,
            accumulators: plan.accumulators()?,
            numbers: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.groups as usize
    }

    pub(super) fn memory(&self) -> usize {
        let slots: usize = self.slots.iter().map(|slot| size_of_val(slot) + slot.0.memory()).sum();
        let held: usize = self.accumulators.iter().map(|accumulator| accumulator.memory()).sum();
        self.keys.memory() + slots + self.numbers.capacity() * 4 + held
    }

    /// Counts rows, each at its time.
    pub(super) fn add(&mut self, plan: &Plan, windows: &Windows, batch: &RecordBatch, times: &[i64]) -> Result<()> {
        if !windows.repeats() {
            return self.add_panes(plan, windows, batch, times);
        }
        let (mut rows, mut starts) = (Vec::new(), Vec::new());
        for (row, time) in times.iter().enumerate() {
            for start in windows.starts(time - windows.size, *time) {
                rows.push(row as u32);
                starts.push(start);
            }
        }
        let rows = take_record_batch(batch, &UInt32Array::from(rows)).map_err(|e| Error::internal(e.to_string()))?;
        self.add_panes(plan, windows, &rows, &starts)
    }

    fn add_panes(&mut self, plan: &Plan, windows: &Windows, batch: &RecordBatch, times: &[i64]) -> Result<()> {
        let values: Vec<ArrayRef> =
            plan.grouping.keys().iter().map(|key| key.evaluate(batch)).collect::<Result<_>>()?;
        let encoded = self.codec.encode(&[], &values, batch.num_rows())?;
        self.numbers.clear();
        self.numbers.reserve(batch.num_rows());
        let mut pane = i64::MAX;
        for (key, time) in encoded.iter().zip(times) {
            // Most rows are of the pane of the row before: a division less.
            if *time < pane || time - pane >= windows.pane {
                pane = windows.pane_of(*time);
            }
            let (id, new) = self.keys.intern(hash(key), key)?;
            if new {
                self.slots.push((Slots::default(), i64::MIN, 0));
            }
            let Some((slots, last, group)) = self.slots.get_mut(id as usize) else { continue };
            if *last != pane {
                let groups = &mut self.groups;
                let next = || {
                    *groups += 1;
                    *groups - 1
                };
                (*last, *group) = (pane, slots.get_or_add(pane, next).group);
            }
            self.numbers.push(*group);
        }
        update(plan, &mut self.accumulators, batch, &self.numbers, self.groups as usize)
    }

    /// The keys by state partition.
    pub(super) fn partitions(&self, count: usize) -> Vec<Vec<u32>> {
        let mut partitions = vec![Vec::new(); count];
        for key in self.keys.iter() {
            if let Some(partition) = partitions.get_mut(super::partition_of(self.keys.hash_of(key), count)) {
                partition.push(key);
            }
        }
        partitions
    }
}

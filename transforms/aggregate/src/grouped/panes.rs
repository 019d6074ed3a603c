//! Windows of one size: rows are counted in panes by key, and panes are put together to windows when these are emitted.
//!
//! A row belongs to `size / slide` windows, but to one pane: the state holds panes, and what a row costs does not depend on
//! how many windows it is in. Where the order of rows decides a result (`first`, `collect_list`), and where windows do not
//! overlap, each window is a pane of its own. The idea is of "No Pane, No Gain" (Li et al., SIGMOD Record 34, 2005).

use arrow::array::{ArrayRef, RecordBatch};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use levada_connector_api::{OutputMode, Result};

use super::pane_delta::Delta;
use super::plan::Plan;
use super::slots::Slots;
use super::windows::Windows;
use crate::accumulate::Accumulator;
use crate::keys::{KeyCodec, Keys};

/// Windows that are put together at once.
const TOGETHER: usize = 2048;

/// A pane of a key, and the group that it is counted in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pane {
    key: u32,
    group: u32,
    start: i64,
}

/// The panes of one state partition.
pub(super) struct Shard {
    codec: KeyCodec,
    keys: Keys,
    /// The panes of each key.
    slots: Vec<Slots>,
    /// The memory that the panes of all keys hold beside `slots`, in bytes.
    held: usize,
    accumulators: Vec<Box<dyn Accumulator>>,
    free: Vec<u32>,
    /// Groups that will be free after the next checkpoint: until then `is_changed` speaks of the panes that they were of.
    released: Vec<u32>,
    /// All groups are below it.
    bound: u32,
    /// The keys of each pane, when panes close.
    by_pane: HashMap<i64, Vec<u32>, FixedState>,
    /// The closing of windows that saw a key last, counted from 1.
    seen_in: Vec<u32>,
    closing: u32,
    /// Up to when windows were closed, in microseconds.
    closed: i64,
    /// How many windows with rows are open.
    windows: u64,
    /// The micro-batch that touched a group last, counted from 1.
    touched_in: Vec<u32>,
    batch: u32,
    touched: Vec<Pane>,
    /// Panes that changed since the last checkpoint, and which groups these are.
    changed: Vec<Pane>,
    is_changed: Vec<bool>,
    /// How many windows the last micro-batch gave out: the next may have as many.
    emitted: usize,
    pub(super) dropped: u64,
    pub(super) updated: u64,
    pub(super) removed: u64,
}

#[allow(clippy::indexing_slicing, reason = "numbers of keys and groups are valid below their bounds")]
impl Shard {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            codec: plan.codec()?,
            keys: Keys::default(),
            slots: Vec::new(),
            held: 0,
            accumulators: plan.accumulators()?,
            free: Vec::new(),
            released: Vec::new(),
            bound: 0,
            by_pane: HashMap::default(),
            seen_in: Vec::new(),
            closing: 0,
            closed: i64::MIN,
            windows: 0,
            touched_in: Vec::new(),
            batch: 1,
            touched: Vec::new(),
            changed: Vec::new(),
            is_changed: Vec::new(),
            emitted: 0,
            dropped: 0,
            updated: 0,
            removed: 0,
        })
    }

    /// How many windows with rows are open.
    pub(super) fn len(&self) -> usize {
        self.windows as usize
    }

    pub(super) fn memory(&self) -> usize {
        let held: usize = self.accumulators.iter().map(|accumulator| accumulator.memory()).sum();
        let lists = (self.touched.capacity() + self.changed.capacity()) * size_of::<Pane>();
        let numbers =
            (self.touched_in.capacity() + self.free.capacity() + self.released.capacity() + self.seen_in.capacity())
                * 4
                + self.is_changed.capacity();
        let closing: usize = self.by_pane.values().map(|keys| keys.capacity() * 4 + 64).sum();
        self.keys.memory() + self.slots.capacity() * size_of::<Slots>() + self.held + held + lists + numbers + closing
    }

    fn key(&mut self, hash: u64, key: &[u8]) -> Result<u32> {
        let (id, new) = self.keys.intern(hash, key)?;
        if new && id as usize >= self.slots.len() {
            self.slots.resize_with(id as usize + 1, Slots::default);
        }
        Ok(id)
    }

    /// The group of a pane, made if it is not there. Windows that closed at or before `late` are not counted.
    fn group(&mut self, plan: &Plan, windows: &Windows, key: u32, start: i64, late: i64) -> u32 {
        let Self { slots, free, bound, held, .. } = self;
        let slots = &mut slots[key as usize];
        *held -= slots.memory();
        let found = slots.get_or_add(start, || {
            free.pop().unwrap_or_else(|| {
                *bound += 1;
                *bound - 1
            })
        });
        *held += slots.memory();
        let group = found.group;
        if let Some((before, after)) = found.added {
            let bound = self.bound as usize;
            self.touched_in.resize(bound, 0);
            self.is_changed.resize(bound, false);
            self.touched_in[group as usize] = 0;
            let from = windows.first(start).max(before.unwrap_or(i64::MIN)).max(late.saturating_sub(windows.size));
            self.windows += windows.count(from, after.map_or(start, |after| start.min(windows.first(after))));
            if plan.expires {
                self.by_pane.entry(start).or_default().push(key);
            }
        }
        if self.touched_in[group as usize] != self.batch {
            self.touched_in[group as usize] = self.batch;
            self.touched.push(Pane { key, start, group });
        }
        group
    }

    /// Takes over what a thread counted of these of its keys. Windows that closed at or before `late`, in microseconds,
    /// are dropped.
    pub(super) fn merge(
        &mut self,
        plan: &Plan,
        windows: &Windows,
        delta: &Delta,
        keys: &[u32],
        late: i64,
    ) -> Result<()> {
        let late = if plan.expires { late } else { i64::MIN };
        let gone = late.saturating_sub(windows.size);
        let mut own: Vec<(u32, u32)> = Vec::with_capacity(keys.len());
        for key in keys {
            let slots = &delta.slots[*key as usize].0;
            if slots.oldest().is_some_and(|oldest| windows.first(oldest) < gone) {
                let mut last = i64::MIN;
                slots.each(i64::MIN, i64::MAX, |pane, _| {
                    self.dropped += windows.count(windows.first(pane).max(last), pane.min(gone));
                    last = pane;
                });
            }
            if slots.newest().is_some_and(|newest| windows.closes(newest) > late) {
                own.push((self.key(delta.keys.hash_of(*key), delta.keys.get(*key))?, *key));
            }
        }
        // In the order of keys, so that what is touched is a few runs in order.
        own.sort_unstable();
        let count = own.iter().map(|(_, key)| delta.slots[*key as usize].0.len()).sum();
        let (mut from, mut to) = (Vec::with_capacity(count), Vec::with_capacity(count));
        self.touched.reserve(count);
        for (id, key) in own {
            delta.slots[key as usize].0.each(i64::MIN, i64::MAX, |pane, number| {
                if windows.closes(pane) > late {
                    from.push(number);
                    to.push(self.group(plan, windows, id, pane, late));
                }
            });
        }
        let bound = self.bound as usize;
        for ((accumulator, counted), call) in
            self.accumulators.iter_mut().zip(&delta.accumulators).zip(plan.grouping.calls())
        {
            accumulator.grow(bound);
            let merged = accumulator.merge(counted.as_ref(), &from, &to);
            merged.map_err(|e| e.context(format!("aggregate \"{}\"", call.name)))?;
        }
        Ok(())
    }

    /// Ends the micro-batch: gives out what the mode wants, and removes what closed at or before `watermark`, in
    /// microseconds. Windows that closed at or before `late` are not there.
    pub(super) fn finish(
        &mut self,
        plan: &Plan,
        windows: &Windows,
        late: i64,
        watermark: i64,
    ) -> Result<Vec<RecordBatch>> {
        let gone = if plan.expires { late.saturating_sub(windows.size) } else { i64::MIN };
        let mut touched = std::mem::take(&mut self.touched);
        // A run or two in order already.
        touched.sort_by_key(|pane| (pane.key, pane.start));
        self.batch = self.batch.checked_add(1).unwrap_or_else(|| {
            // Once in four billion micro-batches.
            self.touched_in.iter_mut().for_each(|batch| *batch = 0);
            1
        });
        let mut wanted: Vec<(u32, i64)> = Vec::with_capacity(self.emitted);
        let updates = plan.mode == OutputMode::Update;
        self.updated = 0;
        for panes in touched.chunk_by(|one, other| one.key == other.key) {
            let mut last = i64::MIN;
            for pane in panes {
                let from = windows.first(pane.start).max(last).max(gone);
                self.updated += windows.count(from, pane.start);
                if updates {
                    wanted.extend(windows.starts(from, pane.start).map(|start| (pane.key, start)));
                }
                last = pane.start;
            }
        }
        self.note_changed(touched);
        if plan.mode == OutputMode::Complete {
            for key in self.keys.iter() {
                let mut last = i64::MIN;
                self.slots[key as usize].each(i64::MIN, i64::MAX, |pane, _| {
                    let new = windows.starts(windows.first(pane).max(last), pane);
                    wanted.extend(new.map(|start| (key, start)));
                    last = pane;
                });
            }
        }
        self.closed = self.closed.max(late);
        self.removed = 0;
        let mut closing = Vec::new();
        if plan.expires && watermark > self.closed {
            closing = self.closing(watermark);
            let from = self.closed.saturating_sub(windows.size);
            for key in &closing {
                let mut last = i64::MIN;
                self.slots[*key as usize].each(i64::MIN, watermark, |pane, _| {
                    let from = windows.first(pane).max(last).max(from);
                    let until = pane.min(watermark.saturating_sub(windows.size));
                    self.removed += windows.count(from, until);
                    if plan.mode == OutputMode::Append {
                        wanted.extend(windows.starts(from, until).map(|start| (*key, start)));
                    }
                    last = pane;
                });
            }
        }
        self.emitted = wanted.len();
        let mut emitted = Vec::with_capacity(wanted.len().div_ceil(super::ROWS));
        for wanted in wanted.chunks(super::ROWS) {
            emitted.push(self.results(plan, windows, wanted)?);
        }
        self.remove(windows, &closing, watermark);
        Ok(emitted)
    }

    /// Notes for the next checkpoint what a micro-batch touched.
    fn note_changed(&mut self, mut touched: Vec<Pane>) {
        let is_changed = &mut self.is_changed;
        touched.retain(|pane| !std::mem::replace(&mut is_changed[pane.group as usize], true));
        if self.changed.is_empty() {
            self.changed = touched;
        } else {
            self.changed.extend(touched);
        }
    }

    /// The keys that have panes before `watermark`, in order.
    fn closing(&mut self, watermark: i64) -> Vec<u32> {
        self.closing = self.closing.checked_add(1).unwrap_or_else(|| {
            self.seen_in.iter_mut().for_each(|closing| *closing = 0);
            1
        });
        self.seen_in.resize(self.slots.len(), 0);
        let mut keys = Vec::new();
        for (_, own) in self.by_pane.iter().filter(|(start, _)| **start < watermark) {
            let fresh = own.iter().filter(|key| {
                let seen_in = &mut self.seen_in[**key as usize];
                std::mem::replace(seen_in, self.closing) != self.closing
            });
            keys.extend(fresh);
        }
        keys.sort_unstable();
        keys
    }

    /// Removes the panes of these keys of which all windows closed at or before `watermark`.
    fn remove(&mut self, windows: &Windows, keys: &[u32], watermark: i64) {
        for key in keys {
            let Self { slots, accumulators, released, is_changed, held, .. } = self;
            let slots = &mut slots[*key as usize];
            *held -= slots.memory();
            slots.remove_while(
                |start| windows.closes(start) <= watermark,
                |group| {
                    accumulators.iter_mut().for_each(|accumulator| accumulator.reset(group));
                    is_changed[group as usize] = false;
                    released.push(group);
                },
            );
            *held += slots.memory();
            if slots.is_empty() {
                self.keys.remove(*key);
            }
        }
        self.by_pane.retain(|start, _| windows.closes(*start) > watermark);
        self.windows = self.windows.saturating_sub(self.removed);
        if !keys.is_empty() {
            self.closed = self.closed.max(watermark);
        }
    }

    /// The results of windows of keys.
    fn results(&self, plan: &Plan, windows: &Windows, wanted: &[(u32, i64)]) -> Result<RecordBatch> {
        let keys: Vec<&[u8]> = wanted.iter().map(|(key, _)| self.keys.get(*key)).collect();
        let starts: Vec<i64> = wanted.iter().map(|(_, start)| *start).collect();
        let ends = starts.iter().map(|start| start + windows.size).collect();
        let mut columns = vec![plan.window_column(starts, ends)];
        columns.extend(self.codec.decode(&keys)?);
        let named =
            |result: Result<ArrayRef>, name: &str| result.map_err(|e| e.context(format!("aggregate \"{name}\"")));
        if windows.whole() {
            let (mut groups, mut to) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
            self.panes_of(wanted, 0, 1, &mut groups, &mut to);
            for (accumulator, call) in self.accumulators.iter().zip(plan.grouping.calls()) {
                columns.push(named(accumulator.evaluate(&groups), &call.name)?);
            }
        } else {
            let mut whole = plan.accumulators()?;
            whole.iter_mut().for_each(|whole| whole.grow(wanted.len()));
            // As many at a time as stay in the cache while one aggregate after the other is put together.
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for (part, wanted) in wanted.chunks(TOGETHER).enumerate() {
                from.clear();
                to.clear();
                self.panes_of(wanted, part * TOGETHER, windows.size, &mut from, &mut to);
                for ((whole, part), call) in whole.iter_mut().zip(&self.accumulators).zip(plan.grouping.calls()) {
                    let merged = whole.merge(part.as_ref(), &from, &to);
                    merged.map_err(|e| e.context(format!("aggregate \"{}\"", call.name)))?;
                }
            }
            let numbers: Vec<u32> = (0..wanted.len() as u32).collect();
            for (whole, call) in whole.iter().zip(plan.grouping.calls()) {
                columns.push(named(whole.evaluate(&numbers), &call.name)?);
            }
        }
        plan.grouping.finish(columns, wanted.len())
    }

    /// The groups of the panes of windows of keys, and at their side the windows' numbers, from `first` on.
    fn panes_of(&self, wanted: &[(u32, i64)], first: usize, length: i64, from: &mut Vec<u32>, to: &mut Vec<u32>) {
        let (mut last, mut place) = (u32::MAX, 0);
        for (number, (key, start)) in wanted.iter().enumerate() {
            if *key != last {
                (last, place) = (*key, 0);
            }
            self.slots[*key as usize].each_next(&mut place, *start, start + length, |_, group| {
                from.push(group);
                to.push((first + number) as u32);
            });
        }
    }

    /// The panes that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<Pane> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|pane| std::mem::take(&mut self.is_changed[pane.group as usize]));
        self.free.append(&mut self.released);
        changed
    }

    /// All panes.
    pub(super) fn all(&self) -> Vec<Pane> {
        let mut all = Vec::new();
        for key in self.keys.iter() {
            self.slots[key as usize].each(i64::MIN, i64::MAX, |start, group| all.push(Pane { key, start, group }));
        }
        all
    }

    /// The columns of the state of panes: starts, keys, aggregates.
    pub(super) fn state(&self, panes: &[Pane]) -> Result<(Vec<i64>, Vec<ArrayRef>)> {
        let keys: Vec<&[u8]> = panes.iter().map(|pane| self.keys.get(pane.key)).collect();
        let groups: Vec<u32> = panes.iter().map(|pane| pane.group).collect();
        let mut columns = self.codec.decode(&keys)?;
        for accumulator in &self.accumulators {
            columns.extend(accumulator.state(&groups)?);
        }
        Ok((panes.iter().map(|pane| pane.start).collect(), columns))
    }

    /// Takes state back: one row of `states` for each of the keys in `keys`, which are of this partition, and the pane that
    /// begins at its side in `starts`.
    pub(super) fn load(
        &mut self,
        plan: &Plan,
        windows: &Windows,
        keys: &[(u64, Vec<u8>)],
        starts: &[(i64, i64)],
        states: &[ArrayRef],
    ) -> Result<()> {
        let mut groups = Vec::with_capacity(keys.len());
        for ((hash, key), (start, _)) in keys.iter().zip(starts) {
            let id = self.key(*hash, key)?;
            groups.push(self.group(plan, windows, id, *start, self.closed));
        }
        let bound = self.bound as usize;
        let mut states = states;
        for accumulator in &mut self.accumulators {
            let (own, rest) = states.split_at(accumulator.state_types().len().min(states.len()));
            accumulator.grow(bound);
            groups.iter().for_each(|group| accumulator.reset(*group));
            accumulator.load(own, &groups)?;
            states = rest;
        }
        // What was loaded is not touched.
        self.touched.drain(..).for_each(|pane| self.touched_in[pane.group as usize] = 0);
        Ok(())
    }

    /// Removes what closed at or before `watermark`, without a word.
    pub(super) fn expire(&mut self, windows: &Windows, watermark: i64) {
        let keys = self.closing(watermark);
        let from = self.closed.saturating_sub(windows.size);
        self.removed = 0;
        for key in &keys {
            let mut last = i64::MIN;
            self.slots[*key as usize].each(i64::MIN, watermark, |pane, _| {
                let from = windows.first(pane).max(last).max(from);
                self.removed += windows.count(from, pane.min(watermark.saturating_sub(windows.size)));
                last = pane;
            });
        }
        self.remove(windows, &keys, watermark);
        self.closed = self.closed.max(watermark);
    }
}

//! Deltas and state partitions of either kind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use levada_connector_api::{Error, Result};

use super::plan::{Plan, Shape};
use super::{PARTITIONS, groups, pane_delta, panes, sessions};
use crate::keys::hash;

fn misshapen() -> Error {
    Error::internal("the state of an aggregation is of another shape than its plan")
}

/// What one thread counts of a micro-batch.
pub(super) enum Delta {
    Groups(groups::Delta),
    Panes(pane_delta::Delta),
    Sessions(sessions::Delta),
}

impl Delta {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        Ok(match plan.shape {
            Shape::Sessions(_) => Self::Sessions(sessions::Delta::new(plan)?),
            Shape::Windows(_) => Self::Panes(pane_delta::Delta::new(plan)?),
            _ => Self::Groups(groups::Delta::new(plan)?),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Groups(delta) => delta.len() == 0,
            Self::Panes(delta) => delta.len() == 0,
            Self::Sessions(delta) => delta.len() == 0,
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Groups(delta) => delta.memory(),
            Self::Panes(delta) => delta.memory(),
            Self::Sessions(delta) => delta.memory(),
        }
    }

    pub(super) fn add(&mut self, plan: &Plan, batch: &RecordBatch, times: &[i64], late: i64) -> Result<()> {
        match plan.grouping.expanded(batch) {
            Some(batches) => batches?.try_for_each(|batch| self.add_once(plan, &batch?, times, late)),
            None => self.add_once(plan, batch, times, late),
        }
    }

    fn add_once(&mut self, plan: &Plan, batch: &RecordBatch, times: &[i64], late: i64) -> Result<()> {
        match (self, &plan.shape) {
            (Self::Panes(delta), Shape::Windows(windows)) => delta.add(plan, windows, batch, times),
            (Self::Sessions(delta), _) => delta.add(plan, batch, times, late),
            (Self::Groups(delta), _) => delta.add(plan, batch),
            _ => Err(misshapen()),
        }
    }

    fn partitions(&self) -> Vec<Vec<u32>> {
        match self {
            Self::Groups(delta) => delta.partitions(PARTITIONS),
            Self::Panes(delta) => delta.partitions(PARTITIONS),
            Self::Sessions(delta) => delta.partitions(PARTITIONS),
        }
    }
}

/// A state partition.
pub(super) enum Shard {
    Groups(groups::Shard),
    Panes(panes::Shard),
    Sessions(sessions::Shard),
}

impl Shard {
    fn new(plan: &Plan) -> Result<Self> {
        Ok(match plan.shape {
            Shape::Sessions(_) => Self::Sessions(sessions::Shard::new(plan)?),
            Shape::Windows(_) => Self::Panes(panes::Shard::new(plan)?),
            _ => Self::Groups(groups::Shard::new(plan)?),
        })
    }

    /// How many groups.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Groups(shard) => shard.len(),
            Self::Panes(shard) => shard.len(),
            Self::Sessions(shard) => shard.len(),
        }
    }

    /// How many groups, how many were touched, removed and dropped by the last micro-batch, and the memory.
    pub(super) fn counts(&self) -> (u64, u64, u64, u64, u64) {
        match self {
            Self::Groups(s) => (s.len() as u64, s.updated, s.removed, s.dropped, s.memory() as u64),
            Self::Panes(s) => (s.len() as u64, s.updated, s.removed, s.dropped, s.memory() as u64),
            Self::Sessions(s) => (s.len() as u64, s.updated, s.removed, 0, s.memory() as u64),
        }
    }

    /// Removes what closed at or before `watermark`, in microseconds.
    pub(super) fn expire(&mut self, plan: &Plan, watermark: i64) {
        match (self, &plan.shape) {
            (Self::Groups(shard), _) => shard.expire(watermark),
            (Self::Panes(shard), Shape::Windows(windows)) => shard.expire(windows, watermark),
            (Self::Panes(_), _) => {}
            (Self::Sessions(shard), _) => shard.expire(watermark),
        }
    }
}

/// The whole state.
pub(super) struct State {
    pub(super) plan: Arc<Plan>,
    shards: Vec<Mutex<Shard>>,
}

/// The deltas of a micro-batch, ready to be merged.
pub(super) struct Merge {
    pub(super) state: Arc<State>,
    pub(super) deltas: Vec<Delta>,
    pub(super) partitions: Vec<Vec<Vec<u32>>>,
    /// In microseconds.
    pub(super) late: i64,
    pub(super) watermark: i64,
    /// The next state partition to be merged.
    next: AtomicUsize,
}

impl Merge {
    pub(super) fn new(state: Arc<State>, deltas: Vec<Delta>, late: i64, watermark: i64) -> Self {
        let partitions = deltas.iter().map(Delta::partitions).collect();
        Self { state, deltas, partitions, late, watermark, next: AtomicUsize::new(0) }
    }

    /// A state partition that nobody has claimed yet.
    pub(super) fn claim(&self) -> Option<usize> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        (next < PARTITIONS).then_some(next)
    }

    /// Merges one state partition and gives out what the mode wants of it.
    pub(super) fn partition(&self, number: usize) -> Result<Vec<RecordBatch>> {
        let plan = &self.state.plan;
        let Some(mut shard) = self.state.shard(number) else { return Ok(Vec::new()) };
        match &mut *shard {
            Shard::Groups(shard) => shard.dropped = 0,
            Shard::Panes(shard) => shard.dropped = 0,
            Shard::Sessions(shard) => shard.updated = 0,
        }
        for (delta, partitions) in self.deltas.iter().zip(&self.partitions) {
            let Some(own) = partitions.get(number).filter(|own| !own.is_empty()) else { continue };
            match (&mut *shard, delta, &plan.shape) {
                (Shard::Groups(shard), Delta::Groups(delta), _) => shard.merge(plan, delta, own, self.late)?,
                (Shard::Panes(shard), Delta::Panes(delta), Shape::Windows(windows)) => {
                    shard.merge(plan, windows, delta, own, self.late)?;
                }
                (Shard::Sessions(shard), Delta::Sessions(delta), _) => shard.merge(plan, delta, own)?,
                _ => return Err(misshapen()),
            }
        }
        match (&mut *shard, &plan.shape) {
            (Shard::Groups(shard), shape) => {
                let global = matches!(shape, Shape::Whole) && plan.grouping.keys().is_empty();
                if global && number == super::partition_of(hash(&[]), PARTITIONS) {
                    shard.ensure(plan)?;
                }
                shard.finish(plan, self.watermark)
            }
            (Shard::Panes(shard), Shape::Windows(windows)) => shard.finish(plan, windows, self.late, self.watermark),
            (Shard::Panes(_), _) => Err(misshapen()),
            (Shard::Sessions(shard), _) => shard.finish(plan, self.watermark),
        }
    }

    /// How many late groups the threads themselves dropped.
    pub(super) fn dropped(&self) -> u64 {
        let sessions: Vec<&sessions::Delta> = self
            .deltas
            .iter()
            .filter_map(|delta| match delta {
                Delta::Sessions(delta) => Some(delta),
                _ => None,
            })
            .collect();
        sessions::late_groups(&sessions)
    }
}

impl State {
    pub(super) fn new(plan: Arc<Plan>) -> Result<Self> {
        let shards = (0..PARTITIONS).map(|_| Ok(Mutex::new(Shard::new(&plan)?))).collect::<Result<_>>()?;
        Ok(Self { plan, shards })
    }

    /// A state partition. A thread that panicked while it held it has ended the task: nobody sees what it left.
    pub(super) fn shard(&self, number: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(number).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = (usize, MutexGuard<'_, Shard>)> {
        let lock = |shard| Mutex::lock(shard).unwrap_or_else(PoisonError::into_inner);
        self.shards.iter().map(lock).enumerate()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) -> Result<()> {
        for (_, mut shard) in self.shards() {
            *shard = Shard::new(&self.plan)?;
        }
        Ok(())
    }
}

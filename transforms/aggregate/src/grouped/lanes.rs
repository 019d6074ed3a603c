//! Lanes that count, each into a delta of its own, and merge state partitions: tasks on the runtime's threads, which are
//! as many as cores. Threads of their own would compete with those that decode, and the system leaves cores idle then.
//!
//! Batches go to the lanes in turn, not to whichever is free: which rows stand in which delta, and with it the order in
//! which numbers are added, is the same when a micro-batch is repeated.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use levada_connector_api::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::plan::Plan;
use super::state::{Delta, Merge};

/// How many batches may wait for a lane.
const QUEUE: usize = 2;

/// What comes of merging: rows by state partition.
type Merged = Vec<(usize, Vec<RecordBatch>)>;

enum Job {
    Rows { batch: RecordBatch, times: Vec<i64>, late: i64 },
    Take(oneshot::Sender<Result<Delta>>),
    Merge { merge: Arc<Merge>, done: oneshot::Sender<Result<Merged>> },
}

/// The lanes. They end when this is dropped, after what they are at.
pub(super) struct Lanes {
    queues: Vec<mpsc::Sender<Job>>,
    next: usize,
}

fn gone() -> Error {
    Error::internal("a lane of the aggregation has ended")
}

impl Lanes {
    /// Starts the plan's lanes.
    ///
    /// # Errors
    /// There is no tokio runtime to run them.
    pub(super) fn start(plan: &Arc<Plan>) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|error| Error::internal(error.to_string()))?;
        let mut queues = Vec::new();
        for _ in 0..plan.threads {
            let (sender, receiver) = mpsc::channel(QUEUE);
            runtime.spawn(run(plan.clone(), Delta::new(plan)?, receiver));
            queues.push(sender);
        }
        Ok(Self { queues, next: 0 })
    }

    /// Hands rows to the next lane. Waits while it has enough to do.
    pub(super) async fn send(&mut self, batch: RecordBatch, times: Vec<i64>, late: i64) -> Result<()> {
        let at = self.next;
        self.next = (self.next + 1) % self.queues.len().max(1);
        let queue = self.queues.get(at).ok_or_else(gone)?;
        queue.send(Job::Rows { batch, times, late }).await.map_err(|_| gone())
    }

    /// Waits until everything is counted and takes the deltas. The next micro-batch begins with the first lane.
    pub(super) async fn take(&mut self) -> Result<Vec<Delta>> {
        self.next = 0;
        let mut answers = Vec::new();
        for queue in &self.queues {
            let (sender, receiver) = oneshot::channel();
            queue.send(Job::Take(sender)).await.map_err(|_| gone())?;
            answers.push(receiver);
        }
        let mut deltas = Vec::new();
        for answer in answers {
            deltas.push(answer.await.map_err(|_| gone())??);
        }
        Ok(deltas)
    }

    /// Merges all state partitions, and gives out their rows in order.
    pub(super) async fn merge(&mut self, merge: &Arc<Merge>) -> Result<Vec<RecordBatch>> {
        let mut answers = Vec::new();
        for queue in &self.queues {
            let (done, receiver) = oneshot::channel();
            queue.send(Job::Merge { merge: merge.clone(), done }).await.map_err(|_| gone())?;
            answers.push(receiver);
        }
        let mut all: Merged = Vec::new();
        for answer in answers {
            all.extend(answer.await.map_err(|_| gone())??);
        }
        all.sort_by_key(|(partition, _)| *partition);
        Ok(all.into_iter().flat_map(|(_, rows)| rows).collect())
    }
}

async fn run(plan: Arc<Plan>, mut delta: Delta, mut queue: mpsc::Receiver<Job>) {
    let mut failed: Option<Error> = None;
    while let Some(job) = queue.recv().await {
        match job {
            Job::Rows { batch, times, late } => {
                // After a failure the micro-batch is lost anyway.
                if failed.is_none() {
                    failed = guarded(|| delta.add(&plan, &batch, &times, late)).err();
                }
            }
            Job::Take(answer) => {
                let taken = match failed.take() {
                    Some(error) => Err(error),
                    None if delta.is_empty() => Delta::new(&plan),
                    None => Delta::new(&plan).map(|fresh| std::mem::replace(&mut delta, fresh)),
                };
                // Whoever no longer waits has ended.
                let _ = answer.send(taken);
            }
            Job::Merge { merge, done } => {
                let mut merged: Result<Merged> = Ok(Vec::new());
                // Each lane takes the next partition when it has done one: they begin at different times.
                while let (Ok(all), Some(number)) = (&mut merged, merge.claim()) {
                    match guarded(|| merge.partition(number)) {
                        Ok(rows) => all.push((number, rows)),
                        Err(error) => merged = Err(error),
                    }
                    tokio::task::yield_now().await;
                }
                drop(merge);
                let _ = done.send(merged);
            }
        }
    }
}

pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::new(ErrorKind::Panic, format!("a lane of the aggregation panicked: {text}")))
    })
}

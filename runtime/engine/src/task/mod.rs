//! One run of one task: recovery, then the three stages until the end, a stop or an error.

mod committer;
mod flushes;
mod inputs;
mod messages;
pub(crate) mod plan;
pub(crate) mod reader;
mod recover;
mod watermark;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use levada_connector_api::{Error, ErrorKind, Guarantee, Result, TaskContext};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Checkpoint;
use crate::dead_letters::DeadLetters;
use crate::shares::Shares;
use crate::{Environment, ErrorTolerance, PipelineSpec};

/// How many pieces may wait between two stages: enough to keep both busy, little enough to bound memory.
const QUEUE: usize = 4;

/// The message of a stage whose neighbour has gone. The neighbour's own error is the one that is told.
const STAGE_ENDED: &str = "the next stage of the task has ended";

pub(crate) fn stage_ended() -> Error {
    Error::new(ErrorKind::Cancelled, STAGE_ENDED)
}

/// What a task is and runs in.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) spec: Arc<PipelineSpec>,
    pub(crate) environment: Environment,
    pub(crate) number: u32,
    /// How many tasks there are.
    pub(crate) tasks: u32,
    /// How the work was split, when it ever was.
    pub(crate) shares: Option<Arc<Shares>>,
    /// Whether only what was left undecided is to be decided.
    pub(crate) settle: Option<reader::Settle>,
    pub(crate) stop: CancellationToken,
    pub(crate) advanced: Arc<AtomicBool>,
}

impl Task {
    fn folder(&self, what: &str) -> String {
        self.environment.data_dir.join(&self.spec.name).join(what).display().to_string()
    }

    /// Where the pipeline's checkpoint lies: each task has a folder below `tasks`.
    pub(crate) fn checkpoint_base(&self) -> String {
        let base = self.spec.checkpoint.clone().unwrap_or_else(|| self.folder("checkpoint"));
        base.trim_end_matches('/').to_owned()
    }

    async fn dead_letters(&self, context: &TaskContext) -> Result<DeadLetters> {
        let spec = &self.spec;
        if let (Some(queue), true) = (&spec.dead_letter_queue, context.tolerant) {
            let name = queue.plugin.name();
            let place = |e: Error| e.context(format!("dead-letter queue '{name}'"));
            let mut made = queue.plugin.create(&queue.config).map_err(place)?;
            made.open(context, &context.checkpoint).await.map_err(place)?;
            return Ok(DeadLetters::to_queue(made));
        }
        let location = spec.dead_letters.clone().unwrap_or_else(|| self.folder("dead-letters"));
        DeadLetters::to_files(context, &location).await
    }

    /// Runs until the source ends, a stop, or the first error.
    pub(crate) async fn run(&self) -> Result<()> {
        let spec = &self.spec;
        let location = format!("{}/tasks/{}", self.checkpoint_base(), self.number);
        let mut sources = inputs::Inputs::make(spec)?;
        let mut chain = plan::bind(spec, &mut sources).await?;
        plan::spare(&mut chain, &mut sources);
        let plan::Chain { mut steps, output, closes, plan } = chain;
        let (mut checkpoint, mut recovered) = Checkpoint::open(&location, &spec.name).await?;
        if let Some(shares) = &self.shares {
            shares.adopt(&mut recovered, &location)?;
        }
        let context = TaskContext {
            pipeline: spec.name.clone(),
            checkpoint: checkpoint.id().to_owned(),
            task: self.number,
            tasks: self.tasks,
            epoch: checkpoint.epoch(),
            tolerant: spec.tolerance == ErrorTolerance::All,
            pending: recovered.pending.as_ref().map(|pending| pending.batch_id),
            clock: self.environment.clock.clone(),
            faults: self.environment.faults.clone(),
        };
        context.faults.at("begin.before")?;
        checkpoint.begin(&recovered, context.clock.now_ms()).await?;
        context.faults.at("begin.after")?;

        let sink_name = spec.sink.plugin.name();
        let at_sink = |e: Error| e.context(format!("sink '{sink_name}'"));
        let mut sink = spec.sink.plugin.create(&spec.sink.config).map_err(at_sink)?;
        let held = sink.open(&context, plan.output.clone(), spec.output_mode).await.map_err(at_sink)?;
        recover::reconcile(spec, &mut checkpoint, &mut recovered, held).await?;
        recover::restore(&mut steps, &context, &recovered.state).await?;
        // It holds on to the bytes of the whole segment.
        recovered.state = Vec::new();
        sources.open(&context, &recovered.offsets).await?;
        if let Some(last) = recovered.last {
            tracing::info!(pipeline = %spec.name, task = self.number, batch = last + 1, epoch = context.epoch, "going on after batch {last}");
        }
        let dead_letters = self.dead_letters(&context).await?;

        let (read_out, read_in) = mpsc::channel(QUEUE);
        let (work_out, work_in) = mpsc::channel(QUEUE);
        let (committed_out, committed_in) = mpsc::unbounded_channel();
        // A run that ended between a batch and the one that closes what that batch's watermark lets close: this one goes on
        // with it. (Spark waits for data.)
        let watermarks = recovered.watermarks;
        let worked = messages::Worked { batch_id: recovered.last, again: closes && watermarks.next > watermarks.used };
        let (worked_out, worked_in) = watch::channel(worked);
        let (decided_out, decided_in) = watch::channel(recovered.last);
        let snapshot_due = Arc::new(AtomicBool::new(false));
        let reader = reader::Reader {
            inputs: sources,
            sources: spec.sources.len(),
            context: context.clone(),
            trigger: spec.trigger,
            limits: spec.limits,
            next_batch: recovered.last.map_or(0, |last| last + 1),
            pending: recovered.pending.clone(),
            out: read_out,
            committed: committed_in,
            worked: worked_in,
            decided: decided_in,
            stop: self.stop.clone(),
            target_rows: usize::MAX,
            settle: self.settle,
        };
        let worker = worker::Worker {
            steps,
            output,
            closes,
            tracker: watermark::Tracker::new(spec.watermark_policy, recovered.watermarks),
            repeats: recovered.pending.as_ref().map(|pending| (pending.batch_id, pending.watermarks)),
            begun: None,
            worked: worked_out,
            context: context.clone(),
            spec: spec.clone(),
            input: read_in,
            out: work_out,
            room: Arc::new(Semaphore::new(worker::ROWS_WAITING as usize)),
            snapshot_due: snapshot_due.clone(),
        };
        let released = checkpoint.released();
        let committer = committer::Committer {
            spec: spec.clone(),
            sink,
            checkpoint,
            dead_letters,
            context,
            input: work_in,
            committed: committed_out,
            decided: decided_out,
            flushes_first: spec.sink.plugin.capabilities(&spec.sink.config).guarantee != Guarantee::AtLeastOnce,
            flushes: flushes::Flushes::default(),
            snapshot_due,
            observer: self.environment.observer.clone(),
            advanced: self.advanced.clone(),
        };
        let mut stages = JoinSet::new();
        stages.spawn(reader.run());
        stages.spawn(worker.run());
        stages.spawn(committer.run());
        self.join(stages, released).await
    }

    /// Waits for the stages. When one fails the others end by themselves: those before it find nobody to hand to, those
    /// behind it commit the batches that are complete, as if each batch had run alone. Of several errors the first that
    /// is not another's consequence is told.
    async fn join(&self, mut stages: JoinSet<Result<()>>, released: Option<CancellationToken>) -> Result<()> {
        let mut outcome: Result<()> = Ok(());
        let mut ending = false;
        let timeout = tokio::time::sleep(Duration::from_secs(u64::from(u32::MAX)));
        tokio::pin!(timeout);
        loop {
            let joined = tokio::select! {
                joined = stages.join_next() => joined,
                () = self.stop.cancelled(), if !ending => {
                    ending = true;
                    timeout.as_mut().reset(tokio::time::Instant::now() + self.spec.stop_timeout);
                    continue;
                }
                () = &mut timeout, if ending => {
                    tracing::warn!(pipeline = %self.spec.name, task = self.number, "the batch under way did not finish in time: it is abandoned and will be repeated");
                    // The checkpoint must be free before the next run opens it: wait until the stages are gone, and what
                    // they have begun on other threads. A disk that hangs for longer keeps the lock.
                    stages.shutdown().await;
                    if let Some(released) = released {
                        let _ = tokio::time::timeout(self.spec.stop_timeout, released.cancelled()).await;
                    }
                    return outcome;
                }
            };
            let result = match joined {
                None => return outcome,
                Some(Ok(result)) => result,
                Some(Err(error)) if error.is_panic() => {
                    Err(Error::panicked("a stage of the task", error.into_panic().as_ref()))
                }
                Some(Err(_)) => Ok(()),
            };
            if let Err(error) = result {
                if outcome.is_ok() || outcome.as_ref().is_err_and(is_consequence) {
                    outcome = Err(error);
                }
                if !ending {
                    ending = true;
                    timeout.as_mut().reset(tokio::time::Instant::now() + self.spec.stop_timeout);
                }
            }
        }
    }
}

fn is_consequence(error: &Error) -> bool {
    error.kind() == ErrorKind::Cancelled && error.message() == STAGE_ENDED
}

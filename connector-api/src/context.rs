//! What the runtime hands to a plugin when it opens it.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;

/// Time as the pipeline sees it, so that tests can set it.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// What is called at every step of the commit protocol. Tests kill the process there, or let the step fail.
pub type FaultHook = dyn Fn(&str) -> Result<()> + Send + Sync;

/// The fault points of a task. In production there is no hook, and a point costs one branch.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<FaultHook>>);

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self(None)
    }

    /// Calls `hook` with the name of each point that is passed.
    pub fn hook(hook: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Passes the point `name`: `sink.commit.before`.
    ///
    /// # Errors
    /// What the hook wants the step to fail with.
    pub fn at(&self, name: &str) -> Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(hook) => hook(name),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Faults(hook)" } else { "Faults(none)" })
    }
}

/// The task that a plugin works for.
#[derive(Clone)]
pub struct TaskContext {
    /// The pipeline's name.
    pub pipeline: String,
    /// The id of the task's checkpoint, made when that was: numbers of micro-batches and epochs mean something only
    /// together with it. Empty where it is not known.
    pub checkpoint: String,
    /// The task's number, from 0.
    pub task: u32,
    /// How many tasks the work is split over: at least 1.
    pub tasks: u32,
    /// Which run of the task this is: higher than every run before it. Sinks refuse commits of a lower epoch.
    pub epoch: u64,
    /// Whether rows that cannot be handled go to the dead letters while the others go on (`errors.tolerance=all`).
    pub tolerant: bool,
    /// A micro-batch that an earlier run has prepared, and of which the checkpoint does not know whether the sink has it. A
    /// transactional sink that finds its record of progress deleted must not answer `None` then: nobody could tell.
    pub pending: Option<u64>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The fault points.
    pub faults: Faults,
}

impl TaskContext {
    /// A context for the first run of task 0 of `pipeline`, with the machine's clock.
    pub fn new(pipeline: impl Into<String>) -> Self {
        let pipeline = pipeline.into();
        Self {
            checkpoint: format!("checkpoint of {pipeline}"),
            pipeline,
            task: 0,
            tasks: 1,
            epoch: 1,
            tolerant: false,
            pending: None,
            clock: Arc::new(SystemClock),
            faults: Faults::none(),
        }
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} epoch {}", self.pipeline, self.task, self.epoch)
    }
}

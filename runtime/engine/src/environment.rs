//! What the engine needs from outside, and what it tells.

use std::path::PathBuf;
use std::sync::Arc;

use levada_connector_api::{Clock, Faults, SystemClock};
use serde::Serialize;

use crate::Progress;

/// What is told to whoever watches a pipeline. All methods have empty defaults, and must return quickly.
pub trait Observer: Send + Sync {
    /// A micro-batch was committed.
    fn progress(&self, progress: &Progress) {
        let _ = progress;
    }

    /// A task's state changed.
    fn status(&self, status: &TaskStatus) {
        let _ = status;
    }
}

struct Nobody;

impl Observer for Nobody {}

/// What a pipeline runs in: parameters, so that tests can set time and faults.
#[derive(Clone)]
pub struct Environment {
    /// Where pipelines keep state, offsets and dead letters unless they say otherwise.
    pub data_dir: PathBuf,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The fault points.
    pub faults: Faults,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

impl Environment {
    /// The machine's clock, no faults, nobody watching.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            clock: Arc::new(SystemClock),
            faults: Faults::none(),
            observer: Arc::new(Nobody),
        }
    }
}

/// The states of a task, in Kafka Connect's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// It works, or waits for data.
    Running,
    /// It failed and will be started again.
    Restarting,
    /// It failed and will not be started again.
    Failed,
    /// It ended: stopped, or nothing more to do.
    Stopped,
}

/// A task's state with its reason.
#[derive(Debug, Clone, Serialize)]
pub struct TaskStatus {
    /// The pipeline.
    pub pipeline: String,
    /// The task's number.
    pub task: u32,
    /// The state.
    pub state: TaskState,
    /// The error behind `Restarting` and `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

//! Keeps tasks running: starts them, and starts them again when their errors may pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use levada_connector_api::{Error, ErrorKind, Result, Retry};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::PipelineSpec;
use crate::environment::{Environment, TaskState, TaskStatus};
use crate::pipeline::RestartPolicy;
use crate::task::{Task, panic_error};

/// Why a pipeline ended when it did not end well: the error of its task.
pub type RunError = Error;

/// A running pipeline.
pub struct PipelineHandle {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl PipelineHandle {
    /// Asks for a stop: the batch under way is finished, or abandoned after `stop.timeout`. Does not wait.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// A way to ask for a stop from elsewhere.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let stop = self.stop.clone();
        move || stop.cancel()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The error of the first task that failed for good.
    pub async fn join(self) -> Result<(), RunError> {
        let mut outcome = Ok(());
        for task in self.tasks {
            let result = match task.await {
                Ok(result) => result,
                Err(error) if error.is_panic() => Err(panic_error(error.into_panic().as_ref())),
                Err(_) => Ok(()),
            };
            if outcome.is_ok() {
                outcome = result;
            }
        }
        outcome
    }
}

/// Starts a pipeline on the current tokio runtime.
pub fn start(spec: PipelineSpec, environment: Environment) -> PipelineHandle {
    let stop = CancellationToken::new();
    let task = Task {
        spec: Arc::new(spec),
        environment,
        number: 0,
        stop: stop.clone(),
        advanced: Arc::new(AtomicBool::new(false)),
    };
    PipelineHandle { stop, tasks: vec![tokio::spawn(supervise(task))] }
}

async fn supervise(task: Task) -> Result<()> {
    let mut failures = 0u32;
    loop {
        report(&task, TaskState::Running, None);
        // A panic while a task recovers must not take the supervisor along: the run is a task of its own.
        let run = task.clone();
        let result = match tokio::spawn(async move { run.run().await }).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(panic_error(error.into_panic().as_ref())),
            Err(_) => Ok(()),
        };
        let error = match result {
            Ok(()) => {
                report(&task, TaskState::Stopped, None);
                return Ok(());
            }
            Err(error) => error,
        };
        failures = if task.advanced.swap(false, Ordering::AcqRel) { 1 } else { failures + 1 };
        let passing = error.retry() != Retry::Permanent && error.kind() != ErrorKind::Fenced;
        if !passing || failures > task.spec.restart.attempts || task.stop.is_cancelled() {
            report(&task, TaskState::Failed, Some(&error));
            return Err(error);
        }
        report(&task, TaskState::Restarting, Some(&error));
        let delay = backoff(&task.spec.restart, failures);
        tracing::warn!(pipeline = %task.spec.name, %error, delay_ms = delay.as_millis() as u64, "the task failed and is started again");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = task.stop.cancelled() => {
                report(&task, TaskState::Stopped, Some(&error));
                return Ok(());
            }
        }
    }
}

/// Doubles with each failure in a row, with up to a quarter more so that many tasks do not come back at one moment.
fn backoff(policy: &RestartPolicy, failures: u32) -> Duration {
    let factor = 2u32.saturating_pow(failures.saturating_sub(1).min(20));
    let delay = policy.delay.saturating_mul(factor).min(policy.delay_max);
    delay.mul_f64(1.0 + rand::random::<f64>() / 4.0)
}

fn report(task: &Task, state: TaskState, error: Option<&Error>) {
    task.environment.observer.status(&TaskStatus {
        pipeline: task.spec.name.clone(),
        task: task.number,
        state,
        trace: error.map(ToString::to_string),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_limit() {
        let policy = RestartPolicy { attempts: 10, delay: Duration::from_secs(1), delay_max: Duration::from_secs(60) };
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (4, 8.0), (30, 60.0)] {
            let delay = backoff(&policy, failures).as_secs_f64();
            assert!((seconds..=seconds * 1.25).contains(&delay), "{failures}: {delay}");
        }
    }
}

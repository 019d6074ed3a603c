//! Keeps tasks running: starts them, and starts them again when their errors may pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use levada_connector_api::{Error, ErrorKind, Result, Retry};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::PipelineSpec;
use crate::environment::{Environment, TaskState, TaskStatus};
use crate::pipeline::{RestartPolicy, RetryTimeout};
use crate::shares::share_out;
use crate::task::Task;

/// Why a pipeline ended when it did not end well: the error of its task.
pub type RunError = Error;

/// A running pipeline.
pub struct PipelineHandle {
    stop: CancellationToken,
    run: JoinHandle<Result<()>>,
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

    /// Waits for the end of all tasks.
    ///
    /// # Errors
    /// The error of the first task that failed for good.
    pub async fn join(self) -> Result<(), RunError> {
        match self.run.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(Error::panicked("the task", error.into_panic().as_ref())),
            Err(_) => Ok(()),
        }
    }
}

/// Starts a pipeline on the current tokio runtime.
pub fn start(spec: PipelineSpec, environment: Environment) -> PipelineHandle {
    let stop = CancellationToken::new();
    let task = Task {
        spec: Arc::new(spec),
        environment,
        number: 0,
        tasks: 1,
        shares: None,
        settle: None,
        stop: stop.clone(),
        advanced: Arc::new(AtomicBool::new(false)),
    };
    PipelineHandle { stop, run: tokio::spawn(supervise(task)) }
}

/// Splits the work, and keeps all tasks running. A task that fails for good leaves the others running, unless another
/// process has taken over: then none of them may go on.
async fn supervise(first: Task) -> Result<()> {
    let Some(shares) = keep(&first, async |task: Task| share_out(&task).await).await? else {
        report(&first, TaskState::Stopped, None);
        return Ok(());
    };
    let mut running = JoinSet::new();
    let tasks = shares.as_ref().map_or(1, |shares| shares.layout().tasks);
    for number in 0..tasks {
        let task =
            Task { number, tasks, shares: shares.clone(), advanced: Arc::new(AtomicBool::new(false)), ..first.clone() };
        running.spawn(async move {
            keep(&task, async |task: Task| task.run().await).await?;
            report(&task, TaskState::Stopped, None);
            Ok(())
        });
    }
    let mut outcome = Ok(());
    while let Some(joined) = running.join_next().await {
        let result = match joined {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(Error::panicked("the task", error.into_panic().as_ref())),
            Err(_) => Ok(()),
        };
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced) {
            first.stop.cancel();
        }
        if outcome.is_ok() {
            outcome = result;
        }
    }
    outcome
}

/// Runs `run`, and again when it fails with what may pass. `None`: it was stopped before it could end.
async fn keep<T, F>(task: &Task, run: impl Fn(Task) -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let mut failures = 0u32;
    let mut first_failure = Instant::now();
    loop {
        report(task, TaskState::Running, None);
        // A panic while a task recovers must not take the supervisor along: the run is a task of its own.
        let result = match tokio::spawn(run(task.clone())).await {
            Ok(result) => result.map(Some),
            Err(error) if error.is_panic() => Err(Error::panicked("the task", error.into_panic().as_ref())),
            Err(_) => Ok(None),
        };
        let error = match result {
            Ok(ended) => return Ok(ended),
            // What a stop has cut short is no failure.
            Err(error) if error.kind() == ErrorKind::Cancelled && task.stop.is_cancelled() => return Ok(None),
            Err(error) => error,
        };
        if task.advanced.swap(false, Ordering::AcqRel) {
            failures = 0;
        }
        if failures == 0 {
            first_failure = Instant::now();
        }
        failures = failures.saturating_add(1);
        let passing = error.retry() != Retry::Permanent && error.kind() != ErrorKind::Fenced;
        let delay = next_delay(&task.spec.restart, failures, first_failure.elapsed());
        let Some(delay) = delay.filter(|_| passing && !task.stop.is_cancelled()) else {
            report(task, TaskState::Failed, Some(&error));
            return Err(error);
        };
        report(task, TaskState::Restarting, Some(&error));
        tracing::warn!(pipeline = %task.spec.name, task = task.number, %error, delay_ms = delay.as_millis() as u64, "the task failed and is started again");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = task.stop.cancelled() => return Ok(None),
        }
    }
}

/// How long to wait before the next attempt; `None`: there is none.
fn next_delay(policy: &RestartPolicy, failures: u32, since_first: Duration) -> Option<Duration> {
    let delay = backoff(policy, failures);
    match policy.timeout {
        None => (failures <= policy.attempts).then_some(delay),
        Some(RetryTimeout::Never) => Some(delay),
        // The last attempt is made when the time is over.
        Some(RetryTimeout::After(limit)) => (since_first < limit).then(|| delay.min(limit - since_first)),
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
        let policy = RestartPolicy {
            attempts: 10,
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            timeout: None,
        };
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (4, 8.0), (30, 60.0)] {
            let delay = backoff(&policy, failures).as_secs_f64();
            assert!((seconds..=seconds * 1.25).contains(&delay), "{failures}: {delay}");
        }
    }

    #[test]
    fn a_timeout_counts_in_place_of_attempts() {
        let ms = Duration::from_millis;
        let policy = |timeout| RestartPolicy { attempts: 1, delay: ms(100), delay_max: ms(400), timeout };
        assert_eq!(next_delay(&policy(None), 2, ms(0)), None);
        assert!(next_delay(&policy(Some(RetryTimeout::Never)), 1000, ms(u64::MAX / 2)).is_some_and(|d| d >= ms(400)));
        let limited = policy(Some(RetryTimeout::After(ms(1000))));
        assert!(next_delay(&limited, 5, ms(0)).is_some_and(|d| d >= ms(400)));
        assert_eq!(next_delay(&limited, 5, ms(950)), Some(ms(50)), "the last attempt is made when the time is over");
        assert_eq!(next_delay(&limited, 6, ms(1000)), None);
        assert_eq!(next_delay(&policy(Some(RetryTimeout::After(ms(0)))), 1, ms(0)), None);
    }
}

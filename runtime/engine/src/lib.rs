//! The micro-batch engine: it reads a pipeline's description, runs its tasks, and commits what they do.
//!
//! # The commit point
//! A micro-batch `N` happens at the moment at which the sink has made it durable. Around that moment stand two records
//! in the task's [checkpoint](checkpoint) log:
//!
//! 1. `prepare N`: the ranges of source offsets that the batch covers, and what the batch changed in the state. It is
//!    durable before the sink is told to commit, unless the sink promises no more than at least once and the batch has no
//!    dead letters: then it outlives the process, but perhaps not the machine. From then on `N` means exactly these rows.
//! 2. the sink commits.
//! 3. `commit N`. After it `N` is history; the source is told.
//!
//! A run that dies before 1 leaves nothing behind: the next run reads on from `N - 1`, and may cut the batch differently.
//! Between 1 and 3 the next run asks the sink: if it holds `N` the state of `N` is taken from the record, else the batch
//! is repeated from the recorded ranges with the state of `N - 1`, which gives the same rows.
//!
//! # Inside a task
//! Three stages run at the same time, joined by bounded queues: the [reader](task) polls the source and cuts
//! micro-batches, the worker runs the transforms, the committer feeds the sink and keeps the log. While batch `N` is
//! written, `N + 1` is transformed and `N + 2` is read.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod checkpoint;
mod dead_letters;
mod environment;
pub mod pipeline;
mod progress;
mod shares;
mod supervisor;
mod task;
mod trigger;

pub use dead_letters::BadRowLog;
pub use environment::{Environment, Observer, TaskState, TaskStatus};
pub use pipeline::{ErrorTolerance, Limits, PipelineSpec, RestartPolicy, RetryTimeout, StageSpec, WatermarkPolicy};
pub use progress::{Durations, EventTimeProgress, Progress, SinkProgress, SourceProgress, StateProgress};
pub use shares::{TaskCount, count_tasks};
pub use supervisor::{PipelineHandle, RunError, start};
pub use task::plan::{Plan, plan};
pub use trigger::Trigger;

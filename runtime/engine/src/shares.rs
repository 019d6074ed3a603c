//! How the work is split over several tasks, and split anew when `tasks.max` changes.
//!
//! Each task has a checkpoint of its own, and the offsets of its partitions are in it. Where partitions change hands, three
//! steps keep every row from being lost or doubled:
//!
//! 1. every task of the split before is run once more to *settle*: it fences whoever still runs it, and decides the batch
//!    that may be prepared and not committed;
//! 2. the offsets of all of them, joined, are written into the log `layout` beside the tasks' checkpoints, with the new
//!    number of tasks, in one record: from here on the new split is in force;
//! 3. each task *adopts* it when it starts: its checkpoint goes on with these offsets.
//!
//! A pipeline that was never split has no such log, and costs nothing. When it is split the first time, the settling run
//! also commits a batch without rows that fixes where each partition begins: else `starting.offsets=latest` would mean
//! another moment for each task, and for each restart.

use std::sync::Arc;

use futures::TryStreamExt as _;
use levada_connector_api::config::ConfigError;
use levada_connector_api::{Error, ErrorKind, Offsets, OutputMode, Position, Result, Retry};
use tokio::sync::Mutex;

use crate::PipelineSpec;
use crate::checkpoint::{Checkpoint, Layout, Recovered};
use crate::task::Task;
use crate::task::plan::{Plan, plan};
use crate::task::reader::Settle;

/// How many tasks run, and why not as many as `tasks.max` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCount {
    /// The tasks.
    pub tasks: u32,
    /// Why they are fewer.
    pub reason: Option<String>,
}

/// Over how many tasks a pipeline is split.
///
/// # Errors
/// A transform keeps state: rows of one key would be in several tasks.
pub fn count_tasks(spec: &PipelineSpec, plan: &Plan) -> Result<TaskCount, ConfigError> {
    let max = spec.tasks_max.max(1);
    if max == 1 {
        return Ok(TaskCount { tasks: 1, reason: None });
    }
    let one =
        |why: String| Ok(TaskCount { tasks: 1, reason: Some(format!("tasks.max = {max}, but {why}: one task runs")) });
    let [source] = spec.sources.as_slice() else {
        return one("several sources are read by one task".to_owned());
    };
    let tasks = source.plugin.tasks(&source.config, max).clamp(1, max);
    if tasks == 1 {
        return one(format!("the source '{}' cannot be split", source.plugin.name()));
    }
    if let Some(alias) = &plan.stateful {
        let message = format!(
            "transform '{alias}' has state, and rows of one key could be in several tasks: that takes Kafka between \
             them, which is not built in yet; set it to 1"
        );
        return Err(ConfigError::invalid("tasks.max", max.to_string(), message));
    }
    if spec.output_mode == OutputMode::Complete {
        return one("in complete mode one task replaces the whole result".to_owned());
    }
    let writers = spec.sink.plugin.tasks(&spec.sink.config, tasks).clamp(1, tasks);
    match writers {
        1 => one(format!("the sink '{}' takes one writer", spec.sink.plugin.name())),
        tasks if tasks < max => Ok(TaskCount {
            tasks,
            reason: Some(format!("tasks.max = {max}, but the work can be split over {tasks}: {tasks} tasks run")),
        }),
        tasks => Ok(TaskCount { tasks, reason: None }),
    }
}

/// A split that is in force.
pub(crate) struct Shares {
    layout: Layout,
    /// Where each partition stood when it began.
    offsets: Offsets,
    /// Held as long as the pipeline runs: a local checkpoint is locked by it against another process.
    _log: Mutex<Checkpoint>,
}

impl Shares {
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Lets a task's checkpoint go on from this split.
    ///
    /// # Errors
    /// It is ahead of the split: another run has begun meanwhile.
    pub(crate) fn adopt(&self, recovered: &mut Recovered, location: &str) -> Result<()> {
        if recovered.layout.generation == self.layout.generation {
            return Ok(());
        }
        let behind = |(partition, at): (&_, &levada_connector_api::Offset)| {
            self.offsets.get(partition).is_some_and(|to| !is_ahead(&at.position, &to.position))
        };
        let newer = recovered.layout.generation > self.layout.generation;
        if newer || recovered.pending.is_some() || !recovered.offsets.iter().all(behind) {
            return Err(Error::new(ErrorKind::Fenced, format!("checkpoint {location} was moved on by another run"))
                .hint("only one process may run a pipeline"));
        }
        recovered.adopt(self.layout, self.offsets.clone());
        Ok(())
    }
}

fn is_ahead(this: &Position, other: &Position) -> bool {
    !matches!(this.compare(other), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal))
}

/// Puts the split that the configuration wants in force; `None`: there is one task, and there was never another.
pub(crate) async fn share_out(task: &Task) -> Result<Option<Arc<Shares>>> {
    let (spec, base) = (&task.spec, task.checkpoint_base());
    let location = format!("{base}/layout");
    if spec.tasks_max <= 1 && children(&location).await?.is_empty() {
        return Ok(None);
    }
    let bound = plan(spec).await?;
    let TaskCount { tasks, reason } = count_tasks(spec, &bound).map_err(|error| Error::config(error.to_string()))?;
    if let Some(reason) = reason {
        tracing::info!(pipeline = %spec.name, "{reason}");
    }
    if tasks == 1 && children(&location).await?.is_empty() {
        return Ok(None);
    }
    let faults = &task.environment.faults;
    let (mut log, mut recovered) = Checkpoint::open(&location, &spec.name).await?;
    let old = recovered.layout;
    if recovered.id.is_none() || old.tasks != tasks {
        faults.at("layout.settle.before")?;
        let offsets = settle(task, &base, old).await?;
        faults.at("layout.settle.after")?;
        tracing::info!(pipeline = %spec.name, before = old.tasks, tasks, "the work is split anew");
        recovered.adopt(Layout { generation: log.epoch(), tasks }, offsets);
    }
    log.begin(&recovered, task.environment.clock.now_ms()).await?;
    faults.at("layout.begin.after")?;
    let (layout, offsets) = (recovered.layout, recovered.offsets);
    Ok(Some(Arc::new(Shares { layout, offsets, _log: Mutex::new(log) })))
}

/// Settles the tasks of the split before. Answers with where all partitions stand.
async fn settle(task: &Task, base: &str, old: Layout) -> Result<Offsets> {
    let folder = format!("{base}/tasks");
    let introduce = old.generation == 0;
    let mut numbers: Vec<u32> = children(&folder).await?.iter().filter_map(|name| name.parse().ok()).collect();
    if introduce && !numbers.contains(&0) {
        numbers.push(0);
    }
    numbers.sort_unstable();
    let mut all = Offsets::new();
    for number in numbers {
        let location = format!("{folder}/{number}");
        let (_, recovered) = Checkpoint::open(&location, &task.spec.name).await?;
        // One that has not adopted the split before has been settled since, and nothing can have come after.
        if recovered.layout.generation == old.generation {
            drop(recovered);
            let settling =
                Task { number, tasks: old.tasks, shares: None, settle: Some(Settle { introduce }), ..task.clone() };
            settling.run().await?;
        }
        let (_, settled) = Checkpoint::open(&location, &task.spec.name).await?;
        if settled.pending.is_some() || task.stop.is_cancelled() {
            // It was stopped, or is about to be.
            return Err(Error::new(ErrorKind::Cancelled, format!("a batch of task {number} is not settled yet"))
                .with_retry(Retry::Retriable));
        }
        for (partition, at) in settled.offsets.iter() {
            if all.get(partition).is_none_or(|known| is_ahead(&at.position, &known.position)) {
                all.set(partition.clone(), at.clone());
            }
        }
    }
    Ok(all)
}

/// The names of what lies in a folder; nothing where there is none.
async fn children(location: &str) -> Result<Vec<String>> {
    let place = levada_storage::resolve(location)?;
    if let Some(folder) = &place.local {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(location, error)),
        };
        // An entry that cannot be read may be a task with offsets: without it they would be lost.
        let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let names = names.map_err(|error| Error::io(location, error))?;
        return Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect());
    }
    let found: Vec<_> = match place.store.list(Some(&place.path)).try_collect().await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(levada_storage::to_error(location, error)),
    };
    let child = |object: object_store::ObjectMeta| {
        let mut parts = object.location.prefix_match(&place.path)?;
        parts.next().map(|part| part.as_ref().to_owned())
    };
    let mut names: Vec<String> = found.into_iter().filter_map(child).collect();
    names.dedup();
    Ok(names)
}

//! One case through the engine: real plugins, real checkpoints, and restarts as the case has them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use levada_connector_api::config::RawConfig;
use levada_connector_api::{Error, ErrorKind, Registry};
use levada_engine::{Environment, Observer, PipelineSpec, Progress, plan, start};
use tempfile::TempDir;

use crate::case::{Case, Drive, Phase};
use crate::mapping;
use crate::sink::{Collected, GoldenPlugin, Shared};
use crate::watch::{Watch, Watched};

/// How long a run, or a step of it, may take: no case comes near it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The modification time of a case's first file, in seconds since the epoch; each next one is a second younger.
const FIRST_FILE: u64 = 1_700_000_000;

/// What the engine did with a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How each run ended.
    pub(crate) runs: Vec<Option<Failure>>,
    /// What the sink saw.
    pub(crate) sink: Collected,
    /// What the engine told of each batch.
    pub(crate) progress: BTreeMap<u64, Progress>,
}

/// A run that did not end well.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Refused, or failed in a batch.
    pub(crate) phase: Phase,
    /// The batch.
    pub(crate) batch: Option<u64>,
    /// The error.
    pub(crate) text: String,
}

/// Why there is no outcome.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The case needs what cannot be expressed yet.
    Unsupported(String),
    /// The case could not be run.
    Broken(String),
}

/// Runs `case`, whose files are in `folder`. The configuration of each run is added to
/// `details`.
pub(crate) async fn run(case: &Case, folder: &Path, details: &mut Vec<String>) -> Result<Outcome, Trouble> {
    let broken = |error: std::io::Error| Trouble::Broken(format!("a temporary folder: {error}"));
    let temp = TempDir::new().map_err(broken)?;
    let files = temp.path().join("files");
    let mut pipelines = Vec::new();
    for run in &case.runs {
        let query = run.query.as_ref().unwrap_or(&case.query);
        pipelines.push(mapping::pipeline(case, query, &files).map_err(Trouble::Unsupported)?);
    }
    for source in case.sources.values() {
        fs::create_dir_all(files.join(&source.path)).map_err(broken)?;
    }
    let mut bench = Bench {
        from: folder.to_owned(),
        files,
        data_dir: temp.path().join("data"),
        sink: Shared::default(),
        told: Arc::default(),
        laid: 0,
    };
    bench.sink.with(|sink| sink.failures = case.sink_failures.clone());
    let mut runs = Vec::new();
    for (number, (run, mut raw)) in case.runs.iter().zip(pipelines).enumerate() {
        bench.sink.with(|sink| sink.run = number);
        let trigger = match run.drive {
            Drive::AvailableNow { .. } => "available-now",
            Drive::Step { .. } => "available",
        };
        raw.insert("trigger".to_owned(), trigger.to_owned());
        details.extend(raw.iter().map(|(key, value)| format!("run {number}: {key}={value}")));
        let failure = bench.run(&raw, &run.drive).await;
        runs.push(failure.map_err(|error| Trouble::Broken(format!("run {number}: {error}")))?);
    }
    let progress = std::mem::take(&mut *bench.told.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome { runs, sink: bench.sink.with(std::mem::take), progress })
}

/// What the runs of a case share.
struct Bench {
    /// The case.
    from: PathBuf,
    /// Where the input is laid.
    files: PathBuf,
    /// Where the engine keeps its checkpoint.
    data_dir: PathBuf,
    sink: Shared,
    told: Arc<Told>,
    /// How many files were laid.
    laid: u64,
}

impl Bench {
    async fn run(&mut self, raw: &RawConfig, drive: &Drive) -> Result<Option<Failure>, String> {
        if let Drive::AvailableNow { files } = drive {
            self.lay(files)?;
        }
        let refused = |text: String| Ok(Some(Failure { phase: Phase::Start, batch: None, text }));
        let watch = Watch::new();
        let registry = registry(&self.sink, &watch).map_err(|error| error.to_string())?;
        let spec = match PipelineSpec::parse(raw, &registry) {
            Ok(spec) => spec,
            Err(errors) => return refused(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        };
        if let Err(error) = plan(&spec).await {
            return refused(error.to_string());
        }
        let environment = Environment { observer: self.told.clone(), ..Environment::new(&self.data_dir) };
        let handle = start(spec, environment);
        let stop = handle.stopper();
        let mut end = pin!(handle.join());
        if let Drive::Step { steps } = drive {
            // What a run before this one has left is done first.
            for files in std::iter::once(None).chain(steps.iter().map(Some)) {
                if let Some(files) = files {
                    watch.between_polls(|| self.lay(files)).await?;
                }
                tokio::select! {
                    ended = &mut end => return Ok(ended.err().map(|error| self.failure(&error))),
                    () = watch.idle() => {}
                    () = tokio::time::sleep(PATIENCE) => return Err(late("did not become idle")),
                }
            }
            stop();
        }
        match tokio::time::timeout(PATIENCE, end).await {
            Ok(ended) => Ok(ended.err().map(|error| self.failure(&error))),
            Err(_) => {
                stop();
                Err(late("did not end"))
            }
        }
    }

    /// Lays `files` into the input, each younger than all before. Each appears whole.
    fn lay(&mut self, files: &[PathBuf]) -> Result<(), String> {
        for file in files {
            let failed = |error: std::io::Error| format!("{}: {error}", file.display());
            let (staged, target) = (self.files.with_file_name("staged"), self.files.join(file));
            fs::write(&staged, fs::read(self.from.join(file)).map_err(failed)?).map_err(failed)?;
            let modified = UNIX_EPOCH + Duration::from_secs(FIRST_FILE + self.laid);
            let handle = File::options().write(true).open(&staged).map_err(failed)?;
            handle.set_modified(modified).map_err(failed)?;
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            fs::rename(&staged, &target).map_err(failed)?;
            self.laid += 1;
        }
        Ok(())
    }

    /// Where the run under way failed: in the batch that the sink refused, else in the one after the last it accepted.
    fn failure(&self, error: &Error) -> Failure {
        self.sink.with(|sink| {
            let last = sink.attempts.iter().rfind(|attempt| attempt.run == sink.run);
            let refusal = matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported);
            if last.is_none() && refusal {
                return Failure { phase: Phase::Start, batch: None, text: error.to_string() };
            }
            let refused = last.filter(|attempt| !attempt.accepted).map(|attempt| attempt.batch);
            let accepted = sink.attempts.iter().filter(|attempt| attempt.accepted).map(|attempt| attempt.batch).max();
            let batch = refused.unwrap_or_else(|| accepted.map_or(0, |batch| batch + 1));
            Failure { phase: Phase::Run, batch: Some(batch), text: error.to_string() }
        })
    }
}

fn late(what: &str) -> String {
    format!("it {what} within {} s", PATIENCE.as_secs())
}

/// The plugins that cases use, with the files source watched and the runner's sink.
fn registry(sink: &Shared, watch: &Watch) -> levada_connector_api::Result<Registry> {
    let mut files = Registry::new();
    levada_connector_files::register(&mut files)?;
    let mut registry = Registry::new();
    registry.add_source(Watched { inner: files.source("Files")?, watch: watch.clone() })?;
    levada_transform_sql::register(&mut registry)?;
    levada_transform_aggregate::register(&mut registry)?;
    registry.add_sink(GoldenPlugin(sink.clone()))?;
    Ok(registry)
}

/// The progress of the committed batches.
#[derive(Debug, Default)]
struct Told(Mutex<BTreeMap<u64, Progress>>);

impl Observer for Told {
    fn progress(&self, progress: &Progress) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(progress.batch_id, progress.clone());
    }
}

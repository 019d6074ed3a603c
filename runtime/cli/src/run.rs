//! `levada run` and `levada validate`.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use levada_connector_api::{Error, ErrorKind, Registry};
use levada_engine::{Environment, Observer, PipelineSpec, Progress, TaskState, TaskStatus, Trigger, start};
use levada_formats::ddl::to_ddl;

use crate::args::{LogFormat, Run, Worker};
use crate::check::{Ready, check};
use crate::status::Status;
use crate::{Exit, say};

fn describe(spec: &PipelineSpec) -> String {
    let sources: Vec<&str> = spec.sources.iter().map(|source| source.plugin.name()).collect();
    let mut chain = vec![sources.join(" + ")];
    chain.extend(spec.transforms.iter().map(|stage| format!("{} ({})", stage.alias, stage.plugin.name())));
    chain.push(spec.sink.plugin.name().to_owned());
    format!("{}: {}; {}; {}", spec.name, chain.join(" -> "), spec.output_mode, spec.guarantee())
}

/// Checks files and shows what they would do.
pub(crate) async fn validate(
    files: &[PathBuf],
    set: &[(String, String)],
    worker: &Worker,
    registry: &Registry,
) -> Result<(), Exit> {
    for Ready { spec, plan, warnings } in check(files, set, worker, registry).await? {
        warnings.iter().for_each(|warning| say(&format!("warning: {}: {warning}", spec.name)));
        crate::print(&format!(
            "ok: {}\n  in:  {}\n  out: {}\n",
            describe(&spec),
            plan.inputs.iter().map(|columns| to_ddl(columns)).collect::<Vec<_>>().join("; "),
            to_ddl(&plan.output)
        ))?;
    }
    Ok(())
}

/// Tells of batches: in the log or on the live line, and in a file if one is wanted.
struct Teller {
    status: Status,
    /// Whether there are live lines: then the log need not tell of each batch.
    live: bool,
    progress: Option<Mutex<ProgressFile>>,
}

/// A file of progress, a line an event. It may end in a part of a line: the disk was full, or the process was killed.
struct ProgressFile {
    file: std::fs::File,
    torn: bool,
}

impl ProgressFile {
    fn open(path: &Path) -> std::io::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true);
        let mut file = options.clone().read(true).open(path).or_else(|_| options.open(path))?;
        // What cannot be read back, a pipe, has no end to look at.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            let _ = file.read(&mut last);
        }
        Ok(Self { file, torn: last != *b"\n" })
    }

    fn write(&mut self, progress: &Progress) -> std::io::Result<()> {
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut line, progress)?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        self.torn = written.is_err();
        written
    }
}

impl Observer for Teller {
    fn progress(&self, progress: &Progress) {
        self.status.progress(progress);
        if !self.live {
            tracing::info!(
                pipeline = %progress.name,
                task = progress.task,
                batch = progress.batch_id,
                input_rows = progress.num_input_rows,
                output_rows = progress.sink.num_output_rows,
                rejected_rows = progress.num_rejected_rows,
                late_rows = progress.late_rows(),
                rows_per_second = progress.processed_rows_per_second.round(),
                ms = progress.batch_duration,
                "batch committed"
            );
        }
        if let Some(file) = &self.progress
            && let Ok(mut file) = file.lock()
            && let Err(error) = file.write(progress)
        {
            tracing::warn!(%error, "the progress file cannot be written");
        }
    }

    fn status(&self, status: &TaskStatus) {
        self.status.status(status);
        if status.state == TaskState::Failed {
            let trace = status.trace.as_deref().unwrap_or_default();
            tracing::error!(pipeline = %status.pipeline, task = status.task, "failed: {trace}");
        }
    }
}

/// Runs pipelines until they end.
pub(crate) async fn run(args: &Run, registry: &Registry, status: Status) -> Result<(), Exit> {
    let mut set = args.set.clone();
    if args.available_now {
        set.push(("trigger".to_owned(), "available-now".to_owned()));
    }
    if args.once {
        set.push(("trigger".to_owned(), "once".to_owned()));
    }
    let ready = check(&args.files, &set, &args.worker, registry).await?;
    let progress = match &args.progress {
        None => None,
        Some(path) => {
            let file = ProgressFile::open(path).map_err(|e| {
                say(&format!("error: --progress {}: {e}", path.display()));
                Exit::Usage
            })?;
            Some(Mutex::new(file))
        }
    };
    for Ready { spec, warnings, .. } in &ready {
        warnings.iter().for_each(|warning| tracing::warn!(pipeline = %spec.name, "{warning}"));
        tracing::info!("{}", describe(spec));
    }
    // A console's tables and a live line would tear each other apart.
    let quiet = ready.iter().all(|ready| ready.spec.sink.plugin.name() != "Console");
    let live = quiet && args.log == LogFormat::Text && status.show(ready.iter().map(|ready| ready.spec.name.as_str()));
    let observer = Arc::new(Teller { status: status.clone(), live, progress });
    let environment = Environment { observer, ..Environment::new(&args.data_dir) };
    let mut handles = Vec::new();
    for Ready { spec, .. } in ready {
        let folders: Vec<_> = spec.sources.iter().filter(|source| source.plugin.name() == "Files").collect();
        if !folders.is_empty() && !spec.trigger.ends() {
            let paths: Vec<_> = folders.iter().map(|source| source.config.string("path")).collect();
            tracing::info!("new files in {} become new batches; Ctrl-C stops", paths.join(", "));
        } else if spec.trigger == Trigger::Available || matches!(spec.trigger, Trigger::Interval(_)) {
            tracing::info!("running until Ctrl-C");
        }
        handles.push(start(spec, environment.clone()));
    }
    let stoppers: Vec<_> = handles.iter().map(levada_engine::PipelineHandle::stopper).collect();
    let told = status.clone();
    tokio::spawn(async move {
        signal().await;
        told.aside(|| say("stopping after the batch under way; Ctrl-C again aborts it"));
        stoppers.iter().for_each(|stop| stop());
        signal().await;
        std::process::exit(Exit::Aborted as i32);
    });
    let mut outcome = Ok(());
    for handle in handles {
        if let Err(error) = handle.join().await {
            // The log has told it, at the moment at which it happened.
            if !tracing::enabled!(tracing::Level::ERROR) {
                say(&format!("error: {error}"));
            }
            outcome = Err(worse(outcome, &error));
        }
    }
    outcome
}

fn worse(before: Result<(), Exit>, error: &Error) -> Exit {
    match (before, error.kind()) {
        (Err(Exit::Failed), _) => Exit::Failed,
        (_, ErrorKind::Fenced) => Exit::InUse,
        _ => Exit::Failed,
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn signal() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

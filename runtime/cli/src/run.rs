//! `levada run` and `levada validate`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use levada_connector_api::config::ConfigError;
use levada_connector_api::{Error, ErrorKind, Registry};
use levada_engine::{Environment, Observer, PipelineSpec, Plan, Progress, TaskState, TaskStatus, Trigger, plan, start};

use crate::args::Run;
use crate::load::load;
use crate::{Exit, say};

/// Loads and checks pipelines. Every error of every file is said.
async fn prepare(
    files: &[PathBuf],
    set: &[(String, String)],
    registry: &Registry,
) -> Result<Vec<(PipelineSpec, Plan)>, Exit> {
    let mut ready: Vec<(PipelineSpec, Plan)> = Vec::new();
    let mut errors = 0;
    for file in files {
        let mut report = |error: &dyn std::fmt::Display| {
            errors += 1;
            say(&format!("error: {}: {error}", file.display()));
        };
        let parsed = load(file, set).and_then(|raw| PipelineSpec::parse(&raw, registry));
        let spec = match parsed {
            Ok(spec) => spec,
            Err(found) => {
                found.iter().for_each(|error: &ConfigError| report(error));
                continue;
            }
        };
        if ready.iter().any(|(other, _)| other.name == spec.name) {
            report(&format!("name = '{}': two pipelines have this name; state is found by it", spec.name));
            continue;
        }
        match plan(&spec).await {
            Ok(plan) => ready.push((spec, plan)),
            Err(error) => report(&error),
        }
    }
    if errors == 0 { Ok(ready) } else { Err(Exit::Usage) }
}

fn describe(spec: &PipelineSpec) -> String {
    let sources: Vec<&str> = spec.sources.iter().map(|source| source.plugin.name()).collect();
    let mut chain = vec![sources.join(" + ")];
    chain.extend(spec.transforms.iter().map(|stage| format!("{} ({})", stage.alias, stage.plugin.name())));
    chain.push(spec.sink.plugin.name().to_owned());
    format!("{}: {}; {}; {}", spec.name, chain.join(" -> "), spec.output_mode, spec.guarantee())
}

/// Checks files and shows what they would do.
pub(crate) async fn validate(files: &[PathBuf], set: &[(String, String)], registry: &Registry) -> Result<(), Exit> {
    for (spec, plan) in prepare(files, set, registry).await? {
        let columns = |schema: &arrow::datatypes::SchemaRef| {
            let all = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
            all.collect::<Vec<_>>().join(", ")
        };
        crate::print(&format!(
            "ok: {}\n  in:  {}\n  out: {}\n",
            describe(&spec),
            plan.inputs.iter().map(columns).collect::<Vec<_>>().join("; "),
            columns(&plan.output)
        ))?;
    }
    Ok(())
}

/// Tells of batches: in the log, and in a file if one is wanted.
struct Teller {
    progress: Option<Mutex<std::fs::File>>,
}

impl Observer for Teller {
    fn progress(&self, progress: &Progress) {
        tracing::info!(
            pipeline = %progress.name,
            batch = progress.batch_id,
            input_rows = progress.num_input_rows,
            output_rows = progress.sink.num_output_rows,
            rejected_rows = progress.num_rejected_rows,
            rows_per_second = progress.processed_rows_per_second.round(),
            ms = progress.batch_duration,
            "batch committed"
        );
        if let Some(file) = &self.progress
            && let (Ok(mut file), Ok(mut line)) = (file.lock(), serde_json::to_vec(progress))
        {
            line.push(b'\n');
            if let Err(error) = file.write_all(&line) {
                tracing::warn!(%error, "the progress file cannot be written");
            }
        }
    }

    fn status(&self, status: &TaskStatus) {
        if status.state == TaskState::Failed {
            let trace = status.trace.as_deref().unwrap_or_default();
            tracing::error!(pipeline = %status.pipeline, "failed: {trace}");
        }
    }
}

/// Runs pipelines until they end.
pub(crate) async fn run(args: &Run, registry: &Registry) -> Result<(), Exit> {
    let mut set = args.set.clone();
    if args.available_now {
        set.push(("trigger".to_owned(), "available-now".to_owned()));
    }
    if args.once {
        set.push(("trigger".to_owned(), "once".to_owned()));
    }
    let ready = prepare(&args.files, &set, registry).await?;
    let progress = match &args.progress {
        None => None,
        Some(path) => {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(|e| {
                say(&format!("error: --progress {}: {e}", path.display()));
                Exit::Usage
            })?;
            Some(Mutex::new(file))
        }
    };
    let environment = Environment { observer: Arc::new(Teller { progress }), ..Environment::new(&args.data_dir) };
    let mut handles = Vec::new();
    for (spec, _) in ready {
        tracing::info!("{}", describe(&spec));
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
    tokio::spawn(async move {
        signal().await;
        say("stopping: the batch under way is finished; Ctrl-C again aborts it");
        stoppers.iter().for_each(|stop| stop());
        signal().await;
        std::process::exit(Exit::Aborted as i32);
    });
    let mut outcome = Ok(());
    for handle in handles {
        if let Err(error) = handle.join().await {
            say(&format!("error: {error}"));
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

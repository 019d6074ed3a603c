//! Runs one pipeline with faults.
//!
//!     levada-crash PIPELINE.json --data DIR [--kill-at POINT:N] [--fail-at POINT:N] [--list-points]
//!
//! The pipeline's key `plugin.path` names libraries, separated by commas; with `plugin.isolation=process` their plugins run in
//! processes of their own. With `plugin.tables=true` each
//! built-in plugin is called by way of its own table of the plugin interface.
//!
//! Prints `committed BATCH ROWS` for each micro-batch, `restarting: ERROR` for each restart, and at the end, when asked,
//! `point NAME COUNT` for each fault point passed. Exits with 0 when the pipeline ended well; with 1 and
//! `error KIND: MESSAGE` when it failed; with 2 when its configuration is wrong.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use levada_connector_api::config::RawConfig;
use levada_engine::{Environment, Observer, PipelineSpec, Progress, TaskState, TaskStatus, start};
use levada_plugin_loader::{Isolation, Options, Scanner, load};
use levada_tests::points::Points;

struct Arguments {
    pipeline: String,
    data: String,
    points: Points,
    list: bool,
}

impl Arguments {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut pipeline, mut data, mut points, mut list) = (None, None, Points::default(), false);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--data" => data = Some(value()?),
                "--kill-at" => points.kill = Some(value()?.parse()?),
                "--fail-at" => points.fail = Some(value()?.parse()?),
                "--list-points" => list = true,
                _ if pipeline.is_none() => pipeline = Some(arg),
                _ => return Err(format!("unknown argument {arg}")),
            }
        }
        let pipeline = pipeline.ok_or("which pipeline?")?;
        Ok(Self { pipeline, data: data.ok_or("--data is missing")?, points, list })
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

struct Narrator;

impl Observer for Narrator {
    fn progress(&self, progress: &Progress) {
        say(&format!("committed {} {}", progress.batch_id, progress.num_input_rows));
    }

    fn status(&self, status: &TaskStatus) {
        if status.state == TaskState::Restarting {
            say(&format!("restarting: {}", status.trace.as_deref().unwrap_or_default()));
        }
    }
}

fn spec(path: &str) -> Result<PipelineSpec, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut raw: RawConfig = serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    let mut registry = levada_plugins::registry().map_err(|e| e.to_string())?;
    if raw.remove("plugin.tables").is_some() {
        registry = levada_plugin::loopback(&registry).map_err(|e| e.to_string())?;
    }
    if let Some(paths) = raw.remove("plugin.path") {
        let paths: Vec<PathBuf> = paths.split(',').map(Into::into).collect();
        let options = Options {
            // Tests start hundreds of processes with the same libraries.
            cache: paths.first().map(|path| path.with_extension("crash-cache.json")),
            paths,
            isolation: match raw.remove("plugin.isolation").as_deref() {
                Some("process") => Isolation::Process,
                _ => Isolation::None,
            },
            scanner: Scanner::new(std::env::current_exe().map_err(|e| e.to_string())?, &["plugin-child"]),
        };
        if let Some(problem) = load(&mut registry, &options).problems.first() {
            return Err(problem.to_string());
        }
    }
    PipelineSpec::parse(&raw, &registry)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("plugin-child") {
        return levada_plugin_loader::child(std::env::args_os().skip(2));
    }
    let prepared = Arguments::parse(std::env::args().skip(1)).and_then(|args| Ok((spec(&args.pipeline)?, args)));
    let (spec, args) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            say(&format!("error config: {message}"));
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error internal: {error}"));
            return ExitCode::from(1);
        }
    };
    let mut environment = Environment::new(&args.data);
    environment.faults = args.points.faults();
    environment.observer = Arc::new(Narrator);
    let outcome = runtime.block_on(async { start(spec, environment).join().await });
    if args.list {
        for (name, count) in args.points.passed() {
            say(&format!("point {name} {count}"));
        }
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error {}: {error}", error.kind().as_str()));
            ExitCode::from(1)
        }
    }
}

//! The `levada` command.

mod args;
mod check;
mod libraries;
mod load;
mod memory;
mod model;
mod plugin_check;
mod plugin_new;
mod run;
mod show;
mod status;
mod tree;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Checkpoint, Command, LogFormat, Plugin};
use crate::status::Status;

/// How the command ends when it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// A pipeline failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// The checkpoint is in use by another run.
    InUse = 3,
    /// A second Ctrl-C.
    Aborted = 130,
}

/// Says something to the user. Stdout belongs to the sinks.
fn say(text: &str) {
    // There is nobody left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an answer.
fn print(text: &str) -> Result<(), Exit> {
    // A reader that has gone (`| head`) wants no more.
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|_| Exit::Failed)
}

fn logging(format: LogFormat, level: &str, status: &Status) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = std::io::stderr();
    let colours = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let status = status.clone();
    let writer = move || status.clone();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    // Another subscriber can only be there in tests.
    let _ = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

async fn execute(args: Args) -> Result<(), Exit> {
    let mut registry = levada_plugins::registry().map_err(|error| {
        say(&format!("error: {error}"));
        Exit::Failed
    })?;
    libraries::add(&mut registry, &args.plugin_path, args.plugin_isolation)?;
    match args.command {
        Command::Run(args) => {
            let status = Status::hidden();
            logging(args.log, &args.log_level, &status);
            run::run(&args, &registry, status).await
        }
        Command::Validate { files, set, worker } => run::validate(&files, &set, &worker, &registry).await,
        Command::Plugin(Plugin::List { json }) => show::list(&registry, json),
        Command::Plugin(Plugin::Describe { name }) => show::describe(&registry, &name),
        Command::Plugin(Plugin::New(args)) => plugin_new::create(&args),
        Command::Plugin(Plugin::Check { library, set, columns }) => plugin_check::check(&library, &set, &columns),
        Command::Checkpoint(Checkpoint::Show { location, json }) => show::checkpoint(&location, json).await,
        Command::Model(command) => model::run(command),
        // `main` has taken care of it.
        Command::PluginChild { .. } => Ok(()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "levada", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn main() -> ExitCode {
    // Without them it is only slower.
    let _ = memory::keep();
    let args = Args::parse();
    if let Command::PluginChild { arguments } = args.command {
        return match arguments.as_slice() {
            [what, task] if what == "check" => plugin_check::child(&task.to_string_lossy()),
            _ => levada_plugin_loader::child(arguments.into_iter()),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: no threads can be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(execute(args));
    // Blocking work that is still under way is as good as killed: what counts is in the checkpoint.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => ExitCode::from(exit as u8),
    }
}

//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// The exit codes, as `--help` tells them.
const EXIT_CODES: &str = "Exit codes:
  0    ended well, or was stopped
  1    a pipeline failed
  2    wrong usage or configuration
  3    the checkpoint is in use by another run
  130  aborted by a second Ctrl-C";

const RUN: &str = "Runs pipelines until they end or are stopped.

Ctrl-C and SIGTERM stop it: the batch under way is finished. The next run goes on where this one ended, however it ended. \
A file that says '${dir}' means its own folder, '${env:NAME}' a variable of the environment.

On a terminal a line for each pipeline shows its last batch, unless a sink prints to the console.";

const RUN_EXAMPLES: &str = "Examples:
  levada run examples/word-count/word-count.yaml
  levada run --available-now --data-dir /var/lib/levada a.yaml b.yaml
  levada run --set trigger='5 seconds' --log json pipeline.yaml

Exit codes: see 'levada --help'";

const NEW: &str = "Begins a plugin: a crate that builds, with tests of the conformance kit.

The crate depends on Levada's crate 'levada-plugin', by its path in a clone of Levada's repository: the one that this \
program was built in, or lies in, or the current folder lies in. --levada-path names another clone, --levada-git a \
repository.";

const CHECK: &str = "Checks a library: loads it in a process of its own, and runs the conformance kit on each class.

A source is read with the options that are set. A transform is given rows that are made up. A sink really writes such rows: \
set options that lead it to a target made for that. What is visible there can only be checked by the plugin's own tests.";

const CHECK_EXAMPLES: &str = "Examples:
  levada plugin check target/release/libmy_source.so
  levada plugin check libfiles.so --set path=/tmp/check --columns 'id BIGINT, text STRING'

Exit codes: 0 all holds, 1 something is broken, 2 something could not be checked";

/// Streaming pipelines in micro-batches, exactly once.
#[derive(Parser)]
#[command(name = "levada", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// A folder with plugin libraries, or a library.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) plugin_path: Vec<PathBuf>,
    /// Where the plugins of libraries run.
    #[arg(long, global = true, value_enum, default_value = "none", value_name = "WHERE")]
    pub(crate) plugin_isolation: PluginIsolation,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginIsolation {
    /// In this process.
    None,
    /// Each in a process of its own.
    Process,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs pipelines until they end or are stopped.
    #[command(long_about = RUN, after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Checks pipeline files: all errors at once.
    #[command(after_help = "Examples:\n  levada validate pipeline.yaml\n  levada validate *.yaml && echo good")]
    Validate {
        /// The pipeline files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Sets a key, whatever the file says.
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        set: Vec<(String, String)>,
        #[command(flatten)]
        worker: Worker,
    },
    /// Shows the plugins and their options; begins and checks plugins of your own.
    #[command(
        subcommand,
        after_help = "Examples:\n  levada plugin list\n  levada plugin describe Files\n  levada plugin new my-source --kind source\n  levada plugin check target/release/libmy_source.so"
    )]
    Plugin(Plugin),
    /// Shows checkpoints.
    #[command(subcommand, after_help = "Example:\n  levada checkpoint show .levada/word-count")]
    Checkpoint(Checkpoint),
    /// Shows, uses and trains tree models.
    #[command(subcommand, after_help = crate::model::EXAMPLES)]
    Model(crate::model::ModelCommand),
    /// Scans or serves a plugin library, for this command itself.
    #[command(hide = true)]
    PluginChild {
        /// What to do, and with what.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Prints a script that completes commands in a shell.
    #[command(after_help = "Example:\n  levada completions bash > /etc/bash_completion.d/levada")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What all pipelines of a process share.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Worker {
    /// The Kafka brokers of pipelines that name none.
    #[arg(long, value_name = "HOST:PORT,…", env = "LEVADA_BOOTSTRAP_SERVERS")]
    pub(crate) bootstrap_servers: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Run {
    /// The pipeline files: YAML, JSON or properties.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where state, offsets and dead letters are kept.
    #[arg(long, default_value = ".levada", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Sets a key, whatever the file says.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) worker: Worker,
    /// Reads what is there, then ends.
    #[arg(long, conflicts_with = "once")]
    pub(crate) available_now: bool,
    /// Reads what is there in one batch, then ends.
    #[arg(long)]
    pub(crate) once: bool,
    /// How to log.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log: LogFormat,
    /// The least that is logged.
    #[arg(long, default_value = "info", value_name = "LEVEL", value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    pub(crate) log_level: String,
    /// Appends the progress of each batch to a file, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) progress: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines: a JSON object a line.
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Plugin {
    /// Lists the plugins.
    #[command(after_help = "Example:\n  levada plugin list --json")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows a plugin's options; `pipeline` has those of a pipeline itself.
    #[command(
        after_help = "Examples:\n  levada plugin describe Files\n  levada plugin describe pipeline\n  levada plugin describe functions"
    )]
    Describe {
        /// The plugin's name or alias; 'pipeline' for the pipeline's own options, 'functions' for those of Spark SQL.
        name: String,
    },
    /// Begins a plugin: a crate that builds, with tests of the conformance kit.
    #[command(long_about = NEW, after_help = "Example:\n  levada plugin new my-source --kind source")]
    New(NewPlugin),
    /// Checks a library: loads it in a process of its own, and runs the conformance kit on each class.
    #[command(long_about = CHECK, after_help = CHECK_EXAMPLES)]
    Check {
        /// The library.
        library: PathBuf,
        /// Sets an option; of one of several classes: CLASS.KEY=VALUE.
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        set: Vec<(String, String)>,
        /// The columns of the rows that transforms and sinks are given.
        #[arg(
            long,
            value_name = "COLUMNS",
            default_value = "id BIGINT NOT NULL, name STRING, price DOUBLE, active BOOLEAN, at TIMESTAMP"
        )]
        columns: String,
    },
}

/// What a new plugin is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginType {
    /// A source.
    Source,
    /// A transform.
    Transform,
    /// A sink.
    Sink,
}

#[derive(clap::Args)]
pub(crate) struct NewPlugin {
    /// The crate's name, like my-source; its class is called MySource.
    pub(crate) name: String,
    /// What it is.
    #[arg(long, value_enum)]
    pub(crate) kind: PluginType,
    /// The folder in which the crate's own is made.
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// A clone of Levada's repository, to depend on its crate 'levada-plugin'.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) levada_path: Option<PathBuf>,
    /// The URL of Levada's repository, to depend on its crate 'levada-plugin'.
    #[arg(long, value_name = "URL", conflicts_with = "levada_path")]
    pub(crate) levada_git: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Checkpoint {
    /// Shows what a checkpoint holds.
    #[command(after_help = "Example:\n  levada checkpoint show .levada/word-count")]
    Show {
        /// The checkpoint's folder, or one above it.
        location: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

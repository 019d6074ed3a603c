//! The golden runner: cases whose results are known from elsewhere, run through the engine and judged.
//!
//! `levada-golden spark DIR` reads every folder below `DIR` that has a `case.json`, runs it as a pipeline and compares
//! what the sink is given, batch by batch, with what Apache Spark gave its sink. It prints a verdict a case and exits
//! with 1 if a case failed, with 2 if there was nothing to run.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod canonical;
mod case;
mod compare;
mod mapping;
mod run;
mod sink;
mod sources;
mod tables;
mod trees;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::sync::Semaphore;

use case::{Case, Expected};
use run::Trouble;

/// How many cases run at the same time.
const AT_A_TIME: usize = 8;

/// Runs cases with known results through the engine and judges it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// Cases recorded from Spark Structured Streaming: every folder below DIR that has a case.json.
    Spark {
        /// The folder.
        dir: PathBuf,
        /// Only cases whose name holds this.
        #[arg(long, value_name = "SUBSTRING")]
        filter: Option<String>,
        /// Also the pipelines, all differences, and what is not judged.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Tree models with the predictions of the libraries that trained them: every folder below DIR that has a case.json.
    Trees {
        /// The folder.
        dir: PathBuf,
        /// Only cases whose name holds this.
        #[arg(long, value_name = "SUBSTRING")]
        filter: Option<String>,
        /// Also all differences.
        #[arg(long, short)]
        verbose: bool,
    },
}

/// What became of a case.
enum Verdict {
    Pass,
    Fail(String),
    Skip(String),
}

/// A verdict with what `--verbose` tells beside it.
struct Judged {
    verdict: Verdict,
    details: Vec<String>,
}

/// Why there is no verdict.
enum Stop {
    /// There is nothing to run.
    Usage(String),
    /// Nobody reads the verdicts.
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    let outcome = match Arguments::parse().suite {
        Suite::Spark { dir, filter, verbose } => {
            suite(&dir, filter.as_deref(), verbose, out, |folder| async move { judge(&folder).await })
        }
        Suite::Trees { dir, filter, verbose } => {
            suite(&dir, filter.as_deref(), verbose, out, |folder| async move { trees::judge(&folder) })
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(1),
        Err(Stop::Output(error)) => complain(&error.to_string()),
        Err(Stop::Usage(error)) => complain(&error),
    }
}

fn complain(error: &str) -> ExitCode {
    // When nobody can be told, the exit code still tells.
    let _ = writeln!(io::stderr(), "levada-golden: {error}");
    ExitCode::from(2)
}

/// Runs the cases below `dir` with `judge`; whether none failed.
fn suite<F: Future<Output = Judged> + Send + 'static>(
    dir: &Path,
    filter: Option<&str>,
    verbose: bool,
    out: &mut dyn Write,
    judge: impl Fn(PathBuf) -> F,
) -> Result<bool, Stop> {
    let mut folders = case::find(dir).map_err(Stop::Usage)?;
    if folders.is_empty() {
        return Err(Stop::Usage(format!("{}: no case below it (a folder with a case.json)", dir.display())));
    }
    folders.retain(|folder| filter.is_none_or(|filter| name(dir, folder).contains(filter)));
    if folders.is_empty() {
        let filter = filter.unwrap_or_default();
        return Err(Stop::Usage(format!("no case below {} has '{filter}' in its name", dir.display())));
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    // Cases mostly wait for the next look at their input: several at a time. A task of its own each: a panic is a failed
    // case, not the end of all.
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let start = |folder: PathBuf| {
        let (turns, name) = (turns.clone(), name(dir, &folder));
        let judged = judge(folder);
        let task = runtime.spawn(async move {
            let _turn = turns.acquire_owned().await;
            judged.await
        });
        (name, task)
    };
    let tasks: Vec<_> = folders.into_iter().map(start).collect();
    for (name, task) in tasks {
        let judged = runtime.block_on(task);
        let judged = judged.unwrap_or_else(|error| failure(error.to_string()));
        match judged.verdict {
            Verdict::Pass => {
                passed += 1;
                writeln!(out, "pass {name}")?;
            }
            Verdict::Fail(difference) => {
                failed += 1;
                writeln!(out, "fail {name}: {difference}")?;
            }
            Verdict::Skip(reason) => {
                skipped += 1;
                writeln!(out, "skip {name}: {reason}")?;
            }
        }
        if verbose {
            for detail in judged.details {
                writeln!(out, "     {detail}")?;
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    Ok(failed == 0)
}

/// A case's name: its folder below `dir`.
fn name(dir: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(dir).unwrap_or(folder);
    let path = if below.as_os_str().is_empty() { folder.file_name().map_or(folder, Path::new) } else { below };
    path.display().to_string()
}

/// Runs the case in `folder` and judges it.
async fn judge(folder: &Path) -> Judged {
    let (case, expected) = match (Case::load(folder), Expected::load(folder)) {
        (Ok(case), Ok(expected)) => (case, expected),
        (Err(error), _) | (_, Err(error)) => return failure(error),
    };
    let mut details = Vec::new();
    let outcome = match run::run(&case, folder, &mut details).await {
        Ok(outcome) => outcome,
        Err(Trouble::Unsupported(reason)) => return Judged { verdict: Verdict::Skip(reason), details },
        Err(Trouble::Broken(error)) => return Judged { verdict: Verdict::Fail(error), details },
    };
    let findings = compare::compare(&case, &expected, &outcome);
    let mut differences = findings.differences.into_iter();
    let verdict = differences.next().map_or(Verdict::Pass, Verdict::Fail);
    details.extend(differences.chain(findings.notes.into_iter().map(|note| format!("note: {note}"))));
    Judged { verdict, details }
}

fn failure(difference: String) -> Judged {
    Judged { verdict: Verdict::Fail(difference), details: Vec::new() }
}

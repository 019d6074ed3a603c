//! Cases to run, processes to run them in, outputs to compare.

mod case;
mod kills;
mod output;
mod process;
mod table;
pub(crate) mod topics;

pub(crate) use case::Case;
pub(crate) use kills::Kills;
pub(crate) use output::Output;
pub(crate) use process::{Site, wait};
pub(crate) use table::Table;

use std::sync::Mutex;

/// Whether the long form is wanted: `LEVADA_CRASH=long`.
pub(crate) fn long() -> bool {
    std::env::var("LEVADA_CRASH").is_ok_and(|form| form == "long")
}

/// Runs `check` on all jobs, a few at a time, and panics with all that went wrong.
pub(crate) fn for_all<J: Send + std::fmt::Debug>(jobs: Vec<J>, check: impl Fn(&J) -> Result<(), String> + Sync) {
    let total = jobs.len();
    let queue = Mutex::new(jobs.into_iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(job) = queue.lock().unwrap().next() else { return };
                    if let Err(problem) = check(&job) {
                        failures.lock().unwrap().push(format!("{job:?}: {problem}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {total} failed:\n{}", failures.len(), failures.join("\n"));
}

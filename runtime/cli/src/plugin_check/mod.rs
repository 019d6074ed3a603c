//! `levada plugin check`: what holds of a library, found out in a process of its own.

mod child;
mod rows;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use child::child;

use crate::{Exit, print, say};

/// How long nothing may be heard of a check before it is ended.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a check is told.
#[derive(Serialize, Deserialize)]
struct Task {
    library: PathBuf,
    set: Vec<(String, String)>,
    columns: String,
}

/// What a check tells: a line each.
#[derive(Serialize, Deserialize)]
enum Told {
    /// What is checked next.
    Begins(String),
    /// It holds.
    Holds(String),
    /// It does not; why.
    Broken(String, String),
    /// It could not be checked; why.
    Open(String, String),
    /// That was all.
    End,
}

/// Checks a library: in a process of its own, so that what it does there ends nothing else.
pub(crate) fn check(library: &Path, set: &[(String, String)], columns: &str) -> Result<(), Exit> {
    let failed = |e: std::io::Error| {
        say(&format!("error: {}: no process can be started to check it in: {e}", library.display()));
        Exit::Failed
    };
    let task = Task { library: library.to_owned(), set: set.to_vec(), columns: columns.to_owned() };
    let task = serde_json::to_string(&task).map_err(|e| failed(e.into()))?;
    let (own, other) = UnixStream::pair().map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["plugin-child", "check", &task]).stdin(OwnedFd::from(other)).stdout(Stdio::null());
    let mut process = command.spawn().map_err(failed)?;
    // It holds the other end, too, and the end of the process must be heard.
    drop(command);
    own.set_read_timeout(Some(PATIENCE)).map_err(failed)?;

    print(&format!("{}\n", library.display()))?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut say_one = |word: &'static str, what: &str, why: &str| {
        *counts.entry(word).or_default() += 1;
        let why = why.trim().replace('\n', "\n               ");
        print(&format!("  {word:<12} {what}{}{why}\n", if why.is_empty() { "" } else { ": " }))
    };
    let (mut under_way, mut ended) = ("loading it".to_owned(), false);
    for line in BufReader::new(&own).lines() {
        let told = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        match told {
            Some(Told::Begins(what)) => under_way = what,
            Some(Told::Holds(what)) => say_one("holds", &what, "")?,
            Some(Told::Broken(what, why)) => say_one("broken", &what, &why)?,
            Some(Told::Open(what, why)) => say_one("not checked", &what, &why)?,
            Some(Told::End) => ended = true,
            None => break,
        }
    }
    if !ended {
        let hangs = process.try_wait().map_err(failed)?.is_none();
        // It may just be on its way to its end.
        std::thread::sleep(Duration::from_millis(if hangs { 100 } else { 0 }));
        let why = match process.try_wait().map_err(failed)? {
            Some(status) => format!("it ended the process: {status}"),
            None => format!("nothing was heard of it for {PATIENCE:?}"),
        };
        say_one("broken", &under_way, &why)?;
    }
    let _ = process.kill();
    let _ = process.wait();
    let count = |word: &str| counts.get(word).copied().unwrap_or_default();
    let mut sum = String::new();
    let _ = writeln!(sum, "{} hold, {} broken, {} not checked", count("holds"), count("broken"), count("not checked"));
    print(&sum)?;
    match (count("broken"), count("not checked")) {
        (0, 0) => Ok(()),
        (0, _) => Err(Exit::Usage),
        _ => Err(Exit::Failed),
    }
}

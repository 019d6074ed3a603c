//! Scans a library in a process of its own.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use levada_connector_api::{Error, ErrorKind, Result};
use levada_plugin::host::{ClassInfo, log_level};
use serde::{Deserialize, Serialize};

/// What a library says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scanned {
    /// Its name and version, for people.
    pub build_info: String,
    /// Its classes.
    pub classes: Vec<ClassInfo>,
}

/// A scan's answer on its way between the processes.
#[derive(Serialize, Deserialize)]
pub(crate) enum Told {
    Library(Scanned),
    Refused { message: String, hint: Option<String> },
}

/// Starts the processes in which libraries are scanned and served.
#[derive(Debug, Clone)]
pub struct Scanner {
    /// The program, which hands its arguments to [`child`](crate::child).
    pub program: PathBuf,
    /// Arguments before those.
    pub arguments: Vec<String>,
    /// How long a scan may take.
    pub deadline: Duration,
}

impl Scanner {
    /// A scanner that starts `program` with `arguments` before the child's own.
    pub fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { program: program.into(), arguments, deadline: Duration::from_secs(10) }
    }

    /// Starts a child that speaks over the stream, which is its standard input: what a plugin prints is not in its way.
    pub(crate) fn start(&self, task: &str, path: &Path, class: Option<&str>) -> Result<(Child, UnixStream)> {
        let failed = |e| Error::io(format!("{}: a process for a plugin", self.program.display()), e);
        let (own, other) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(task).arg(path);
        if let Some(class) = class {
            command.arg(class).arg(log_level().to_string());
        }
        command.stdin(OwnedFd::from(other)).stdout(Stdio::null());
        if task == "scan" {
            command.stderr(Stdio::null());
        }
        Ok((command.spawn().map_err(failed)?, own))
    }

    /// Loads a library in a process of its own, and asks what it has.
    ///
    /// # Errors
    /// It is no plugin, or does not survive being loaded; the message names the path and the remedy.
    pub fn scan(&self, path: &Path) -> Result<Scanned> {
        let place = format!("plugin {}", path.display());
        crate::elf::check(path)?;
        let (mut process, mut stream) = self.start("scan", path, None)?;
        let _ = stream.set_read_timeout(Some(self.deadline));
        let mut text = Vec::new();
        let read = stream.read_to_end(&mut text);
        if read.is_err() {
            let _ = process.kill();
        }
        let status = process.wait().map_err(|e| Error::io(&place, e))?;
        if read.is_err() {
            let error = Error::config(format!("it was not loaded within {:?}", self.deadline));
            return Err(error.hint("remove it from the plugin path").context(place));
        }
        match serde_json::from_slice(&text) {
            Ok(Told::Library(scanned)) => Ok(scanned),
            Ok(Told::Refused { message, hint }) => {
                let error = Error::config(message);
                Err(hint.into_iter().fold(error, Error::hint))
            }
            Err(_) => Err(Error::new(ErrorKind::Config, format!("loading it ended the process: {status}"))
                .hint("remove it from the plugin path, and tell its author")
                .context(place)),
        }
    }
}

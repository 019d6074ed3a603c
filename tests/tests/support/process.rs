//! A pipeline in a process of its own.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::output::Output;
use super::table::Table;

/// No run takes longer; one that does hangs.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A folder with a pipeline's configuration, checkpoint, output and dead letters.
pub(crate) struct Site {
    root: TempDir,
    /// Where the rows go, unless they go into files.
    table: Option<Table>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
}

impl Ended {
    /// Ended well; else panics.
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}: {}", self.status, self.said);
        self
    }

    /// Whether it was killed.
    pub(crate) fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// The error that it ended with: `kind: message`; panics when there is none.
    pub(crate) fn error(&self) -> &str {
        let found = self.said.lines().find_map(|line| line.strip_prefix("error "));
        found.unwrap_or_else(|| panic!("no error, but {}: {}", self.status, self.said))
    }

    /// The fault points that were passed, with how often.
    pub(crate) fn points(&self) -> BTreeMap<String, u64> {
        let entry = |line: &str| {
            let (name, count) = line.strip_prefix("point ")?.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        self.said.lines().filter_map(entry).collect()
    }
}

impl Site {
    pub(crate) fn new(root: TempDir, config: &BTreeMap<String, String>, table: Option<Table>) -> Self {
        std::fs::write(root.path().join("pipeline.json"), serde_json::to_vec(config).unwrap()).unwrap();
        Self { root, table }
    }

    /// Changes a key of the configuration for the runs to come.
    pub(crate) fn set(&self, key: &str, value: &str) {
        let path = self.path("pipeline.json");
        let mut config: BTreeMap<String, String> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config.insert(key.to_owned(), value.to_owned());
        std::fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
    }

    /// A path in the site's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada-crash"));
        command.arg(self.path("pipeline.json")).arg("--data").arg(self.path("data")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Starts the pipeline.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Runs the pipeline to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        wait(self.spawn(args))
    }

    /// What the pipeline has written so far.
    pub(crate) fn output(&self) -> Output {
        let mut output = Output::read(&self.path("out"), &self.path("dead"));
        if let Some(table) = &self.table {
            output.rows = table.rows();
        } else if self.path("out").is_file() {
            output.rows = sqlite_rows(&self.path("out"));
        }
        output
    }

    /// Another place that begins with this one's checkpoint, and writes where this one does.
    pub(crate) fn twin(&self) -> Self {
        let root = TempDir::new().unwrap();
        for name in ["pipeline.json", "data"] {
            let copied = Command::new("cp").arg("-r").arg(self.path(name)).arg(root.path()).status().unwrap();
            assert!(copied.success());
        }
        Self { root, table: self.table.clone() }
    }

    /// The checkpoint's segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find(&self.path("data"), &mut found);
        found.sort();
        found
    }
}

/// The rows of the table `t` of a SQLite file, in the order in which they came; none while it is not there.
fn sqlite_rows(file: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(file).unwrap();
    let Ok(mut all) = database.prepare("SELECT * FROM t ORDER BY rowid") else { return Vec::new() };
    let names: Vec<String> = all.column_names().map(str::to_owned).collect();
    let row = |row: &rusqlite::Row<'_>| {
        let cell = |(i, name): (usize, &String)| {
            let value = match row.get_ref(i)? {
                rusqlite::types::ValueRef::Integer(n) => n.into(),
                other => other.as_str()?.into(),
            };
            Ok((name.clone(), value))
        };
        let cells: rusqlite::Result<serde_json::Map<String, serde_json::Value>> =
            names.iter().enumerate().map(cell).collect();
        Ok(serde_json::Value::Object(cells?).to_string())
    };
    all.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|e| e == "log") && path.components().any(|c| c.as_os_str() == "tasks") {
            found.push(path);
        }
    }
}

/// Waits for a process's end; one that hangs is killed, and the test fails.
pub(crate) fn wait(mut child: Child) -> Ended {
    // What it says fits into the pipe or is read by the thread.
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = out.read_to_string(&mut said);
        said
    });
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("hangs after having said: {}", reader.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ended { status, said: reader.join().unwrap() }
}

//! What the services share: processes that end when the test process does, ports, and what is missing.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Whether a missing service is a failure: continuous integration sets `CI=true`.
pub(crate) fn strict() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Says loudly that tests are skipped, or fails where nothing may be skipped.
///
/// # Panics
/// With `CI=true`.
pub(crate) fn missing(service: &str, why: &str) {
    let remedy = format!("install it with: .ci/services install {service}");
    assert!(!strict(), "{service} is missing: {why}; {remedy}");
    eprintln!("SKIPPED: {service} is missing: {why}; {remedy}");
}

/// A port of the loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| format!("no port is free: {e}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|e| format!("no port is free: {e}"))
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs `.ci/services install SERVICE`, with its output on stderr. True when it worked.
pub(crate) fn install(service: &str) -> bool {
    let script = repository().join(".ci/services");
    let status = Command::new(&script).args(["install", service]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started or fails; the message has what it said.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{shown}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Starts the program, and ends it when the standard input closes: when this process says so, or is no more.
const KEEPER: &str = r#"pid_file=$1; shift; "$@" & echo $! >"$pid_file"; cat >/dev/null; kill $! 2>/dev/null; wait"#;

/// A server's process.
pub(crate) struct Server {
    keeper: Child,
    pid: Pid,
    log: PathBuf,
}

impl Server {
    /// Starts `command` (a program and its arguments); what it says goes to `folder/server.log`.
    pub(crate) fn start(folder: &Path, command: &[String]) -> Self {
        let (log, pid_file) = (folder.join("server.log"), folder.join("server.pid"));
        let _ = std::fs::remove_file(&pid_file);
        let output = File::options().create(true).append(true).open(&log).expect("the log can be opened");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&pid_file)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("the log can be shared"))
            .stderr(output)
            .spawn()
            .expect("sh starts");
        let mut pid = None;
        wait_for(Duration::from_secs(20), "the server's process", || {
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            pid = text.strip_suffix('\n').and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
            pid.is_some()
        });
        Self { keeper, pid: pid.expect("it was waited for"), log }
    }

    /// Whether the process is still there.
    pub(crate) fn runs(&self) -> bool {
        test_kill_process(self.pid).is_ok()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with `signal`, and waits until it is gone.
    pub(crate) fn end(&mut self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
        // Without its standard input the keeper ends, too, as soon as the server has.
        drop(self.keeper.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if matches!(self.keeper.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = self.keeper.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

/// Ports that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that none is given twice.
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free"));
    std::array::from_fn(|i| listeners.get(i).and_then(|l| l.local_addr().ok()).map_or(0, |address| address.port()))
}

/// Where downloads are kept between runs.
pub(crate) fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("levada")
}

/// Whether a program can be started.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Polls until `done`; panics after `limit`.
pub(crate) fn wait_for(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

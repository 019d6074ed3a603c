//! What the services share: processes that end when the test process does, ports, and what is missing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

//! PostgreSQL.
//!
//! `LEVADA_TEST_POSTGRES=postgres://user@host:port/db` names a server that runs already; its user must be a superuser.
//! `LEVADA_PG_BIN` names the folder of its programs; `LEVADA_PG_FSYNC=on` starts one that flushes, for benchmarks.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support;

/// Stops a server when its stdin ends. Its arguments: the data folder's parent, then the server's command.
/// A server that is told `restart` is killed as by a power cut and started again; `stop` and `start` do one half.
const KEEPER: &str = r#"
dir=$1; shift
start() { setsid "$@" >>"$dir/service.log" 2>&1 </dev/null & pid=$!; }
end() { if [ -n "$pid" ]; then kill -s "$1" "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; pid=; fi; }
trap '' INT TERM HUP
start "$@"
echo "started $pid"
while read -r word; do
    case $word in
        stop) end INT ;;
        start) start "$@" ;;
    esac
    echo "done $pid"
done
end INT
rm -rf "$dir"
"#;

/// A running server.
pub struct Postgres {
    url: String,
    bin: PathBuf,
    keeper: Option<Keeper>,
}

struct Keeper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    folder: PathBuf,
    port: u16,
}

/// The server that all tests of this process share. `None` where it is not installed: the test is to return.
///
/// # Panics
/// It is not installed and `CI=true`, or it does not start.
pub fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED
        .get_or_init(|| match std::env::var("LEVADA_TEST_POSTGRES") {
            Ok(url) => Some(Postgres { url, bin: programs().unwrap_or_default(), keeper: None }),
            Err(_) => Postgres::start(),
        })
        .as_ref()
}

impl Postgres {
    /// A server of the caller's own, which ends when it is dropped. `None` where it is not installed.
    ///
    /// # Panics
    /// It is not installed and `CI=true`, or it does not start.
    pub fn start() -> Option<Self> {
        Self::start_with(&[], &[])
    }

    /// The same with settings (`ssl=on`) and with files in its data folder (`pg_hba.conf`), names before contents.
    ///
    /// # Panics
    /// It is not installed and `CI=true`, or it does not start.
    pub fn start_with(settings: &[&str], files: &[(&str, &str)]) -> Option<Self> {
        let bin = match programs() {
            Some(bin) => bin,
            None if support::strict() && support::install("postgres") && programs().is_some() => programs()?,
            None => {
                support::missing("postgres", "no postgres and initdb in PATH or /usr/lib/postgresql/*/bin");
                return None;
            }
        };
        match launch(bin, settings, files) {
            Ok(server) => Some(server),
            Err(problem) => panic!("postgres does not start: {problem}"),
        }
    }

    /// The address of its database `postgres`, whose user is a superuser and has no password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of another database.
    pub fn url_of(&self, database: &str) -> String {
        let (server, _) = self.url.rsplit_once('/').unwrap_or((&self.url, ""));
        format!("{server}/{database}")
    }

    /// Its port.
    ///
    /// # Panics
    /// The address that was given has none.
    pub fn port(&self) -> u16 {
        let port =
            self.url.rsplit_once('/').and_then(|(server, _)| server.rsplit_once(':')).map(|(_, port)| port.parse());
        match port {
            Some(Ok(port)) => port,
            _ => panic!("{} names no port", self.url),
        }
    }

    /// Makes a database that nobody else uses and answers with its address. `name` helps to find it.
    ///
    /// # Panics
    /// The server refuses.
    pub fn database(&self, name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}_{}_{number}", std::process::id());
        self.sql(self.url(), &format!("CREATE DATABASE \"{name}\""));
        self.url_of(&name)
    }

    /// Runs statements with psql and answers with the rows: a line each, columns separated by `|`.
    ///
    /// # Panics
    /// The server refuses.
    pub fn sql(&self, url: &str, statements: &str) -> String {
        let mut psql = Command::new(self.program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statements]);
        match support::run(&mut psql) {
            Ok(rows) => rows,
            Err(problem) => panic!("{problem}"),
        }
    }

    /// The path of one of its programs: `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.bin.join(name);
        if path.is_file() { path } else { PathBuf::from(name) }
    }

    /// Stops the server at once, as its administrator would; its data stays.
    ///
    /// # Panics
    /// It was not started by this process.
    pub fn stop(&mut self) {
        self.tell("stop");
    }

    /// Starts it again after [`stop`](Self::stop), at the same address, and waits until it answers.
    ///
    /// # Panics
    /// It was not started by this process, or does not come back.
    pub fn start_again(&mut self) {
        self.tell("start");
        if let Err(problem) = self.await_answer() {
            panic!("postgres does not come back: {problem}");
        }
    }

    fn tell(&mut self, word: &str) {
        let Some(keeper) = &mut self.keeper else { panic!("a server that was given cannot be stopped") };
        let told = keeper.input.as_mut().is_some_and(|input| writeln!(input, "{word}").is_ok());
        let mut answer = String::new();
        let answered = keeper.output.read_line(&mut answer).is_ok_and(|n| n > 0);
        assert!(told && answered, "the shell that keeps postgres has ended");
    }

    fn await_answer(&self) -> Result<(), String> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let mut ready = Command::new(self.program("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &keeper.port.to_string()]);
        let began = std::time::Instant::now();
        while support::run(&mut ready).is_err() {
            if began.elapsed().as_secs() > 60 {
                let log = fs::read_to_string(keeper.folder.join("service.log")).unwrap_or_default();
                return Err(format!("no answer in 60 s; its log ends: {}", tail(&log)));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of its input is the keeper's sign to stop the server.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let complete = |bin: &PathBuf| bin.join("postgres").is_file() && bin.join("initdb").is_file();
    if let Some(bin) = std::env::var_os("LEVADA_PG_BIN").map(PathBuf::from).filter(complete) {
        return Some(bin);
    }
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| complete(bin))
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.pop().map(|(_, bin)| bin).or_else(|| std::env::split_paths(&path).find(complete))
}

fn launch(bin: PathBuf, settings: &[&str], files: &[(&str, &str)]) -> Result<Postgres, String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("levada-postgres-{}-{number}", std::process::id()));
    let io = |e: std::io::Error| format!("{}: {e}", folder.display());
    // Left behind by a process of the same number, if at all.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(io)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).map_err(io)?;
    let user = unprivileged()?;
    if let Some(user) = &user {
        support::run(Command::new("chown").arg(user).arg(&folder))?;
    }
    let command = |program: &Path| match &user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--init-groups"]).arg(program);
            command
        }
    };
    let data = folder.join("data");
    let mut initdb = command(&bin.join("initdb"));
    initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
    if let Err(problem) = support::run(&mut initdb) {
        let _ = fs::remove_dir_all(&folder);
        return Err(problem);
    }
    for (name, content) in files {
        let path = data.join(name);
        fs::write(&path, content).map_err(io)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io)?;
        if let Some(user) = &user {
            support::run(Command::new("chown").arg(user).arg(&path))?;
        }
    }
    let port = support::free_port()?;
    let fsync = std::env::var("LEVADA_PG_FSYNC").unwrap_or_else(|_| "off".to_owned());
    let mut server = command(&bin.join("postgres"));
    server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    let ours = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "wal_level=logical",
        "max_wal_size=4GB",
        "max_connections=200",
        &format!("fsync={fsync}"),
        &format!("full_page_writes={fsync}"),
    ];
    for setting in ours.iter().chain(settings) {
        server.args(["-c", setting]);
    }
    let mut keeper = Command::new("bash");
    keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).arg(server.get_program()).args(server.get_args());
    let mut child = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| format!("bash: {e}"))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the keeper has no pipes".to_owned());
    };
    let mut output = BufReader::new(output);
    output.read_line(&mut String::new()).map_err(io)?;
    let keeper = Keeper { child, input: Some(input), output, folder, port };
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let server = Postgres { url, bin, keeper: Some(keeper) };
    server.await_answer()?;
    Ok(server)
}

/// The user that the server must run as: it refuses root.
fn unprivileged() -> Result<Option<String>, String> {
    if support::run(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(None);
    }
    let user = ["postgres", "nobody"].into_iter().find(|user| support::run(Command::new("id").arg(user)).is_ok());
    user.map(|user| Some(user.to_owned()))
        .ok_or_else(|| "it refuses root, and there is no user to run it as".to_owned())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    /// What the next test starts as a process of its own: it ends without any cleaning up.
    #[test]
    #[ignore = "it aborts its process"]
    fn a_process_that_aborts() {
        if let Some(server) = shared() {
            println!("\nlistens on {}", server.port());
            std::process::abort();
        }
    }

    #[test]
    fn the_server_ends_with_the_process_however_that_ends() {
        let Some(server) = shared() else { return };
        assert_eq!(server.sql(&server.database("harness"), "SELECT 1 + 1").trim(), "2");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::tests::a_process_that_aborts", "--ignored", "--nocapture"])
            .env_remove("LEVADA_TEST_POSTGRES")
            .output()
            .unwrap();
        assert!(!child.status.success());
        let said = String::from_utf8_lossy(&child.stdout);
        let port = said.lines().find_map(|line| line.strip_prefix("listens on ")).unwrap_or_else(|| panic!("{said}"));
        let port: u16 = port.parse().unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(30), "the server on port {port} has outlived its process");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_dropped_server_is_gone_with_its_folder() {
        let Some(server) = Postgres::start() else { return };
        let folder = server.keeper.as_ref().unwrap().folder.clone();
        assert!(folder.join("data").is_dir());
        drop(server);
        assert!(!folder.exists());
    }
}

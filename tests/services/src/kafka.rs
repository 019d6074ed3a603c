//! Apache Kafka: one broker that is its own controller (KRaft).

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Server, cache, free_ports, has, missing, wait_for};

/// The version of the artefacts in `kafka/pom.xml`.
const VERSION: &str = "4.3.1";
/// Names the address of a running broker (`127.0.0.1:9092`), which is used instead of starting one.
const EXTERNAL: &str = "LEVADA_TEST_KAFKA";

/// A broker.
pub struct Kafka {
    bootstrap: String,
    /// `None` when the broker is somebody else's.
    own: Option<Own>,
}

/// The users of a broker's encrypted listener: name and password. A third way in is OAUTHBEARER with unsigned tokens.
pub const PLAIN_USER: (&str, &str) = ("ana", "plain-secret");
/// The same, by SCRAM-SHA-256.
pub const SCRAM_USER: (&str, &str) = ("bob", "scram-secret");

struct Own {
    folder: TempDir,
    libs: PathBuf,
    port: u16,
    server: Option<Server>,
}

impl Kafka {
    /// Starts a broker of its own; `None` when Java or Kafka are missing, which is said.
    ///
    /// # Panics
    /// It does not start, or `CI=true` and something is missing.
    pub fn start() -> Option<Self> {
        let libs = libraries()?;
        // A port that was free may be taken before the broker binds it.
        for _ in 0..2 {
            if let Some(kafka) = Self::attempt(&libs, None, None) {
                return Some(kafka);
            }
        }
        Some(Self::attempt(&libs, None, None).unwrap_or_else(|| panic!("Kafka did not start three times in a row")))
    }

    /// Starts a broker whose topics lie in a folder of somebody else's.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_in(topics: &Path) -> Option<Self> {
        let libs = libraries()?;
        let mut attempts = (0..2).filter_map(|_| Self::attempt(&libs, None, Some(topics)));
        Some(attempts.next().unwrap_or_else(|| panic!("Kafka did not start twice in a row")))
    }

    /// Starts a broker that also listens for encrypted connections, as `localhost`, with this key and certificate (PEM), and
    /// the address of that listener. It asks for a user.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_secure(key_and_certificate: &str) -> Option<(Self, String)> {
        let libs = libraries()?;
        for _ in 0..2 {
            let [port] = free_ports();
            let secure = Secure { port, key_and_certificate };
            if let Some(kafka) = Self::attempt(&libs, Some(&secure), None) {
                return Some((kafka, format!("localhost:{port}")));
            }
        }
        panic!("Kafka did not start twice in a row")
    }

    /// The broker that all tests of this process share. Tests name their topics apart.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Kafka>> = OnceLock::new();
        let start = || match std::env::var(EXTERNAL) {
            Ok(bootstrap) => Some(Self::at(&bootstrap)),
            Err(_) => Self::start(),
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// A broker that somebody else has started.
    pub fn at(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), own: None }
    }

    /// The address, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Kills the broker as by `kill -9`.
    ///
    /// # Panics
    /// The broker is not this process's own.
    pub fn kill(&mut self) {
        let own = self.own.as_mut().expect("only an own broker can be killed");
        own.server = None;
    }

    /// Starts the broker again with what it has on its disk.
    ///
    /// # Panics
    /// It does not start, or is not this process's own.
    pub fn restart(&mut self) {
        self.kill();
        let own = self.own.as_mut().expect("only an own broker can be started");
        let said = own.said().len();
        own.launch();
        assert!(own.ready(said), "Kafka did not start again:\n{}", own.said());
    }

    /// Takes an operation on a topic (`Read`, `Write`) away from a user of the encrypted listener.
    ///
    /// # Panics
    /// The broker refuses, or is not this process's own.
    pub fn deny(&self, user: &str, operation: &str, topic: &str) {
        let user = format!("User:{user}");
        let arguments = ["--add", "--operation", operation, "--topic", topic, "--deny-principal", &user];
        self.administer("org.apache.kafka.tools.AclCommand", &arguments);
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// The broker refuses, or is not this process's own.
    pub fn delete_topic(&self, topic: &str) {
        self.administer("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", topic]);
    }

    /// Runs a tool of Kafka's.
    fn administer(&self, tool: &str, arguments: &[&str]) {
        let own = self.own.as_ref().expect("only an own broker can be administered");
        let command = java(&own.libs);
        let (program, before) = command.split_first().expect("java is there");
        let mut command = Command::new(program);
        command.args(before).args([tool, "--bootstrap-server", &self.bootstrap]).args(arguments);
        let output = command.stdin(Stdio::null()).output().expect("java starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Stops the broker in good order.
    pub fn stop(mut self) {
        if let Some(mut server) = self.own.take().and_then(|own| own.server) {
            server.end(Signal::TERM);
        }
    }

    fn attempt(libs: &Path, secure: Option<&Secure<'_>>, topics: Option<&Path>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let [port, controller] = free_ports();
        let properties = folder.path().join("server.properties");
        let mut settings = server_properties(folder.path(), port, controller);
        if let Some(topics) = topics {
            let own = format!("log.dirs={}/logs\n", folder.path().display());
            let apart = format!("log.dirs={}\nmetadata.log.dir={}/logs\n", topics.display(), folder.path().display());
            settings = settings.replace(&own, &apart);
        }
        if let Some(secure) = secure {
            settings = secure.add_to(&settings, folder.path());
        }
        fs::write(&properties, settings).expect("the folder is writable");
        let mut format = java(libs);
        format.extend(
            ["kafka.tools.StorageTool", "format", "--cluster-id", "bGV2YWRhLXRlc3RzLTAwMA", "--config"]
                .map(str::to_owned),
        );
        format.push(properties.display().to_string());
        if secure.is_some() {
            let (name, password) = SCRAM_USER;
            format.extend(["--add-scram".to_owned(), format!("SCRAM-SHA-256=[name={name},password={password}]")]);
        }
        let (program, arguments) = format.split_first()?;
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("java starts");
        assert!(
            output.status.success(),
            "Kafka's storage cannot be formatted: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let mut own = Own { folder, libs: libs.to_owned(), port, server: None };
        own.launch();
        own.ready(0).then(|| Self { bootstrap: format!("127.0.0.1:{port}"), own: Some(own) })
    }
}

impl Own {
    fn launch(&mut self) {
        let mut command = java(&self.libs);
        command.push("kafka.Kafka".to_owned());
        command.push(self.folder.path().join("server.properties").display().to_string());
        self.server = Some(Server::start(self.folder.path(), &command));
    }

    /// What the broker has said.
    fn said(&self) -> String {
        self.server.as_ref().map(Server::said).unwrap_or_default()
    }

    /// Waits until the broker answers, or has ended. `before` is how much its log held before the start.
    fn ready(&self, before: usize) -> bool {
        let mut ready = false;
        wait_for(Duration::from_secs(120), "Kafka's start", || {
            let started = self.said().get(before..).is_some_and(|said| said.contains("Kafka Server started"));
            ready = started && TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            ready || !self.server.as_ref().is_some_and(Server::runs)
        });
        if !ready {
            eprintln!("Kafka ended before it was ready:\n{}", self.said());
        }
        ready
    }
}

/// Kafka's jars, brought here if need be.
fn libraries() -> Option<PathBuf> {
    let libs = cache().join(format!("kafka-{VERSION}"));
    let absent = |what: &str| {
        missing("kafka", &format!("{what} is missing (Debian: apt-get install default-jre-headless maven)"))
    };
    if !has("java") {
        absent("java");
        return None;
    }
    if libs.is_dir() {
        return Some(libs);
    }
    if !has("mvn") {
        absent("mvn");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/fetch.sh");
    let output = Command::new(script).arg(&libs).stdin(Stdio::null()).output().expect("bash starts");
    if output.status.success() {
        return Some(libs);
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    missing("kafka", &format!("its artefacts could not be brought: {}", said.concat()));
    None
}

fn java(libs: &Path) -> Vec<String> {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/log4j2.xml");
    vec![
        "java".to_owned(),
        "-Xms64m".to_owned(),
        "-Xmx320m".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        format!("-Dlog4j2.configurationFile={}", log.display()),
        "-cp".to_owned(),
        // The virtual machine expands the star.
        format!("{}/*", libs.display()),
    ]
}

fn server_properties(folder: &Path, port: u16, controller: u16) -> String {
    let folder = folder.display();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# Tests write messages of any age; compacted data is wanted within a test.
log.retention.ms=-1
log.retention.check.interval.ms=500
log.initial.task.delay.ms=100
log.cleaner.backoff.ms=200
file.delete.delay.ms=100
message.max.bytes=33554432
# A transaction that takes too long is given up within a test.
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
"
    )
}

/// An encrypted listener.
struct Secure<'a> {
    port: u16,
    key_and_certificate: &'a str,
}

impl Secure<'_> {
    fn add_to(&self, settings: &str, folder: &Path) -> String {
        let store = folder.join("server.pem");
        fs::write(&store, self.key_and_certificate).expect("the folder is writable");
        let with = |key: &str, more: &str| {
            let line = settings.lines().find(|line| line.starts_with(&format!("{key}="))).unwrap_or_default();
            format!("{line},{more}\n")
        };
        let at = format!("SECURE://localhost:{}", self.port);
        let own = ["listeners", "advertised.listeners", "listener.security.protocol.map"];
        let kept: String = settings
            .lines()
            .filter(|line| !own.iter().any(|key| line.starts_with(&format!("{key}="))))
            .map(|line| format!("{line}\n"))
            .collect();
        let (user, password) = PLAIN_USER;
        let jaas = "listener.name.secure";
        let module = "org.apache.kafka.common.security";
        let lines = [
            with("listeners", &at),
            with("advertised.listeners", &at),
            with("listener.security.protocol.map", "SECURE:SASL_SSL"),
            format!("{jaas}.ssl.keystore.type=PEM\n{jaas}.ssl.keystore.location={}\n", store.display()),
            format!("{jaas}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,OAUTHBEARER\n"),
            format!(
                "{jaas}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{user}=\"{password}\";\n"
            ),
            // Topics that are asked for are created by the other broker, as Kafka has it, and not by this one.
            "auto.create.topics.enable=false\n".to_owned(),
            // Who may what is asked; whoever is not named may, and so may all that comes unencrypted.
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             allow.everyone.if.no.acl.found=true\nsuper.users=User:ANONYMOUS\n"
                .to_owned(),
            format!("{jaas}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"),
            format!(
                "{jaas}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required \
                 unsecuredLoginStringClaim_sub=\"broker\";\n"
            ),
        ];
        kept + &lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_starts_dies_and_comes_back() {
        let Some(mut kafka) = Kafka::start() else { return };
        let connects = |kafka: &Kafka| TcpStream::connect(kafka.bootstrap()).is_ok();
        assert!(connects(&kafka));
        kafka.kill();
        assert!(!connects(&kafka));
        kafka.restart();
        assert!(connects(&kafka));
        let address = kafka.bootstrap().to_owned();
        kafka.stop();
        assert!(TcpStream::connect(address).is_err());
    }
}

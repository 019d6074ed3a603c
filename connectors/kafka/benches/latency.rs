//! How long a message takes from topic to topic, at 1,000 a second: `cargo build --release && cargo bench -p
//! levada-connector-kafka --bench latency [-- SECONDS]`.
//!
//! Starts a broker and, once for each guarantee, `target/release/levada run` with Kafka at both ends. A message says when it
//! was sent; a reader of committed messages says when it came. The first fifth of the time is not counted. Before that the
//! same is done with nothing between sender and reader. What each micro-batch spent its time on is written to the folder
//! that `LATENCY_PROGRESS` names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise and prints what it finds"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use levada_services::kafka::Kafka;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const RATE: u64 = 1000;

fn topics(kafka: &Kafka, names: &[&str]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    let admin: rdkafka::admin::AdminClient<DefaultClientContext> = config.create().unwrap();
    let new: Vec<_> = names
        .iter()
        .map(|name| rdkafka::admin::NewTopic::new(name, 1, rdkafka::admin::TopicReplication::Fixed(1)))
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(admin.create_topics(&new, &rdkafka::admin::AdminOptions::new())).unwrap();
}

fn pipeline(kafka: &Kafka, folder: &Path, guarantee: &str, from: &str, to: &str) -> Child {
    let config = serde_json::json!({
        "name": guarantee, "bootstrap.servers": kafka.bootstrap(), "checkpoint.location": folder.join(guarantee),
        "source.class": "Kafka", "source.topics": from, "source.kafka.fetch.wait.max.ms": "10",
        "sink.class": "Kafka", "sink.topic": to, "sink.delivery.guarantee": guarantee,
    });
    let file = folder.join(format!("{guarantee}.json"));
    std::fs::write(&file, config.to_string()).unwrap();
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/levada");
    let mut command = Command::new(binary);
    command.args(["run", "--log-level", "warn"]).arg(file).stdout(Stdio::null());
    if let Some(progress) = std::env::var_os("LATENCY_PROGRESS") {
        command.arg("--progress").arg(Path::new(&progress).join(format!("{guarantee}.jsonl")));
    }
    command.spawn().expect("cargo build --release comes first")
}

fn send(kafka: &Kafka, topic: &str, since: Instant, seconds: u64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("linger.ms", "0");
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..seconds * RATE {
        let due = Duration::from_micros(number * 1_000_000 / RATE);
        std::thread::sleep(due.saturating_sub(since.elapsed()));
        let value = format!("{:<100}", since.elapsed().as_micros());
        producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload(&value)).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Reads committed messages.
struct Reader(BaseConsumer);

impl Reader {
    fn new(kafka: &Kafka, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap()).set("group.id", "latency");
        config
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "10")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        Self(consumer)
    }

    /// Microseconds from sending to coming, in the order in which messages came.
    fn receive(&mut self, since: Instant, count: u64) -> Vec<u64> {
        let next = |_| {
            let message = self.0.poll(Duration::from_secs(60)).expect("messages come").unwrap();
            let now = since.elapsed().as_micros() as u64;
            let sent: u64 = std::str::from_utf8(message.payload().unwrap()).unwrap().trim().parse().unwrap();
            now - sent
        };
        (0..count).map(next).collect()
    }
}

/// What each message took, sent to a topic at the rate.
fn timed(kafka: &Kafka, topic: &str, reader: &mut Reader, since: Instant, seconds: u64) -> Vec<u64> {
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| reader.receive(since, seconds * RATE));
        send(kafka, topic, since, seconds);
        reading.join().unwrap()
    })
}

fn report(what: &str, took: Vec<u64>) {
    let mut counted = took[took.len() / 5..].to_vec();
    counted.sort_unstable();
    let at = |share: f64| counted[((counted.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{what}: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms, of {} messages",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        counted.len()
    );
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(20);
    let Some(kafka) = Kafka::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    // What a build has just written would otherwise be what the checkpoint's flushes wait for.
    Command::new("sync").status().unwrap();
    topics(&kafka, &["straight"]);
    let mut straight = Reader::new(&kafka, "straight");
    report("no pipeline", timed(&kafka, "straight", &mut straight, Instant::now(), seconds));
    for (round, guarantee) in ["at-least-once", "exactly-once"].into_iter().enumerate() {
        let (from, to) = (format!("from-{round}"), format!("to-{round}"));
        topics(&kafka, &[&from, &to]);
        let mut child = pipeline(&kafka, folder.path(), guarantee, &from, &to);
        // It has begun when the first message arrives: then the clock starts anew.
        let warm = Instant::now();
        send(&kafka, &from, warm, 1);
        let mut reader = Reader::new(&kafka, &to);
        reader.receive(warm, RATE);
        let since = Instant::now();
        report(guarantee, timed(&kafka, &from, &mut reader, since, seconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! How fast the source is, beside librdkafka alone: `cargo bench -p levada-connector-kafka [-- MESSAGES]`.
//!
//! Starts a broker, fills a topic of four partitions with messages of about 100 bytes, and reads it: raw (librdkafka's
//! callback, counting only), as binary columns, and as JSON into typed columns. Rates are of the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise and prints what it finds"
)]
#![allow(unsafe_code, reason = "the raw drain is librdkafka's own interface")]

use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::time::{Duration, Instant};

use levada_connector_api::config::RawConfig;
use levada_connector_api::{Offsets, Plugin as _, PollLimit, PollStatus, SourcePlugin as _, TaskContext};
use levada_connector_kafka::KafkaSourcePlugin;
use levada_services::kafka::Kafka;
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const TOPIC: &str = "drain";
const PARTITIONS: i32 = 4;

fn fill(kafka: &Kafka, messages: usize) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("linger.ms", "50")
        .set("queue.buffering.max.messages", "1000000");
    let admin: rdkafka::admin::AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = rdkafka::admin::NewTopic::new(TOPIC, PARTITIONS, rdkafka::admin::TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(admin.create_topics([&topic], &rdkafka::admin::AdminOptions::new())).unwrap();
    let producer: BaseProducer = config.create().unwrap();
    for i in 0..messages {
        let value = format!(
            r#"{{"id": {i}, "name": "vehicle number {}", "speed": {}.25, "at": "2024-01-01T00:00:{:02}Z", "ok": true}}"#,
            i % 5000,
            i % 130,
            i % 60
        );
        let partition = i as i32 % PARTITIONS;
        while producer.send(BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&value)).is_err() {
            producer.poll(Duration::from_millis(10));
        }
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

unsafe extern "C" fn count(message: *mut sys::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: the message is valid during the call, and `opaque` is the counter below.
    unsafe {
        if (*message).err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            *opaque.cast::<usize>() += 1;
        }
    }
}

/// What a run took until its last message: closing a client takes a moment, and the source does it in the background.
struct Took {
    seconds: f64,
    cpu: f64,
}

struct Clock(Instant, f64);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn stop(&self) -> Took {
        Took { seconds: self.0.elapsed().as_secs_f64(), cpu: cpu() - self.1 }
    }
}

fn raw(kafka: &Kafka, messages: usize) -> Took {
    let clock = Clock::start();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("group.id", "raw");
    // The source's own settings: with librdkafka's defaults this is another, slower drain, and the comparison says nothing.
    for (key, value) in [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        ("fetch.queue.backoff.ms", "5"),
        ("queued.max.messages.kbytes", "32768"),
    ] {
        config.set(key, value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    let client = consumer.client().native_ptr();
    let mut list = TopicPartitionList::new();
    let topic = CString::new(TOPIC).unwrap();
    let mut found = 0usize;
    let took;
    // SAFETY: the client lives until the end of the function, and the queues are destroyed before.
    unsafe {
        let own = sys::rd_kafka_queue_new(client);
        let mut queues = Vec::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            sys::rd_kafka_queue_forward(queue, own);
            queues.push(queue);
        }
        consumer.assign(&list).unwrap();
        while found < messages {
            sys::rd_kafka_consume_callback_queue(own, 100, Some(count), (&raw mut found).cast());
        }
        took = clock.stop();
        consumer.unassign().unwrap();
        queues.into_iter().for_each(|queue| sys::rd_kafka_queue_destroy(queue));
        sys::rd_kafka_queue_destroy(own);
    }
    assert_eq!(found, messages);
    took
}

fn source(kafka: &Kafka, messages: usize, options: &[(&str, &str)]) -> Took {
    let clock = Clock::start();
    let given = [("bootstrap.servers", kafka.bootstrap()), ("topics", TOPIC)];
    let raw: RawConfig = given.iter().chain(options).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let config = KafkaSourcePlugin.config_def().parse(&raw, "").unwrap();
    let mut source = KafkaSourcePlugin.create(&config).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        source.open(&TaskContext::new("bench"), &Offsets::new()).await.unwrap();
        let until = Some(Arc::new(source.latest().await.unwrap()));
        let mut rows = 0;
        loop {
            let polled = source.poll(&PollLimit { until: until.clone(), ..PollLimit::unlimited(0) }).await.unwrap();
            assert!(polled.rejected.is_empty());
            rows += polled.num_rows();
            if polled.status == PollStatus::End {
                break;
            }
        }
        let took = clock.stop();
        assert_eq!(rows, messages);
        took
    })
}

/// Seconds of processor time of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned()
}

fn main() {
    let messages = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(4_000_000);
    let Some(kafka) = Kafka::start() else { return };
    fill(&kafka, messages);
    let json = [
        ("value.converter", "json"),
        ("value.converter.schema", "id BIGINT, name STRING, speed DOUBLE, at TIMESTAMP, ok BOOLEAN"),
        ("metadata.columns", ""),
    ];
    let runs: [(&str, &dyn Fn() -> Took); 4] = [
        ("raw drain", &|| raw(&kafka, messages)),
        ("source, value as bytes", &|| source(&kafka, messages, &[("metadata.columns", "")])),
        ("source, all raw columns", &|| source(&kafka, messages, &[])),
        ("source, JSON to 5 columns", &|| source(&kafka, messages, &json)),
    ];
    for round in 0..4 {
        // Whoever comes first, or after whom, must not matter: each goes first once.
        for place in 0..runs.len() {
            let (name, run) = &runs[(round + place) % runs.len()];
            // The peak begins anew, so that it is this run's.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
            let Took { seconds, cpu: used } = run();
            // What the run before closes in the background must not burden the next.
            std::thread::sleep(Duration::from_secs(1));
            let million = messages as f64 / 1e6;
            println!(
                "round {round}: {name:28} {:5.2} M/s, {:4.2} CPU s a million, peak {}",
                million / seconds,
                used / million,
                peak()
            );
        }
    }
}

//! What counting words costs: lines from memory through the transform, as the runtime drives it.
//!
//! `cargo bench -p levada-transform-aggregate -- [megabytes] [threads…]`; 200 MB on one and two threads unless given.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops when it fails"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, StringArray, StringBuilder};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, BindContext, OutputMode, Plugin, StateKind, TaskContext, Transform, TransformPlugin,
};
use levada_transform_aggregate::WordCount;

const WORDS_A_LINE: usize = 10;
const DISTINCT: usize = 100_000;
/// Lines of an array, as a source of files gives them.
const ARRAY_LINES: usize = 8192;
/// Bytes of a micro-batch.
const MICRO_BATCH: usize = 20 << 20;

/// A small generator (splitmix64): the same text in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Words by a Zipf distribution.
struct Zipf {
    words: Vec<String>,
    sums: Vec<f64>,
}

impl Zipf {
    fn new(random: &mut Random) -> Self {
        let words = (0..DISTINCT).map(|rank| {
            // Between 2 and 16 bytes; the first are a little shorter, and the rank makes them distinct.
            let len = 2 + random.next() as usize % if rank < 1000 { 9 } else { 11 };
            let letters: String = (0..len).map(|_| char::from(b'a' + (random.next() % 26) as u8)).collect();
            match rank {
                0..1000 => format!("{letters}{}", char::from(b'a' + (rank % 26) as u8)),
                _ => format!("{letters}{rank:x}"),
            }
        });
        let words = words.collect();
        let sums = (1..=DISTINCT).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self { words, sums: sums.collect() }
    }

    fn word(&self, random: &mut Random) -> &str {
        let at = random.unit() * self.sums.last().copied().unwrap();
        &self.words[self.sums.partition_point(|sum| *sum < at).min(DISTINCT - 1)]
    }
}

fn text(megabytes: usize) -> Vec<StringArray> {
    let mut random = Random(7);
    let zipf = Zipf::new(&mut random);
    let (mut arrays, mut bytes) = (Vec::new(), 0);
    let mut line = String::new();
    while bytes < megabytes << 20 {
        let mut builder = StringBuilder::with_capacity(ARRAY_LINES, ARRAY_LINES * 100);
        for _ in 0..ARRAY_LINES {
            line.clear();
            for _ in 0..WORDS_A_LINE {
                line.push_str(zipf.word(&mut random));
                line.push(' ');
            }
            line.pop();
            bytes += line.len();
            builder.append_value(&line);
        }
        arrays.push(builder.finish());
    }
    arrays
}

/// The time on a processor of all threads of this process: what other processes take does not count.
fn cpu_time() -> Option<Duration> {
    let nanoseconds = std::fs::read_dir("/proc/self/task").ok()?.flatten().filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanoseconds.sum()))
}

#[derive(Default)]
struct Times {
    all: Duration,
    cpu: Duration,
    finish: Duration,
    checkpoint: Duration,
    memory: u64,
}

async fn run(text: &[Batch], options: &[(&str, &str)], mode: OutputMode) -> Times {
    let raw: RawConfig = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let config = WordCount.config_def().parse(&raw, "").unwrap();
    let mut transform = WordCount.create(&config).unwrap();
    let context = BindContext::new("words", mode);
    transform.bind(&text[0].rows.schema(), &context).unwrap();
    transform.open(&TaskContext::new("bench")).await.unwrap();
    let mut times = Times::default();
    let (start, cpu) = (Instant::now(), cpu_time().unwrap_or_default());
    let (mut bytes, mut batch_id) = (0, 0);
    for (number, batch) in text.iter().enumerate() {
        bytes += batch.bytes();
        transform.process(batch.clone()).await.unwrap();
        if bytes >= MICRO_BATCH || number + 1 == text.len() {
            end_batch(transform.as_mut(), batch_id, &mut times).await;
            (bytes, batch_id) = (0, batch_id + 1);
        }
    }
    times.all = start.elapsed();
    times.cpu = cpu_time().unwrap_or_default().saturating_sub(cpu);
    times.memory = transform.stats().unwrap().memory_bytes;
    times
}

async fn end_batch(transform: &mut dyn Transform, batch_id: u64, times: &mut Times) {
    let start = Instant::now();
    let emitted = transform.finish(batch_id).await.unwrap();
    times.finish += start.elapsed();
    assert!(!emitted.batches.is_empty());
    let start = Instant::now();
    assert!(transform.checkpoint(StateKind::Delta).await.unwrap().is_some());
    times.checkpoint += start.elapsed();
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let megabytes = numbers.first().copied().unwrap_or(200);
    let threads = if numbers.len() > 1 { numbers[1..].to_vec() } else { vec![1, 2] };
    let text: Vec<Batch> = text(megabytes)
        .into_iter()
        .map(|array| Batch::new(RecordBatch::try_from_iter([("value", Arc::new(array) as _)]).unwrap()))
        .collect();
    let lines: usize = text.iter().map(Batch::num_rows).sum();
    println!("{megabytes} MB, {lines} lines of {WORDS_A_LINE} words, {DISTINCT} distinct; fastest of three");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (options, mode) in [
        (&[][..], OutputMode::Complete),
        (&[], OutputMode::Update),
        (&[("split", "whitespace")], OutputMode::Complete),
        (&[("lower.case", "true")], OutputMode::Complete),
    ] {
        for threads in &threads {
            let threads = threads.to_string();
            let mut all = options.to_vec();
            all.push(("threads", &threads));
            let runs = (0..3).map(|_| runtime.block_on(run(&text, &all, mode)));
            let best = runs.min_by_key(|times| times.all).unwrap();
            let seconds = best.all.as_secs_f64();
            println!(
                "{mode:8} {all:?}: {:.2} M lines/s, {:.1} ns a word, {:.1} ns on a core (finish {:.0} %, checkpoint {:.0} %), {:.1} MB held",
                lines as f64 / seconds / 1e6,
                seconds * 1e9 / (lines * WORDS_A_LINE) as f64,
                best.cpu.as_secs_f64() * 1e9 / (lines * WORDS_A_LINE) as f64,
                best.finish.as_secs_f64() / seconds * 100.0,
                best.checkpoint.as_secs_f64() / seconds * 100.0,
                best.memory as f64 / 1e6,
            );
        }
    }
}

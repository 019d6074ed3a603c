//! Processor time a row, in memory, on one thread: `cargo bench -p levada-transform-model`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and prints"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float32Array, Float64Array};
use levada_transform_model::{Ask, Model, Scorer, load, parse};

/// The rows of a batch.
const BATCH: usize = 1 << 16;

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// XGBoost's JSON of `trees` trees that have `leaves` leaves each: full ones, or grown at leaves chosen by chance.
fn model(trees: usize, leaves: usize, features: usize, full: bool) -> Model {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    for tree in 0..trees {
        let (mut left, mut right, mut open) = (vec![-1i64], vec![-1i64], vec![0usize]);
        while open.len() < leaves {
            let at = if full { 0 } else { (random.next() % open.len() as u64) as usize };
            let node = open.remove(at);
            left[node] = left.len() as i64;
            right[node] = left.len() as i64 + 1;
            for _ in 0..2 {
                open.push(left.len());
                left.push(-1);
                right.push(-1);
            }
        }
        let join = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>().join(",");
        let at = join(&mut (0..left.len()).map(|_| format!("{:.6}", random.unit())));
        let feature = join(&mut (0..left.len()).map(|_| (random.next() % features as u64).to_string()));
        let zero = join(&mut left.iter().map(|_| "0".to_owned()));
        let (left, right) = (format!("{left:?}"), format!("{right:?}"));
        let comma = if tree == 0 { "" } else { "," };
        write!(
            text,
            "{comma}{{\"left_children\":{left},\"right_children\":{right},\"split_conditions\":[{at}],\
             \"split_indices\":[{feature}],\"default_left\":[{zero}]}}"
        )
        .unwrap();
    }
    let info = vec!["0"; trees].join(",");
    let text = format!(
        "{{\"learner\":{{\"learner_model_param\":{{\"base_score\":\"0\",\"num_class\":\"0\",\"num_feature\":\"{features}\"}},\
         \"objective\":{{\"name\":\"reg:squarederror\"}},\"gradient_booster\":{{\"name\":\"gbtree\",\"model\":\
         {{\"tree_info\":[{info}],\"trees\":[{text}]}}}}}}}}"
    );
    parse(text.as_bytes()).unwrap()
}

/// The processor time of this thread, which other work on the machine does not lengthen; where the system does not tell
/// it, the time since `epoch`.
fn seconds(epoch: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    told.map_or_else(|| epoch.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// The least time that is measured: the system counts processor time in steps of some milliseconds.
const LONG: f64 = 0.25;

/// Scores batches of `columns` again and again; the best nanoseconds a row, and the predictions.
fn measure(scorer: &Scorer, columns: &[ArrayRef], rows: usize, runs: usize) -> (f64, Vec<f64>) {
    let epoch = Instant::now();
    let ask = Ask { threads: 1, ..Ask::default() };
    let mut predictions = Vec::new();
    let mut pass = |keep: bool| {
        for from in (0..rows).step_by(BATCH) {
            let length = BATCH.min(rows - from);
            let batch: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, length)).collect();
            let scored = black_box(scorer.score(black_box(&batch), length, &ask).unwrap());
            if keep {
                predictions.extend(scored.scores.prediction);
            }
        }
    };
    pass(true);
    let start = Instant::now();
    pass(false);
    let passes = (LONG / start.elapsed().as_secs_f64()).ceil().clamp(1.0, 1e6) as usize;
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let start = seconds(epoch);
        (0..passes).for_each(|_| pass(false));
        best = best.min((seconds(epoch) - start) / passes as f64);
    }
    (best / rows as f64 * 1e9, predictions)
}

/// `--score MODEL COLUMNS PREDICTIONS RUNS`: scores a model's file on columns of 32-bit numbers, one behind the other,
/// writes what it predicts, and prints the nanoseconds a row.
fn score_file(arguments: &[String]) {
    let [model, columns, predictions, runs] = arguments else { panic!("--score MODEL COLUMNS PREDICTIONS RUNS") };
    let scorer = Scorer::new(load(Path::new(model)).unwrap());
    let bytes = std::fs::read(columns).unwrap();
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let features = scorer.model().inputs.len();
    let rows = numbers.len() / features;
    let columns: Vec<ArrayRef> =
        numbers.chunks_exact(rows).map(|column| Arc::new(Float32Array::from(column.to_vec())) as ArrayRef).collect();
    let (best, scores) = measure(&scorer, &columns, rows, runs.parse().unwrap());
    std::fs::write(predictions, scores.iter().flat_map(|score| score.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    println!("{best}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "--score") {
        return score_file(&arguments[1..]);
    }
    let cases = [
        ("4 features, depth 3", 1, 8, 4, true, 1_000_000),
        ("20 features, depth 8", 1, 256, 20, true, 1_000_000),
        ("20 features, 100 x depth 6", 100, 64, 20, true, 200_000),
        ("20 features, 500 x 255 leaves", 500, 255, 20, false, 50_000),
    ];
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let name = "irises, Spark's pipeline, doubles";
    if name.contains(&filter) {
        let rows = 1_000_000;
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/model");
        let scorer = Scorer::new(load(&model).unwrap());
        let mut random = Random(42);
        let mut column =
            || Arc::new(Float64Array::from_iter_values((0..rows).map(|_| random.unit() * 8.0))) as ArrayRef;
        let columns: Vec<ArrayRef> = (0..4).map(|_| column()).collect();
        let (best, _) = measure(&scorer, &columns, rows, 8);
        println!("{name:<34} {best:>8.1} ns a row (depth {})", scorer.model().depth());
    }
    for (name, trees, leaves, features, full, rows) in cases {
        if !name.contains(&filter) {
            continue;
        }
        let scorer = Scorer::new(model(trees, leaves, features, full));
        let mut random = Random(42);
        let columns: Vec<ArrayRef> = (0..features)
            .map(|_| Arc::new(Float32Array::from_iter_values((0..rows).map(|_| random.unit() as f32))) as ArrayRef)
            .collect();
        let (best, _) = measure(&scorer, &columns, rows, 8);
        println!("{name:<34} {best:>8.1} ns a row (depth {})", scorer.model().depth());
    }
}

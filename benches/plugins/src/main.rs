//! What plugins in libraries cost: a batch on its way through a table and back, the rate of a pipeline with a transform that
//! does nothing, built in and behind the boundary, and the time to find 50 libraries.
//!
//!     cargo run --release --manifest-path benches/plugins/Cargo.toml

mod crossing;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef, RawConfig};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Plugin, Registry, Result, Transform, TransformPlugin, async_trait,
};
use levada_engine::{Environment, PipelineSpec, start};
use levada_plugin::guest::Exported;
use levada_plugin::host::{ClassInfo, add_to};
use levada_plugin_loader::{Isolation, Options, Scanner, load};

const ROWS: u64 = 4_000_000;
const ROUNDS: usize = 9;
const LIBRARIES: usize = 50;

/// A transform that does nothing, under any name.
struct NoOp(&'static str);

impl Plugin for NoOp {
    fn name(&self) -> &str {
        self.0
    }

    fn version(&self) -> &str {
        "1"
    }

    fn doc(&self) -> &str {
        "Passes rows on"
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
    }
}

impl TransformPlugin for NoOp {
    fn create(&self, _: &Config) -> Result<Box<dyn Transform>> {
        Ok(Box::new(NoOp(self.0)))
    }
}

#[async_trait]
impl Transform for NoOp {
    fn bind(&mut self, input: &SchemaRef, _: &BindContext) -> Result<Bound> {
        Ok(Bound::stateless(input.clone()))
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        Ok(Emitted::one(batch))
    }
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: f64 = [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / 100.0
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The C example as a library, its class under another name.
fn library(folder: &Path, class: &str) {
    let code = std::fs::read_to_string(repository().join("examples/c-plugin/pass.c")).expect("the example");
    let file = folder.join(format!("{class}.c"));
    std::fs::write(&file, code.replace("\"PassC\"", &format!("\"{class}\""))).expect("a file");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-std=c11", "-shared", "-fPIC", "-I"]).arg(repository().join("plugin/include"));
    let status = cc.arg("-o").arg(folder.join(format!("lib{class}.so"))).arg(&file).status().expect("a C compiler");
    assert!(status.success());
}

fn options(folder: &Path, cache: bool) -> Options {
    Options {
        paths: vec![folder.to_owned()],
        isolation: Isolation::None,
        cache: cache.then(|| folder.join("cache.json")),
        scanner: Scanner::new(std::env::current_exe().expect("a program"), &["plugin-child"]),
    }
}

/// Runs a pipeline with a transform: its seconds, and its CPU seconds.
fn run(runtime: &tokio::runtime::Runtime, registry: &Registry, transform: &str) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let (rows, pairs) = (ROWS.to_string(), [("name", "bench"), ("trigger", "available-now"), ("transforms", "t")]);
    let source = [("source.class", "Datagen"), ("source.kind", "orders"), ("source.rows", rows.as_str())];
    let rest = [("transforms.t.type", transform), ("sink.class", "Null")];
    let all = pairs.iter().chain(&source).chain(&rest).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let spec = PipelineSpec::parse(&all.collect::<RawConfig>(), registry).expect("a pipeline");
    let (clock, before) = (Instant::now(), cpu());
    let environment = Environment::new(folder.path().to_str().expect("UTF-8"));
    runtime.block_on(async { start(spec, environment).join().await }).expect("no error");
    (clock.elapsed().as_secs_f64(), cpu() - before)
}

/// The transform that does nothing: built in, by way of its table, and in C in a library.
const WAYS: [(&str, &str); 3] =
    [("BuiltIn", "built in"), ("Table", "Rust, through its table"), ("PassC", "C, in a library")];

fn registry(folder: &Path) -> Registry {
    library(folder, "PassC");
    let mut registry = Registry::new();
    levada_connector_basic::register(&mut registry).expect("new names");
    registry.add_transform(NoOp("BuiltIn")).expect("a new name");
    let class = levada_plugin::through_table(Exported::shared_transform(Arc::new(NoOp("Table")))).expect("a table");
    add_to(&mut registry, ClassInfo::ask(&class).expect("a class"), Box::new(class)).expect("a new name");
    let problems = load(&mut registry, &options(folder, false)).problems;
    assert!(problems.is_empty(), "{problems:?}");
    registry
}

fn rates(registry: &Registry) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let mut best = [(f64::MAX, f64::MAX); 3];
    for _ in 0..ROUNDS {
        for (best, (way, _)) in best.iter_mut().zip(WAYS) {
            let (seconds, cpu) = run(&runtime, registry, way);
            *best = (best.0.min(seconds), best.1.min(cpu));
        }
    }
    for ((seconds, cpu), (_, what)) in best.into_iter().zip(WAYS) {
        println!(
            "no-op transform, {what:<24} {:>5.2} M rows/s ({:.1} %), {cpu:.2} CPU s",
            ROWS as f64 / seconds / 1e6,
            100.0 * best[0].0 / seconds
        );
    }
}

fn finding() {
    let folder = tempfile::tempdir().expect("a folder");
    (0..LIBRARIES).for_each(|i| library(folder.path(), &format!("Pass{i}")));
    let found = |what: &str| {
        let clock = Instant::now();
        let mut registry = Registry::new();
        let report = load(&mut registry, &options(folder.path(), true));
        assert_eq!((report.libraries.len(), report.problems.len()), (LIBRARIES, 0));
        println!("{LIBRARIES} libraries, {what:<6} {:>6.1} ms", clock.elapsed().as_secs_f64() * 1e3);
    };
    found("cold");
    found("cached");
    found("cached");
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("plugin-child") {
        return levada_plugin_loader::child(std::env::args_os().skip(2));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(folder.path());
    finding();
    WAYS.iter().for_each(|(class, _)| crossing::measure(&registry, class));
    rates(&registry);
    ExitCode::SUCCESS
}

//! Libraries that are built here, by cargo and by cc, and loaded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use levada_connector_api::testkit::{canonical_rows, source_conformance, transform_conformance};
use levada_connector_api::{Batch, BindContext, OutputMode, PollLimit, Registry, TaskContext};
use levada_plugin_loader::{Isolation, LoadReport, Options, Scanner, load};
use levada_services::libraries::{self, built, compile, copy_to, root};

/// The library of the Rust example.
fn hello() -> PathBuf {
    libraries::example("hello-source")
}

/// The library of the C example.
fn pass() -> PathBuf {
    libraries::c_example("pass")
}

struct Site(tempfile::TempDir);

impl Site {
    fn new(libraries: &[PathBuf]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        copy_to(&site.path("plugins"), libraries);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, isolation: Isolation) -> (Registry, LoadReport) {
        let mut registry = Registry::new();
        let options = Options {
            paths: vec![self.path("plugins")],
            isolation,
            cache: Some(self.path("cache/plugins.json")),
            scanner: Scanner::new(env!("CARGO_BIN_EXE_levada-plugin-child"), &[]),
        };
        let report = load(&mut registry, &options);
        (registry, report)
    }
}

#[tokio::test]
async fn a_library_of_rust_keeps_the_contract() {
    let site = Site::new(&[hello()]);
    let (registry, report) = site.load(Isolation::None);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let plugin = registry.source("Hello").unwrap();
    let config = plugin.config_def().parse(&BTreeMap::new(), "source.").unwrap();
    source_conformance(&|| plugin.create(&config).unwrap(), plugin.capabilities(&config)).await;
}

#[tokio::test]
async fn libraries_of_c_keep_the_contracts() {
    let site = Site::new(&[libraries::c_example("count"), pass()]);
    let (registry, report) = site.load(Isolation::None);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    c_conforms(&registry).await;
    let plugin = registry.source("CountC").unwrap();
    let wrong = BTreeMap::from([("count".to_owned(), "-3".to_owned())]);
    let error = plugin.create(&plugin.config_def().parse(&wrong, "").unwrap()).err().unwrap();
    assert!(error.to_string().contains("count must be 0 or more"), "{error}");
}

/// What was built when the interface was made, with the header of then, is loaded by the host of today.
#[tokio::test]
async fn frozen_libraries_keep_the_contracts() {
    let folder = root().join("runtime/plugins/tests/frozen/v1.0");
    let frozen = ["count", "pass"].map(|name| {
        let library = built().join(format!("libfrozen_{name}.so"));
        // The header beside the code is found first.
        compile(&folder.join(format!("{name}.c")), &library);
        library
    });
    let site = Site::new(&frozen);
    for isolation in [Isolation::None, Isolation::Process] {
        let (registry, report) = site.load(isolation);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        c_conforms(&registry).await;
    }
}

async fn c_conforms(registry: &Registry) {
    let plugin = registry.source("CountC").unwrap();
    for count in ["0", "1", "60"] {
        let raw = BTreeMap::from([("count".to_owned(), count.to_owned())]);
        let config = plugin.config_def().parse(&raw, "source.").unwrap();
        source_conformance(&|| plugin.create(&config).unwrap(), plugin.capabilities(&config)).await;
    }
    let plugin = registry.transform("PassC").unwrap();
    let config = plugin.config_def().parse(&BTreeMap::new(), "").unwrap();
    let column = |from: i64| Arc::new(Int64Array::from_iter_values(from..from + 30)) as ArrayRef;
    let input: Vec<_> = (0..3).map(|i| RecordBatch::try_from_iter([("n", column(i * 100))]).unwrap()).collect();
    let context = BindContext::new("t", OutputMode::Append);
    transform_conformance(&|| plugin.create(&config).unwrap(), &context, &input).await;
}

#[tokio::test]
async fn rows_go_from_rust_through_c_also_in_processes() {
    let site = Site::new(&[hello(), pass()]);
    for isolation in [Isolation::None, Isolation::Process] {
        let (registry, report) = site.load(isolation);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let plugin = registry.source("Hello").unwrap();
        let raw = BTreeMap::from([("count".to_owned(), "3".to_owned()), ("name".to_owned(), "you".to_owned())]);
        let mut source = plugin.create(&plugin.config_def().parse(&raw, "").unwrap()).unwrap();
        let transforms = registry.transform("PassC").unwrap();
        let mut transform = transforms.create(&transforms.config_def().parse(&BTreeMap::new(), "").unwrap()).unwrap();
        let (schema, context) = (source.schema().await.unwrap(), TaskContext::new("p"));
        let bound = transform.bind(&schema, &BindContext::new("t", OutputMode::Append)).unwrap();
        assert_eq!(bound.schema, schema);
        transform.open(&context).await.unwrap();
        source.open(&context, &Default::default()).await.unwrap();
        let polled = source.poll(&PollLimit::unlimited(0)).await.unwrap();
        assert_eq!(polled.num_rows(), 3);
        for batch in polled.batches {
            let place = batch.origin.of(2);
            let emitted = transform.process(Batch::clone(&batch)).await.unwrap();
            assert_eq!(canonical_rows(&emitted.batches[0].rows), canonical_rows(&batch.rows));
            assert_eq!((emitted.batches[0].origin.of(2), place.as_str()), (place.clone(), "greetings, greeting 2"));
        }
        assert!(transform.finish(0).await.unwrap().batches.is_empty());
        source.close().await.unwrap();
    }
}

#[test]
fn scans_are_kept_until_the_library_changes() {
    let site = Site::new(&[pass()]);
    assert_eq!(site.load(Isolation::None).1.libraries.len(), 1);
    let kept = fs::read_to_string(site.path("cache/plugins.json")).unwrap();
    // What is kept is what is used.
    fs::write(site.path("cache/plugins.json"), kept.replace("Passes rows on", "From the cache")).unwrap();
    let (registry, _) = site.load(Isolation::None);
    assert_eq!(registry.transform("PassC").unwrap().doc(), "From the cache");
    let mut file = fs::OpenOptions::new().append(true).open(site.path("plugins/libpass.so")).unwrap();
    file.write_all(b"changed").unwrap();
    drop(file);
    let (registry, _) = site.load(Isolation::None);
    assert_eq!(registry.transform("PassC").unwrap().doc(), "Passes rows on");
    // A damaged cache is only a cache.
    fs::write(site.path("cache/plugins.json"), "{").unwrap();
    assert_eq!(site.load(Isolation::None).1.libraries.len(), 1);
}

#[test]
fn bad_libraries_are_told_and_the_others_are_used() {
    let site = Site::new(&[pass()]);
    let library = fs::read(pass()).unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(site.path("plugins").join(name), bytes).unwrap();
    file("libtext.so", b"not a library");
    file("libcut.so", &library[..library.len() / 2]);
    let mut other = library.clone();
    other[18..20].copy_from_slice(&243u16.to_le_bytes());
    file("libother.so", &other);
    file("libtwice.so", &library);
    let code = site.path("code.c");
    for (name, text) in [
        ("none", "extern int nothing; int nothing;"),
        ("newer", "int levada_plugin_entry_v2(void); int levada_plugin_entry_v2(void) { return 0; }"),
        ("dies", "#include <stdlib.h>\n__attribute__((constructor)) static void die(void) { abort(); }"),
        ("exits", "#include <stdlib.h>\n__attribute__((constructor)) static void end(void) { exit(0); }"),
        ("misses", "int gone(void); int levada_plugin_entry_v1(void) { return gone(); }"),
        ("fails", "int levada_plugin_entry_v1(void *a, void *b) { return a && b ? 2 : 3; }"),
    ] {
        fs::write(&code, text).unwrap();
        compile(&code, &site.path("plugins").join(format!("lib{name}.so")));
    }
    let (registry, report) = site.load(Isolation::None);
    let said: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    for (name, part) in [
        ("libtext.so", "no shared library"),
        ("libcut.so", "cut off"),
        ("libother.so", "RISC-V"),
        ("libtwice.so", "are called 'passc'"),
        ("libnone.so", "levada_plugin_entry_v1"),
        ("libnewer.so", "version 2"),
        ("libdies.so", "ended the process"),
        ("libexits.so", "ended the process"),
        ("libmisses.so", "gone"),
        ("libfails.so", "failed with code 2"),
    ] {
        let told = said.iter().any(|line| line.contains(name) && line.contains(part));
        assert!(told, "nobody says '{part}' of {name}:\n{}", said.join("\n"));
    }
    assert_eq!(said.len(), 10, "{}", said.join("\n"));
    assert!(registry.transform("PassC").is_ok());
}

//! A library that misbehaves in every way there is: errors name plugin, class and operation, and others go on.

use std::sync::Once;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{Batch, BindContext, ErrorKind, OutputMode, Registry, Result, Transform};
use levada_plugin::host::{Settings, metrics, settings};
use levada_plugin_loader::Isolation;
use levada_services::libraries::{built, compile, root};

use super::Site;

/// The host waits this long for an operation, and then as long for its cancel.
const OPERATION: Duration = Duration::from_secs(3);

fn site() -> Site {
    static BUILT: Once = Once::new();
    let library = built().join("libfault.so");
    BUILT.call_once(|| {
        compile(&root().join("runtime/plugins/tests/libraries/fault.c"), &library);
        settings(Settings { operation: OPERATION, cancel: Duration::from_secs(1), validate: true });
    });
    Site::new(&[library])
}

fn rows() -> RecordBatch {
    let texts = StringArray::from_iter_values((0..50).map(|i| format!("row {i}")));
    let columns = [("n", std::sync::Arc::new(Int64Array::from_iter_values(0..50)) as ArrayRef)];
    let all = columns.into_iter().chain([("text", std::sync::Arc::new(texts) as ArrayRef)]);
    RecordBatch::try_from_iter(all).unwrap()
}

fn made(registry: &Registry, fault: &str) -> Result<Box<dyn Transform>> {
    let plugin = registry.transform("Fault")?;
    let raw = RawConfig::from([("fault".to_owned(), fault.to_owned())]);
    let mut transform = plugin.create(&plugin.config_def().parse(&raw, "").unwrap())?;
    transform.bind(&rows().schema(), &BindContext::new("t", OutputMode::Append))?;
    Ok(transform)
}

/// The error of a fault, wherever it shows.
async fn error(registry: &Registry, fault: &str) -> String {
    let processed = match made(registry, fault) {
        Ok(mut transform) => transform.process(Batch::new(rows())).await.map(drop),
        Err(error) => Err(error),
    };
    processed.expect_err(fault).to_string()
}

async fn works(registry: &Registry, fault: &str) {
    let emitted = made(registry, fault).unwrap().process(Batch::new(rows())).await;
    emitted.unwrap_or_else(|error| panic!("{fault}: {error}"));
}

/// How it misbehaves, in which operation that shows, and what the error says.
const FAULTS: [(&str, &str, &str); 24] = [
    ("create", "create", "it does not want to"),
    ("no handle", "create", "it gave no handle"),
    ("no schema", "bind", "it told no schema"),
    ("refuses", "process", "the operation was refused"),
    ("null outcome", "process", "a null pointer"),
    ("small outcome", "process", "failed with code 4"),
    ("null batches", "process", "1 batches came as a null pointer"),
    ("many batches", "process", "batches came at once"),
    ("wrong schema id", "process", "schema 7 was never sent"),
    ("large schema id", "process", "schema id 4000000000 is above 63"),
    ("fewer columns", "process", "1 columns instead of 2"),
    ("fewer buffers", "process", "1 buffers instead of 2"),
    ("no buffers", "process", "column 'n' has no buffer 1"),
    ("no buffer list", "process", "does not keep to the Arrow C Data Interface"),
    ("no children", "process", "does not keep to the Arrow C Data Interface"),
    ("null child", "process", "does not keep to the Arrow C Data Interface"),
    ("huge", "process", "1125899906842624 rows"),
    ("negative", "process", "-5 rows"),
    ("offset", "process", "rows from 4611686018427387904"),
    ("longer than its columns", "process", "does not fit its schema"),
    ("released child", "process", "is already released"),
    ("payload", "process", "not what the interface says"),
    ("code", "process", "an odd code"),
    ("never", "process", "under quarantine"),
];

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_errors_and_others_go_on() {
    let site = site();
    for isolation in [Isolation::None, Isolation::Process] {
        let (registry, report) = site.load(isolation);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        for (fault, op, part) in FAULTS {
            let said = error(&registry, fault).await;
            for part in ["'Fault'", op, part] {
                assert!(said.contains(part), "{isolation:?}, {fault}: '{said}' lacks '{part}'");
            }
        }
        for fault in ["none", "twice", "late", "meta", "ends by cancel", "none"] {
            works(&registry, fault).await;
        }
    }
    let counted = |name: &str| metrics().iter().filter(|((n, _), _)| n == name).map(|(_, value)| value).sum::<f64>();
    assert!(counted("levada_plugin_late_answers") >= 2.0, "{:?}", metrics());
    assert!(counted("levada_plugin_quarantined") >= 2.0, "{:?}", metrics());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_under_quarantine_is_not_called_again() {
    let site = site();
    let (registry, _) = site.load(Isolation::None);
    let mut transform = made(&registry, "never").unwrap();
    assert!(transform.process(Batch::new(rows())).await.is_err());
    let error = transform.process(Batch::new(rows())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    // Its end is the host's alone: the plugin may still be at work on it.
    drop(transform);
    works(&registry, "none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_process_ends_only_its_task() {
    let site = site();
    let (registry, _) = site.load(Isolation::Process);
    let mut other = made(&registry, "none").unwrap();
    for (fault, how) in [("exit", "exit status: 3"), ("segfault", "signal: 11"), ("abort", "signal: 6")] {
        let said = error(&registry, fault).await;
        for part in ["libfault.so", "'Fault'", "process", "the plugin's process has ended", how] {
            assert!(said.contains(part), "{fault}: '{said}' lacks '{part}'");
        }
        let emitted = other.process(Batch::new(rows())).await.unwrap();
        assert_eq!(emitted.batches[0].rows, rows());
    }
    drop(made(&registry, "destroy").unwrap());
    works(&registry, "none").await;
}

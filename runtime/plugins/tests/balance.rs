//! Whatever a library does with what it is given, and the host with what it gets: in the end everything is released, once.
//! A process of its own, so that nobody else's buffers are counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#![allow(unsafe_code, reason = "the library's own count is read")]

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch};
use levada_connector_api::config::RawConfig;
use levada_connector_api::testkit::{source_conformance, transform_conformance};
use levada_connector_api::{Batch, BindContext, OutputMode, Registry};
use levada_plugin_loader::{Isolation, Options, Scanner, load};
use levada_services::libraries::{built, c_example, compile, root};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_released() {
    let fault = built().join("libbalance.so");
    compile(&root().join("runtime/plugins/tests/libraries/fault.c"), &fault);
    let mut registry = Registry::new();
    let options = Options {
        paths: vec![fault.clone(), c_example("pass"), c_example("count")],
        isolation: Isolation::None,
        cache: None,
        scanner: Scanner::new(env!("CARGO_BIN_EXE_levada-plugin-child"), &[]),
    };
    assert!(load(&mut registry, &options).problems.is_empty());

    let numbers = Arc::new(Int64Array::from_iter_values(0..100)) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let context = BindContext::new("t", OutputMode::Append);
    let faulty = registry.transform("Fault").unwrap();
    // Those after which the library's memory is as it was: a batch whose release was taken away cannot be released.
    let faults = [
        "none",
        "create",
        "no schema",
        "refuses",
        "null outcome",
        "small outcome",
        "null batches",
        "many batches",
        "wrong schema id",
        "large schema id",
        "fewer columns",
        "fewer buffers",
        "no buffers",
        "huge",
        "negative",
        "offset",
        "longer than its columns",
        "payload",
        "code",
        "meta",
        "twice",
    ];
    for fault in faults.iter().cycle().take(5 * faults.len()) {
        let raw = RawConfig::from([("fault".to_owned(), (*fault).to_owned())]);
        let Ok(mut transform) = faulty.create(&faulty.config_def().parse(&raw, "").unwrap()) else { continue };
        if transform.bind(&rows.schema(), &context).is_ok() {
            let _ = transform.process(Batch::new(rows.clone())).await;
            let _ = transform.process(Batch::new(rows.slice(10, 50))).await;
        }
    }
    let pass = registry.transform("PassC").unwrap();
    let config = pass.config_def().parse(&RawConfig::new(), "").unwrap();
    transform_conformance(&|| pass.create(&config).unwrap(), &context, &[rows.clone(), rows.slice(3, 9)]).await;
    let count = registry.source("CountC").unwrap();
    let config = count.config_def().parse(&RawConfig::new(), "").unwrap();
    source_conformance(&|| count.create(&config).unwrap(), count.capabilities(&config)).await;

    // SAFETY: the library is loaded already; its function has no parameters.
    let live = unsafe {
        let library = Library::open(Some(&fault), RTLD_NOW | RTLD_LOCAL).unwrap();
        let live = library.get::<unsafe extern "C" fn() -> i32>(b"fault_live_buffers").unwrap();
        live()
    };
    assert_eq!(live, 0, "buffers that the library gave are not released, or twice");
    assert_eq!(levada_plugin::live_buffers(), 0, "buffers that the host gave are not released, or twice");
    let data = rows.column(0).to_data();
    // The column's own, and the one that is looked at.
    assert_eq!(data.buffers()[0].strong_count(), 2, "rows that the host gave are still held");
}

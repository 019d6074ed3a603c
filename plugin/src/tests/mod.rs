//! Both sides in one process: everything goes through the tables, nothing through a library.

mod broken;
mod conformance;
mod layout;
mod shapes;
mod stress_ffi;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_connector_api::Registry;
use levada_connector_api::config::Config;

use crate::guest::{Exported, export};
use crate::host::{ClassInfo, DirectClass, Link, add_to, host_table};

/// A class by way of its table.
#[allow(unsafe_code, reason = "a table of this process is read")]
fn through_table(exported: Exported) -> Arc<DirectClass> {
    // The guest side of this process has the host of this process.
    static HOST: std::sync::Once = std::sync::Once::new();
    HOST.call_once(|| {
        let mut library = crate::abi::Library {
            struct_size: size_of::<crate::abi::Library>() as u32,
            abi_minor: 0,
            build_info: crate::abi::Str::of(b""),
            classes: std::ptr::null(),
            n_classes: 0,
        };
        // SAFETY: two tables of this process.
        let code = unsafe { crate::guest::enter(host_table(), &raw mut library, "loopback 1", Vec::new) };
        assert_eq!(code, 0);
    });
    // SAFETY: `export` makes tables that live for ever.
    Arc::new(unsafe { DirectClass::of(export(exported), "loopback 1") }.unwrap())
}

/// A registry with one class by way of its table.
fn registry(exported: Exported) -> Registry {
    let class = through_table(exported);
    let mut registry = Registry::new();
    let info = ClassInfo::ask(&class).unwrap();
    add_to(&mut registry, info, Box::new(class) as Box<dyn Link>).unwrap();
    registry
}

fn config(plugin: &dyn levada_connector_api::Plugin) -> Config {
    plugin.config_def().parse(&std::collections::BTreeMap::new(), "").unwrap()
}

/// Rows `first..end`, each with a number and a name.
fn rows(first: i64, end: i64) -> RecordBatch {
    let names = StringArray::from_iter((first..end).map(|i| (i % 3 != 0).then(|| format!("row {i}"))));
    let numbers = Int64Array::from_iter_values(first..end);
    let columns = [("n", Arc::new(numbers) as ArrayRef, false), ("name", Arc::new(names), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

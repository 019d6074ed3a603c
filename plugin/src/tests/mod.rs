//! Both sides in one process: everything goes through the tables, nothing through a library.

mod broken;
mod conformance;
mod layout;
mod panics;
mod shapes;
mod stress_ffi;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_connector_api::Registry;
use levada_connector_api::config::Config;

use crate::guest::Exported;
use crate::host::{ClassInfo, Link, add_to};

/// A registry with one class by way of its table.
fn registry(exported: Exported) -> Registry {
    let class = crate::through_table(exported).unwrap();
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

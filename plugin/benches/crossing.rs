//! What a batch costs on its way through a transform's table and back:
//!
//!     cargo bench -p levada-plugin
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, which stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, OutputMode, Plugin, Registry, Result, Transform, TransformPlugin, async_trait,
};
use levada_plugin::guest::{Exported, export};
use levada_plugin::host::{ClassInfo, DirectClass, add_to, wait};

struct NoOp;

impl Plugin for NoOp {
    fn name(&self) -> &str {
        "NoOp"
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
        Ok(Box::new(Self))
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

/// Half nullable numbers, half text.
fn rows(rows: i64, columns: usize) -> RecordBatch {
    let column = |i: usize| -> ArrayRef {
        match i % 2 {
            0 => Arc::new(Int64Array::from_iter((0..rows).map(|n| (n % 7 != 0).then_some(n)))),
            _ => Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("text {n}")))),
        }
    };
    RecordBatch::try_from_iter((0..columns).map(|i| (format!("c{i}"), column(i)))).unwrap()
}

#[allow(unsafe_code, reason = "a table of this process is read")]
fn main() {
    // SAFETY: `export` makes tables that live for ever.
    let class = Arc::new(unsafe { DirectClass::of(export(Exported::transform(NoOp)), "bench") }.unwrap());
    let mut registry = Registry::new();
    add_to(&mut registry, ClassInfo::ask(&class).unwrap(), Box::new(class)).unwrap();
    let plugin = registry.transform("NoOp").unwrap();
    let config = plugin.config_def().parse(&BTreeMap::new(), "").unwrap();
    for (n, columns) in [(1_000, 10), (10_000, 10), (10_000, 50)] {
        let rows = rows(n, columns);
        let mut transform = plugin.create(&config).unwrap();
        transform.bind(&rows.schema(), &BindContext::new("t", OutputMode::Append)).unwrap();
        let mut best = f64::MAX;
        for _ in 0..20 {
            let before = Instant::now();
            for _ in 0..500 {
                let emitted = wait(transform.process(Batch::new(rows.clone()))).unwrap();
                assert_eq!(emitted.batches.len(), 1);
            }
            best = best.min(before.elapsed().as_secs_f64() * 1e6 / 500.0);
        }
        println!("{n:>6} rows x {columns:>2} columns: {best:.1} us there and back");
    }
}

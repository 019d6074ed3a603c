//! Plugins for the tests.

use levada_connector_api::config::{Config, ConfigDef};
use levada_connector_api::testkit::{MemorySink, MemorySource, MemoryStore};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin,
    Source, SourceCapabilities, SourcePlugin, StateImage, StateKind, StateSection, Transform, TransformPlugin,
    async_trait,
};

use arrow::datatypes::SchemaRef;

use super::rows;

macro_rules! plugin {
    ($type:ty, $name:literal) => {
        impl Plugin for $type {
            fn name(&self) -> &str {
                $name
            }

            fn aliases(&self) -> &[&str] {
                &[concat!("com.example.", $name)]
            }

            fn version(&self) -> &str {
                "1.2.3"
            }

            fn doc(&self) -> &str {
                "For the tests."
            }

            fn config_def(&self) -> ConfigDef {
                Settings::definition()
            }
        }
    };
}

crate::plugin_config! {
    /// What the plugins of the tests can be told.
    pub(super) struct Settings {
        /// How it misbehaves.
        pub(super) fault: String = "none",
        /// Nothing.
        pub(super) max_rows: Option<i64>,
    }
}

pub(super) struct Memory;

plugin!(Memory, "Memory");

impl SourcePlugin for Memory {
    fn capabilities(&self, _: &Config) -> SourceCapabilities {
        MemorySource::CAPABILITIES
    }

    fn create(&self, _: &Config) -> Result<Box<dyn Source>> {
        let batches = vec![rows(0, 40), rows(40, 40), rows(40, 41), rows(41, 100)];
        Ok(Box::new(MemorySource::new(batches)))
    }
}

pub(super) struct Keep(pub(super) MemoryStore);

plugin!(Keep, "Keep");

impl SinkPlugin for Keep {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities { guarantee: Guarantee::Transactional, modes: &[OutputMode::Append, OutputMode::Complete] }
    }

    fn create(&self, _: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MemorySink::new(self.0.clone())))
    }
}

/// Passes rows on, counts them as its state, and misbehaves when told.
pub(super) struct Pass;

plugin!(Pass, "Pass");

impl TransformPlugin for Pass {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let Settings { fault, max_rows } = Settings::read(config);
        assert_eq!(max_rows, None);
        assert!(fault != "create", "panics in create");
        Ok(Box::new(Passing { fault, count: 0 }))
    }
}

struct Passing {
    fault: String,
    count: i64,
}

impl Drop for Passing {
    fn drop(&mut self) {
        if self.fault == "drop" {
            panic!("panics in drop");
        }
    }
}

#[async_trait]
impl Transform for Passing {
    fn bind(&mut self, input: &SchemaRef, _: &BindContext) -> Result<Bound> {
        assert!(self.fault != "bind", "panics in bind");
        Ok(Bound { stateful: true, ..Bound::stateless(input.clone()) })
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        match self.fault.as_str() {
            "process" => panic!("panics in process"),
            "later" => {
                tokio::task::yield_now().await;
                panic!("panics later")
            }
            "never" => std::future::pending::<()>().await,
            "sleep" => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            _ => {}
        }
        self.count += batch.num_rows() as i64;
        let rejected = batch.bad_row(0, "Pass", "it is the first");
        Ok(Emitted { batches: vec![batch], rejected: vec![rejected] })
    }

    async fn checkpoint(&mut self, _: StateKind) -> Result<Option<StateImage>> {
        let sections = vec![StateSection { partition: 3, batches: vec![rows(0, self.count)] }];
        Ok(Some(StateImage { kind: StateKind::Snapshot, fingerprint: "pass/1".to_owned(), sections }))
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        self.count = image.sections.iter().flat_map(|s| &s.batches).map(|b| b.num_rows() as i64).sum();
        Ok(())
    }
}

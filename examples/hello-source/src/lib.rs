//! A source in a library: it greets, as often as it is told.

use std::sync::Arc;

use levada_plugin::api::config::{Config, ConfigDef};
use levada_plugin::api::{
    Batch, Offset, OffsetRange, OffsetRanges, Offsets, Origin, Partition, Plugin, PollLimit, PollStatus, Polled,
    Result, Source, SourceCapabilities, SourcePlugin, TaskContext, async_trait,
};
use levada_plugin::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_plugin::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

levada_plugin::plugin_config! {
    /// What it greets.
    struct Settings {
        /// Who is greeted.
        name: String = "world",
        /// How often.
        count: i64 = 100,
    }
}

/// The class.
pub struct Hello;

impl Plugin for Hello {
    fn name(&self) -> &str {
        "Hello"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Greets, as often as it is told"
    }

    fn config_def(&self) -> ConfigDef {
        Settings::definition()
    }
}

impl SourcePlugin for Hello {
    fn capabilities(&self, _: &Config) -> SourceCapabilities {
        SourceCapabilities { replayable: true, bounded: true }
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        let Settings { name, count } = Settings::read(config);
        let count = u64::try_from(count).unwrap_or(0);
        Ok(Box::new(HelloSource { text: format!("Good day, {name}!"), count, at: 0 }))
    }
}

struct HelloSource {
    text: String,
    count: u64,
    /// The number of the next greeting.
    at: u64,
}

fn partition() -> Partition {
    Partition::named("greetings", "all")
}

#[async_trait]
impl Source for HelloSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        let n = Field::new("n", DataType::Int64, false);
        Ok(Arc::new(Schema::new(vec![n, Field::new("text", DataType::Utf8, false)])))
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        self.at = from.get(&partition()).and_then(Offset::number).unwrap_or(0);
        tracing::info!(pipeline = context.pipeline, at = self.at, "greeting");
        Ok(())
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        let end = match &limit.until {
            None => self.count,
            Some(until) => until.get(&partition()).and_then(Offset::number).unwrap_or(self.at),
        };
        let size = self.text.len().max(1);
        let most = limit.rows.min((limit.bytes / size).max(1)).min(1000) as u64;
        let to = end.min(self.at + most).max(self.at);
        let status = if to >= end { PollStatus::End } else { PollStatus::More };
        if to == self.at {
            return Ok(Polled::nothing(status));
        }
        let numbers = Int64Array::from_iter_values((self.at..to).map(|n| n as i64));
        let texts = StringArray::from_iter_values((self.at..to).map(|_| &self.text));
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
        let rows = RecordBatch::try_new(self.schema().await?, columns)?;
        let mut ranges = OffsetRanges::default();
        // A range without a start begins where the configuration says.
        let start = (self.at > 0).then(|| Offset::at(self.at));
        ranges.push(partition(), OffsetRange::new(start, Offset::at(to))?)?;
        let bytes = size * rows.num_rows();
        let batch = Batch::with_origin(rows, Origin::exact("greetings", "greeting", self.at));
        self.at = to;
        Ok(Polled { batches: vec![batch], rejected: Vec::new(), ranges, bytes, status })
    }

    async fn latest(&mut self) -> Result<Offsets> {
        let mut offsets = Offsets::new();
        if self.count > 0 {
            offsets.set(partition(), Offset::at(self.count));
        }
        Ok(offsets)
    }
}

levada_plugin::export! { source(Hello) }

#[cfg(test)]
mod tests {
    use levada_plugin::api::testkit::source_conformance;

    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let config = Hello.config_def().parse(&std::collections::BTreeMap::new(), "").unwrap();
        source_conformance(&|| Hello.create(&config).unwrap(), Hello.capabilities(&config)).await;
    }
}

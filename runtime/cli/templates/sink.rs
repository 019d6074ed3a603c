//! A sink in a library: it writes each micro-batch into a file of JSON lines.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use levada_plugin::api::config::{Config, ConfigDef};
use levada_plugin::api::{
    Batch, Commit, Error, Guarantee, OutputMode, Plugin, Result, Sink, SinkCapabilities, SinkPlugin, TaskContext,
    async_trait,
};
use levada_plugin::arrow::array::RecordBatch;
use levada_plugin::arrow::datatypes::SchemaRef;
use levada_plugin::arrow::json::LineDelimitedWriter;

levada_plugin::plugin_config! {
    /// Where rows go.
    struct Settings {
        /// The folder of the files. It is made if it is missing.
        path: String,
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
        "Writes each micro-batch into a file of JSON lines"
    }

    fn config_def(&self) -> ConfigDef {
        Settings::definition()
    }
}

impl SinkPlugin for Hello {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        // A file's name depends on the micro-batch alone: one that is written again replaces itself.
        SinkCapabilities { guarantee: Guarantee::Idempotent, modes: &[OutputMode::Append] }
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        let Settings { path } = Settings::read(config);
        Ok(Box::new(HelloSink { folder: path.into(), staged: Vec::new() }))
    }
}

struct HelloSink {
    folder: PathBuf,
    /// What was written and is not committed yet.
    staged: Vec<RecordBatch>,
}

impl HelloSink {
    fn write_file(&self, batch_id: u64) -> Result<()> {
        let path = self.folder.join(format!("{batch_id:010}.jsonl"));
        let failed = |e| Error::io(path.display(), e);
        let mut lines = LineDelimitedWriter::new(Vec::new());
        self.staged.iter().try_for_each(|rows| lines.write(rows))?;
        lines.finish()?;
        // Nobody may see half a file, and a file that is there must survive a power cut.
        let new = path.with_extension("new");
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(&lines.into_inner()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

#[async_trait]
impl Sink for HelloSink {
    async fn open(&mut self, _: &TaskContext, _: SchemaRef, _: OutputMode) -> Result<Option<Commit>> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io(self.folder.display(), e))?;
        // Only a transactional sink knows what it has committed.
        Ok(None)
    }

    async fn write(&mut self, _batch_id: u64, batch: Batch) -> Result<()> {
        self.staged.push(batch.rows);
        Ok(())
    }

    async fn commit(&mut self, commit: &Commit) -> Result<()> {
        if self.staged.iter().any(|rows| rows.num_rows() > 0) {
            self.write_file(commit.batch_id)?;
        }
        self.staged.clear();
        Ok(())
    }

    async fn abort(&mut self, _batch_id: u64) -> Result<()> {
        self.staged.clear();
        Ok(())
    }
}

levada_plugin::export! { sink(Hello) }

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::sync::Arc;

    use levada_plugin::api::testkit::{SinkTarget, canonical_rows, sink_conformance};
    use levada_plugin::arrow::array::{ArrayRef, Int64Array, StringArray};
    use levada_plugin::arrow::json::ReaderBuilder;

    use super::*;

    /// A folder, and how the kit looks at it.
    struct Target(tempfile::TempDir);

    #[async_trait]
    impl SinkTarget for Target {
        fn make(&self) -> Box<dyn Sink> {
            let options = [("path".to_owned(), self.0.path().display().to_string())].into();
            Hello.create(&Hello.config_def().parse(&options, "").unwrap()).unwrap()
        }

        async fn visible(&self) -> Vec<String> {
            let paths = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
            let files = paths.filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
            let rows = |path: PathBuf| {
                let reader = ReaderBuilder::new(self.schema()).build(BufReader::new(File::open(path).unwrap()));
                reader.unwrap().flat_map(|rows| canonical_rows(&rows.unwrap())).collect::<Vec<_>>()
            };
            files.flat_map(rows).collect()
        }

        async fn clear(&self) {
            fs::read_dir(self.0.path()).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
        }

        fn capabilities(&self) -> SinkCapabilities {
            SinkCapabilities { guarantee: Guarantee::Idempotent, modes: &[OutputMode::Append] }
        }

        fn schema(&self) -> SchemaRef {
            self.rows(0).schema()
        }

        fn rows(&self, seed: u64) -> RecordBatch {
            let numbers: Vec<i64> = (0..5).map(|n| n + 10 * i64::try_from(seed).unwrap()).collect();
            let texts = StringArray::from_iter_values(numbers.iter().map(|n| format!("row {n}")));
            let columns = [("n", Arc::new(Int64Array::from(numbers)) as ArrayRef), ("text", Arc::new(texts))];
            RecordBatch::try_from_iter(columns).unwrap()
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        sink_conformance(&Target(tempfile::tempdir().unwrap())).await;
    }
}

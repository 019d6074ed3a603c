//! A word count as the runtime drives it.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use levada_connector_api::config::{Config, RawConfig};
use levada_connector_api::{
    Batch, BindContext, OutputMode, Plugin, Result, StateImage, StateKind, TaskContext, Transform, TransformPlugin,
};
use levada_transform_aggregate::WordCount;

pub(crate) type Counts = Vec<(String, i64)>;

pub(crate) fn config(entries: &[(&str, &str)]) -> Config {
    let raw: RawConfig = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    WordCount.config_def().parse(&raw, "transforms.words.").unwrap()
}

pub(crate) fn lines_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]))
}

pub(crate) fn lines(lines: StringArray) -> Batch {
    Batch::new(RecordBatch::try_new(lines_schema(), vec![Arc::new(lines)]).unwrap())
}

pub(crate) fn bind_context(output_mode: OutputMode) -> BindContext {
    BindContext::new("words", output_mode)
}

/// A bound and opened word count.
pub(crate) struct Job {
    pub(crate) transform: Box<dyn Transform>,
    batch: u64,
}

impl Job {
    pub(crate) async fn open(entries: &[(&str, &str)], mode: OutputMode) -> Self {
        let mut transform = WordCount.create(&config(entries)).unwrap();
        transform.bind(&lines_schema(), &bind_context(mode)).unwrap();
        transform.open(&TaskContext::new("test")).await.unwrap();
        Self { transform, batch: 0 }
    }

    /// Runs a micro-batch and answers with its output.
    pub(crate) async fn run(&mut self, input: impl IntoIterator<Item = StringArray>) -> Result<Counts> {
        for array in input {
            let emitted = self.transform.process(lines(array)).await?;
            assert!(emitted.batches.is_empty() && emitted.rejected.is_empty());
        }
        self.batch += 1;
        let emitted = self.transform.finish(self.batch - 1).await?;
        assert!(emitted.rejected.is_empty());
        assert!(emitted.batches.iter().all(|batch| (1..=65_536).contains(&batch.num_rows())));
        Ok(emitted.batches.iter().flat_map(|batch| counts(&batch.rows)).collect())
    }

    pub(crate) async fn run_text(&mut self, input: &[&str]) -> Counts {
        self.run([StringArray::from(input.to_vec())]).await.unwrap()
    }

    pub(crate) async fn checkpoint(&mut self, kind: StateKind) -> Option<StateImage> {
        self.transform.checkpoint(kind).await.unwrap()
    }
}

pub(crate) fn counts(rows: &RecordBatch) -> Counts {
    let words = rows.column(0).as_string::<i32>();
    let counts = rows.column(1).as_primitive::<Int64Type>();
    assert_eq!(words.null_count() + counts.null_count(), 0);
    words.iter().flatten().zip(counts.values()).map(|(word, count)| (word.to_owned(), *count)).collect()
}

pub(crate) fn image_counts(image: &StateImage) -> Counts {
    let mut all: Counts = image.sections.iter().flat_map(|section| &section.batches).flat_map(counts).collect();
    all.sort();
    all
}

pub(crate) fn pairs(expected: &[(&str, i64)]) -> Counts {
    expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

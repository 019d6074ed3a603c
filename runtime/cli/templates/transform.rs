//! A transform in a library: it keeps the rows in which a column is not null.

use levada_plugin::api::config::{Config, ConfigDef};
use levada_plugin::api::{
    Batch, BindContext, Bound, Emitted, Error, Plugin, Result, Transform, TransformPlugin, async_trait,
};
use levada_plugin::arrow::array::Array as _;
use levada_plugin::arrow::compute::{filter_record_batch, is_not_null};
use levada_plugin::arrow::datatypes::SchemaRef;

levada_plugin::plugin_config! {
    /// Which rows are kept.
    struct Settings {
        /// The column that must not be null.
        column: String,
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
        "Keeps the rows in which a column is not null"
    }

    fn config_def(&self) -> ConfigDef {
        Settings::definition()
    }
}

impl TransformPlugin for Hello {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        Ok(Box::new(HelloTransform { settings: Settings::read(config), at: 0 }))
    }
}

struct HelloTransform {
    settings: Settings,
    /// The place of the column.
    at: usize,
}

#[async_trait]
impl Transform for HelloTransform {
    fn bind(&mut self, input: &SchemaRef, _: &BindContext) -> Result<Bound> {
        let column = &self.settings.column;
        self.at = input.index_of(column).map_err(|_| {
            let all: Vec<_> = input.fields().iter().map(|field| field.name().as_str()).collect();
            Error::config(format!("there is no column '{column}'; there are {}", all.join(", ")))
        })?;
        Ok(Bound::stateless(input.clone()))
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        if batch.rows.column(self.at).null_count() == 0 {
            return Ok(Emitted::one(batch));
        }
        let kept = is_not_null(batch.rows.column(self.at))?;
        let rows = filter_record_batch(&batch.rows, &kept)?;
        // Where the rows came from goes along, for messages about them.
        Ok(Emitted::one(Batch::with_origin(rows, batch.origin.kept(&kept))))
    }
}

levada_plugin::export! { transform(Hello) }

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use levada_plugin::api::OutputMode;
    use levada_plugin::api::testkit::transform_conformance;
    use levada_plugin::arrow::array::{Int64Array, RecordBatch};

    use super::*;

    fn made() -> Box<dyn Transform> {
        let options = [("column".to_owned(), "n".to_owned())].into();
        Hello.create(&Hello.config_def().parse(&options, "").unwrap()).unwrap()
    }

    fn rows(numbers: impl IntoIterator<Item = Option<i64>>) -> RecordBatch {
        let column = Arc::new(Int64Array::from_iter(numbers)) as _;
        RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap()
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let input = [rows((0..50).map(|n| (n % 3 != 0).then_some(n))), rows([None]), rows([Some(1)])];
        transform_conformance(&made, &BindContext::new("t", OutputMode::Append), &input).await;
    }

    #[tokio::test]
    async fn rows_with_nulls_are_dropped() {
        let (mut transform, rows) = (made(), rows([Some(1), None, Some(3)]));
        transform.bind(&rows.schema(), &BindContext::new("t", OutputMode::Append)).unwrap();
        let emitted = transform.process(Batch::new(rows)).await.unwrap();
        assert_eq!(emitted.batches[0].num_rows(), 2);
    }
}

//! Several streams as one.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use levada_connector_api::config::{Config, ConfigDef};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Error, Plugin, Result, Transform, TransformPlugin, WATERMARK, async_trait,
    find_column, watermark_delay,
};

/// Rows of all inputs, columns matched by name.
#[derive(Default)]
struct UnionTransform {
    schema: Option<SchemaRef>,
    /// For each input: where the output's columns stand in it.
    columns: Vec<Vec<usize>>,
}

#[async_trait]
impl Transform for UnionTransform {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        self.bind_all(std::slice::from_ref(input), context)
    }

    fn bind_all(&mut self, inputs: &[SchemaRef], _context: &BindContext) -> Result<Bound> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(Error::config("a Union without inputs"));
        };
        let mut fields: Vec<Field> = first.fields().iter().map(|field| field.as_ref().clone()).collect();
        self.columns = vec![(0..fields.len()).collect()];
        for (number, other) in others.iter().enumerate() {
            if other.fields().len() != fields.len() {
                return Err(Error::config(format!(
                    "[NUM_COLUMNS_MISMATCH] input 1 has {} columns, and input {} has {}",
                    fields.len(),
                    number + 2,
                    other.fields().len()
                ))
                .hint("select the same columns in all inputs"));
            }
            let mut own = Vec::new();
            for field in &mut fields {
                let at = find_column(other, field.name()).map_err(|error| {
                    error.context(format!("[UNRESOLVED_COLUMN] columns are matched by name: input {}", number + 2))
                })?;
                let theirs = other.field(at);
                if theirs.data_type() != field.data_type() {
                    return Err(Error::config(format!(
                        "the column '{}' is {} in input 1 and {} in input {}",
                        field.name(),
                        field.data_type(),
                        theirs.data_type(),
                        number + 2
                    ))
                    .hint("cast one of them in a Select before the Union"));
                }
                if let Some(delay) = watermark_delay(theirs) {
                    let delay = watermark_delay(field).map_or(delay, |own| own.max(delay));
                    let mut metadata = field.metadata().clone();
                    metadata.insert(WATERMARK.to_owned(), delay.to_string());
                    field.set_metadata(metadata);
                }
                if theirs.is_nullable() {
                    field.set_nullable(true);
                }
                own.push(at);
            }
            self.columns.push(own);
        }
        let schema = Arc::new(Schema::new(fields));
        self.schema = Some(schema.clone());
        Ok(Bound::stateless(schema))
    }

    fn origin(&self, column: &str) -> Option<String> {
        // The columns have the same names in all inputs.
        Some(format!("`{}`", column.replace('`', "``")))
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        self.process_input(0, batch).await
    }

    async fn process_input(&mut self, input: usize, batch: Batch) -> Result<Emitted> {
        let (Some(schema), Some(columns)) = (&self.schema, self.columns.get(input)) else {
            return Err(Error::internal("a Union was used before it was bound"));
        };
        let columns = columns.iter().filter_map(|at| batch.rows.columns().get(*at).cloned()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
        let rows = rows?;
        Ok(Emitted::one(Batch::with_origin(rows, batch.origin)))
    }
}

/// The plugin `Union`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Union;

impl Plugin for Union {
    fn name(&self) -> &str {
        "Union"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "All rows of several inputs, named in 'inputs'; columns are matched by name."
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
    }
}

impl TransformPlugin for Union {
    fn create(&self, _config: &Config) -> Result<Box<dyn Transform>> {
        Ok(Box::new(UnionTransform::default()))
    }
}

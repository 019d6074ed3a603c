//! A condition and a select list in one step: only the columns that are selected from are filtered.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::FilterBuilder;
use arrow::datatypes::{Schema, SchemaRef};
use levada_connector_api::{Batch, BindContext, Bound, Emitted, Error, Result, Transform, async_trait, find_column};
use levada_expressions::{Predicate, Projection, SqlOptions, bad_rows};

use crate::filter::{Filter, split};
use crate::select::origin_of;

/// `SELECT items FROM input WHERE condition`.
pub(crate) struct FilterProject {
    condition: Option<String>,
    items: Vec<String>,
    options: SqlOptions,
    alias: String,
    bound: Option<Step>,
}

/// The step, compiled.
struct Step {
    predicate: Option<Predicate>,
    projection: Projection,
    /// The columns that the select list reads, and the schema of these.
    read: Vec<usize>,
    schema: SchemaRef,
}

impl FilterProject {
    pub(crate) fn new(condition: Option<String>, items: Vec<String>, options: SqlOptions) -> Self {
        Self { condition, items, options, alias: String::new(), bound: None }
    }
}

#[async_trait]
impl Transform for FilterProject {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        let compile = |text: &String| Predicate::compile(text, input, &self.options);
        let predicate = self.condition.as_ref().map(compile).transpose()?;
        let items: Vec<&str> = self.items.iter().map(String::as_str).collect();
        let whole = Projection::compile(&items, input, &self.options)?;
        let read = whole.reads();
        let fields: Vec<_> =
            read.iter().map(|at| input.fields().get(*at).cloned()).collect::<Option<_>>().unwrap_or_default();
        let schema = Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()));
        let projection = Projection::compile(&items, &schema, &self.options)?;
        let output = projection.schema();
        self.alias = context.alias.clone();
        self.bound = Some(Step { predicate, projection, read, schema });
        Ok(Bound::stateless(output))
    }

    fn split_off(&mut self, copies: usize, origin: &dyn Fn(&str) -> Option<String>) -> Vec<Box<dyn Transform>> {
        let Some(condition) = &self.condition else { return Vec::new() };
        let Some((stay, moved)) = split(condition, &self.options, origin) else { return Vec::new() };
        self.condition = stay;
        (0..copies).map(|_| Box::new(Filter::new(moved.clone(), self.options.clone())) as Box<dyn Transform>).collect()
    }

    fn origin(&self, column: &str) -> Option<String> {
        let step = self.bound.as_ref()?;
        let schema = step.projection.schema();
        let at = find_column(schema, column).ok()?;
        step.projection.source(at).filter(|source| self.options.ansi || source.starts_with('`'))
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let Some(step) = &self.bound else { return Err(Error::internal("process was called before bind")) };
        let mut rejected = Vec::new();
        let mut columns: Vec<ArrayRef> =
            step.read.iter().filter_map(|at| batch.rows.columns().get(*at).cloned()).collect();
        let (mut rows, mut origin) = (batch.num_rows(), batch.origin.clone());
        if let Some(predicate) = &step.predicate {
            let (mask, bad) = predicate.evaluate_isolating(&batch.rows)?;
            rejected = bad_rows(&self.alias, &batch, bad);
            let passed = mask.true_count();
            if passed < rows {
                let filter = FilterBuilder::new(&mask);
                let filter = if columns.len() > 1 { filter.optimize() } else { filter }.build();
                for column in &mut columns {
                    *column = filter.filter(column)?;
                }
                (rows, origin) = (passed, origin.kept(&mask));
            }
        }
        if rows == 0 {
            return Ok(Emitted { batches: Vec::new(), rejected });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let read = RecordBatch::try_new_with_options(step.schema.clone(), columns, &options)?;
        let read = Batch::with_origin(read, origin);
        let (out, bad) = step.projection.evaluate_isolating(&read.rows)?;
        let origin = origin_of(&read, step.projection.keeps_rows(), &bad);
        rejected.extend(bad_rows(&self.alias, &read, bad));
        let batches = if out.num_rows() == 0 { Vec::new() } else { vec![Batch::with_origin(out, origin)] };
        Ok(Emitted { batches, rejected })
    }
}

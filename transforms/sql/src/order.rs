//! `ORDER BY` and `LIMIT` over the whole result of a micro-batch, which complete mode gives each time.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use levada_connector_api::{
    Batch, BatchInfo, BindContext, Bound, Emitted, Error, OutputMode, Result, Transform, async_trait, find_column,
};
use levada_expressions::{OrderBy, OrderKey, type_name};
use levada_transform_aggregate::canonical;

/// What the names of columns begin with that are sorted by and not handed on.
const HIDDEN: &str = "\u{1}order";

/// Sorts the rows of a micro-batch and keeps the first.
pub(crate) struct Order {
    by: Vec<OrderBy>,
    limit: Option<usize>,
    input: Option<SchemaRef>,
    output: Option<SchemaRef>,
    /// The columns that are sorted by.
    columns: Vec<usize>,
    held: Vec<RecordBatch>,
}

impl Order {
    pub(crate) fn new(by: Vec<OrderBy>, limit: Option<usize>) -> Self {
        Self { by, limit, input: None, output: None, columns: Vec::new(), held: Vec::new() }
    }

    /// What must be selected beside the items.
    pub(crate) fn hidden(by: &[OrderBy]) -> Vec<String> {
        let expressions = by.iter().filter_map(|by| match &by.key {
            OrderKey::Expression(text) => Some(text),
            _ => None,
        });
        expressions.enumerate().map(|(at, text)| format!("{text} AS `{HIDDEN}{at}`")).collect()
    }

    fn sorted(&self, rows: &RecordBatch) -> Result<UInt32Array> {
        let total = u32::try_from(rows.num_rows())
            .map_err(|_| Error::data("more than 4 thousand million rows cannot be sorted"))?;
        let mut order: Vec<u32> = (0..total).collect();
        if !self.columns.is_empty() {
            let schema = rows.schema();
            let field = |(at, by): (&usize, &OrderBy)| {
                let options = SortOptions { descending: by.descending, nulls_first: by.nulls_first };
                SortField::new_with_options(schema.field(*at).data_type().clone(), options)
            };
            let converter = RowConverter::new(self.columns.iter().zip(&self.by).map(field).collect())?;
            // What Spark holds to be equal is: any NaN, and zero with a sign or without.
            let columns: Vec<_> = self.columns.iter().map(|at| canonical(rows.column(*at))).collect();
            let keys = converter.convert_columns(&columns)?;
            order.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
        }
        order.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(order.into())
    }
}

/// Whether values have an order: maps have none.
fn has_order(ty: &DataType) -> bool {
    match ty {
        DataType::Map(_, _) => false,
        DataType::List(item) => has_order(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| has_order(field.data_type())),
        _ => true,
    }
}

#[async_trait]
impl Transform for Order {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        if context.output_mode != OutputMode::Complete || !context.aggregated {
            let what = if self.by.is_empty() { "LIMIT" } else { "ORDER BY" };
            return Err(Error::config(format!(
                "{what}: rows of a stream have no last one, so they cannot be sorted or counted to an end"
            ))
            .hint("it is for results of an aggregation with output.mode=complete; else let the sink's reader sort"));
        }
        let shown = input.fields().iter().filter(|field| !field.name().starts_with(HIDDEN)).count();
        let mut hidden = shown..;
        let place = |by: &OrderBy| match &by.key {
            OrderKey::Place(at) if *at >= shown => Err(Error::config(format!(
                "[ORDER_BY_POS_OUT_OF_RANGE] there is no column {}: the select list has {shown}",
                at + 1
            ))
            .hint("write its name")),
            OrderKey::Place(at) => Ok(*at),
            OrderKey::Item(name) => find_column(input, name),
            OrderKey::Expression(_) => hidden.next().ok_or_else(|| Error::internal("there are no more columns")),
        };
        self.columns = self.by.iter().map(place).collect::<Result<_>>()?;
        for at in &self.columns {
            let field = input.fields().get(*at).ok_or_else(|| Error::internal("a column to sort by is missing"))?;
            let supported = RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]);
            if !supported || !has_order(field.data_type()) {
                let message = format!("ORDER BY: values of {} have no order", type_name(field.data_type()));
                return Err(Error::config(message).hint("sort by something else"));
            }
        }
        let fields: Vec<_> = input.fields().iter().take(shown).cloned().collect();
        let output = Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()));
        (self.input, self.output) = (Some(Arc::clone(input)), Some(Arc::clone(&output)));
        Ok(Bound::stateless(output))
    }

    fn begin(&mut self, _: &BatchInfo) -> Result<()> {
        self.held.clear();
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        self.held.push(batch.rows);
        Ok(Emitted::default())
    }

    async fn finish(&mut self, _: u64) -> Result<Emitted> {
        let (Some(input), Some(output)) = (&self.input, &self.output) else {
            return Err(Error::internal("finish was called before bind"));
        };
        let rows = concat_batches(input, &self.held)?;
        self.held.clear();
        if rows.num_rows() == 0 {
            return Ok(Emitted::default());
        }
        let rows = take_record_batch(&rows, &self.sorted(&rows)?)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns = rows.columns().iter().take(output.fields().len()).cloned().collect();
        let rows = RecordBatch::try_new_with_options(Arc::clone(output), columns, &options)?;
        Ok(Emitted { batches: vec![Batch::new(rows)], rejected: Vec::new() })
    }
}

//! A condition and a select list in one step: only the columns that are selected from are filtered. A step over a step
//! becomes one where it can.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{FilterBuilder, and, filter_record_batch};
use arrow::datatypes::SchemaRef;
use levada_connector_api::{
    BadRow, Batch, BindContext, Bound, Emitted, Error, Result, Transform, async_trait, find_column,
};
use levada_expressions::{Predicate, Projection, SqlOptions, bad_rows, write_origin};

use crate::filter::{Filter, split};
use crate::select::origin_of;

/// `SELECT items FROM input WHERE condition`.
pub(crate) struct FilterProject {
    condition: Option<String>,
    items: Vec<String>,
    options: SqlOptions,
    alias: String,
    bound: Option<Step>,
    /// This step and those below it as one.
    fused: Option<Step>,
    /// The step above does the work of this one.
    absorbed: bool,
    /// What is exploded was tested for items before already.
    tested: bool,
}

/// The step, compiled.
struct Step {
    input: SchemaRef,
    /// Conditions, each for the rows that met those before it, with the transforms that they are of.
    predicates: Vec<(Predicate, String)>,
    whole: Projection,
    /// The select list over the columns that it reads, which these are, and their schema.
    projection: Projection,
    read: Vec<usize>,
    schema: SchemaRef,
}

impl Step {
    fn new(input: SchemaRef, predicates: Vec<(Predicate, String)>, whole: Projection) -> Self {
        let (projection, read, schema) = whole.narrowed(&input);
        Self { input, predicates, whole, projection, read, schema }
    }

    /// Which rows meet all conditions. `None`: all of them.
    fn mask(&self, batch: &Batch, rejected: &mut Vec<BadRow>) -> Result<Option<BooleanArray>> {
        let mut met: Option<BooleanArray> = None;
        for (predicate, alias) in &self.predicates {
            let Some(before) = met else {
                let (mask, bad) = predicate.evaluate_isolating(&batch.rows)?;
                rejected.extend(bad_rows(alias, batch, bad));
                met = Some(mask);
                continue;
            };
            if let Ok(mask) = predicate.evaluate(&batch.rows) {
                met = Some(and(&before, &mask)?);
                continue;
            }
            // A row may be bad that does not come so far.
            let left = Batch::with_origin(filter_record_batch(&batch.rows, &before)?, batch.origin.kept(&before));
            let (mask, bad) = predicate.evaluate_isolating(&left.rows)?;
            rejected.extend(bad_rows(alias, &left, bad));
            let mut both = vec![false; before.len()];
            for (at, row) in before.values().set_indices().enumerate() {
                if let Some(both) = both.get_mut(row) {
                    *both = mask.value(at);
                }
            }
            met = Some(BooleanArray::from(both));
        }
        Ok(met)
    }
}

impl FilterProject {
    pub(crate) fn new(condition: Option<String>, items: Vec<String>, options: SqlOptions) -> Self {
        Self {
            condition,
            items,
            options,
            alias: String::new(),
            bound: None,
            fused: None,
            absorbed: false,
            tested: false,
        }
    }

    /// Takes over the work of the step below, if the two can be one. Both are bound.
    pub(crate) fn absorb(&mut self, below: &mut FilterProject) {
        let (Some(own), Some(under)) = (&self.bound, below.fused.as_ref().or(below.bound.as_ref())) else { return };
        if self.options != below.options {
            return;
        }
        let conditions: Vec<Predicate> = own.predicates.iter().map(|(predicate, _)| predicate.clone()).collect();
        if let Some((whole, conditions)) = own.whole.over(&under.whole, &conditions) {
            let conditions = conditions.into_iter().map(|condition| (condition, self.alias.clone()));
            let predicates = under.predicates.iter().cloned().chain(conditions).collect();
            self.fused = Some(Step::new(Arc::clone(&under.input), predicates, whole));
            below.absorbed = true;
        }
    }
}

#[async_trait]
impl Transform for FilterProject {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        let compile = |text: &String| Predicate::compile(text, input, &self.options);
        let predicate = self.condition.as_ref().map(compile).transpose()?;
        let items: Vec<&str> = self.items.iter().map(String::as_str).collect();
        let whole = Projection::compile(&items, input, &self.options)?;
        let output = whole.schema();
        self.alias = context.alias.clone();
        let predicates = predicate.map(|predicate| (predicate, self.alias.clone())).into_iter().collect();
        self.bound = Some(Step::new(Arc::clone(input), predicates, whole));
        (self.fused, self.absorbed) = (None, false);
        Ok(Bound::stateless(output))
    }

    fn split_off(&mut self, copies: usize, origin: &dyn Fn(&str) -> Option<String>) -> Vec<Box<dyn Transform>> {
        let needs = self.bound.as_ref().and_then(|step| step.whole.needs()).filter(|_| !self.tested);
        let needed = needs.and_then(|needs| split(&needs, &self.options, origin)).map(|(_, moved)| moved);
        self.tested |= needed.is_some();
        let tested = self.condition.as_ref().and_then(|condition| split(condition, &self.options, origin));
        let moved = match (tested, needed) {
            (None, None) => return Vec::new(),
            (None, Some(needed)) => needed,
            (Some((stay, moved)), needed) => {
                self.condition = stay;
                needed.into_iter().fold(moved, |moved, needed| format!("({moved}) AND {needed}"))
            }
        };
        (0..copies).map(|_| Box::new(Filter::new(moved.clone(), self.options.clone())) as Box<dyn Transform>).collect()
    }

    fn origin(&self, column: &str) -> Option<String> {
        let step = self.bound.as_ref()?;
        let schema = step.whole.schema();
        let at = find_column(&schema, column).ok()?;
        step.whole.source(at).map(|source| write_origin(source, self.options.ansi))
    }

    fn wanted(&mut self, wanted: Option<&[String]>) {
        let Some(wanted) = wanted.filter(|_| !self.absorbed) else { return };
        if let Some(step) = self.fused.as_mut().or(self.bound.as_mut()) {
            let schema = step.whole.schema();
            let whole = step.whole.spared(|at| wanted.contains(schema.field(at).name()));
            *step = Step::new(Arc::clone(&step.input), std::mem::take(&mut step.predicates), whole);
        }
    }

    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        if self.absorbed {
            return wanted.map(<[String]>::to_vec);
        }
        let step = self.fused.as_ref().or(self.bound.as_ref())?;
        let tested = step.predicates.iter().flat_map(|(predicate, _)| predicate.columns());
        let fields = tested.chain(step.read.iter().copied()).filter_map(|at| step.input.fields().get(at));
        Some(fields.map(|field| field.name().clone()).collect())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        if self.absorbed {
            return Ok(Emitted { batches: vec![batch], rejected: Vec::new() });
        }
        let step = self.fused.as_ref().or(self.bound.as_ref());
        let step = step.ok_or_else(|| Error::internal("process was called before bind"))?;
        let mut rejected = Vec::new();
        let mut columns: Vec<ArrayRef> =
            step.read.iter().filter_map(|at| batch.rows.columns().get(*at).cloned()).collect();
        let (mut rows, mut origin) = (batch.num_rows(), batch.origin.clone());
        if let Some(mask) = step.mask(&batch, &mut rejected)? {
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

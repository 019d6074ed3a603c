//! The transform at work.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use levada_connector_api::config::nearest;
use levada_connector_api::{Batch, BatchInfo, BindContext, Bound, Emitted, Error, Result, TaskContext, Transform};

use super::config::Options;
use super::counters::Counters;
use super::output::{columns, fields};
use super::watch::Look;
use crate::import::load;
use crate::model::Model;
use crate::prepare::Row;
use crate::score::{Ask, Scorer};

/// Scores the rows of each batch.
pub(super) struct DecisionTreeTransform {
    options: Options,
    alias: String,
    ready: Option<Ready>,
    counters: Counters,
    /// The model of the micro-batch that just finished, where another one has taken its place since.
    before: Option<Arc<Scorer>>,
}

/// The model in use, and what it was bound to.
struct Ready {
    scorer: Arc<Scorer>,
    /// Where the model's inputs stand among the columns.
    places: Vec<usize>,
    input: SchemaRef,
    output: SchemaRef,
    look: Option<Look>,
}

impl DecisionTreeTransform {
    pub(super) fn new(options: Options) -> Self {
        Self { options, alias: "DecisionTree".into(), ready: None, counters: Counters::default(), before: None }
    }

    fn prepare(&self, input: &SchemaRef) -> Result<Ready> {
        // The look is taken first: a model that is replaced while it is read is read again.
        let look = Look::of(&self.options.model);
        let model =
            load(&self.options.model).map_err(|error| error.context(format!("{}model", self.options.prefix)))?;
        let places = self.places(&model, input)?;
        let mut all: Vec<_> = input.fields().iter().map(|field| field.as_ref().clone()).collect();
        for (key, name) in self.options.columns() {
            if input.field_with_name(name).is_ok() {
                let message = format!("{}{key} = '{name}': there is such a column already", self.options.prefix);
                return Err(Error::config(message).hint("choose another name"));
            }
        }
        all.extend(fields(&self.options, &model)?);
        let output = Arc::new(Schema::new_with_metadata(all, input.metadata().clone()));
        Ok(Ready { scorer: Arc::new(Scorer::new(model)), places, input: Arc::clone(input), output, look })
    }

    /// Finds the columns that the model reads.
    fn places(&self, model: &Model, input: &SchemaRef) -> Result<Vec<usize>> {
        let key = format!("{}features", self.options.prefix);
        let wanted: Vec<String> = match &self.options.features {
            Some(names) if names.len() == model.inputs.len() => names.clone(),
            // A pipeline names its columns; the order of the option's does not matter then.
            Some(names) if model.named => {
                let unknown = names.iter().find(|name| model.inputs.iter().all(|input| input.name != **name));
                if let Some(name) = unknown {
                    let known: Vec<_> = model.inputs.iter().map(|input| input.name.as_str()).collect();
                    let message = format!("{key}: the model reads no '{name}', it reads {}", known.join(", "));
                    return Err(Error::config(message));
                }
                let missing = model.inputs.iter().find(|input| !names.contains(&input.name));
                let missing = missing.map_or("", |input| input.name.as_str());
                return Err(Error::config(format!("{key}: the model also reads '{missing}'")));
            }
            Some(names) => {
                let message =
                    format!("{key}: {} columns are named, the model reads {}", names.len(), model.inputs.len());
                return Err(Error::config(message).hint("name them all, in the order of training"));
            }
            None if model.named => model.inputs.iter().map(|input| input.name.clone()).collect(),
            None => {
                let message = format!("{key}: the model does not name its {} features", model.inputs.len());
                return Err(Error::config(message).hint("name the columns, in the order of training"));
            }
        };
        // The same names in another order are those of the model, which goes by name.
        let same_names = model.named && model.inputs.iter().all(|input| wanted.contains(&input.name));
        let by_model = model.inputs.iter().map(|input| input.name.clone());
        let wanted: Vec<String> = if same_names { by_model.collect() } else { wanted };
        wanted.iter().zip(&model.inputs).map(|(name, of)| place(&key, name, of.text, input)).collect()
    }

    fn score(&mut self, batch: Batch) -> Result<Emitted> {
        let Some(ready) = &self.ready else { return Err(Error::internal("process was called before bind")) };
        let options = &self.options;
        let rows = batch.num_rows();
        let model = ready.scorer.model();
        let inputs: Option<Vec<ArrayRef>> =
            ready.places.iter().map(|place| batch.rows.columns().get(*place).cloned()).collect();
        let inputs = inputs.ok_or_else(|| Error::internal("a batch does not fit the schema it was bound to"))?;
        let ask = Ask {
            raw: options.raw.is_some(),
            probability: options.probability.is_some(),
            leaves: options.leaf.is_some(),
            variance: options.variance.is_some(),
            invalid: options.invalid,
            threads: options.threads,
        };
        let scored = ready.scorer.score(&inputs, rows, &ask)?;
        self.counters.scored(&scored.scores, scored.rows.as_deref());
        if options.drift {
            self.counters.watch(model, &inputs, &scored.scores, scored.rows.as_deref());
        }
        let mut all = batch.rows.columns().to_vec();
        all.extend(columns(options, model, scored.scores));
        let output = RecordBatch::try_new(Arc::clone(&ready.output), all)?;
        let Some(states) = scored.rows else {
            return Ok(Emitted::one(Batch::with_origin(output, batch.origin)));
        };
        let mut rejected = Vec::new();
        for (row, state) in states.iter().enumerate() {
            if let Row::Bad(reason) = state {
                rejected.push(batch.bad_row(row, self.alias.as_str(), reason.as_str()));
            }
        }
        let good: BooleanArray = states.iter().map(|state| Some(*state == Row::Good)).collect();
        let exact = good.true_count() == rows;
        let kept = filter_record_batch(&output, &good)?;
        let origin = if exact { batch.origin } else { batch.origin.kept(&good) };
        let batches = if kept.num_rows() == 0 { Vec::new() } else { vec![Batch::with_origin(kept, origin)] };
        Ok(Emitted { batches, rejected })
    }

    /// Takes a model that was put in the place of the one in use, if it can take its place.
    fn reload(&mut self) {
        let Some(ready) = &self.ready else { return };
        let look = Look::of(&self.options.model);
        if look.is_none() || look == ready.look {
            return;
        }
        let before = ready.scorer.model().version;
        let fresh = self.prepare(&ready.input).and_then(|fresh| {
            let (old, new) = (ready.scorer.model(), fresh.scorer.model());
            if fresh.output != ready.output {
                return Err(Error::config("its output columns are of other types"));
            }
            if old.classes() != new.classes() {
                return Err(Error::config(format!("it has {} classes, not {}", new.classes(), old.classes())));
            }
            Ok(fresh)
        });
        let model = self.options.model.display();
        match fresh {
            Ok(fresh) if fresh.scorer.model().version == before => {}
            Ok(fresh) => {
                let after = fresh.scorer.model().version;
                tracing::info!(transform = %self.alias, %model, version = %format!("{after:016x}"), "model replaced");
                self.before = self.ready.replace(fresh).map(|old| old.scorer);
                self.counters.replaced();
                return;
            }
            Err(error) => {
                self.counters.refused(error.to_string());
                tracing::warn!(transform = %self.alias, %model, %error, version = %format!("{before:016x}"),
                    "new model refused, the old one goes on");
            }
        }
        // It is not looked at again until it changes once more.
        if let Some(ready) = &mut self.ready {
            ready.look = look;
        }
    }
}

fn place(key: &str, name: &str, text: bool, input: &SchemaRef) -> Result<usize> {
    let fields = input.fields();
    let Some((place, field)) = fields.iter().enumerate().find(|(_, field)| field.name() == name) else {
        let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
        let message = format!("{key}: there is no column '{name}'; there are {}", names.join(", "));
        return Err(match nearest(name, names.iter().copied()) {
            Some(near) => Error::config(message).hint(format!("did you mean '{near}'?")),
            None => Error::config(message).hint(format!("set {key} to the columns of the model's features")),
        });
    };
    let kind = field.data_type();
    let fits = match text {
        true => !kind.is_nested(),
        false => kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Null),
    };
    if fits {
        return Ok(place);
    }
    let needed = if text { "a label" } else { "a number" };
    Err(Error::config(format!("{key}: column '{name}' is {kind}, the model needs {needed}"))
        .hint(format!("cast it before: a Select with 'CAST({name} AS DOUBLE) AS {name}'")))
}

#[async_trait]
impl Transform for DecisionTreeTransform {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        self.alias = context.alias.clone();
        let ready = self.prepare(input)?;
        let bound = Bound::stateless(Arc::clone(&ready.output));
        self.ready = Some(ready);
        Ok(bound)
    }

    async fn open(&mut self, _context: &TaskContext) -> Result<()> {
        if let Some(ready) = &self.ready {
            let model = ready.scorer.model();
            tracing::info!(transform = %self.alias, model = %self.options.model.display(), format = %model.format,
                trees = model.forest.trees.len(), version = %format!("{:016x}", model.version), "model loaded");
        }
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let before = Instant::now();
        let emitted = self.score(batch);
        self.counters.took(before.elapsed());
        emitted
    }

    fn begin(&mut self, _batch: &BatchInfo) -> Result<()> {
        self.counters.begin();
        self.before = None;
        Ok(())
    }

    fn metrics(&self) -> serde_json::Map<String, serde_json::Value> {
        let scored = |ready: &Ready| self.counters.tell(self.before.as_ref().unwrap_or(&ready.scorer).model());
        self.ready.as_ref().map(scored).unwrap_or_default()
    }

    async fn finish(&mut self, _batch_id: u64) -> Result<Emitted> {
        if self.options.reload {
            self.reload();
        }
        Ok(Emitted::default())
    }
}

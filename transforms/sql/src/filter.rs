//! `Filter`: the rows that meet a condition.

use arrow::array::RecordBatch;
use arrow::compute::FilterBuilder;
use arrow::datatypes::SchemaRef;
use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Error, Plugin, Result, Transform, TransformPlugin, async_trait,
};

use levada_expressions::{Predicate, SqlOptions, bad_rows, read_origin};

/// Keeps the rows that meet a condition.
#[derive(Debug)]
pub struct Filter {
    condition: String,
    key: String,
    options: SqlOptions,
    alias: String,
    predicate: Option<Predicate>,
    input: Option<SchemaRef>,
}

impl Filter {
    /// A filter by a Spark SQL condition.
    pub fn new(condition: impl Into<String>, options: SqlOptions) -> Self {
        let (key, alias) = ("condition".to_owned(), "Filter".to_owned());
        Self { condition: condition.into(), key, options, alias, predicate: None, input: None }
    }
}

#[async_trait]
impl Transform for Filter {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        let predicate = Predicate::compile(&self.condition, input, &self.options);
        self.predicate = Some(predicate.map_err(|error| error.context(self.key.clone()))?);
        self.alias = context.alias.clone();
        self.input = Some(input.clone());
        Ok(Bound::stateless(input.clone()))
    }

    fn split_off(&mut self, copies: usize, origin: &dyn Fn(&str) -> Option<String>) -> Vec<Box<dyn Transform>> {
        let Some((stay, moved)) = split(&self.condition, &self.options, origin) else { return Vec::new() };
        self.condition = stay.unwrap_or_else(|| "true".to_owned());
        let copy = |_| {
            let mut copy = Self::new(moved.clone(), self.options.clone());
            copy.key = self.key.clone();
            Box::new(copy) as Box<dyn Transform>
        };
        (0..copies).map(copy).collect()
    }

    fn origin(&self, column: &str) -> Option<String> {
        Some(quoted(column))
    }

    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let tested = self.input.iter().flat_map(|input| input.fields()).map(|field| field.name().clone());
        let tested = tested.filter(|column| Predicate::reads(&self.condition, column));
        Some(wanted?.iter().cloned().chain(tested).collect())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let Some(predicate) = &self.predicate else { return Err(Error::internal("process was called before bind")) };
        let (mask, bad) = predicate.evaluate_isolating(&batch.rows)?;
        let rejected = bad_rows(&self.alias, &batch, bad);
        let batches = match mask.true_count() {
            0 => Vec::new(),
            all if all == batch.num_rows() => vec![batch],
            _ => {
                let builder = FilterBuilder::new(&mask);
                // Worth its cost when the selection is used more than once.
                let builder = if batch.rows.num_columns() > 1 { builder.optimize() } else { builder };
                let rows: RecordBatch = builder.build().filter_record_batch(&batch.rows)?;
                vec![Batch::with_origin(rows, batch.origin.kept(&mask))]
            }
        };
        Ok(Emitted { batches, rejected })
    }
}

/// Splits a condition into what stays and what can be tested before the transform that `origin` is of.
pub(crate) fn split(
    condition: &str,
    options: &SqlOptions,
    origin: &dyn Fn(&str) -> Option<String>,
) -> Option<(Option<String>, String)> {
    // What is left of a condition that was moved as a whole.
    if condition == "true" {
        return None;
    }
    // A computed column would be computed again with these options.
    let known = |name: &str| origin(name).and_then(|expression| read_origin(expression, options.ansi));
    let (stay, moved) = Predicate::split_by(condition, &known);
    if moved.is_empty() {
        return None;
    }
    Some(((!stay.is_empty()).then(|| stay.join(" AND ")), moved.join(" AND ")))
}

/// A column's name in an expression.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Makes [`Filter`]s.
#[derive(Debug, Clone, Copy)]
pub struct FilterPlugin;

impl Plugin for FilterPlugin {
    fn name(&self) -> &str {
        "Filter"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Keeps the rows that meet a condition in Spark SQL"
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    "condition",
                    ConfigType::String,
                    Importance::High,
                    "The condition, in Spark SQL: rows for which it is false or null are dropped",
                )
                .validator(Validator::non_empty()),
            )
            .key(ansi_key())
    }
}

impl TransformPlugin for FilterPlugin {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let options = SqlOptions { ansi: config.bool("ansi"), ..SqlOptions::default() };
        let mut filter = Filter::new(config.string("condition"), options);
        filter.key = config.full_key("condition");
        Ok(Box::new(filter))
    }
}

/// The option that all transforms with expressions share.
pub(crate) fn ansi_key() -> ConfigKey {
    ConfigKey::new(
        "ansi",
        ConfigType::Boolean,
        Importance::Low,
        "Whether overflow, bad casts, division by zero and wrong indices are errors, as in Spark 4; otherwise they wrap or \
         give null",
    )
    .default("true")
}

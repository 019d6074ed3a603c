//! Watermarks: how late events may be.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{
    Batch, BatchInfo, BindContext, Bound, Emitted, Error, EventTime, Plugin, Result, Transform, TransformPlugin,
    WATERMARK, async_trait, find_column, watermark_delay,
};
use levada_expressions::{parse_delay, type_name};

/// Watches the event times of a column.
pub(crate) struct Watch {
    column: usize,
    seen: EventTime,
}

impl Watch {
    /// On `column` of `input`, with a delay in milliseconds.
    ///
    /// # Errors
    /// There is no such column, or it is no timestamp.
    pub(crate) fn new(input: &SchemaRef, column: &str, delay: i64) -> Result<Self> {
        let at = find_column(input, column)?;
        match input.field(at).data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => {}
            other => {
                return Err(Error::config(format!(
                    "the event time '{column}' is {}, not a TIMESTAMP",
                    type_name(other)
                ))
                .hint(format!("make one before: a Select with '*, to_timestamp({column}) AS event_time'")));
            }
        }
        Ok(Self { column: at, seen: EventTime { delay, ..EventTime::default() } })
    }

    /// The schema with the mark of the watermark.
    pub(crate) fn mark(&self, input: &SchemaRef) -> SchemaRef {
        let mark = |(at, field): (usize, &Arc<Field>)| {
            if at != self.column {
                return field.clone();
            }
            let mut metadata = field.metadata().clone();
            metadata.insert(WATERMARK.to_owned(), self.seen.delay.to_string());
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        };
        let fields: Vec<Arc<Field>> = input.fields().iter().enumerate().map(mark).collect();
        Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()))
    }

    /// A micro-batch begins.
    pub(crate) fn begin(&mut self) {
        self.seen = EventTime { delay: self.seen.delay, ..EventTime::default() };
    }

    /// Sees rows.
    pub(crate) fn see(&mut self, rows: &RecordBatch) -> Result<()> {
        let column = rows.columns().get(self.column).and_then(|column| column.as_primitive_opt());
        let times: &arrow::array::PrimitiveArray<TimestampMicrosecondType> =
            column.ok_or_else(|| Error::internal("an event time is no timestamp"))?;
        // Whole milliseconds, as Spark's watermark has.
        let ms = |micros: i64| micros.div_euclid(1000);
        let (Some(min), Some(max)) = (arrow::compute::min(times), arrow::compute::max(times)) else { return Ok(()) };
        let (min, max) = (ms(min), ms(max));
        let seen = &mut self.seen;
        (seen.min, seen.max) = if seen.count == 0 { (min, max) } else { (seen.min.min(min), seen.max.max(max)) };
        seen.count += (times.len() - times.null_count()) as u64;
        seen.sum += match times.null_count() {
            0 => times.values().iter().map(|time| i128::from(ms(*time))).sum::<i128>(),
            _ => times.iter().flatten().map(|time| i128::from(ms(time))).sum(),
        };
        Ok(())
    }

    /// What the micro-batch had.
    pub(crate) fn seen(&self) -> EventTime {
        self.seen
    }
}

/// Puts a watermark on a column; rows pass unchanged.
struct WatermarkTransform {
    column: String,
    delay: i64,
    key: String,
    bound: Option<(Watch, SchemaRef)>,
}

#[async_trait]
impl Transform for WatermarkTransform {
    fn bind(&mut self, input: &SchemaRef, _context: &BindContext) -> Result<Bound> {
        if let Some(field) = input.fields().iter().find(|field| watermark_delay(field).is_some()) {
            let message = format!("there is a watermark on '{}' already, and it cannot be redefined", field.name());
            return Err(Error::config(message).context(self.key.clone()).hint("put one Watermark on each source"));
        }
        let watch = Watch::new(input, &self.column, self.delay).map_err(|e| e.context(self.key.clone()))?;
        let schema = watch.mark(input);
        let name = schema.field(watch.column).name().clone();
        self.bound = Some((watch, schema.clone()));
        Ok(Bound { watermark: Some(name), ..Bound::stateless(schema) })
    }

    fn origin(&self, column: &str) -> Option<String> {
        let (watch, schema) = self.bound.as_ref()?;
        let name = schema.field(watch.column).name();
        (!name.eq_ignore_ascii_case(column)).then(|| format!("`{}`", column.replace('`', "``")))
    }

    fn begin(&mut self, _batch: &BatchInfo) -> Result<()> {
        if let Some((watch, _)) = &mut self.bound {
            watch.begin();
        }
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let Some((watch, schema)) = &mut self.bound else {
            return Err(Error::internal("a watermark was used before it was bound"));
        };
        watch.see(&batch.rows)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(schema.clone(), batch.rows.columns().to_vec(), &options);
        let rows = rows?;
        Ok(Emitted::one(Batch::with_origin(rows, batch.origin)))
    }

    fn event_time(&self) -> Option<EventTime> {
        self.bound.as_ref().map(|(watch, _)| watch.seen())
    }
}

/// Refuses what is no delay.
pub(crate) fn delay_validator() -> Validator {
    Validator::new("an interval such as '20 seconds', not negative", |text| {
        parse_delay(text).map(|_| ()).map_err(|error| error.to_string())
    })
}

/// The plugin `Watermark`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watermark;

impl Plugin for Watermark {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Says how late events may be: what ends before the latest event less the delay is complete."
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new()
            .key(
                ConfigKey::new(
                    "column",
                    ConfigType::String,
                    Importance::High,
                    "The column with the event time, a timestamp.",
                )
                .validator(Validator::non_empty()),
            )
            .key(
                ConfigKey::new(
                    "delay",
                    ConfigType::String,
                    Importance::High,
                    "How long after a later event an event may still come: '30 seconds'. A month is 31 days, a year 12 months.",
                )
                .validator(delay_validator()),
            )
    }
}

impl TransformPlugin for Watermark {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let delay = parse_delay(&config.string("delay")).map_err(|error| error.context(config.full_key("delay")))?;
        let (column, key) = (config.string("column"), config.full_key("column"));
        Ok(Box::new(WatermarkTransform { column, delay, key, bound: None }))
    }
}

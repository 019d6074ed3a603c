//! What happens to rows between source and sink.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;

use crate::{BadRow, Batch, Error, OutputMode, Result, TaskContext};

/// A transform: batches in, batches out.
///
/// # Call order
/// 1. [`bind`](Self::bind), once: the chain is checked before anything is read;
/// 2. [`open`](Self::open), once;
/// 3. [`restore`](Self::restore), for a stateful transform with a checkpoint: first a snapshot, then deltas in order;
/// 4. for each micro-batch: [`begin`](Self::begin) once, [`process`](Self::process) any number of times,
///    [`finish`](Self::finish) once, then [`event_time`](Self::event_time), [`stats`](Self::stats),
///    [`metrics`](Self::metrics) and [`checkpoint`](Self::checkpoint). A micro-batch may have no rows: it is there to emit what the watermark closed.
///
/// # Contract
/// - After an error the transform is dropped; the micro-batch is repeated by a new one.
/// - The same state and the same input rows give the same output rows, however the input is cut into batches.
/// - Work may be spread over threads; `finish` waits for all of it.
#[async_trait]
pub trait Transform: Send {
    /// Checks that the transform can work on `input` and answers with what it yields.
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound>;

    /// Gets ready to run.
    async fn open(&mut self, context: &TaskContext) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Checks a transform of several inputs: [`bind`](Self::bind) of the others. Input `i` is the `i`th of `inputs`.
    fn bind_all(&mut self, inputs: &[SchemaRef], context: &BindContext) -> Result<Bound> {
        match inputs {
            [input] => self.bind(input, context),
            _ => Err(Error::config(format!("it takes one input, not {}", inputs.len()))
                .hint("join several streams with a Union before it")),
        }
    }

    /// Of a transform that only drops rows: takes out the conditions that read only columns for which `origin` knows an
    /// expression over other columns, puts those in their places, and gives them back as a transform of their own, `copies`
    /// times. Empty: there are none.
    ///
    /// The runtime moves conditions to before a watermark with it. Spark's optimizer does the same, and it shows: rows
    /// that they drop do not move the watermark.
    fn split_off(&mut self, copies: usize, origin: &dyn Fn(&str) -> Option<String>) -> Vec<Box<dyn Transform>> {
        let _ = (copies, origin);
        Vec::new()
    }

    /// What the output column `column` is of the input, as an expression, where dropping rows by it before this transform
    /// is the same as dropping them after it. Called when bound.
    fn origin(&self, column: &str) -> Option<String> {
        let _ = column;
        None
    }

    /// Of the input's columns, those whose values it looks at or hands on, when of its own columns only those in `wanted`
    /// are looked at (`None`: all). `None`: all. Called when bound.
    ///
    /// The runtime spares the source with it the work for columns that nobody reads.
    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let _ = wanted;
        None
    }

    /// Told once bound, before the first micro-batch: of its own columns only those in `wanted` are looked at by what
    /// follows (`None`: all). [`reads`](Self::reads) is asked after it.
    fn wanted(&mut self, wanted: Option<&[String]>) {
        let _ = wanted;
    }

    /// A micro-batch begins.
    fn begin(&mut self, batch: &BatchInfo) -> Result<()> {
        let _ = batch;
        Ok(())
    }

    /// Transforms one batch.
    async fn process(&mut self, batch: Batch) -> Result<Emitted>;

    /// Transforms one batch of input `input`, for transforms of several inputs.
    async fn process_input(&mut self, input: usize, batch: Batch) -> Result<Emitted> {
        let _ = input;
        self.process(batch).await
    }

    /// The micro-batch has no more input: emits what only now is known, and everything still under way.
    async fn finish(&mut self, batch_id: u64) -> Result<Emitted> {
        let _ = batch_id;
        Ok(Emitted::default())
    }

    /// The state after the micro-batch that just finished: all of it, or what changed since the last call. `None`: there
    /// is no state, or nothing has changed. A transform may answer a request for a delta with a snapshot.
    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        let _ = kind;
        Ok(None)
    }

    /// Takes state back. A snapshot replaces what was there; a delta is applied to it.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the image's fingerprint is not the one of this transform and
    /// configuration.
    async fn restore(&mut self, image: StateImage) -> Result<()> {
        let _ = image;
        Ok(())
    }

    /// The event times of the micro-batch that just finished, if this transform watches them: what moves the watermark.
    fn event_time(&self) -> Option<EventTime> {
        None
    }

    /// How large the state is, after [`finish`](Self::finish).
    fn stats(&self) -> Option<StateStats> {
        None
    }

    /// What else is worth knowing of the micro-batch that just finished, by name: `observedMetrics` of its progress.
    fn metrics(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

/// A micro-batch that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchInfo {
    /// Its number.
    pub batch_id: u64,
    /// The watermark, in milliseconds since the epoch: no earlier event time is expected any more. What ends at or before
    /// it is closed in this micro-batch. 0 before the first event.
    pub watermark: i64,
    /// The watermark of the micro-batch before: what ends at or before it was closed then, and its rows are late.
    pub late: i64,
}

/// The event times that a transform saw in a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTime {
    /// How many there were, nulls not counted.
    pub count: u64,
    /// The earliest, in milliseconds since the epoch.
    pub min: i64,
    /// The latest, in milliseconds since the epoch.
    pub max: i64,
    /// Their sum in milliseconds: for the mean.
    pub sum: i128,
    /// How late an event may be, in milliseconds.
    pub delay: i64,
}

/// The key of a column's metadata that says: there is a watermark on it, with this delay in milliseconds.
pub const WATERMARK: &str = "levada.watermark.delay.ms";

/// The delay of the watermark on a column, in milliseconds; `None`: it has no watermark.
pub fn watermark_delay(field: &Field) -> Option<i64> {
    field.metadata().get(WATERMARK).and_then(|delay| delay.parse().ok())
}

/// What a transform may need to know to check itself.
#[derive(Debug, Clone)]
pub struct BindContext {
    /// The transform's name in the configuration.
    pub alias: String,
    /// The pipeline's output mode.
    pub output_mode: OutputMode,
    /// Whether a transform before this one on the way from the sources aggregates.
    pub aggregated: bool,
}

impl BindContext {
    /// The context of a transform that stands first.
    pub fn new(alias: impl Into<String>, output_mode: OutputMode) -> Self {
        Self { alias: alias.into(), output_mode, aggregated: false }
    }
}

/// What a transform yields.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Its output columns.
    pub schema: SchemaRef,
    /// Whether it has state to checkpoint.
    pub stateful: bool,
    /// Whether its output is an aggregate's, which complete mode needs.
    pub aggregates: bool,
    /// The column that it puts a watermark on.
    pub watermark: Option<String>,
}

impl Bound {
    /// A stateless transform that yields `schema`.
    pub fn stateless(schema: SchemaRef) -> Self {
        Self { schema, stateful: false, aggregates: false, watermark: None }
    }
}

/// What a transform gives out.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Rows, in order.
    pub batches: Vec<Batch>,
    /// Rows that could not be transformed.
    pub rejected: Vec<BadRow>,
}

impl Emitted {
    /// One batch and no bad rows.
    pub fn one(batch: Batch) -> Self {
        Self { batches: vec![batch], rejected: Vec::new() }
    }
}

/// Which state a checkpoint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// What changed since the last checkpoint.
    Delta,
    /// All of it.
    Snapshot,
}

/// State as it is checkpointed.
#[derive(Debug, Clone)]
pub struct StateImage {
    /// All of the state or a change of it.
    pub kind: StateKind,
    /// What must be equal for the state to fit: the transform, its layout's version, its keys and aggregates.
    pub fingerprint: String,
    /// The state, by state partition.
    pub sections: Vec<StateSection>,
}

/// The state of one state partition: the unit of parallel work, and what can move between workers.
#[derive(Debug, Clone)]
pub struct StateSection {
    /// The state partition.
    pub partition: u32,
    /// Its rows. All batches of a section have one schema.
    pub batches: Vec<RecordBatch>,
}

/// The size of a transform's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateStats {
    /// The operator's name in progress events.
    pub operator: String,
    /// Keys held.
    pub rows_total: u64,
    /// Keys touched by the last micro-batch.
    pub rows_updated: u64,
    /// Keys removed by the last micro-batch.
    pub rows_removed: u64,
    /// Rows, or groups of rows, that the last micro-batch dropped because they were late.
    pub rows_dropped: u64,
    /// Memory held, in bytes.
    pub memory_bytes: u64,
}

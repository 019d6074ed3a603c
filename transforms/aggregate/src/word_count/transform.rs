//! The word count as a transform.

use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Error, OutputMode, Result, StateImage, StateKind, StateStats, TaskContext,
    Transform, async_trait, find_column,
};

use super::config::Options;
use super::delta::Delta;
use super::image::{image, restore, rows, schema};
use super::pool::{Counting, Piece, Pool, lock};
use super::split::weight;
use super::state::State;

/// Lines lighter than this are counted at once: handing them to a thread would take longer.
const INLINE: usize = 64 * 1024;
/// About as much a thread takes at a time: small enough that all finish together, large enough that nobody waits.
const PIECE: usize = 512 * 1024;
/// The most lines of a piece.
const PIECE_LINES: usize = 64 * 1024;

/// Counts words.
pub(super) struct WordCountTransform {
    options: Options,
    counting: Counting,
    /// The input column's number, and what is emitted: known once bound.
    bound: Option<(usize, OutputMode)>,
    schema: SchemaRef,
    state: Arc<Mutex<State>>,
    /// What was counted here and not by the pool.
    delta: Delta,
    pub(super) pool: Option<Pool>,
}

impl WordCountTransform {
    pub(super) fn new(options: Options) -> Self {
        Self {
            counting: Counting::new(options.split, options.lower_case, options.threads),
            schema: schema(&options.word_column, &options.count_column),
            options,
            bound: None,
            state: Arc::new(Mutex::new(State::new())),
            delta: Delta::new(),
            pool: None,
        }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &Arc<Mutex<State>> {
        &self.state
    }

    fn column<'a>(&self, rows: &'a RecordBatch) -> Result<&'a StringArray> {
        let (column, _) = self.bound.ok_or_else(not_bound)?;
        let lines = rows.columns().get(column).and_then(|column| column.as_string_opt::<i32>());
        lines.ok_or_else(|| Error::internal("the rows are not of the schema that the word count was bound to"))
    }

    fn emit(&mut self) -> Result<Vec<RecordBatch>> {
        let (_, mode) = self.bound.ok_or_else(not_bound)?;
        let mut state = lock(&self.state);
        self.delta.take_into(&mut state, self.counting.limit)?;
        let touched = state.end_batch();
        match mode {
            OutputMode::Complete => rows(&state, state.all(), &self.schema),
            _ => rows(&state, &touched, &self.schema),
        }
    }
}

#[async_trait]
impl Transform for WordCountTransform {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        if context.output_mode == OutputMode::Append {
            return Err(Error::config(
                "output.mode = 'append': append needs a watermark on an aggregation, and a word count has none",
            )
            .hint("set output.mode to complete for all words in every batch, or to update for those that changed"));
        }
        self.bound = Some((text_column(input, &self.options)?, context.output_mode));
        Ok(Bound { stateful: true, aggregates: true, ..Bound::stateless(self.schema.clone()) })
    }

    async fn open(&mut self, _context: &TaskContext) -> Result<()> {
        self.pool = Some(Pool::start(self.options.threads, self.counting, self.state.clone())?);
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let lines = self.column(&batch.rows)?;
        match &self.pool {
            Some(pool) if weight(lines) >= INLINE => {
                for piece in pieces(lines) {
                    pool.send(Piece::Lines(piece)).await?;
                }
            }
            _ => self.counting.count(lines, &mut self.delta, &self.state)?,
        }
        Ok(Emitted::default())
    }

    async fn finish(&mut self, _batch_id: u64) -> Result<Emitted> {
        if let Some(pool) = &self.pool {
            pool.drain().await?;
        }
        let batches = self.emit()?.into_iter().map(Batch::new).collect();
        Ok(Emitted { batches, rejected: Vec::new() })
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        let mut state = lock(&self.state);
        match kind {
            StateKind::Snapshot => image(&state, state.all(), kind, &self.options),
            StateKind::Delta => {
                let changed = state.take_changed();
                image(&state, &changed, kind, &self.options)
            }
        }
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        // What the tables know of the state may no longer hold.
        self.delta.clear();
        if let Some(pool) = &self.pool {
            pool.clear();
        }
        restore(&mut lock(&self.state), &image, &self.options)
    }

    fn stats(&self) -> Option<StateStats> {
        let state = lock(&self.state);
        let tables = self.delta.memory() + self.pool.as_ref().map_or(0, Pool::memory);
        Some(StateStats {
            operator: "wordCount".to_owned(),
            rows_total: state.len() as u64,
            rows_updated: state.updated() as u64,
            rows_removed: 0,
            rows_dropped: 0,
            memory_bytes: (state.memory() + tables) as u64,
        })
    }
}

/// Cuts lines into pieces. A line is never cut.
fn pieces(lines: &StringArray) -> impl Iterator<Item = StringArray> + '_ {
    let offsets = lines.value_offsets();
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = offsets.get(from..).filter(|rest| rest.len() > 1)?;
        let first = *rest.first()?;
        let fits = rest.partition_point(|offset| (offset - first) as usize <= PIECE);
        // The first offset fits in any case. A line is taken even if it is too long, and not too many empty ones.
        let taken = (fits - 1).clamp(1, (rest.len() - 1).min(PIECE_LINES));
        let piece = lines.slice(from, taken);
        from += taken;
        Some(piece)
    })
}

fn text_column(input: &SchemaRef, options: &Options) -> Result<usize> {
    let (key, name) = (format!("{}column", options.prefix), &options.column);
    let at = find_column(input, name).map_err(|error| error.context(&key))?;
    let field = input.field(at);
    if field.data_type() != &DataType::Utf8 {
        return Err(Error::config(format!("{key} = '{name}': the column is {}, not a string", field.data_type()))
            .hint(format!("choose another, or cast it before: a Select with 'CAST({name} AS STRING) AS {name}'")));
    }
    Ok(at)
}

fn not_bound() -> Error {
    Error::internal("the word count was used before it was bound")
}

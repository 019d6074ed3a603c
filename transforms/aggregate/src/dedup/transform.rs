//! The deduplication as a transform.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use levada_connector_api::{
    Batch, BatchInfo, BindContext, Bound, Emitted, Error, OutputMode, Result, StateImage, StateKind, StateSection,
    StateStats, Transform, async_trait, find_column, watermark_delay,
};

use levada_expressions::type_name;

use crate::keys::{KeyCodec, Keys, hash};
use crate::times::closing_times;

/// The time of a key that is never forgotten.
const NEVER: i64 = i64::MAX;

/// How many keys a batch of the checkpoint has.
const PIECE: usize = 64 * 1024;

/// What a deduplication is, compiled for its input.
struct Plan {
    columns: Vec<usize>,
    codec: KeyCodec,
    /// The column whose time decides whether a row is late.
    late_by: Option<usize>,
    input: SchemaRef,
    /// The column whose time decides when a key is forgotten, and after how many microseconds.
    forget: Option<(usize, i64)>,
    fingerprint: String,
    key_schema: SchemaRef,
}

/// Passes the first row of each key.
pub(super) struct DeduplicateTransform {
    columns: Vec<String>,
    within: bool,
    prefix: String,
    plan: Option<Plan>,
    keys: Keys,
    /// When each key is forgotten, in microseconds.
    expiry: Vec<i64>,
    closing: BTreeMap<i64, Vec<u32>>,
    changed: Vec<u32>,
    /// Up to when keys are closed, as the checkpoint was told last.
    told: Option<i64>,
    batch: BatchInfo,
    stats: StateStats,
}

fn not_bound() -> Error {
    Error::internal("a deduplication was used before it was bound")
}

impl DeduplicateTransform {
    pub(super) fn new(columns: Vec<String>, within: bool, prefix: String) -> Self {
        Self {
            columns,
            within,
            prefix,
            plan: None,
            keys: Keys::default(),
            expiry: Vec::new(),
            closing: BTreeMap::new(),
            changed: Vec::new(),
            told: None,
            batch: BatchInfo { batch_id: 0, watermark: 0, late: 0 },
            stats: StateStats::default(),
        }
    }

    fn compile(&self, input: &SchemaRef) -> Result<Plan> {
        let fields = input.fields();
        let mut columns = Vec::new();
        for name in &self.columns {
            let at = find_column(input, name).map_err(|error| error.context(format!("{}columns", self.prefix)))?;
            if !columns.contains(&at) {
                columns.push(at);
            }
        }
        if columns.is_empty() {
            columns = (0..fields.len()).collect();
        }
        let mut key_fields: Vec<Field> = Vec::new();
        for at in &columns {
            let field = input.field(*at);
            if matches!(field.data_type(), DataType::Map(_, _)) {
                return Err(Error::config(format!(
                    "{}columns: the map '{}' cannot be compared",
                    self.prefix,
                    field.name()
                ))
                .hint("leave it out"));
            }
            key_fields.push(Field::new(format!("k{}", key_fields.len()), field.data_type().clone(), true));
        }
        let late_by = fields.iter().position(|field| watermark_delay(field).is_some());
        let delay = late_by.and_then(|at| watermark_delay(input.field(at)));
        let forget = match (self.within, late_by, delay) {
            (true, Some(at), Some(delay)) => Some((at, delay.saturating_mul(1000))),
            (true, _, _) => {
                return Err(Error::config(format!("{}within.watermark: there is no watermark", self.prefix))
                    .hint("put a Watermark before it"));
            }
            (false, _, _) => {
                let timed = |at: &&usize| watermark_delay(input.field(**at)).is_some();
                columns.iter().find(timed).map(|at| (*at, 0))
            }
        };
        let types: Vec<DataType> = key_fields.iter().map(|field| field.data_type().clone()).collect();
        let name = |(at, ty): (&usize, &DataType)| format!("{} {}", input.field(*at).name(), type_name(ty));
        let mut names: Vec<String> = columns.iter().zip(&types).map(name).collect();
        if let Some((at, _)) = forget {
            names.push(format!("forgotten by {}", input.field(at).name()));
        }
        Ok(Plan {
            codec: KeyCodec::new(&types, false)?.with_signed_zeros(),
            fingerprint: format!("deduplication 2: within={}; keys {}", self.within, names.join(", ")),
            key_schema: Arc::new(Schema::new(key_fields)),
            columns,
            late_by,
            input: input.clone(),
            forget,
        })
    }

    fn remember(&mut self, hash: u64, key: &[u8], expiry: i64) -> Result<bool> {
        let (number, new) = self.keys.intern(hash, key)?;
        if new {
            self.expiry.resize(self.keys.bound(), NEVER);
            if let Some(place) = self.expiry.get_mut(number as usize) {
                *place = expiry;
            }
            if expiry != NEVER {
                self.closing.entry(expiry).or_default().push(number);
            }
            self.changed.push(number);
        }
        Ok(new)
    }

    /// Forgets the keys whose time is at or before `watermark`, in microseconds.
    fn forget(&mut self, watermark: i64) -> u64 {
        let mut forgotten = 0;
        while let Some(entry) = self.closing.first_entry() {
            if *entry.key() > watermark {
                break;
            }
            for number in entry.remove() {
                self.keys.remove(number);
                forgotten += 1;
            }
        }
        forgotten
    }

    fn memory(&self) -> usize {
        let closing: usize = self.closing.values().map(|numbers| numbers.capacity() * 4 + 64).sum();
        self.keys.memory() + self.expiry.capacity() * 8 + self.changed.capacity() * 4 + closing
    }
}

#[async_trait]
impl Transform for DeduplicateTransform {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        if context.aggregated && context.output_mode != OutputMode::Append {
            return Err(Error::config(format!(
                "output.mode = '{}': results of an aggregation change, so their duplicates cannot be dropped",
                context.output_mode.as_str()
            ))
            .hint("set output.mode=append, with a watermark, or drop duplicates before the aggregation"));
        }
        self.plan = Some(self.compile(input)?);
        Ok(Bound { stateful: true, ..Bound::stateless(input.clone()) })
    }

    /// Spark reads an event time only where somebody looks at it: otherwise no row of the deduplication is late.
    fn wanted(&mut self, wanted: Option<&[String]>) {
        let (Some(plan), Some(wanted)) = (&mut self.plan, wanted) else { return };
        let Some(at) = plan.late_by else { return };
        let read = plan.input.fields().get(at).is_some_and(|field| wanted.contains(field.name()));
        if !read && !self.within && !plan.columns.contains(&at) {
            plan.late_by = None;
        }
    }

    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let plan = self.plan.as_ref()?;
        let own = plan.columns.iter().chain(&plan.late_by).chain(plan.forget.as_ref().map(|(at, _)| at));
        let own = own.filter_map(|at| plan.input.fields().get(*at)).map(|field| field.name().clone());
        Some(wanted?.iter().cloned().chain(own).collect())
    }

    fn begin(&mut self, batch: &BatchInfo) -> Result<()> {
        self.batch = *batch;
        let operator = if self.within { "dedupeWithinWatermark" } else { "dedupe" };
        self.stats = StateStats { operator: operator.to_owned(), ..StateStats::default() };
        Ok(())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let plan = self.plan.take().ok_or_else(not_bound)?;
        let column = |at: &usize| batch.rows.columns().get(*at).cloned().ok_or_else(not_bound);
        let values: Vec<ArrayRef> = plan.columns.iter().map(column).collect::<Result<_>>()?;
        let encoded = plan.codec.encode(&[], &values, batch.num_rows())?;
        let late_times = plan.late_by.as_ref().map(column).transpose()?.map(|c| closing_times(&c)).unwrap_or_default();
        let forget = plan.forget.as_ref().map(|(at, _)| column(at)).transpose()?;
        let mut forget_times = forget.map(|c| closing_times(&c)).unwrap_or_default();
        if self.within {
            // Spark takes no time for 1970 there: such a key is forgotten with the first move of the watermark.
            forget_times.iter_mut().filter(|time| **time == i64::MAX).for_each(|time| *time = 0);
        }
        let keep = plan.forget.map_or(0, |(_, keep)| keep);
        let late = self.batch.late.saturating_mul(1000);
        let mut passes = Vec::with_capacity(batch.num_rows());
        for (row, key) in encoded.iter().enumerate() {
            if late_times.get(row).is_some_and(|time| *time <= late) {
                self.stats.rows_dropped += 1;
                passes.push(false);
                continue;
            }
            let expiry = forget_times.get(row).map_or(NEVER, |time| time.saturating_add(keep));
            passes.push(self.remember(hash(key), key, expiry)?);
        }
        self.plan = Some(plan);
        let new = passes.iter().filter(|passes| **passes).count();
        self.stats.rows_updated += new as u64;
        if new == passes.len() {
            return Ok(Emitted::one(batch));
        }
        if new == 0 {
            return Ok(Emitted::default());
        }
        let passes = BooleanArray::from(passes);
        let rows = arrow::compute::filter_record_batch(&batch.rows, &passes)?;
        Ok(Emitted::one(Batch::with_origin(rows, batch.origin.kept(&passes))))
    }

    async fn finish(&mut self, _batch_id: u64) -> Result<Emitted> {
        self.stats.rows_removed = self.forget(self.batch.watermark.saturating_mul(1000));
        self.stats.rows_total = self.keys.len() as u64;
        self.stats.memory_bytes = self.memory() as u64;
        Ok(Emitted::default())
    }

    async fn checkpoint(&mut self, kind: StateKind) -> Result<Option<StateImage>> {
        let plan = self.plan.as_ref().ok_or_else(not_bound)?;
        let numbers: Vec<u32> = match kind {
            StateKind::Snapshot => self.keys.iter().collect(),
            StateKind::Delta => {
                let changed = std::mem::take(&mut self.changed);
                changed.into_iter().filter(|number| self.keys.holds(*number)).collect()
            }
        };
        let closed = match plan.forget {
            Some(_) => self.batch.watermark.saturating_mul(1000),
            None => i64::MIN,
        };
        let again = self.told.replace(closed) == Some(closed);
        if kind == StateKind::Delta && numbers.is_empty() && again {
            return Ok(None);
        }
        let mut fields = vec![Field::new("until", DataType::Int64, false)];
        fields.extend(plan.key_schema.fields().iter().map(|field| field.as_ref().clone()));
        let schema = Arc::new(Schema::new(fields));
        let mut batches = Vec::new();
        // Pieces, since the text of one column of one batch can have two gigabytes at most.
        for numbers in numbers.chunks(PIECE) {
            let keys: Vec<&[u8]> = numbers.iter().map(|number| self.keys.get(*number)).collect();
            let times = numbers.iter().map(|number| self.expiry.get(*number as usize).copied().unwrap_or(NEVER));
            let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(times))];
            columns.extend(plan.codec.decode(&keys)?);
            batches.push(RecordBatch::try_new(schema.clone(), columns)?);
        }
        let closed: ArrayRef = Arc::new(Int64Array::from(vec![closed]));
        let closed = RecordBatch::try_from_iter([("closed", closed)])?;
        Ok(Some(StateImage {
            kind,
            fingerprint: plan.fingerprint.clone(),
            sections: vec![
                StateSection { partition: u32::MAX, batches: vec![closed] },
                StateSection { partition: 0, batches },
            ],
        }))
    }

    async fn restore(&mut self, image: StateImage) -> Result<()> {
        let plan = self.plan.take().ok_or_else(not_bound)?;
        if image.fingerprint != plan.fingerprint {
            return Err(Error::corrupt(format!(
                "the query has changed, and its state in the checkpoint does not fit: it was \"{}\" and is \"{}\"",
                image.fingerprint, plan.fingerprint
            ))
            .hint("bring the old columns back, or start anew with another checkpoint.location and name"));
        }
        if image.kind == StateKind::Snapshot {
            self.keys = Keys::default();
            self.expiry.clear();
            self.closing.clear();
        }
        for section in &image.sections {
            for rows in &section.batches {
                let damaged = || Error::corrupt("the state in the checkpoint is damaged");
                let (first, rest) = rows.columns().split_first().ok_or_else(damaged)?;
                let times = first.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
                if section.partition == u32::MAX {
                    self.forget(times.values().first().copied().unwrap_or(i64::MIN));
                    continue;
                }
                if rest.len() != plan.columns.len() {
                    return Err(damaged());
                }
                let encoded = plan.codec.encode(&[], rest, rows.num_rows())?;
                for (key, until) in encoded.iter().zip(times.values()) {
                    self.remember(hash(key), key, *until)?;
                }
            }
        }
        self.changed.clear();
        self.plan = Some(plan);
        Ok(())
    }

    fn stats(&self) -> Option<StateStats> {
        Some(self.stats.clone())
    }
}

//! What a grouped aggregation is, compiled for its input.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit, TimestampMicrosecondType};
use levada_connector_api::{BindContext, Error, OutputMode, Result, WATERMARK, watermark_delay};
use levada_expressions::{AggregateCall, Expression, Grouping, GroupingSpec, SqlOptions, type_name};

use super::gap::Gap;
use super::windows::Windows;
use crate::accumulate::{Accumulator, accumulator, state_fields};
use crate::keys::KeyCodec;

/// How rows are grouped in time, as it is written. Spans are in microseconds.
#[derive(Debug, Clone, Default)]
pub enum TimeSpec {
    /// Not at all.
    #[default]
    None,
    /// Windows of one size that begin every `slide`, at multiples of it plus `offset`.
    Window {
        /// The column with the event time.
        column: String,
        /// How long a window is.
        size: i64,
        /// How far apart windows begin; equal to `size`: they do not overlap.
        slide: i64,
        /// By how much beginnings differ from multiples of `slide` since the epoch.
        offset: i64,
    },
    /// Sessions: rows that are less than a gap apart.
    Session {
        /// The column with the event time.
        column: String,
        /// An interval, or an expression that gives one for each row.
        gap: String,
    },
}

/// What is grouped and aggregated, as it is written.
#[derive(Debug, Clone, Default)]
pub struct GroupedSpec {
    /// How rows are grouped in time.
    pub time: TimeSpec,
    /// A watermark that the aggregation itself puts on a column: the column, and the delay in milliseconds.
    pub watermark: Option<(String, i64)>,
    /// The name of the window's column. Default: Spark's.
    pub window_column: Option<String>,
    /// Expressions that mean the window.
    pub window_meanings: Vec<String>,
    /// Keys, aggregates, and the condition on results; the window is added to it.
    pub grouping: GroupingSpec,
    /// How expressions are understood.
    pub options: SqlOptions,
    /// The most memory that the state may take, in bytes.
    pub state_limit: Option<u64>,
    /// How many threads aggregate. Default: as many as there are cores.
    pub threads: Option<usize>,
}

/// How rows are grouped in time.
#[derive(Debug)]
pub(super) enum Shape {
    /// All rows of a key.
    Whole,
    /// All rows of a key; the key at this index is an event time, or a window, and closes the group.
    Timed(usize),
    Windows(Windows),
    Sessions(Gap),
}

/// A grouped aggregation that was compiled for its input.
pub(super) struct Plan {
    pub(super) grouping: Grouping,
    pub(super) shape: Shape,
    time: Option<(Expression, bool)>,
    pub(super) mode: OutputMode,
    /// How many threads aggregate.
    pub(super) threads: usize,
    /// Whether the order of rows decides a result.
    pub(super) ordered: bool,
    /// Whether a watermark closes groups.
    pub(super) expires: bool,
    /// Whether the event time has a watermark, whatever the mode makes of it.
    pub(super) watermarked: bool,
    /// The type of event times.
    pub(super) time_type: DataType,
    pub(super) fingerprint: String,
    key_types: Vec<DataType>,
}

/// Rows with their times, and the rows whose times are out of all reason.
type Timed = (RecordBatch, Vec<i64>, Vec<(usize, String)>);

/// Event times beyond it are refused, so that the ends of windows can be computed.
const FAR: i64 = 1 << 61;

impl Plan {
    pub(super) fn compile(spec: &GroupedSpec, input: &SchemaRef, context: &BindContext) -> Result<Self> {
        let options = &spec.options;
        let time = match &spec.time {
            TimeSpec::None => None,
            TimeSpec::Window { column, .. } | TimeSpec::Session { column, .. } => Some(time_column(column, input)?),
        };
        let time_type = time.as_ref().map_or(DataType::Timestamp(TimeUnit::Microsecond, None), |time| time.ty.clone());
        let mut wanted = spec.grouping.clone();
        let name = |default: &str| spec.window_column.clone().unwrap_or_else(|| default.to_owned());
        let made = match &spec.time {
            TimeSpec::None => None,
            TimeSpec::Window { .. } => Some(name("window")),
            TimeSpec::Session { .. } => Some(name("session_window")),
        };
        let delay = time.as_ref().and_then(|time| time.delay);
        if let Some(name) = made {
            wanted.made.insert(0, (window_field(&name, &time_type, delay), spec.window_meanings.clone()));
        }
        let grouping = Grouping::compile(&wanted, input, options)?;
        let ordered = grouping.calls().iter().any(|call| call.function.is_ordered());
        let keys = grouping.keys();
        let key_fields = grouping.grouped().fields().get(wanted.made.len()..).unwrap_or_default();
        let timed = key_fields.iter().take(keys.len()).position(|field| watermark_delay(field).is_some());
        let (shape, expires) = match &spec.time {
            TimeSpec::None => match timed {
                Some(at) => (Shape::Timed(at), true),
                None => (Shape::Whole, false),
            },
            TimeSpec::Window { size, slide, offset, .. } => {
                check_overlap(*size, *slide)?;
                let windows = Windows::new(*size, *slide, *offset, ordered);
                (Shape::Windows(windows), delay.is_some())
            }
            TimeSpec::Session { gap, .. } => (Shape::Sessions(Gap::compile(gap, input, options)?), delay.is_some()),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let session = matches!(shape, Shape::Sessions(_));
        check_mode(context, expires, session)?;
        let key_types: Vec<DataType> = keys.iter().map(|key| key.data_type().clone()).collect();
        let by = time.as_ref().map(|time| time.meaning.as_str()).unwrap_or_default();
        let fingerprint = fingerprint(&spec.time, by, timed, &grouping);
        Ok(Self {
            grouping,
            shape,
            time: time.map(|time| (time.expression, time.window)),
            mode: context.output_mode,
            threads: spec.threads.unwrap_or_else(cores).clamp(1, 64),
            ordered,
            expires: expires && context.output_mode != OutputMode::Complete,
            watermarked: delay.is_some(),
            time_type,
            fingerprint,
            key_types,
        })
    }

    /// Whether keys have a number in front: the time that closes the group.
    pub(super) fn prefixed(&self) -> bool {
        matches!(self.shape, Shape::Timed(_))
    }

    /// The names of the columns of `input`, which it was compiled for, that are read.
    pub(super) fn reads(&self, input: &SchemaRef) -> Vec<String> {
        let calls = self.grouping.calls().iter().flat_map(|call| call.args.iter().chain(&call.filter));
        let time = self.time.iter().map(|(expression, _)| expression);
        let gap = match &self.shape {
            Shape::Sessions(Gap::Computed(expression)) => Some(expression),
            _ => None,
        };
        let all = self.grouping.sources().iter().chain(calls).chain(time).chain(gap);
        let fields = all.flat_map(Expression::reads).filter_map(|at| input.fields().get(at));
        fields.map(|field| field.name().clone()).collect()
    }

    pub(super) fn codec(&self) -> Result<KeyCodec> {
        KeyCodec::new(&self.key_types, self.prefixed())
    }

    pub(super) fn accumulators(&self) -> Result<Vec<Box<dyn Accumulator>>> {
        self.grouping.calls().iter().map(accumulator).collect()
    }

    /// The columns of the state: keys, then the aggregates.
    pub(super) fn state_fields(&self) -> Result<Vec<Field>> {
        let keys = self.key_types.iter().enumerate().map(|(i, ty)| Field::new(format!("k{i}"), ty.clone(), true));
        let states = self.accumulators()?;
        let states = states.iter().enumerate().flat_map(|(i, accumulator)| state_fields(i, accumulator.as_ref()));
        Ok(keys.chain(states).collect())
    }

    /// The times of the rows of a batch, and the rows without the ones that have none. The third part names rows whose
    /// time is out of all reason.
    pub(super) fn times(&self, batch: RecordBatch) -> Result<Timed> {
        let Some((expression, window)) = &self.time else { return Ok((batch, Vec::new(), Vec::new())) };
        let values = microseconds(&expression.evaluate(&batch)?)?;
        let values = values.as_primitive_opt::<TimestampMicrosecondType>();
        let values = values.ok_or_else(|| Error::internal("an event time is no timestamp"))?;
        let back = i64::from(*window);
        let near = |time: i64| (-FAR..=FAR).contains(&time);
        if values.null_count() == 0 && values.values().iter().all(|time| near(*time)) {
            return Ok((batch, values.values().iter().map(|time| time - back).collect(), Vec::new()));
        }
        let mut bad = Vec::new();
        let mut times = Vec::new();
        let mut kept = Vec::with_capacity(values.len());
        for (row, time) in values.iter().enumerate() {
            let good = time.is_some_and(near);
            if let (Some(time), false) = (time, good) {
                bad.push((
                    row,
                    format!("the event time, {time} microseconds since 1970, is too far away for a window"),
                ));
            }
            if let (Some(time), true) = (time, good) {
                times.push(time - back);
            }
            kept.push(good);
        }
        let batch = arrow::compute::filter_record_batch(&batch, &kept.into())?;
        Ok((batch, times, bad))
    }

    /// The column of windows from starts to ends.
    pub(super) fn window_column(&self, starts: Vec<i64>, ends: Vec<i64>) -> ArrayRef {
        let column = |values: Vec<i64>| {
            let array = arrow::array::TimestampMicrosecondArray::from(values);
            Arc::new(array.with_data_type(self.time_type.clone())) as ArrayRef
        };
        let fields = window_fields(&self.time_type);
        Arc::new(arrow::array::StructArray::new(fields, vec![column(starts), column(ends)], None))
    }
}

/// A column with event times.
struct TimeColumn {
    expression: Expression,
    /// What it is, for the fingerprint.
    meaning: String,
    /// It is a window: its time is its last microsecond.
    window: bool,
    ty: DataType,
    delay: Option<i64>,
}

fn time_column(column: &str, input: &SchemaRef) -> Result<TimeColumn> {
    let options = SqlOptions::default();
    let plain = Expression::compile(column, input, &options)?;
    let meaning = plain.meaning();
    let delay = plain.column().and_then(|at| input.fields().get(at)).and_then(|field| watermark_delay(field));
    match plain.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let ty = plain.data_type().clone();
            Ok(TimeColumn { expression: plain, meaning, window: false, ty, delay })
        }
        DataType::Date32 => {
            let expression = Expression::compile(&format!("CAST({column} AS TIMESTAMP)"), input, &options)?;
            let ty = expression.data_type().clone();
            Ok(TimeColumn { expression, meaning, window: false, ty, delay })
        }
        DataType::Struct(fields) if is_window(fields) => {
            let expression = Expression::compile(&format!("({column}).end"), input, &options)?;
            let ty = expression.data_type().clone();
            Ok(TimeColumn { expression, meaning, window: true, ty, delay })
        }
        other => Err(Error::config(format!("the event time '{column}' is {}, not a TIMESTAMP", type_name(other)))
            .hint(format!("make one before: a Select with '*, to_timestamp({column}) AS event_time'"))),
    }
}

fn is_window(fields: &Fields) -> bool {
    matches!(&**fields, [start, end] if start.name() == "start" && end.name() == "end"
        && matches!(start.data_type(), DataType::Timestamp(_, _)) && start.data_type() == end.data_type())
}

fn microseconds(values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(values.clone()),
        _ => Err(Error::internal("an event time is not in microseconds")),
    }
}

fn window_fields(ty: &DataType) -> Fields {
    Fields::from(vec![Field::new("start", ty.clone(), true), Field::new("end", ty.clone(), true)])
}

fn window_field(name: &str, ty: &DataType, delay: Option<i64>) -> FieldRef {
    let field = Field::new(name, DataType::Struct(window_fields(ty)), true);
    let metadata = delay.map(|delay| (WATERMARK.to_owned(), delay.to_string()));
    Arc::new(field.with_metadata(metadata.into_iter().collect()))
}

/// Each window that a row is in may be given out, so that very many of them would take all memory.
fn check_overlap(size: i64, slide: i64) -> Result<()> {
    const MOST: i64 = 100_000;
    let windows = size / slide.max(1);
    if windows <= MOST {
        return Ok(());
    }
    let (size, slide) = (interval(size), interval(slide));
    let message = format!(
        "windows of {size} that begin every {slide} overlap so much that each row is in {windows} of them; at most \
         {MOST} are possible"
    );
    Err(Error::config(message).hint("make the slide longer, or the window shorter"))
}

/// Spark's rules about what can be emitted when.
fn check_mode(context: &BindContext, expires: bool, session: bool) -> Result<()> {
    let mode = context.output_mode;
    if context.aggregated && mode != OutputMode::Append {
        return Err(Error::config(format!(
            "output.mode = '{}': an aggregation of an aggregation's results needs append",
            mode.as_str()
        ))
        .hint("set output.mode=append, with a watermark; or write the first result somewhere and aggregate that"));
    }
    match mode {
        OutputMode::Append if !expires => {
            let what = if session { "its event time" } else { "its window or on one of its keys" };
            Err(Error::config(format!(
                "output.mode = 'append': append needs a watermark on {what}, so that a group is complete at some time"
            ))
            .hint("set watermark (and a window), or use output.mode=update or complete"))
        }
        OutputMode::Update if session => Err(Error::config(
            "output.mode = 'update': sessions merge, so what was emitted would have to be taken back",
        )
        .hint("use output.mode=append with a watermark, or complete")),
        _ => Ok(()),
    }
}

/// What must be equal for a state to fit: keys of the same types are other keys when they are computed otherwise.
fn fingerprint(spec: &TimeSpec, by: &str, timed: Option<usize>, grouping: &Grouping) -> String {
    let time = match spec {
        TimeSpec::None => match timed {
            Some(key) => format!("closed by key {}", key + 1),
            None => "no window".to_owned(),
        },
        TimeSpec::Window { size, slide, offset, .. } => {
            let (size, slide, offset) = (interval(*size), interval(*slide), interval(*offset));
            format!("windows of {size} every {slide} at {offset} by {by}")
        }
        TimeSpec::Session { gap, .. } => format!("sessions with a gap of {gap} by {by}"),
    };
    let key = |key: &Expression| format!("{} {}", key.meaning(), type_name(key.data_type()));
    let keys: Vec<String> = grouping.keys().iter().map(key).collect();
    let call = |call: &AggregateCall| {
        let args: Vec<String> = call.args.iter().chain(&call.filter).map(Expression::meaning).collect();
        let of = if args.is_empty() { String::new() } else { format!(" ({})", args.join("; ")) };
        format!("{}{of} {}", call.name, type_name(&call.ty))
    };
    let calls: Vec<String> = grouping.calls().iter().map(call).collect();
    format!("aggregation 3: {time}; keys {}; {}", keys.join(", "), calls.join(", "))
}

/// An interval in the largest unit that it has a whole number of.
fn interval(micros: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (86_400_000_000, "days"),
        (3_600_000_000, "hours"),
        (60_000_000, "minutes"),
        (1_000_000, "seconds"),
        (1000, "milliseconds"),
        (1, "microseconds"),
    ];
    let fits = |(unit, _): &&(i64, &str)| micros % unit == 0;
    match UNITS.iter().find(fits) {
        Some((unit, name)) if micros != 0 => match micros / unit {
            1 => format!("1 {}", name.trim_end_matches('s')),
            count => format!("{count} {name}"),
        },
        _ => "0 seconds".to_owned(),
    }
}

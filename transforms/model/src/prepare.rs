//! What is done to columns before the trees see them: labels become numbers, columns become features.

mod column;

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use levada_connector_api::{Error, Result};

pub(crate) use self::column::Values;
use self::column::{Column, has_nan, load, numbers};

use crate::model::{Invalid, Model};

/// The labels of one feature: text that becomes its place in the list.
#[derive(Debug, Clone)]
pub struct Labels {
    /// The feature.
    pub feature: usize,
    labels: Vec<String>,
    places: HashMap<String, u32>,
    /// An unseen label becomes the next known one's number, as XGBoost has it; otherwise it is missing.
    next: bool,
}

impl Labels {
    pub(crate) fn new(feature: usize, labels: Vec<String>, next: bool) -> Self {
        let places = labels.iter().enumerate().map(|(place, label)| (label.clone(), place as u32)).collect();
        Self { feature, labels, places, next }
    }

    fn code(&self, label: &str) -> Option<f64> {
        if let Some(place) = self.places.get(label) {
            return Some(f64::from(*place));
        }
        // Labels that are numbers may be written in several ways.
        if let Ok(number) = label.parse::<f64>()
            && let Some(place) = self.labels.iter().position(|known| known.parse::<f64>().is_ok_and(|n| n == number))
        {
            return Some(place as f64);
        }
        if !self.next {
            return None;
        }
        // XGBoost 3.2 keeps as many bytes of a label as it has characters, in models as in what it predicts.
        let cut = label.as_bytes().get(..label.chars().count()).unwrap_or_default();
        if let Some(place) = self.places.get(&*String::from_utf8_lossy(cut)) {
            return Some(f64::from(*place));
        }
        let place = self.labels.partition_point(|known| known.as_bytes() < label.as_bytes());
        (place < self.labels.len()).then_some(place as f64)
    }
}

/// A list of labels, and what becomes of others.
#[derive(Debug, Clone)]
pub struct Indexer {
    /// The column that it reads.
    pub input: String,
    /// The column that it makes.
    pub output: String,
    /// Labels and their numbers.
    pub places: HashMap<String, u32>,
}

/// A step.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Features that are labels (XGBoost, LightGBM).
    Labels(Vec<Labels>),
    /// Spark's StringIndexer.
    StringIndexer {
        /// A list of labels for each column.
        columns: Vec<Indexer>,
        /// What becomes of unseen labels and null.
        invalid: Invalid,
    },
    /// Spark's VectorAssembler.
    Assemble {
        /// The columns, which may be vectors.
        inputs: Vec<String>,
        /// The vector.
        output: String,
        /// What becomes of null and NaN.
        invalid: Invalid,
    },
    /// Spark's VectorIndexer.
    VectorIndexer {
        /// The vector that it reads.
        input: String,
        /// The vector that it makes.
        output: String,
        /// For each entry that is categorical, its values and their numbers.
        maps: Vec<(usize, Vec<(f64, f64)>)>,
        /// What becomes of other values.
        invalid: Invalid,
    },
    /// The vector with the features.
    Take(String),
    /// ONNX: each feature is one of the columns, changed step by step.
    Each(Vec<(usize, Vec<Op>)>),
}

/// A change of one feature (ONNX).
#[derive(Debug, Clone)]
pub enum Op {
    /// `(x - offset) * scale`, in `f32`.
    Scale {
        /// What is subtracted.
        offset: f32,
        /// What is multiplied with.
        scale: f32,
    },
    /// A value takes the place of another.
    Impute {
        /// What is replaced; NaN stands for NaN.
        replaced: f32,
        /// What takes its place.
        by: f32,
    },
    /// Rounded to `f32`.
    Narrow,
    /// Cut towards zero.
    Cut,
    /// 1 above the threshold, 0 elsewhere.
    Above(f32),
    /// 1 where it is this number, 0 elsewhere.
    Is(f64),
    /// 1 where it is this text, 0 elsewhere.
    IsText(String),
    /// Text becomes a number.
    Encode {
        /// Labels and their numbers.
        numbers: HashMap<String, f64>,
        /// What others become.
        default: f64,
    },
    /// Numbers become others.
    Map {
        /// Numbers and what they become.
        pairs: Vec<(f64, f64)>,
        /// What others become.
        default: f64,
    },
}

impl Op {
    fn apply(&self, x: f64) -> f64 {
        match self {
            Self::Scale { offset, scale } => f64::from((x as f32 - offset) * scale),
            Self::Impute { replaced, by } => {
                let fits = if replaced.is_nan() { x.is_nan() } else { x as f32 == *replaced };
                if fits { f64::from(*by) } else { x }
            }
            Self::Narrow => f64::from(x as f32),
            Self::Cut => x.trunc(),
            Self::Above(threshold) => f64::from(u8::from(x as f32 > *threshold)),
            Self::Is(value) => f64::from(u8::from(x == *value)),
            Self::Map { pairs, default } => {
                pairs.iter().find(|(key, _)| *key == x || (key.is_nan() && x.is_nan())).map_or(*default, |(_, to)| *to)
            }
            Self::IsText(_) | Self::Encode { .. } => f64::NAN,
        }
    }

    fn text(&self, text: &str) -> f64 {
        match self {
            Self::IsText(label) => f64::from(u8::from(label == text)),
            Self::Encode { numbers, default } => numbers.get(text).copied().unwrap_or(*default),
            other => other.apply(text.trim().parse().unwrap_or(f64::NAN)),
        }
    }
}

fn chain(column: &Column, ops: &[Op]) -> Vec<f64> {
    let (mut values, rest) = match column {
        Column::Numbers { values, .. } => (values.to_vec(), ops),
        Column::Vector(_) => (Vec::new(), ops),
        Column::Text(text) => {
            let (first, rest) = ops.split_first().map_or((None, ops), |(first, rest)| (Some(first), rest));
            let value = |at: usize| match first {
                Some(op) => op.text(if text.is_null(at) { "" } else { text.value(at) }),
                None => f64::NAN,
            };
            ((0..text.len()).map(value).collect(), rest)
        }
    };
    for op in rest {
        values.iter_mut().for_each(|x| *x = op.apply(*x));
    }
    values
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// It is scored.
    Good,
    /// It is left out.
    Skipped,
    /// It cannot be scored: why.
    Bad(String),
}

/// Features, and what became of rows; all are good where there is no list.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) features: Vec<Values<'a>>,
    pub(crate) rows: Option<Vec<Row>>,
}

/// Rows that are judged only when one of them is not good.
struct Judge {
    count: usize,
    rows: Option<Vec<Row>>,
}

impl Judge {
    fn mark(&mut self, at: usize, invalid: Invalid, reason: impl FnOnce() -> String) {
        let count = self.count;
        let rows = self.rows.get_or_insert_with(|| vec![Row::Good; count]);
        if let Some(row) = rows.get_mut(at).filter(|row| **row == Row::Good) {
            match invalid {
                Invalid::Error => *row = Row::Bad(reason()),
                Invalid::Skip => *row = Row::Skipped,
                Invalid::Keep => {}
            }
        }
    }
}

/// Makes the features of `model` from its input columns, in their order.
pub(crate) fn prepare<'a>(
    model: &Model,
    columns: &'a [ArrayRef],
    rows: usize,
    choice: Option<Invalid>,
) -> Result<Prepared<'a>> {
    if columns.len() != model.inputs.len() {
        let message = format!("the model reads {} columns, {} are given", model.inputs.len(), columns.len());
        return Err(Error::config(message));
    }
    let mut judge = Judge { count: rows, rows: None };
    if model.stages.is_empty() {
        let invalid = choice.unwrap_or(model.invalid);
        let features =
            columns.iter().zip(&model.inputs).map(|(column, input)| direct(column, &input.name, invalid, &mut judge));
        let features = features.collect::<Result<_>>()?;
        return Ok(Prepared { features, rows: judge.rows });
    }
    let mut table = HashMap::new();
    let mut features = Vec::new();
    let by_name = model.stages.iter().any(|stage| matches!(stage, Stage::Take(_)));
    if by_name {
        for (column, input) in columns.iter().zip(&model.inputs) {
            table.insert(input.name.clone(), load(column, input.text, &input.name)?);
        }
    } else {
        let loaded = columns.iter().zip(&model.inputs).map(|(column, input)| load(column, input.text, &input.name));
        features = loaded.collect::<Result<Vec<_>>>()?;
    }
    let mut ready: Vec<ScalarBuffer<f64>> = Vec::new();
    for stage in &model.stages {
        match stage {
            Stage::Labels(all) => {
                let invalid = choice.unwrap_or(model.invalid);
                for labels in all {
                    label(features.get_mut(labels.feature), invalid, &mut judge, |text| labels.code(text));
                }
            }
            Stage::StringIndexer { columns, invalid } => {
                for indexer in columns {
                    index(&mut table, indexer, choice.unwrap_or(*invalid), &mut judge);
                }
            }
            Stage::Assemble { inputs, output, invalid } => {
                let vector = assemble(&table, inputs, choice.unwrap_or(*invalid), &mut judge)?;
                table.insert(output.clone(), Column::Vector(vector));
            }
            Stage::VectorIndexer { input, output, maps, invalid } => {
                let Some(Column::Vector(vector)) = table.get(input) else {
                    return Err(Error::config(format!("VectorIndexer: there is no vector '{input}'")));
                };
                let mut vector = vector.clone();
                for (at, map) in maps {
                    if let Some(values) = vector.get_mut(*at) {
                        *values = categorize(values, map, choice.unwrap_or(*invalid), *at, &mut judge);
                    }
                }
                table.insert(output.clone(), Column::Vector(vector));
            }
            Stage::Take(name) => match table.remove(name) {
                Some(Column::Vector(vector)) => ready = vector,
                Some(Column::Numbers { values, .. }) => ready = vec![values],
                _ => return Err(Error::config(format!("no stage makes the features '{name}'"))),
            },
            Stage::Each(all) => {
                let made = |(source, ops): &(usize, Vec<Op>)| Some(chain(features.get(*source)?, ops).into());
                ready = all
                    .iter()
                    .map(made)
                    .collect::<Option<_>>()
                    .ok_or_else(|| Error::internal("a feature has no column"))?;
                features.clear();
            }
        }
    }
    for feature in features {
        match feature {
            Column::Numbers { values, .. } => ready.push(values),
            Column::Text(text) => ready.push(vec![f64::NAN; text.len()].into()),
            Column::Vector(vector) => ready.extend(vector),
        }
    }
    let features = ready.into_iter().map(Values::Made).collect();
    Ok(Prepared { features, rows: judge.rows })
}

/// A column as it stands in Arrow, where it is of floats without null.
fn direct<'a>(column: &'a ArrayRef, name: &str, invalid: Invalid, judge: &mut Judge) -> Result<Values<'a>> {
    let values = if column.null_count() == 0 {
        match column.data_type() {
            DataType::Float64 => Values::F64(column.as_primitive::<Float64Type>().values()),
            DataType::Float32 => Values::F32(column.as_primitive::<Float32Type>().values()),
            _ => Values::Made(numbers(column, name)?.0),
        }
    } else {
        Values::Made(numbers(column, name)?.0)
    };
    if invalid != Invalid::Keep && values.has_nan() {
        for at in (0..column.len()).filter(|at| values.is_nan(*at)) {
            let what = if column.is_null(at) { "null" } else { "NaN" };
            judge.mark(at, invalid, || missing(what, name));
        }
    }
    Ok(values)
}

fn missing(what: &str, name: &str) -> String {
    format!("column '{name}' is {what} (with handle.invalid=keep it is scored as missing, with skip it is left out)")
}

fn label(column: Option<&mut Column>, invalid: Invalid, judge: &mut Judge, code: impl Fn(&str) -> Option<f64>) {
    let Some(column) = column else { return };
    let Column::Text(text) = &*column else { return };
    let mut values = Vec::with_capacity(text.len());
    for at in 0..text.len() {
        let found = if text.is_null(at) { None } else { code(text.value(at)) };
        if found.is_none() && !(text.is_null(at) && invalid == Invalid::Keep) {
            judge.mark(at, invalid, || match text.is_null(at) {
                true => "the label is null".into(),
                false => format!("unseen label '{}'", text.value(at)),
            });
        }
        values.push(found.unwrap_or(f64::NAN));
    }
    *column = Column::of(values);
}

fn index(table: &mut HashMap<String, Column>, indexer: &Indexer, invalid: Invalid, judge: &mut Judge) {
    // Spark passes over a column that is not there.
    let Some(Column::Text(text)) = table.get(&indexer.input) else { return };
    let unknown = indexer.places.len() as f64;
    let mut values = Vec::with_capacity(text.len());
    for at in 0..text.len() {
        let place = if text.is_null(at) { None } else { indexer.places.get(text.value(at)) };
        if place.is_none() {
            judge.mark(at, invalid, || match text.is_null(at) {
                true => format!("column '{}': null, where a label is needed", indexer.input),
                false => format!("column '{}': unseen label '{}'", indexer.input, text.value(at)),
            });
        }
        values.push(place.map_or(unknown, |place| f64::from(*place)));
    }
    table.insert(indexer.output.clone(), Column::of(values));
}

fn assemble(
    table: &HashMap<String, Column>,
    inputs: &[String],
    invalid: Invalid,
    judge: &mut Judge,
) -> Result<Vec<ScalarBuffer<f64>>> {
    let mut vector = Vec::new();
    for name in inputs {
        match table.get(name) {
            Some(Column::Numbers { values, nulls }) => {
                if invalid != Invalid::Keep && has_nan(values) {
                    for (at, _) in values.iter().enumerate().filter(|(_, x)| x.is_nan()) {
                        let null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(at));
                        judge.mark(at, invalid, || missing(if null { "null" } else { "NaN" }, name));
                    }
                }
                vector.push(values.clone());
            }
            Some(Column::Vector(columns)) => vector.extend(columns.iter().cloned()),
            Some(Column::Text(_)) => return Err(Error::config(format!("column '{name}' is text, not a number"))),
            None => return Err(Error::config(format!("VectorAssembler: there is no column '{name}'"))),
        }
    }
    Ok(vector)
}

fn categorize(
    values: &[f64],
    map: &[(f64, f64)],
    invalid: Invalid,
    entry: usize,
    judge: &mut Judge,
) -> ScalarBuffer<f64> {
    let category = |(at, x): (usize, &f64)| match map.iter().find(|(value, _)| value == x) {
        Some((_, category)) => *category,
        None => {
            judge.mark(at, invalid, || format!("entry {entry} of the features is {x}, an unseen category"));
            map.len() as f64
        }
    };
    values.iter().enumerate().map(category).collect()
}

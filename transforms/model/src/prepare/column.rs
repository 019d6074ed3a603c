//! Columns on their way to be features.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use levada_connector_api::{Error, Result};
use levada_formats::scalar::{format_double, format_float};

/// A feature's values.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    Made(ScalarBuffer<f64>),
}

impl Values<'_> {
    /// Whether one of them is NaN.
    pub(super) fn has_nan(&self) -> bool {
        match self {
            Self::F64(values) => has_nan(values),
            Self::F32(values) => values.iter().fold(false, |found, x| found | x.is_nan()),
            Self::Made(values) => has_nan(values),
        }
    }

    pub(super) fn is_nan(&self, at: usize) -> bool {
        match self {
            Self::F64(values) => values.get(at).is_some_and(|x| x.is_nan()),
            Self::F32(values) => values.get(at).is_some_and(|x| x.is_nan()),
            Self::Made(values) => values.get(at).is_some_and(|x| x.is_nan()),
        }
    }
}

/// Whether one of `values` is NaN. All are looked at: that is quicker than to ask after each.
pub(super) fn has_nan(values: &[f64]) -> bool {
    values.iter().fold(false, |found, x| found | x.is_nan())
}

/// A column. Copies of it share its values.
#[derive(Debug, Clone)]
pub(super) enum Column {
    Text(StringArray),
    /// Numbers; null is NaN.
    Numbers {
        values: ScalarBuffer<f64>,
        nulls: Option<NullBuffer>,
    },
    Vector(Vec<ScalarBuffer<f64>>),
}

impl Column {
    /// Numbers without null.
    pub(super) fn of(values: Vec<f64>) -> Self {
        Self::Numbers { values: values.into(), nulls: None }
    }
}

/// A column as numbers, and which of them are null; these are NaN.
pub(super) fn numbers(column: &ArrayRef, name: &str) -> Result<(ScalarBuffer<f64>, Option<NullBuffer>)> {
    let kind = column.data_type();
    if !(kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Null)) {
        return Err(Error::config(format!("column '{name}' is {kind}, the model needs a number"))
            .hint("choose another column, or cast it before"));
    }
    let floats = cast(column, &DataType::Float64)?;
    let floats = floats.as_primitive::<Float64Type>();
    if floats.null_count() == 0 {
        return Ok((floats.values().clone(), None));
    }
    let values: Vec<f64> = floats.iter().map(|x| x.unwrap_or(f64::NAN)).collect();
    Ok((values.into(), floats.nulls().cloned()))
}

pub(super) fn load(column: &ArrayRef, text: bool, name: &str) -> Result<Column> {
    if text {
        return Ok(Column::Text(texts(column, name)?));
    }
    let (values, nulls) = numbers(column, name)?;
    Ok(Column::Numbers { values, nulls })
}

/// A column as text, numbers written as Java does it.
fn texts(column: &ArrayRef, name: &str) -> Result<StringArray> {
    match column.data_type() {
        DataType::Float32 => {
            let floats = column.as_primitive::<Float32Type>();
            Ok(floats.iter().map(|x| x.map(format_float)).collect())
        }
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            Ok(floats.iter().map(|x| x.map(format_double)).collect())
        }
        kind if kind.is_nested() => Err(Error::config(format!("column '{name}' is {kind}, the model needs a label"))),
        _ => Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

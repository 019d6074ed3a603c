//! Scores as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use levada_connector_api::{Error, Result};

use super::config::Options;
use crate::head::Scores;
use crate::model::Model;

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(of, false)))
}

/// The columns that are added, in order.
///
/// # Errors
/// The model does not give what is asked for.
pub(super) fn fields(options: &Options, model: &Model) -> Result<Vec<Field>> {
    let lacks = |key: &str, what: &str| {
        Error::config(format!("{}{key}: the model '{}' has no {what}", options.prefix, options.model.display()))
            .hint("leave the option out")
    };
    let mut fields = Vec::new();
    for (key, name) in options.columns() {
        let kind = match key {
            "output" if model.text => DataType::Utf8,
            "output" if model.head.predictions(model.forest.targets) > 1 => list(DataType::Float64),
            "output" => DataType::Float64,
            "label.column" if model.labels.is_none() => return Err(lacks(key, "labels")),
            "label.column" | "version.column" => DataType::Utf8,
            "probability.column" if model.classes() == 0 => return Err(lacks(key, "classes: it is a regression")),
            "raw.column" if model.head.raws(model.forest.targets) == 0 => return Err(lacks(key, "raw prediction")),
            "leaf.column" => list(DataType::Int32),
            "variance.column" => DataType::Float64,
            _ => list(DataType::Float64),
        };
        fields.push(Field::new(name, kind, false));
    }
    Ok(fields)
}

/// The columns, as [`fields`] has them.
pub(super) fn columns(options: &Options, model: &Model, scores: Scores) -> Vec<ArrayRef> {
    let rows = scores.rows;
    let labels = |classes: &[f64]| -> ArrayRef {
        let names = model.labels.as_deref().unwrap_or_default();
        let label = |class: &f64| names.get(*class as usize).map_or("", String::as_str);
        Arc::new(StringArray::from_iter_values(classes.iter().map(label)))
    };
    let Scores { prediction, classes, probability, raws, raw, trees, leaves, variance, .. } = scores;
    let label = options.label.as_ref().map(|_| labels(&prediction));
    let wide = model.head.predictions(model.forest.targets);
    let first: ArrayRef = match wide {
        _ if model.text => labels(&prediction),
        1 => Arc::new(Float64Array::from(prediction)),
        wide => lists(Arc::new(Float64Array::from(prediction)), rows, wide),
    };
    let mut columns = vec![first];
    columns.extend(label);
    if options.probability.is_some() {
        columns.push(lists(Arc::new(Float64Array::from(probability)), rows, classes));
    }
    if options.raw.is_some() {
        columns.push(lists(Arc::new(Float64Array::from(raw)), rows, raws));
    }
    if options.leaf.is_some() {
        let leaves: Int32Array = leaves.iter().map(|leaf| *leaf as i32).collect();
        columns.push(lists(Arc::new(leaves), rows, trees));
    }
    if options.variance.is_some() {
        columns.push(Arc::new(Float64Array::from(variance)));
    }
    if options.version.is_some() {
        let version = format!("{:016x}", model.version);
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(version.as_str(), rows))));
    }
    columns
}

/// Lists of `width` values each.
fn lists(values: ArrayRef, rows: usize, width: usize) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), false));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(width, rows));
    Arc::new(ListArray::new(field, offsets, values, None))
}

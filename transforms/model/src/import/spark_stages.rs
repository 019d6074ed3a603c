//! The stages of a Spark pipeline.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{Float64Type, Int32Type};
use levada_connector_api::{Error, Result};
use serde_json::Value;

use super::spark_files::{class, rows, text, texts};
use crate::model::Invalid;
use crate::prepare::{Indexer, Stage};

/// What a stage is to the model.
pub(super) enum Part {
    /// A step before the trees.
    Before(Stage),
    /// The labels of a column of predictions: that column, the column made, the labels.
    Labels { input: String, output: String, labels: Vec<String> },
    /// The trees.
    Trees,
}

pub(super) fn read(folder: &Path, metadata: &Value) -> Result<Part> {
    let invalid = || {
        let name = text(metadata, "handleInvalid");
        Invalid::parse(&name).ok_or_else(|| Error::unsupported(format!("handleInvalid '{name}'")))
    };
    Ok(match class(metadata) {
        "StringIndexerModel" => {
            let inputs = texts(metadata, "inputCols", "inputCol");
            let outputs = texts(metadata, "outputCols", "outputCol");
            let lists = label_lists(folder)?;
            if inputs.len() != outputs.len() || lists.len() != inputs.len() {
                let message =
                    format!("{} columns, {} names, {} lists of labels", inputs.len(), outputs.len(), lists.len());
                return Err(Error::corrupt(message));
            }
            let columns = inputs.into_iter().zip(outputs).zip(lists).map(|((input, output), labels)| Indexer {
                input,
                output,
                places: labels.into_iter().enumerate().map(|(place, label)| (label, place as u32)).collect(),
            });
            Part::Before(Stage::StringIndexer { columns: columns.collect(), invalid: invalid()? })
        }
        "VectorAssembler" => Part::Before(Stage::Assemble {
            inputs: texts(metadata, "inputCols", "inputCol"),
            output: text(metadata, "outputCol"),
            invalid: invalid()?,
        }),
        "VectorIndexerModel" => Part::Before(Stage::VectorIndexer {
            input: text(metadata, "inputCol"),
            output: text(metadata, "outputCol"),
            maps: category_maps(folder)?,
            invalid: invalid()?,
        }),
        "IndexToString" => {
            let labels = metadata.get("paramMap").and_then(|map| map.get("labels")).and_then(Value::as_array);
            let labels: Vec<String> =
                labels.into_iter().flatten().filter_map(|label| label.as_str().map(str::to_owned)).collect();
            if labels.is_empty() {
                return Err(Error::unsupported("an IndexToString without labels")
                    .hint("set its labels before the pipeline is fitted"));
            }
            Part::Labels { input: text(metadata, "inputCol"), output: text(metadata, "outputCol"), labels }
        }
        "DecisionTreeClassificationModel"
        | "DecisionTreeRegressionModel"
        | "RandomForestClassificationModel"
        | "RandomForestRegressionModel"
        | "GBTClassificationModel"
        | "GBTRegressionModel" => Part::Trees,
        other => return Err(Error::unsupported(format!("the stage {other} is not known"))),
    })
}

fn label_lists(folder: &Path) -> Result<Vec<Vec<String>>> {
    let damaged = || Error::corrupt("the labels are not there");
    let batches = rows(&folder.join("data"))?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).ok_or_else(damaged)?;
    let strings = |array: &ArrayRef| -> Result<Vec<String>> {
        let array = array.as_any().downcast_ref::<StringArray>().ok_or_else(damaged)?;
        Ok(array.iter().map(|label| label.unwrap_or_default().to_owned()).collect())
    };
    let first = |array: &ArrayRef| array.as_list_opt::<i32>().filter(|list| !list.is_empty()).map(|list| list.value(0));
    match (batch.column_by_name("labelsArray"), batch.column_by_name("labels")) {
        (Some(lists), _) => {
            let lists = first(lists).ok_or_else(damaged)?;
            let lists = lists.as_list_opt::<i32>().ok_or_else(damaged)?;
            (0..lists.len()).map(|at| strings(&lists.value(at))).collect()
        }
        (None, Some(labels)) => Ok(vec![strings(&first(labels).ok_or_else(damaged)?)?]),
        _ => Err(damaged()),
    }
}

type CategoryMaps = Vec<(usize, Vec<(f64, f64)>)>;

fn category_maps(folder: &Path) -> Result<CategoryMaps> {
    let damaged = || Error::corrupt("the categoryMaps are not there");
    let batches = rows(&folder.join("data"))?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).ok_or_else(damaged)?;
    let outer = batch.column_by_name("categoryMaps").and_then(|column| column.as_map_opt()).ok_or_else(damaged)?;
    let entries = outer.value(0);
    let keys = entries.column(0).as_primitive_opt::<Int32Type>().ok_or_else(damaged)?;
    let inner = entries.column(1).as_map_opt().ok_or_else(damaged)?;
    let mut maps = Vec::new();
    for at in 0..keys.len() {
        let map = inner.value(at);
        let values = map.column(0).as_primitive_opt::<Float64Type>().ok_or_else(damaged)?;
        let numbers = map.column(1).as_primitive_opt::<Int32Type>().ok_or_else(damaged)?;
        let pairs = values.values().iter().zip(numbers.values()).map(|(value, number)| (*value, f64::from(*number)));
        let feature = usize::try_from(keys.value(at)).map_err(|_| damaged())?;
        maps.push((feature, pairs.collect()));
    }
    Ok(maps)
}

//! `levada model`.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};
use clap::Subcommand;
use levada_connector_api::{Error, Result};
use levada_transform_model::train::{Impurity, Parameters, Report, Trained, train};
use levada_transform_model::{Ask, Invalid, Model, Row, Scored, Scorer, describe, load};

use crate::{Exit, print, say};

/// What `levada model --help` shows at the end.
pub(crate) const EXAMPLES: &str = "Examples:
  levada model inspect examples/iris/model
  levada model inspect examples/iris/model --svg > tree.svg
  levada model score examples/iris/model examples/iris/input/1.csv
  levada model train iris.csv --label _c4 --out models/iris";

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Shows a model: format, columns, classes, trees; draws trees as text, or one as SVG.
    Inspect {
        /// The model: a folder of Spark ML, or a file.
        model: PathBuf,
        /// How many trees to draw.
        #[arg(long, default_value_t = 1)]
        trees: usize,
        /// How many levels to draw.
        #[arg(long, default_value_t = 6)]
        levels: usize,
        /// Prints the tree of this number as SVG instead; the first is 0.
        #[arg(long, value_name = "TREE", num_args = 0..=1, default_missing_value = "0")]
        svg: Option<usize>,
    },
    /// Scores the rows of a CSV file and prints them with their predictions.
    Score {
        /// The model.
        model: PathBuf,
        /// The CSV file.
        rows: PathBuf,
        /// The first line has the columns' names; otherwise they are _c0, _c1 and so on.
        #[arg(long)]
        header: bool,
        /// The columns that the model reads, in its order.
        #[arg(long, value_delimiter = ',')]
        features: Vec<String>,
        /// Prints probabilities, too.
        #[arg(long)]
        probability: bool,
        /// What becomes of rows that the model cannot take: error, skip or keep.
        #[arg(long, value_name = "CHOICE", value_parser = invalid)]
        handle_invalid: Option<Invalid>,
    },
    /// Trains a decision tree classifier on a CSV file, and saves it as Spark ML does.
    Train {
        /// The CSV file.
        rows: PathBuf,
        /// The first line has the columns' names; otherwise they are _c0, _c1 and so on.
        #[arg(long)]
        header: bool,
        /// The column to predict.
        #[arg(long)]
        label: String,
        /// The columns to predict it from. Not given: all others.
        #[arg(long, value_delimiter = ',')]
        features: Vec<String>,
        /// The folder for the model. It must not exist.
        #[arg(long)]
        out: PathBuf,
        /// The impurity: gini or entropy.
        #[arg(long, default_value = "gini", value_parser = Impurity::parse)]
        impurity: Impurity,
        /// The deepest level (Spark's maxDepth).
        #[arg(long, default_value_t = 5)]
        max_depth: u32,
        /// The most candidates for a split of a feature, plus one (Spark's maxBins).
        #[arg(long, default_value_t = 32)]
        max_bins: usize,
        /// The fewest rows of a node (Spark's minInstancesPerNode).
        #[arg(long, default_value_t = 1)]
        min_instances_per_node: usize,
        /// The least gain of a split (Spark's minInfoGain).
        #[arg(long, default_value_t = 0.0)]
        min_info_gain: f64,
    },
}

fn invalid(text: &str) -> Result<Invalid, String> {
    Invalid::parse(text).ok_or_else(|| "use error, skip or keep".to_owned())
}

/// Runs a command.
pub(crate) fn run(command: ModelCommand) -> Result<(), Exit> {
    let answer = match command {
        ModelCommand::Inspect { model, trees, levels, svg } => load(&model).and_then(|model| match svg {
            None => Ok(describe(&model, trees, levels)),
            Some(tree) => levada_transform_model::svg(&model, tree, levels).ok_or_else(|| {
                Error::config(format!("there is no tree {tree}, the model has {}", model.forest.trees.len()))
            }),
        }),
        ModelCommand::Score { model, rows, header, features, probability, handle_invalid } => {
            score(&model, &rows, header, &features, probability, handle_invalid)
        }
        ModelCommand::Train {
            rows,
            header,
            label,
            features,
            out,
            impurity,
            max_depth,
            max_bins,
            min_instances_per_node,
            min_info_gain,
        } => {
            let parameters = Parameters { impurity, max_depth, max_bins, min_instances_per_node, min_info_gain };
            fit(&rows, header, &label, features, &out, &parameters)
        }
    };
    match answer {
        Ok(text) => print(&text),
        Err(error) => {
            say(&format!("error: {error}"));
            Err(Exit::Usage)
        }
    }
}

/// The rows of a CSV file, all columns as text. An empty field is null.
fn read(path: &Path, header: bool) -> Result<RecordBatch> {
    let place = path.display().to_string();
    let open = || File::open(path).map_err(|error| Error::io(&place, error));
    let wrong = |error: arrow::error::ArrowError| Error::data(error.to_string()).context(place.clone());
    let (schema, _) = Format::default().with_header(header).infer_schema(open()?, Some(1)).map_err(wrong)?;
    let name = |(at, field): (usize, &Arc<Field>)| if header { field.name().clone() } else { format!("_c{at}") };
    let fields = schema.fields().iter().enumerate().map(name).map(|name| Field::new(name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader = ReaderBuilder::new(Arc::clone(&schema)).with_header(header).build(open()?).map_err(wrong)?;
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    concat_batches(&schema, &batches).map_err(wrong)
}

fn text(rows: &RecordBatch, name: &str) -> Result<StringArray> {
    let column = rows.column_by_name(name).ok_or_else(|| {
        let schema = rows.schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::config(format!("there is no column '{name}'; there are {}", names.join(", ")))
            .hint("name others with --features, or say that the file has a --header")
    })?;
    Ok(column.as_string::<i32>().clone())
}

fn numbers(rows: &RecordBatch, name: &str) -> Result<Float64Array> {
    let column = text(rows, name)?;
    let number = |(at, field): (usize, Option<&str>)| match field {
        None => Ok(None),
        Some(field) => field.trim().parse::<f64>().map(Some).map_err(|_| {
            Error::data(format!("'{field}' is no number")).context(format!("row {}, column '{name}'", at + 1))
        }),
    };
    column.iter().enumerate().map(number).collect::<Result<Vec<_>>>().map(Float64Array::from)
}

fn score(
    model: &Path,
    path: &Path,
    header: bool,
    features: &[String],
    probability: bool,
    invalid: Option<Invalid>,
) -> Result<String> {
    let scorer = Scorer::new(load(model)?);
    let model = scorer.model();
    let rows = read(path, header)?;
    let schema = rows.schema();
    let present = |name: &String| schema.field_with_name(name).is_ok();
    let own: Vec<String> = model.inputs.iter().map(|input| input.name.clone()).collect();
    let names: Vec<String> = match features {
        // Without names that fit, the first columns are taken.
        [] if model.named && own.iter().all(present) => own,
        [] if model.named && header => own,
        [] => schema.fields().iter().map(|field| field.name().clone()).take(model.inputs.len()).collect(),
        given => given.to_vec(),
    };
    let column = |(name, input): (&String, &levada_transform_model::Input)| -> Result<ArrayRef> {
        Ok(if input.text { Arc::new(text(&rows, name)?) } else { Arc::new(numbers(&rows, name)?) })
    };
    let columns = names.iter().zip(&model.inputs).map(column).collect::<Result<Vec<_>>>()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let ask = Ask { invalid, threads, ..Ask::default() };
    let scored = scorer.score(&columns, rows.num_rows(), &ask)?;
    table(model, &rows, &scored, probability)
}

fn table(model: &Model, rows: &RecordBatch, scored: &Scored, probability: bool) -> Result<String> {
    let scores = &scored.scores;
    let mut out = String::new();
    let schema = rows.schema();
    let mut names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let wide = scores.prediction.len() / scores.rows.max(1);
    match wide {
        0 | 1 => names.push("prediction".into()),
        wide => names.extend((0..wide).map(|at| format!("prediction_{at}"))),
    }
    names.extend(model.labels.iter().map(|_| "label".to_owned()));
    if probability {
        names.extend((0..scores.classes).map(|at| format!("probability_{at}")));
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", names.join(","));
    for row in 0..scores.rows {
        match scored.rows.as_ref().and_then(|rows| rows.get(row)) {
            Some(Row::Bad(reason)) => return Err(Error::data(reason.clone()).context(format!("row {}", row + 1))),
            Some(Row::Skipped) => continue,
            _ => {}
        }
        let mut fields: Vec<String> = Vec::with_capacity(names.len());
        for column in rows.columns() {
            let column = column.as_string::<i32>();
            fields.push(if column.is_null(row) { String::new() } else { quoted(column.value(row)) });
        }
        let predictions = scores.prediction.get(row * wide..(row + 1) * wide).unwrap_or_default();
        fields.extend(predictions.iter().map(f64::to_string));
        if let (Some(labels), Some(class)) = (&model.labels, predictions.first()) {
            fields.push(quoted(labels.get(*class as usize).map_or("", String::as_str)));
        }
        if probability {
            let shares = scores.probability.get(row * scores.classes..(row + 1) * scores.classes);
            fields.extend(shares.unwrap_or_default().iter().map(f64::to_string));
        }
        let _ = writeln!(out, "{}", fields.join(","));
    }
    Ok(out)
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn fit(
    path: &Path,
    header: bool,
    label: &str,
    features: Vec<String>,
    out: &Path,
    parameters: &Parameters,
) -> Result<String> {
    let rows = read(path, header)?;
    let labels = text(&rows, label)?;
    let schema = rows.schema();
    let others = || schema.fields().iter().map(|field| field.name().clone()).filter(|name| name != label).collect();
    let features: Vec<String> = if features.is_empty() { others() } else { features };
    let columns = features.iter().map(|name| Ok(numbers(&rows, name)?.iter().map(|x| x.unwrap_or(f64::NAN)).collect()));
    let columns: Vec<Vec<f64>> = columns.collect::<Result<_>>()?;
    let labels: Vec<&str> = labels.iter().map(Option::unwrap_or_default).collect();
    let trained = train(&columns, &labels, parameters)?;
    trained.save(out, &features, label)?;
    Ok(report(&trained, &features, out))
}

fn report(trained: &Trained, features: &[String], out: &Path) -> String {
    let Report { accuracy, confusion, importances } = &trained.report;
    let mut text = String::new();
    let _ = writeln!(text, "saved {} ({} nodes, depth {})", out.display(), trained.nodes.len(), trained.depth());
    let _ = writeln!(text, "accuracy on the training rows {accuracy:.4}");
    let _ = writeln!(text, "\nconfusion (a line for each class, a column for each prediction)");
    for (label, counts) in trained.labels.iter().zip(confusion) {
        let counts: Vec<String> = counts.iter().map(|count| format!("{count:>8}")).collect();
        let _ = writeln!(text, "{label:<24}{}", counts.join(""));
    }
    let _ = writeln!(text, "\nimportances");
    for (name, importance) in features.iter().zip(importances) {
        let _ = writeln!(text, "{name:<24}{importance:>8.4}");
    }
    text
}

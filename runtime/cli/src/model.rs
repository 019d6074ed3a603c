//! `levada model`.

mod rows;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Subcommand;
use levada_connector_api::{Error, Result};
use levada_transform_model::train::{Impurity, Parameters, Quality, Subset, Target, Trained, train};
use levada_transform_model::{Ask, Invalid, Model, Row, Scored, Scorer, describe, load};

use crate::{Exit, print, say};
use rows::{known, numbers, read, text};

/// What `levada model --help` shows at the end.
pub(crate) const EXAMPLES: &str = "Examples:
  levada model inspect examples/iris/model
  levada model inspect examples/iris/model --svg > tree.svg
  levada model score examples/iris/model examples/iris/input/1.csv
  levada model train iris.csv --label _c4 --out models/iris
  levada model train rows.parquet --label price --regression --num-trees 50 --out models/prices";

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
    /// Scores the rows of a CSV or Parquet file and prints them with their predictions.
    Score {
        /// The model.
        model: PathBuf,
        /// The file: CSV or Parquet, or a folder of Parquet files.
        rows: PathBuf,
        /// The first line of CSV has the columns' names; otherwise they are _c0, _c1 and so on.
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
    /// Trains a decision tree or a random forest on a CSV or Parquet file, and saves it as Spark ML does.
    Train(Box<Training>),
}

/// What `levada model train` may be told; Spark's names of options (`--maxDepth`) are understood, too.
#[derive(clap::Args)]
pub(crate) struct Training {
    /// The file: CSV or Parquet, or a folder of Parquet files.
    rows: PathBuf,
    /// The first line of CSV has the columns' names; otherwise they are _c0, _c1 and so on.
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
    /// Predicts a number, not a class.
    #[arg(long)]
    regression: bool,
    /// The impurity: gini or entropy of classes, variance of numbers. Not given: gini, or variance.
    #[arg(long, value_parser = Impurity::parse)]
    impurity: Option<Impurity>,
    /// The deepest level.
    #[arg(long, alias = "maxDepth", default_value_t = 5)]
    max_depth: u32,
    /// The most candidates for a split of a feature, plus one.
    #[arg(long, alias = "maxBins", default_value_t = 32)]
    max_bins: usize,
    /// The fewest rows of a node.
    #[arg(long, alias = "minInstancesPerNode", default_value_t = 1)]
    min_instances_per_node: usize,
    /// The least gain of a split.
    #[arg(long, alias = "minInfoGain", default_value_t = 0.0)]
    min_info_gain: f64,
    /// The trees: 1 is a decision tree, more are a random forest.
    #[arg(long, alias = "numTrees", default_value_t = 1)]
    num_trees: usize,
    /// A forest's: the features that a node may split by: auto, all, sqrt, log2, onethird, a number, a share.
    #[arg(long, alias = "featureSubsetStrategy", default_value = "auto", value_parser = Subset::parse)]
    feature_subset_strategy: Subset,
    /// A forest's: how many rows a tree sees, as a share of all.
    #[arg(long, alias = "subsamplingRate", default_value_t = 1.0)]
    subsampling_rate: f64,
    /// A forest's: whether a tree may see a row several times.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    bootstrap: bool,
    /// A forest's: what its choices by chance begin with.
    #[arg(long, default_value_t = 0)]
    seed: u64,
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
        ModelCommand::Train(training) => fit(&training),
    };
    match answer {
        Ok(text) => print(&text),
        Err(error) => {
            say(&format!("error: {error}"));
            Err(Exit::Usage)
        }
    }
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
    let ask = Ask { invalid, threads, probability, ..Ask::default() };
    let scored = scorer.score(&columns, rows.num_rows(), &ask)?;
    table(model, &rows, &scored, probability)
}

fn table(model: &Model, rows: &RecordBatch, scored: &Scored, probability: bool) -> Result<String> {
    let scores = &scored.scores;
    let mut out = String::new();
    let schema = rows.schema();
    let options = FormatOptions::default();
    let given = rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let given = given.collect::<Result<Vec<_>, _>>()?;
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
        // Null is an empty field.
        fields.extend(given.iter().map(|column| quoted(&column.value(row).to_string())));
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

/// The features, none of which may be null.
fn columns(rows: &RecordBatch, features: &[String]) -> Result<Vec<Vec<f64>>> {
    let column = |name: &String| -> Result<Vec<f64>> {
        let column = numbers(rows, name)?;
        known(&column, &format!("column '{name}'"))?;
        Ok(column.values().to_vec())
    };
    features.iter().map(column).collect()
}

fn fit(training: &Training) -> Result<String> {
    let rows = read(&training.rows, training.header)?;
    let schema = rows.schema();
    let label = &training.label;
    let others = || schema.fields().iter().map(|field| field.name().clone()).filter(|name| name != label).collect();
    let features: Vec<String> = if training.features.is_empty() { others() } else { training.features.clone() };
    let impurity = if training.regression { Impurity::Variance } else { Impurity::Gini };
    let parameters = Parameters {
        impurity: training.impurity.unwrap_or(impurity),
        max_depth: training.max_depth,
        max_bins: training.max_bins,
        min_instances_per_node: training.min_instances_per_node,
        min_info_gain: training.min_info_gain,
        num_trees: training.num_trees,
        feature_subset_strategy: training.feature_subset_strategy,
        subsampling_rate: training.subsampling_rate,
        bootstrap: training.bootstrap,
        seed: training.seed,
    };
    let what = format!("the label '{label}'");
    // The label first: who names it wrong need not hear of features.
    let trained = if training.regression || parameters.impurity == Impurity::Variance {
        let labels = numbers(&rows, label)?;
        known(&labels, &what)?;
        train(&columns(&rows, &features)?, Target::Numbers(labels.values()), &parameters)?
    } else {
        let labels = text(&rows, label)?;
        known(&labels, &what)?;
        let labels: Vec<&str> = labels.iter().flatten().collect();
        train(&columns(&rows, &features)?, Target::Classes(&labels), &parameters)?
    };
    trained.save(&training.out, &features, label)?;
    Ok(report(&trained, &features, &training.out))
}

fn report(trained: &Trained, features: &[String], out: &Path) -> String {
    let nodes: usize = trained.trees.iter().map(Vec::len).sum();
    let depth = trained.depth();
    let trees = trained.trees.len();
    let trees = if trees == 1 { String::new() } else { format!("{trees} trees, ") };
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "saved {} ({trees}{nodes} nodes, depth {depth})", out.display());
    match &trained.report.quality {
        Quality::Classes { accuracy, confusion } => {
            let _ = writeln!(text, "accuracy on the training rows {accuracy:.4}");
            let _ = writeln!(text, "\nconfusion (a line for each class, a column for each prediction)");
            for (label, counts) in trained.labels.iter().flatten().zip(confusion) {
                let counts: Vec<String> = counts.iter().map(|count| format!("{count:>8}")).collect();
                let _ = writeln!(text, "{label:<24}{}", counts.join(""));
            }
        }
        Quality::Numbers { rmse, mae, r2 } => {
            let _ = writeln!(text, "on the training rows RMSE {rmse:.6}, MAE {mae:.6}, R² {r2:.4}");
        }
    }
    let _ = writeln!(text, "\nimportances");
    for (name, importance) in features.iter().zip(&trained.report.importances) {
        let _ = writeln!(text, "{name:<24}{importance:>8.4}");
    }
    text
}

//! A model: what is done to the columns, the trees, and what their sums mean.

use std::fmt;

use crate::forest::Forest;
use crate::head::Head;
use crate::prepare::Stage;

/// What a model was saved as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A folder of Spark ML.
    Spark,
    /// ONNX-ML.
    Onnx,
    /// XGBoost's JSON.
    XgboostJson,
    /// XGBoost's UBJSON.
    XgboostUbj,
    /// LightGBM's text.
    Lightgbm,
}

impl Format {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spark => "Spark ML",
            Self::Onnx => "ONNX-ML",
            Self::XgboostJson => "XGBoost JSON",
            Self::XgboostUbj => "XGBoost UBJSON",
            Self::Lightgbm => "LightGBM text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a row that a model cannot take: null or NaN where it is not allowed, or an unseen label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// It is an error of that row.
    Error,
    /// The row is left out.
    Skip,
    /// It is scored: as missing, or in a category of its own.
    Keep,
}

impl Invalid {
    /// The choice called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "error" => Some(Self::Error),
            "skip" => Some(Self::Skip),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }
}

/// A column that a model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The name that the model has for it.
    pub name: String,
    /// Whether it is text: a label.
    pub text: bool,
}

/// A tree model, ready to be compiled into a [`Scorer`](crate::Scorer).
#[derive(Debug, Clone)]
pub struct Model {
    /// The format.
    pub format: Format,
    /// Which library wrote it, and its kind: for people.
    pub kind: String,
    /// The columns that it reads, in order.
    pub inputs: Vec<Input>,
    /// Whether `inputs` have the names of columns, or numbers made up for lack of names.
    pub named: bool,
    /// What is done to the columns before the trees see them.
    pub stages: Vec<Stage>,
    /// The trees.
    pub forest: Forest,
    /// What their sums mean.
    pub head: Head,
    /// The classes' labels, where the model has them as text.
    pub labels: Option<Vec<String>>,
    /// Whether the prediction itself is text: a label.
    pub text: bool,
    /// The column that the model gives the label in.
    pub label_column: Option<String>,
    /// What becomes of rows that it cannot take, where no stage says so: Spark's models refuse null and NaN, the others
    /// take them for missing.
    pub invalid: Invalid,
    /// A hash of the files that it was read from.
    pub version: u64,
}

impl Model {
    /// The number of classes; 0 for a regression.
    pub fn classes(&self) -> usize {
        self.head.classes(self.forest.targets)
    }

    /// The most questions on the way to a leaf.
    pub fn depth(&self) -> u32 {
        self.forest.trees.iter().map(|tree| tree.depth).max().unwrap_or(0)
    }
}

//! Saving as Spark ML does: a PipelineModel of assembler, tree or forest, and labels.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use levada_connector_api::{Error, ErrorKind, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::{Trained, TrainedNode};

/// The version of Spark whose layout is written.
const SPARK: &str = "4.1.4";

/// What Spark calls the models of a kind.
struct Kind {
    /// The estimator, whose name begins uids.
    estimator: &'static str,
    class: &'static str,
    /// The class of one tree of it.
    tree: &'static str,
}

impl Kind {
    fn of(trained: &Trained) -> Self {
        match (trained.trees.len(), trained.labels.is_some()) {
            (1, true) => Self {
                estimator: "DecisionTreeClassifier",
                class: "classification.DecisionTreeClassificationModel",
                tree: "",
            },
            (1, false) => {
                Self { estimator: "DecisionTreeRegressor", class: "regression.DecisionTreeRegressionModel", tree: "" }
            }
            (_, true) => Self {
                estimator: "RandomForestClassifier",
                class: "classification.RandomForestClassificationModel",
                tree: "classification.DecisionTreeClassificationModel",
            },
            (_, false) => Self {
                estimator: "RandomForestRegressor",
                class: "regression.RandomForestRegressionModel",
                tree: "regression.DecisionTreeRegressionModel",
            },
        }
    }
}

/// What every file of metadata has.
struct About {
    time: u64,
}

impl About {
    fn of(&self, class: &str, uid: &str, given: Value, defaults: Value) -> Value {
        json!({
            "class": format!("org.apache.spark.ml.{class}"), "timestamp": self.time, "sparkVersion": SPARK, "uid": uid,
            "paramMap": given, "defaultParamMap": defaults,
        })
    }
}

impl Trained {
    /// Saves a PipelineModel in `folder`, which Spark's `PipelineModel.load` reads: it assembles `features`, predicts,
    /// and gives a class's label in the column `predicted_<label>`.
    ///
    /// # Errors
    /// The folder is there already, or cannot be written.
    pub fn save(&self, folder: &Path, features: &[String], label: &str) -> Result<()> {
        if folder.exists() {
            let message = format!("{}: it is there already", folder.display());
            return Err(Error::new(ErrorKind::Config, message).hint("name a folder that is not there, or remove it"));
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = format!("{:012x}", time.as_nanos() as u64 & 0xffff_ffff_ffff);
        let about = About { time: time.as_millis() as u64 };
        let kind = Kind::of(self);
        let assembler = format!("VectorAssembler_{stamp}");
        let trees = format!("{}_{stamp}", kind.estimator);
        let names = format!("IndexToString_{stamp}");
        let stages = folder.join("stages");
        let given = json!({"inputCols": features, "outputCol": "features"});
        let defaults = json!({"handleInvalid": "error", "outputCol": format!("{assembler}__output")});
        let assembling = about.of("feature.VectorAssembler", &assembler, given, defaults);
        metadata(&stages.join(format!("0_{assembler}")), &assembling)?;
        self.save_trees(&stages.join(format!("1_{trees}")), &about, &trees, &kind, features.len())?;
        let mut uids = vec![assembler, trees];
        if let Some(labels) = &self.labels {
            let given = json!({"inputCol": "prediction", "outputCol": format!("predicted_{label}"), "labels": labels});
            let defaults = json!({"outputCol": format!("{names}__output")});
            let naming = about.of("feature.IndexToString", &names, given, defaults);
            metadata(&stages.join(format!("2_{names}")), &naming)?;
            uids.push(names);
        }
        // The pipeline last: without it there is no model.
        let given = json!({ "stageUids": uids });
        metadata(folder, &about.of("PipelineModel", &format!("PipelineModel_{stamp}"), given, json!({})))
    }

    fn save_trees(&self, place: &Path, about: &About, uid: &str, kind: &Kind, features: usize) -> Result<()> {
        let parameters = &self.parameters;
        let of_tree = json!({
            "impurity": parameters.impurity.as_str(), "maxDepth": parameters.max_depth, "maxBins": parameters.max_bins,
            "minInstancesPerNode": parameters.min_instances_per_node, "minInfoGain": parameters.min_info_gain,
        });
        let forest = json!({
            "numTrees": parameters.num_trees, "featureSubsetStrategy": parameters.feature_subset_strategy.name(),
            "subsamplingRate": parameters.subsampling_rate, "bootstrap": parameters.bootstrap,
            "seed": parameters.seed as i64,
        });
        let defaults_of_forest = json!({
            "numTrees": 20, "featureSubsetStrategy": "auto", "subsamplingRate": 1.0, "bootstrap": true,
        });
        let mut all = json!({"numFeatures": features});
        if let Some(labels) = &self.labels {
            merge(&mut all, json!({"numClasses": labels.len()}));
        }
        let defaults = self.defaults_of_tree();
        let [nodes] = &self.trees[..] else {
            let (mut given, mut defaults_of_all) = (of_tree.clone(), defaults.clone());
            merge(&mut given, forest);
            merge(&mut defaults_of_all, defaults_of_forest);
            let mut model = about.of(kind.class, uid, given, defaults_of_all);
            merge(&mut model, all.clone());
            merge(&mut model, json!({"numTrees": self.trees.len()}));
            metadata(place, &model)?;
            let trees = (0..self.trees.len()).map(|number| {
                let mut tree = about.of(kind.tree, &format!("{uid}_{number}"), of_tree.clone(), defaults.clone());
                merge(&mut tree, all.clone());
                tree.to_string()
            });
            trees_metadata(&place.join("treesMetadata"), trees)?;
            let numbers = self.trees.iter().enumerate();
            let numbers = numbers.flat_map(|(number, nodes)| std::iter::repeat_n(number as i32, nodes.len()));
            let nodes: StructArray = nodes_of(self.trees.iter().flat_map(|nodes| nodes.iter().enumerate()))?.into();
            let fields = vec![
                Field::new("treeID", DataType::Int32, false),
                Field::new("nodeData", nodes.data_type().clone(), true),
            ];
            let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from_iter_values(numbers)), Arc::new(nodes)];
            let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
            return parquet(&place.join("data"), &batch);
        };
        let mut model = about.of(kind.class, uid, of_tree, defaults);
        merge(&mut model, all);
        metadata(place, &model)?;
        parquet(&place.join("data"), &nodes_of(nodes.iter().enumerate())?)
    }

    fn defaults_of_tree(&self) -> Value {
        let mut defaults = json!({
            "cacheNodeIds": false, "checkpointInterval": 10, "featuresCol": "features", "impurity": "variance",
            "labelCol": "label", "leafCol": "", "maxBins": 32, "maxDepth": 5, "maxMemoryInMB": 256, "minInfoGain": 0.0,
            "minInstancesPerNode": 1, "minWeightFractionPerNode": 0.0, "predictionCol": "prediction", "seed": 0,
        });
        if self.labels.is_some() {
            let columns = json!({"probabilityCol": "probability", "rawPredictionCol": "rawPrediction"});
            merge(&mut defaults, columns);
            merge(&mut defaults, json!({"impurity": "gini"}));
        }
        defaults
    }
}

/// Adds the entries of one object to another.
fn merge(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}

fn metadata(folder: &Path, value: &Value) -> Result<()> {
    let folder = folder.join("metadata");
    write(&folder, "part-00000", format!("{value}\n").as_bytes())?;
    write(&folder, "_SUCCESS", b"")
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder.display(), error))?;
    std::fs::write(&path, bytes).map_err(|error| Error::io(path.display(), error))
}

fn lists(lists: Vec<Vec<f64>>) -> ArrayRef {
    let field = Arc::new(Field::new("element", DataType::Float64, false));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
    let values = Float64Array::from(lists.concat());
    Arc::new(ListArray::new(field, offsets, Arc::new(values), None))
}

/// Nodes, each with its number in its tree, as the rows of a table.
fn nodes_of<'a>(nodes: impl Iterator<Item = (usize, &'a TrainedNode)> + Clone) -> Result<RecordBatch> {
    let ints = |value: &dyn Fn(usize, &TrainedNode) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(nodes.clone().map(|(at, node)| value(at, node))))
    };
    let doubles = |value: &dyn Fn(&TrainedNode) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(nodes.clone().map(|(_, node)| value(node))))
    };
    let list = DataType::List(Arc::new(Field::new("element", DataType::Float64, false)));
    let split = Fields::from(vec![
        Field::new("featureIndex", DataType::Int32, false),
        Field::new("leftCategoriesOrThreshold", list.clone(), true),
        Field::new("numCategories", DataType::Int32, false),
    ]);
    let thresholds = nodes.clone().map(|(_, node)| node.split.map_or_else(Vec::new, |(_, at, ..)| vec![at]));
    let splits = StructArray::try_new(
        split.clone(),
        vec![
            ints(&|_, node| node.split.map_or(-1, |(feature, ..)| feature as i32)),
            lists(thresholds.collect()),
            ints(&|_, _| -1),
        ],
        None,
    )?;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("prediction", DataType::Float64, false),
        Field::new("impurity", DataType::Float64, false),
        Field::new("impurityStats", list, true),
        Field::new("rawCount", DataType::Int64, false),
        Field::new("gain", DataType::Float64, false),
        Field::new("leftChild", DataType::Int32, false),
        Field::new("rightChild", DataType::Int32, false),
        Field::new("split", DataType::Struct(split), true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        ints(&|at, _| at as i32),
        doubles(&|node| node.prediction),
        doubles(&|node| node.impurity),
        lists(nodes.clone().map(|(_, node)| node.stats.clone()).collect()),
        Arc::new(Int64Array::from_iter_values(nodes.clone().map(|(_, node)| node.count as i64))),
        doubles(&|node| node.gain),
        ints(&|_, node| node.split.map_or(-1, |(_, _, left, _)| left as i32)),
        ints(&|_, node| node.split.map_or(-1, |(.., right)| right as i32)),
        Arc::new(splits),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Each tree's number, metadata and weight, in columns named as Spark 4 names them.
fn trees_metadata(folder: &Path, trees: impl Iterator<Item = String>) -> Result<()> {
    let trees = StringArray::from_iter_values(trees);
    let count = trees.len();
    let fields = vec![
        Field::new("_1", DataType::Int32, false),
        Field::new("_2", DataType::Utf8, true),
        Field::new("_3", DataType::Float64, false),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(0..count as i32)),
        Arc::new(trees),
        Arc::new(Float64Array::from(vec![1.0; count])),
    ];
    parquet(folder, &RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn parquet(folder: &Path, batch: &RecordBatch) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder.display(), error))?;
    let path = folder.join("part-00000.snappy.parquet");
    let file = File::create(&path).map_err(|error| Error::io(path.display(), error))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let failed = |error: parquet::errors::ParquetError| {
        Error::new(ErrorKind::Io, error.to_string()).context(path.display().to_string())
    };
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.close().map_err(failed)?;
    write(folder, "_SUCCESS", b"")
}

//! Saving as Spark ML does: a PipelineModel of assembler, tree and labels.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StructArray};
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

impl Trained {
    /// Saves a PipelineModel in `folder`, which Spark's `PipelineModel.load` reads: it assembles `features`, predicts,
    /// and gives the label in the column `predicted_<label>`.
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
        let about = |class: &str, uid: &str, given: Value, defaults: Value| {
            json!({
                "class": format!("org.apache.spark.ml.{class}"), "timestamp": time.as_millis() as u64,
                "sparkVersion": SPARK, "uid": uid, "paramMap": given, "defaultParamMap": defaults,
            })
        };
        let assembler = format!("VectorAssembler_{stamp}");
        let tree = format!("DecisionTreeClassifier_{stamp}");
        let names = format!("IndexToString_{stamp}");
        let pipeline = about(
            "PipelineModel",
            &format!("PipelineModel_{stamp}"),
            json!({"stageUids": [assembler, tree, names]}),
            json!({}),
        );
        metadata(folder, &pipeline)?;
        let stages = folder.join("stages");
        let given = json!({"inputCols": features, "outputCol": "features"});
        let defaults = json!({"handleInvalid": "error", "outputCol": format!("{assembler}__output")});
        metadata(
            &stages.join(format!("0_{assembler}")),
            &about("feature.VectorAssembler", &assembler, given, defaults),
        )?;
        let place = stages.join(format!("1_{tree}"));
        let class = "classification.DecisionTreeClassificationModel";
        let mut model = about(class, &tree, self.given(), defaults_of_tree());
        if let Some(model) = model.as_object_mut() {
            model.insert("numFeatures".into(), json!(features.len()));
            model.insert("numClasses".into(), json!(self.labels.len()));
        }
        metadata(&place, &model)?;
        data(&place.join("data"), &self.nodes)?;
        let given = json!({"inputCol": "prediction", "outputCol": format!("predicted_{label}"), "labels": self.labels});
        let defaults = json!({"outputCol": format!("{names}__output")});
        metadata(&stages.join(format!("2_{names}")), &about("feature.IndexToString", &names, given, defaults))
    }

    fn given(&self) -> Value {
        let parameters = &self.parameters;
        json!({
            "impurity": parameters.impurity.as_str(), "maxDepth": parameters.max_depth, "maxBins": parameters.max_bins,
            "minInstancesPerNode": parameters.min_instances_per_node, "minInfoGain": parameters.min_info_gain,
        })
    }
}

fn defaults_of_tree() -> Value {
    json!({
        "cacheNodeIds": false, "checkpointInterval": 10, "featuresCol": "features", "impurity": "gini",
        "labelCol": "label", "leafCol": "", "maxBins": 32, "maxDepth": 5, "maxMemoryInMB": 256, "minInfoGain": 0.0,
        "minInstancesPerNode": 1, "minWeightFractionPerNode": 0.0, "predictionCol": "prediction",
        "probabilityCol": "probability", "rawPredictionCol": "rawPrediction", "seed": 0,
    })
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

fn data(folder: &Path, nodes: &[TrainedNode]) -> Result<()> {
    let ints = |value: &dyn Fn(usize, &TrainedNode) -> i32| -> ArrayRef {
        Arc::new(nodes.iter().enumerate().map(|(at, node)| Some(value(at, node))).collect::<Int32Array>())
    };
    let doubles = |value: &dyn Fn(&TrainedNode) -> f64| -> ArrayRef {
        Arc::new(nodes.iter().map(|node| Some(value(node))).collect::<Float64Array>())
    };
    let counts: Int64Array = nodes.iter().map(|node| Some(node.counts.iter().sum::<f64>() as i64)).collect();
    let list = DataType::List(Arc::new(Field::new("element", DataType::Float64, false)));
    let split = Fields::from(vec![
        Field::new("featureIndex", DataType::Int32, false),
        Field::new("leftCategoriesOrThreshold", list.clone(), true),
        Field::new("numCategories", DataType::Int32, false),
    ]);
    let splits = StructArray::try_new(
        split.clone(),
        vec![
            ints(&|_, node| node.split.map_or(-1, |(feature, ..)| feature as i32)),
            lists(nodes.iter().map(|node| node.split.map_or_else(Vec::new, |(_, at, ..)| vec![at])).collect()),
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
        doubles(&|node| node.prediction as f64),
        doubles(&|node| node.impurity),
        lists(nodes.iter().map(|node| node.counts.clone()).collect()),
        Arc::new(counts),
        doubles(&|node| node.gain),
        ints(&|_, node| node.split.map_or(-1, |(_, _, left, _)| left as i32)),
        ints(&|_, node| node.split.map_or(-1, |(.., right)| right as i32)),
        Arc::new(splits),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder.display(), error))?;
    let path = folder.join("part-00000.snappy.parquet");
    let file = File::create(&path).map_err(|error| Error::io(path.display(), error))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let failed = |error: parquet::errors::ParquetError| {
        Error::new(ErrorKind::Io, error.to_string()).context(path.display().to_string())
    };
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    writer.close().map_err(failed)?;
    write(folder, "_SUCCESS", b"")
}

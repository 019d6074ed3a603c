//! The transform, as the runtime drives it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use levada_connector_api::config::RawConfig;
use levada_connector_api::{
    Batch, BatchInfo, BindContext, Emitted, Origin, OutputMode, Plugin, Registry, Result, TaskContext, Transform,
    TransformPlugin,
};
use levada_transform_model::{DecisionTree, register};

use crate::damaged::copy;
use crate::formats::{Shape, xgboost_json};

fn iris() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/model")
}

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Float64, true)).collect::<Vec<_>>()))
}

fn bind(model: &Path, options: &[(&str, &str)], input: &SchemaRef) -> Result<(Box<dyn Transform>, SchemaRef)> {
    let mut raw: RawConfig = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    raw.insert("model".to_owned(), model.display().to_string());
    let config = DecisionTree.config_def().parse(&raw, "transforms.predict.").unwrap();
    let mut transform = DecisionTree.create(&config)?;
    let context = BindContext::new("predict", OutputMode::Append);
    let bound = transform.bind(input, &context)?;
    assert!(!bound.stateful && !bound.aggregates);
    Ok((transform, bound.schema))
}

fn refusal(model: &Path, options: &[(&str, &str)], input: &SchemaRef) -> String {
    bind(model, options, input).err().expect("a refusal").to_string()
}

fn flowers(schema: &SchemaRef, rows: &[[Option<f64>; 4]]) -> Batch {
    let column = |at: usize| Arc::new(rows.iter().map(|row| row[at]).collect::<Float64Array>()) as ArrayRef;
    let columns = (0..4).map(column).collect();
    Batch::with_origin(RecordBatch::try_new(schema.clone(), columns).unwrap(), Origin::exact("iris.csv", "line", 1))
}

const COLUMNS: [&str; 4] = ["_c0", "_c1", "_c2", "_c3"];
const FLOWERS: [[Option<f64>; 4]; 3] = [
    [Some(5.1), Some(3.5), Some(1.4), Some(0.2)],
    [Some(7.0), Some(3.2), Some(4.7), Some(1.4)],
    [Some(6.3), Some(3.3), Some(6.0), Some(2.5)],
];

fn numbers(emitted: &Emitted, name: &str) -> Vec<f64> {
    let rows = &emitted.batches[0].rows;
    rows.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
}

#[tokio::test]
async fn flowers_get_their_class_their_label_and_their_probabilities() {
    let input = schema(&COLUMNS);
    let options = [
        ("features", "_c0,_c1,_c2,_c3"),
        ("label.column", "species"),
        ("probability.column", "p"),
        ("raw.column", "raw"),
        ("leaf.column", "leaf"),
        ("version.column", "version"),
    ];
    let (mut transform, output) = bind(&iris(), &options, &input).unwrap();
    transform.open(&TaskContext::new("test")).await.unwrap();
    let emitted = transform.process(flowers(&input, &FLOWERS)).await.unwrap();
    let rows = &emitted.batches[0].rows;
    assert_eq!(rows.schema(), output);
    assert_eq!(numbers(&emitted, "prediction"), [0.0, 1.0, 2.0]);
    let species: Vec<_> = rows.column_by_name("species").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(species, ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]);
    let raw = rows.column_by_name("raw").unwrap().as_list::<i32>().value(0);
    assert_eq!(raw.as_primitive::<Float64Type>().values()[..], [50.0, 0.0, 0.0]);
    let p = rows.column_by_name("p").unwrap().as_list::<i32>().value(0);
    assert_eq!(p.as_primitive::<Float64Type>().values()[..], [1.0, 0.0, 0.0]);
    assert_eq!(rows.column_by_name("version").unwrap().as_string::<i32>().value(0).len(), 16);
    assert_eq!(emitted.batches[0].origin.of(2), "iris.csv, line 3");
}

#[tokio::test]
async fn a_row_that_the_model_cannot_take_goes_the_way_that_is_chosen() {
    let input = schema(&COLUMNS);
    let mut rows = FLOWERS;
    rows[1][2] = None;
    let run = async |options: &[(&str, &str)]| {
        let (mut transform, _) = bind(&iris(), options, &input).unwrap();
        transform.process(flowers(&input, &rows)).await.unwrap()
    };
    // The model's own word is error.
    let emitted = run(&[]).await;
    assert_eq!(numbers(&emitted, "prediction"), [0.0, 2.0]);
    let [bad] = &emitted.rejected[..] else { panic!("one bad row") };
    assert_eq!((bad.stage.as_str(), bad.position.as_str()), ("predict", "iris.csv, line 2"));
    assert!(bad.reason.starts_with("column '_c2' is null"), "{}", bad.reason);
    assert!(String::from_utf8_lossy(&bad.raw).contains("\"_c0\":7.0"), "{bad:?}");
    let emitted = run(&[("handle.invalid", "skip")]).await;
    assert_eq!((numbers(&emitted, "prediction"), emitted.rejected.len()), (vec![0.0, 2.0], 0));
    let emitted = run(&[("handle.invalid", "keep")]).await;
    assert_eq!((numbers(&emitted, "prediction").len(), emitted.rejected.len()), (3, 0));
}

#[test]
fn columns_that_do_not_fit_are_refused_before_the_first_batch() {
    let near = schema(&["_c0", "_c1", "_c2", "_d3"]);
    let text = refusal(&iris(), &[], &near);
    assert_eq!(
        text,
        "transforms.predict.features: there is no column '_c3'; there are _c0, _c1, _c2, _d3 (did you mean '_c0'?)"
    );
    let mut fields: Vec<Field> = schema(&COLUMNS).fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[1] = Field::new("_c1", DataType::Utf8, true);
    let text = refusal(&iris(), &[], &Arc::new(Schema::new(fields)));
    assert!(text.starts_with("transforms.predict.features: column '_c1' is Utf8, the model needs a number"), "{text}");
    let text = refusal(&iris(), &[("features", "_c0,_c1")], &schema(&COLUMNS));
    assert_eq!(text, "transforms.predict.features: the model also reads '_c2'");
    let text = refusal(&iris(), &[("output", "_c0")], &schema(&COLUMNS));
    assert!(text.starts_with("transforms.predict.output = '_c0': there is such a column already"), "{text}");
    let text = refusal(Path::new("no/model"), &[], &schema(&COLUMNS));
    assert!(text.contains("transforms.predict.model: no/model: not found"), "{text}");
}

#[test]
fn two_outputs_of_one_name_are_refused_and_it_is_registered() {
    let raw: RawConfig =
        [("model", "m"), ("raw.column", "prediction")].map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
    let config = DecisionTree.config_def().parse(&raw, "transforms.predict.").unwrap();
    let errors = DecisionTree.validate(&config);
    assert_eq!(
        errors[0].to_string(),
        "transforms.predict.raw.column = 'prediction': another output column has this name"
    );
    let mut registry = Registry::new();
    register(&mut registry).unwrap();
    assert_eq!(registry.transform("decisiontree").unwrap().name(), "DecisionTree");
}

fn constant(value: f32) -> String {
    xgboost_json(&[Shape::Leaf(value)], 1)
}

#[tokio::test]
async fn a_replaced_model_is_taken_between_micro_batches_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.json");
    std::fs::write(&path, constant(1.0)).unwrap();
    let input = schema(&["x"]);
    let (mut transform, _) = bind(&path, &[("features", "x")], &input).unwrap();
    let batch =
        || Batch::new(RecordBatch::try_new(input.clone(), vec![Arc::new(Float64Array::from(vec![0.0]))]).unwrap());
    let metrics = std::cell::RefCell::default();
    let mut predict = async |batch_id: u64| {
        transform.begin(&BatchInfo { batch_id, watermark: 0, late: 0 }).unwrap();
        let emitted = transform.process(batch()).await.unwrap();
        transform.finish(batch_id).await.unwrap();
        metrics.replace(transform.metrics());
        numbers(&emitted, "prediction")[0]
    };
    assert_eq!(predict(0).await, 1.5);
    let told = |name: &str| metrics.borrow()[name].clone();
    let first = told("modelVersion");
    assert_eq!((told("scoredRows"), told("modelsReplaced"), told("modelsRefused")), (1.into(), 0.into(), 0.into()));
    assert_eq!(told("features")["f0"], serde_json::json!({"min": 0.0, "max": 0.0, "nulls": 0, "nan": 0}));
    assert_eq!(told("predictions")["mean"], 1.5);
    // The length differs too, so that a clock that stands still does no harm.
    std::fs::write(&path, constant(2.25)).unwrap();
    assert_eq!(predict(1).await, 1.5, "a micro-batch keeps its model");
    assert_eq!((told("modelVersion"), told("modelsReplaced")), (first.clone(), 1.into()));
    assert_eq!(predict(2).await, 2.75);
    assert_ne!(told("modelVersion"), first);
    std::fs::write(&path, &constant(3.125)[..90]).unwrap();
    predict(3).await;
    assert_eq!(told("modelsRefused"), 1);
    assert!(told("lastRefusal").to_string().contains("model.json"), "{}", told("lastRefusal"));
    assert_eq!(predict(4).await, 2.75, "a damaged model is refused");
    std::fs::write(&path, xgboost_json(&[Shape::Leaf(7.0)], 3)).unwrap();
    predict(5).await;
    assert_eq!(predict(6).await, 2.75, "a model of other features is refused");
    std::fs::write(&path, constant(4.0625)).unwrap();
    predict(7).await;
    assert_eq!(predict(8).await, 4.5625);
}

#[tokio::test]
async fn an_unseen_label_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.txt");
    let text = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=regression\n\
                feature_names=colour\nfeature_infos=0:1\n\nTree=0\nnum_leaves=2\nnum_cat=1\nsplit_feature=0\nthreshold=0\n\
                decision_type=1\nleft_child=-1\nright_child=-2\nleaf_value=1 2\ncat_boundaries=0 1\ncat_threshold=1\n\n\n\
                end of trees\n\npandas_categorical:[[\"red\", \"green\"]]\n";
    std::fs::write(&path, text).unwrap();
    let input: SchemaRef = Arc::new(Schema::new(vec![Field::new("colour", DataType::Utf8, true)]));
    let colours = StringArray::from(vec![Some("red"), Some("green"), Some("blue"), None]);
    let batch = || Batch::new(RecordBatch::try_new(input.clone(), vec![Arc::new(colours.clone())]).unwrap());
    let (mut transform, _) = bind(&path, &[], &input).unwrap();
    let emitted = transform.process(batch()).await.unwrap();
    assert_eq!(numbers(&emitted, "prediction"), [1.0, 2.0, 2.0, 2.0], "what is unseen is missing");
    let (mut transform, _) = bind(&path, &[("handle.invalid", "error")], &input).unwrap();
    let emitted = transform.process(batch()).await.unwrap();
    let reasons: Vec<_> = emitted.rejected.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(reasons, ["unseen label 'blue'", "the label is null"]);
}

#[test]
fn a_folder_that_was_copied_has_the_same_version() {
    let folder = tempfile::tempdir().unwrap();
    copy(&iris(), &folder.path().join("copy"));
    let version = |path: &Path| levada_transform_model::load(path).unwrap().version;
    assert_eq!(version(&iris()), version(&folder.path().join("copy")));
}

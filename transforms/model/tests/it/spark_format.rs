//! Random trees in Spark's folders: the scorer gives what a walk written from Spark's rules gives.

use std::fs::{File, create_dir_all};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use levada_transform_model::{Ask, Invalid, Scorer, load};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use serde_json::json;

use crate::formats::{Flat, Shape, flats};
use crate::property::{FEATURES, columns, rows, trees};

/// The last feature is of categories, of which there are five.
const CATEGORICAL: usize = FEATURES - 1;
const CATEGORIES: u32 = 5;

/// A threshold that is no float, for half of the nodes.
fn threshold(node: &Flat) -> f64 {
    let at = f64::from(node.at);
    if node.nan_left { at.next_up() } else { at }
}

/// The categories that go left: neither none nor all.
fn lefts(node: &Flat) -> Vec<f64> {
    let chosen = 1 + node.at.to_bits() % ((1 << CATEGORIES) - 2);
    (0..CATEGORIES).filter(|category| chosen >> category & 1 == 1).map(f64::from).collect()
}

/// Spark's rule: of few categories those that go left are kept, of many those that go right.
fn goes_left(node: &Flat, x: f64) -> bool {
    if node.feature != CATEGORICAL {
        return x <= threshold(node);
    }
    let left = lefts(node);
    if left.len() as u32 <= CATEGORIES / 2 {
        return left.contains(&x);
    }
    !(0..CATEGORIES).map(f64::from).any(|category| category == x && !left.contains(&category))
}

/// The tree with its questions about categories put to another feature.
fn numeric(shape: Shape) -> Shape {
    match shape {
        Shape::Split { feature, at, nan_left, left, right } => {
            let (left, right) = (Box::new(numeric(*left)), Box::new(numeric(*right)));
            Shape::Split { feature: feature % CATEGORICAL, at, nan_left, left, right }
        }
        leaf => leaf,
    }
}

fn lists(lists: &[Vec<f64>]) -> ArrayRef {
    let field = Arc::new(Field::new("element", DataType::Float64, false));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
    Arc::new(ListArray::new(field, offsets, Arc::new(Float64Array::from(lists.concat())), None))
}

fn nodes(nodes: &[Flat], stats: &[Vec<f64>]) -> StructArray {
    let ints = |value: &dyn Fn(usize) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values((0..nodes.len()).map(value)))
    };
    let child = |at: usize, second: bool| {
        nodes[at].children.map_or(-1, |(left, right)| if second { right } else { left } as i32)
    };
    let categorical = |at: usize| nodes[at].children.is_some() && nodes[at].feature == CATEGORICAL;
    let values: Vec<Vec<f64>> = (0..nodes.len())
        .map(|at| match nodes[at].children {
            None => Vec::new(),
            Some(_) if categorical(at) => lefts(&nodes[at]),
            Some(_) => vec![threshold(&nodes[at])],
        })
        .collect();
    let split: Vec<(&str, ArrayRef)> = vec![
        ("featureIndex", ints(&|at| if nodes[at].children.is_some() { nodes[at].feature as i32 } else { -1 })),
        ("leftCategoriesOrThreshold", lists(&values)),
        ("numCategories", ints(&|at| if categorical(at) { CATEGORIES as i32 } else { -1 })),
    ];
    let pack = |columns: Vec<(&str, ArrayRef)>| StructArray::try_from(columns).unwrap();
    let doubles = |of: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(of)) };
    pack(vec![
        ("id", ints(&|at| at as i32)),
        ("prediction", doubles(nodes.iter().map(|node| f64::from(node.at)).collect())),
        ("impurity", doubles(vec![0.0; nodes.len()])),
        ("impurityStats", lists(stats)),
        ("rawCount", Arc::new(Int64Array::from(vec![1; nodes.len()]))),
        ("gain", doubles(vec![0.0; nodes.len()])),
        ("leftChild", ints(&|at| child(at, false))),
        ("rightChild", ints(&|at| child(at, true))),
        ("split", Arc::new(pack(split))),
    ])
}

fn parquet(folder: &Path, batch: &RecordBatch) {
    create_dir_all(folder).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(folder.join("part-0.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Statistics of a leaf of a classifier: three classes, of which some tie.
fn stats(node: &Flat) -> Vec<f64> {
    (0..3).map(|class| f64::from(node.at.to_bits() >> (class * 3) & 7)).collect()
}

/// Saves trees as a model of `kind`.
pub(crate) fn save(folder: &Path, flats: &[Vec<Flat>], kind: &str) {
    let about = json!({
        "class": format!("org.apache.spark.ml.some.{kind}"), "sparkVersion": "4.1.4", "uid": "u", "paramMap": {},
        "defaultParamMap": {}, "numFeatures": FEATURES, "numClasses": 3, "numTrees": flats.len(),
    });
    create_dir_all(folder.join("metadata")).unwrap();
    std::fs::write(folder.join("metadata/part-0"), about.to_string()).unwrap();
    let classes = kind.contains("Classification") && !kind.starts_with("GBT");
    let stats = |flat: &[Flat]| -> Vec<Vec<f64>> {
        flat.iter().map(|node| if classes { stats(node) } else { vec![1.0, 2.0, 5.0] }).collect()
    };
    if kind.starts_with("DecisionTree") {
        parquet(&folder.join("data"), &RecordBatch::from(nodes(&flats[0], &stats(&flats[0]))));
        return;
    }
    let parts: Vec<StructArray> = flats.iter().map(|flat| nodes(flat, &stats(flat))).collect();
    let parts: Vec<&dyn arrow::array::Array> = parts.iter().map(|part| part as _).collect();
    let ids = flats.iter().enumerate().flat_map(|(number, flat)| std::iter::repeat_n(number as i32, flat.len()));
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(ids));
    let all = arrow::compute::concat(&parts).unwrap();
    parquet(&folder.join("data"), &RecordBatch::try_from_iter([("treeID", ids), ("nodeData", all)]).unwrap());
    let count = flats.len();
    let weights: ArrayRef = Arc::new(Float64Array::from_iter_values((0..count).map(weight)));
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..count as i32));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["{}"; count]));
    let batch = RecordBatch::try_from_iter([("_1", numbers), ("_2", texts), ("_3", weights)]).unwrap();
    parquet(&folder.join("treesMetadata"), &batch);
}

fn weight(tree: usize) -> f64 {
    if tree == 0 { 1.0 } else { 0.1 }
}

/// What Spark makes of the leaves.
fn expected(kind: &str, leaves: &[Flat]) -> f64 {
    let values = leaves.iter().map(|leaf| f64::from(leaf.at));
    if kind.contains("Regression") {
        return match kind {
            "GBTRegressionModel" => values.enumerate().fold(0.0, |sum, (tree, value)| sum + value * weight(tree)),
            _ => values.fold(0.0, |sum, value| sum + value) / leaves.len() as f64,
        };
    }
    if kind == "GBTClassificationModel" {
        let margin = values.enumerate().fold(0.0, |sum, (tree, value)| sum + value * weight(tree));
        return f64::from(u8::from(margin > 0.0));
    }
    let mut votes = [0.0; 3];
    for leaf in leaves {
        let stats = stats(leaf);
        let total: f64 = if kind.starts_with("RandomForest") { stats.iter().sum() } else { 1.0 };
        votes.iter_mut().zip(stats).for_each(|(vote, stat)| *vote += if total == 0.0 { 0.0 } else { stat / total });
    }
    (1..3).fold(0, |best, class| if votes[class] > votes[best] { class } else { best }) as f64
}

const KINDS: [&str; 6] = [
    "DecisionTreeClassificationModel",
    "DecisionTreeRegressionModel",
    "RandomForestClassificationModel",
    "RandomForestRegressionModel",
    "GBTClassificationModel",
    "GBTRegressionModel",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn spark_folders(trees in trees(), seed in any::<u64>(), kind in 0usize..6, plain in any::<bool>()) {
        let kind = KINDS[kind];
        // Trees without categories are answered by other loops.
        let trees: Vec<Shape> = if plain { trees.into_iter().map(numeric).collect() } else { trees };
        let trees = if kind.starts_with("DecisionTree") { &trees[..1] } else { &trees[..] };
        let folder = tempfile::tempdir().unwrap();
        let flats = flats(trees);
        save(folder.path(), &flats, kind);
        let scorer = Scorer::new(load(folder.path()).unwrap());
        let mut rows = rows(trees, seed);
        for (at, row) in rows.iter_mut().enumerate() {
            // Categories, those that training never saw, fractions.
            let categories = [0.0, -0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 99.0, -1.0, 0.5, 1e300];
            if let Some(category) = categories.get(at % (categories.len() + 3)) {
                row[CATEGORICAL] = *category;
            }
        }
        for leaves in [false, true] {
            let ask = Ask { leaves, raw: true, invalid: Some(Invalid::Keep), ..Ask::default() };
            let scores = scorer.score(&columns(&rows), rows.len(), &ask).unwrap().scores;
            for (row, features) in rows.iter().enumerate() {
                let found: Vec<Flat> = flats.iter().map(|nodes| {
                    let mut at = 0;
                    while let Some((left, right)) = nodes[at].children {
                        at = if goes_left(&nodes[at], features[nodes[at].feature]) { left } else { right };
                    }
                    nodes[at]
                }).collect();
                let (got, wanted) = (scores.prediction[row], expected(kind, &found));
                prop_assert!(got.to_bits() == wanted.to_bits(), "{kind}, row {features:?}: {got}, not {wanted}");
                prop_assert_eq!(scorer.model().walk(features).prediction[0].to_bits(), wanted.to_bits());
            }
        }
    }
}

//! Training: the same tree as Spark's, saved in a form that is read back.

use std::path::Path;

use levada_transform_model::train::{Impurity, Parameters, Quality, Subset, Target, Trained, train};
use levada_transform_model::{describe, load};

pub(crate) fn iris() -> (Vec<Vec<f64>>, Vec<String>) {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/input");
    let text = ["1.csv", "2.csv"].map(|name| std::fs::read_to_string(input.join(name)).unwrap()).concat();
    let mut columns = vec![Vec::new(); 4];
    let mut labels = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        columns.iter_mut().zip(&fields).for_each(|(column, field)| column.push(field.parse().unwrap()));
        labels.push(fields[4].to_owned());
    }
    (columns, labels)
}

pub(crate) fn names() -> Vec<String> {
    (0..4).map(|at| format!("_c{at}")).collect()
}

/// A model of each kind, trained on the irises: classes, or the petals' width from the rest.
pub(crate) fn trained(parameters: Parameters) -> (Trained, Vec<Vec<f64>>, Vec<String>) {
    let (mut columns, labels) = iris();
    if parameters.impurity == Impurity::Variance {
        let widths = columns.pop().unwrap();
        (train(&columns, Target::Numbers(&widths), &parameters).unwrap(), columns, names()[..3].to_vec())
    } else {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        (train(&columns, Target::Classes(&labels), &parameters).unwrap(), columns, names())
    }
}

/// One tree and a forest, for classes and for numbers.
pub(crate) fn kinds() -> [Parameters; 5] {
    let one = Parameters::default();
    let forest = Parameters { num_trees: 9, seed: 7, max_depth: 4, ..one };
    [
        one,
        Parameters { impurity: Impurity::Entropy, max_depth: 8, ..one },
        Parameters { impurity: Impurity::Variance, ..one },
        forest,
        Parameters { impurity: Impurity::Variance, subsampling_rate: 0.7, bootstrap: false, ..forest },
    ]
}

#[test]
fn a_trained_model_is_saved_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (columns, labels) = iris();
    for (number, parameters) in kinds().into_iter().enumerate() {
        let (trained, _, names) = trained(parameters);
        assert_eq!(trained.trees.len(), parameters.num_trees);
        assert!((trained.report.importances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let path = folder.path().join(number.to_string());
        trained.save(&path, &names, "_c4").unwrap();
        assert!(trained.save(&path, &names, "_c4").unwrap_err().to_string().contains("it is there already"));
        let model = load(&path).unwrap();
        assert_eq!(model.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>(), names);
        assert_eq!(model.labels, trained.labels);
        assert_eq!(model.forest.trees.len(), parameters.num_trees);
        let predictions = (0..150).map(|row| {
            let features: Vec<f64> = columns.iter().map(|column| column[row]).collect();
            model.walk(&features[..names.len()]).prediction[0]
        });
        match &trained.report.quality {
            Quality::Classes { accuracy, confusion } => {
                assert!(*accuracy > 0.95, "{:?}", trained.report);
                assert_eq!(confusion.iter().flatten().sum::<usize>(), 150);
                let names = trained.labels.as_ref().unwrap();
                let right = predictions.zip(&labels).filter(|(class, label)| names[*class as usize] == **label);
                assert_eq!(right.count() as f64 / 150.0, *accuracy);
            }
            Quality::Numbers { rmse, mae, r2 } => {
                let errors: Vec<f64> = predictions.zip(&columns[3]).map(|(x, wanted)| x - wanted).collect();
                let mean = errors.iter().map(|error| error * error).sum::<f64>() / 150.0;
                assert!((mean.sqrt() - rmse).abs() < 1e-12 && mae <= rmse && *r2 > 0.9, "{:?}", trained.report);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_forest_and_another_one_another() {
    let forest = |seed| {
        let parameters = Parameters { num_trees: 5, seed, ..Parameters::default() };
        trained(parameters).0.trees
    };
    assert_eq!(forest(1), forest(1));
    assert_ne!(forest(1), forest(2));
    let trees = forest(1);
    assert_ne!(trees[0], trees[1], "trees see other rows and features");
    // Without chance all trees are the one tree.
    let all =
        Parameters { num_trees: 2, bootstrap: false, feature_subset_strategy: Subset::All, ..Parameters::default() };
    let one = trained(Parameters::default()).0.trees;
    assert_eq!(trained(all).0.trees, [one[0].clone(), one[0].clone()]);
}

#[test]
fn strategies_have_sparks_names() {
    for name in ["auto", "all", "sqrt", "log2", "onethird", "7", "0.5"] {
        assert_eq!(Subset::parse(name).unwrap().name(), name);
    }
    for name in ["0", "1.5", "-1", "nan", "some"] {
        assert!(Subset::parse(name).is_err(), "{name}");
    }
}

#[test]
fn the_tree_is_the_one_that_spark_trained() {
    let (trained, _, names) = trained(Parameters::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    trained.save(&path, &names, "_c4").unwrap();
    let spark = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/model")).unwrap();
    let drawing = |text: String| text[text.find("\ntree 0").unwrap()..].to_owned();
    assert_eq!(drawing(describe(&load(&path).unwrap(), 1, 9)), drawing(describe(&spark, 1, 9)));
}

#[test]
fn limits_are_kept() {
    let columns = [vec![1.0, 2.0, 3.0, 4.0]];
    let labels = ["a", "b", "a", "b"];
    let train_with = |parameters: Parameters| train(&columns, Target::Classes(&labels), &parameters);
    let nodes = |parameters: Parameters| train_with(parameters).unwrap().trees[0].len();
    let one = Parameters::default();
    assert_eq!(nodes(Parameters { max_depth: 0, ..one }), 1);
    assert_eq!(nodes(one), 7);
    assert!(nodes(Parameters { min_instances_per_node: 2, ..one }) < 7);
    assert_eq!(nodes(Parameters { min_info_gain: 0.9, ..one }), 1);
    let refused = |parameters: Parameters, says: &str| {
        let error = train_with(parameters).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(Parameters { max_depth: 31, ..one }, "maxDepth");
    refused(Parameters { max_bins: 1, ..one }, "maxBins");
    refused(Parameters { num_trees: 0, ..one }, "numTrees");
    refused(Parameters { subsampling_rate: 0.0, ..one }, "subsamplingRate");
    refused(Parameters { impurity: Impurity::Variance, ..one }, "the impurity of classes is gini or entropy");
    let numbers = train(&columns, Target::Numbers(&[1.0; 4]), &one).unwrap_err().to_string();
    assert!(numbers.contains("the impurity of numbers is variance"), "{numbers}");
    let error = train(&[vec![f64::NAN; 4]], Target::Classes(&labels), &one).unwrap_err().to_string();
    assert!(error.starts_with("row 1: feature 0 is missing"), "{error}");
    assert!(train(&[], Target::Classes(&[]), &one).is_err());
    let variance = Parameters { impurity: Impurity::Variance, ..one };
    let error = train(&columns, Target::Numbers(&[1.0, f64::INFINITY, 0.0, 0.0]), &variance).unwrap_err().to_string();
    assert!(error.starts_with("row 2: "), "{error}");
}

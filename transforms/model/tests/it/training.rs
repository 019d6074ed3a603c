//! Training: the same tree as Spark's, saved in a form that is read back.

use std::path::Path;

use levada_transform_model::train::{Impurity, Parameters, train};
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

#[test]
fn a_trained_model_is_saved_and_read_back() {
    let (columns, labels) = iris();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    for (name, impurity) in [("gini", Impurity::Gini), ("entropy", Impurity::Entropy)] {
        let trained = train(&columns, &labels, &Parameters { impurity, ..Parameters::default() }).unwrap();
        assert!(trained.report.accuracy > 0.97, "{:?}", trained.report);
        assert_eq!(trained.report.confusion.iter().flatten().sum::<usize>(), 150);
        assert!((trained.report.importances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let path = folder.path().join(name);
        let names: Vec<String> = (0..4).map(|at| format!("_c{at}")).collect();
        trained.save(&path, &names, "_c4").unwrap();
        assert!(trained.save(&path, &names, "_c4").unwrap_err().to_string().contains("it is there already"));
        let model = load(&path).unwrap();
        assert_eq!(model.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>(), names);
        assert_eq!(model.labels.as_ref().unwrap(), &trained.labels);
        let right = (0..150).filter(|row| {
            let features: Vec<f64> = columns.iter().map(|column| column[*row]).collect();
            trained.labels[model.walk(&features).prediction[0] as usize] == labels[*row]
        });
        assert_eq!(right.count() as f64 / 150.0, trained.report.accuracy);
    }
}

#[test]
fn the_tree_is_the_one_that_spark_trained() {
    let (columns, labels) = iris();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let trained = train(&columns, &labels, &Parameters::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    trained.save(&path, &(0..4).map(|at| format!("_c{at}")).collect::<Vec<_>>(), "_c4").unwrap();
    let spark = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris/model")).unwrap();
    let drawing = |text: String| text[text.find("\ntree 0").unwrap()..].to_owned();
    assert_eq!(drawing(describe(&load(&path).unwrap(), 1, 9)), drawing(describe(&spark, 1, 9)));
}

#[test]
fn limits_are_kept() {
    let column = vec![1.0, 2.0, 3.0, 4.0];
    let labels = ["a", "b", "a", "b"];
    let nodes =
        |parameters: Parameters| train(std::slice::from_ref(&column), &labels, &parameters).unwrap().nodes.len();
    assert_eq!(nodes(Parameters { max_depth: 0, ..Parameters::default() }), 1);
    assert_eq!(nodes(Parameters::default()), 7);
    assert!(nodes(Parameters { min_instances_per_node: 2, ..Parameters::default() }) < 7);
    assert_eq!(nodes(Parameters { min_info_gain: 0.9, ..Parameters::default() }), 1);
    let error = train(&[vec![f64::NAN; 4]], &labels, &Parameters::default()).unwrap_err().to_string();
    assert!(error.starts_with("row 1: feature 0 is missing"), "{error}");
    assert!(train(&[], &[], &Parameters::default()).is_err());
}

//! Spark ML: folders with metadata and Parquet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{Float64Type, Int32Type};
use levada_connector_api::{Error, Result};
use serde_json::Value;

use super::spark_files::{class, metadata, number, parameter, rows, text};
use super::spark_stages::{self, Part};
use crate::forest::{Feature, Fold, Forest, Raw, Rounding, Set, Test};
use crate::head::Head;
use crate::model::{Format, Input, Invalid, Model};
use crate::prepare::Stage;

pub(super) fn load(folder: &Path) -> Result<Model> {
    let about = metadata(folder)?;
    if class(&about) != "PipelineModel" {
        return trees(folder, &about);
    }
    let uids = parameter(&about, "stageUids").and_then(Value::as_array).cloned().unwrap_or_default();
    let width = uids.len().to_string().len();
    let mut before = Vec::new();
    let mut labels = Vec::new();
    let mut found = None;
    for (at, uid) in uids.iter().enumerate() {
        let uid = uid.as_str().unwrap_or_default();
        let stage = folder.join("stages").join(format!("{at:0width$}_{uid}"));
        let place = |error: Error| error.context(format!("stage {at} ({uid})"));
        let about = metadata(&stage).map_err(place)?;
        match spark_stages::read(&stage, &about).map_err(place)? {
            Part::Before(step) if found.is_none() => before.push(step),
            Part::Before(_) => {}
            Part::Labels { input, output, labels: list } => labels.push((input, output, list)),
            Part::Trees if found.is_some() => return Err(place(Error::unsupported("a second model in the pipeline"))),
            Part::Trees => found = Some((trees(&stage, &about).map_err(place)?, about)),
        }
    }
    let Some((mut model, about)) = found else { return Err(Error::unsupported("the pipeline has no tree model")) };
    let features = text(&about, "featuresCol");
    model.labels = before.iter().find_map(|step| indexed(step, &text(&about, "labelCol")));
    let (stages, inputs) = needed(before, &features)?;
    (model.stages, model.inputs, model.named) = (stages, inputs, true);
    let predictions = text(&about, "predictionCol");
    if let Some((_, output, list)) = labels.into_iter().find(|(input, ..)| *input == predictions) {
        (model.labels, model.label_column) = (Some(list), Some(output));
    }
    model.kind = format!("PipelineModel, {}", model.kind);
    Ok(model)
}

/// The labels of the column that a StringIndexer makes as `name`: those of the classes, if the model was trained on it.
fn indexed(step: &Stage, name: &str) -> Option<Vec<String>> {
    let Stage::StringIndexer { columns, .. } = step else { return None };
    let column = columns.iter().find(|column| column.output == name)?;
    let mut labels: Vec<_> = column.places.iter().collect();
    labels.sort_by_key(|(_, place)| **place);
    Some(labels.into_iter().map(|(label, _)| label.clone()).collect())
}

/// The steps that lead to `features`, and the columns that they read. What else a pipeline does, such as indexing the
/// label, is for training.
fn needed(steps: Vec<Stage>, features: &str) -> Result<(Vec<Stage>, Vec<Input>)> {
    let mut wanted: HashSet<String> = HashSet::from([features.to_owned()]);
    let mut numbers: Vec<String> = vec![features.to_owned()];
    let mut labels: HashSet<String> = HashSet::new();
    let mut kept = Vec::new();
    for step in steps.into_iter().rev() {
        let (step, reads) = match step {
            Stage::StringIndexer { columns, invalid } => {
                let columns: Vec<_> = columns.into_iter().filter(|column| wanted.contains(&column.output)).collect();
                columns.iter().for_each(|column| {
                    wanted.remove(&column.output);
                    labels.insert(column.input.clone());
                });
                let reads = columns.iter().map(|column| column.input.clone()).collect();
                if columns.is_empty() {
                    continue;
                }
                (Stage::StringIndexer { columns, invalid }, reads)
            }
            Stage::Assemble { ref output, ref inputs, .. } if wanted.remove(output) => {
                let reads = inputs.clone();
                (step, reads)
            }
            Stage::VectorIndexer { ref output, ref input, .. } if wanted.remove(output) => {
                let reads = vec![input.clone()];
                (step, reads)
            }
            _ => continue,
        };
        numbers.extend(reads.iter().cloned());
        wanted.extend(reads);
        kept.push(step);
    }
    kept.reverse();
    if wanted.contains(features) {
        return Err(Error::unsupported(format!("no stage makes the features column '{features}'")));
    }
    // In the order in which the pipeline first names them: assembled columns keep their order.
    let mut inputs: Vec<Input> = Vec::new();
    let origin: HashMap<String, String> = kept
        .iter()
        .filter_map(|step| if let Stage::StringIndexer { columns, .. } = step { Some(columns) } else { None })
        .flatten()
        .map(|column| (column.output.clone(), column.input.clone()))
        .collect();
    for name in numbers {
        let name = origin.get(&name).cloned().unwrap_or(name);
        if wanted.contains(&name) && !inputs.iter().any(|input| input.name == name) {
            inputs.push(Input { text: labels.contains(&name), name });
        }
    }
    kept.push(Stage::Take(features.to_owned()));
    Ok((kept, inputs))
}

/// A node as it is saved.
struct Saved {
    prediction: f64,
    stats: Vec<f64>,
    left: i64,
    right: i64,
    feature: i64,
    values: Vec<f64>,
    categories: i64,
}

type Trees = BTreeMap<i32, HashMap<i32, Saved>>;

fn trees(folder: &Path, about: &Value) -> Result<Model> {
    let kind = class(about);
    let ensemble = !kind.starts_with("DecisionTree");
    let classifier = kind.contains("Classification");
    let boosted = kind.starts_with("GBT");
    let features = number(about, "numFeatures")?;
    let classes = if classifier && !boosted { number(about, "numClasses")? } else { 1 };
    let saved = read(folder, ensemble)?;
    let weights = if boosted { weights(folder)? } else { BTreeMap::new() };
    let thresholds = parameter(about, "thresholds").and_then(Value::as_array);
    let thresholds: Option<Vec<f64>> = thresholds.map(|list| list.iter().filter_map(Value::as_f64).collect());
    let expected = if boosted && classifier { 2 } else { classes };
    if classifier && thresholds.as_ref().is_some_and(|list| list.len() != expected) {
        return Err(Error::corrupt("thresholds are not as many as there are classes"));
    }
    if let Ok(count) = number(about, "numTrees")
        && ensemble
        && count != saved.len()
    {
        return Err(Error::corrupt(format!("the metadata has {count} trees, the data {}", saved.len())));
    }
    let mut forest = Forest::new(features, classes, Fold::Sum64, Feature::F64)?;
    for (number, (tree, nodes)) in saved.iter().enumerate() {
        if number as i32 != *tree {
            return Err(Error::corrupt(format!("tree {number} is missing")));
        }
        let weight = match weights.get(tree) {
            _ if !boosted => 1.0,
            Some(weight) => *weight,
            None => return Err(Error::corrupt(format!("tree {tree} has no weight"))),
        };
        let count = nodes.keys().max().map_or(0, |id| *id as usize + 1);
        if count > nodes.len() {
            return Err(Error::corrupt(format!("tree {tree}: {} nodes of {count} are there", nodes.len())));
        }
        // Spark numbers leaves in pre-order, which its ids are.
        let mut leaves: Vec<i32> = nodes.iter().filter(|(_, node)| node.left < 0).map(|(id, _)| *id).collect();
        leaves.sort_unstable();
        let ranks: HashMap<i32, u32> = leaves.into_iter().zip(0..).collect();
        forest.grow(0, count, |forest, id| {
            let node = nodes.get(&(id as i32)).ok_or_else(|| Error::corrupt("the node is missing"))?;
            if node.left < 0 {
                let leaf = leaf(node, classifier && !boosted, ensemble, classes, weight)?;
                return Ok(numbered(leaf, ranks.get(&(id as i32)).copied()));
            }
            let (test, swapped) = test(forest, node)?;
            let (yes, no) = if swapped { (node.right, node.left) } else { (node.left, node.right) };
            Ok(Raw::Split { feature: node.feature, test, yes, no })
        })?;
    }
    let head = match (classifier, boosted) {
        (true, false) => Head::SparkClassifier { thresholds },
        (true, true) => Head::SparkBoosted { thresholds },
        (false, true) => Head::SparkRegression(1.0),
        (false, false) => Head::SparkRegression(if ensemble { saved.len() as f64 } else { 1.0 }),
    };
    let version = about.get("sparkVersion").and_then(Value::as_str).unwrap_or("?");
    Ok(Model {
        format: Format::Spark,
        kind: format!("{kind}, Spark {version}"),
        inputs: (0..features).map(|at| Input { name: format!("f{at}"), text: false }).collect(),
        named: false,
        stages: Vec::new(),
        forest,
        head,
        labels: None,
        text: false,
        label_column: None,
        invalid: Invalid::Error,
        version: 0,
    })
}

fn leaf(node: &Saved, classifier: bool, ensemble: bool, classes: usize, weight: f64) -> Result<Raw> {
    if !classifier {
        let variance = match node.stats.as_slice() {
            [n, sum, squares, ..] if *n > 0.0 => (squares - sum * sum / n) / n,
            _ => 0.0,
        };
        return Ok(Raw::Leaf { id: None, votes: vec![(0, node.prediction * weight)], variance });
    }
    if node.stats.len() != classes {
        return Err(Error::corrupt(format!("it has {} impurityStats for {classes} classes", node.stats.len())));
    }
    let total: f64 = node.stats.iter().sum();
    let share = |stat: f64| {
        if !ensemble {
            stat
        } else if total == 0.0 {
            0.0
        } else {
            stat / total
        }
    };
    let votes = node.stats.iter().enumerate().map(|(class, stat)| (class as u32, share(*stat)));
    Ok(Raw::Leaf { id: None, votes: votes.collect(), variance: 0.0 })
}

fn numbered(leaf: Raw, number: Option<u32>) -> Raw {
    match leaf {
        Raw::Leaf { votes, variance, .. } => Raw::Leaf { id: number, votes, variance },
        split => split,
    }
}

/// The test of a node, and whether what passes goes to the right.
fn test(forest: &mut Forest, node: &Saved) -> Result<(Test, bool)> {
    if node.categories < 0 {
        let [at] = node.values.as_slice() else { return Err(Error::corrupt("it has not one threshold")) };
        return Ok((Test::AtMost { at: *at, nan: false }, false));
    }
    let count = node.categories;
    let valid = |value: &f64| *value >= 0.0 && *value < count as f64 && value.trunc() == *value;
    if !node.values.iter().all(valid) || count > 1 << 24 {
        return Err(Error::corrupt(format!("its categories are not below {count}")));
    }
    let left: HashSet<u32> = node.values.iter().map(|value| *value as u32).collect();
    if node.values.len() as i64 <= count / 2 {
        let set = forest.add_set(Set::bits(left, Rounding::Exact));
        return Ok((Test::Member { set, nan: false }, false));
    }
    // What is in neither list goes to the left here: the test is that of the other list, and the children change sides.
    let right = (0..count as u32).filter(|category| !left.contains(category));
    let set = forest.add_set(Set::bits(right, Rounding::Exact));
    Ok((Test::Member { set, nan: false }, true))
}

fn read(folder: &Path, ensemble: bool) -> Result<Trees> {
    let mut trees = Trees::new();
    for batch in rows(&folder.join("data"))? {
        let columns = StructArray::from(batch);
        let (ids, nodes) = if ensemble {
            let ids = columns.column_by_name("treeID").and_then(|column| column.as_primitive_opt::<Int32Type>());
            let nodes = columns.column_by_name("nodeData").and_then(|column| column.as_struct_opt());
            let missing = || Error::corrupt("the data has no treeID and nodeData");
            (Some(ids.ok_or_else(missing)?.clone()), nodes.ok_or_else(missing)?.clone())
        } else {
            (None, columns)
        };
        for row in 0..nodes.len() {
            let tree = ids.as_ref().map_or(0, |ids| ids.value(row));
            let (id, node) = node(&nodes, row)?;
            if id < 0 {
                return Err(Error::corrupt(format!("tree {tree}: a node has the id {id}")));
            }
            if trees.entry(tree).or_default().insert(id, node).is_some() {
                return Err(Error::corrupt(format!("tree {tree}, node {id}: it is there twice")));
            }
        }
    }
    if trees.is_empty() {
        return Err(Error::corrupt("there is no node"));
    }
    Ok(trees)
}

fn column<'a>(nodes: &'a StructArray, name: &str) -> Result<&'a ArrayRef> {
    nodes.column_by_name(name).ok_or_else(|| Error::corrupt(format!("the data has no column '{name}'")))
}

fn whole(nodes: &StructArray, name: &str, row: usize) -> Result<i32> {
    let values = column(nodes, name)?.as_primitive_opt::<Int32Type>();
    values.map(|values| values.value(row)).ok_or_else(|| Error::corrupt(format!("'{name}' is no int")))
}

fn list(nodes: &StructArray, name: &str, row: usize) -> Result<Vec<f64>> {
    let wrong = || Error::corrupt(format!("'{name}' is no list of doubles"));
    let lists = column(nodes, name)?.as_list_opt::<i32>().ok_or_else(wrong)?;
    if lists.is_null(row) {
        return Ok(Vec::new());
    }
    Ok(lists.value(row).as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values().to_vec())
}

fn node(nodes: &StructArray, row: usize) -> Result<(i32, Saved)> {
    let prediction = column(nodes, "prediction")?.as_primitive_opt::<Float64Type>();
    let prediction = prediction.ok_or_else(|| Error::corrupt("'prediction' is no double"))?.value(row);
    let split = column(nodes, "split")?.as_struct_opt().ok_or_else(|| Error::corrupt("'split' is no struct"))?;
    let saved = Saved {
        prediction,
        stats: list(nodes, "impurityStats", row)?,
        left: i64::from(whole(nodes, "leftChild", row)?),
        right: i64::from(whole(nodes, "rightChild", row)?),
        feature: i64::from(whole(split, "featureIndex", row)?),
        values: list(split, "leftCategoriesOrThreshold", row)?,
        categories: i64::from(whole(split, "numCategories", row)?),
    };
    Ok((whole(nodes, "id", row)?, saved))
}

/// The trees' weights: columns are known by position, their names changed with Spark 4.
fn weights(folder: &Path) -> Result<BTreeMap<i32, f64>> {
    let mut weights = BTreeMap::new();
    for batch in rows(&folder.join("treesMetadata"))? {
        let wrong = || Error::corrupt("treesMetadata is not (id, metadata, weight)");
        if batch.num_columns() != 3 {
            return Err(wrong());
        }
        let ids = batch.column(0).as_primitive_opt::<Int32Type>().ok_or_else(wrong)?;
        let values = batch.column(2).as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        weights.extend(ids.values().iter().copied().zip(values.values().iter().copied()));
    }
    Ok(weights)
}

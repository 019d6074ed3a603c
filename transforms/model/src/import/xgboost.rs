//! XGBoost's models, once their JSON or UBJSON is read.

use levada_connector_api::{Error, Result};

use super::document::{Document, wrong};
use crate::forest::{Feature, Fold, Forest, Raw, Rounding, Set, Test};
use crate::head::{Head, Link};
use crate::model::{Format, Input, Invalid, Model};
use crate::prepare::{Labels, Stage};

pub(super) fn read(document: &Document, format: Format) -> Result<Model> {
    let learner =
        document.need("learner").map_err(|_| Error::corrupt("there is no 'learner': this is no XGBoost model"))?;
    let booster = learner.need("gradient_booster")?;
    let name = booster.need("name")?.text().unwrap_or_default();
    let (trees_of, drop) = match name {
        "gbtree" => (booster.need("model")?, None),
        "dart" => (booster.need("gbtree")?.need("model")?, Some(booster.numbers("weight_drop")?)),
        other => return Err(Error::unsupported(format!("the booster '{other}' has no trees"))),
    };
    let parameters = learner.need("learner_model_param")?;
    let features = parameters.count("num_feature")?;
    let classes = parameters.count("num_class")?.max(parameters.count("num_target").unwrap_or(1)).max(1);
    let objective = learner.need("objective")?.need("name")?.text().unwrap_or_default();
    let (link, to_margin) = link(objective)?;
    if classes > 1 && !matches!(link, Link::Softmax | Link::Argmax) {
        return Err(Error::unsupported(format!("{objective} of {classes} targets")));
    }
    let mut forest = Forest::new(features, classes, Fold::Sum32, Feature::F32)?;
    forest.start = base(parameters, classes, to_margin)?;
    let info = trees_of.numbers("tree_info")?;
    let trees = trees_of.need("trees")?.items().ok_or_else(|| wrong("trees"))?;
    if info.len() != trees.len() {
        return Err(Error::corrupt(format!("tree_info is of {} trees, {} are there", info.len(), trees.len())));
    }
    for (number, (tree, class)) in trees.iter().zip(info).enumerate() {
        let class = class as u32;
        let weight = match &drop {
            None => 1.0,
            Some(drop) => *drop.get(number).ok_or_else(|| Error::corrupt("weight_drop is shorter than trees"))?,
        };
        grow(&mut forest, tree, class, weight as f32).map_err(|error| {
            if error.to_string().contains("tree ") { error } else { error.context(format!("tree {number}")) }
        })?;
    }
    let names = learner.texts("feature_names");
    let named = names.len() == features && features > 0;
    let labels = labels(trees_of, features)?;
    let inputs = (0..features)
        .map(|at| Input {
            name: names.get(at).filter(|_| named).cloned().unwrap_or_else(|| format!("f{at}")),
            text: labels.iter().any(|labels| labels.feature == at),
        })
        .collect();
    Ok(Model {
        format,
        kind: format!("{name}, {objective}"),
        inputs,
        named,
        stages: if labels.is_empty() { Vec::new() } else { vec![Stage::Labels(labels)] },
        forest,
        head: Head::Xgboost(link),
        labels: None,
        text: false,
        label_column: None,
        invalid: Invalid::Keep,
        version: 0,
    })
}

/// What a base score becomes before the first tree.
type ToMargin = fn(f32) -> f32;

/// What an objective does to a margin, and what its base score becomes before the first tree.
fn link(objective: &str) -> Result<(Link, ToMargin)> {
    let same: ToMargin = |base| base;
    let logit: ToMargin = |base| -(1.0 / base - 1.0).ln();
    let log: ToMargin = f32::ln;
    Ok(match objective {
        "reg:squarederror"
        | "reg:linear"
        | "reg:squaredlogerror"
        | "reg:pseudohubererror"
        | "reg:absoluteerror"
        | "reg:quantileerror"
        | "reg:expectileerror"
        | "binary:logitraw" => (Link::Identity, same),
        name if name.starts_with("rank:") => (Link::Identity, same),
        "binary:logistic" => (Link::Binary, logit),
        "reg:logistic" => (Link::Sigmoid, logit),
        "binary:hinge" => (Link::Hinge, same),
        "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => (Link::Exp, log),
        "multi:softprob" => (Link::Softmax, same),
        "multi:softmax" => (Link::Argmax, same),
        other => return Err(Error::unsupported(format!("the objective '{other}' is not known"))),
    })
}

/// The base score: a number, a number in text, or a list in text, one for each target or one for all.
fn base(parameters: &Document, classes: usize, to_margin: ToMargin) -> Result<Vec<f64>> {
    let text = match parameters.get("base_score") {
        Some(Document::Text(text)) => text.clone(),
        Some(Document::Number(number)) => number.to_string(),
        Some(_) => return Err(wrong("base_score")),
        None => "0.5".to_owned(),
    };
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    let bases: Vec<f32> = list
        .split(',')
        .map(|number| number.trim().parse().map_err(|_| Error::corrupt(format!("base_score is no number: '{text}'"))))
        .collect::<Result<_>>()?;
    let bases: Vec<f64> = bases.iter().map(|base| f64::from(to_margin(*base))).collect();
    match bases.as_slice() {
        [one] => Ok(vec![*one; classes]),
        all if all.len() == classes => Ok(bases),
        all => Err(Error::corrupt(format!("base_score has {} numbers for {classes} targets", all.len()))),
    }
}

fn grow(forest: &mut Forest, tree: &Document, class: u32, weight: f32) -> Result<()> {
    let lefts = tree.numbers("left_children")?;
    let rights = tree.numbers("right_children")?;
    let conditions = tree.numbers("split_conditions")?;
    let indices = tree.numbers("split_indices")?;
    let defaults = tree.numbers("default_left")?;
    let types = tree.numbers("split_type").unwrap_or_default();
    let count = lefts.len();
    if [rights.len(), conditions.len(), indices.len(), defaults.len()].iter().any(|length| *length != count) {
        return Err(Error::corrupt("the lists of the nodes differ in length"));
    }
    let wide = tree.get("tree_param").and_then(|parameters| parameters.count("size_leaf_vector").ok());
    if wide.is_some_and(|wide| wide > 1) {
        return Err(Error::unsupported("trees with a vector at each leaf (multi_strategy multi_output_tree)"));
    }
    let categories = tree.numbers("categories").unwrap_or_default();
    let nodes = tree.numbers("categories_nodes").unwrap_or_default();
    let segments = tree.numbers("categories_segments").unwrap_or_default();
    let sizes = tree.numbers("categories_sizes").unwrap_or_default();
    let at = |list: &[f64], place: usize| list.get(place).copied().unwrap_or(-1.0);
    forest.grow(0, count, |forest, node| {
        let value = at(&conditions, node) as f32;
        if at(&lefts, node) < 0.0 {
            let votes = vec![(class, f64::from(value * weight))];
            return Ok(Raw::Leaf { id: Some(node as u32), votes, variance: 0.0 });
        }
        let nan_left = at(&defaults, node) > 0.0;
        let (left, right) = (at(&lefts, node) as i64, at(&rights, node) as i64);
        let feature = at(&indices, node) as i64;
        if at(&types, node) != 1.0 {
            let test = Test::Below { at: f64::from(value), nan: nan_left };
            return Ok(Raw::Split { feature, test, yes: left, no: right });
        }
        let place = nodes.iter().position(|of| *of == node as f64);
        let place = place.ok_or_else(|| Error::corrupt("it is categorical and has no categories"))?;
        let (from, size) = (at(&segments, place), at(&sizes, place));
        let piece = (from >= 0.0 && size >= 0.0)
            .then(|| categories.get(from as usize..(from as usize).saturating_add(size as usize)));
        let piece = piece.flatten().ok_or_else(|| Error::corrupt("its categories are not there"))?;
        if piece.iter().any(|category| !(0.0..16_777_216.0).contains(category)) {
            return Err(Error::corrupt("a category is out of range"));
        }
        let set = Set::bits(piece.iter().map(|category| *category as u32), Rounding::CutPositive);
        let test = Test::Member { set: forest.add_set(set), nan: !nan_left };
        // What is in the set goes to the right.
        Ok(Raw::Split { feature, test, yes: right, no: left })
    })
}

/// The labels of categorical features, where the model has them as text.
fn labels(model: &Document, features: usize) -> Result<Vec<Labels>> {
    let Some(encodings) = model.get("cats").and_then(|cats| cats.get("enc")).and_then(Document::items) else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for (feature, encoding) in encodings.iter().enumerate().take(features) {
        // Numbers need no offsets: they are codes that features hold as they are.
        let Ok(offsets) = encoding.numbers("offsets") else { continue };
        let bytes: Vec<u8> = encoding.numbers("values")?.iter().map(|byte| *byte as i64 as u8).collect();
        let mut labels = Vec::new();
        for pair in offsets.windows(2) {
            let &[from, to] = pair else { continue };
            let piece = bytes.get(from as usize..to as usize);
            // It may end within a character: see `Labels::code`.
            let text = piece.map(|piece| String::from_utf8_lossy(piece).into_owned());
            labels.push(text.ok_or_else(|| Error::corrupt(format!("the labels of feature {feature} are damaged")))?);
        }
        if !labels.is_empty() {
            all.push(Labels::new(feature, labels, true));
        }
    }
    Ok(all)
}

//! LightGBM's text.

use std::collections::HashMap;
use std::str::FromStr;

use levada_connector_api::{Error, Result};
use serde_json::Value;

use crate::forest::{Feature, Fold, Forest, Raw, Rounding, Set, Test};
use crate::head::{Head, Lightgbm};
use crate::model::{Format, Input, Invalid, Model};
use crate::prepare::{Labels, Stage};

pub(super) fn read(bytes: &[u8]) -> Result<Model> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::corrupt("the text is no UTF-8"))?;
    let header = Section::read(&mut text.lines());
    let features = header.number::<usize>("max_feature_idx")?.saturating_add(1);
    let per_round = header.number::<usize>("num_tree_per_iteration")?.max(1);
    let averages = text.lines().take_while(|line| !line.starts_with("Tree=")).any(|line| line == "average_output");
    if !text.lines().any(|line| line == "end of trees") {
        return Err(Error::corrupt("'end of trees' is missing: the file is truncated"));
    }
    let mut forest = Forest::new(features, per_round, Fold::Sum64, Feature::TinyIsZero)?;
    let mut lines = text.lines();
    let mut number = 0;
    while let Some(line) = lines.next() {
        if line == "end of trees" {
            break;
        }
        if line.starts_with("Tree=") {
            let section = Section::read(&mut lines);
            grow(&mut forest, &section, (number % per_round) as u32).map_err(|error| {
                if error.to_string().contains("tree ") { error } else { error.context(format!("tree {number}")) }
            })?;
            number += 1;
        }
    }
    let rounds = (number / per_round).max(1);
    let objective = header.get("objective").unwrap_or_default();
    let names: Vec<&str> = header.get("feature_names").unwrap_or_default().split_whitespace().collect();
    let infos: Vec<&str> = header.get("feature_infos").unwrap_or_default().split_whitespace().collect();
    if names.len() != features {
        return Err(Error::corrupt(format!("there are {} feature_names for {features} features", names.len())));
    }
    let labels = labels(text, &infos)?;
    let inputs = names
        .iter()
        .enumerate()
        .map(|(at, name)| Input { name: (*name).to_owned(), text: labels.iter().any(|labels| labels.feature == at) });
    let made_up = names.iter().enumerate().all(|(at, name)| *name == format!("Column_{at}"));
    Ok(Model {
        format: Format::Lightgbm,
        kind: format!(
            "{}{}",
            if objective.is_empty() { "no objective" } else { objective },
            if averages { ", averaged" } else { "" }
        ),
        inputs: inputs.collect(),
        named: !made_up,
        stages: if labels.is_empty() { Vec::new() } else { vec![Stage::Labels(labels)] },
        forest,
        head: Head::Lightgbm { link: link(objective)?, divide: if averages { rounds as f64 } else { 1.0 } },
        labels: None,
        text: false,
        label_column: None,
        invalid: Invalid::Keep,
        version: 0,
    })
}

fn link(objective: &str) -> Result<Lightgbm> {
    let mut words = objective.split_whitespace();
    let name = words.next().unwrap_or("custom");
    let words: Vec<&str> = words.collect();
    let slope = words.iter().find_map(|word| word.strip_prefix("sigmoid:")).map_or(Ok(1.0), |slope| {
        slope.parse().map_err(|_| Error::corrupt(format!("the objective's sigmoid is no number: '{slope}'")))
    })?;
    Ok(match name {
        "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile" | "mape"
            if words.contains(&"sqrt") =>
        {
            Lightgbm::SignedSquare
        }
        "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" | "lambdarank"
        | "rank_xendcg" | "custom" | "none" => Lightgbm::Identity,
        "poisson" | "gamma" | "tweedie" => Lightgbm::Exp,
        "cross_entropy" | "xentropy" => Lightgbm::Sigmoid,
        "cross_entropy_lambda" | "xentlambda" => Lightgbm::LogOnePlusExp,
        "binary" => Lightgbm::Binary(slope),
        "multiclass" => Lightgbm::Softmax,
        "multiclassova" => Lightgbm::OneVsAll(slope),
        other => return Err(Error::unsupported(format!("the objective '{other}' is not known"))),
    })
}

fn grow(forest: &mut Forest, tree: &Section<'_>, class: u32) -> Result<()> {
    if tree.get("is_linear").is_some_and(|linear| linear.trim() == "1") {
        return Err(Error::unsupported("trees with linear models at their leaves (linear_tree)"));
    }
    let leaves = tree.number::<usize>("num_leaves")?;
    let values: Vec<f64> = tree.list("leaf_value")?;
    if leaves == 0 || values.len() != leaves {
        return Err(Error::corrupt(format!("it has {} leaf_value for {leaves} leaves", values.len())));
    }
    let leaf = |number: usize| Raw::Leaf {
        id: Some(number as u32),
        votes: vec![(class, values.get(number).copied().unwrap_or(f64::NAN))],
        variance: 0.0,
    };
    let splits = leaves - 1;
    if splits == 0 {
        return forest.grow(0, 1, |_, _| Ok(leaf(0)));
    }
    let features: Vec<i64> = tree.list("split_feature")?;
    let thresholds: Vec<f64> = tree.list("threshold")?;
    let types: Vec<u8> = tree.list("decision_type")?;
    let lefts: Vec<i64> = tree.list("left_child")?;
    let rights: Vec<i64> = tree.list("right_child")?;
    if [features.len(), thresholds.len(), types.len(), lefts.len(), rights.len()].iter().any(|n| *n != splits) {
        return Err(Error::corrupt(format!("its lists do not have {splits} entries each")));
    }
    let bounds: Vec<usize> = tree.list("cat_boundaries").unwrap_or_default();
    let words: Vec<u32> = tree.list("cat_threshold").unwrap_or_default();
    // Splits keep their numbers, leaves follow them.
    let id = |child: i64| match child {
        child if child < 0 => splits as i64 + !child,
        child if (child as usize) < splits => child,
        _ => i64::MAX,
    };
    forest.grow(0, splits + leaves, |forest, node| {
        if node >= splits {
            return Ok(leaf(node - splits));
        }
        let part = (features.get(node), thresholds.get(node), types.get(node), lefts.get(node), rights.get(node));
        let (Some(&feature), Some(&at), Some(&kind), Some(&left), Some(&right)) = part else {
            return Err(Error::internal("a split is not there"));
        };
        let default_left = kind & 2 != 0;
        let test = match (kind & 1, kind >> 2 & 3) {
            (0, 1) => Test::AtMostZeroMissing { at, missing: default_left },
            (0, 2) => Test::AtMost { at, nan: default_left },
            // Where nothing is missing, NaN is zero.
            (0, _) => Test::AtMost { at, nan: 0.0 <= at },
            _ => {
                let range = bounds.get(at as usize).zip(bounds.get(at as usize + 1));
                let piece = range.and_then(|(from, to)| words.get(*from..*to));
                let piece = piece.ok_or_else(|| Error::corrupt("its categories are not there"))?;
                let bits = piece.iter().enumerate().flat_map(|(word, bits)| {
                    (0..32u32).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word as u32 * 32 + bit)
                });
                Test::Member { set: forest.add_set(Set::bits(bits, Rounding::Cut)), nan: false }
            }
        };
        Ok(Raw::Split { feature, test, yes: id(left), no: id(right) })
    })
}

/// The labels that pandas had for the categorical features, which are those whose info is no range.
fn labels(text: &str, infos: &[&str]) -> Result<Vec<Labels>> {
    let Some(line) = text.lines().rev().find_map(|line| line.strip_prefix("pandas_categorical:")) else {
        return Ok(Vec::new());
    };
    let lists: Value = serde_json::from_str(line)
        .map_err(|error| Error::corrupt(format!("pandas_categorical is damaged: {error}")))?;
    let Some(lists) = lists.as_array().filter(|lists| !lists.is_empty()) else { return Ok(Vec::new()) };
    let text_of = |label: &Value| label.as_str().map_or_else(|| label.to_string(), str::to_owned);
    let categorical: Vec<usize> = infos
        .iter()
        .enumerate()
        .filter(|(_, info)| !info.starts_with('[') && **info != "none")
        .map(|(at, _)| at)
        .collect();
    if categorical.len() != lists.len() {
        return Err(Error::unsupported(format!(
            "pandas_categorical has labels for {} columns, but {} features are categorical",
            lists.len(),
            categorical.len()
        )));
    }
    let lists = lists.iter().map(|list| list.as_array().into_iter().flatten().map(text_of).collect::<Vec<_>>());
    Ok(categorical.into_iter().zip(lists).map(|(feature, labels)| Labels::new(feature, labels, false)).collect())
}

/// Lines of `key=value` up to an empty one.
struct Section<'a>(HashMap<&'a str, &'a str>);

impl<'a> Section<'a> {
    fn read(lines: &mut std::str::Lines<'a>) -> Self {
        Self(
            lines
                .map_while(|line| (!line.trim().is_empty()).then(|| line.split_once('=').unwrap_or((line, ""))))
                .collect(),
        )
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<T> {
        let text = self.get(key).ok_or_else(|| Error::corrupt(format!("'{key}' is missing")))?;
        text.trim().parse().map_err(|_| Error::corrupt(format!("{key} is no number: '{text}'")))
    }

    fn list<T: FromStr>(&self, key: &str) -> Result<Vec<T>> {
        let text = self.get(key).ok_or_else(|| Error::corrupt(format!("'{key}' is missing")))?;
        let number = |word: &str| word.parse().map_err(|_| Error::corrupt(format!("{key}: '{word}' is no number")));
        text.split_whitespace().map(number).collect()
    }
}

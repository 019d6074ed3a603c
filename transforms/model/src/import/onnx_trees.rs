//! The tree operators of ONNX-ML.

use std::collections::{BTreeSet, HashMap};

use levada_connector_api::{Error, Result};

use super::protobuf::Operator;
use crate::forest::{Feature, Fold, Forest, Raw, Set, Test};
use crate::head::{Binary, Head, Post};

/// Trees, what their sums mean, labels that are text.
pub(super) type Ensemble = (Forest, Head, Option<Vec<String>>);

/// Reads a tree operator for `features` features, or for as many as it asks for.
pub(super) fn read(operator: &Operator, features: Option<usize>, double: bool) -> Result<Ensemble> {
    match operator.kind.as_str() {
        "TreeEnsemble" => single(operator, features, double),
        "TreeEnsembleClassifier" => lists(operator, features, double, "class"),
        _ => lists(operator, features, double, "target"),
    }
}

fn empty(operator: &Operator, features: Option<usize>, targets: usize, double: bool, fold: Fold) -> Result<Forest> {
    let asked = operator.ints("nodes_featureids").iter().max().copied().unwrap_or(0).clamp(0, 1 << 24) as usize + 1;
    if targets == 0 {
        return Err(Error::corrupt(format!("{} votes for {targets} targets", operator.kind)));
    }
    let feature = if double { Feature::F64 } else { Feature::F32 };
    let fold = if fold == Fold::Sum32 && double { Fold::Sum64 } else { fold };
    Forest::new(features.unwrap_or(asked), targets, fold, feature)
}

fn post(name: &str) -> Result<Post> {
    Ok(match name {
        "NONE" | "" => Post::None,
        "LOGISTIC" => Post::Logistic,
        "SOFTMAX" => Post::Softmax,
        "SOFTMAX_ZERO" => Post::SoftmaxZero,
        "PROBIT" => Post::Probit,
        other => return Err(Error::unsupported(format!("post_transform {other}"))),
    })
}

/// The question of a node, and whether what passes goes to the false branch.
fn question(mode: &str, at: f64, tracks: bool) -> Result<(Test, bool)> {
    Ok(match mode {
        "BRANCH_LEQ" => (Test::AtMost { at, nan: tracks }, false),
        "BRANCH_LT" => (Test::Below { at, nan: tracks }, false),
        "BRANCH_GTE" => (Test::Below { at, nan: !tracks }, true),
        "BRANCH_GT" => (Test::AtMost { at, nan: !tracks }, true),
        "BRANCH_EQ" => (Test::Equal { at, nan: tracks }, false),
        // NaN differs from every number.
        "BRANCH_NEQ" => (Test::Equal { at, nan: false }, true),
        other => return Err(Error::unsupported(format!("the mode {other}"))),
    })
}

fn split(feature: i64, (test, swapped): (Test, bool), yes: i64, no: i64) -> Raw {
    let (yes, no) = if swapped { (no, yes) } else { (yes, no) };
    Raw::Split { feature, test, yes, no }
}

/// The operators whose nodes and votes are lists with the tree's number: those up to version 4.
fn lists(operator: &Operator, features: Option<usize>, double: bool, kind: &str) -> Result<Ensemble> {
    let classifier = kind == "class";
    let numbers = operator.ints("classlabels_int64s");
    let labels = operator.texts("classlabels_strings");
    let targets =
        if classifier { numbers.len().max(labels.len()) } else { operator.int("n_targets", 1).max(0) as usize };
    let (fold, average) =
        aggregate(operator.get("aggregate_function").and_then(|a| a.text.as_deref()).unwrap_or("SUM"))?;
    let mut forest = empty(operator, features, targets, double, fold)?;
    let tree_ids = operator.ints("nodes_treeids");
    let node_ids = operator.ints("nodes_nodeids");
    let feature_ids = operator.ints("nodes_featureids");
    let modes = operator.texts("nodes_modes");
    let values = operator.floats("nodes_values");
    let (trues, falses) = (operator.ints("nodes_truenodeids"), operator.ints("nodes_falsenodeids"));
    let tracks = operator.ints("nodes_missing_value_tracks_true");
    let count = tree_ids.len();
    let lengths = [node_ids.len(), feature_ids.len(), modes.len(), values.len(), trues.len(), falses.len()];
    if lengths.iter().any(|length| *length != count) {
        return Err(Error::corrupt("the lists of the nodes differ in length"));
    }
    let mut votes: HashMap<(i64, i64), Vec<(u32, f64)>> = HashMap::new();
    let weights = operator.floats(&format!("{kind}_weights"));
    let ids = operator.ints(&format!("{kind}_ids"));
    let vote_trees = operator.ints(&format!("{kind}_treeids"));
    let vote_nodes = operator.ints(&format!("{kind}_nodeids"));
    if [ids.len(), vote_trees.len(), vote_nodes.len()].iter().any(|length| *length != weights.len()) {
        return Err(Error::corrupt("the lists of the votes differ in length"));
    }
    for (((tree, node), id), weight) in vote_trees.iter().zip(vote_nodes).zip(ids).zip(weights) {
        let id =
            u32::try_from(*id).map_err(|_| Error::corrupt(format!("tree {tree}, node {node}: a vote for {id}")))?;
        votes.entry((*tree, *node)).or_default().push((id, *weight));
    }
    let mut order = Vec::new();
    let mut members: HashMap<i64, (i64, HashMap<i64, usize>)> = HashMap::new();
    for (place, (tree, node)) in tree_ids.iter().zip(node_ids).enumerate() {
        let entry = members.entry(*tree).or_insert_with(|| {
            order.push(*tree);
            (*node, HashMap::new())
        });
        if entry.1.insert(*node, place).is_some() {
            return Err(Error::corrupt(format!("tree {tree}, node {node}: it is there twice")));
        }
    }
    for tree in order {
        let Some((root, nodes)) = members.get(&tree) else { continue };
        let count = nodes.keys().max().map_or(0, |id| (*id).clamp(0, 1 << 30) as usize + 1);
        forest.grow(*root, count, |_, id| {
            let place = *nodes.get(&(id as i64)).ok_or_else(|| Error::corrupt("there is no such node"))?;
            let at = |list: &[i64]| list.get(place).copied().unwrap_or(0);
            let mode = modes.get(place).map_or("", String::as_str);
            if mode == "LEAF" {
                let votes = votes.remove(&(tree, id as i64)).unwrap_or_default();
                return Ok(Raw::Leaf { id: Some(id as u32), votes, variance: 0.0 });
            }
            let value = values.get(place).copied().unwrap_or(f64::NAN);
            let question = question(mode, value, at(tracks) == 1)?;
            Ok(split(at(feature_ids), question, at(trues), at(falses)))
        })?;
    }
    let post = post(operator.get("post_transform").and_then(|a| a.text.as_deref()).unwrap_or("NONE"))?;
    let base = operator.floats("base_values").to_vec();
    if !classifier {
        return Ok((regression(&mut forest, post, base, average), forest, None))
            .map(|(head, forest, none)| (forest, head, none));
    }
    let binary = Binary {
        one_class: targets == 2 && ids.iter().collect::<BTreeSet<_>>().len() == 1,
        positive: weights.iter().all(|weight| *weight >= 0.0),
    };
    let labels = (!labels.is_empty()).then(|| labels.to_vec());
    let numbers = labels.is_none().then(|| numbers.to_vec());
    Ok((forest, Head::OnnxClassifier { post, base, binary, numbers }, labels))
}

fn aggregate(name: &str) -> Result<(Fold, bool)> {
    Ok(match name {
        "SUM" => (Fold::Sum32, false),
        "AVERAGE" => (Fold::Sum32, true),
        "MIN" => (Fold::Min, false),
        "MAX" => (Fold::Max, false),
        other => return Err(Error::unsupported(format!("aggregate_function {other}"))),
    })
}

fn regression(forest: &mut Forest, post: Post, base: Vec<f64>, average: bool) -> Head {
    Head::OnnxRegression {
        post,
        base,
        divide: if average { forest.trees.len().max(1) as f64 } else { 1.0 },
        untouched_is_zero: true,
    }
}

/// The operator of version 5: nodes and leaves are lists of their own.
fn single(operator: &Operator, features: Option<usize>, double: bool) -> Result<Ensemble> {
    let modes = &operator.get("nodes_modes").and_then(|a| a.tensor.as_ref()).map_or(&[][..], |t| &t.numbers);
    let double = double || operator.get("nodes_splits").and_then(|a| a.tensor.as_ref()).is_some_and(|t| t.double);
    let splits = operator.floats("nodes_splits");
    let feature_ids = operator.ints("nodes_featureids");
    let (trues, true_leafs) = (operator.ints("nodes_truenodeids"), operator.ints("nodes_trueleafs"));
    let (falses, false_leafs) = (operator.ints("nodes_falsenodeids"), operator.ints("nodes_falseleafs"));
    let tracks = operator.ints("nodes_missing_value_tracks_true");
    let (targets, weights) = (operator.ints("leaf_targetids"), operator.floats("leaf_weights"));
    let count = modes.len();
    let lengths = [splits.len(), feature_ids.len(), trues.len(), true_leafs.len(), falses.len(), false_leafs.len()];
    if lengths.iter().any(|length| *length != count) || targets.len() != weights.len() {
        return Err(Error::corrupt("the lists of the nodes or leaves differ in length"));
    }
    let name = match operator.int("aggregate_function", 1) {
        0 => "AVERAGE",
        1 => "SUM",
        2 => "MIN",
        3 => "MAX",
        other => return Err(Error::unsupported(format!("aggregate_function {other}"))),
    };
    let (fold, average) = aggregate(name)?;
    let outputs = operator.int("n_targets", 1).max(0) as usize;
    let mut forest = empty(operator, features, outputs, double, fold)?;
    // One list for each node that asks for membership, in the nodes' order, each ended by NaN.
    let members = operator.floats("membership_values");
    let mut lists = members.split(|value| value.is_nan());
    let mut sets = Vec::with_capacity(count);
    for mode in modes.iter() {
        let list = if *mode == 6.0 { Some(lists.next().unwrap_or_default().to_vec()) } else { None };
        sets.push(list);
    }
    for root in operator.ints("tree_roots") {
        forest.grow(*root, count * 3, |forest, id| {
            if id >= count {
                let (node, side) = ((id - count) / 2, (id - count) % 2);
                let list = if side == 0 { trues } else { falses };
                let leaf = list.get(node).copied().unwrap_or(-1);
                let place = usize::try_from(leaf).ok().filter(|leaf| *leaf < weights.len());
                let place = place.ok_or_else(|| Error::corrupt(format!("leaf {leaf} is not there")))?;
                let target = targets.get(place).copied().unwrap_or(0);
                let target = u32::try_from(target).map_err(|_| Error::corrupt(format!("a vote for {target}")))?;
                let weight = weights.get(place).copied().unwrap_or(0.0);
                return Ok(Raw::Leaf { id: Some(leaf as u32), votes: vec![(target, weight)], variance: 0.0 });
            }
            let at = |list: &[i64]| list.get(id).copied().unwrap_or(0);
            let value = splits.get(id).copied().unwrap_or(f64::NAN);
            let tracks = at(tracks) == 1;
            let question = match modes.get(id).map_or(-1, |mode| *mode as i64) {
                6 => {
                    let mut list = sets.get(id).cloned().flatten().unwrap_or_default();
                    list.iter_mut().for_each(|value| *value += 0.0);
                    list.sort_by(f64::total_cmp);
                    (Test::Member { set: forest.add_set(Set::Values(list)), nan: tracks }, false)
                }
                mode => {
                    let names = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"];
                    let name = usize::try_from(mode).ok().and_then(|mode| names.get(mode));
                    question(name.ok_or_else(|| Error::unsupported(format!("the mode {mode}")))?, value, tracks)?
                }
            };
            let child = |leaf: bool, next: i64, side: usize| {
                if leaf { (count + 2 * id + side) as i64 } else { inner(next, count) }
            };
            let yes = child(at(true_leafs) == 1, at(trues), 0);
            let no = child(at(false_leafs) == 1, at(falses), 1);
            Ok(split(at(feature_ids), question, yes, no))
        })?;
    }
    let post = match operator.int("post_transform", 0) {
        0 => Post::None,
        1 => Post::Logistic,
        2 => Post::Softmax,
        3 => Post::SoftmaxZero,
        4 => Post::Probit,
        other => return Err(Error::unsupported(format!("post_transform {other}"))),
    };
    let head = regression(&mut forest, post, Vec::new(), average);
    Ok((forest, head, None))
}

/// An inner node's number; what is beyond them must not be taken for a leaf.
fn inner(id: i64, count: usize) -> i64 {
    if id >= 0 && (id as usize) < count { id } else { i64::MAX }
}

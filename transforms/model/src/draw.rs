//! Models as text, for people.

mod svg;

use std::fmt::Write as _;

use crate::forest::{Forest, Node, Test};
use crate::model::Model;
pub use svg::svg;

/// What a model is: format, features, classes, trees, and the first `trees` of them drawn down to `levels` levels.
pub fn describe(model: &Model, trees: usize, levels: usize) -> String {
    let mut out = String::new();
    let forest = &model.forest;
    let names: Vec<&str> = model.inputs.iter().map(|input| input.name.as_str()).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "format    {} ({})", model.format, model.kind);
    let _ = writeln!(out, "version   {:016x}", model.version);
    let named = if model.named { "" } else { " (by position)" };
    let _ = writeln!(out, "reads     {}{named}", names.join(", "));
    let _ = writeln!(out, "features  {}", forest.features);
    match (model.classes(), &model.labels) {
        (0, _) => {
            let _ = writeln!(out, "gives     a number");
        }
        (classes, Some(labels)) => {
            let _ = writeln!(out, "classes   {classes}: {}", labels.join(", "));
        }
        (classes, None) => {
            let _ = writeln!(out, "classes   {classes}");
        }
    }
    let nodes: usize = forest.trees.iter().map(|tree| tree.nodes.len()).sum();
    let _ = writeln!(
        out,
        "trees     {} of {nodes} nodes, {} leaves, depth {}",
        forest.trees.len(),
        forest.leaf_ids.len(),
        model.depth()
    );
    for number in 0..trees.min(forest.trees.len()) {
        let _ = writeln!(out, "\ntree {number}");
        out.push_str(&draw(model, number, levels));
    }
    out
}

/// Tree `number`, drawn down to `levels` levels.
pub fn draw(model: &Model, number: usize, levels: usize) -> String {
    let forest = &model.forest;
    let mut out = String::new();
    let Some(tree) = forest.trees.get(number) else { return out };
    // A node, what stands before it, whether it is its parent's last child, its level.
    let mut open = vec![(0u32, String::new(), true, 0usize)];
    while let Some((at, before, last, level)) = open.pop() {
        let branch = match (level, last) {
            (0, _) => "",
            (_, true) => "└─ ",
            (_, false) => "├─ ",
        };
        let _ = write!(out, "{before}{branch}");
        let inner = match (level, last) {
            (0, _) => before,
            (_, true) => format!("{before}   "),
            (_, false) => format!("{before}│  "),
        };
        match tree.nodes.get(at as usize) {
            Some(Node::Split(split)) => {
                let _ = writeln!(out, "{}", question(model, split.feature, &split.test));
                if level < levels {
                    open.push((split.no, inner.clone(), true, level + 1));
                    open.push((split.yes, inner, false, level + 1));
                } else {
                    let _ = writeln!(out, "{inner}└─ …");
                }
            }
            Some(Node::Leaf(leaf)) => {
                let _ = writeln!(out, "{}", votes(forest, *leaf));
            }
            None => {}
        }
    }
    out
}

fn question(model: &Model, feature: u32, test: &Test) -> String {
    // With steps before the trees, features are not the columns that are read.
    let name = model.inputs.get(feature as usize).filter(|_| model.inputs.len() == model.forest.features);
    let name = name.map_or_else(|| format!("feature {feature}"), |input| input.name.clone());
    let missing = |nan: bool| if nan { " or missing" } else { "" };
    match test {
        Test::AtMost { at, nan } => format!("{name} <= {at}{}?", missing(*nan)),
        Test::Below { at, nan } => format!("{name} < {at}{}?", missing(*nan)),
        Test::Equal { at, nan } => format!("{name} = {at}{}?", missing(*nan)),
        Test::AtMostZeroMissing { at, missing } => {
            let zero = if *missing { "or zero or missing" } else { "and neither zero nor missing" };
            format!("{name} <= {at} {zero}?")
        }
        Test::Member { set, nan } => {
            let set = model.forest.sets.get(*set as usize).map(|set| set.describe()).unwrap_or_default();
            format!("{name} in {set}{}?", missing(*nan))
        }
    }
}

fn votes(forest: &Forest, leaf: u32) -> String {
    let votes = forest.votes_of(leaf);
    let id = forest.leaf_ids.get(leaf as usize).copied().unwrap_or(0);
    let text: Vec<String> = match votes {
        [(_, vote)] if forest.targets == 1 => vec![vote.to_string()],
        votes => {
            votes.iter().filter(|(_, vote)| *vote != 0.0).map(|(target, vote)| format!("{target}: {vote}")).collect()
        }
    };
    format!("leaf {id}: {}", text.join(", "))
}
